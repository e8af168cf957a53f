package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"coracle/backends/limits/limitstest"
	"coracle/crossbuild/inspect"
	"coracle/crossbuild/proof"
	"coracle/crossbuild/target"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// TestMain is also the init of the namespaces that a proof is made in.
func TestMain(m *testing.M) {
	if os.Args[0] == proof.Name {
		os.Exit(proof.Inside(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// TestOneTarget makes all files of one architecture that is not this machine's;
// `make dist` is the same for all of them, twice.
func TestOneTarget(t *testing.T) {
	name := "arm64"
	if targets, _ := target.Pick([]string{name}); proof.Native(targets[0]) {
		name = "amd64"
	}
	targets, err := target.Pick([]string{name})
	if err != nil {
		t.Fatal(err)
	}
	foreign := targets[0]
	o := options{
		tree: "..", dir: t.TempDir(), only: name, version: "v1.2.3-4-gabcdef0", tags: "urfave_cli_no_docs",
		ldflags: "-s -w -X coracle/internal/version.Version=v1.2.3-4-gabcdef0", epoch: 1_700_000_000,
		prove: os.Geteuid() == 0,
	}
	if err := os.WriteFile(filepath.Join(o.dir, "theirs"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := o.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	sums := command(t, o.dir, "sha256sum", "--check", "--strict", "SHA256SUMS")
	if n := strings.Count(sums, ": OK"); n != 5 {
		t.Errorf("%d files: %s", n, sums)
	}
	if _, err := os.Stat(filepath.Join(o.dir, "theirs")); err != nil {
		t.Error(err)
	}
	t.Run("deb", func(t *testing.T) { checkDeb(t, o.dir, foreign) })
	t.Run("rpm", func(t *testing.T) { checkRPM(t, o.dir, foreign) })
	t.Run("archive", func(t *testing.T) { checkArchive(t, o.dir, foreign) })
	t.Run("materials", func(t *testing.T) { checkMaterials(t, o.dir, foreign) })
	if o.prove {
		leftNothing(t)
	}
}

func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs the program %s", name)
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", cmd.Args, err, out)
	}
	return string(out)
}

func has(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func checkDeb(t *testing.T, dir string, tg target.Target) {
	deb := "coracle_1.2.3+4+gabcdef0-1_" + tg.Deb + ".deb"
	has(t, command(t, dir, "dpkg-deb", "--info", deb), "Version: 1.2.3+4+gabcdef0-1\n", "Architecture: "+tg.Deb+"\n", "Package: coracle\n")
	has(t, command(t, dir, "dpkg-deb", "--contents", deb), "-rwxr-xr-x root/root ", " ./usr/bin/coracle\n", "2023-11-14", "./usr/share/man/man1/coracle-run.1.gz\n",
		"./usr/share/doc/coracle/copyright\n", "./usr/share/doc/coracle/init/", "./usr/share/bash-completion/completions/coracle\n")
}

func checkRPM(t *testing.T, dir string, tg target.Target) {
	rpm := "coracle-1.2.3+4+gabcdef0-1." + tg.RPM + ".rpm"
	has(t, command(t, dir, "rpm", "--nosignature", "-qpi", rpm), "Version     : 1.2.3+4+gabcdef0\n", "Architecture: "+tg.RPM+"\n", "License     : Apache-2.0\n")
	has(t, command(t, dir, "rpm", "-qpl", rpm), "/usr/bin/coracle\n", "/usr/share/man/man1/coracle-run.1.gz\n", "/usr/share/zsh/site-functions/_coracle\n")
	has(t, command(t, dir, "rpm", "-K", "--nosignature", rpm), "OK")
	if out := command(t, dir, "rpm", "-qp", "--qf", "%{BUILDHOST} %{BUILDTIME}", rpm); out != "localhost 1700000000" {
		t.Errorf("of the machine that built it: %s", out)
	}
}

func checkArchive(t *testing.T, dir string, tg target.Target) {
	top := "coracle-v1.2.3-4-gabcdef0-linux-" + tg.Name + "/"
	list := command(t, dir, "tar", "-tvzf", strings.TrimSuffix(top, "/")+".tar.gz")
	for _, name := range []string{"coracle", "LICENSE", "README.md", "CHANGELOG.md", "share/man/man1/coracle.1", "init/README.md",
		"share/fish/vendor_completions.d/coracle.fish"} {
		has(t, list, " "+top+name+"\n")
	}
	if strings.Contains(list, "manifest.json") {
		t.Error("the record of an installation is in it")
	}
}

// checkMaterials reads the bill of materials as CycloneDX, and compares it with
// what the toolchain says of the binary.
func checkMaterials(t *testing.T, dir string, tg target.Target) {
	f, err := os.Open(filepath.Join(dir, tg.File()+".cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(f, cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	has(t, string(sums), (*bom.Metadata.Component.Hashes)[0].Value+"  "+tg.File()+"\n")
	listed := map[string]bool{}
	for _, c := range *bom.Components {
		listed[c.PackageURL] = true
	}
	modules := 0
	lines := strings.Split(command(t, dir, "go", "version", "-m", tg.File()), "\n")
	for i, line := range lines {
		if f := strings.Fields(line); len(f) >= 3 && f[0] == "dep" {
			if i+1 < len(lines) && strings.HasPrefix(strings.TrimSpace(lines[i+1]), "=>\t./") {
				if listed["pkg:golang/"+f[1]+"@"+f[2]] {
					t.Errorf("%s is listed, and code of ours is in its place", f[1])
				}
				continue
			}
			modules++
			if !listed["pkg:golang/"+f[1]+"@"+strings.ReplaceAll(f[2], "+", "%2B")] {
				t.Errorf("%s %s is not in it", f[1], f[2])
			}
		}
	}
	if modules < 10 || len(listed) != modules+1 { // and the standard library
		t.Errorf("%d modules, %d listed", modules, len(listed))
	}
}

// leftNothing fails if a handler of ours is left with the machine.
func leftNothing(t *testing.T) {
	t.Helper()
	left, err := filepath.Glob("/proc/sys/fs/binfmt_misc/coracle-coracle-proof-*")
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), "coracle-proof-") {
		t.Errorf("left mounted, %v: %s", err, mounts)
	}
}

// TestDebInstalls installs this machine's .deb into a Debian tree with its own
// dpkg, uses what is there, and removes it again, all in a container.
func TestDebInstalls(t *testing.T) {
	const tree = "../build/debian.tar"
	if _, err := os.Stat(tree); err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and build/debian.tar, which internal/needs/install.sh makes")
	}
	native := target.All()[0]
	if !proof.Native(native) {
		t.Skipf("needs a machine for %s", native.GOARCH)
	}
	o := options{tree: "..", dir: t.TempDir(), only: native.Name, version: "v1.2.3", tags: "urfave_cli_no_docs", ldflags: "-s -w", epoch: 1_700_000_000}
	if err := o.run(context.Background()); err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	t.Setenv("CORACLE_ROOT", filepath.Join(state, "root"))
	t.Setenv("CORACLE_RUN", filepath.Join(state, "run"))
	t.Cleanup(func() { limitstest.Unmount(filepath.Join(state, "run")) })
	coracle := filepath.Join(o.dir, native.File())
	command(t, ".", coracle, "import", tree, "debian")
	out := command(t, ".", coracle, "run", "--rm", "--network", "none", "-v", o.dir+":/dist:ro", "debian", "sh", "-ec", `
		dpkg --install /dist/coracle_1.2.3-1_amd64.deb >/dev/null
		dpkg --verify coracle
		coracle version --format 'runs {{.Client.Os}}'
		coracle install --dry-run --prefix /usr 2>&1 || true
		dpkg --remove coracle >/dev/null
		test ! -e /usr/bin/coracle && test ! -e /usr/share/doc/coracle && echo gone`)
	has(t, out, "runs linux\n", "\ngone\n")
}

// TestInspectRefuses: what is no release file is told so, with all that is wrong.
func TestInspectRefuses(t *testing.T) {
	amd64, err := target.Pick([]string{"amd64"})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for file, wants := range map[string][]string{
		"/bin/sh":   {"PT_INTERP", "PT_DYNAMIC", "not a Go executable"},
		self:        {"-trimpath="},
		"/dev/null": {"EOF"},
		"/nosuch":   {"no such file"},
	} {
		err := inspect.Check(file, amd64[0])
		if err == nil {
			t.Errorf("%s passes", file)
			continue
		}
		has(t, err.Error(), wants...)
	}
	if _, err := target.Pick([]string{"vax"}); err == nil || !strings.Contains(err.Error(), "386-softfloat") {
		t.Errorf("vax: %v", err)
	}
}

// TestProofRefuses: a program that does not do what it should fails the proof.
func TestProofRefuses(t *testing.T) {
	for _, tg := range target.All() {
		if !proof.Native(tg) {
			continue
		}
		file := filepath.Join(t.TempDir(), "liar")
		if err := os.WriteFile(file, []byte("#!/bin/sh\necho linux\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := proof.Run(context.Background(), file, tg); err == nil || !strings.Contains(err.Error(), "exit code 0, want 7") {
			t.Errorf("%s: %v", tg.Name, err)
		}
		if _, err := proof.Run(context.Background(), "/nosuch", tg); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", tg.Name, err)
		}
	}
}

func TestDifference(t *testing.T) {
	if d := difference("1  a\n2  b\n", "1  a\n3  b\n4  c\n"); strings.Join(d, " ") != "b c" {
		t.Errorf("%q", d)
	}
	if d := difference("1  a\n2  b\n", "1  a\n"); strings.Join(d, " ") != "b" {
		t.Errorf("%q", d)
	}
}

// TestReadme: the list of machines is the one that is made.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), target.Table()) {
		t.Errorf("README.md lacks the table: go run ./crossbuild -table\n%s", target.Table())
	}
}
