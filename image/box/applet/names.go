package applet

import (
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// userName is uid's name in /etc/passwd, or the number.
func userName(uid uint32) string {
	s := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(s); err == nil {
		return u.Username
	}
	return s
}

func groupName(gid uint32) string {
	s := strconv.FormatUint(uint64(gid), 10)
	if g, err := user.LookupGroupId(s); err == nil {
		return g.Name
	}
	return s
}

// nameCache spares a long list from reading /etc/passwd once a line.
type nameCache struct{ users, groups map[uint32]string }

func (n *nameCache) user(id uint32) string  { return cached(&n.users, id, userName) }
func (n *nameCache) group(id uint32) string { return cached(&n.groups, id, groupName) }

func cached(m *map[uint32]string, id uint32, get func(uint32) string) string {
	if s, ok := (*m)[id]; ok {
		return s
	}
	if *m == nil {
		*m = map[uint32]string{}
	}
	s := get(id)
	(*m)[id] = s
	return s
}

func userID(s string) (int, error) {
	if u, err := user.Lookup(s); err == nil {
		return strconv.Atoi(u.Uid)
	}
	return strconv.Atoi(s)
}

func groupID(s string) (int, error) {
	if g, err := user.LookupGroup(s); err == nil {
		return strconv.Atoi(g.Gid)
	}
	return strconv.Atoi(s)
}

// signalNumber reads "9", "KILL", "SIGKILL", "kill"; 0 and EXIT are 0.
func signalNumber(s string) (syscall.Signal, bool) {
	if n, err := strconv.Atoi(s); err == nil {
		return syscall.Signal(n), n >= 0 && n <= 64
	}
	s = strings.ToUpper(s)
	if s == "EXIT" {
		return 0, true
	}
	if !strings.HasPrefix(s, "SIG") {
		s = "SIG" + s
	}
	n := unix.SignalNum(s)
	return n, n != 0
}

// duration reads sleep's and timeout's numbers: 1, 0.5, 2m, 1h, 1d, inf.
func (c *call) duration(s string) time.Duration {
	unit := time.Second
	num := s
	if s != "" {
		switch s[len(s)-1] {
		case 's':
			num = s[:len(s)-1]
		case 'm':
			unit, num = time.Minute, s[:len(s)-1]
		case 'h':
			unit, num = time.Hour, s[:len(s)-1]
		case 'd':
			unit, num = 24*time.Hour, s[:len(s)-1]
		}
	}
	const most = time.Duration(1<<63 - 1)
	if strings.HasPrefix(s, "inf") {
		return most
	}
	f, err := strconv.ParseFloat(num, 64)
	if err != nil || f < 0 || f != f {
		c.misuse("invalid number '%s'", s)
	}
	if f*float64(unit) >= float64(most) {
		return most
	}
	return time.Duration(f * float64(unit))
}

// statOf is the kernel's stat behind a FileInfo.
func statOf(fi os.FileInfo) *syscall.Stat_t {
	st, _ := fi.Sys().(*syscall.Stat_t)
	if st == nil {
		st = &syscall.Stat_t{}
	}
	return st
}

// modeString is "drwxr-xr-x".
func modeString(m uint32) string {
	b := []byte("?rwxrwxrwx")
	switch m & syscall.S_IFMT {
	case syscall.S_IFREG:
		b[0] = '-'
	case syscall.S_IFDIR:
		b[0] = 'd'
	case syscall.S_IFLNK:
		b[0] = 'l'
	case syscall.S_IFCHR:
		b[0] = 'c'
	case syscall.S_IFBLK:
		b[0] = 'b'
	case syscall.S_IFIFO:
		b[0] = 'p'
	case syscall.S_IFSOCK:
		b[0] = 's'
	}
	for i := 0; i < 9; i++ {
		if m&(1<<(8-i)) == 0 {
			b[1+i] = '-'
		}
	}
	special := func(bit uint32, at int, with, without byte) {
		if m&bit == 0 {
			return
		}
		if b[at] == 'x' {
			b[at] = with
		} else {
			b[at] = without
		}
	}
	special(syscall.S_ISUID, 3, 's', 'S')
	special(syscall.S_ISGID, 6, 's', 'S')
	special(syscall.S_ISVTX, 9, 't', 'T')
	return string(b)
}

// human is a size as -h shows it.
func human(n uint64) string {
	if n < 1024 {
		return strconv.FormatUint(n, 10)
	}
	f := float64(n)
	units := "KMGTPE"
	i := -1
	for f >= 1024 && i < len(units)-1 {
		f /= 1024
		i++
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + string(units[i])
}
