package command

import (
	"context"
	"io"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"coracle/cmd/coracle/argv"
	"coracle/engine"

	"github.com/urfave/cli/v2"
)

// options parses a command line of run as Run does, and returns what would be
// asked of the engine.
func options(t *testing.T, args ...string) engine.CreateOptions {
	t.Helper()
	tl := &tool{Stdio: Stdio{Out: io.Discard, Err: io.Discard}, spelling: "run"}
	v := newRun(tl)
	var o engine.CreateOptions
	v.Action = func(c *cli.Context) (err error) {
		o, err = createOptions(c, v)
		return err
	}
	flags, operands, err := argv.Parse(known(v.Flags), v.mixed, args)
	if err != nil {
		t.Fatal(err)
	}
	v.Flags = needed(v.Flags, flags)
	line := append(append([]string{"coracle", "run"}, flags...), "--")
	if err := tl.app(v, []string{"run"}).RunContext(context.Background(), append(line, operands...)); err != nil {
		t.Fatal(err)
	}
	return o
}

// TestWhatFollowsTheImagePasses: the parser behind the normaliser must not take
// a container's arguments for its own.
func TestWhatFollowsTheImagePasses(t *testing.T) {
	for _, cmd := range [][]string{
		{"help"}, {"h"}, {"--help"}, {"-h"}, {"--", "x"}, {"--version"}, {"-v"}, {"run"}, {"sh", "-c", "exit 3"}, {"--generate-bash-completion"}, {"-it", "--rm", "-e", "A"}, {""},
	} {
		o := options(t, append([]string{"--rm", "box"}, cmd...)...)
		if !reflect.DeepEqual([]string(o.Config.Cmd), cmd) || o.Config.Image != "box" {
			t.Errorf("run box %q: command %q of %q", cmd, o.Config.Cmd, o.Config.Image)
		}
	}
}

func TestCreateOptions(t *testing.T) {
	o := options(t, "-it", "--rm", "-eA=1,2", "-e", "B= x ", "-h", "true", "-v/a:/b,c", "--cpus=1.5", "-m64m", "--memory-swap=-1",
		"--pids-limit=-1", "--init", "--stop-timeout=0", "--entrypoint=", "-l", "k=v,w", "--name=c1", "--network=none", "--ulimit", "nofile=1:2",
		"--tmpfs=/t:size=1m", "--read-only", "--user=1:2", "-w/x", "--pidfile=p", "box", "ls", "-l")
	c, h := o.Config, o.Host
	for _, check := range []struct {
		what      string
		got, want any
	}{
		{"env", c.Env, []string{"A=1,2", "B= x "}}, {"hostname", c.Hostname, "true"}, {"binds", h.Binds, []string{"/a:/b,c"}},
		{"cpus", h.NanoCPUs, int64(15e8)}, {"memory", h.Memory, int64(64 << 20)}, {"swap", h.MemorySwap, int64(-1)},
		{"pids", *h.PidsLimit, int64(-1)}, {"init", *h.Init, true}, {"stop timeout", *c.StopTimeout, 0},
		{"entrypoint", c.Entrypoint, []string{""}}, {"labels", c.Labels, map[string]string{"k": "v,w"}}, {"name", o.Name, "c1"},
		{"network", string(h.NetworkMode), "none"}, {"tty", c.Tty && c.OpenStdin && c.AttachStdin && c.StdinOnce && c.AttachStdout, true},
		{"rm", h.AutoRemove, true}, {"tmpfs", h.Tmpfs, map[string]string{"/t": "size=1m"}}, {"read-only", h.ReadonlyRootfs, true},
		{"user", c.User, "1:2"}, {"workdir", c.WorkingDir, "/x"}, {"command", []string(c.Cmd), []string{"ls", "-l"}},
		{"pidfile is absolute", filepath.IsAbs(o.PIDFile), true}, {"pull", o.Pull, "missing"}, {"ulimit", h.Ulimits[0].Hard, int64(2)},
	} {
		if !reflect.DeepEqual(check.got, check.want) {
			t.Errorf("%s: %#v, want %#v", check.what, check.got, check.want)
		}
	}
	o = options(t, "--rm=false", "--init=false", "box")
	if o.Host.AutoRemove || *o.Host.Init || o.Config.Entrypoint != nil || o.Config.StopTimeout != nil || o.Host.PidsLimit != nil || o.Config.AttachStdin {
		t.Errorf("%+v %+v", o.Config, o.Host)
	}
}

func TestNamesOfWhatIsMissing(t *testing.T) {
	for _, line := range []string{"run --use-api-socket box", "-H tcp://x ps", "run --gpus all box"} {
		out, code := coracle(strings.Split(line, " ")...)
		if code != 125 || !strings.Contains(out, "is not supported: ") {
			t.Errorf("%s: exit %d, %s", line, code, out)
		}
	}
}

// TestFlagsHaveOneMeaning: a flag that is not given is looked up among the
// global ones too.
func TestFlagsHaveOneMeaning(t *testing.T) {
	global := map[string]bool{}
	for _, f := range globalFlags() {
		global[f.Names()[0]] = true
	}
	// These take the flag only where it stands behind them (imageRoot).
	own := []string{"supervise install", "supervise remove", "supervise status"}
	for _, e := range verbs() {
		for _, f := range e.make(&tool{}).Flags {
			if name := f.Names()[0]; global[name] && !(name == "root" && slices.Contains(own, e.spellings[0])) {
				t.Errorf("%s --%s is a global flag too", e.spellings[0], name)
			}
		}
	}
}

func BenchmarkRun(b *testing.B) {
	args := strings.Fields("coracle run --rm --network none --security-opt seccomp=/nosuch box true")
	for b.Loop() {
		Run(context.Background(), Stdio{Out: io.Discard, Err: io.Discard}, args)
	}
}
