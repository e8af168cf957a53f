package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"coracle/backends/emulate"
	"coracle/net/network/networktest"
	"coracle/probe"
	"coracle/probe/probetest"
	"coracle/testkernel/kernels"

	"golang.org/x/sys/unix"
)

// builds are the platforms of the test image: Debian's static busybox of each,
// and the byte of its head that says so (e_machine).
var builds = []struct{ platform, arch, variant, machine, uname string }{
	{"linux/amd64", "amd64", "", "3e", ""},
	{"linux/386", "386", "", "03", ""},
	{"linux/arm/v7", "arm", "v5", "28", "armv7l"},
	{"linux/arm64", "arm64", "", "b7", "aarch64"},
}

// ociArchive is a tar in which each file is a blob, or has a name.
type ociArchive struct {
	tw  *tar.Writer
	buf bytes.Buffer
}

func (a *ociArchive) add(name string, data []byte) {
	a.tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))})
	a.tw.Write(data)
}

func (a *ociArchive) blob(mediaType string, content any) map[string]any {
	data, ok := content.([]byte)
	if !ok {
		data, _ = json.Marshal(content)
	}
	sum := sha256.Sum256(data)
	hash := hex.EncodeToString(sum[:])
	a.add("blobs/sha256/"+hash, data)
	return map[string]any{"mediaType": mediaType, "digest": "sha256:" + hash, "size": len(data)}
}

// manyPlatforms is an OCI archive of one image, many:1, for all of builds.
func manyPlatforms(t *testing.T) []byte {
	t.Helper()
	a := &ociArchive{}
	a.tw = tar.NewWriter(&a.buf)
	const oci = "application/vnd.oci.image."
	var manifests []any
	for _, b := range builds {
		file := filepath.Join(t.TempDir(), "busybox")
		if err := networktest.Outside(func() error { return kernels.Busybox(b.arch, file, io.Discard) }); err != nil {
			t.Fatal(err)
		}
		program, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var layer bytes.Buffer
		tw := tar.NewWriter(&layer)
		tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "bin/", Mode: 0o755})
		tw.WriteHeader(&tar.Header{Name: "bin/busybox", Mode: 0o755, Size: int64(len(program))})
		tw.Write(program)
		for _, applet := range strings.Fields("sh uname cat od grep sleep tty true ps") {
			tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox"})
		}
		tw.Close()
		sum := sha256.Sum256(layer.Bytes())
		l := a.blob(oci+"layer.v1.tar", layer.Bytes())
		config := a.blob(oci+"config.v1+json", map[string]any{"os": "linux", "architecture": b.arch, "variant": b.variant,
			"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}}})
		m := a.blob(oci+"manifest.v1+json", map[string]any{"schemaVersion": 2, "mediaType": oci + "manifest.v1+json", "config": config, "layers": []any{l}})
		m["platform"] = map[string]any{"os": "linux", "architecture": b.arch, "variant": b.variant}
		manifests = append(manifests, m)
	}
	index := a.blob(oci+"index.v1+json", map[string]any{"schemaVersion": 2, "mediaType": oci + "index.v1+json", "manifests": manifests})
	index["annotations"] = map[string]string{"io.containerd.image.name": "docker.io/library/many:1"}
	data, _ := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{index}})
	a.add("index.json", data)
	a.add("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	a.tw.Close()
	return a.buf.Bytes()
}

// leaveHandlers puts the machine's handlers back as they were.
func leaveHandlers(t *testing.T) {
	t.Helper()
	before, err := emulate.Read(emulate.Dir)
	if err != nil {
		t.Fatal(err)
	}
	had := func(name string) bool {
		return slices.ContainsFunc(before.Handlers, func(h emulate.Handler) bool { return h.Name == name })
	}
	t.Cleanup(func() {
		for _, a := range emulate.Archs() {
			if !had(emulate.Prefix + a.Name) {
				emulate.Remove(emulate.Dir, a.Name)
			}
		}
		after, err := emulate.Read(emulate.Dir)
		if err != nil || after.Mounted != before.Mounted || len(after.Handlers) != len(before.Handlers) {
			t.Errorf("handlers were %+v, are %+v, %v", before, after, err)
		}
	})
}

func loadMany(t *testing.T, m *machine) {
	t.Helper()
	if r := m.feed(manyPlatforms(t), "load"); r.code != 0 || strings.TrimSpace(r.out) != "Loaded image: many:1" {
		t.Fatalf("load: %+v", r)
	}
}

// TestPlatforms runs each platform of one image on each rung.
func TestPlatforms(t *testing.T) {
	needRoot(t)
	leaveHandlers(t)
	for _, c := range []struct {
		name, backend string
		uid           int
	}{
		{"root", "", 0},
		{"chroot", "isolation=chroot,rootfs=copy", 0},
		{"user", "isolation=userns", ordinary},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, "", c.backend, c.uid)
			if c.uid != 0 {
				if r := m.try("probe", "--check", "ns.user"); r.code != 0 {
					t.Skip("missing kernel feature: ns.user")
				}
			}
			loadMany(t, m)
			for _, b := range builds {
				t.Run(b.arch, func(t *testing.T) {
					m := *m
					m.t = t
					if c.uid != 0 && b.uname != "" && m.try("probe", "--check", "binfmt_misc.userns").code != 0 {
						t.Skip("missing kernel feature: binfmt_misc.userns")
					}
					tryPlatform(t, &m, b.platform, b.machine, b.uname)
				})
			}
		})
	}
}

func tryPlatform(t *testing.T, m *machine, platform, machine, uname string) {
	run := func(args ...string) []string { return append([]string{"run", "--rm", "--platform", platform}, args...) }
	// Children are executed as the first process is.
	m.is(machine, run("many:1", "sh", "-c", "od -An -tx1 -j18 -N1 /bin/busybox | { read x; echo $x; }")...)
	if uname != "" {
		m.is(uname, run("many:1", "uname", "-m")...)
	}
	m.fails(7, "", run("many:1", "sh", "-c", "sh -c 'exit 7'")...)
	m.fails(127, "not found", run("many:1", "no-such-program")...)
	if r := m.feed([]byte("from outside"), run("-i", "many:1", "cat")...); r.code != 0 || r.out != "from outside" {
		t.Errorf("standard input: %+v", r)
	}
	if r := m.try(run("-t", "many:1", "tty")...); r.code != 0 || !strings.HasPrefix(r.out, "/dev/pts/") {
		t.Errorf("a terminal: %+v", r)
	}
	// qemu's system calls are the machine's, so is the filter.
	m.is("Seccomp:\t2", run("many:1", "grep", "^Seccomp:", "/proc/self/status")...)
	m.is("CapEff:\t0000000000000000", run("--cap-drop", "ALL", "many:1", "grep", "^CapEff:", "/proc/self/status")...)
	m.ok("run", "-d", "--name", "it", "--init", "--platform", platform, "many:1", "sh", "-c", `trap "exit 5" TERM; echo ready; while :; do sleep 0.1; done`)
	until(t, "ready", func() bool { return m.ok("logs", "it") == "ready" })
	if uname != "" {
		m.is(uname, "exec", "it", "uname", "-m")
	}
	m.fails(3, "", "exec", "it", "sh", "-c", "exit 3")
	m.ok("stop", "-t", "30", "it")
	m.is("5", "wait", "it")
	m.ok("rm", "it")
}

// TestEmulatorInRoot: a handler without the flag F, as kernels before 4.8 have
// it, finds its emulator in each root filesystem.
func TestEmulatorInRoot(t *testing.T) {
	needRoot(t)
	leaveHandlers(t)
	m := newMachine(t, "", "", 0)
	loadMany(t, m)
	a, _ := emulate.Lookup("arm64")
	before, err := emulate.Read(emulate.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(before.Handlers, func(h emulate.Handler) bool { return h.Serves(a) }) || runtime.GOARCH == a.Name {
		t.Skip("missing: a machine that does not run arm64 programs yet")
	}
	if !before.Mounted {
		if err := unix.Mount("e2e", emulate.Dir, "binfmt_misc", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(emulate.Dir, unix.MNT_DETACH) })
	}
	emulator, err := emulate.Emulator(a)
	if err != nil {
		t.Fatal(err)
	}
	line, err := emulate.Line("e2e-without-F", a, emulator, "OC")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(emulate.Dir+"/register", []byte(line), 0o200); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.WriteFile(emulate.Dir+"/e2e-without-F", []byte("-1"), 0o200) })
	for _, backend := range []string{"", "isolation=chroot", "rootfs=copy", "isolation=chroot,rootfs=copy", "isolation=userns"} {
		m.backend = backend
		if strings.Contains(backend, "userns") && !probetest.Report(t, m.dir).Has(probe.NSUser) {
			continue // the last; TestPlatforms tells what is missing
		}
		for _, more := range []string{"--read-only=false", "--read-only"} {
			m.is("aarch64", "run", "--rm", more, "--platform", "arm64", "many:1", "sh", "-c", "uname -m")
		}
		// Nor can the container write to the machine's emulator.
		m.is("no", "run", "--rm", "--platform", "arm64", "many:1", "sh", "-c", "echo x >>"+emulator+" || echo no")
	}
	m.backend = ""
	if r := m.try("platform", "ls"); !strings.Contains(r.out, "e2e-without-F") {
		t.Errorf("%+v", r)
	}
}

// TestNoPlatform is what there is to say where a platform cannot be had.
func TestNoPlatform(t *testing.T) {
	needRoot(t)
	leaveHandlers(t)
	if runtime.GOARCH == "arm64" {
		t.Skip("missing: an architecture that is another than this machine's")
	}
	m := newMachine(t, "", "", 0)
	loadMany(t, m)
	m.fails(125, "no image for platform linux/s390x, only for linux/amd64, linux/386, linux/arm/v5, linux/arm64", "run", "--rm", "--pull", "never", "--platform", "linux/s390x", "many:1", "true")
	m.fails(125, `invalid platform "a/b/c/d"`, "run", "--rm", "--platform", "a/b/c/d", "many:1", "true")
	m.fails(125, "CORACLE_BOX_ARM64", "run", "--rm", "--platform", "arm64", "box", "true")
	m.fails(1, "no handler coracle-arm64 is registered", "platform", "rm", "arm64")
	m.fails(1, "no emulator is known for linux/vax", "platform", "add", "vax")
	if t2, _ := emulate.Read(emulate.Dir); slices.ContainsFunc(t2.Handlers, func(h emulate.Handler) bool { a, _ := emulate.Lookup("arm64"); return h.Serves(a) }) {
		t.Skip("missing: a machine with no handler for arm64")
	}
	hide := func(where string) []string {
		return []string{"unshare", "-m", "--propagation", "private", "sh", "-c", "mount -t tmpfs -o ro hidden " + where + ` && exec "$@"`, "sh"}
	}
	m.wrap = hide("/usr/bin")
	m.fails(125, "no qemu-aarch64-static is installed", "run", "--rm", "--platform", "arm64", "many:1", "true")
	m.fails(125, "hint: install qemu-user-static", "run", "--rm", "--platform", "arm64", "many:1", "true")
	m.wrap = hide("/proc/sys/fs")
	m.fails(125, "hint: modprobe binfmt_misc", "run", "--rm", "--platform", "arm64", "many:1", "true")
	m.wrap = nil
	if ids := m.ok("ps", "-aq"); ids != "" {
		t.Errorf("left: %s", ids)
	}
}

func TestDefaultPlatform(t *testing.T) {
	needRoot(t)
	leaveHandlers(t)
	m := newMachine(t, "", "", 0)
	loadMany(t, m)
	m.wrap = []string{"env", "DOCKER_DEFAULT_PLATFORM=linux/arm64"}
	m.is("aarch64", "run", "--rm", "many:1", "uname", "-m")
	m.is(strings.TrimSpace(m.ok("run", "--rm", "--platform", "linux/amd64", "many:1", "uname", "-m")), "run", "--rm", "--platform", "linux/amd64", "many:1", "uname", "-m")
}

// TestMatrix is what a CI job does.
func TestMatrix(t *testing.T) {
	needRoot(t)
	leaveHandlers(t)
	m := newMachine(t, "", "", 0)
	loadMany(t, m)
	var all []string
	for _, b := range builds {
		all = append(all, b.platform)
	}
	junit, asJSON := filepath.Join(t.TempDir(), "j.xml"), filepath.Join(t.TempDir(), "j.json")
	script := `echo "$A"; echo "to stderr" >&2; printf 'no end \033'; grep -q flag /v/file; test $(od -An -tx1 -j18 -N1 /bin/busybox) != 28 || exit 3`
	src := t.TempDir()
	os.WriteFile(filepath.Join(src, "file"), []byte("flag\n"), 0o644)
	r := m.try("matrix", "--platform", strings.Join(all, ","), "--jobs", "2", "-e", "A=and B", "-v", src+":/v:ro", "--junit", junit, "--json", asJSON, "many:1", "sh", "-c", script)
	if r.code != 1 {
		t.Fatalf("%+v", r)
	}
	for _, b := range builds {
		result := "passed"
		if b.arch == "arm" {
			result = "failed"
		}
		if !strings.Contains(r.out, fmt.Sprintf("%-12s | and B\n", b.platform)) || !strings.Contains(r.err, fmt.Sprintf("%-12s | to stderr\n", b.platform)) {
			t.Errorf("%s: output is missing\n%s%s", b.platform, r.out, r.err)
		}
		if !slices.ContainsFunc(strings.Split(r.out, "\n"), func(l string) bool {
			return strings.HasPrefix(l, b.platform+" ") && strings.Contains(l, " "+result+" ")
		}) {
			t.Errorf("%s: not %s in the table\n%s", b.platform, result, r.out)
		}
	}
	data, _ := os.ReadFile(junit)
	dec := xml.NewDecoder(bytes.NewReader(data))
	for {
		if _, err := dec.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
	}
	var report struct {
		Results []struct {
			Platform, Result, Runs, Stdout string
			ExitCode                       int
		}
	}
	data, _ = os.ReadFile(asJSON)
	if err := json.Unmarshal(data, &report); err != nil || len(report.Results) != 4 || report.Results[2].ExitCode != 3 || report.Results[3].Runs != "by qemu-aarch64-static" || !strings.HasSuffix(report.Results[0].Stdout, "\x1b") {
		t.Errorf("%v %+v", err, report)
	}
	// What cannot be had is not skipped, and is no failure of the program's.
	if r := m.try("matrix", "--platform", "linux/amd64,linux/s390x", "--pull", "never", "many:1", "true"); r.code != 125 || !strings.Contains(r.out, "error") || !strings.Contains(r.err, "only for linux/amd64") {
		t.Errorf("%+v", r)
	}
	if r := m.try("matrix", "--platform", "linux/amd64,windows/amd64", "many:1", "true"); r.code != 125 || !strings.Contains(r.out, "error: no emulator is known for it") {
		t.Errorf("another system: %d\n%s\n%s", r.code, r.out, r.err)
	}
	m.fails(125, "named twice", "matrix", "--platform", "amd64,linux/amd64", "many:1", "true")
	m.fails(125, "name the platforms", "matrix", "many:1", "true")
	m.fails(125, "no such file", "matrix", "--platform", "amd64", "--junit", "/no/such/dir/x", "many:1", "true")
	if r := m.try("matrix", "--platform", "amd64,arm64", "--timeout", "4s", "--init", "many:1", "sh", "-c", "trap 'exit 4' TERM; while :; do sleep 0.1; done"); r.code != 1 || strings.Count(r.out, "timed out") != 2 {
		t.Errorf("%+v", r)
	}
}

// TestMatrixInterrupted: Ctrl-C stops all, and says which.
func TestMatrixInterrupted(t *testing.T) {
	needRoot(t)
	leaveHandlers(t)
	m := newMachine(t, "", "", 0)
	loadMany(t, m)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := m.command(ctx, "matrix", "--platform", "linux/amd64,linux/arm64,linux/386", "--jobs", "2", "many:1", "sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "two of them run", func() bool { return len(strings.Fields(m.ok("ps", "-q"))) == 2 })
	cmd.Process.Signal(syscall.SIGINT)
	time.Sleep(time.Second)
	cmd.Process.Signal(syscall.SIGINT) // once more: no more patience
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 130 || strings.Count(out.String(), "cancelled") != 3 && !strings.Contains(out.String(), "passed") {
		t.Errorf("exit code %d\n%s%s", code, out.String(), errs.String())
	}
	if !strings.Contains(out.String(), "before it was started") {
		t.Errorf("the third was started: %s%s", out.String(), errs.String())
	}
	if ids := m.ok("ps", "-aq"); ids != "" {
		t.Errorf("left: %s", ids)
	}
}
