package applet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// shell is one run of sh. The interpreter keeps variables, functions and
// redirections; here is what it leaves to its host: finding and running
// commands, signals, and jobs that can be killed.
type shell struct {
	*call
	runner *interp.Runner
	// process: our streams are those of the process, so signals are ours.
	process     bool
	interactive bool
	tail        bool // the whole script is one command, as if we had executed it
	arg0        string

	traps traps
	jobs  jobs
}

// shArgs is a command line of sh, taken apart.
type shArgs struct {
	set         []string // for the interpreter: -e, -x, -o pipefail
	command     string
	hasCommand  bool
	stdin       bool
	interactive bool
	login       bool
	operands    []string
}

func parseShArgs(c *call) (a shArgs) {
	args := c.args
	for len(args) > 0 && len(args[0]) > 1 && (args[0][0] == '-' || args[0][0] == '+') {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			break
		}
		for i := 1; i < len(arg); i++ {
			switch f := arg[i]; f {
			case 'c':
				a.hasCommand = true
			case 's':
				a.stdin = true
			case 'i':
				a.interactive = true
			case 'l':
				a.login = true
			case 'm', 'b', 'h', 'v': // job control and such: none here
			case 'o':
				if len(args) == 0 {
					c.misuse("-o requires an argument")
				}
				a.set = append(a.set, string(arg[0])+"o", args[0])
				args = args[1:]
			case 'e', 'x', 'u', 'n', 'f', 'a':
				a.set = append(a.set, string(arg[0])+string(f))
			default:
				c.misuse("invalid option -- '%c'", f)
			}
		}
	}
	if a.hasCommand {
		if len(args) == 0 {
			c.misuse("-c requires an argument")
		}
		a.command, args = args[0], args[1:]
	}
	a.operands = args
	return a
}

func sh(c *call) int {
	a := parseShArgs(c)
	s := &shell{call: c, arg0: "sh", process: c.In == io.Reader(os.Stdin) && c.Stdio.Out == io.Writer(os.Stdout)}
	operands := a.operands
	var script io.Reader
	switch {
	case a.hasCommand:
		script = strings.NewReader(a.command)
		if len(operands) > 0 {
			s.arg0, operands = operands[0], operands[1:]
		}
	case len(operands) > 0 && !a.stdin:
		s.arg0, operands = operands[0], operands[1:]
		f, err := os.Open(c.path(s.arg0))
		if err != nil {
			c.warnErr(s.arg0, err)
			if errors.Is(err, os.ErrNotExist) {
				return 127
			}
			return 126
		}
		defer f.Close()
		script = f
	default:
		s.interactive = a.interactive || isTerminal(c.In) && isTerminal(c.Stdio.Err)
	}
	if err := s.start(a, operands); err != nil {
		c.warn("%v", err)
		return 2
	}
	defer s.traps.close()
	if a.login {
		s.source("/etc/profile")
		if home := c.getenv("HOME"); home != "" {
			s.source(home + "/.profile")
		}
	}
	switch {
	case script != nil:
		return s.script(script)
	case s.interactive:
		return s.converse()
	}
	return s.stream()
}

func (s *shell) start(a shArgs, operands []string) error {
	env := s.Env
	if s.getenv("PATH") == "" {
		env = append(env[:len(env):len(env)], "PATH="+defaultPath)
	}
	s.jobs.init(s.ctx)
	s.traps.init(s)
	r, err := interp.New(
		interp.Env(expand.ListEnviron(env...)),
		interp.Dir(s.Dir),
		interp.StdIO(s.In, s.Stdio.Out, s.Err),
		interp.Interactive(s.interactive),
		interp.CallHandler(s.onCall),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return s.onExec }),
		interp.Params(append(append(a.set, "--"), operands...)...),
	)
	s.runner = r
	return err
}

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// script runs a whole file. It is read to its end first, so a syntax error on
// the last line prevents the first from running.
func (s *shell) script(r io.Reader) int {
	src, err := io.ReadAll(r)
	if err != nil {
		s.warnErr(s.arg0, err)
		return 2
	}
	file, err := syntax.NewParser().Parse(strings.NewReader(string(src)), s.arg0)
	if err != nil {
		s.warn("%v", err)
		return 2
	}
	s.tail = isSimple(file)
	subshells(file)
	if text := string(src); strings.Contains(text, "trap") || strings.Contains(text, "kill") || strings.Contains(text, "exec") {
		mark(file)
		file.Stmts = append(file.Stmts, parseStmt(callEnd+" && :"))
	}
	return s.status(s.runner.Run(s.ctx, file))
}

// isSimple: one plain command, which other shells would execute in place.
func isSimple(f *syntax.File) bool {
	if len(f.Stmts) != 1 {
		return false
	}
	st := f.Stmts[0]
	cm, ok := st.Cmd.(*syntax.CallExpr)
	return ok && len(cm.Args) > 0 && !st.Background && !st.Negated
}

// stream runs commands from the standard input, each as soon as it is
// complete, as a program that drives us through a pipe expects.
func (s *shell) stream() int {
	code := 0
	parser := syntax.NewParser()
	// One byte at a time: what follows a command is its input, not ours.
	for stmts, err := range parser.InteractiveSeq(&oneByte{r: s.In}) {
		if err != nil {
			s.warn("%v", err)
			return 2
		}
		if parser.Incomplete() {
			continue
		}
		for _, st := range stmts {
			code = s.status(s.one(st))
			if s.runner.Exited() {
				return code
			}
		}
	}
	return s.leave(code)
}

// leave runs the EXIT trap.
func (s *shell) leave(code int) int {
	file, err := syntax.NewParser().Parse(strings.NewReader(fmt.Sprintf("exit %d", code)), s.arg0)
	if err != nil {
		return code
	}
	return s.status(s.runner.Run(s.ctx, file))
}

// one runs a statement that does not come from a file.
func (s *shell) one(st *syntax.Stmt) error {
	file := &syntax.File{Stmts: []*syntax.Stmt{st}}
	subshells(file)
	mark(file)
	nameShell(file, s.arg0)
	return s.runner.Run(s.ctx, file.Stmts[0])
}

func (s *shell) source(path string) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	file, err := syntax.NewParser().Parse(f, path)
	if err != nil {
		s.warn("%v", err)
		return
	}
	for _, st := range file.Stmts {
		if s.one(st); s.runner.Exited() {
			return
		}
	}
}

// status is the exit code for what the interpreter returned.
func (s *shell) status(err error) int {
	if err == nil {
		return 0
	}
	var code interp.ExitStatus
	switch {
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, context.Canceled):
		return 130
	}
	s.warn("%v", err)
	return 1
}

// oneByte reads no further than it must, and ends the last line.
type oneByte struct {
	r     io.Reader
	last  byte
	ended bool
}

func (o *oneByte) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := o.r.Read(p[:1])
	if n == 1 {
		o.last = p[0]
	}
	if n == 0 && errors.Is(err, io.EOF) && !o.ended && o.last != '\n' {
		o.ended = true
		p[0] = '\n'
		return 1, nil
	}
	return n, err
}

// jobs are the commands started with &. The interpreter runs them in
// goroutines and calls them g1, g2, …; kill ends one by its context.
type jobs struct {
	mu      sync.Mutex
	next    int
	all     map[string]*job // by our number
	running map[*running]bool
}

type job struct {
	parent string // job that started it, "" for the shell
	pid    string // what $! said there
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// running is a foreground command.
type running struct{ cancel context.CancelCauseFunc }

func (j *jobs) init(context.Context) {
	j.all = map[string]*job{}
	j.running = map[*running]bool{}
}
