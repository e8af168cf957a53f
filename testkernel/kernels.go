package main

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed kernels.tsv
var kernelsText string

// kernel is a line of kernels.tsv.
type kernel struct{ name, arch, suite, pkg, what string }

func kernels() []kernel {
	var all []kernel
	for line := range strings.Lines(kernelsText) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if line[0] != '#' && len(f) == 5 {
			all = append(all, kernel{f[0], f[1], f[2], f[3], f[4]})
		}
	}
	return all
}

// kernelNamed finds one by name; "default" is the one for goarch.
func kernelNamed(name, goarch string) (kernel, error) {
	if name == "default" {
		name = map[string]string{"amd64": "bookworm", "386": "bookworm-686-pae"}[goarch]
	}
	var names []string
	for _, k := range kernels() {
		if k.name == name {
			return k, nil
		}
		names = append(names, k.name)
	}
	return kernel{}, fmt.Errorf("no kernel is called %q; there are default, %s", name, strings.Join(names, ", "))
}

// fetched is a kernel on disk.
type fetched struct {
	image   string
	modules []string
}

// cacheDir is where kernels are kept: build/kernels of the module that the
// command is called in, where it is called in one.
func cacheDir() string {
	if dir := os.Getenv("TESTKERNEL_CACHE"); dir != "" {
		return dir
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if dir := strings.TrimSpace(string(out)); err == nil && dir != "" && !strings.Contains(dir, "\n") {
		return filepath.Join(dir, "build", "kernels")
	}
	return filepath.Join(os.TempDir(), "testkernel-kernels")
}

// fetch finds a kernel in the cache, or downloads it by apt from this machine's
// own mirror. Nothing of the system's apt state is changed.
func fetch(name, goarch string) (*fetched, error) {
	k, err := kernelNamed(name, goarch)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cacheDir(), k.name)
	if _, err := os.Stat(filepath.Join(dir, "complete")); err != nil {
		if err := download(k, dir); err != nil {
			return nil, fmt.Errorf("get kernel %s: %w", k.name, err)
		}
	}
	images, _ := filepath.Glob(filepath.Join(dir, "root/boot/vmlinuz-*"))
	if len(images) == 0 {
		return nil, fmt.Errorf("kernel %s: no vmlinuz in %s", k.name, dir)
	}
	mods, err := modules(filepath.Join(dir, "root"))
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", k.name, err)
	}
	return &fetched{images[0], mods}, nil
}

// download leaves dir/root, the unpacked package, and dir/complete.
func download(k kernel, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for _, d := range []string{"apt/lists/partial", "apt/cache/archives/partial", "root"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	uri, err := mirror()
	if err != nil {
		return err
	}
	signed := ""
	if _, err := os.Stat(keyring); err == nil {
		signed = "[signed-by=" + keyring + "] "
	}
	source := fmt.Sprintf("deb %s%s %s main\n", signed, uri, k.suite)
	if err := os.WriteFile(filepath.Join(dir, "apt/sources.list"), []byte(source), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "apt/status"), nil, 0o644); err != nil {
		return err
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	a := apt{abs, k.arch}
	if _, err := a.run("apt-get", "update", "-qq"); err != nil {
		return err
	}
	pkg, err := a.image(k.pkg)
	if err != nil {
		return err
	}
	if _, err := a.run("apt-get", "download", "-qq", pkg); err != nil {
		return err
	}
	debs, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
	if len(debs) == 0 {
		return fmt.Errorf("apt has brought no file for %s", pkg)
	}
	if out, err := exec.Command("dpkg-deb", "-x", debs[0], filepath.Join(dir, "root")).CombinedOutput(); err != nil {
		return fmt.Errorf("unpack %s: %w: %s", debs[0], err, bytes.TrimSpace(out))
	}
	os.Remove(debs[0])
	os.RemoveAll(filepath.Join(dir, "apt"))
	return os.WriteFile(filepath.Join(dir, "complete"), []byte(pkg+"\n"), 0o644)
}

// apt calls apt's programs with a state of our own below dir.
type apt struct{ dir, arch string }

func (a apt) run(prog string, args ...string) (string, error) {
	etc := filepath.Join(a.dir, "apt")
	opts := []string{
		"-o", "Dir::Etc::sourcelist=" + etc + "/sources.list", "-o", "Dir::Etc::sourceparts=-",
		"-o", "Dir::State=" + etc, "-o", "Dir::State::lists=" + etc + "/lists",
		"-o", "Dir::State::status=" + etc + "/status", "-o", "Dir::Cache=" + etc + "/cache",
		"-o", "APT::Architecture=" + a.arch, "-o", "APT::Architectures=" + a.arch,
		"-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none",
	}
	cmd := exec.Command(prog, append(opts, args...)...)
	cmd.Dir = a.dir
	var out, msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &msg
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return "", fmt.Errorf("%w: kernels by name come from Debian packages; -kernel-image takes a file", err)
		}
		return "", fmt.Errorf("%s %s: %w: %s", prog, strings.Join(args, " "), err, bytes.TrimSpace(msg.Bytes()))
	}
	return out.String(), nil
}

// image follows a package that only depends on the image's.
func (a apt) image(pkg string) (string, error) {
	out, err := a.run("apt-cache", "depends", "--no-recommends", "--no-suggests", "--important", pkg)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if dep, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: linux-image-"); ok {
			return "linux-image-" + dep, nil
		}
	}
	return pkg, nil
}

// keyring is where Debian's package debian-archive-keyring puts its keys.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// mirror is the first Debian archive that this machine's apt is set up with.
func mirror() (string, error) {
	out, err := exec.Command("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian").Output()
	if err != nil {
		return "", fmt.Errorf("ask apt for its mirror: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if uri := strings.TrimSpace(line); uri != "" && !strings.Contains(uri, "security") {
			return strings.TrimSuffix(uri, "/"), nil
		}
	}
	return "", fmt.Errorf("apt of this machine has no Debian archive: %w", fs.ErrNotExist)
}
