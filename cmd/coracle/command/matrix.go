package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"coracle/backends"
	"coracle/backends/emulate"
	"coracle/cmd/coracle/matrix"
	"coracle/cmd/coracle/opts"
	"coracle/engine"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// matrixGrace is how long a container that is stopped has from its signal on, as
// with stop.
const matrixGrace = 10 * time.Second

func newMatrix(t *tool) *verb {
	v := &verb{min: 1, max: -1, starts: true}
	v.Command = &cli.Command{
		Usage:     "Run a command in an image for each of several platforms, and report what came of it",
		ArgsUsage: "IMAGE [COMMAND] [ARG...]",
		Description: "Each line of output is preceded by its platform, and at the end there is a table. Containers\n" +
			"are removed when they end. The exit code is 0 if all have passed, 1 if one has failed, 125 if one\n" +
			"could not be started, and 130 after Ctrl-C, which stops all; a second Ctrl-C kills them.",
		Flags: append([]cli.Flag{
			list("platform", "", "`platforms` The platforms (os/arch[/variant]), separated by commas"),
			number("jobs", "j", "How many to run at once (default: the number of processors)"),
			text("timeout", "", "`duration` Stop each after that time (90s, 10m; a number is seconds)"),
			toggle("fail-fast", "", "Stop the others when one has failed"),
			text("junit", "", "`file` Write a JUnit report (-: to standard output)"),
			text("json", "", "`file` Write a JSON report (-: to standard output)"),
		}, passedFlags()...),
	}
	v.Action = func(c *cli.Context) error { return t.matrix(c, v) }
	return v
}

// passedFlags are the flags of run that are the containers' own.
func passedFlags() []cli.Flag {
	return slices.DeleteFunc(containerFlags(), func(f cli.Flag) bool {
		return slices.Contains([]string{"attach", "cidfile", "interactive", "name", "pidfile", "platform", "quiet", "rm", "tty", "net"}, f.Names()[0])
	})
}

func (t *tool) matrix(c *cli.Context, v *verb) error {
	platforms, err := matrixPlatforms(c.StringSlice("platform"))
	if err != nil {
		return v.badValue("platform", strings.Join(c.StringSlice("platform"), ","), err)
	}
	limit, err := matrixTimeout(c.String("timeout"))
	if err != nil {
		return v.badValue("timeout", c.String("timeout"), err)
	}
	jobs := c.Int("jobs")
	switch {
	case c.IsSet("jobs") && jobs < 1:
		return v.badValue("jobs", strconv.Itoa(jobs), errors.New("it must be at least 1"))
	case jobs == 0:
		jobs = runtime.NumCPU()
	}
	junit, asJSON := c.String("junit"), c.String("json")
	if junit == "-" && asJSON == "-" {
		return usage(t.spelling, errors.New("conflicting options: --junit - and --json -"))
	}
	// Before anything runs: a report that cannot be written would be the loss.
	reports, err := openReports(t.Out, junit, asJSON)
	if err != nil {
		return err
	}
	defer reports.close()
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	m := &matrixRun{tool: t, eng: eng, common: matrixArgs(c), operands: c.Args().Slice(), id: strconv.FormatInt(time.Now().UnixNano(), 36)}
	out := t.Out
	if junit == "-" || asJSON == "-" {
		out = t.Err
	}
	screen := &matrix.Screen{Color: colors(out)}
	cases := m.cases(platforms)
	for _, k := range cases {
		screen.Width = max(screen.Width, len(k.Platform))
	}
	ctx, told, stop := m.signals(c.Context)
	defer stop()
	report := matrix.Report{Image: c.Args().First(), Command: c.Args().Tail(), Started: time.Now()}
	report.Results = matrix.Run(ctx, matrix.Plan{
		Cases: cases, Jobs: jobs, Timeout: limit, FailFast: c.Bool("fail-fast"), Start: m.start,
		Streams: func(k matrix.Case) (io.WriteCloser, io.WriteCloser) {
			return screen.Writer(out, k.Platform), screen.Writer(t.Err, k.Platform)
		},
	})
	report.Seconds = time.Since(report.Started).Seconds()
	fmt.Fprintln(out)
	report.Table(out)
	if err := reports.write(&report); err != nil {
		return err
	}
	if sig := told(); sig != 0 {
		return status(128 + int(sig))
	}
	if code := matrix.Code(report.Results); code != 0 {
		return status(code)
	}
	return nil
}

// matrixPlatforms reads the platforms, each once.
func matrixPlatforms(values []string) ([]string, error) {
	var out []string
	for _, p := range strings.Split(strings.Join(values, ","), ",") {
		if p = strings.TrimSpace(p); p == "" {
			return nil, errors.New("name the platforms: --platform linux/amd64,linux/arm64")
		}
		name, _, _, err := opts.Platform(p)
		if err != nil {
			return nil, err
		}
		if slices.Contains(out, name) {
			return nil, fmt.Errorf("%s is named twice", name)
		}
		out = append(out, name)
	}
	return out, nil
}

func matrixTimeout(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	if n, err := strconv.Atoi(s); err == nil {
		s = strconv.Itoa(n) + "s"
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, errors.New("it is no time such as 90s or 10m")
	}
	return d, nil
}

// matrixArgs are the program's and the containers' flags that were given, for
// the processes that run the containers.
func matrixArgs(c *cli.Context) [2][]string {
	given := func(flags []cli.Flag) []string {
		var out []string
		for _, f := range flags {
			name := f.Names()[0]
			if !c.IsSet(name) {
				continue
			}
			values := []string{}
			switch f.(type) {
			case *cli.StringSliceFlag:
				values = c.StringSlice(name)
			case *cli.BoolFlag:
				values = append(values, strconv.FormatBool(c.Bool(name)))
			case *cli.IntFlag:
				values = append(values, strconv.Itoa(c.Int(name)))
			default:
				values = append(values, c.String(name))
			}
			for _, value := range values {
				out = append(out, "--"+name+"="+value)
			}
		}
		return out
	}
	return [2][]string{given(globalFlags()), given(passedFlags())}
}

// colors tells whether w is a terminal whose user has nothing against colours
// (no-color.org).
func colors(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// matrixRun starts and stops the containers. Each has a coracle of its own as
// its monitor, as it would have without us.
type matrixRun struct {
	tool     *tool
	eng      *engine.Engine
	common   [2][]string // global flags, container's flags
	operands []string
	id       string
	kill     chan struct{} // closed: no more patience
}

// cases tells beforehand how each platform's programs run here.
func (m *matrixRun) cases(platforms []string) []matrix.Case {
	ways := map[string]emulate.Way{}
	for _, w := range m.eng.Platforms() {
		ways[w.Arch] = w
	}
	var out []matrix.Case
	for _, p := range platforms {
		c := matrix.Case{Platform: p, Rung: m.eng.Selection().Rung(backends.Isolation)}
		system, arch, _ := strings.Cut(p, "/")
		arch, _, _ = strings.Cut(arch, "/")
		w, known := ways[arch]
		switch {
		case !known || system != "linux":
			c.Runs, c.Wrong = "-", "no emulator is known for it"
		case w.How == "":
			c.Runs = "-" // run says why, and what would help
		default:
			c.Runs = runsBy(w)
		}
		out = append(out, c)
	}
	return out
}

// start runs one container to its end.
func (m *matrixRun) start(ctx context.Context, c matrix.Case, stdout, stderr io.Writer) (int, error) {
	name := "matrix-" + m.id + "-" + strings.ReplaceAll(strings.TrimPrefix(c.Platform, "linux/"), "/", "-")
	args := append(slices.Clone(m.common[0]), "run", "--rm", "--name="+name, "--platform="+c.Platform)
	args = append(append(append(args, m.common[1]...), "--"), m.operands...)
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "coracle"
	cmd.Stdout, cmd.Stderr = stdout, stderr
	// Out of reach of the terminal's Ctrl-C: it is for us to stop them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A stranger that holds the streams must not keep us.
	cmd.WaitDelay = 2 * time.Second
	if err := cmd.Start(); err != nil {
		return -1, err
	}
	ended := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-ended:
		case <-ctx.Done():
			m.stop(cmd.Process, name, ended)
		}
	}()
	err := cmd.Wait()
	close(ended)
	<-stopped
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return -1, err
	}
	ws, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return ws.ExitStatus(), nil
}

// stop ends a container: its own coracle passes the signal on.
func (m *matrixRun) stop(p *os.Process, name string, ended <-chan struct{}) {
	p.Signal(syscall.SIGTERM)
	select {
	case <-ended:
		return
	case <-m.kill:
	case <-time.After(matrixGrace):
	}
	// Its coracle cleans up after it.
	m.eng.Kill(context.Background(), name, "KILL")
	select {
	case <-ended:
	case <-time.After(matrixGrace):
		p.Kill()
	}
}

// signals has the first of our signals end the context, and the second end our
// patience. told is the first, 0 for none.
func (m *matrixRun) signals(parent context.Context) (ctx context.Context, told func() syscall.Signal, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	m.kill = make(chan struct{})
	in := make(chan os.Signal, 8)
	signal.Notify(in, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	first := make(chan syscall.Signal, 1)
	go func() {
		n := 0
		for sig := range in {
			switch n++; n {
			case 1:
				first <- sig.(syscall.Signal)
				fmt.Fprintf(m.tool.Err, "coracle: %v: stopping the containers; once more kills them\n", sig)
				cancel()
			case 2:
				close(m.kill)
			}
		}
	}()
	told = func() syscall.Signal {
		select {
		case s := <-first:
			return s
		default:
			return 0
		}
	}
	return ctx, told, func() {
		signal.Stop(in)
		close(in)
		cancel()
	}
}

// matrixReports are the open files of the reports.
type matrixReports struct {
	junit, json io.Writer
	files       []*os.File
}

func openReports(out io.Writer, junit, asJSON string) (*matrixReports, error) {
	r := &matrixReports{}
	for _, f := range []struct {
		path string
		into *io.Writer
	}{{junit, &r.junit}, {asJSON, &r.json}} {
		switch f.path {
		case "":
		case "-":
			*f.into = out
		default:
			file, err := os.Create(f.path)
			if err != nil {
				r.close()
				return nil, err
			}
			r.files = append(r.files, file)
			*f.into = file
		}
	}
	return r, nil
}

func (r *matrixReports) write(report *matrix.Report) error {
	if r.junit != nil {
		if err := report.JUnit(r.junit); err != nil {
			return err
		}
	}
	if r.json != nil {
		return report.JSON(r.json)
	}
	return nil
}

func (r *matrixReports) close() {
	for _, f := range r.files {
		f.Close()
	}
}
