package backends

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"coracle/probe"
)

// machine makes a report: all works but what is named, as "feature" or
// "feature=why".
func machine(missing ...string) *probe.Report {
	r := &probe.Report{Results: map[probe.Feature]probe.Result{}}
	for _, g := range probe.Groups() {
		for _, f := range g.Features {
			r.Results[f.Feature] = probe.Result{Feature: f.Feature, State: probe.Yes}
		}
	}
	for _, m := range missing {
		name, why, _ := strings.Cut(m, "=")
		if why == "" {
			why = "EINVAL"
		}
		for f := range r.Results {
			if string(f) == name || (strings.HasSuffix(name, "*") && strings.HasPrefix(string(f), strings.TrimSuffix(name, "*"))) {
				r.Results[f] = probe.Result{Feature: f, State: probe.No, Why: why, Mend: "mend " + string(f)}
			}
		}
	}
	return r
}

// ordinary is what a user without root lacks.
func ordinary(more ...string) *probe.Report {
	return machine(append([]string{
		"root=uid 1000", "ns.mount", "ns.pid", "ns.net", "ns.ipc", "ns.uts", "ns.cgroup", "ns.mount.setns", "ns.pid.setns",
		"ns.ipc.setns", "ns.uts.setns", "chroot", "overlay=EPERM", "aufs=ENODEV", "reflink=EOPNOTSUPP", "cgroup1*=EACCES",
	}, more...)...)
}

// evidence is a selection as lines: "concern rung", and " - refusal".
func evidence(s *Selection) string {
	var b strings.Builder
	for _, c := range s.Choices {
		b.WriteString(string(c.Concern) + " " + c.Rung + "\n")
		for _, r := range c.Refused {
			b.WriteString(" - " + r.String() + "\n")
		}
	}
	return b.String()
}

func TestSelect(t *testing.T) {
	for _, c := range []struct {
		name   string
		report *probe.Report
		wish   Wish
		want   string
	}{
		{"everything", machine(), nil, `
isolation namespaces
rootfs overlay
limits cgroup2
wiring bridge-nft
entering setns
`},
		{"hybrid control groups", machine("cgroup2.*=with version 1"), nil, `
isolation namespaces
rootfs overlay
limits cgroup1
 - cgroup2: with version 1 [cgroup2.memory]
wiring bridge-nft
entering setns
`},
		{"an ordinary user, half delegated", ordinary("cgroup2.cpu=not handed down"), nil, `
isolation userns
 - namespaces: uid 1000 [root]
rootfs overlay-userns
 - overlay: EPERM [overlay]
limits cgroup2
 - cgroup1: EACCES [cgroup1]
wiring netstack
 - bridge-nft: EINVAL [ns.net]
 - bridge-iptables: EINVAL [ns.net]
 - bridge-forward: EINVAL [ns.net]
entering setns
`},
		{"an ordinary user, old kernel", ordinary("overlay.userns=before 5.11", "cgroup2*=not mounted"), nil, `
isolation userns
 - namespaces: uid 1000 [root]
rootfs copy
 - overlay: EPERM [overlay]
 - overlay-userns: before 5.11 [overlay.userns]
 - aufs: ENODEV [aufs]
 - reflink: EOPNOTSUPP [reflink]
limits rlimits
 - cgroup2: not mounted [cgroup2]
 - cgroup1: EACCES [cgroup1]
wiring netstack
 - bridge-nft: EINVAL [ns.net]
 - bridge-iptables: EINVAL [ns.net]
 - bridge-forward: EINVAL [ns.net]
entering setns
`},
		{"root on 2.6.32 without namespaces", machine("ns.*", "overlay*", "aufs", "reflink", "cgroup*=not there"), nil, `
isolation chroot
 - namespaces: EINVAL [ns.mount]
 - userns: EINVAL [ns.user]
rootfs copy
 - overlay: EINVAL [overlay]
 - overlay-userns: EINVAL [overlay.userns]
 - aufs: EINVAL [aufs]
 - reflink: EINVAL [reflink]
limits rlimits
 - cgroup2: not there [cgroup2]
 - cgroup1: not there [cgroup1]
wiring hostports
 - bridge-nft: EINVAL [ns.net]
 - bridge-iptables: EINVAL [ns.net]
 - bridge-forward: EINVAL [ns.net]
 - netstack: EINVAL [ns.user.net]
entering procroot
 - setns: EINVAL [ns.mount.setns]
 - agent: goes with isolation=namespaces or isolation=userns only, and isolation is chroot
`},
		{"chroot by wish", machine(), Wish{Isolation: "chroot"}, `
isolation chroot
rootfs overlay
limits cgroup2
wiring hostports
 - bridge-nft: goes with isolation=namespaces only, and isolation is chroot
 - bridge-iptables: goes with isolation=namespaces only, and isolation is chroot
 - bridge-forward: goes with isolation=namespaces only, and isolation is chroot
 - netstack: goes with isolation=userns only, and isolation is chroot
entering procroot
 - setns: goes with isolation=namespaces only, and isolation is chroot
 - agent: goes with isolation=namespaces or isolation=userns only, and isolation is chroot
`},
		{"chroot without mount namespaces", machine("ns.mount=EPERM"), Wish{Isolation: "chroot"}, `
isolation chroot
rootfs reflink
 - overlay: EPERM [ns.mount]
 - overlay-userns: goes with isolation=userns only, and isolation is chroot
 - aufs: EPERM [ns.mount]
limits cgroup2
wiring hostports
 - bridge-nft: goes with isolation=namespaces only, and isolation is chroot
 - bridge-iptables: goes with isolation=namespaces only, and isolation is chroot
 - bridge-forward: goes with isolation=namespaces only, and isolation is chroot
 - netstack: goes with isolation=userns only, and isolation is chroot
entering procroot
 - setns: goes with isolation=namespaces only, and isolation is chroot
 - agent: goes with isolation=namespaces or isolation=userns only, and isolation is chroot
`},
		{"user namespace by wish, as root", machine(), Wish{Isolation: "userns"}, `
isolation userns
rootfs overlay-userns
 - overlay: goes with isolation=namespaces or isolation=chroot only, and isolation is userns
limits cgroup2
wiring netstack
 - bridge-nft: goes with isolation=namespaces only, and isolation is userns
 - bridge-iptables: goes with isolation=namespaces only, and isolation is userns
 - bridge-forward: goes with isolation=namespaces only, and isolation is userns
entering setns
`},
		{"nothing for an ordinary user", ordinary("ns.user*=forbidden", "overlay.userns"), nil, `
isolation 
 - namespaces: uid 1000 [root]
 - userns: forbidden [ns.user]
 - chroot: uid 1000 [root]
rootfs copy
 - overlay: EPERM [overlay]
 - overlay-userns: EINVAL [overlay.userns]
 - aufs: ENODEV [aufs]
 - reflink: EOPNOTSUPP [reflink]
limits cgroup2
wiring hostports
 - bridge-nft: EINVAL [ns.net]
 - bridge-iptables: EINVAL [ns.net]
 - bridge-forward: EINVAL [ns.net]
 - netstack: forbidden [ns.user.net]
entering 
 - setns: EINVAL [ns.mount.setns]
 - agent: goes with isolation=namespaces or isolation=userns only, and isolation is not possible
 - procroot: goes with isolation=chroot only, and isolation is not possible
`},
		{"all by wish", machine(), Wish{Rootfs: "copy", Limits: "rlimits", Wiring: "host", Entering: "setns"}, `
isolation namespaces
rootfs copy
limits rlimits
wiring host
entering setns
`},
		{"root on a kernel that joins no mount namespace", machine("ns.mount.setns=before 3.8", "ns.pid.setns=before 3.8"), nil, `
isolation namespaces
rootfs overlay
limits cgroup2
wiring bridge-nft
entering agent
 - setns: before 3.8 [ns.mount.setns]
`},
		{"a user who may not join", ordinary("ns.user.setns=EUSERS"), nil, `
isolation userns
 - namespaces: uid 1000 [root]
rootfs overlay-userns
 - overlay: EPERM [overlay]
limits cgroup2
wiring netstack
 - bridge-nft: EINVAL [ns.net]
 - bridge-iptables: EINVAL [ns.net]
 - bridge-forward: EINVAL [ns.net]
entering agent
 - setns: EUSERS [ns.user.setns]
`},
		{"an agent by wish", machine(), Wish{Entering: "agent"}, `
isolation namespaces
rootfs overlay
limits cgroup2
wiring bridge-nft
entering agent
`},
		{"the later entry of a name, by wish", machine("cgroup2.cpu"), Wish{Limits: "cgroup2"}, `
isolation namespaces
rootfs overlay
limits cgroup2
wiring bridge-nft
entering setns
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Select(c.report, c.wish)
			if err != nil {
				t.Fatal(err)
			}
			if got := "\n" + evidence(s); got != c.want {
				t.Errorf("got:%s\nwant:%s", got, c.want)
			}
			for _, ch := range s.Choices {
				if _, asked := c.wish[ch.Concern]; asked != ch.Asked {
					t.Errorf("%s: asked %v", ch.Concern, ch.Asked)
				}
			}
		})
	}
}

// TestUnknownRefusesNothing: what could not be told is tried.
func TestUnknownRefusesNothing(t *testing.T) {
	s, err := Select(&probe.Report{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Rung(Isolation) != "namespaces" || s.Rung(Rootfs) != "overlay" || s.Rung(Limits) != "cgroup2" {
		t.Error(evidence(s))
	}
}

func TestLacks(t *testing.T) {
	s, err := Select(machine("ns.net=EPERM", "cgroup2*", "cgroup1.pids=the kernel has none"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Choice(Isolation).Lacks; len(got) != 1 || got[0] != "a network of its own (--network none) (ns.net: EPERM)" {
		t.Errorf("%q", got)
	}
	if got := s.Choice(Limits).Lacks; len(got) != 1 || got[0] != "--pids-limit by group (cgroup1.pids: the kernel has none)" {
		t.Errorf("%q", got)
	}
	if got := s.Choice("none"); got.Rung != "" {
		t.Errorf("%+v", got)
	}
}

func TestUsable(t *testing.T) {
	s, _ := Select(machine(), nil)
	if err := s.Usable(); err != nil {
		t.Error(err)
	}
	s, _ = Select(ordinary("ns.user*=forbidden"), nil)
	err := s.Usable()
	if !errors.Is(err, ErrNoRung) || !strings.Contains(err.Error(), "userns: forbidden [ns.user]") {
		t.Errorf("%v", err)
	}
}

func TestWishesThatCannotBeGranted(t *testing.T) {
	for _, c := range []struct {
		name   string
		report *probe.Report
		wish   Wish
		want   WishError
	}{
		{"missing feature", machine("overlay=ENODEV"), Wish{Rootfs: "overlay"}, WishError{Rootfs, "overlay", "ENODEV [overlay]", "mend overlay", probe.Overlay}},
		{"wrong company", machine(), Wish{Rootfs: "overlay-userns"}, WishError{Rootfs, "overlay-userns",
			"goes with isolation=userns only, and isolation is namespaces", "ask for isolation=userns", ""}},
		{"no such rung", machine(), Wish{Rootfs: "btrfs"}, WishError{Rootfs, "btrfs",
			"no such backend; known are overlay, overlay-userns, aufs, reflink, copy", "", ""}},
		{"no such concern", machine(), Wish{"storage": "overlay"}, WishError{"storage", "overlay",
			"no such concern; known are isolation, rootfs, limits, wiring, entering", "", ""}},
		{"root's rung for a user", ordinary(), Wish{Isolation: "chroot"}, WishError{Isolation, "chroot", "uid 1000 [root]", "mend root", probe.Root}},
		{"entering", machine("ns.pid.setns=ENOSYS"), Wish{Entering: "setns"}, WishError{Entering, "setns", "ENOSYS [ns.pid.setns]", "mend ns.pid.setns", probe.NSPIDSetns}},
		{"entering for a user", ordinary("ns.user.setns=EUSERS"), Wish{Entering: "setns"}, WishError{Entering, "setns", "EUSERS [ns.user.setns]", "mend ns.user.setns", probe.NSUserSetns}},
		{"all entries of a name", machine("cgroup2.*=EBUSY"), Wish{Limits: "cgroup2"}, WishError{Limits, "cgroup2", "EBUSY [cgroup2.memory]", "mend cgroup2.memory", probe.Cgroup2Memory}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Select(c.report, c.wish)
			var we *WishError
			if !errors.As(err, &we) || !errors.Is(err, ErrRung) || s != nil {
				t.Fatalf("%v %v", s, err)
			}
			if *we != c.want {
				t.Errorf("got  %+v\nwant %+v", *we, c.want)
			}
		})
	}
}

func TestParseWish(t *testing.T) {
	for text, want := range map[string]Wish{
		"":                                  {},
		"rootfs=copy,isolation=chroot":      {Rootfs: "copy", Isolation: "chroot"},
		" rootfs = copy , ,limits=rlimits,": {Rootfs: "copy", Limits: "rlimits"},
		"rootfs=copy,rootfs=copy":           {Rootfs: "copy"},
	} {
		got, err := ParseWish(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
	for _, text := range []string{"rootfs", "=copy", "rootfs=", "rootfs=copy,rootfs=overlay", "rootfs=nothing", "none=copy", "copy"} {
		if w, err := ParseWish(text); err == nil {
			t.Errorf("%q: %v", text, w)
		}
	}
}

func TestMergeWish(t *testing.T) {
	got, err := MergeWish("rootfs=copy,isolation=chroot", "rootfs=overlay", "limits=rlimits,rootfs=reflink")
	want := Wish{Rootfs: "reflink", Isolation: "chroot", Limits: "rlimits"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v %v", got, err)
	}
	if _, err := MergeWish("rootfs=x"); err == nil || !strings.HasPrefix(err.Error(), "CORACLE_BACKEND: ") || !errors.Is(err, ErrRung) {
		t.Errorf("%v", err)
	}
}

// TestLadders holds the list to its own rules.
func TestLadders(t *testing.T) {
	rank := map[Concern]int{}
	for i, c := range Concerns() {
		rank[c] = i
	}
	seen, always := map[string]bool{}, map[Concern]bool{}
	last := 0
	for _, r := range All() {
		if rank[r.Concern] < last {
			t.Errorf("%s=%s is out of order", r.Concern, r.Name)
		}
		last = rank[r.Concern]
		if r.Gives == "" {
			t.Errorf("%s=%s does not say what it gives", r.Concern, r.Name)
		}
		for _, with := range r.With {
			c, _, _ := strings.Cut(with, "=")
			if !seen[with] || rank[Concern(c)] >= rank[r.Concern] {
				t.Errorf("%s=%s goes with %s, which is not chosen before", r.Concern, r.Name, with)
			}
		}
		features := append(append([]probe.Feature(nil), r.Needs...), r.NeedsAny...)
		for _, w := range r.Wants {
			features = append(features, w.Feature)
		}
		for _, f := range features {
			if _, err := probe.Parse(string(f)); err != nil {
				t.Errorf("%s=%s: %v", r.Concern, r.Name, err)
			}
		}
		seen[string(r.Concern)+"="+r.Name] = true
		if len(features) == len(r.Wants) && len(r.With) == 0 {
			always[r.Concern] = true
		}
	}
	for _, c := range []Concern{Rootfs, Limits, Wiring} {
		if !always[c] {
			t.Errorf("%s has no rung that always works", c)
		}
	}
}

// TestRealMachine selects with a real report.
func TestRealMachine(t *testing.T) {
	r, err := probe.Run(t.Context(), probe.Options{StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Select(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + evidence(s))
	if len(s.Choices) != len(Concerns()) {
		t.Errorf("%d choices", len(s.Choices))
	}
}

func BenchmarkSelect(b *testing.B) {
	r := machine()
	for b.Loop() {
		if _, err := Select(r, nil); err != nil {
			b.Fatal(err)
		}
	}
}
