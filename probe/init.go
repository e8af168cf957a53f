package probe

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// initSystem names what runs as process 1, by what it is and by what it leaves
// on disk; in a container process 1 is the container's program.
func initSystem() string {
	exists := func(p string) bool { return unix.Access(p, unix.F_OK) == nil }
	if exists("/run/systemd/system") { // sd_booted(3)
		return "systemd"
	}
	exe, _ := os.Readlink("/proc/1/exe") // not for an ordinary user
	comm := processName("/proc/1/stat")
	for _, name := range []string{comm, filepath.Base(exe)} {
		switch name {
		case "systemd", "procd", "dinit", "finit", "tini", "dumb-init", "catatonit":
			return name
		case "runit", "runit-init":
			return "runit"
		case "s6-svscan", "s6-linux-init", "s6-pid1":
			return "s6"
		case "openrc-init":
			return "openrc"
		case "upstart":
			return "upstart"
		case "supervisord":
			return "supervisord"
		case "docker-init", "conmon":
			return "container"
		}
	}
	switch {
	case exists("/run/openrc/softlevel") || exists("/lib/rc/init.d/softlevel"):
		return "openrc"
	case comm == "init" && exists("/sbin/initctl") && exists("/etc/init"):
		return "upstart"
	case strings.HasPrefix(filepath.Base(exe), "busybox"):
		return "busybox"
	case comm == "init" && exists("/etc/inittab"):
		return "sysv"
	case exists("/.dockerenv") || exists("/run/.containerenv"):
		return "container"
	}
	return "unknown"
}

// processName reads the second field of /proc/PID/stat, as /proc/PID/comm came
// with 2.6.33.
func processName(stat string) string {
	s := slurp(stat)
	open, end := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
	if open < 0 || end < open {
		return ""
	}
	return s[open+1 : end]
}
