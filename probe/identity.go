package probe

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"
)

// identity is what findings depend on, all of it cheap to read.
type identity struct {
	boot, kernel, arch string
	uid, gid           int
	caps               uint64
	seccomp            string // of /proc/self/status: "0", "2"; "" before 3.8
	uidMap, gidMap     string
	stateDir           string
	existing           string // stateDir, or the nearest directory above it
	dev                uint64
	// modules changes with what the kernel offers and with what was installed,
	// and settings with the sysctls; negatives are tried again then.
	modules, settings string
	// binfmt is the names of the handlers of foreign binaries.
	binfmt string
	// cgroup is our own group, upon which it depends what was delegated to us.
	cgroup string
}

func identify(stateDir string) (*identity, error) {
	id := &identity{stateDir: stateDir, uid: os.Geteuid(), gid: os.Getegid()}
	status := slurp("/proc/self/status")
	if status == "" {
		return nil, errNoProc
	}
	id.caps, _ = strconv.ParseUint(field(status, "CapEff"), 16, 64)
	id.seccomp = field(status, "Seccomp")
	id.boot = bootID()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, os.NewSyscallError("uname", err)
	}
	id.kernel, id.arch = unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:])
	id.uidMap, id.gidMap = idMap("/proc/self/uid_map"), idMap("/proc/self/gid_map")
	id.existing = nearest(stateDir)
	var st unix.Stat_t
	if unix.Stat(id.existing, &st) == nil {
		id.dev = uint64(st.Dev)
	}
	id.modules = offered()
	id.settings = settings()
	id.binfmt = strings.Join(names(binfmtDir), " ")
	id.cgroup = slurp("/proc/self/cgroup")
	return id, nil
}

func (id *identity) report() *Report {
	return &Report{
		Format: reportFormat, Boot: id.boot, StateDir: id.stateDir, Kernel: id.kernel, Arch: id.arch,
		UID: id.uid, EffCaps: id.caps, UIDMap: id.uidMap, GIDMap: id.gidMap, Init: initSystem(),
		Results: map[Feature]Result{},
	}
}

func field(status, name string) string {
	_, rest, _ := strings.Cut(status, "\n"+name+":")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

// slurp is the text of a small file, or "". It makes half as many system calls
// as os.ReadFile, and is called a dozen times at every start.
func slurp(path string) string {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	buf := make([]byte, 4096)
	have := 0
	for {
		n, err := unix.Read(fd, buf[have:])
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			break
		}
		if have += n; have == len(buf) {
			buf = append(buf, make([]byte, len(buf))...)
		}
	}
	return strings.TrimSpace(string(buf[:have]))
}

// bootID names this boot: the kernel's random ID, or the time of the boot.
func bootID() string {
	if s := slurp("/proc/sys/kernel/random/boot_id"); s != "" {
		return s
	}
	for line := range strings.Lines(slurp("/proc/stat")) {
		if t, ok := strings.CutPrefix(line, "btime "); ok {
			return "btime " + strings.TrimSpace(t)
		}
	}
	return ""
}

// idMap is the map with single spaces.
func idMap(file string) string {
	var lines []string
	for line := range strings.Lines(slurp(file)) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}

func nearest(dir string) string {
	for {
		st, err := os.Stat(dir)
		if err == nil && st.IsDir() {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return dir
		}
		dir = up
	}
}

// offered is a fingerprint of what modprobe or an edit of /etc/subuid would
// change. The number of links of /sys/module is that of its
// directories, one a module.
func offered() string {
	var b strings.Builder
	b.WriteString(slurp("/proc/filesystems"))
	for _, f := range []string{"/sys/module", "/etc/subuid", "/etc/subgid", "/dev/net/tun", "/proc/sys/fs/binfmt_misc/status"} {
		var st unix.Stat_t
		if unix.Stat(f, &st) != nil {
			b.WriteString("|")
			continue
		}
		sec, nsec := st.Mtim.Unix()
		b.WriteString("|" + strconv.FormatUint(uint64(st.Nlink), 10) + "." + strconv.FormatInt(sec, 36) + "." + strconv.FormatInt(nsec, 36))
	}
	return b.String()
}

// program finds a program in PATH, and where an administrator's are when
// PATH is a user's.
func program(name string) string {
	if p, err := exec.LookPath(name); err == nil {
		return p
	}
	for _, dir := range [...]string{"/usr/sbin/", "/sbin/", "/usr/local/sbin/"} {
		if unix.Access(dir+name, unix.X_OK) == nil {
			return dir + name
		}
	}
	return ""
}

// The sysctls that take user namespaces away.
const (
	sysctlMaxUser  = "/proc/sys/user/max_user_namespaces"
	sysctlClone    = "/proc/sys/kernel/unprivileged_userns_clone"
	sysctlAppArmor = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
)

func settings() string {
	return slurp(sysctlMaxUser) + "|" + slurp(sysctlClone) + "|" + slurp(sysctlAppArmor)
}

// capName is "CAP_SYS_ADMIN".
func capName(bit uint) string {
	return "CAP_" + strings.ToUpper(capability.Cap(bit).String())
}
