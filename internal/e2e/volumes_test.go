package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestVolumes: the life of volumes on each rung of isolation.
func TestVolumes(t *testing.T) {
	needRoot(t)
	for _, r := range plainRungs() {
		t.Run(r.name, func(t *testing.T) {
			m := newMachine(t, "", r.backend, r.uid)
			volumesLive(m)
			volumesFromOthers(m)
			mountsWork(m, r)
		})
	}
}

// volumesLive makes, lists, uses and deletes volumes.
func volumesLive(m *machine) {
	m.t.Helper()
	m.is("boat", "volume", "create", "--label=a=1", "--label=b", "boat")
	m.is("boat", "volume", "create", "boat")
	m.is("local boat map[a:1 b:] local map[]", "volume", "inspect", "-f", "{{.Driver}} {{.Name}} {{.Labels}} {{.Scope}} {{.Options}}", "boat")
	m.is("boat", "inspect", "--type=volume", "-f", "{{.Name}}", "boat")
	m.is("DRIVER    VOLUME NAME\nlocal     boat", "volume", "ls")
	m.is("1", "volume", "ls", "--format", `{{.Label "a"}}`)
	for filter, want := range map[string]string{
		"label=a": "boat", "label=a=2": "", "name=oa": "boat", "name=x": "", "dangling=true": "boat", "dangling=false": "", "driver=local": "boat", "driver=x": "",
	} {
		m.is(want, "volume", "ls", "-q", "-f", filter)
	}
	m.fails(1, "get nothing: no such volume", "volume", "inspect", "nothing")
	m.fails(1, "get nothing: no such volume", "volume", "rm", "nothing")
	m.is("nothing", "volume", "rm", "-f", "nothing")
	m.fails(1, "too short", "volume", "create", "x")
	m.fails(1, "includes invalid characters", "volume", "create", "a/b")
	m.fails(1, `plugin "x" not found`, "volume", "create", "-d", "x", "vv")
	m.fails(1, `invalid option: "foo"`, "volume", "create", "-o", "foo=1", "vv")
	m.fails(1, `missing required option: "device"`, "volume", "create", "-o", "type=tmpfs", "vv")
	m.fails(1, "invalid filter 'foo'", "volume", "ls", "-f", "foo=1")

	m.ok("run", "--rm", net, "-v", "boat:/data", "box", "sh", "-c", "echo kept >/data/f")
	id := m.ok("create", "--name", "user", net, "-v", "boat:/data:ro", "-v", "/anon", "box", "cat", "/data/f")
	m.is("kept", "start", "-a", "user")
	m.fails(1, "remove boat: volume is in use - ["+id+"]", "volume", "rm", "boat")
	m.is("boat", "volume", "ls", "-q", "-f", "dangling=false", "-f", "name=boat")
	anon := m.ok("inspect", "-f", `{{range .Mounts}}{{if eq .Destination "/anon"}}{{.Name}}{{end}}{{end}}`, "user")
	m.is("map[com.docker.volume.anonymous:]", "volume", "inspect", "-f", "{{.Labels}}", anon)
	m.is("Total reclaimed space: 0B", "volume", "prune", "-af")
	m.ok("rm", "user")
	m.is("boat", "volume", "ls", "-q", "-f", "name=boat")
	if out := m.ok("volume", "prune", "-f"); !strings.Contains(out, "Deleted Volumes:\n"+anon) || strings.Contains(out, "boat") {
		m.t.Errorf("prune: %q", out)
	}
	if r := m.feed([]byte("n\n"), "volume", "prune", "-a"); r.code != 0 || !strings.HasSuffix(r.out, "[y/N] ") {
		m.t.Errorf("prune without consent: %+v", r)
	}
	if out := m.ok("volume", "prune", "-af"); !strings.Contains(out, "boat") {
		m.t.Errorf("prune -a: %q", out)
	}
	m.ok("run", "--rm", net, "-v", "/gone", "box", "true")
	m.ok("run", "--name", "gone", net, "-v", "/gone", "box", "true")
	m.ok("rm", "-v", "gone")
	m.is("", "volume", "ls", "-q")
}

// volumesFromOthers: --volumes-from, and the volumes that outlive their owner.
func volumesFromOthers(m *machine) {
	m.t.Helper()
	m.ok("run", "--name", "owner", net, "-v", "/own", "-v", "shared:/shared", "-v", m.dir+":/host", "box", "sh", "-c", "echo own >/own/f; echo shared >/shared/f")
	m.is("own\nshared", "run", "--rm", net, "--volumes-from=owner", "box", "cat", "/own/f", "/shared/f")
	m.fails(1, "ead-only", "run", "--rm", net, "--volumes-from=owner:ro", "box", "touch", "/own/g")
	m.fails(125, "invalid mode", "run", "--rm", net, "--volumes-from=owner:x", "box", "true")
	m.fails(125, "No such container: nobody", "run", "--rm", net, "--volumes-from=nobody", "box", "true")
	m.ok("create", "--name", "heir", net, "--volumes-from=owner", "-v", "other:/shared", "box", "sh", "-c", "cat /own/f; ls /shared")
	m.ok("rm", "-v", "owner")
	m.is("own", "start", "-a", "heir")
	m.ok("rm", "-v", "heir")
	m.ok("volume", "prune", "-af")
}

// mountsWork: --mount in all its types.
func mountsWork(m *machine, r rung) {
	t := m.t
	t.Helper()
	if r.uid != 0 {
		// Of a place on the host, and not of our own state.
		got := m.try("run", "--rm", net, "-v", "/no-such/dir:/x", "box", "true")
		if got.code != 125 || !strings.Contains(got.err, "error while creating mount source path '/no-such/dir': mkdir /no-such: permission denied") || strings.Contains(got.err, "state directory") {
			t.Errorf("%+v", got)
		}
	}
	in := func(mount string, script string) []string {
		return []string{"run", "--rm", net, "--mount", mount, "box", "sh", "-c", script}
	}
	host := filepath.Join(m.dir, "host")
	if err := os.MkdirAll(filepath.Join(host, "sub"), 0o777); err != nil {
		t.Fatal(err)
	}
	os.Chmod(host, 0o777)
	os.WriteFile(filepath.Join(host, "f"), []byte("of the host\n"), 0o666)
	m.is("of the host", in("type=bind,source="+host+",target=/m,readonly", "cat /m/f")...)
	m.fails(1, "ead-only", in("type=bind,source="+host+",target=/m,readonly", "touch /m/g")...)
	m.fails(125, "bind source path does not exist", in("type=bind,source=/no/such,target=/m", "true")...)
	m.is("made", in("type=bind,source="+host+"/new,target=/m,bind-create-src", "echo made")...)
	m.ok(in("type=tmpfs,target=/m,tmpfs-size=1m,tmpfs-mode=1770", "test -k /m && test $(stat -c %a /m) = 1770 && ! dd if=/dev/zero of=/m/f bs=1024 count=2000")...)
	m.is("sub", in("type=volume,source=vol,target=/m,volume-label=x=y", "mkdir -p /m/sub/deep && echo sub >/m/sub/deep/f && ln -s / /m/out && cat /m/sub/deep/f")...)
	m.is("y", "volume", "ls", "--format", `{{.Label "x"}}`)
	m.is("sub", in("type=volume,source=vol,target=/m,volume-subpath=sub/deep", "cat /m/f")...)
	m.is("sub", in("type=volume,source=vol,target=/m/file,volume-subpath=sub/deep/f,readonly", "cat /m/file")...)
	m.fails(125, "subpath", in("type=volume,source=vol,target=/m,volume-subpath=nowhere", "true")...)
	m.fails(125, "subpath", in("type=volume,source=vol,target=/m,volume-subpath=out/etc", "true")...)
	m.fails(125, "invalid volume subpath", in("type=volume,source=vol,target=/m,volume-subpath=../x", "true")...)
	// The image's files, or none of them.
	m.ok(in("type=volume,source=full,target=/bin", "ls /bin/true")...)
	m.is("0", "run", "--rm", net, "--mount", "type=volume,source=empty,target=/bin2,volume-nocopy", "box", "sh", "-c", "ls /bin2 | wc -l | tr -d ' '")
	m.ok(in("type=image,source=box,target=/m", "test -x /m/bin/sh && ! touch /m/x")...)
	m.ok("run", "--name", "layered", net, "box", "sh", "-c", "mkdir /top; echo top >/top/f")
	m.ok("commit", "layered", "layers:1")
	m.ok("rm", "layered")
	m.is("top", in("type=image,source=layers:1,target=/m", "test -x /m/bin/sh && cat /m/top/f && ! touch /m/x")...)
	m.fails(125, "No such image", in("type=image,source=nosuch,target=/m", "true")...)
	m.fails(125, "requires 'readonly'", in("type=bind,source=/,target=/m,bind-recursive=readonly", "true")...)
	m.fails(125, "cannot mix", in("type=tmpfs,target=/m,image-subpath=x", "true")...)
	volumeOptions(m, r, host)
}

// volumeOptions: volumes that are something else mounted.
func volumeOptions(m *machine, r rung, host string) {
	m.ok("volume", "create", "-o", "type=none", "-o", "o=bind,ro", "-o", "device="+host, "bound")
	m.ok("volume", "create", "-o", "type=tmpfs", "-o", "o=size=1m,mode=1777", "-o", "device=tmpfs", "memory")
	if r.uid != 0 {
		m.fails(125, "needs root", "run", "--rm", net, "-v", "memory:/m", "box", "true")
		return
	}
	m.is("of the host", "run", "--rm", net, "-v", "bound:/m", "box", "cat", "/m/f")
	m.fails(1, "ead-only", "run", "--rm", net, "-v", "bound:/m", "box", "touch", "/m/g")
	m.ok("run", "-d", "--name", "one", net, "-v", "memory:/m", "box", "sh", "-c", "echo in memory >/m/f; sleep 600")
	until(m.t, "the file is there", func() bool { return m.try("exec", "one", "cat", "/m/f").out == "in memory\n" })
	m.is("in memory", "run", "--rm", net, "-v", "memory:/m", "box", "cat", "/m/f")
	m.ok("rm", "-f", "one")
	m.is("", "run", "--rm", net, "-v", "memory:/m", "box", "ls", "/m")
	m.ok("volume", "rm", "bound", "memory")
	if _, err := os.Stat(filepath.Join(host, "f")); err != nil {
		m.t.Errorf("the bound directory was emptied: %v", err)
	}
}

// TestVolumesKilled: commands that are killed at any moment leave volumes that are
// whole or not there, and nothing else once the next command was there.
func TestVolumesKilled(t *testing.T) {
	needRoot(t)
	m := newMachine(t, "", "isolation=namespaces", 0)
	for i := range 40 {
		cmd := m.command(t.Context(), "run", "--rm", net, "-v", "vv:/usr", "-v", "/bin", "box", "true")
		if i%2 == 1 {
			cmd = m.command(t.Context(), "volume", "rm", "-f", "vv")
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
	}
	m.ok("ps", "-a")
	m.ok("volume", "create", "vv")
	m.ok("volume", "prune", "-af")
	until(t, "nothing is left", func() bool {
		m.ok("ps", "-a")
		m.ok("volume", "ls")
		left, _ := os.ReadDir(filepath.Join(m.dir, "root", "volumes"))
		for _, e := range left {
			if e.Name() != ".lock" {
				return false
			}
		}
		return true
	})
	if out, _ := exec.Command("find", filepath.Join(m.dir, "root", "containers"), "-mindepth", "1").Output(); len(out) > 0 {
		t.Errorf("left: %s", out)
	}
}
