package kernels

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"coracle/testkernel/configs"
)

// What kernels are built from: the oldest source that Debian's archive has.
const (
	sourceSuite   = "bullseye"
	sourcePackage = "linux-source-5.10"
)

// recipe is part of a built kernel's key: another recipe makes another kernel.
const recipe = "2"

// config is the whole configuration of k: base and the fragments after it, of
// which a later line overrides an earlier one.
func config(k Kernel) ([]byte, error) {
	var out bytes.Buffer
	for _, name := range append([]string{"base"}, k.fragments()...) {
		data, err := configs.Files.ReadFile(name + ".config")
		if err != nil {
			return nil, fmt.Errorf("kernel %s: %w", k.Name, err)
		}
		out.Write(data)
	}
	return out.Bytes(), nil
}

// fragments are those that take something from base.
func (k Kernel) fragments() []string {
	if k.pkg == "base" {
		return nil
	}
	return strings.Fields(k.pkg)
}

// patches are all patches, in the order of their names.
func patches() ([][]byte, error) {
	names, err := fs.Glob(configs.Files, "*.patch")
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for _, name := range names {
		data, err := configs.Files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

// buildKey names what k is built from, in 12 hexadecimal digits.
func buildKey(k Kernel) (string, error) {
	c, err := config(k)
	if err != nil {
		return "", err
	}
	p, err := patches()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintln(h, sourceSuite, sourcePackage, recipe)
	h.Write(c)
	h.Write(bytes.Join(p, nil))
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}

// build leaves in dir the kernel and "complete". The objects of base are kept,
// and each other kernel begins with a copy of them: what its options do not change
// is not compiled again. (One tree for all would compile twice what an option
// changes: when it goes and when it comes back.) A kernel of several fragments has
// nearly all of its own: base is not compiled for it.
func build(k Kernel, dir string, log io.Writer) error {
	lock, err := lockFile(filepath.Join(CacheDir(), "objects.lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	src, err := source(log)
	if err != nil {
		return err
	}
	objects, ready, err := baseObjects()
	if err != nil {
		return err
	}
	if !ready && len(k.fragments()) < 2 {
		if err := makeBase(src, objects, log); err != nil {
			return err
		}
		ready = true
	}
	if k.pkg != base.pkg {
		own := objects + ".part"
		defer os.RemoveAll(own)
		if err := beginWith(objects, ready, own); err != nil {
			return err
		}
		if err := compile(k, src, own, log); err != nil {
			return err
		}
		objects = own
	}
	for from, to := range map[string]string{"arch/x86/boot/bzImage": "vmlinuz", ".config": "config"} {
		data, err := os.ReadFile(filepath.Join(objects, from))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, to), data, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "complete"), []byte(filepath.Base(src)+"\n"), 0o644)
}

// base is what the objects of all kernels begin with.
var base = Kernel{Name: "base", pkg: "base", suite: fromSource}

// baseObjects is the object tree of base, and whether it has been compiled with
// today's configuration.
func baseObjects() (objects string, ready bool, err error) {
	// Absolute: make changes into the object tree.
	objects, err = filepath.Abs(filepath.Join(CacheDir(), "objects"))
	if err != nil {
		return "", false, err
	}
	key, err := buildKey(base)
	if err != nil {
		return "", false, err
	}
	got, err := os.ReadFile(filepath.Join(objects, "complete"))
	return objects, err == nil && string(got) == key, nil
}

// makeBase compiles base in its object tree.
func makeBase(src, objects string, log io.Writer) error {
	key, err := buildKey(base)
	if err != nil {
		return err
	}
	stamp := filepath.Join(objects, "complete")
	os.Remove(stamp)
	if err := os.MkdirAll(objects, 0o755); err != nil {
		return err
	}
	if err := compile(base, src, objects, log); err != nil {
		return err
	}
	return os.WriteFile(stamp, []byte(key), 0o644)
}

// beginWith makes the object tree own: a copy of objects where these are ready, or
// an empty one.
func beginWith(objects string, ready bool, own string) error {
	if err := os.RemoveAll(own); err != nil {
		return err
	}
	if !ready {
		return os.MkdirAll(own, 0o755)
	}
	// With the times, by which make decides.
	if out, err := exec.Command("cp", "-a", "--reflink=auto", objects, own).CombinedOutput(); err != nil {
		return fmt.Errorf("copy the objects: %w: %s", err, tail(out, 500))
	}
	return nil
}

// compile configures and makes k in objects.
func compile(k Kernel, src, objects string, log io.Writer) error {
	fmt.Fprintf(log, "building kernel %s\n", k.Name)
	began := time.Now()
	c, err := config(k)
	if err != nil {
		return err
	}
	wish := filepath.Join(objects, "wish.config")
	if err := os.WriteFile(wish, c, 0o644); err != nil {
		return err
	}
	t1, err := makeKernel(src, "O="+objects, "KCONFIG_ALLCONFIG="+wish, "allnoconfig")
	if err != nil {
		return err
	}
	got, err := os.ReadFile(filepath.Join(objects, ".config"))
	if err != nil {
		return err
	}
	if err := honoured(k, string(c), string(got)); err != nil {
		return err
	}
	// One more than there are processors, which one that waits for its file does not
	// use. Less optimised, base takes 364 s of processors and not 498; warnings of a
	// kernel years old are of no use.
	t2, err := makeKernel(src, "O="+objects, "KCFLAGS=-w -O1", fmt.Sprintf("-j%d", runtime.NumCPU()+1), "bzImage")
	if err != nil {
		return err
	}
	fmt.Fprintf(log, "building kernel %s: %.0f s, %.0f s of processors\n", k.Name, time.Since(began).Seconds(), (t1 + t2).Seconds())
	return nil
}

// makeKernel calls make as the last in the queue for a processor, and tells the
// time that it took of all of them.
func makeKernel(src string, args ...string) (time.Duration, error) {
	cmd := exec.Command("nice", append([]string{"-n", "15", "make", "-s", "-C", src}, args...)...)
	// No name of this machine or user in the kernel.
	cmd.Env = append(os.Environ(), "KBUILD_BUILD_USER=coracle", "KBUILD_BUILD_HOST=testkernel")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("make %s: %w (it wants gcc, make, bc, flex and bison): %s", args[len(args)-1], err, tail(out, 1500))
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

func tail(b []byte, n int) []byte { return bytes.TrimSpace(b[max(0, len(b)-n):]) }

// honoured tells whether the configuration that came out has what was asked
// for: an option whose needs are not met is dropped without a word, and one that
// another selects comes back. What a fragment switches off may take options of
// base with it, so that those are looked at where base is all there is.
func honoured(k Kernel, wish, got string) error {
	have := map[string]string{}
	for line := range strings.Lines(got) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			have[name] = value
		}
	}
	for line := range strings.Lines(wish) {
		line = strings.TrimSpace(line)
		if name, off := strings.CutSuffix(strings.TrimPrefix(line, "# "), " is not set"); off {
			if have[name] != "" {
				return fmt.Errorf("%s=%s came back: another option selects it", name, have[name])
			}
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if ok && strings.HasPrefix(name, "CONFIG_") && k.pkg == "base" && have[name] != value {
			return fmt.Errorf("%s was not taken: something that it depends on is off", line)
		}
	}
	return nil
}

// source gets the kernel's source, once, and patches it.
func source(log io.Writer) (string, error) {
	top, err := filepath.Abs(filepath.Join(CacheDir(), "source"))
	if err != nil {
		return "", err
	}
	p, err := patches()
	if err != nil {
		return "", err
	}
	tree, stamp := filepath.Join(top, sourcePackage), filepath.Join(top, "complete")
	sum := sha256.Sum256(bytes.Join(p, []byte(recipe)))
	if got, err := os.ReadFile(stamp); err == nil && bytes.Equal(got, sum[:]) {
		return tree, nil
	}
	fmt.Fprintf(log, "getting %s of Debian %s\n", sourcePackage, sourceSuite)
	if err := os.RemoveAll(top); err != nil {
		return "", err
	}
	if err := os.MkdirAll(top, 0o755); err != nil {
		return "", err
	}
	a, err := newApt(top, sourceSuite, "amd64")
	if err != nil {
		return "", err
	}
	defer a.remove()
	if err := a.fetch(a.dir, sourcePackage); err != nil {
		return "", err
	}
	// What is large and not for a PC stays packed.
	tar := exec.Command("nice", "-n", "15", "tar", "-xJf", filepath.Join(a.dir, "usr/src", sourcePackage+".tar.xz"), "-C", top,
		"--exclude=*/arch/[a-w]*/*", "--exclude=*/Documentation/[a-z]*", "--exclude=*/tools/testing", "--exclude=*/drivers/gpu/drm/amd/include")
	if out, err := tar.CombinedOutput(); err != nil {
		return "", fmt.Errorf("unpack the source: %w: %s", err, tail(out, 500))
	}
	for _, data := range p {
		cmd := exec.Command("patch", "-p1", "-s", "-d", tree)
		cmd.Stdin = bytes.NewReader(data)
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("patch the source: %w: %s", err, tail(out, 500))
		}
	}
	return tree, os.WriteFile(stamp, sum[:], 0o644)
}
