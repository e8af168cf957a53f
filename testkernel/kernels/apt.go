package kernels

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// apt calls apt's programs with a state of its own below dir: nothing of the
// system's is read but the keys and the name of the mirror, and nothing changed.
type apt struct{ dir, arch string }

// keyring is where Debian's package debian-archive-keyring puts its keys.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// newApt makes the state in a new directory below parent and loads the package
// lists of suite for arch.
func newApt(parent, suite, arch string) (*apt, error) {
	dir, err := os.MkdirTemp(parent, ".apt-")
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	a := &apt{dir, arch}
	if err := a.setUp(suite); err != nil {
		a.remove()
		return nil, err
	}
	return a, nil
}

func (a *apt) setUp(suite string) error {
	uri, err := mirror()
	if err != nil {
		return err
	}
	signed := ""
	if _, err := os.Stat(keyring); err == nil {
		signed = "[signed-by=" + keyring + "] "
	}
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			return err
		}
	}
	source := fmt.Sprintf("deb %s%s %s main\n", signed, uri, suite)
	if err := os.WriteFile(filepath.Join(a.dir, "sources.list"), []byte(source), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(a.dir, "status"), nil, 0o644); err != nil {
		return err
	}
	_, err = a.run("apt-get", "update", "-qq")
	return err
}

func (a *apt) remove() { os.RemoveAll(a.dir) }

func (a *apt) run(prog string, args ...string) (string, error) {
	opts := []string{
		"-o", "Dir::Etc::sourcelist=" + a.dir + "/sources.list", "-o", "Dir::Etc::sourceparts=-",
		"-o", "Dir::State=" + a.dir, "-o", "Dir::State::lists=" + a.dir + "/lists",
		"-o", "Dir::State::status=" + a.dir + "/status", "-o", "Dir::Cache=" + a.dir + "/cache",
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

// fetch downloads packages and unpacks them into root.
func (a *apt) fetch(root string, pkgs ...string) error {
	if _, err := a.run("apt-get", append([]string{"download", "-qq"}, pkgs...)...); err != nil {
		return err
	}
	debs, _ := filepath.Glob(filepath.Join(a.dir, "*.deb"))
	if len(debs) == 0 {
		return fmt.Errorf("apt has brought no file for %s", strings.Join(pkgs, " "))
	}
	for _, deb := range debs {
		if out, err := exec.Command("dpkg-deb", "-x", deb, root).CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w: %s", filepath.Base(deb), err, bytes.TrimSpace(out))
		}
		os.Remove(deb)
	}
	return nil
}

// image lists the packages with the kernel's files: pkg and what it depends on.
// Newer releases have the image and the modules in packages of their own.
func (a *apt) image(pkg string) ([]string, error) {
	out, err := a.run("apt-cache", "depends", "--recurse", "--important", pkg)
	if err != nil {
		return nil, err
	}
	pkgs := []string{pkg}
	for line := range strings.Lines(out) {
		dep, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: ")
		kind, _, _ := strings.Cut(strings.TrimPrefix(dep, "linux-"), "-")
		if ok && strings.HasPrefix(dep, "linux-") && (kind == "image" || kind == "binary" || kind == "modules") {
			pkgs = append(pkgs, dep)
		}
	}
	return pkgs, nil
}

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
