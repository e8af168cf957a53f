package applet

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"
)

func echo(c *call) int {
	nl, escapes := true, false
	args := c.args
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && strings.Trim(args[0][1:], "neE") == "" {
		for _, f := range args[0][1:] {
			switch f {
			case 'n':
				nl = false
			case 'e':
				escapes = true
			case 'E':
				escapes = false
			}
		}
		args = args[1:]
	}
	s := strings.Join(args, " ")
	if escapes {
		var stop bool
		if s, stop = unescape(s, true); stop {
			nl = false
		}
	}
	c.print(s)
	if nl {
		c.print("\n")
	}
	return 0
}

func yes(c *call) int {
	line := "y"
	if len(c.args) > 0 {
		line = strings.Join(c.args, " ")
	}
	block := []byte(strings.Repeat(line+"\n", max(1, 8192/(len(line)+1))))
	for !c.gone() {
		c.out.Write(block)
	}
	return 0
}

func cat(c *call) int {
	o := c.opts("unbsvetAET")
	numbers := o.has('n') || o.has('b')
	show := o.has('v') || o.has('e') || o.has('t') || o.has('A')
	ends := o.has('e') || o.has('A') || o.has('E')
	tabs := o.has('t') || o.has('A') || o.has('T')
	if !numbers && !show && !ends && !tabs && !o.has('s') {
		// Straight to the writer: between files and pipes the kernel copies.
		c.inputs(c.args, func(_ string, r io.Reader) error {
			_, err := io.Copy(c.Out, r)
			if broken(err) {
				panic(exits(141))
			}
			return err
		})
		return 0
	}
	n, blank := 0, false
	c.inputs(c.args, func(_ string, r io.Reader) error {
		return lines(r, func(line []byte, nl bool) bool {
			empty := len(line) == 0
			if o.has('s') && empty && blank {
				return true
			}
			blank = empty
			if numbers && !(o.has('b') && empty) {
				n++
				c.printf("%6d\t", n)
			}
			c.print(visible(string(line), show, tabs))
			if ends && nl {
				c.print("$")
			}
			if nl {
				c.print("\n")
			}
			return !c.gone()
		})
	})
	return 0
}

func visible(s string, show, tabs bool) string {
	if !show && !tabs {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		ch := s[i]
		if ch == '\t' {
			if tabs {
				b.WriteString("^I")
			} else {
				b.WriteByte(ch)
			}
			continue
		}
		if show && ch >= 128 {
			b.WriteString("M-")
			ch -= 128
		}
		switch {
		case show && ch < 32:
			b.WriteByte('^')
			b.WriteByte(ch + 64)
		case show && ch == 127:
			b.WriteString("^?")
		default:
			b.WriteByte(ch)
		}
	}
	return b.String()
}

func wc(c *call) int {
	o := c.opts("lwcmL", "lines=l", "words=w", "bytes=c", "chars=m")
	type counts struct{ l, w, m, c, longest int64 }
	var total counts
	cols := ""
	for _, f := range []byte("lwmcL") {
		if o.has(f) {
			cols += string(f)
		}
	}
	if cols == "" {
		cols = "lwc"
	}
	alone := len(c.args) <= 1 && len(cols) == 1
	show := func(n counts, name string) {
		for i := range cols {
			v := map[byte]int64{'l': n.l, 'w': n.w, 'm': n.m, 'c': n.c, 'L': n.longest}[cols[i]]
			switch {
			case alone:
				c.printf("%d", v)
			case i == 0:
				c.printf("%9d", v)
			default:
				c.printf(" %9d", v)
			}
		}
		if name != "" {
			c.print(" ", name)
		}
		c.print("\n")
	}
	c.inputs(c.args, func(name string, r io.Reader) error {
		var n counts
		inWord, width := false, int64(0)
		buf := make([]byte, 64<<10)
		bytesOnly := cols == "c" || cols == "l" || cols == "lc"
		for {
			k, err := r.Read(buf)
			n.c += int64(k)
			if bytesOnly {
				n.l += int64(bytes.Count(buf[:k], []byte{'\n'}))
			} else {
				for _, b := range buf[:k] {
					if utf8.RuneStart(b) {
						n.m++
					}
					space := b == ' ' || b >= '\t' && b <= '\r'
					if inWord && space {
						inWord = false
					} else if !inWord && !space {
						inWord = true
						n.w++
					}
					if b == '\n' {
						n.l++
						n.longest = max(n.longest, width)
						width = 0
					} else if utf8.RuneStart(b) {
						width++
					}
				}
				n.longest = max(n.longest, width)
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
		}
		if len(c.args) == 0 {
			name = ""
		}
		show(n, name)
		total.l, total.w, total.m, total.c = total.l+n.l, total.w+n.w, total.m+n.m, total.c+n.c
		total.longest = max(total.longest, n.longest)
		return nil
	})
	if len(c.args) > 1 {
		show(total, "total")
	}
	return 0
}

func tee(c *call) int {
	o := c.opts("ai")
	w := []io.Writer{c.Stdio.Out}
	flags := os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	if o.has('a') {
		flags = os.O_CREATE | os.O_WRONLY | os.O_APPEND
	}
	for _, name := range c.args {
		f, err := os.OpenFile(c.path(name), flags, 0o666)
		if err != nil {
			c.warnErr(name, err)
			continue
		}
		defer f.Close()
		w = append(w, f)
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := c.In.Read(buf)
		for _, w := range w {
			if _, err := w.Write(buf[:n]); err != nil && n > 0 {
				if broken(err) {
					return 141
				}
				c.warnErr("", err)
			}
		}
		if err == io.EOF {
			return 0
		}
		if err != nil {
			c.warnErr("", err)
			return 1
		}
	}
}

func seq(c *call) int {
	// Options by hand: a number may be negative.
	sep, wide := "\n", false
	for len(c.args) > 0 && len(c.args[0]) > 1 && c.args[0][0] == '-' && (c.args[0][1] == 'w' || c.args[0][1] == 's') {
		switch {
		case c.args[0] == "-w":
			wide = true
		case c.args[0] == "-s" && len(c.args) > 1:
			sep = c.args[1]
			c.args = c.args[1:]
		case c.args[0][1] == 's':
			sep = c.args[0][2:]
		default:
			c.misuse("invalid option %q", c.args[0])
		}
		c.args = c.args[1:]
	}
	c.want(1, 3)
	v := [3]float64{1, 1, 0}
	prec := 0
	at := [][]int{nil, {2}, {0, 2}, {0, 1, 2}}[len(c.args)]
	for i, s := range c.args {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(f) {
			c.die("invalid number '%s'", s)
		}
		v[at[i]] = f
		if _, frac, ok := strings.Cut(s, "."); ok {
			prec = max(prec, len(frac))
		}
	}
	first, step, last := v[0], v[1], v[2]
	if step == 0 {
		c.die("zero increment")
	}
	width := 0
	if wide {
		width = max(len(strconv.FormatFloat(first, 'f', prec, 64)), len(strconv.FormatFloat(last, 'f', prec, 64)))
	}
	some := false
	for i := 0.0; ; i++ {
		x := first + i*step
		if step > 0 && x > last+1e-9*step || step < 0 && x < last+1e-9*step || c.gone() {
			break
		}
		if some {
			c.print(sep)
		}
		some = true
		c.printf("%0*s", width, strconv.FormatFloat(x, 'f', prec, 64))
	}
	if some {
		c.print("\n")
	}
	return 0
}

func newHash(name string) hash.Hash {
	switch name {
	case "md5sum":
		return md5.New()
	case "sha1sum":
		return sha1.New()
	case "sha512sum":
		return sha512.New()
	}
	return sha256.New()
}

func shasum(c *call) int {
	o := c.opts("csbtw")
	if o.has('c') {
		return checkSums(c, o.has('s'))
	}
	c.inputs(c.args, func(name string, r io.Reader) error {
		h := newHash(c.name)
		if _, err := io.Copy(h, r); err != nil {
			return err
		}
		c.printf("%x  %s\n", h.Sum(nil), name)
		return nil
	})
	return 0
}

func checkSums(c *call, silent bool) int {
	bad, seen := 0, 0
	c.inputs(c.args, func(_ string, r io.Reader) error {
		return lines(r, func(line []byte, _ bool) bool {
			sum, name, ok := strings.Cut(string(line), " ")
			want, err := hex.DecodeString(sum)
			if !ok || err != nil || len(name) < 2 {
				return true
			}
			name = name[1:]
			seen++
			h := newHash(c.name)
			f, err := c.open(name)
			if err == nil {
				_, err = io.Copy(h, f)
				f.Close()
			}
			verdict := "OK"
			if err != nil {
				c.warnErr(name, err)
			}
			if err != nil || !bytes.Equal(h.Sum(nil), want) {
				verdict = "FAILED"
				bad++
			}
			if !silent {
				c.print(name, ": ", verdict, "\n")
			}
			return true
		})
	})
	switch {
	case seen == 0:
		c.warn("no checksum lines found")
		return 1
	case bad > 0:
		c.warn("WARNING: %d of %d computed checksums did NOT match", bad, seen)
		return 1
	}
	return 0
}
