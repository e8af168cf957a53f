package emulate

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Emulator finds the static emulator of a's programs: in PATH, then where
// distributions put it. The error names what was found and cannot serve.
func Emulator(a Arch) (string, error) {
	var unfit []string
	seen := map[string]bool{}
	dirs := append(filepath.SplitList(os.Getenv("PATH")), "/usr/local/bin", "/usr/bin", "/bin")
	for _, name := range []string{"qemu-" + a.CPU + "-static", "qemu-" + a.CPU} {
		for _, dir := range dirs {
			path := filepath.Join(dir, name)
			if !filepath.IsAbs(dir) || seen[path] {
				continue // what lies in the working directory is not the machine's
			}
			seen[path] = true
			err := static(path)
			if err == nil {
				return path, nil
			}
			// Another user's directory, as with a PATH that su has left, says nothing.
			if _, hidden := os.Stat(path); !errors.Is(err, os.ErrNotExist) && !errors.Is(hidden, os.ErrPermission) {
				unfit = append(unfit, err.Error())
			}
		}
	}
	if len(unfit) > 0 {
		return "", errors.New(strings.Join(unfit, ", "))
	}
	return "", fmt.Errorf("no qemu-%s-static is installed", a.CPU)
}

// static tells whether path is a program that needs nothing but itself: in a
// container there are no libraries of the host.
func static(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is no program", path)
	}
	b, err := elf.NewFile(f)
	if err != nil {
		return fmt.Errorf("%s is no ELF program", path)
	}
	for _, p := range b.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is not static", path)
		}
	}
	return nil
}
