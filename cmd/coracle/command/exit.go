package command

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"coracle/backends/isolate"
	"coracle/cmd/coracle/argv"
	"coracle/cmd/coracle/compose"
)

// status is the exit code of a container's program, or of a command that has
// already said what went wrong.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// usageError is a command line that cannot be understood.
type usageError struct {
	spelling string // of the command whose help to read; "" for the program's
	err      error
	code     int
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// coded is an error with an exit code of its own.
type coded struct {
	error
	code int
}

func (c coded) Unwrap() error { return c.error }

// usage is a flag that cannot be understood: 125, as Docker's CLI has it, and 1 as
// docker compose has it.
func usage(spelling string, err error) error {
	code := 125
	if spelling == "compose" || strings.HasPrefix(spelling, "compose ") {
		code = 1
	}
	return &usageError{spelling, err, code}
}

// badValue is a flag whose value cannot be understood.
func (v *verb) badValue(name, value string, err error) error {
	for _, f := range known(v.Flags) {
		if f.Name == name {
			return usage(v.spelling, argv.Invalid(f, value, err))
		}
	}
	return usage(v.spelling, err)
}

func unknownCommand(words []string) error {
	name, spelling := words[0], ""
	if family(words[0]) != "" {
		name, spelling = words[0]+" "+words[1], words[0]
	}
	err := fmt.Errorf("unknown command: coracle %s", name)
	if why := Absent(name); why != "" {
		err = fmt.Errorf("coracle %s is not supported: %s", name, why)
	}
	return &usageError{spelling, err, 1}
}

func (v *verb) arity(n int) error {
	var want string
	switch {
	case n >= v.min && (v.max < 0 || n <= v.max):
		return nil
	case v.max == 0:
		want = "accepts no arguments"
	case v.min == v.max:
		want = fmt.Sprintf("requires %d argument%s", v.min, plural(v.min))
	case v.both:
		want = fmt.Sprintf("requires at least %d and at most %d arguments", v.min, v.max)
	case n < v.min:
		want = fmt.Sprintf("requires at least %d argument%s", v.min, plural(v.min))
	default:
		want = fmt.Sprintf("requires at most %d argument%s", v.max, plural(v.max))
	}
	return &usageError{v.spelling, fmt.Errorf("'coracle %s' %s", v.spelling, want), 1}
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// exitCode maps what came of a command to its exit code. The help lists them.
func exitCode(v *verb, err error) int {
	var (
		own  status
		use  *usageError
		exec *isolate.ExecError
		step *isolate.StageError
		code coded
	)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return code.code
	case errors.As(err, &own):
		return int(own)
	case errors.As(err, &use):
		return use.code
	case v != nil && v.enters && errors.As(err, &exec):
		if errors.Is(exec.Errno, syscall.ENOENT) {
			return 127
		}
		return 126
	case v != nil && v.enters && !v.starts && errors.As(err, &step):
		return 126
	case v != nil && v.starts:
		return 125
	case errors.Is(err, context.Canceled):
		return 128 + int(syscall.SIGINT)
	}
	return 1
}

// fail prints err, if it is one to print, and returns the exit code.
func (t *tool) fail(v *verb, err error) int {
	var (
		own status
		use *usageError
	)
	switch {
	case err == nil, errors.As(err, &own):
	case errors.As(err, &use):
		fmt.Fprintf(t.Err, "coracle: %s\n", oneLine(use.Error()))
		see := strings.TrimSpace("coracle " + use.spelling)
		fmt.Fprintf(t.Err, "See '%s --help'.\n", see)
	default:
		t.complain(err)
	}
	return exitCode(v, err)
}

// complain prints an error and what the user may do about it.
func (t *tool) complain(err error) {
	if t.project.ForPrograms() {
		compose.WriteError(t.Err, oneLine(err.Error()), t.hint(err))
		return
	}
	fmt.Fprintf(t.Err, "coracle: %s\n", oneLine(err.Error()))
	if h := t.hint(err); h != "" {
		fmt.Fprintf(t.Err, "hint: %s\n", h)
	}
	if t.debug {
		for depth := 0; err != nil; depth++ {
			fmt.Fprintf(t.Err, "debug: %*s%T: %s\n", 2*depth, "", err, oneLine(err.Error()))
			err = errors.Unwrap(err)
		}
	}
}

// oneLine keeps an error that names strangers' bytes from looking like two.
func oneLine(s string) string {
	return strings.ReplaceAll(strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; "), ":; ", ": ")
}
