package keep

import (
	"maps"
	"strings"
	"testing"
	"time"

	"coracle/engine/record"

	"github.com/moby/moby/api/types/container"
)

func TestPauses(t *testing.T) {
	always := container.RestartPolicy{Name: "always"}
	var r Restarter
	want := 100 * time.Millisecond
	for i := range 14 {
		got, again := r.Again(always, 1, time.Second, false)
		if !again || got != want {
			t.Fatalf("pause %d is %v, want %v", i, got, want)
		}
		want = min(2*want, time.Minute)
	}
	if got, _ := r.Again(always, 1, 10*time.Second, false); got != 100*time.Millisecond {
		t.Errorf("after 10 s of running the pause is %v", got)
	}
	if r.Count != 15 {
		t.Errorf("%d restarts counted", r.Count)
	}
}

func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		policy  string
		max     int
		code    int
		stopped bool
		want    int // restarts before it is given up, 9: none is
	}{
		{"no", 0, 1, false, 0}, {"", 0, 1, false, 0}, {"always", 0, 0, false, 9}, {"always", 0, 0, true, 0},
		{"unless-stopped", 0, 1, false, 9}, {"unless-stopped", 0, 1, true, 0},
		{"on-failure", 0, 1, false, 9}, {"on-failure", 0, 0, false, 0}, {"on-failure", 3, 1, false, 3}, {"on-failure", 3, 1, true, 0},
	} {
		var r Restarter
		n := 0
		for ; n < 9; n++ {
			if _, again := r.Again(container.RestartPolicy{Name: container.RestartPolicyMode(c.policy), MaximumRetryCount: c.max}, c.code, 0, c.stopped); !again {
				break
			}
		}
		if n != c.want {
			t.Errorf("%+v: %d restarts", c, n)
		}
	}
}

func TestBoot(t *testing.T) {
	at := time.Unix(1, 0)
	made := func(name, policy string, change func(*Candidate)) Candidate {
		c := Candidate{C: &record.Container{ID: strings.Repeat(name[:1], 64), Name: name, Created: at, Config: &container.Config{}, HostConfig: &container.HostConfig{}}}
		c.C.HostConfig.RestartPolicy.Name = container.RestartPolicyMode(policy)
		c.State = record.State{StartedAt: at, Boot: "old", ExitCode: 255}
		at = at.Add(time.Second)
		if change != nil {
			change(&c)
		}
		return c
	}
	service := func(project, name, after string) func(*Candidate) {
		return func(c *Candidate) {
			const prefix = "com.docker.compose."
			c.C.Config.Labels = map[string]string{prefix + "project": project, prefix + "service": name, prefix + "depends_on": after}
		}
	}
	all := []Candidate{
		made("xweb", "always", service("shop", "web", "cache:service_started:false,db:service_healthy:true")),
		made("zdb", "always", service("shop", "db", "")),
		made("ydb", "always", service("other", "db", "")),
		made("app", "always", func(c *Candidate) {
			c.C.HostConfig.Links = []string{"/database:db"}
			c.C.HostConfig.NetworkMode = "container:gateway"
		}),
		made("database", "unless-stopped", nil),
		made("gateway", "on-failure", func(c *Candidate) { c.C.HostConfig.PidMode = "container:app" }), // a circle
		made("stopped", "unless-stopped", func(c *Candidate) { c.State.Stopped = true }),
		made("forced", "always", func(c *Candidate) { c.State.Stopped = true }),
		made("well", "on-failure", func(c *Candidate) { c.State.ExitCode = 0 }),
		made("never", "always", func(c *Candidate) { c.State.StartedAt = time.Time{} }),
		made("here", "always", func(c *Candidate) { c.State.Boot = "new" }),
		made("runs", "always", func(c *Candidate) { c.State.Running = true }),
		made("none", "no", nil),
	}
	var got []string
	after := map[string]map[string]string{}
	for _, turn := range Boot(all, "new") {
		got = append(got, turn.C.Name)
		after[turn.C.Name] = turn.After
	}
	id := func(letter string) string { return strings.Repeat(letter, 64) }
	for name, want := range map[string]map[string]string{
		"xweb": {id("z"): Healthy}, "app": {id("d"): "", id("g"): ""}, "gateway": {}, "ydb": {},
	} {
		if !maps.Equal(after[name], want) {
			t.Errorf("%s comes after %v, want %v", name, after[name], want)
		}
	}
	if want := "zdb xweb ydb gateway database app forced"; strings.Join(got, " ") != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestMergeHealth(t *testing.T) {
	image := &container.HealthConfig{Test: []string{"CMD", "a"}, Interval: time.Second, Retries: 7}
	got := MergeHealth(&container.HealthConfig{Interval: time.Minute}, image)
	if got.Test[1] != "a" || got.Interval != time.Minute || got.Retries != 7 {
		t.Errorf("%+v", got)
	}
	if MergeHealth(nil, image) != image || MergeHealth(got, nil) != got {
		t.Error("one alone is not taken as it is")
	}
}

func TestOverlay(t *testing.T) {
	h := &container.HostConfig{}
	h.Memory, h.CPUPeriod = 64<<20, 5000
	u := &container.UpdateConfig{}
	u.Memory = 129 << 20
	if err := Overlay(h, u); err == nil {
		t.Error("a memory limit above memory and swap is taken")
	}
	u.MemorySwap = 200 << 20
	if err := Overlay(h, u); err != nil || h.Memory != 129<<20 || h.CPUPeriod != 5000 {
		t.Errorf("%v %+v", err, h.Resources)
	}
	u = &container.UpdateConfig{}
	u.NanoCPUs = 1e9
	if err := Overlay(h, u); err == nil || !strings.Contains(err.Error(), "Nano CPUs cannot be updated") {
		t.Error(err)
	}
}
