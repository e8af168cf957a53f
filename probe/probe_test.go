package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func run(t *testing.T, o Options) *Report {
	t.Helper()
	r, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// want fails for each feature that is not as said.
func want(t *testing.T, r *Report, state State, features ...Feature) {
	t.Helper()
	for _, f := range features {
		if res := r.Get(f); res.State != state {
			t.Errorf("%s: %+v, want state %d", f, res, state)
		}
	}
}

func TestEveryFeatureHasOneGroupAndOneTitle(t *testing.T) {
	found := map[Feature]int{Cgroup1: 1} // follows from others
	for _, g := range groups() {
		for _, f := range g.features {
			found[f]++
		}
	}
	titled := map[Feature]int{}
	for _, g := range Groups() {
		for _, f := range g.Features {
			titled[f.Feature]++
			if f.Title == "" {
				t.Errorf("%s has no title", f.Feature)
			}
		}
	}
	for f, n := range found {
		if n != 1 || titled[f] != 1 {
			t.Errorf("%s: probed by %d groups, in %d titles", f, n, titled[f])
		}
	}
	if len(found) != len(titled) {
		t.Errorf("%d features are probed, %d have titles", len(found), len(titled))
	}
}

func TestEveryNoSaysWhy(t *testing.T) {
	r := run(t, Options{StateDir: t.TempDir()})
	for _, g := range Groups() {
		for _, f := range g.Features {
			res, ok := r.Results[f.Feature]
			if !ok {
				t.Errorf("%s was not probed", f.Feature)
			}
			if res.State != Yes && res.Why == "" {
				t.Errorf("%s: %+v does not say why", f.Feature, res)
			}
			if res.State == Unknown {
				t.Logf("%s could not be told: %s", f.Feature, res.Why)
			}
			if res.State == No {
				t.Logf("%s: %s; %s", f.Feature, res.Why, res.Mend)
			}
		}
	}
}

// TestModernKernel polices the probe: what a kernel of these days has, and root
// may, must be found.
func TestModernKernel(t *testing.T) {
	needRoot(t)
	r := run(t, Options{StateDir: t.TempDir()})
	if r.Lacks(Root) {
		t.Skipf("missing feature: root's capabilities: %s", r.Get(Root).Why)
	}
	if r.Lacks(OpenAt2) {
		t.Skipf("missing feature: openat2, by which a kernel of these days is known: %s", r.Get(OpenAt2).Why)
	}
	if os.Getenv("TESTKERNEL_NAME") != "" {
		t.Skip("missing feature: a kernel from which nothing was taken; what this one must have, testkernel/findings tests")
	}
	want(t, r, Yes, NSMount, NSPID, NSIPC, NSUTS, NSMountUnshare, NSMountSetns, NSPIDSetns, NSIPCSetns, NSUTSSetns,
		Chroot, BindRO, MountProp, NewMount, DevptsNewInstance, NoNewPrivs, Subreaper, CapsBounding, CapsAmbient, PIDFD, OPath, MemFD)
	if r.Init == "" || r.Kernel == "" || r.Arch == "" || r.Boot == "" || r.UIDMap == "" {
		t.Errorf("report is incomplete: %+v", r)
	}
}

func TestOrdinaryUser(t *testing.T) {
	needRoot(t)
	dir := openDir(t, 0o777)
	r := probeAs(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}, "plain "+dir+" -")
	want(t, r, No, Root, NSMount, NSPID, NSNet, NSIPC, NSUTS, NSMountUnshare, Chroot, PivotRoot, Overlay, XattrTrusted, Veth, BridgeNetlink)
	for _, f := range []Feature{Root, NSMount, Chroot, Overlay} {
		if res := r.Get(f); res.Mend != "run as root" {
			t.Errorf("%s: mend %q, want \"run as root\" (%s)", f, res.Mend, res.Why)
		}
	}
	root := run(t, Options{StateDir: t.TempDir()})
	want(t, r, root.Get(NoNewPrivs).State, NoNewPrivs)
	want(t, r, root.Get(OPath).State, OPath)
	if root.Has(NSUser) && slurp(sysctlClone) != "0" && slurp(sysctlAppArmor) != "1" {
		want(t, r, Yes, NSUser, NSUserPID, NSUserNet, NSUserUnshare, NSUserSetns)
		if root.Has(OverlayUserNS) {
			want(t, r, Yes, OverlayUserNS)
		}
	}
	if r.UID != 65534 {
		t.Errorf("uid %d", r.UID)
	}
	if left := listDir(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestUserNamespacesForbidden(t *testing.T) {
	needRoot(t)
	need(t, NSUser)
	if _, err := os.Stat("/proc/sys/user/max_user_namespaces"); err != nil {
		t.Skipf("missing feature: a limit on user namespaces (4.9): %v", err)
	}
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, UidMappings: one, GidMappings: one}
	r := probeAs(t, attr, "sysctl=0 "+openDir(t, 0o777)+" -")
	want(t, r, No, NSUser, NSUserPID, OverlayUserNS, NSUserUnshare)
	if res := r.Get(NSUser); !strings.Contains(res.Why, "user.max_user_namespaces=0") || !strings.Contains(res.Mend, "sysctl -w user.max_user_namespaces") {
		t.Errorf("%+v does not name the sysctl", res)
	}
	// Root of a user namespace has its capabilities there.
	want(t, r, Yes, Root, NSMount, NSPID)
}

func TestCallsTakenAway(t *testing.T) {
	needRoot(t)
	need(t, SeccompFilter)
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, ^uintptr(0), 0, 0); e == unix.ENOSYS {
		t.Skip("missing feature: seccomp(2), to load a filter on all threads (3.17)")
	}
	r := probeAs(t, nil, "enosys=openat2,pidfd_open,memfd_create,fsopen,setns,pivot_root "+openDir(t, 0o777)+" -")
	want(t, r, No, OpenAt2, PIDFD, MemFD, NewMount, NSMountSetns, NSNetSetns, NSUserSetns, PivotRoot)
	want(t, r, Yes, NSMount, NSMountUnshare, OPath)
	if why := r.Get(OpenAt2).Why; !strings.Contains(why, "function not implemented") {
		t.Errorf("openat2: %q does not tell the errno", why)
	}
	r = probeAs(t, nil, "eperm=unshare,mount,chroot "+openDir(t, 0o777)+" -")
	want(t, r, No, NSMountUnshare, NSNetUnshare, Overlay, BindRO, Chroot, NSUser)
	if mend := r.Get(NSMountUnshare).Mend; !strings.Contains(mend, "seccomp") {
		t.Errorf("mend %q does not name the filter", mend)
	}
	// seccomp(2) gone, prctl(2) there: what 3.5 to 3.16 have.
	r = probeAs(t, nil, "enosys=seccomp "+openDir(t, 0o777)+" -")
	want(t, r, Yes, SeccompFilter)
}

// TestWithoutCapabilities is root in an unprivileged container of another tool.
func TestWithoutCapabilities(t *testing.T) {
	needRoot(t)
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	need(t, NSUser)
	// A user that is not mapped to root of its namespace has no capability.
	r := probeAs(t, &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}}, GidMappings: one,
	}, "plain "+openDir(t, 0o777)+" -")
	want(t, r, No, Root, NSMount, Overlay)
	if r.UIDMap != "1000 0 1" {
		t.Errorf("uid map %q", r.UIDMap)
	}
}

// TestFewDescriptors: what passes is no finding.
func TestFewDescriptors(t *testing.T) {
	r := probeAs(t, nil, "files=12 "+openDir(t, 0o777)+" -")
	for f, res := range r.Results {
		if res.State == No && strings.Contains(res.Why, "too many open files") {
			t.Errorf("%s: %+v is of this moment only", f, res)
		}
	}
}

func TestReadOnlyStateDirectory(t *testing.T) {
	r := run(t, Options{StateDir: "/proc/1/coracle", RunDir: t.TempDir()})
	want(t, r, No, Overlay, Reflink, XattrUser, OverlayUserNS)
	if mend := r.Get(Reflink).Mend; !strings.Contains(mend, "--root") {
		t.Errorf("mend %q", mend)
	}
}

// TestOddNames: an option of mount(2) ends at a comma, and a layer at a colon.
func TestOddNames(t *testing.T) {
	plain := run(t, Options{StateDir: t.TempDir()})
	odd := run(t, Options{StateDir: filepath.Join(t.TempDir(), "not", "yet")})
	dir := filepath.Join(t.TempDir(), `a,b:c d\e`)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*Report{odd, run(t, Options{StateDir: dir})} {
		for _, f := range []Feature{Overlay, OverlayUserNS, XattrUser} {
			if r.Get(f).State != plain.Get(f).State {
				t.Errorf("%s in %s: %+v, and %+v elsewhere", f, r.StateDir, r.Get(f), plain.Get(f))
			}
		}
	}
	if left := listDir(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	mine := errors.New("mine")
	cancel(mine)
	if _, err := Run(ctx, Options{StateDir: t.TempDir()}); err != nil && !errors.Is(err, mine) {
		t.Errorf("%v", err)
	}
}

func TestExplain(t *testing.T) {
	r := &Report{Results: map[Feature]Result{
		Overlay: no(Overlay, "mount overlay: no such device", "modprobe overlay"),
		NSUser:  yes(NSUser),
		Reflink: unknown(Reflink, "full"),
	}}
	for _, c := range []struct {
		err      error
		features []Feature
		want     string
	}{
		{unix.ENODEV, []Feature{NSUser, Reflink, Overlay}, "overlay: mount overlay: no such device; modprobe overlay"},
		{unix.EINVAL, []Feature{NSUser, Reflink}, ""},
		{fmt.Errorf("write x: %w", unix.ENOSPC), []Feature{Overlay}, ""},
		{unix.ENOENT, []Feature{Overlay}, ""},
		{nil, []Feature{Overlay}, ""},
	} {
		if got := Explain(r, c.err, c.features...); got != c.want {
			t.Errorf("%v %v: %q, want %q", c.err, c.features, got, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	if f, err := Parse("ns.user"); err != nil || f != NSUser {
		t.Errorf("%v %v", f, err)
	}
	var unknown *ErrFeature
	if _, err := Parse("ns.usr"); !errors.As(err, &unknown) || unknown.Name != "ns.usr" {
		t.Errorf("%v", err)
	}
}

// TestNothingIsLeft looks at all that a probe makes, with several at once.
func TestNothingIsLeft(t *testing.T) {
	dir := t.TempDir()
	before := traces(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := Run(context.Background(), Options{StateDir: dir}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if left := listDir(t, dir); len(left) > 0 {
		t.Errorf("left in the state directory: %v", left)
	}
	// What is taken down behind our back: children, threads.
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		after := traces(t)
		var more []string
		for _, s := range after {
			if !slices.Contains(before, s) {
				more = append(more, s)
			}
		}
		if len(more) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("left behind: %v", more)
		}
	}
}

// traces lists what could be left: our mounts, groups, interfaces, descriptors,
// children, and threads in other namespaces than the process.
func traces(t *testing.T) []string {
	var out []string
	pid := fmt.Sprint(os.Getpid())
	for line := range strings.Lines(slurp("/proc/self/mountinfo")) {
		if strings.Contains(line, "coracle-probe") {
			out = append(out, line)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*", "/sys/fs/cgroup/*/*", "/sys/fs/cgroup/*/*/*"} {
		dirs, _ := filepath.Glob(pattern + groupPrefix + pid)
		out = append(out, dirs...)
		dirs, _ = filepath.Glob(pattern + "/" + groupPrefix + pid)
		out = append(out, dirs...)
	}
	links, _ := filepath.Glob("/sys/class/net/cprobe*")
	out = append(out, links...)
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && !strings.HasPrefix(to, "/proc/") {
			out = append(out, "descriptor "+fd.Name()+" "+to)
		}
	}
	tasks, _ := filepath.Glob("/proc/self/task/*")
	for _, task := range tasks {
		out = append(out, strings.Fields(slurp(task+"/children"))...)
		for _, k := range []string{"mnt", "net", "uts", "ipc", "cgroup", "pid_for_children", "user"} {
			theirs, err := os.Readlink(task + "/ns/" + k)
			if ours, _ := os.Readlink("/proc/self/ns/" + k); err == nil && theirs != ours {
				out = append(out, task+" "+theirs)
			}
		}
		if s := field(slurp(task+"/status"), "Seccomp"); s != field(slurp("/proc/self/status"), "Seccomp") && s != "" {
			out = append(out, task+" seccomp "+s)
		}
	}
	return out
}

func listDir(t *testing.T, dir string) []string {
	t.Helper()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestStaleIsSwept: a killed probe's directory and groups go with the next one.
func TestStaleIsSwept(t *testing.T) {
	dir := t.TempDir()
	dead := fmt.Sprint(deadPID(t))
	stale := filepath.Join(dir, scratchPrefix+dead+"-1")
	if err := os.MkdirAll(filepath.Join(stale, "overlay/work/work"), 0o755); err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(dir, scratchPrefix+fmt.Sprint(os.Getpid())+"-1")
	other := filepath.Join(dir, scratchPrefix+"notes")
	for _, d := range []string{mine, other} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var group string
	if os.Geteuid() == 0 {
		if h, err := findHierarchies(); err == nil && h.v1["memory"] != nil {
			group = filepath.Join(h.place(h.v1["memory"], "memory"), groupPrefix+dead)
			if err := os.Mkdir(group, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	run(t, Options{StateDir: dir})
	if unix.Access(stale, unix.F_OK) == nil {
		t.Errorf("%s is still there", stale)
	}
	if group != "" && unix.Access(group, unix.F_OK) == nil {
		t.Errorf("%s is still there", group)
	}
	for _, d := range []string{mine, other} {
		if unix.Access(d, unix.F_OK) != nil {
			t.Errorf("%s, whose maker lives, is gone", d)
		}
	}
}

// TestKilled kills probes at any moment; the next one cleans up after them.
func TestKilled(t *testing.T) {
	dir, bin := openDir(t, 0o777), testBinary(t)
	pids := map[string]bool{}
	for i := range 24 {
		cmd := exec.Command(bin)
		cmd.Env = append(os.Environ(), childEnv+"=plain "+dir+" -")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pids[fmt.Sprint(cmd.Process.Pid)] = true
		time.Sleep(time.Duration(i) * 1500 * time.Microsecond)
		cmd.Process.Kill()
		cmd.Wait()
	}
	// What a killed probe has forked dies with it, but not at once, and holds its
	// lock and its mounts until then.
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		run(t, Options{StateDir: dir})
		left := listDir(t, dir)
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Errorf("left in the state directory: %v", left)
			break
		}
		t.Logf("still there: %v", left)
	}
	h, err := findHierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for c, m := range h.v1 {
		for _, name := range names(h.place(m, c)) {
			if pid, ok := strings.CutPrefix(name, groupPrefix); ok && pids[pid] {
				t.Errorf("left in the group of %s: %s", c, name)
			}
		}
	}
	if mounts := slurp("/proc/self/mountinfo"); strings.Contains(mounts, dir) {
		t.Errorf("left mounted: %s", mounts)
	}
}

// deadPID is the number of a process that has ended.
func deadPID(t *testing.T) int {
	t.Helper()
	p, err := os.StartProcess("/proc/self/exe", []string{"x", "-test.run=^$"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	p.Wait()
	return p.Pid
}
