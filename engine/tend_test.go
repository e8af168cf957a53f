package engine

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"coracle/engine/events"
	"coracle/engine/record"

	"github.com/moby/moby/api/types/container"
)

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func (h *harness) started(s wanted) string {
	h.t.Helper()
	id := h.create(s)
	if err := h.open().Start(context.Background(), id); err != nil {
		h.t.Fatal(err)
	}
	if strings.HasPrefix(s.args[len(s.args)-1], "trap") {
		// A first process is not harmed by signals that it has no trap for.
		eventually(h.t, "the trap is set", func() bool { return h.log(id) != "" })
	}
	return id
}

func (h *harness) inspect(id string) *container.InspectResponse {
	h.t.Helper()
	info, err := h.open().Inspect(context.Background(), id, false)
	if err != nil {
		h.t.Fatal(err)
	}
	return info
}

func (h *harness) log(id string) string {
	var out bytes.Buffer
	if err := h.open().Logs(context.Background(), id, LogOptions{Tail: -1}, &out, &out); err != nil {
		h.t.Fatal(err)
	}
	return out.String()
}

// did are the actions that befell a container, oldest first.
func (h *harness) did(id string) string {
	var all []string
	err := Events(context.Background(), h.Engine, EventQuery{Since: time.Unix(1, 0), Until: time.Now()}, map[string][]string{"container": {id}}, func(m *events.Message) error {
		all = append(all, string(m.Action))
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func mustFail(t *testing.T, err error, k Kind, text string) {
	t.Helper()
	if err == nil || !isKind(err, k) || !strings.Contains(err.Error(), text) {
		t.Errorf("%v; want one of kind %d that says %q", err, k, text)
	}
}

const ticking = "trap 'exit 5' TERM; while :; do echo x; sleep 0.02; done"

func pauseCase(t *testing.T, h *harness) {
	ctx := context.Background()
	id := h.started(wanted{args: sh(ticking)})
	if err := Pause(ctx, h.open(), id); err != nil {
		t.Fatal(err)
	}
	if s := h.inspect(id).State; s.Status != "paused" || !s.Paused || !s.Running {
		t.Errorf("%+v", s)
	}
	time.Sleep(50 * time.Millisecond) // what was in the pipe
	before := h.log(id)
	time.Sleep(200 * time.Millisecond)
	if after := h.log(id); after != before {
		t.Errorf("it went on: %d bytes more", len(after)-len(before))
	}
	mustFail(t, Pause(ctx, h.open(), id), Conflict, "already paused")
	mustFail(t, h.open().Start(ctx, id), Conflict, "cannot start a paused container, try unpause instead")
	_, err := h.open().Exec(ctx, id, container.ExecCreateRequest{Cmd: []string{"true"}}, Streams{Stdout: &bytes.Buffer{}})
	mustFail(t, err, Conflict, "is paused, unpause the container before exec")
	if err := Unpause(ctx, h.open(), id); err != nil {
		t.Fatal(err)
	}
	mustFail(t, Unpause(ctx, h.open(), id), Conflict, "is not paused")
	eventually(t, "it goes on", func() bool { return len(h.log(id)) > len(before) })
	// A paused one is stopped by its own signal.
	if err := Pause(ctx, h.open(), id); err != nil {
		t.Fatal(err)
	}
	if err := h.open().Stop(ctx, id, "", nil); err != nil {
		t.Fatal(err)
	}
	if s := h.inspect(id).State; s.ExitCode != 5 || s.Paused || s.Status != "exited" {
		t.Errorf("stopped while paused: %+v", s)
	}
	mustFail(t, Pause(ctx, h.open(), id), Conflict, "is not running")
	mustFail(t, Unpause(ctx, h.open(), id), Conflict, "is not paused")
	if got, want := h.did(id), "create start pause unpause pause kill die stop"; got != want {
		t.Errorf("events: %q, want %q", got, want)
	}
	// And removed by force, and swept when its monitor was killed.
	for _, end := range []func() error{
		func() error { return h.open().Remove(ctx, id, true, false) },
		func() error {
			return record.Signal(h.monitor(id), 0, syscall.SIGKILL)
		},
	} {
		id = h.started(wanted{args: sh(ticking)})
		if err := Pause(ctx, h.open(), id); err != nil {
			t.Fatal(err)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "it is seen as exited", func() bool { return h.inspect(id).State.Status == "exited" })
}

// monitor is the PID of a container's monitor.
func (h *harness) monitor(id string) int {
	c, err := h.store.Load(id)
	if err != nil {
		h.t.Fatal(err)
	}
	s, err := c.State()
	if err != nil {
		h.t.Fatal(err)
	}
	return s.Monitor
}

func policy(name container.RestartPolicyMode, max int) func(*container.HostConfig) {
	return func(h *container.HostConfig) {
		h.RestartPolicy = container.RestartPolicy{Name: name, MaximumRetryCount: max}
	}
}

func policyCase(t *testing.T, h *harness) {
	ctx := context.Background()
	id := h.started(wanted{args: sh("echo x; exit 3"), host: policy("on-failure", 2)})
	eventually(t, "it has given up", func() bool { return h.inspect(id).State.Status == "exited" })
	info := h.inspect(id)
	if info.RestartCount != 2 || info.State.ExitCode != 3 || info.State.Running || info.State.Restarting {
		t.Errorf("%d restarts, %+v", info.RestartCount, info.State)
	}
	if got := h.log(id); got != "x\nx\nx\n" {
		t.Errorf("log %q", got)
	}
	eventually(t, "all is told", func() bool { return h.did(id) == "create start die start die start die" })

	// Between two runs it is restarting, and stop ends it at once.
	id = h.started(wanted{args: sh("exit 4"), host: policy("always", 0)})
	eventually(t, "the pause is long", func() bool { return h.inspect(id).RestartCount >= 4 && h.inspect(id).State.Restarting })
	if s := h.inspect(id).State; s.Status != "restarting" || !s.Running || s.Pid != 0 || s.ExitCode != 4 {
		t.Errorf("%+v", s)
	}
	_, err := h.open().Exec(ctx, id, container.ExecCreateRequest{Cmd: []string{"true"}}, Streams{Stdout: &bytes.Buffer{}})
	mustFail(t, err, Conflict, "is restarting, wait until the container is running")
	mustFail(t, Pause(ctx, h.open(), id), Conflict, "is restarting")
	if err := h.open().Stop(ctx, id, "", nil); err != nil {
		t.Fatal(err)
	}
	if s := h.inspect(id).State; s.Status != "exited" || s.ExitCode != 4 {
		t.Errorf("%+v", s)
	}

	// A kill ends the restarts too, and a start begins them anew.
	id = h.started(wanted{args: sh("sleep 100"), host: policy("unless-stopped", 0)})
	pid := h.inspect(id).State.Pid
	if err := record.Signal(pid, 0, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it runs again", func() bool { s := h.inspect(id).State; return s.Status == "running" && s.Pid != pid })
	if err := h.open().Kill(ctx, id, ""); err != nil {
		t.Fatal(err)
	}
	if info := h.inspect(id); info.State.Status != "exited" || info.RestartCount != 1 {
		t.Errorf("%d restarts, %+v", info.RestartCount, info.State)
	}
	if err := h.open().Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	if n := h.inspect(id).RestartCount; n != 0 {
		t.Errorf("%d restarts of one just started", n)
	}
	// A monitor killed between two runs leaves nothing that is believed.
	id = h.started(wanted{args: sh("exit 4"), host: policy("always", 0)})
	eventually(t, "the pause is long", func() bool { return h.inspect(id).RestartCount >= 4 && h.inspect(id).State.Restarting })
	if err := record.Signal(h.monitor(id), 0, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is seen as exited", func() bool { s := h.inspect(id).State; return s.Status == "exited" && s.ExitCode == 4 })
}

func restartCase(t *testing.T, h *harness) {
	ctx := context.Background()
	for _, rm := range []bool{false, true} {
		id := h.started(wanted{args: sh(ticking), rm: rm})
		pid := h.inspect(id).State.Pid
		if err := Restart(ctx, h.open(), id, "", nil); err != nil {
			t.Fatal(err)
		}
		if s := h.inspect(id).State; s.Status != "running" || s.Pid == pid {
			t.Errorf("%+v, was %d", s, pid)
		}
		lines := len(h.log(id))
		eventually(t, "the trap is set again", func() bool { return len(h.log(id)) > lines })
		if got, want := h.did(id), "create start kill die stop start restart"; got != want {
			t.Errorf("events: %q, want %q", got, want)
		}
		if err := h.open().Stop(ctx, id, "", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := h.open().Inspect(ctx, id, false); (err != nil) != rm {
			t.Errorf("--rm=%v and stopped: %v", rm, err)
		}
		if rm {
			continue
		}
		if err := Restart(ctx, h.open(), id, "", nil); err != nil || !h.inspect(id).State.Running {
			t.Errorf("restart of a stopped one: %v", err)
		}
	}
	mustFail(t, Restart(ctx, h.open(), "nosuch", "", nil), NotFound, "No such container: nosuch")
}

func renameCase(t *testing.T, h *harness) {
	ctx := context.Background()
	a, b := h.started(wanted{name: "first", args: sh(ticking), rm: true}), h.create(wanted{name: "second", args: sh("true")})
	mustFail(t, Rename(ctx, h.open(), "first", "second"), Conflict, `The container name "/second" is already in use by container "`+b)
	mustFail(t, Rename(ctx, h.open(), "first", "first"), Invalid, "same name as its current name")
	mustFail(t, Rename(ctx, h.open(), "first", "a b"), Invalid, "Invalid container name (/a b)")
	if err := Rename(ctx, h.open(), "first", "third"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.open().Inspect(ctx, "first", false); err == nil {
		t.Error("the old name is still good")
	}
	if h.inspect("third").ID != a {
		t.Error("the new name is another's")
	}
	if err := Rename(ctx, h.open(), "second", "first"); err != nil {
		t.Error("the old name is not free: ", err)
	}
	// A rename that was killed: both names are there, and the record decides.
	if err := os.Symlink(a, filepath.Join(h.opt.Root, "names", "fourth")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.open().Inspect(ctx, "fourth", false); !isKind(err, NotFound) {
		t.Errorf("a name that the record does not know: %v", err)
	}
	if err := os.Symlink(a, filepath.Join(h.opt.Root, "names", "fourth")); err != nil {
		t.Fatal(err)
	}
	if err := Rename(ctx, h.open(), "first", "fourth"); err != nil {
		t.Error(err)
	}
	// The monitor removes it by the name that it has now.
	if err := h.open().Stop(ctx, "third", "", nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is gone", func() bool {
		_, err := os.Lstat(filepath.Join(h.opt.Root, "names", "third"))
		return errors.Is(err, os.ErrNotExist)
	})
}

func updateCase(t *testing.T, h *harness) {
	ctx := context.Background()
	id := h.started(wanted{args: sh(ticking)})
	var u container.UpdateConfig
	u.Memory, u.MemorySwap = 64<<20, 128<<20
	warnings, err := Update(ctx, h.open(), id, u)
	if err != nil {
		t.Fatal(err)
	}
	if h.inspect(id).HostConfig.Memory != 64<<20 {
		t.Error("it is not written down")
	}
	d, err := h.mach.Limits(h.drivers().Limits)
	if err != nil {
		t.Fatal(err)
	}
	group, err := d.Open(id, "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := group.Stats()
	if err != nil {
		t.Fatal(err)
	}
	held := s.MemoryLimit == 64<<20
	if said := strings.Contains(strings.Join(warnings, "\n"), "--memory"); held == said {
		t.Errorf("limit %d, warnings %q", s.MemoryLimit, warnings)
	}
	if h.drivers().Limits == "cgroup1" && !held {
		t.Errorf("the limit is %d", s.MemoryLimit)
	}
	u = container.UpdateConfig{}
	u.Memory = 1 << 10
	_, err = Update(ctx, h.open(), id, u)
	mustFail(t, err, Invalid, "Minimum memory limit allowed is 6MB")
	if h.inspect(id).HostConfig.Memory != 64<<20 {
		t.Error("a refused update was written down")
	}
	// The monitor heeds a policy given later.
	if _, err := Update(ctx, h.open(), id, container.UpdateConfig{RestartPolicy: container.RestartPolicy{Name: "always"}}); err != nil {
		t.Fatal(err)
	}
	pid := h.inspect(id).State.Pid
	record.Signal(pid, 0, syscall.SIGKILL)
	eventually(t, "it runs again", func() bool { s := h.inspect(id).State; return s.Status == "running" && s.Pid != pid })
}

func (h *harness) status(id string) string {
	h.t.Helper()
	list, err := h.open().List(context.Background(), ListOptions{All: true, Filters: map[string][]string{"id": {id}}})
	if err != nil || len(list) != 1 {
		h.t.Fatal(len(list), err)
	}
	return list[0].Status
}

func healthCase(t *testing.T, h *harness) {
	ctx := context.Background()
	check := func(test string, change func(*container.HealthConfig)) func(*container.Config) {
		return func(c *container.Config) {
			c.Healthcheck = &container.HealthConfig{Test: []string{"CMD-SHELL", test}, Interval: 20 * time.Millisecond, Retries: 2}
			if change != nil {
				change(c.Healthcheck)
			}
		}
	}
	id := h.started(wanted{args: sh("rm -f /tmp/ok; " + ticking), cfg: check("echo looked; test -e /tmp/ok", nil)})
	eventually(t, "unhealthy", func() bool { return strings.HasSuffix(h.status(id), " (unhealthy)") })
	eventually(t, "the log is full", func() bool { return len(h.inspect(id).State.Health.Log) == 5 })
	last := h.inspect(id).State.Health
	if r := last.Log[4]; r.ExitCode != 1 || r.Output != "looked\n" || r.End.Before(r.Start) || last.FailingStreak < 5 {
		t.Errorf("%+v %+v", last, r)
	}
	if _, err := h.open().Exec(ctx, id, container.ExecCreateRequest{Cmd: []string{"touch", "/tmp/ok"}}, Streams{Stdout: &bytes.Buffer{}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "healthy", func() bool { return strings.HasSuffix(h.status(id), " (healthy)") })
	if err := Pause(ctx, h.open(), id); err != nil {
		t.Fatal(err)
	}
	if s := h.status(id); !strings.HasSuffix(s, "(Paused)") {
		t.Error(s)
	}
	if err := Unpause(ctx, h.open(), id); err != nil {
		t.Fatal(err)
	}
	eventually(t, "healthy again", func() bool { return strings.HasSuffix(h.status(id), " (healthy)") })
	if err := h.open().Kill(ctx, id, ""); err != nil {
		t.Fatal(err)
	}
	if s := h.inspect(id).State.Health; s.Status != "unhealthy" || len(s.Log) != 5 {
		t.Errorf("after the end: %+v", s)
	}
	if got := h.did(id); !strings.HasPrefix(got, "create start health_status: unhealthy ") || !strings.Contains(got, " health_status: healthy ") {
		t.Errorf("events: %q", got)
	}

	// One that hangs is killed, with what it said.
	id = h.started(wanted{args: sh("sleep 100"), cfg: check("echo hangs; sleep 99", func(c *container.HealthConfig) {
		c.Timeout, c.StartPeriod, c.StartInterval = 300*time.Millisecond, time.Hour, 10*time.Millisecond
	})})
	eventually(t, "three results", func() bool { return len(h.inspect(id).State.Health.Log) >= 3 })
	// Not each on a slow machine: the time may be over before it says anything.
	var health *container.Health
	eventually(t, "what it said", func() bool {
		health = h.inspect(id).State.Health
		return slices.ContainsFunc(health.Log, func(r *container.HealthcheckResult) bool {
			return r.ExitCode == -1 && r.Output == "Health check exceeded timeout (300ms): hangs\n"
		})
	})
	// In the start period nothing counts.
	if health.Status != "starting" || health.FailingStreak != 0 || !strings.HasSuffix(h.status(id), " (health: starting)") {
		t.Errorf("%+v, %s", health, h.status(id))
	}
	if err := h.open().Kill(ctx, id, ""); err != nil {
		t.Fatal(err)
	}
	id = h.started(wanted{args: sh("sleep 100"), cfg: check("nosuch", func(c *container.HealthConfig) { c.Test = []string{"NONE"} })})
	if s := h.inspect(id).State.Health; s != nil {
		t.Errorf("%+v of one that is not checked", s)
	}
	_, err := h.tryCreate(wanted{args: sh("true"), cfg: check("x", func(c *container.HealthConfig) { c.Interval = 1 })})
	mustFail(t, err, Invalid, "Interval in Healthcheck cannot be less than 1ms")
}

func watchCase(t *testing.T, h *harness) {
	ctx := context.Background()
	id := h.started(wanted{args: sh("sleep 1000 & while :; do :; done")})
	var top *container.TopResponse
	eventually(t, "both processes are seen", func() bool {
		var err error
		if top, err = Top(ctx, h.open(), id, nil); err != nil {
			t.Fatal(err)
		}
		return len(top.Processes) >= 2 && strings.Contains(strings.Join(top.Processes[len(top.Processes)-1], " "), "sleep 1000")
	})
	if strings.Join(top.Titles, " ") != "UID PID PPID C STIME TTY TIME CMD" {
		t.Errorf("%q", top.Titles)
	}
	if row := strings.Join(top.Processes[0], " "); !strings.Contains(row, "while :") && h.drivers().Entering != "agent" {
		t.Errorf("%q", row)
	}
	top, err := Top(ctx, h.open(), id, []string{"-o", "pid,comm"})
	if err != nil || len(top.Titles) != 2 {
		t.Errorf("%+v %v", top, err)
	}
	_, err = Top(ctx, h.open(), id, []string{"-o", "comm"})
	mustFail(t, err, Internal, "Couldn't find PID field in ps output")

	before, err := Stats(ctx, h.open(), id, nil)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it uses the processor", func() bool {
		s, err := Stats(ctx, h.open(), id, &before)
		return err == nil && s.CPUStats.CPUUsage.TotalUsage > before.CPUStats.CPUUsage.TotalUsage+50e6 && s.PreCPUStats.SystemUsage > 0
	})
	if before.MemoryStats.Usage == 0 || before.MemoryStats.Limit == 0 || before.PidsStats.Current < 2 {
		t.Errorf("%+v", before)
	}
	if err := h.open().Kill(ctx, id, ""); err != nil {
		t.Fatal(err)
	}
	if s, err := Stats(ctx, h.open(), id, nil); err != nil || s.PidsStats.Current != 0 {
		t.Errorf("of one that does not run: %+v %v", s, err)
	}
	_, err = Top(ctx, h.open(), id, nil)
	mustFail(t, err, Conflict, "is not running")
}

func execsCase(t *testing.T, h *harness) {
	ctx := context.Background()
	id := h.started(wanted{args: sh("sleep 1000")})
	if ids := h.inspect(id).ExecIDs; len(ids) != 0 {
		t.Errorf("%q", ids)
	}
	if _, err := h.open().Exec(ctx, id, container.ExecCreateRequest{Cmd: sh("while ! test -e /tmp/go; do sleep 0.02; done; exit 7")}, Streams{}); err != nil {
		t.Fatal(err)
	}
	ids := h.inspect(id).ExecIDs
	if len(ids) != 1 || len(ids[0]) != 64 {
		t.Errorf("%q", ids)
	}
	if code, err := h.open().Exec(ctx, id, container.ExecCreateRequest{Cmd: []string{"touch", "/tmp/go"}}, Streams{Stdout: &bytes.Buffer{}}); err != nil || code != 0 {
		t.Fatal(code, err)
	}
	eventually(t, "it has ended", func() bool { return len(h.inspect(id).ExecIDs) == 0 })
	if got := h.did(id); !strings.Contains(got, "exec_create: touch /tmp/go exec_start: touch /tmp/go ") || strings.Count(got, "exec_die") != 2 {
		t.Errorf("events: %q", got)
	}
}

// reboot kills the monitors of those that run, and makes it all the doings of
// another boot.
func (h *harness) reboot(run []string, rest ...string) {
	t := h.t
	t.Helper()
	for _, id := range run {
		c, err := h.store.Load(id)
		if err != nil {
			t.Fatal(err)
		}
		record.Signal(h.monitor(id), 0, syscall.SIGKILL)
		if err := c.Await(); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range append(run, rest...) {
		c, err := h.store.Load(id)
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.State()
		if err != nil {
			t.Fatal(err)
		}
		s.Boot = "another"
		if err := c.SetState(s, false); err != nil {
			t.Fatal(err)
		}
	}
}

// bootGroupCase: what a group waits for is waited for at boot, too.
func bootGroupCase(t *testing.T, h *harness) {
	member := func(service, after, policy, script, health string) string {
		return h.started(wanted{name: "shop-" + service, args: sh(script), host: func(hc *container.HostConfig) {
			hc.RestartPolicy.Name = container.RestartPolicyMode(policy)
		}, cfg: func(c *container.Config) {
			const prefix = "com.docker.compose."
			c.Labels = map[string]string{prefix + "project": "shop", prefix + "service": service, prefix + "depends_on": after}
			if health != "" {
				c.Healthcheck = &container.HealthConfig{Test: []string{"CMD-SHELL", health}, Interval: 100 * time.Millisecond, Retries: 2}
			}
		}})
	}
	db := member("db", "", "always", "exec sleep 1000", "exit 0")
	ill := member("ill", "", "always", "exec sleep 1000", "exit 1")
	migrate := member("migrate", "db:service_healthy:false", "on-failure", "test -e /done && exit 0; echo >/done; echo made; exec sleep 1000", "")
	web := member("web", "migrate:service_completed_successfully:true", "always", "exec sleep 1000", "")
	sad := member("sad", "ill:service_healthy:true", "always", "exec sleep 1000", "")
	all := []string{db, ill, migrate, web, sad}
	defer func() {
		for _, id := range all {
			if err := h.open().Remove(context.Background(), id, true, true); err != nil {
				t.Error(err)
			}
		}
	}()
	eventually(t, "migrate has begun", func() bool { return h.log(migrate) != "" })
	h.reboot(all)
	told := map[string]error{}
	if err := Boot(context.Background(), h.open(), func(name string, err error) { told[name] = err }); err != nil {
		t.Fatal(err)
	}
	if err := told["shop-sad"]; err == nil || !strings.Contains(err.Error(), "dependency failed to start: container shop-ill is unhealthy") {
		t.Errorf("what needs one that is not well: %v", err)
	}
	delete(told, "shop-sad")
	for name, err := range told {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(told) != 4 || h.inspect(sad).State.Running {
		t.Errorf("started: %v", told)
	}
	at := func(s string) time.Time {
		when, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	d, m, w := h.inspect(db).State, h.inspect(migrate).State, h.inspect(web).State
	if d.Health == nil || d.Health.Status != container.Healthy {
		t.Errorf("%+v", d)
	}
	if early := at(m.StartedAt).Sub(at(d.StartedAt)); early < 100*time.Millisecond {
		t.Errorf("migrate was started %v after db, before db was checked", early)
	}
	if m.Running || m.ExitCode != 0 || !at(w.StartedAt).After(at(m.FinishedAt)) {
		t.Errorf("web was started at %s, migrate ended with %d at %s", w.StartedAt, m.ExitCode, m.FinishedAt)
	}
}

// bootCase: another boot ID in the state, and no monitor.
func bootCase(t *testing.T, h *harness) {
	ctx := context.Background()
	none, always := h.started(wanted{args: sh("sleep 1000")}), h.started(wanted{args: sh("sleep 1000"), host: policy("always", 0)})
	stopped := h.started(wanted{args: sh(ticking), host: policy("unless-stopped", 0)})
	if err := h.open().Stop(ctx, stopped, "", nil); err != nil {
		t.Fatal(err)
	}
	h.reboot([]string{none, always}, stopped)
	if s := h.inspect(none).State; s.Status != "exited" || s.ExitCode != 255 {
		t.Errorf("after a reboot: %+v", s)
	}
	boot := func() (names []string) {
		if err := Boot(ctx, h.open(), func(name string, err error) { names = append(names, name); _ = err }); err != nil {
			t.Fatal(err)
		}
		return names
	}
	if got := boot(); len(got) != 1 || "/"+got[0] != h.inspect(always).Name {
		t.Errorf("started: %q", got)
	}
	if h.inspect(always).State.Status != "running" || h.inspect(none).State.Running || h.inspect(stopped).State.Running {
		t.Error("not what the policies say")
	}
	if got := boot(); len(got) != 0 {
		t.Errorf("a second time: %q", got)
	}
}
