package kernels

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Busybox puts Debian's static busybox for goarch at to.
func Busybox(goarch, to string, log io.Writer) error {
	arch := map[string]string{"386": "i386", "arm": "armel"}[goarch]
	if arch == "" {
		arch = goarch
	}
	cache := CacheDir()
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	lock, err := lockFile(filepath.Join(cache, "busybox.lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	kept := filepath.Join(cache, "busybox-"+arch)
	if !exists(kept) {
		fmt.Fprintf(log, "getting busybox for %s\n", arch)
		if err := downloadBusybox(cache, arch, kept); err != nil {
			return fmt.Errorf("get busybox for %s: %w", arch, err)
		}
	}
	data, err := os.ReadFile(kept)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

func downloadBusybox(cache, arch, to string) error {
	a, err := newApt(cache, "bookworm", arch)
	if err != nil {
		return err
	}
	defer a.remove()
	root := filepath.Join(a.dir, "root")
	if err := a.fetch(root, "busybox-static"); err != nil {
		return err
	}
	file, err := only(root, "bin/busybox", "usr/bin/busybox")
	if err != nil {
		return err
	}
	return os.Rename(file, to)
}
