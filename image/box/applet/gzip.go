package applet

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/gzip"
)

func gzipApplet(c *call) int {
	o := c.opts("cdfkt123456789qvn", "stdout=c", "decompress=d", "force=f", "keep=k", "test=t", "quiet=q", "fast=1", "best=9")
	unzip := c.name != "gzip" || o.has('d') || o.has('t')
	stdout := c.name == "zcat" || o.has('c') || o.has('t')
	level := gzip.DefaultCompression
	if f := o.latest("123456789"); f != 0 {
		level = int(f - '0')
	}
	names := c.args
	if len(names) == 0 {
		names = []string{"-"}
	}
	for _, name := range names {
		var err error
		if name == "-" || stdout {
			var w io.Writer = c.out
			if o.has('t') {
				w = io.Discard
			} else if !unzip && name == "-" && isTerminal(c.Stdio.Out) && !o.has('f') {
				c.die("compressed data not written to a terminal")
			}
			var r io.ReadCloser
			if r, err = c.open(name); err == nil {
				err = pack(w, r, unzip, level)
				r.Close()
			}
		} else {
			err = gzipFile(c, name, unzip, o, level)
		}
		if err != nil && !broken(err) {
			c.warnErr(name, err)
		}
	}
	return 0
}

func pack(w io.Writer, r io.Reader, unzip bool, level int) error {
	if unzip {
		zr, err := gzip.NewReader(bufio.NewReaderSize(r, 64<<10))
		if err != nil {
			if errors.Is(err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
		_, err = io.Copy(w, zr)
		return err
	}
	zw, err := gzip.NewWriterLevel(w, level)
	if err != nil {
		return err
	}
	if _, err := io.Copy(zw, r); err != nil {
		return err
	}
	return zw.Close()
}

// gzipFile replaces a file by its packed or unpacked form.
func gzipFile(c *call, name string, unzip bool, o opts, level int) error {
	to := name + ".gz"
	if unzip {
		base, ok := strings.CutSuffix(name, ".gz")
		if !ok {
			if base, ok = strings.CutSuffix(name, ".tgz"); ok {
				base += ".tar"
			}
		}
		if !ok {
			return errors.New("unknown suffix: ignored")
		}
		to = base
	} else if strings.HasSuffix(name, ".gz") {
		return errors.New("already has .gz suffix")
	}
	in, err := os.Open(c.path(name))
	if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if o.has('f') {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	out, err := os.OpenFile(c.path(to), flags, 0o600)
	if err != nil {
		return err
	}
	err = pack(out, in, unzip, level)
	if e := out.Close(); err == nil {
		err = e
	}
	if err == nil {
		st := statOf(fi)
		k := &copier{call: c}
		err = k.attributes(c.path(to), st)
	}
	if err != nil {
		os.Remove(c.path(to))
		return err
	}
	if o.has('k') {
		return nil
	}
	return os.Remove(c.path(name))
}
