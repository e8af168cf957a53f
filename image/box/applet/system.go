package applet

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

func id(c *call) int {
	o := c.opts("ugGnr", "user=u", "group=g", "groups=G", "name=n", "real=r")
	c.want(0, 1)
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	if o.has('r') {
		uid, gid = uint32(os.Getuid()), uint32(os.Getgid())
	}
	var groups []uint32
	if len(c.args) == 1 {
		u, err := user.Lookup(c.args[0])
		if err != nil {
			u, err = user.LookupId(c.args[0])
		}
		if err != nil {
			c.die("unknown user %s", c.args[0])
		}
		n, _ := strconv.ParseUint(u.Uid, 10, 32)
		g, _ := strconv.ParseUint(u.Gid, 10, 32)
		uid, gid = uint32(n), uint32(g)
		ids, _ := u.GroupIds()
		for _, s := range ids {
			n, _ := strconv.ParseUint(s, 10, 32)
			groups = append(groups, uint32(n))
		}
	} else if list, err := os.Getgroups(); err == nil {
		for _, g := range list {
			groups = append(groups, uint32(g))
		}
	}
	groups = withFirst(groups, gid)
	name := func(n uint32, of func(uint32) string) string {
		if o.has('n') {
			return of(n)
		}
		return digits(n)
	}
	switch o.latest("ugG") {
	case 'u':
		c.print(name(uid, userName), "\n")
		return 0
	case 'g':
		c.print(name(gid, groupName), "\n")
		return 0
	case 'G':
		for i, g := range groups {
			if i > 0 {
				c.print(" ")
			}
			c.print(name(g, groupName))
		}
		c.print("\n")
		return 0
	}
	pair := func(n uint32, of func(uint32) string) string {
		if s := of(n); s != digits(n) {
			return digits(n) + "(" + s + ")"
		}
		return digits(n)
	}
	c.print("uid=", pair(uid, userName), " gid=", pair(gid, groupName))
	for i, g := range groups {
		c.print(map[bool]string{true: " groups=", false: ","}[i == 0], pair(g, groupName))
	}
	c.print("\n")
	return 0
}

func withFirst(groups []uint32, gid uint32) []uint32 {
	out := []uint32{gid}
	for _, g := range groups {
		if g != gid {
			out = append(out, g)
		}
	}
	return out
}

func whoami(c *call) int {
	c.print(userName(uint32(os.Geteuid())), "\n")
	return 0
}

func hostname(c *call) int {
	o := c.opts("sfid")
	c.want(0, 1)
	if len(c.args) == 1 {
		if err := syscall.Sethostname([]byte(c.args[0])); err != nil {
			c.die("sethostname: %v", err)
		}
		return 0
	}
	// Not os.Hostname: that wants /proc where the name is long.
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		c.die("%v", err)
	}
	name := unix.ByteSliceToString(u.Nodename[:])
	switch {
	case o.has('s'):
		name, _, _ = strings.Cut(name, ".")
	case o.has('i'):
		ips, err := resolver("").LookupIP(c.ctx, "ip", name)
		if err != nil {
			c.die("%s", netReason(err))
		}
		name = ips[0].String()
	}
	c.print(name, "\n")
	return 0
}

func uname(c *call) int {
	o := c.opts("asnrvmpio", "all=a", "kernel-name=s", "nodename=n", "kernel-release=r", "kernel-version=v", "machine=m")
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		c.die("%v", err)
	}
	var out []string
	for _, f := range []struct {
		flag  byte
		value []byte
	}{{'s', u.Sysname[:]}, {'n', u.Nodename[:]}, {'r', u.Release[:]}, {'v', u.Version[:]}, {'m', u.Machine[:]}} {
		if o.has(f.flag) || o.has('a') || f.flag == 's' && len(o.list) == 0 {
			out = append(out, unix.ByteSliceToString(f.value))
		}
	}
	if o.has('o') || o.has('a') {
		out = append(out, "GNU/Linux")
	}
	if o.has('p') || o.has('i') {
		out = append(out, "unknown")
	}
	c.print(strings.Join(out, " "), "\n")
	return 0
}

// mounts reads the table of this process; without /proc there is none to read.
func (c *call) mounts() []*mountinfo.Info {
	list, err := mountinfo.GetMounts(nil)
	if err != nil {
		c.die("can't read the mount table: %v", err)
	}
	return list
}

func df(c *call) int {
	o := c.opts("hkmaPTi", "human-readable=h", "all=a", "print-type=T", "inodes=i")
	var list []*mountinfo.Info
	mounts, err := mountinfo.GetMounts(nil)
	switch {
	case len(c.args) > 0:
		for _, name := range c.args {
			p, rerr := filepath.EvalSymlinks(c.path(name))
			if rerr != nil {
				c.warnErr(name, rerr)
				continue
			}
			list = append(list, mountOf(mounts, p))
		}
	case err != nil:
		c.die("can't read the mount table: %v", err)
	default:
		list = topMounts(mounts)
	}
	title := "1K-blocks"
	unit := uint64(1 << 10)
	switch o.latest("hkm") {
	case 'h':
		title = "Size"
	case 'm':
		title, unit = "1M-blocks", 1<<20
	}
	if o.has('i') {
		title = "Inodes"
	}
	c.printf("%-20s ", "Filesystem")
	if o.has('T') {
		c.printf("%-10s ", "Type")
	}
	c.printf("%10s %9s %9s %4s %s\n", title, "Used", "Available", "Use%", "Mounted on")
	for _, m := range list {
		dfLine(c, m, o, unit)
	}
	return 0
}

func dfLine(c *call, m *mountinfo.Info, o opts, unit uint64) {
	var st unix.Statfs_t
	if err := unix.Statfs(m.Mountpoint, &st); err != nil {
		if !errors.Is(err, syscall.EACCES) || len(c.args) > 0 {
			c.warnErr(m.Mountpoint, err)
		}
		return
	}
	if st.Blocks == 0 && !o.has('a') && len(c.args) == 0 {
		return
	}
	block := uint64(st.Frsize)
	if block == 0 {
		block = uint64(st.Bsize)
	}
	show := func(n uint64) string {
		switch {
		case o.has('i'):
			return strconv.FormatUint(n, 10)
		case o.latest("hkm") == 'h':
			return human(n * block)
		}
		return strconv.FormatUint((n*block+unit/2)/unit, 10)
	}
	total, unused, avail := st.Blocks, st.Bfree, st.Bavail
	if o.has('i') {
		total, unused, avail = st.Files, st.Ffree, st.Ffree
	}
	used := total - unused
	percent := uint64(0)
	if used+avail > 0 {
		percent = (used*100 + used + avail - 1) / (used + avail)
	}
	src := m.Source
	if src == "" {
		src = m.FSType
	}
	c.printf("%-20s ", src)
	if o.has('T') {
		c.printf("%-10s ", m.FSType)
	}
	c.printf("%10s %9s %9s %3d%% %s\n", show(total), show(used), show(avail), percent, m.Mountpoint)
}

// topMounts leaves of several mounts at one place the last.
func topMounts(all []*mountinfo.Info) []*mountinfo.Info {
	at := map[string]int{}
	var out []*mountinfo.Info
	for _, m := range all {
		if i, ok := at[m.Mountpoint]; ok {
			out[i] = m
			continue
		}
		at[m.Mountpoint] = len(out)
		out = append(out, m)
	}
	return out
}

// mountOf is the mount that path lies in.
func mountOf(all []*mountinfo.Info, path string) *mountinfo.Info {
	best := &mountinfo.Info{Source: "-", Mountpoint: path}
	for _, m := range all {
		if (path == m.Mountpoint || m.Mountpoint == "/" || strings.HasPrefix(path, m.Mountpoint+"/")) &&
			(best.Source == "-" || len(m.Mountpoint) >= len(best.Mountpoint)) {
			best = m
		}
	}
	return best
}

func mount(c *call) int {
	o := c.opts("t:o:rwanf", "types=t", "options=o", "bind=B", "rbind=R", "read-only=r")
	if len(c.args) == 0 {
		for _, m := range c.mounts() {
			if t, ok := o.last('t'); ok && t != m.FSType {
				continue
			}
			c.printf("%s on %s type %s (%s)\n", m.Source, m.Mountpoint, m.FSType, joined(m.Options, m.VFSOptions))
		}
		return 0
	}
	spec := o.str('o', "")
	for flag, word := range map[byte]string{'B': "bind", 'R': "rbind", 'r': "ro"} {
		if o.has(flag) {
			spec += "," + word
		}
	}
	flags, data := mountFlags(spec)
	source, target := "none", c.args[0]
	kind := o.str('t', "")
	if len(c.args) > 1 {
		c.want(2, 2)
		source, target = c.args[0], c.args[1]
	} else if flags&unix.MS_REMOUNT == 0 && flags&propagation == 0 {
		c.misuse("missing operand")
	}
	if flags&(unix.MS_BIND|unix.MS_MOVE) != 0 {
		source = c.path(source)
	}
	err := mountAs(source, c.path(target), kind, flags, data)
	if err == nil && flags&unix.MS_BIND != 0 && flags&unix.MS_REMOUNT == 0 && flags&^(unix.MS_BIND|unix.MS_REC) != 0 {
		// A bind takes no other flags: those need a second call.
		err = unix.Mount("none", c.path(target), "", flags&^unix.MS_REC|unix.MS_REMOUNT, "")
	}
	if err != nil {
		c.die("mounting %s on %s failed: %s", source, target, reason(err))
	}
	return 0
}

const propagation = unix.MS_PRIVATE | unix.MS_SHARED | unix.MS_SLAVE | unix.MS_UNBINDABLE

// mountAs tries the kernel's disk filesystems where no type is given.
func mountAs(source, target, kind string, flags uintptr, data string) error {
	if kind != "" && kind != "auto" || flags&(unix.MS_BIND|unix.MS_REMOUNT|unix.MS_MOVE|propagation) != 0 {
		return unix.Mount(source, target, kind, flags, data)
	}
	b, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return errors.New("no -t, and /proc/filesystems cannot be read")
	}
	result := error(syscall.EINVAL)
	for _, line := range strings.Split(string(b), "\n") {
		name := strings.TrimSpace(line)
		if name == "" || strings.HasPrefix(line, "nodev") {
			continue
		}
		if result = unix.Mount(source, target, name, flags, data); result == nil || !errors.Is(result, syscall.EINVAL) {
			break
		}
	}
	return result
}

func mountFlags(spec string) (flags uintptr, data string) {
	var rest []string
	for _, o := range strings.Split(spec, ",") {
		on, off := uintptr(0), uintptr(0)
		switch o {
		case "", "defaults", "rw", "loop":
			if o == "rw" {
				off = unix.MS_RDONLY
			}
		case "ro":
			on = unix.MS_RDONLY
		case "bind":
			on = unix.MS_BIND
		case "rbind":
			on = unix.MS_BIND | unix.MS_REC
		case "remount":
			on = unix.MS_REMOUNT
		case "move":
			on = unix.MS_MOVE
		case "noexec":
			on = unix.MS_NOEXEC
		case "exec":
			off = unix.MS_NOEXEC
		case "nosuid":
			on = unix.MS_NOSUID
		case "suid":
			off = unix.MS_NOSUID
		case "nodev":
			on = unix.MS_NODEV
		case "dev":
			off = unix.MS_NODEV
		case "noatime":
			on = unix.MS_NOATIME
		case "relatime":
			on = unix.MS_RELATIME
		case "sync":
			on = unix.MS_SYNCHRONOUS
		case "private", "rprivate", "shared", "rshared", "slave", "rslave":
			kind := map[string]uintptr{"private": unix.MS_PRIVATE, "shared": unix.MS_SHARED, "slave": unix.MS_SLAVE}
			on = kind[strings.TrimPrefix(o, "r")]
			if o[0] == 'r' {
				on |= unix.MS_REC
			}
		default:
			rest = append(rest, o)
		}
		flags = flags&^off | on
	}
	return flags, strings.Join(rest, ",")
}

func joined(a, b string) string {
	seen := map[string]bool{}
	var out []string
	for _, o := range strings.Split(a+","+b, ",") {
		if o != "" && !seen[o] {
			seen[o] = true
			out = append(out, o)
		}
	}
	return strings.Join(out, ",")
}

func umount(c *call) int {
	o := c.opts("lfarn", "lazy=l", "force=f", "all=a")
	flags := 0
	if o.has('l') {
		flags |= unix.MNT_DETACH
	}
	if o.has('f') {
		flags |= unix.MNT_FORCE
	}
	names := c.args
	if o.has('a') {
		for _, m := range c.mounts() {
			names = append(names, m.Mountpoint)
		}
		sort.Sort(sort.Reverse(sort.StringSlice(names)))
	} else {
		c.want(1, -1)
	}
	for _, name := range names {
		if err := unix.Unmount(c.path(name), flags); err != nil {
			c.warnErr("can't unmount "+name, err)
		}
	}
	return 0
}

func tty(c *call) int {
	o := c.opts("s")
	f, ok := c.In.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		if !o.has('s') {
			c.print("not a tty\n")
		}
		return 1
	}
	name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
	if err != nil {
		name = "/dev/tty" // no /proc to tell which
	}
	if !o.has('s') {
		c.print(name, "\n")
	}
	return 0
}

func stty(c *call) int {
	f, ok := c.In.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		c.die("standard input: not a terminal")
	}
	fd := int(f.Fd())
	if len(c.args) == 0 {
		c.args = []string{"size"}
	}
	for i := 0; i < len(c.args); i++ {
		switch a := c.args[i]; a {
		case "size":
			w, h, err := term.GetSize(fd)
			if err != nil {
				c.die("%v", err)
			}
			c.printf("%d %d\n", h, w)
		case "rows", "cols", "columns":
			if i+1 == len(c.args) {
				c.misuse("missing number after '%s'", a)
			}
			i++
			ws, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
			if err == nil {
				n := uint16(c.number(c.args[i]))
				if a == "rows" {
					ws.Row = n
				} else {
					ws.Col = n
				}
				err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, ws)
			}
			if err != nil {
				c.die("%v", err)
			}
		default:
			setTerminal(c, fd, a)
		}
	}
	return 0
}

func setTerminal(c *call, fd int, word string) {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		c.die("%v", err)
	}
	on := !strings.HasPrefix(word, "-")
	set := func(field *uint32, bits uint32) {
		if on {
			*field |= bits
		} else {
			*field &^= bits
		}
	}
	switch strings.TrimPrefix(word, "-") {
	case "echo":
		set(&t.Lflag, unix.ECHO)
	case "icanon":
		set(&t.Lflag, unix.ICANON)
	case "isig":
		set(&t.Lflag, unix.ISIG)
	case "opost":
		set(&t.Oflag, unix.OPOST)
	case "sane":
		t.Iflag |= unix.ICRNL | unix.IXON | unix.BRKINT
		t.Oflag |= unix.OPOST | unix.ONLCR
		t.Lflag |= unix.ISIG | unix.ICANON | unix.ECHO | unix.ECHOE | unix.ECHOK | unix.IEXTEN
	case "raw":
		if _, err := term.MakeRaw(fd); err != nil {
			c.die("%v", err)
		}
		return
	default:
		c.die("unknown setting '%s'", word)
	}
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, t); err != nil {
		c.die("%v", err)
	}
}
