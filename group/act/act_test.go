package act

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"coracle/engine"
	"coracle/group/load"
	"coracle/group/model"
	"coracle/group/plan"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"
)

// fake is an engine in memory.
type fake struct {
	mu   sync.Mutex
	next int
	all  map[string]*thing
	log  []string
	// fails says of a call ("start shop-web-1") what comes of it.
	fails func(call string) error
	// ends are the exit codes of containers that end at once, by service.
	ends map[string]int
	// sick are services whose health check fails.
	sick map[string]bool
}

type thing struct {
	id, name string
	labels   map[string]string
	config   *container.Config
	host     *container.HostConfig
	state    container.ContainerState
	code     int
}

func newFake() *fake {
	return &fake{all: map[string]*thing{}, ends: map[string]int{}, sick: map[string]bool{}}
}

func (f *fake) did(call string) error {
	f.log = append(f.log, call)
	if f.fails != nil {
		return f.fails(call)
	}
	return nil
}

func (f *fake) find(ref string) (*thing, error) {
	for _, t := range f.all {
		if t.id == ref || t.name == ref {
			return t, nil
		}
	}
	return nil, &engine.Error{Kind: engine.NotFound, Msg: "No such container: " + ref}
}

// call does something to a container under the lock.
func (f *fake) call(verb, ref string, do func(t *thing)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, err := f.find(ref)
	if err != nil {
		return err
	}
	if err := f.did(verb + " " + t.name); err != nil {
		return err
	}
	do(t)
	return nil
}

func (f *fake) List(context.Context, engine.ListOptions) (list []container.Summary, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.all {
		list = append(list, container.Summary{ID: t.id, Names: []string{"/" + t.name}, Labels: t.labels, State: t.state})
	}
	return list, nil
}

func (f *fake) Inspect(_ context.Context, ref string, _ bool) (*container.InspectResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, err := f.find(ref)
	if err != nil {
		return nil, err
	}
	i := &container.InspectResponse{ID: t.id, Name: "/" + t.name, Config: t.config, HostConfig: t.host, State: &container.State{Status: t.state, ExitCode: t.code}}
	if t.config.Healthcheck != nil {
		i.State.Health = &container.Health{Status: container.Healthy}
		if f.sick[t.labels[model.LabelService]] {
			i.State.Health.Status = container.Unhealthy
		}
	}
	return i, nil
}

func (f *fake) Make(_ context.Context, d *model.Draft) (string, []string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.did("make " + d.Name); err != nil {
		return "", nil, err
	}
	if _, err := f.find(d.Name); err == nil {
		return "", nil, &engine.Error{Kind: engine.Conflict, Msg: "name in use: " + d.Name}
	}
	f.next++
	t := &thing{fmt.Sprintf("%064d", f.next), d.Name, d.Config.Labels, d.Config, d.Host, container.StateCreated, 0}
	f.all[t.id] = t
	return t.id, nil, nil
}

func (f *fake) Start(_ context.Context, ref string) error {
	return f.call("start", ref, func(t *thing) {
		t.state = container.StateRunning
		if code, ok := f.ends[t.labels[model.LabelService]]; ok {
			t.state, t.code = container.StateExited, code
		}
	})
}

func (f *fake) Stop(_ context.Context, ref, _ string, _ *int) error {
	return f.call("stop", ref, func(t *thing) { t.state = container.StateExited })
}

func (f *fake) Remove(_ context.Context, ref string, _, _ bool) error {
	return f.call("remove", ref, func(t *thing) { delete(f.all, t.id) })
}

func (f *fake) Rename(_ context.Context, ref, name string) error {
	return f.call("rename", ref, func(t *thing) { t.name = name })
}

func (f *fake) Wait(ctx context.Context, ref string) (int, error) {
	for {
		f.mu.Lock()
		t, err := f.find(ref)
		done := err != nil || t.state != container.StateRunning
		code := 0
		if err == nil {
			code = t.code
		}
		f.mu.Unlock()
		if done {
			return code, err
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (f *fake) Exec(_ context.Context, ref string, req container.ExecCreateRequest, s engine.Streams) (code int, err error) {
	err = f.call("exec "+strings.Join(req.Cmd, " "), ref, func(*thing) {
		if req.Cmd[0] == "false" {
			code = 1
			fmt.Fprintln(s.Stderr, "false says no")
		}
	})
	return code, err
}

func (f *fake) Logs(_ context.Context, _ string, _ engine.LogOptions, out, _ io.Writer) error {
	fmt.Fprintln(out, "the last line")
	return nil
}
func (f *fake) Networks(context.Context) (map[string]map[string]string, bool, error) {
	return nil, true, nil
}
func (f *fake) MakeNetwork(_ context.Context, r network.CreateRequest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.did("network " + r.Name)
}
func (f *fake) RemoveNetwork(context.Context, string) error { return nil }
func (f *fake) Volumes(context.Context) (map[string]map[string]string, error) {
	return nil, nil
}
func (f *fake) MakeVolume(context.Context, volume.CreateRequest) error { return nil }
func (f *fake) RemoveVolume(context.Context, string) error             { return nil }
func (f *fake) Image(context.Context, string, string) (string, error)  { return "sha256:1", nil }
func (f *fake) RemoveImage(context.Context, string) error              { return nil }
func (f *fake) Pull(context.Context, string, string, func(engine.PullEvent)) (string, error) {
	return "sha256:1", nil
}

// names are the containers that there are, with their states.
func (f *fake) names() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []string
	for _, t := range f.all {
		list = append(list, t.name+" "+string(t.state))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

func project(t *testing.T, text string) *load.Project {
	t.Helper()
	path := filepath.Join(t.TempDir(), "compose.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := load.Load(context.Background(), load.Options{Files: []string{path}, Name: "s"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// up plans and does it.
func up(ctx context.Context, t *testing.T, f *fake, p *load.Project) error {
	t.Helper()
	list, _ := f.List(ctx, engine.ListOptions{})
	state := plan.Observe(list)
	images := map[string]string{}
	for name := range p.Services {
		images[name] = "sha256:1"
	}
	pl, err := plan.Up(p, state, plan.Options{Images: images})
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(f, 0, nil).Create(ctx, p, pl, images, UpOptions{})
	if err != nil {
		return err
	}
	return g.Start(ctx)
}

func (f *fake) before(t *testing.T, first, second string) {
	t.Helper()
	a, b := slices.Index(f.log, first), slices.Index(f.log, second)
	if a < 0 || b < 0 || a > b {
		t.Errorf("%q is not before %q in %q", first, second, f.log)
	}
}

const chain = `
services:
  db: {image: box}
  job: {image: box, depends_on: [db]}
  web: {image: box, scale: 2, depends_on: {job: {condition: service_completed_successfully}}}
`

func TestOrder(t *testing.T) {
	f, p := newFake(), project(t, chain)
	f.ends["job"] = 0
	if err := up(context.Background(), t, f, p); err != nil {
		t.Fatal(err)
	}
	if got := f.names(); got != "s-db-1 running, s-job-1 exited, s-web-1 running, s-web-2 running" {
		t.Error(got)
	}
	f.before(t, "start s-db-1", "start s-job-1")
	f.before(t, "start s-job-1", "start s-web-2")
	list, _ := f.List(context.Background(), engine.ListOptions{})
	if err := New(f, 0, nil).Stop(context.Background(), p, plan.Observe(list).Containers, StopOptions{Remove: true}); err != nil {
		t.Fatal(err)
	}
	f.before(t, "remove s-web-1", "stop s-db-1")
	f.before(t, "remove s-web-2", "stop s-db-1")
	if got := f.names(); got != "" {
		t.Error(got)
	}
}

func TestFailedDependency(t *testing.T) {
	f, p := newFake(), project(t, chain)
	f.ends["job"] = 3
	err := up(context.Background(), t, f, p)
	var e *Error
	if !errors.As(err, &e) || e.Msg != `service "job" didn't complete successfully: exit 3` || len(e.Log) != 1 || e.Log[0] != "the last line" {
		t.Errorf("got %+v", err)
	}
	if slices.Contains(f.log, "start s-web-1") {
		t.Error("web was started")
	}
}

func TestUnhealthy(t *testing.T) {
	f, p := newFake(), project(t, "services:\n  db: {image: box, healthcheck: {test: [CMD, x]}}\n  web: {image: box, depends_on: {db: {condition: service_healthy}}}\n")
	f.sick["db"] = true
	if err := up(context.Background(), t, f, p); err == nil || err.Error() != "dependency failed to start: container s-db-1 is unhealthy" {
		t.Errorf("got %v", err)
	}
}

// TestBrokenOff: after an error at any call, up once more comes to the same end.
func TestBrokenOff(t *testing.T) {
	for n := 1; n < 40; n++ {
		f, p := newFake(), project(t, chain)
		f.ends["job"] = 0
		if err := up(context.Background(), t, f, p); err != nil {
			t.Fatal(err)
		}
		// Another configuration for all: every container is replaced.
		q := project(t, strings.ReplaceAll(chain, "image: box", "image: box, hostname: h"))
		calls, broken := 0, false
		f.fails = func(call string) error {
			if calls++; calls == n {
				broken = true
				return errors.New("broken off")
			}
			return nil
		}
		err := up(context.Background(), t, f, q)
		f.fails = nil
		if !broken {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		if err == nil {
			t.Errorf("call %d broke and nobody says so", n)
		}
		if err := up(context.Background(), t, f, q); err != nil {
			t.Errorf("after call %d broke: %v", n, err)
		}
		if got := f.names(); got != "s-db-1 running, s-job-1 exited, s-web-1 running, s-web-2 running" {
			t.Errorf("after call %d broke: %s", n, got)
		}
		for _, c := range f.all {
			if c.config.Hostname != "h" {
				t.Errorf("after call %d broke: %s is the old one", n, c.name)
			}
		}
	}
	t.Error("no end of calls")
}

// TestInterrupted: nothing goes on after the context is over.
func TestInterrupted(t *testing.T) {
	f, p := newFake(), project(t, chain)
	ctx, cancel := context.WithCancel(context.Background())
	f.fails = func(call string) error {
		if call == "start s-db-1" {
			cancel()
		}
		return nil
	}
	if err := up(ctx, t, f, p); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if slices.Contains(f.log, "start s-job-1") {
		t.Error("it went on")
	}
}

const rolled = `
services:
  web:
    image: box
    hostname: HOST
    deploy: {replicas: 4, update_config: {parallelism: 2, order: ORDER, monitor: 1ms, failure_action: ACTION}}
`

func TestRolling(t *testing.T) {
	of := func(host, order, action string) *load.Project {
		return project(t, strings.NewReplacer("HOST", host, "ORDER", order, "ACTION", action).Replace(rolled))
	}
	for _, order := range []string{"start-first", "stop-first"} {
		for _, action := range []string{"rollback", "pause", "continue"} {
			t.Run(order+" "+action, func(t *testing.T) {
				f := newFake()
				if err := up(context.Background(), t, f, of("old", order, action)); err != nil {
					t.Fatal(err)
				}
				if err := up(context.Background(), t, f, of("new", order, action)); err != nil {
					t.Fatal(err)
				}
				hosts := func() map[string]int {
					m := map[string]int{}
					for _, c := range f.all {
						if c.state == container.StateRunning {
							m[c.config.Hostname]++
						}
					}
					return m
				}
				if m := hosts(); m["new"] != 4 {
					t.Fatalf("%v", m)
				}
				// The third start of the next revision fails.
				starts := 0
				f.fails = func(call string) error {
					if strings.HasPrefix(call, "start") {
						if starts++; starts == 3 {
							return errors.New("cannot start")
						}
					}
					return nil
				}
				err := up(context.Background(), t, f, of("third", order, action))
				if err == nil || !strings.Contains(err.Error(), "cannot start") {
					t.Errorf("got %v", err)
				}
				m := hosts()
				switch {
				case action == "rollback" && (m["new"] != 4 || m["third"] != 0):
					t.Errorf("not rolled back: %v", m)
				case action == "pause" && m["third"] != 3 && m["third"] != 2:
					t.Errorf("paused: %v", m)
				case action == "continue" && m["third"] != 3:
					t.Errorf("continued: %v", m)
				}
			})
		}
	}
}

func TestHooks(t *testing.T) {
	f, p := newFake(), project(t, "services:\n  web: {image: box, post_start: [{command: [one]}, {command: ['false']}], pre_stop: [{command: [bye]}]}\n")
	err := up(context.Background(), t, f, p)
	var e *Error
	if !errors.As(err, &e) || e.Msg != "container s-web-1: post_start hook exited with status 1" || e.Log[0] != "false says no" {
		t.Errorf("got %v", err)
	}
	list, _ := f.List(context.Background(), engine.ListOptions{})
	if err := New(f, 0, nil).Stop(context.Background(), p, plan.Observe(list).Containers, StopOptions{}); err != nil {
		t.Fatal(err)
	}
	f.before(t, "exec bye s-web-1", "stop s-web-1")
}

// TestHundred: many at once, bounded.
func TestHundred(t *testing.T) {
	f, p := newFake(), project(t, "services:\n  web: {image: box, scale: 100}\n")
	if err := up(context.Background(), t, f, p); err != nil {
		t.Fatal(err)
	}
	if n := len(f.all); n != 100 {
		t.Errorf("%d containers", n)
	}
}
