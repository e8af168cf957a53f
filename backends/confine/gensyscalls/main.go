// Command gensyscalls writes syscalls.txt, the system call numbers of the
// architectures that seccomp filters are compiled for, from the tables of
// golang.org/x/sys/unix. It is run by go generate, never by the product.
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "gensyscalls:", err)
		os.Exit(1)
	}
}

func run(out string) error {
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", "golang.org/x/sys/unix").Output()
	if err != nil {
		return fmt.Errorf("find golang.org/x/sys/unix: %w", err)
	}
	table := map[string][4]string{}
	for i, arch := range []string{"386", "amd64", "arm", "arm64"} {
		path := filepath.Join(strings.TrimSpace(string(dir)), "zsysnum_linux_"+arch+".go")
		if err := read(path, i, table); err != nil {
			return err
		}
	}
	// What the kernel has and x/sys/unix has not: arm's private calls
	// (arch/arm/include/uapi/asm/unistd.h) and a second name of one of its own.
	for name, nr := range map[string]string{
		"breakpoint": "983041", "cacheflush": "983042", "usr26": "983043",
		"usr32": "983044", "set_tls": "983045", "sync_file_range2": "341",
	} {
		row := table[name]
		row[2] = nr
		table[name] = row
	}
	names := make([]string, 0, len(table))
	for name := range table {
		names = append(names, name)
	}
	sort.Strings(names)
	var b strings.Builder
	for _, name := range names {
		b.WriteString(name)
		for _, nr := range table[name] {
			if nr == "" {
				nr = "-"
			}
			b.WriteString(" " + nr)
		}
		b.WriteByte('\n')
	}
	return os.WriteFile(out, []byte(b.String()), 0o644)
}

// read takes lines "SYS_NAME = 12" into column i of table.
func read(path string, i int, table map[string][4]string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		w := strings.Fields(sc.Text())
		if len(w) < 3 || !strings.HasPrefix(w[0], "SYS_") || w[1] != "=" {
			continue
		}
		name := strings.ToLower(strings.TrimPrefix(w[0], "SYS_"))
		// arm's numbers count from __NR_SYSCALL_BASE, which is no call.
		if name == "syscall_mask" {
			continue
		}
		row := table[name]
		row[i] = w[2]
		table[name] = row
	}
	return sc.Err()
}
