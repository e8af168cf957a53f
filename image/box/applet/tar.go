package applet

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"
)

type archiver struct {
	*call
	o     opts
	dir   string // -C
	strip int
	links map[[2]uint64]string
	names nameCache
	skip  []string
}

func tarApplet(c *call) int {
	if len(c.args) > 0 && c.args[0] != "" && c.args[0][0] != '-' {
		// The old form: letters first, their values after them all.
		c.args = oldTar(c.args)
	}
	o := c.opts("cxtzf:C:vOkpomhX:T:S:aE:", "create=c", "extract=x", "list=t", "gzip=z", "file=f", "directory=C", "verbose=v", "to-stdout=O",
		"numeric-owner=N", "exclude=E", "strip-components=S", "keep-old-files=k", "same-permissions=p", "no-same-owner=o", "dereference=h", "files-from=T", "auto-compress=a")
	a := &archiver{call: c, o: o, dir: c.Dir, links: map[[2]uint64]string{}}
	if d, ok := o.last('C'); ok {
		a.dir = c.path(d)
		if fi, err := os.Stat(a.dir); err != nil || !fi.IsDir() {
			if err == nil {
				err = syscall.ENOTDIR
			}
			c.die("can't change directory to '%s': %s", d, reason(err))
		}
	}
	if s, ok := o.last('S'); ok {
		a.strip = int(c.number(s))
	}
	a.skip = o.all('E')
	modes := o.count('c') + o.count('x') + o.count('t')
	if modes != 1 {
		c.misuse("one of -c, -x, -t is needed")
	}
	var err error
	if o.has('c') {
		err = a.create()
	} else {
		err = a.read()
	}
	if err != nil && !broken(err) {
		c.die("%v", err)
	}
	return 0
}

func oldTar(args []string) []string {
	rest := args[1:]
	var out []string
	for _, f := range args[0] {
		out = append(out, "-"+string(f))
		if strings.ContainsRune("fCXT", f) && len(rest) > 0 {
			out = append(out, rest[0])
			rest = rest[1:]
		}
	}
	return append(out, rest...)
}

func (a *archiver) create() (err error) {
	var w io.Writer = a.call.Stdio.Out
	var file *os.File
	if name := a.o.str('f', "-"); name != "-" {
		if file, err = os.Create(a.path(name)); err != nil {
			return fmt.Errorf("can't open '%s': %s", name, reason(err))
		}
		defer file.Close()
		w = file
		if a.o.has('a') && (strings.HasSuffix(name, ".gz") || strings.HasSuffix(name, ".tgz")) {
			a.o.list = append(a.o.list, opt{flag: 'z'})
		}
	}
	names := a.args
	for _, list := range a.o.all('T') {
		r, err := a.open(list)
		if err != nil {
			return fmt.Errorf("%s: %s", list, reason(err))
		}
		lines(r, func(line []byte, _ bool) bool { names = append(names, string(line)); return true })
		r.Close()
	}
	if len(names) == 0 {
		return errors.New("empty archive: nothing named to put into it")
	}
	buf := bufio.NewWriterSize(w, 128<<10)
	var to io.Writer = buf
	var zw *gzip.Writer
	if a.o.has('z') {
		zw = gzip.NewWriter(buf)
		to = zw
	}
	tw := tar.NewWriter(to)
	for _, name := range names {
		if err := a.add(tw, name, file); err != nil {
			return err
		}
	}
	if err = tw.Close(); err == nil && zw != nil {
		err = zw.Close()
	}
	if err == nil {
		err = buf.Flush()
	}
	return err
}

// add returns an error only if the archive cannot go on; what cannot be read
// is a warning.
func (a *archiver) add(tw *tar.Writer, name string, self *os.File) error {
	full := name
	if !filepath.IsAbs(name) {
		full = strings.TrimSuffix(a.dir, "/") + "/" + name
	}
	if a.excluded(name) {
		return nil
	}
	stat := os.Lstat
	if a.o.has('h') {
		stat = os.Stat
	}
	fi, err := stat(full)
	if err != nil {
		a.warnErr(name, err)
		return nil
	}
	if self != nil {
		if me, err := self.Stat(); err == nil && os.SameFile(me, fi) {
			a.warn0("%s: file is the archive; skipping", name)
			return nil
		}
	}
	if fi.Mode()&os.ModeSocket != 0 {
		a.warn0("%s: socket ignored", name)
		return nil
	}
	hdr, err := a.header(name, full, fi)
	if err != nil {
		a.warnErr(name, err)
		return nil
	}
	if a.o.has('v') {
		if self != nil {
			a.print(hdr.Name, "\n")
		} else {
			fmt.Fprintln(a.Err, hdr.Name) // the archive is on the standard output
		}
	}
	if err := a.write(tw, hdr, name, full); err != nil {
		return err
	}
	if !fi.IsDir() {
		return nil
	}
	entries, err := os.ReadDir(full)
	if err != nil {
		a.warnErr(name, err)
	}
	for _, e := range entries {
		if a.ctx.Err() != nil {
			return a.ctx.Err()
		}
		if err := a.add(tw, strings.TrimSuffix(name, "/")+"/"+e.Name(), self); err != nil {
			return err
		}
	}
	return nil
}

func (a *archiver) header(name, full string, fi os.FileInfo) (*tar.Header, error) {
	link := ""
	var err error
	if fi.Mode()&os.ModeSymlink != 0 {
		if link, err = os.Readlink(full); err != nil {
			return nil, err
		}
	}
	st := statOf(fi)
	hdr, err := tar.FileInfoHeader(bareInfo{fi}, link)
	if err != nil {
		return nil, err
	}
	hdr.Name = strings.TrimLeft(name, "/")
	if fi.IsDir() {
		hdr.Name = strings.TrimSuffix(hdr.Name, "/") + "/"
	}
	hdr.Uid, hdr.Gid = int(st.Uid), int(st.Gid)
	if !a.o.has('N') {
		hdr.Uname, hdr.Gname = a.names.user(st.Uid), a.names.group(st.Gid)
	}
	if f := st.Mode & syscall.S_IFMT; f == syscall.S_IFCHR || f == syscall.S_IFBLK {
		hdr.Devmajor, hdr.Devminor = int64(unix.Major(uint64(st.Rdev))), int64(unix.Minor(uint64(st.Rdev)))
	}
	if fi.Mode().IsRegular() && st.Nlink > 1 {
		id := inode(fi)
		if first, ok := a.links[id]; ok {
			hdr.Typeflag, hdr.Linkname, hdr.Size = tar.TypeLink, first, 0
		} else {
			a.links[id] = hdr.Name
		}
	}
	// Whole seconds and no extended headers: what every tar reads.
	hdr.ModTime = hdr.ModTime.Truncate(time.Second)
	return hdr, nil
}

// bareInfo hides the system's stat: archive/tar would look up users by itself.
type bareInfo struct{ os.FileInfo }

func (bareInfo) Sys() any { return nil }

func (a *archiver) write(tw *tar.Writer, hdr *tar.Header, name, full string) error {
	if hdr.Typeflag != tar.TypeReg {
		return tw.WriteHeader(hdr)
	}
	f, err := os.Open(full)
	if err != nil {
		a.warnErr(name, err)
		return nil
	}
	defer f.Close()
	if err := tw.WriteHeader(hdr); err != nil {
		return err
	}
	n, err := io.Copy(tw, io.LimitReader(f, hdr.Size))
	if err != nil {
		return err
	}
	if n < hdr.Size {
		a.warn("%s: file shrank by %d bytes; padding with zeros", name, hdr.Size-n)
		_, err = io.CopyN(tw, zeros{}, hdr.Size-n)
	}
	return err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func (a *archiver) excluded(name string) bool {
	for _, p := range a.skip {
		name := strings.TrimSuffix(name, "/")
		for n := name; n != "." && n != "/" && n != ""; n = path.Dir(n) {
			if ok, _ := path.Match(p, n); ok {
				return true
			}
			if ok, _ := path.Match(p, path.Base(n)); ok {
				return true
			}
		}
	}
	return false
}

func (a *archiver) read() error {
	r, err := a.open(a.o.str('f', "-"))
	if err != nil {
		return fmt.Errorf("can't open '%s': %s", a.o.str('f', "-"), reason(err))
	}
	defer r.Close()
	br := bufio.NewReaderSize(r, 128<<10)
	var in io.Reader = br
	if magic, _ := br.Peek(2); len(magic) == 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		zr, err := gzip.NewReader(br)
		if err != nil {
			return err
		}
		in = zr
	} else if a.o.has('z') {
		return errors.New("not in gzip format")
	}
	x := &extractor{archiver: a}
	if err := x.begin(); err != nil {
		return err
	}
	defer x.end()
	tr := tar.NewReader(in)
	seen := map[string]bool{}
	for a.ctx.Err() == nil {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("bad archive: %w", err)
		}
		if !a.wanted(hdr.Name, seen) || a.excluded(hdr.Name) {
			continue
		}
		if err := a.entry(x, hdr, tr); err != nil {
			return err
		}
	}
	for _, want := range a.args {
		if !seen[want] {
			a.warn("%s: not found in archive", want)
		}
	}
	return x.dirTimes()
}

func (a *archiver) entry(x *extractor, hdr *tar.Header, tr io.Reader) error {
	switch {
	case a.o.has('t'):
		a.list(hdr)
	case a.o.has('O'):
		_, err := io.Copy(a.out, tr)
		return err
	default:
		if a.o.has('v') {
			a.print(hdr.Name, "\n")
		}
		if err := x.extract(hdr, tr); err != nil {
			if errors.Is(err, syscall.ENOSPC) || errors.Is(err, io.ErrUnexpectedEOF) {
				return fmt.Errorf("%s: %w", hdr.Name, err)
			}
			a.warnErr(hdr.Name, err)
		}
	}
	return nil
}

// wanted notes which operands have been found.
func (a *archiver) wanted(name string, seen map[string]bool) bool {
	if len(a.args) == 0 {
		return true
	}
	clean := func(s string) string { return strings.TrimSuffix(strings.TrimPrefix(s, "./"), "/") }
	ok := false
	for _, want := range a.args {
		w := clean(want)
		if clean(name) == w || strings.HasPrefix(clean(name), w+"/") {
			seen[want], ok = true, true
		}
	}
	return ok
}

func (a *archiver) list(hdr *tar.Header) {
	if !a.o.has('v') {
		a.print(hdr.Name, "\n")
		return
	}
	mode := uint32(hdr.Mode) & 0o7777
	to := ""
	switch hdr.Typeflag {
	case tar.TypeDir:
		mode |= syscall.S_IFDIR
	case tar.TypeSymlink:
		mode |= syscall.S_IFLNK
		to = " -> " + hdr.Linkname
	case tar.TypeChar:
		mode |= syscall.S_IFCHR
	case tar.TypeBlock:
		mode |= syscall.S_IFBLK
	case tar.TypeFifo:
		mode |= syscall.S_IFIFO
	default:
		mode |= syscall.S_IFREG
		if hdr.Typeflag == tar.TypeLink {
			to = " link to " + hdr.Linkname
		}
	}
	user, group := hdr.Uname, hdr.Gname
	if user == "" || a.o.has('N') {
		user, group = fmt.Sprint(hdr.Uid), fmt.Sprint(hdr.Gid)
	}
	a.printf("%s %s/%s %9d %s %s%s\n", modeString(mode), user, group, hdr.Size, hdr.ModTime.Format("2006-01-02 15:04:05"), hdr.Name, to)
}
