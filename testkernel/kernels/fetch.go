package kernels

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Fetched is a kernel on disk.
type Fetched struct {
	Image   string
	Modules []string // to be inserted, in this order
	DTB     string   // the description of a machine that brings none; or ""
	Version string   // of the package or of the source
}

// CacheDir is where kernels are kept: build/kernels of the module that the
// command is called in, where it is called in one.
func CacheDir() string {
	if dir := os.Getenv("TESTKERNEL_CACHE"); dir != "" {
		return dir
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if dir := strings.TrimSpace(string(out)); err == nil && dir != "" && !strings.Contains(dir, "\n") {
		return filepath.Join(dir, "build", "kernels")
	}
	return filepath.Join(os.TempDir(), "testkernel-kernels")
}

// Get finds k in the cache, or downloads or builds it. What takes its time is
// told to log.
func Get(k Kernel, log io.Writer) (*Fetched, error) {
	cache := CacheDir()
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	get, keyOf := download, downloadKey
	if k.Built() {
		get, keyOf = build, buildKey
	}
	key, err := keyOf(k)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, k.Name+"-"+key)
	// Two that want one kernel get it once.
	lock, err := lockFile(filepath.Join(cache, k.Name+".lock"))
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if _, err := os.Stat(filepath.Join(dir, "complete")); err != nil {
		if err := makeDir(k, dir, get, log); err != nil {
			return nil, fmt.Errorf("get kernel %s: %w", k.Name, err)
		}
	}
	return open(dir)
}

// makeDir makes dir under another name and lets get fill it.
func makeDir(k Kernel, dir string, get func(k Kernel, dir string, log io.Writer) error, log io.Writer) error {
	part := dir + ".part"
	for _, d := range []string{part, dir} {
		if err := os.RemoveAll(d); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(part, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(part)
	if err := get(k, part, log); err != nil {
		return err
	}
	return os.Rename(part, dir)
}

// open reads what download or build has left in dir.
func open(dir string) (*Fetched, error) {
	version, err := os.ReadFile(filepath.Join(dir, "complete"))
	if err != nil {
		return nil, err
	}
	f := &Fetched{Image: filepath.Join(dir, "vmlinuz"), Version: strings.TrimSpace(string(version))}
	f.Modules, _ = filepath.Glob(filepath.Join(dir, "modules", "*.ko")) // sorted, as they are numbered
	if dtb := filepath.Join(dir, "dtb"); exists(dtb) {
		f.DTB = dtb
	}
	return f, nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, &os.PathError{Op: "lock", Path: name, Err: err}
	}
	return f, nil
}

// downloadKey names what is taken of k's packages, in 12 hexadecimal digits.
func downloadKey(k Kernel) (string, error) {
	sum := sha256.Sum256(fmt.Append(nil, k.Arch, k.suite, k.pkg, wanted(), dtbOf(k.Machine)))
	return hex.EncodeToString(sum[:])[:12], nil
}

// download leaves in dir the kernel, the modules that are of use, numbered in
// their order, the machine's description where it needs one, and "complete".
func download(k Kernel, dir string, log io.Writer) error {
	fmt.Fprintf(log, "getting kernel %s: %s of Debian %s for %s\n", k.Name, k.pkg, k.suite, k.Arch)
	a, err := newApt(dir, k.suite, k.Arch)
	if err != nil {
		return err
	}
	defer a.remove()
	pkgs, err := a.image(k.pkg)
	if err != nil {
		return err
	}
	root := filepath.Join(a.dir, "root")
	if err := a.fetch(root, pkgs...); err != nil {
		return err
	}
	image, err := only(root, "boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz")
	if err != nil {
		return err
	}
	if err := os.Rename(image, filepath.Join(dir, "vmlinuz")); err != nil {
		return err
	}
	if model := dtbOf(k.Machine); model != "" {
		dtb, err := only(root, "usr/lib/linux-image-*/"+model)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(dtb)
		if err != nil {
			return err
		}
		if data, err = withSecondPort(data); err != nil {
			return fmt.Errorf("%s: %w", model, err)
		}
		if err := os.WriteFile(filepath.Join(dir, "dtb"), data, 0o644); err != nil {
			return err
		}
	}
	mods, err := modules(root)
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, "modules"), 0o755); err != nil {
		return err
	}
	for i, m := range mods {
		if err := os.Rename(m, filepath.Join(dir, "modules", fmt.Sprintf("%03d-%s", i, filepath.Base(m)))); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "complete"), []byte(versionOf(pkgs)+"\n"), 0o644)
}

// versionOf is the last package that is called an image: the first ones may
// only depend on it, the ones behind it are its parts.
func versionOf(pkgs []string) string {
	version := pkgs[0]
	for _, p := range pkgs {
		if strings.HasPrefix(p, "linux-image-") {
			version = p
		}
	}
	return version
}

// only finds the one file that matches one of the patterns below root.
func only(root string, patterns ...string) (string, error) {
	var found []string
	for _, p := range patterns {
		m, _ := filepath.Glob(filepath.Join(root, p))
		found = append(found, m...)
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%d files are called %s in the packages", len(found), strings.Join(patterns, " or "))
	}
	return found[0], nil
}
