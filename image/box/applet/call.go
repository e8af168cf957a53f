package applet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// call is one run of an applet.
type call struct {
	Stdio
	ctx   context.Context
	name  string
	usage string
	args  []string // without the name; after opts, the operands
	out   *bufio.Writer
	code  int // what complaints have raised it to
}

func newCall(ctx context.Context, name, usage string, std Stdio, args []string) *call {
	return &call{Stdio: std, ctx: ctx, name: name, usage: usage, args: args[1:], out: bufio.NewWriterSize(std.Out, 16<<10)}
}

// finish flushes what was printed. A reader that went away is no error worth a
// line: the code is that of SIGPIPE, as if the signal had ended us.
func (c *call) finish(code int) int {
	err := c.out.Flush()
	if code == 0 {
		code = c.code
	}
	switch {
	case err == nil:
	case errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe):
		return 128 + int(syscall.SIGPIPE)
	default:
		fmt.Fprintf(c.Err, "%s: write error: %s\n", c.name, reason(err))
		return max(code, 1)
	}
	return code
}

func (c *call) printf(format string, a ...any) { fmt.Fprintf(c.out, format, a...) }
func (c *call) print(s ...string) {
	for _, s := range s {
		c.out.WriteString(s)
	}
}

// gone reports that nobody reads what we print, or that we were told to stop.
func (c *call) gone() bool {
	_, err := c.out.Write(nil)
	return err != nil || c.ctx.Err() != nil
}

// warn prints one line and makes the exit code at least 1.
func (c *call) warn(format string, a ...any) {
	c.out.Flush() // so that a line stands where it belongs
	fmt.Fprintf(c.Err, "%s: %s\n", c.name, fmt.Sprintf(format, a...))
	c.code = max(c.code, 1)
}

// warnErr is warn for the error of an operation on a path.
func (c *call) warnErr(path string, err error) {
	if path == "" {
		c.warn("%s", reason(err))
		return
	}
	c.warn("%s: %s", path, reason(err))
}

// die ends the applet with a line and code 1.
func (c *call) die(format string, a ...any) {
	c.warn(format, a...)
	panic(exits(1))
}

// misuse ends the applet with a line about its arguments and the usage.
func (c *call) misuse(format string, a ...any) {
	c.warn(format, a...)
	fmt.Fprintf(c.Err, "Usage: %s %s\n", c.name, c.usage)
	code := 1
	switch c.name {
	case "grep", "egrep", "fgrep", "sort", "cmp", "ls", "test", "[", "tty", "sh":
		code = 2 // POSIX: 1 is an answer here
	}
	panic(exits(code))
}

// reason is err without the operation and the path, which the line names
// itself.
func reason(err error) string {
	var pe *fs.PathError
	var le *os.LinkError
	var se *os.SyscallError
	switch {
	case errors.As(err, &pe):
		err = pe.Err
	case errors.As(err, &le):
		err = le.Err
	case errors.As(err, &se):
		err = se.Err
	}
	return err.Error()
}

// path makes an operand absolute: the process's own directory is not the
// shell's.
func (c *call) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	if name == "" {
		return "" // ENOENT, as the kernel says
	}
	// Not Join: "a/.." and "a/" mean what the kernel makes of them.
	return strings.TrimSuffix(c.Dir, "/") + "/" + name
}

func (c *call) getenv(name string) string {
	for i := len(c.Env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(c.Env[i], name+"="); ok {
			return v
		}
	}
	return ""
}

// open opens an operand for reading; "-" is the standard input.
func (c *call) open(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(c.In), nil
	}
	return os.Open(c.path(name))
}

// inputs calls fn with each operand opened, or with the standard input if
// there is none. What cannot be opened or read is a warning.
func (c *call) inputs(names []string, fn func(name string, r io.Reader) error) {
	if len(names) == 0 {
		names = []string{"-"}
	}
	for _, name := range names {
		r, err := c.open(name)
		if err == nil {
			err = fn(name, r)
			r.Close()
		}
		if err != nil && !broken(err) {
			c.warnErr(name, err)
		}
		if c.gone() {
			return
		}
	}
}

func broken(err error) bool { return errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) }

// lines calls fn with each line of r, without its newline; nl says whether it
// had one. fn returns false to stop.
func lines(r io.Reader, fn func(line []byte, nl bool) bool) error {
	return records(r, '\n', fn)
}

func records(r io.Reader, end byte, fn func(line []byte, nl bool) bool) error {
	br, ok := r.(*bufio.Reader)
	if !ok {
		br = bufio.NewReaderSize(r, 32<<10)
	}
	var long []byte
	for {
		part, err := br.ReadSlice(end)
		if errors.Is(err, bufio.ErrBufferFull) {
			long = append(long, part...)
			continue
		}
		line := part
		if long != nil {
			line, long = append(long, part...), nil
		}
		nl := err == nil
		if nl {
			line = line[:len(line)-1]
		}
		if (nl || len(line) > 0) && !fn(line, nl) {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// number reads a count with busybox's suffixes.
func number(s string) (int64, error) {
	mul := int64(1)
	for _, u := range []struct {
		suffix string
		n      int64
	}{{"kB", 1000}, {"KB", 1000}, {"MB", 1000 * 1000}, {"GB", 1000 * 1000 * 1000}, {"w", 2}, {"b", 512}, {"k", 1 << 10}, {"K", 1 << 10}, {"m", 1 << 20}, {"M", 1 << 20}, {"g", 1 << 30}, {"G", 1 << 30}, {"T", 1 << 40}, {"c", 1}} {
		if rest, ok := strings.CutSuffix(s, u.suffix); ok && rest != "" {
			s, mul = rest, u.n
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 && -n > (1<<63-1)/mul || n > (1<<63-1)/mul {
		return 0, fmt.Errorf("invalid number %q", s)
	}
	return n * mul, nil
}

func (c *call) number(s string) int64 {
	n, err := number(s)
	if err != nil {
		c.misuse("%v", err)
	}
	return n
}
