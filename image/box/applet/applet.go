// Package applet is the userland of the image "box": a shell and the small
// commands that people type into a container, in one binary that answers by
// the name it was started under. The shell runs them in its own process, so an
// applet takes its streams, directory and environment from Stdio and never
// from the process. It is not a replacement for coreutils: each applet has the
// options that busybox users use.
package applet

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Stdio is all that an applet knows of the world it runs in.
type Stdio struct {
	In       io.Reader // nil reads as the end of the file
	Out, Err io.Writer
	Dir      string   // absolute; relative operands are taken from here
	Env      []string // "NAME=value"
}

// Run is an applet; args[0] is its name, the result its exit code.
type Run = func(ctx context.Context, std Stdio, args []string) int

// body is an applet as it is written: options not yet read.
type body func(c *call) int

// entry is what find knows of an applet.
type entry struct {
	run   body
	usage string
}

// Lookup finds an applet by name.
func Lookup(name string) (run Run, ok bool) {
	e := find(name)
	if e.run == nil {
		return nil, false
	}
	return func(ctx context.Context, std Stdio, args []string) int {
		return invoke(ctx, e, name, std, args)
	}, true
}

// Names lists the applets in order.
func Names() []string { return strings.Fields(names) }

// exits unwinds an applet to invoke, which returns it as the exit code.
type exits int

func invoke(ctx context.Context, e entry, name string, std Stdio, args []string) (code int) {
	if std.In == nil {
		std.In = strings.NewReader("")
	}
	c := newCall(ctx, name, e.usage, std, args)
	defer func() {
		switch r := recover().(type) {
		case nil:
		case exits:
			code = int(r)
		default:
			// In the shell a fault of one applet must not end the others.
			fmt.Fprintf(std.Err, "%s: internal error: %v\n%s", name, r, debug.Stack())
			code = 2
		}
		code = c.finish(code)
	}()
	if len(args) == 2 && args[1] == "--help" && !literal(name) {
		c.printf("Usage: %s %s\n", name, e.usage)
		return 0
	}
	return e.run(c)
}

// literal names applets to which --help is an operand like any other.
func literal(name string) bool {
	switch name {
	case "echo", "printf", "test", "[", "expr", "true", "false":
		return true
	}
	return false
}

// Main runs the applet that args[0] names, or for "box NAME …" the one that
// args[1] names, on the streams of the process.
func Main(args []string) int {
	// Now, as a program begins on its first thread, and goes on by any.
	unix.Prctl(unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&deathSignal)), 0, 0, 0)
	name := filepath.Base(args[0])
	name = strings.TrimPrefix(name, "-") // a login shell's argv[0]
	if name == "box" {
		if len(args) < 2 || args[1] == "--help" {
			fmt.Println("Usage: box NAME [ARG]... | box --list\nA small userland: NAME is one of what box --list prints.")
			return 0
		}
		if args[1] == "--list" {
			fmt.Print(strings.Join(Names(), "\n"), "\n")
			return 0
		}
		args, name = args[1:], args[1]
	}
	run, ok := Lookup(name)
	if !ok {
		fmt.Fprintf(os.Stderr, "box: %s: applet not found\n", name)
		return 127
	}
	defendFirst(name)
	dir, err := os.Getwd()
	if err != nil {
		dir = "/"
	}
	return run(context.Background(), Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Dir: dir, Env: os.Environ()}, args)
}
