package applet

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ddJob is one run of dd.
type ddJob struct {
	in, out         string
	ibs, obs        int64
	skip, seek      int64
	count           int64
	conv, status    string
	full, part      int64
	fullOut, partOK int64
	copied          int64
}

func dd(c *call) int {
	j := ddJob{in: "-", out: "-", ibs: 512, obs: 512, count: -1}
	for _, a := range c.args {
		name, value, ok := strings.Cut(a, "=")
		if !ok {
			c.misuse("unrecognized operand '%s'", a)
		}
		switch name {
		case "if":
			j.in = value
		case "of":
			j.out = value
		case "bs":
			j.ibs = c.number(value)
			j.obs = j.ibs
		case "ibs":
			j.ibs = c.number(value)
		case "obs":
			j.obs = c.number(value)
		case "count":
			j.count = c.number(value)
		case "skip", "iseek":
			j.skip = c.number(value)
		case "seek", "oseek":
			j.seek = c.number(value)
		case "conv":
			j.conv += "," + value + ","
		case "status":
			j.status = value
		case "iflag", "oflag":
			j.conv += "," + value + ","
		default:
			c.misuse("unrecognized operand '%s'", a)
		}
	}
	if j.ibs < 1 || j.obs < 1 {
		c.misuse("a block has at least one byte")
	}
	start := time.Now()
	err := ddCopy(c, &j)
	if j.status != "none" {
		fmt.Fprintf(c.Err, "%d+%d records in\n%d+%d records out\n", j.full, j.part, j.fullOut, j.partOK)
		if j.status != "noxfer" {
			s := time.Since(start).Seconds()
			fmt.Fprintf(c.Err, "%d bytes (%s) copied, %.6f seconds, %s/s\n", j.copied, human(uint64(j.copied)), s, human(uint64(float64(j.copied)/max(s, 1e-9))))
		}
	}
	if err != nil {
		if broken(err) {
			return 141
		}
		c.die("%s", err)
	}
	return 0
}

func ddCopy(c *call, j *ddJob) error {
	in, err := c.open(j.in)
	if err != nil {
		return fmt.Errorf("can't open '%s': %s", j.in, reason(err))
	}
	defer in.Close()
	var out io.Writer = c.Stdio.Out
	var file *os.File
	if j.out != "-" {
		flags := os.O_WRONLY | os.O_CREATE
		if !strings.Contains(j.conv, ",notrunc,") && j.seek == 0 {
			flags |= os.O_TRUNC
		}
		if file, err = os.OpenFile(c.path(j.out), flags, 0o666); err != nil {
			return fmt.Errorf("can't open '%s': %s", j.out, reason(err))
		}
		defer file.Close()
		out = file
		if j.seek > 0 {
			if !strings.Contains(j.conv, ",notrunc,") {
				if err := file.Truncate(j.seek * j.obs); err != nil && !errors.Is(err, unix.EINVAL) {
					return err
				}
			}
			if _, err := file.Seek(j.seek*j.obs, io.SeekStart); err != nil {
				return err
			}
		}
	}
	if j.skip > 0 {
		if s, ok := in.(io.Seeker); !ok || ignoreSeek(s, j.skip*j.ibs) {
			io.CopyN(io.Discard, in, j.skip*j.ibs)
		}
	}
	if err := ddBlocks(c, j, in, out); err != nil {
		return err
	}
	if file != nil {
		if strings.Contains(j.conv, "sync,") && (strings.Contains(j.conv, ",fsync,") || strings.Contains(j.conv, ",fdatasync,")) {
			if err := file.Sync(); err != nil {
				return err
			}
		}
		return file.Close()
	}
	return nil
}

// ignoreSeek reports that seeking was not possible.
func ignoreSeek(s io.Seeker, to int64) bool {
	_, err := s.Seek(to, io.SeekCurrent)
	return err != nil
}

func ddBlocks(c *call, j *ddJob, in io.Reader, out io.Writer) error {
	buf := make([]byte, j.ibs)
	var hold []byte // where obs differs from ibs
	put := func(b []byte) error {
		n, err := out.Write(b)
		j.copied += int64(n)
		if int64(len(b)) == j.obs {
			j.fullOut++
		} else {
			j.partOK++
		}
		return err
	}
	for n := int64(0); (j.count < 0 || n < j.count) && c.ctx.Err() == nil; n++ {
		var k int
		var err error
		if strings.Contains(j.conv, ",fullblock,") {
			k, err = io.ReadFull(in, buf)
		} else {
			k, err = in.Read(buf)
		}
		if k == 0 && (err == io.EOF || err == io.ErrUnexpectedEOF) {
			break
		}
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return fmt.Errorf("%s: %s", j.in, reason(err))
		}
		if int64(k) == j.ibs {
			j.full++
		} else {
			j.part++
			if strings.Contains(j.conv, ",sync,") {
				clear(buf[k:])
				k = len(buf)
			}
		}
		if j.ibs == j.obs {
			if err := put(buf[:k]); err != nil {
				return err
			}
			continue
		}
		for hold = append(hold, buf[:k]...); int64(len(hold)) >= j.obs; hold = hold[j.obs:] {
			if err := put(hold[:j.obs]); err != nil {
				return err
			}
		}
	}
	if len(hold) > 0 {
		return put(hold)
	}
	return nil
}

func cmpFiles(c *call) int {
	o := c.opts("sln:", "silent=s", "quiet=s", "verbose=l", "bytes=n")
	c.want(1, 2)
	names := append(c.args, "-")[:2]
	var r [2]*bufio.Reader
	for i, name := range names {
		f, err := c.open(name)
		if err != nil {
			if !o.has('s') {
				c.warnErr(name, err)
			}
			panic(exits(2))
		}
		defer f.Close()
		r[i] = bufio.NewReaderSize(f, 64<<10)
	}
	limit := int64(-1)
	if s, ok := o.last('n'); ok {
		limit = c.number(s)
	}
	differ, line := false, 1
	for at := int64(1); limit < 0 || at <= limit; at++ {
		a, ea := r[0].ReadByte()
		b, eb := r[1].ReadByte()
		if ea != nil || eb != nil {
			if ea != nil && eb != nil {
				break
			}
			short := names[0]
			if ea == nil {
				short = names[1]
			}
			if !o.has('s') {
				c.warn("EOF on %s", short)
			}
			return 1
		}
		if a != b {
			differ = true
			if o.has('s') {
				return 1
			}
			if !o.has('l') {
				c.printf("%s %s differ: char %d, line %d\n", names[0], names[1], at, line)
				return 1
			}
			c.printf("%d %3o %3o\n", at, a, b)
		}
		if a == '\n' {
			line++
		}
	}
	if differ {
		return 1
	}
	return 0
}

func od(c *call) int {
	o := c.opts("A:t:N:j:vcbxodC", "address-radix=A", "format=t", "read-bytes=N", "skip-bytes=j")
	if c.name != "od" || o.has('C') {
		return odCanonical(c, o)
	}
	format := o.str('t', "o2")
	switch o.latest("cbxod") {
	case 'c':
		format = "c"
	case 'b':
		format = "o1"
	case 'x':
		format = "x2"
	case 'd':
		format = "u2"
	}
	size, width, verb := 2, 7, format[:1]
	if len(format) > 1 {
		n, err := strconv.Atoi(format[1:])
		if err != nil || n != 1 && n != 2 && n != 4 && n != 8 {
			c.misuse("bad format '%s'", format)
		}
		size = n
	} else if verb == "x" || verb == "o" || verb == "d" || verb == "u" {
		size = 4
	}
	switch verb {
	case "c", "a":
		size, width = 1, 4
	case "x":
		width = size*2 + 1
	case "o":
		width = (size*8+2)/3 + 1
	case "d", "u":
		width = map[string]int{"d1": 5, "d2": 7, "d4": 12, "d8": 21, "u1": 4, "u2": 6, "u4": 11, "u8": 21}[verb+strconv.Itoa(size)]
	default:
		c.misuse("bad format '%s'", format)
	}
	address := o.str('A', "o")
	show := func(at int64) {
		switch address {
		case "d":
			c.printf("%07d", at)
		case "x":
			c.printf("%06x", at)
		case "o":
			c.printf("%07o", at)
		}
	}
	return odDump(c, o, show, func(b []byte) {
		for i := 0; i < len(b); i += size {
			odValue(c, b[i:min(len(b), i+size)], verb, size, width)
		}
	})
}

func odValue(c *call, b []byte, verb string, size, width int) {
	var v uint64
	for i := len(b) - 1; i >= 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	s := ""
	switch verb {
	case "c", "a":
		s = odChar(b[0])
	case "x":
		s = fmt.Sprintf("%0*x", size*2, v)
	case "o":
		s = fmt.Sprintf("%0*o", (size*8+2)/3, v)
	case "u":
		s = strconv.FormatUint(v, 10)
	case "d":
		s = strconv.FormatInt(int64(v<<(64-8*size))>>(64-8*size), 10)
	}
	c.printf("%*s", width, s)
}

func odChar(b byte) string {
	switch b {
	case 0:
		return `\0`
	case 7:
		return `\a`
	case 8:
		return `\b`
	case 9:
		return `\t`
	case 10:
		return `\n`
	case 11:
		return `\v`
	case 12:
		return `\f`
	case 13:
		return `\r`
	}
	if b >= 32 && b < 127 {
		return string(rune(b))
	}
	return fmt.Sprintf("%03o", b)
}

// odDump calls show with the address and line with each 16 bytes; lines that
// repeat become one star.
func odDump(c *call, o opts, show func(int64), line func([]byte)) int {
	names := c.args
	if len(names) == 0 {
		names = []string{"-"}
	}
	var readers []io.Reader
	for _, name := range names {
		f, err := c.open(name)
		if err != nil {
			c.warnErr(name, err)
			continue
		}
		defer f.Close()
		readers = append(readers, f)
	}
	r := io.MultiReader(readers...)
	at := int64(0)
	if s, ok := o.last('j'); ok {
		at, _ = io.CopyN(io.Discard, r, c.number(s))
	}
	if s, ok := o.last('N'); ok {
		r = io.LimitReader(r, c.number(s))
	}
	br := bufio.NewReaderSize(r, 64<<10)
	buf := make([]byte, 16)
	prev, star := "", false
	for !c.gone() {
		n, err := io.ReadFull(br, buf)
		if n == 0 {
			break
		}
		if n == 16 && string(buf) == prev && !o.has('v') {
			if !star {
				c.print("*\n")
			}
			star = true
		} else {
			show(at)
			line(buf[:n])
			c.print("\n")
			star = false
		}
		prev = string(buf[:n])
		at += int64(n)
		if err != nil {
			break
		}
	}
	if (at > 0 || c.name == "od") && o.str('A', "") != "n" {
		show(at)
		c.print("\n")
	}
	return 0
}

// odCanonical is hexdump -C.
func odCanonical(c *call, o opts) int {
	return odDump(c, o, func(at int64) { c.printf("%08x", at) }, func(b []byte) {
		for i := range 16 {
			if i%8 == 0 {
				c.print(" ")
			}
			if i < len(b) {
				c.printf(" %02x", b[i])
			} else {
				c.print("   ")
			}
		}
		c.print("  |")
		for _, ch := range b {
			if ch < 32 || ch > 126 {
				ch = '.'
			}
			c.out.WriteByte(ch)
		}
		c.print("|")
	})
}

func du(c *call) int {
	o := c.opts("shkmacxd:lb", "summarize=s", "human-readable=h", "all=a", "total=c", "max-depth=d", "bytes=b")
	names := c.args
	if len(names) == 0 {
		names = []string{"."}
	}
	deepest := 1 << 30
	if s, ok := o.last('d'); ok {
		deepest = int(c.number(s))
	}
	if o.has('s') {
		deepest = 0
	}
	seen := map[[2]uint64]bool{}
	show := func(n int64, name string) {
		switch {
		case o.has('h'):
			c.printf("%s\t%s\n", human(uint64(n)), name)
		case o.has('b'):
			c.printf("%d\t%s\n", n, name)
		case o.has('m'):
			c.printf("%d\t%s\n", (n+1<<20-1)>>20, name)
		default:
			c.printf("%d\t%s\n", (n+1023)/1024, name)
		}
	}
	var walk func(name, path string, depth int, dev uint64) int64
	walk = func(name, path string, depth int, dev uint64) int64 {
		fi, err := os.Lstat(path)
		if err != nil {
			c.warnErr(name, err)
			return 0
		}
		st := statOf(fi)
		if o.has('x') && depth > 0 && uint64(st.Dev) != dev {
			return 0
		}
		if st.Nlink > 1 && !fi.IsDir() && !o.has('l') {
			if seen[inode(fi)] {
				return 0
			}
			seen[inode(fi)] = true
		}
		n := int64(st.Blocks) * 512
		if o.has('b') {
			n = fi.Size()
		}
		if fi.IsDir() {
			entries, err := os.ReadDir(path)
			if err != nil {
				c.warnErr(name, err)
			}
			for _, e := range entries {
				if c.gone() {
					break
				}
				n += walk(filepath.Join(name, e.Name()), path+"/"+e.Name(), depth+1, uint64(st.Dev))
			}
		}
		if depth == 0 || depth <= deepest && (fi.IsDir() || o.has('a')) {
			show(n, name)
		}
		return n
	}
	var total int64
	for _, name := range names {
		total += walk(name, c.path(name), 0, 0)
	}
	if o.has('c') {
		show(total, "total")
	}
	return 0
}
