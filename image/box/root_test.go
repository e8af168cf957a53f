package box

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"coracle/image/box/applet"
)

// TestMain makes the test binary the userland, as the product is.
func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	if _, ok := applet.Lookup(name); ok || name == "box" {
		os.Exit(applet.Main(os.Args))
	}
	os.Exit(m.Run())
}

// TestRootWithoutProc lives in the image's files alone, by chroot and with
// nothing mounted: as on the last rung on a bare kernel.
func TestRootWithoutProc(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for chroot")
	}
	root := t.TempDir()
	bin, err := running()
	if err != nil {
		t.Fatal(err)
	}
	defer bin.Close()
	fi, err := bin.Stat()
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Skip("needs a static test binary: CGO_ENABLED=0")
		}
	}
	var layer bytes.Buffer
	if err := writeLayer(&layer, bin, fi.Size()); err != nil {
		t.Fatal(err)
	}
	untar := exec.Command("tar", "-x", "-p", "--same-owner", "-C", root)
	untar.Stdin = &layer
	if out, err := untar.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v, %s", err, out)
	}
	// Go's os/exec opens the one, crypto/rand the other where getrandom is
	// missing; every rung gives a container both.
	for name, minor := range map[string]int{"null": 3, "zero": 5, "urandom": 9} {
		if err := syscall.Mknod(filepath.Join(root, "dev", name), syscall.S_IFCHR|0o666, 1<<8|minor); err != nil {
			t.Skipf("needs device nodes: %v", err)
		}
	}
	for _, tt := range []struct {
		line, out, err string
		code           int
	}{
		{"echo hello; pwd; id -un; ls /", "hello\n/\nroot\nbin\ndev\netc\nhome\nmnt\nopt\nproc\nroot\nrun\nsbin\nsrv\nsys\ntmp\nusr\nvar\nwww\n", "", 0},
		{"stat -c '%a %U' /tmp /root /home/box /var/run/ | tr '\\n' ' '", "1777 root 700 root 755 box 755 root ", "", 0},
		{"ps", "", "ps: /proc: not mounted\n", 1},
		{"pidof sh", "", "pidof: /proc: not mounted\n", 1},
		{"mount", "", "mount: can't read the mount table: open /proc/self/mountinfo: no such file or directory\n", 1},
		{"df", "", "df: can't read the mount table: open /proc/self/mountinfo: no such file or directory\n", 1},
		{"df / | wc -l | tr -d ' '", "2\n", "", 0},
		{"free > /dev/null && uptime > /dev/null && hostname > /dev/null && nproc > /dev/null", "", "", 0},
		{"ip route", "", "ip: /proc/net/route: no such file or directory\n", 1},
		{"sh -c 'echo child; exit 3'; echo $?", "child\n3\n", "", 0},
		{"exec sh -c 'echo again'", "again\n", "", 0},
		{"/usr/bin/env sh -c 'echo env'", "env\n", "", 0},
		{"printf '#!/usr/bin/env sh\\necho script $1\\n' > /tmp/s; chmod +x /tmp/s; /tmp/s a", "script a\n", "", 0},
		{"tar -cf - /www /etc | tar -tf - | wc -l | tr -d ' '", "10\n", "", 0},
		{"mktemp -d /tmp/xXXXXXX | cut -c1-6; env nice 2>&1; nosuch", "/tmp/x\nenv: can't execute 'nice': no such file or directory\n", "sh: nosuch: not found\n", 127},
		{"sleep 60 & kill $!; wait $!; echo $?", "143\n", "", 0},
		{"trap 'exit 4' TERM; kill $$; sleep 1", "", "", 4},
		{"cat /etc/os-release | grep ^ID; cat /www/index.html | wc -l | tr -d ' '", "ID=box\n3\n", "", 0},
	} {
		t.Run(tt.line, func(t *testing.T) {
			cmd := exec.Command("/bin/sh", "-c", tt.line)
			cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
			cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
			var out, errb strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &errb
			err := cmd.Run()
			if code := cmd.ProcessState.ExitCode(); code != tt.code || out.String() != tt.out || errb.String() != tt.err {
				t.Errorf("code %d (%v)\n%s%s\nwant %d\n%s%s", code, err, out.String(), errb.String(), tt.code, tt.out, tt.err)
			}
		})
	}
}
