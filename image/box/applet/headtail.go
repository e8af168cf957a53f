package applet

import (
	"bufio"
	"io"
	"os"
	"strings"
	"time"
)

// oldCount turns the ancient -5 into -n 5.
func oldCount(args []string) []string {
	if len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && strings.Trim(args[0][1:], "0123456789") == "" {
		return append([]string{"-n", args[0][1:]}, args[1:]...)
	}
	return args
}

// fileTitle prints the line above each of several files.
func fileTitle(c *call, name string, many bool, first *bool) {
	if !many {
		return
	}
	if !*first {
		c.print("\n")
	}
	*first = false
	if name == "-" {
		name = "standard input"
	}
	c.print("==> ", name, " <==\n")
}

func head(c *call) int {
	c.args = oldCount(c.args)
	o := c.opts("n:c:qv", "lines=n", "bytes=c", "quiet=q")
	n, isBytes := int64(10), false
	if f := o.latest("nc"); f != 0 {
		isBytes = f == 'c'
		n = c.number(o.str(f, ""))
	}
	many, first := len(c.args) > 1 && !o.has('q') || o.has('v'), true
	c.inputs(c.args, func(name string, r io.Reader) error {
		fileTitle(c, name, many, &first)
		switch {
		case n < 0:
			return allBut(c, r, -n, isBytes)
		case isBytes:
			_, err := io.CopyN(c.out, r, n)
			if err == io.EOF {
				err = nil
			}
			return err
		}
		left := n
		if left == 0 {
			return nil
		}
		return lines(r, func(line []byte, nl bool) bool {
			c.out.Write(line)
			if nl {
				c.print("\n")
			}
			left--
			return left > 0 && !c.gone()
		})
	})
	return 0
}

// allBut prints all but the last n lines or bytes.
func allBut(c *call, r io.Reader, n int64, isBytes bool) error {
	all, err := io.ReadAll(r)
	if isBytes {
		c.out.Write(all[:max(0, int64(len(all))-n)])
		return err
	}
	c.out.Write(all[:tailStart(all, n)])
	return err
}

// tailStart is the offset at which the last n lines begin.
func tailStart(b []byte, n int64) int {
	i := len(b)
	if n == 0 {
		return i
	}
	if i > 0 && b[i-1] == '\n' {
		i--
	}
	for ; i > 0; i-- {
		if b[i-1] == '\n' {
			if n--; n == 0 {
				return i
			}
		}
	}
	return 0
}

func tail(c *call) int {
	if len(c.args) > 0 && len(c.args[0]) > 1 && c.args[0][0] == '+' {
		c.args = append([]string{"-n"}, c.args...)
	}
	c.args = oldCount(c.args)
	o := c.opts("n:c:fFs:qv", "lines=n", "bytes=c", "follow=f", "quiet=q")
	spec, isBytes := "10", false
	if f := o.latest("nc"); f != 0 {
		isBytes, spec = f == 'c', o.str(f, "")
	}
	fromStart := strings.HasPrefix(spec, "+")
	n := c.number(strings.TrimPrefix(spec, "+"))
	if n < 0 {
		n = -n
	}
	many, first := len(c.args) > 1 && !o.has('q') || o.has('v'), true
	follow := o.has('f') || o.has('F')
	var followed []*follower
	names := c.args
	if len(names) == 0 {
		names = []string{"-"}
	}
	for _, name := range names {
		f, err := c.open(name)
		if err != nil {
			c.warnErr(name, err)
			if o.has('F') {
				followed = append(followed, &follower{name: name})
			}
			continue
		}
		defer f.Close()
		fileTitle(c, name, many, &first)
		var pos int64
		if fromStart {
			err = skipTo(c, f, n, isBytes)
		} else {
			err = lastOf(c, f, n, isBytes)
		}
		if err != nil && !broken(err) {
			c.warnErr(name, err)
			continue
		}
		if osf, ok := f.(*os.File); ok {
			pos, _ = osf.Seek(0, io.SeekCurrent)
			followed = append(followed, &follower{name: name, f: osf, pos: pos})
		} else if follow {
			if _, err := io.Copy(c.Out, f); err != nil && !broken(err) {
				c.warnErr(name, err)
			}
		}
	}
	if follow && len(followed) > 0 {
		every := time.Second
		if s, ok := o.last('s'); ok {
			every = c.duration(s)
		}
		followFiles(c, followed, every, o.has('F'), many)
	}
	return 0
}

// skipTo prints from line or byte n on, counted from 1.
func skipTo(c *call, r io.Reader, n int64, isBytes bool) error {
	if isBytes {
		if _, err := io.CopyN(io.Discard, r, n-1); err != nil {
			if err == io.EOF {
				err = nil
			}
			return err
		}
	} else {
		br := bufio.NewReader(r)
		for i := int64(1); i < n; {
			line, err := br.ReadSlice('\n')
			if err == io.EOF {
				return nil
			}
			if err != nil && err != bufio.ErrBufferFull {
				return err
			}
			if line[len(line)-1] == '\n' {
				i++
			}
		}
		r = br
	}
	_, err := io.Copy(c.out, r)
	return err
}

// lastOf prints the last n lines or bytes. Of a long file only the end is
// read; of a pipe only the end is kept.
func lastOf(c *call, r io.Reader, n int64, isBytes bool) error {
	keep := n
	if !isBytes {
		keep = 1 << 16
	}
	if f, ok := r.(*os.File); ok {
		if fi, err := f.Stat(); err == nil && fi.Mode().IsRegular() {
			return lastOfFile(c, f, fi.Size(), n, isBytes, keep)
		}
	}
	var have []byte
	buf := make([]byte, 32<<10)
	for {
		k, err := r.Read(buf)
		have = append(have, buf[:k]...)
		if int64(len(have)) > 4*keep+1<<20 {
			from := len(have) - int(min(n, int64(len(have))))
			if !isBytes {
				from = tailStart(have, n)
			}
			have = append([]byte(nil), have[from:]...)
			keep = max(keep, int64(len(have)))
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	from := len(have) - int(min(n, int64(len(have))))
	if !isBytes {
		from = tailStart(have, n)
	}
	_, err := c.out.Write(have[from:])
	return err
}

func lastOfFile(c *call, f *os.File, size, n int64, isBytes bool, window int64) error {
	for {
		start := max(0, size-window)
		buf := make([]byte, size-start)
		if _, err := f.ReadAt(buf, start); err != nil && err != io.EOF {
			return err
		}
		from := 0
		if !isBytes {
			from = tailStart(buf, n)
			if from == 0 && start > 0 {
				window *= 4
				continue
			}
		}
		c.out.Write(buf[from:])
		// What was appended meanwhile follows.
		if _, err := f.Seek(start+int64(len(buf)), io.SeekStart); err != nil {
			return err
		}
		_, err := io.Copy(c.out, f)
		return err
	}
}

// follower is a file whose growth is printed.
type follower struct {
	name string
	f    *os.File
	pos  int64
}

func followFiles(c *call, files []*follower, every time.Duration, byName, many bool) {
	last := files[len(files)-1]
	first := false
	for c.out.Flush() == nil {
		select {
		case <-c.ctx.Done():
			return
		case <-time.After(every):
		}
		for _, w := range files {
			if byName {
				reopenFile(c, w)
			}
			if w.f == nil {
				continue
			}
			if fi, err := w.f.Stat(); err == nil && fi.Mode().IsRegular() && fi.Size() < w.pos {
				w.pos, _ = w.f.Seek(0, io.SeekStart)
			}
			buf := make([]byte, 32<<10)
			for {
				n, err := w.f.Read(buf)
				if n > 0 {
					if w != last {
						fileTitle(c, w.name, many, &first)
						last = w
					}
					c.out.Write(buf[:n])
					w.pos += int64(n)
				}
				if err != nil || n == 0 || c.gone() {
					break
				}
			}
		}
	}
}

// reopenFile follows the name where another file has taken it.
func reopenFile(c *call, w *follower) {
	if w.name == "-" {
		return
	}
	now, err := os.Stat(c.path(w.name))
	if err != nil {
		return
	}
	if w.f != nil {
		if old, err := w.f.Stat(); err == nil && os.SameFile(old, now) {
			return
		}
		w.f.Close()
	}
	w.f, _ = os.Open(c.path(w.name))
	w.pos = 0
}
