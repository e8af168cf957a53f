package box

import (
	"archive/tar"
	"bufio"
	"io"

	"coracle/image/box/applet"
)

// writeLayer writes the root filesystem: the binary once, as /bin/box, and a
// symbolic link for each applet.
func writeLayer(w io.Writer, bin io.ReaderAt, size int64) error {
	buf := bufio.NewWriterSize(w, 256<<10)
	tw := tar.NewWriter(buf)
	for _, d := range directories() {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: d.name + "/", Mode: d.mode, ModTime: epoch(), Uid: d.owner, Gid: d.owner}); err != nil {
			return err
		}
	}
	for _, f := range files() {
		mode := f.mode
		if mode == 0 {
			mode = 0o644
		}
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: mode, Size: int64(len(f.text)), ModTime: epoch()}); err != nil {
			return err
		}
		if _, err := io.WriteString(tw, f.text); err != nil {
			return err
		}
	}
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "bin/box", Mode: 0o755, Size: size, ModTime: epoch()}); err != nil {
		return err
	}
	if _, err := io.Copy(tw, io.NewSectionReader(bin, 0, size)); err != nil {
		return err
	}
	for _, name := range applet.Names() {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "box", Mode: 0o777, ModTime: epoch()}); err != nil {
			return err
		}
	}
	// Scripts begin with #!/usr/bin/env.
	for _, l := range [][2]string{{"usr/bin/env", "../../bin/box"}, {"var/run", "../run"}} {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: l[0], Linkname: l[1], Mode: 0o777, ModTime: epoch()}); err != nil {
			return err
		}
	}
	if err := tw.Close(); err != nil {
		return err
	}
	return buf.Flush()
}

type dir struct {
	name  string
	mode  int64
	owner int
}

func directories() []dir {
	return []dir{
		{"bin", 0o755, 0}, {"dev", 0o755, 0}, {"etc", 0o755, 0}, {"home", 0o755, 0}, {"home/box", 0o755, 1000}, {"mnt", 0o755, 0}, {"opt", 0o755, 0},
		{"proc", 0o555, 0}, {"root", 0o700, 0}, {"run", 0o755, 0}, {"sbin", 0o755, 0}, {"srv", 0o755, 0}, {"sys", 0o555, 0}, {"tmp", 0o1777, 0},
		{"usr", 0o755, 0}, {"usr/bin", 0o755, 0}, {"usr/local", 0o755, 0}, {"usr/local/bin", 0o755, 0}, {"usr/sbin", 0o755, 0},
		{"var", 0o755, 0}, {"var/log", 0o755, 0}, {"var/tmp", 0o1777, 0}, {"www", 0o755, 0},
	}
}

type file struct {
	name string
	mode int64 // 0 is 0644
	text string
}

func files() []file {
	return []file{
		{name: "etc/group", text: "root:x:0:\ndaemon:x:1:\ntty:x:5:\nusers:x:100:\nbox:x:1000:\nnogroup:x:65534:\n"},
		{name: "etc/hostname"},
		{name: "etc/hosts", text: "127.0.0.1\tlocalhost\n::1\tlocalhost\n"},
		{name: "etc/os-release", text: "NAME=\"box\"\nID=box\nPRETTY_NAME=\"box, the image inside coracle\"\n"},
		{name: "etc/passwd", text: "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nbox:x:1000:1000:box:/home/box:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"},
		{name: "etc/profile", text: "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"},
		{name: "etc/resolv.conf"},
		{name: "www/index.html", text: "<!doctype html>\n<title>box</title>\n<p>It floats.\n"},
	}
}
