package applet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// lookPath finds a program in the shell's PATH; an applet that is not there is
// this program.
func (c *call) lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return c.path(name), nil
	}
	search := c.getenv("PATH")
	if search == "" {
		search = defaultPath
	}
	found := error(syscall.ENOENT)
	for _, dir := range filepath.SplitList(search) {
		p := c.path(filepath.Join(dir, name))
		fi, err := os.Stat(p)
		if err != nil || fi.IsDir() {
			continue
		}
		if fi.Mode()&0o111 != 0 {
			return p, nil
		}
		found = syscall.EACCES
	}
	if _, ok := Lookup(name); ok && self() != "" {
		return self(), nil
	}
	return "", found
}

// child makes a command that runs where we do.
func (c *call) child(args []string) (*exec.Cmd, error) {
	path, err := c.lookPath(args[0])
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path)
	cmd.Args, cmd.Dir, cmd.Env = args, c.Dir, c.Env
	cmd.Stdout, cmd.Stderr = c.Stdio.Out, c.Err
	if f, ok := c.In.(*os.File); ok {
		cmd.Stdin = f // not a copy: what the child leaves is for others
	}
	return cmd, nil
}

// run runs a program in the foreground and returns its exit code.
func (c *call) run(args []string) int {
	c.out.Flush()
	cmd, err := c.child(args)
	if err == nil {
		err = startBusy(cmd)
	}
	if err != nil {
		c.warn0("can't execute '%s': %s", args[0], reason(err))
		if errors.Is(err, os.ErrNotExist) {
			return 127
		}
		return 126
	}
	stop := context.AfterFunc(c.ctx, func() { cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	return waitCode(cmd, cmd.Wait())
}

func env(c *call) int {
	o := c.opts("+iu:0", "ignore-environment=i", "unset=u")
	args := c.args
	environ := c.Env
	if len(args) > 0 && args[0] == "-" {
		environ, args = nil, args[1:]
	}
	if o.has('i') {
		environ = nil
	}
	set := func(name string, kv ...string) {
		var out []string
		for _, e := range environ {
			if !strings.HasPrefix(e, name+"=") {
				out = append(out, e)
			}
		}
		environ = append(out, kv...)
	}
	for _, name := range o.all('u') {
		set(name)
	}
	for len(args) > 0 {
		name, _, ok := strings.Cut(args[0], "=")
		if !ok {
			break
		}
		set(name, args[0])
		args = args[1:]
	}
	if len(args) == 0 {
		end := "\n"
		if o.has('0') {
			end = "\x00"
		}
		for _, e := range environ {
			c.print(e, end)
		}
		return 0
	}
	c.Env = environ
	return c.run(args)
}

func printenv(c *call) int {
	c.opts("")
	if len(c.args) == 0 {
		for _, e := range c.Env {
			c.print(e, "\n")
		}
		return 0
	}
	for _, name := range c.args {
		found := false
		for _, e := range c.Env {
			if v, ok := strings.CutPrefix(e, name+"="); ok {
				c.print(v, "\n")
				found = true
			}
		}
		if !found {
			c.code = 1
		}
	}
	return 0
}

func sleep(c *call) int {
	c.opts("")
	c.want(1, -1)
	var d time.Duration
	for _, s := range c.args {
		n := c.duration(s)
		if d += n; d < n {
			d = 1<<63 - 1
		}
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return 0
	case <-c.ctx.Done():
		return codeOf(c.ctx)
	}
}

func timeApplet(c *call) int {
	o := c.opts("+pv")
	c.want(1, -1)
	c.out.Flush()
	cmd, err := c.child(c.args)
	start := time.Now()
	if err == nil {
		err = startBusy(cmd)
	}
	if err != nil {
		c.warn0("can't execute '%s': %s", c.args[0], reason(err))
		return 127
	}
	code := waitCode(cmd, cmd.Wait())
	real := time.Since(start)
	user, sys := cmd.ProcessState.UserTime(), cmd.ProcessState.SystemTime()
	if o.has('p') {
		fmt.Fprintf(c.Err, "real %.2f\nuser %.2f\nsys %.2f\n", real.Seconds(), user.Seconds(), sys.Seconds())
		return code
	}
	show := func(d time.Duration) string {
		return fmt.Sprintf("%dm %.2fs", int(d.Minutes()), (d % time.Minute).Seconds())
	}
	fmt.Fprintf(c.Err, "real\t%s\nuser\t%s\nsys\t%s\n", show(real), show(user), show(sys))
	return code
}

func timeout(c *call) int {
	o := c.opts("+s:k:", "signal=s", "kill-after=k")
	c.want(2, -1)
	sig := syscall.SIGTERM
	if s, ok := o.last('s'); ok {
		n, ok := signalNumber(s)
		if !ok {
			c.die("bad signal name '%s'", s)
		}
		sig = n
	}
	limit := c.duration(c.args[0])
	cmd, err := c.child(c.args[1:])
	if err == nil {
		err = startBusy(cmd)
	}
	if err != nil {
		c.warn0("can't execute '%s': %s", c.args[1], reason(err))
		return 127
	}
	stop := context.AfterFunc(c.ctx, func() { cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	over := make(chan struct{})
	t := time.AfterFunc(limit, func() {
		close(over)
		cmd.Process.Signal(sig)
		if s, ok := o.last('k'); ok {
			time.Sleep(c.duration(s))
			cmd.Process.Kill()
		}
	})
	defer t.Stop()
	code := waitCode(cmd, cmd.Wait())
	select {
	case <-over:
		if limit > 0 && code != 137 {
			return 124
		}
	default:
	}
	return code
}

func which(c *call) int {
	o := c.opts("a")
	c.want(1, -1)
	search := c.getenv("PATH")
	for _, name := range c.args {
		dirs := filepath.SplitList(search)
		if strings.Contains(name, "/") {
			dirs = []string{""}
		}
		found := false
		for _, dir := range dirs {
			p := filepath.Join(dir, name)
			if dir == "" {
				p = name
			}
			fi, err := os.Stat(c.path(p))
			if err != nil || fi.IsDir() || fi.Mode()&0o111 == 0 {
				continue
			}
			c.print(p, "\n")
			found = true
			if !o.has('a') {
				break
			}
		}
		if !found {
			c.code = 1
		}
	}
	return 0
}

func xargs(c *call) int {
	o := c.opts("+0rtn:I:L:P:E:s:", "null=0", "no-run-if-empty=r", "verbose=t", "max-args=n", "replace=I", "max-lines=L", "max-procs=P")
	base := c.args
	if len(base) == 0 {
		base = []string{"echo"}
	}
	replace, each := o.last('I')
	most := 0
	if n, ok := o.last('n'); ok {
		if most = int(c.number(n)); most < 1 {
			c.misuse("invalid number '%s'", n)
		}
	}
	args, err := xargsInput(c, o.has('0'), each || o.has('L'))
	if err != nil {
		c.die("%v", err)
	}
	// The commands do not get what is left of our input.
	c.In = nil
	code := 0
	run := func(args []string) bool {
		if o.has('t') {
			fmt.Fprintln(c.Err, strings.Join(args, " "))
		}
		switch n := c.run(args); {
		case n == 126 || n == 127:
			code = n
			return false
		case n == 255:
			c.warn("%s: exited with status 255; aborting", args[0])
			code = 124
			return false
		case n > 128:
			code = 125
			return false
		case n != 0:
			code = 123
		}
		return c.ctx.Err() == nil
	}
	if each {
		for _, a := range args {
			one := make([]string, len(base))
			for i, b := range base {
				one[i] = strings.ReplaceAll(b, replace, a)
			}
			if !run(one) {
				break
			}
		}
		return code
	}
	if len(args) == 0 {
		if !o.has('r') {
			run(base)
		}
		return code
	}
	for len(args) > 0 {
		n, size := 0, 0
		// 2.6.32 gives arguments a quarter of the stack's limit, 2 MB as a
		// rule; half of 128 kB is POSIX's floor and fits everywhere.
		for n < len(args) && (most == 0 || n < most) && (n == 0 || size+len(args[n]) < 64<<10) {
			size += len(args[n]) + 9
			n++
		}
		if !run(append(append([]string{}, base...), args[:n]...)) {
			break
		}
		args = args[n:]
	}
	return code
}

// xargsInput splits the input: at NULs, at lines, or at blanks with quotes.
func xargsInput(c *call, null, byLine bool) ([]string, error) {
	all, err := io.ReadAll(c.In)
	if err != nil {
		return nil, err
	}
	s := string(all)
	if null {
		if s = strings.TrimSuffix(s, "\x00"); s == "" {
			return nil, nil
		}
		return strings.Split(s, "\x00"), nil
	}
	var out []string
	if byLine {
		for _, l := range strings.Split(s, "\n") {
			if l = strings.TrimLeft(l, " \t"); l != "" {
				out = append(out, l)
			}
		}
		return out, nil
	}
	var word strings.Builder
	in, quote := false, byte(0)
	for i := 0; i < len(s); i++ {
		ch := s[i]
		switch {
		case quote != 0 && ch == quote:
			quote = 0
		case quote != 0 && ch == '\n':
			return nil, fmt.Errorf("unmatched %s quote", map[byte]string{'"': "double", '\'': "single"}[quote])
		case quote != 0:
			word.WriteByte(ch)
		case ch == '\'' || ch == '"':
			quote, in = ch, true
		case ch == '\\' && i+1 < len(s):
			i++
			word.WriteByte(s[i])
			in = true
		case ch == ' ' || ch == '\t' || ch == '\n':
			if in {
				out = append(out, word.String())
				word.Reset()
				in = false
			}
		default:
			word.WriteByte(ch)
			in = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("unmatched %s quote", map[byte]string{'"': "double", '\'': "single"}[quote])
	}
	if in {
		out = append(out, word.String())
	}
	return out, nil
}
