package applet

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// proc is one process as /proc shows it.
type proc struct {
	pid, ppid, pgrp, sid int
	comm, args, state    string
	uid                  uint32
	tty                  int
	ticks                uint64 // utime+stime
	start                uint64 // ticks after boot
	vsz, rss             uint64 // bytes
}

const ticksPerSecond = 100 // USER_HZ, on every Linux of our architectures

// allProcs lists all processes; without /proc it says so and ends the applet.
func allProcs(c *call) []proc {
	f, err := os.Open("/proc")
	var names []string
	if err == nil {
		names, err = f.Readdirnames(-1)
		f.Close()
	}
	var all []proc
	for _, n := range names {
		if pid, perr := strconv.Atoi(n); perr == nil {
			if p, ok := readProc(pid); ok {
				all = append(all, p)
			}
		}
	}
	if len(all) == 0 {
		if err == nil {
			err = errors.New("not mounted")
		}
		c.die("/proc: %s", reason(err))
	}
	sort.Slice(all, func(i, j int) bool { return all[i].pid < all[j].pid })
	return all
}

func readProc(pid int) (p proc, ok bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	b, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return p, false
	}
	// The name is in parentheses and may hold any character (proc(5)).
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return p, false
	}
	f := strings.Fields(string(b[end+1:]))
	if len(f) < 22 {
		return p, false
	}
	num := func(i int) uint64 { n, _ := strconv.ParseUint(f[i-3], 10, 64); return n }
	p = proc{pid: pid, comm: string(b[open+1 : end]), state: f[0], ppid: int(num(4)), pgrp: int(num(5)), sid: int(num(6)),
		tty: int(num(7)), ticks: num(14) + num(15), start: num(22), vsz: num(23), rss: num(24) * uint64(os.Getpagesize())}
	var st syscall.Stat_t
	if syscall.Stat(dir, &st) == nil {
		p.uid = st.Uid
	}
	if b, err := os.ReadFile(dir + "/cmdline"); err == nil && len(b) > 0 {
		p.args = strings.TrimSpace(strings.Map(printable, strings.ReplaceAll(strings.TrimRight(string(b), "\x00"), "\x00", " ")))
	}
	if p.args == "" {
		p.args = "[" + p.comm + "]"
	}
	return p, true
}

func printable(r rune) rune {
	if r < 32 || r == 127 {
		return '?'
	}
	return r
}

func (p proc) ttyName() string {
	if p.tty <= 0 {
		return "?"
	}
	major, minor := p.tty>>8&0xfff, p.tty&0xff|p.tty>>12&0xfff00
	switch {
	case major >= 136 && major <= 143:
		return "pts/" + strconv.Itoa(minor+(major-136)<<8)
	case major == 4 && minor < 64:
		return "tty" + strconv.Itoa(minor)
	case major == 4:
		return "ttyS" + strconv.Itoa(minor-64)
	case major == 5 && minor == 1:
		return "console"
	}
	return strconv.Itoa(major) + "/" + strconv.Itoa(minor)
}

// uptime is since boot; 0 if /proc does not tell.
func uptimeNow() time.Duration {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return 0
	}
	return time.Duration(si.Uptime) * time.Second
}

func ticksTime(ticks uint64) string {
	s := ticks / ticksPerSecond
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// psColumn is one column of ps.
type psColumn struct {
	title string
	width int // negative: to the left
	value func(p *proc) string
}

func columnOf(c *call, name string, names *nameCache) psColumn {
	dec := func(n int) string { return strconv.Itoa(n) }
	switch name {
	case "pid":
		return psColumn{"PID", 5, func(p *proc) string { return dec(p.pid) }}
	case "ppid":
		return psColumn{"PPID", 5, func(p *proc) string { return dec(p.ppid) }}
	case "pgid", "pgrp":
		return psColumn{"PGID", 5, func(p *proc) string { return dec(p.pgrp) }}
	case "sid", "sess":
		return psColumn{"SID", 5, func(p *proc) string { return dec(p.sid) }}
	case "user", "euser", "ruser":
		return psColumn{"USER", -8, func(p *proc) string { return names.user(p.uid) }}
	case "uid":
		return psColumn{"UID", 5, func(p *proc) string { return digits(p.uid) }}
	case "comm", "ucmd":
		return psColumn{"COMMAND", -15, func(p *proc) string { return p.comm }}
	case "args", "cmd", "command":
		title := "COMMAND"
		if name == "cmd" {
			title = "CMD"
		}
		return psColumn{title, 0, func(p *proc) string { return p.args }}
	case "stat", "s", "state":
		return psColumn{"STAT", -4, func(p *proc) string { return p.state }}
	case "vsz":
		return psColumn{"VSZ", 7, func(p *proc) string { return strconv.FormatUint(p.vsz/1024, 10) }}
	case "rss":
		return psColumn{"RSS", 6, func(p *proc) string { return strconv.FormatUint(p.rss/1024, 10) }}
	case "tty", "tt":
		return psColumn{"TTY", -8, func(p *proc) string { return p.ttyName() }}
	case "time", "cputime":
		return psColumn{"TIME", 5, func(p *proc) string { return ticksTime(p.ticks) }}
	case "etime":
		up := uptimeNow()
		return psColumn{"ELAPSED", 8, func(p *proc) string {
			return ticksTime(uint64(max(0, int64(up/time.Second)*ticksPerSecond-int64(p.start))))
		}}
	}
	c.die("unknown column '%s'", name)
	return psColumn{}
}

func ps(c *call) int {
	if len(c.args) > 0 && c.args[0] != "" && c.args[0][0] != '-' {
		c.args[0] = "-" + strings.ReplaceAll(c.args[0], "-", "") // BSD's "aux"
	}
	o := c.opts("aAefluxwo:p:T", "pid=p")
	cols := "pid,user,time,args"
	switch {
	case o.has('o'):
		cols = strings.Join(o.all('o'), ",")
	case o.has('u'):
		cols = "user,pid,vsz,rss,tty,stat,time,args"
	case o.has('f'):
		cols = "user,pid,ppid,tty,time,cmd"
	case o.has('l'):
		cols = "stat,uid,pid,ppid,vsz,rss,tty,time,args"
	}
	only := map[int]bool{}
	for _, list := range o.all('p') {
		for _, s := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
			only[int(c.number(s))] = true
		}
	}
	var table []psColumn
	names := &nameCache{}
	titled := false
	for _, name := range strings.FieldsFunc(cols, func(r rune) bool { return r == ',' || r == ' ' }) {
		name, title, has := strings.Cut(name, "=")
		col := columnOf(c, name, names)
		if has {
			col.title = title
		}
		titled = titled || col.title != ""
		table = append(table, col)
	}
	row := func(value func(col psColumn) string) {
		for i, col := range table {
			s := value(col)
			switch {
			case i == len(table)-1 && col.width <= 0:
				c.print(s)
			default:
				c.printf("%*s", col.width, s)
			}
			if i < len(table)-1 {
				c.print(" ")
			}
		}
		c.print("\n")
	}
	all := allProcs(c)
	if titled {
		row(func(col psColumn) string { return col.title })
	}
	shown := 0
	for i := range all {
		if len(only) > 0 && !only[all[i].pid] {
			continue
		}
		shown++
		row(func(col psColumn) string { return col.value(&all[i]) })
	}
	if shown == 0 {
		return 1
	}
	return 0
}

func kill(c *call) int {
	sig := syscall.SIGTERM
	args := c.args
	if len(args) > 0 && args[0] == "-l" {
		if len(args) == 1 {
			for n := 1; n < 32; n++ {
				c.printf("%2d) %s\n", n, strings.TrimPrefix(unix.SignalName(syscall.Signal(n)), "SIG"))
			}
		}
		for _, a := range args[1:] {
			n, ok := signalNumber(a)
			switch {
			case !ok:
				c.warn("unknown signal '%s'", a)
			case strings.Trim(a, "0123456789") == "":
				c.print(strings.TrimPrefix(unix.SignalName(n&127), "SIG"), "\n")
			default:
				c.printf("%d\n", int(n))
			}
		}
		return 0
	}
	if len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && args[0] != "--" {
		spec := args[0][1:]
		args = args[1:]
		if spec == "s" || spec == "n" {
			if len(args) == 0 {
				c.misuse("option requires an argument -- 's'")
			}
			spec, args = args[0], args[1:]
		}
		n, ok := signalNumber(spec)
		if !ok {
			c.die("bad signal name '%s'", spec)
		}
		sig = n
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		c.misuse("you need to specify whom to kill")
	}
	for _, a := range args {
		pid, err := strconv.Atoi(a)
		if err != nil {
			c.warn("invalid number '%s'", a)
			continue
		}
		if err := syscall.Kill(pid, sig); err != nil {
			c.warn("can't kill pid %d: %v", pid, err)
		}
	}
	return 0
}

// procsNamed finds processes by name: that of the program file, of the process, or
// the one in argv[0]; a box applet has its name only in the last.
func procsNamed(c *call, name string) []int {
	var pids []int
	for _, p := range allProcs(c) {
		argv0, _, _ := strings.Cut(p.args, " ")
		if p.pid != os.Getpid() && (p.comm == name || len(name) > 15 && p.comm == name[:15] || filepath.Base(argv0) == name || argv0 == name) {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

func pidof(c *call) int {
	o := c.opts("so:", "omit=o")
	c.want(1, -1)
	var out []string
	for _, name := range c.args {
		pids := procsNamed(c, name)
		slices.Reverse(pids)
		for _, pid := range pids {
			if s := strconv.Itoa(pid); !slices.Contains(o.all('o'), s) {
				out = append(out, s)
			}
		}
	}
	if len(out) == 0 {
		return 1
	}
	if o.has('s') {
		out = out[:1]
	}
	c.print(strings.Join(out, " "), "\n")
	return 0
}

func killall(c *call) int {
	sig := syscall.SIGTERM
	if len(c.args) > 0 && strings.HasPrefix(c.args[0], "-") && c.args[0] != "-q" {
		spec := c.args[0][1:]
		c.args = c.args[1:]
		if spec == "s" && len(c.args) > 0 {
			spec, c.args = c.args[0], c.args[1:]
		}
		n, ok := signalNumber(spec)
		if !ok {
			c.die("bad signal name '%s'", spec)
		}
		sig = n
	}
	o := c.opts("q")
	c.want(1, -1)
	for _, name := range c.args {
		pids := procsNamed(c, name)
		if len(pids) == 0 {
			c.code = 1
			if !o.has('q') {
				c.warn("%s: no process killed", name)
			}
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, sig); err != nil {
				c.warn("can't kill pid %d: %v", pid, err)
			}
		}
	}
	return 0
}

func pgrep(c *call) int {
	sig := syscall.SIGTERM
	if c.name == "pkill" && len(c.args) > 0 && strings.HasPrefix(c.args[0], "-") {
		if n, ok := signalNumber(c.args[0][1:]); ok {
			sig, c.args = n, c.args[1:]
		}
	}
	o := c.opts("flxvnoP:s:u:", "full=f", "list-name=l", "exact=x")
	c.want(1, 1)
	re, err := compile(c.args[0], true, false, false)
	if err == nil && o.has('x') {
		re, err = regexp.Compile("^(?:" + re.String() + ")$")
	}
	if err != nil {
		c.die("%v", err)
	}
	var hits []proc
	for _, p := range allProcs(c) {
		text := p.comm
		if o.has('f') {
			text = p.args
		}
		if parent, ok := o.last('P'); ok && strconv.Itoa(p.ppid) != parent {
			continue
		}
		if p.pid != os.Getpid() && re.MatchString(text) != o.has('v') {
			hits = append(hits, p)
		}
	}
	if len(hits) == 0 {
		return 1
	}
	switch o.latest("no") {
	case 'n':
		hits = []proc{slices.MaxFunc(hits, byStart)}
	case 'o':
		hits = []proc{slices.MinFunc(hits, byStart)}
	}
	for _, p := range hits {
		switch {
		case c.name == "pkill":
			if err := syscall.Kill(p.pid, sig); err != nil {
				c.warn("can't kill pid %d: %v", p.pid, err)
			}
		case o.has('l'):
			c.printf("%d %s\n", p.pid, p.comm)
		default:
			c.printf("%d\n", p.pid)
		}
	}
	return 0
}

func byStart(a, b proc) int {
	if a.start != b.start {
		return cmpFloat(float64(a.start), float64(b.start))
	}
	return a.pid - b.pid
}

func uptime(c *call) int {
	c.opts("")
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		c.die("%v", err)
	}
	up := int64(si.Uptime)
	c.print(" ", time.Now().In(c.location()).Format("15:04:05"), " up ")
	if d := up / 86400; d > 0 {
		c.printf("%d day%s, ", d, map[bool]string{true: "", false: "s"}[d == 1])
	}
	if h := up / 3600 % 24; h > 0 {
		c.printf("%2d:%02d", h, up/60%60)
	} else {
		c.printf("%d min", up/60%60)
	}
	l := func(i int) float64 { return float64(si.Loads[i]) / 65536 }
	c.printf(",  load average: %.2f, %.2f, %.2f\n", l(0), l(1), l(2))
	return 0
}

func nproc(c *call) int {
	o := c.opts("ai:", "all=a", "ignore=i")
	n := runtime.NumCPU() // by sched_getaffinity
	n -= int(c.number(o.str('i', "0")))
	c.printf("%d\n", max(1, n))
	return 0
}

func free(c *call) int {
	o := c.opts("bkmgh", "human=h", "bytes=b", "kilo=k", "mega=m", "giga=g")
	unit := map[byte]uint64{'b': 1, 'k': 1 << 10, 'm': 1 << 20, 'g': 1 << 30, 'h': 1}[o.latest("bkmgh")]
	if unit == 0 {
		unit = 1 << 10
	}
	show := func(n uint64) string {
		if o.has('h') {
			return human(n)
		}
		return strconv.FormatUint(n/unit, 10)
	}
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		c.die("%v", err)
	}
	u := uint64(si.Unit)
	total, unused, shared, buffers := uint64(si.Totalram)*u, uint64(si.Freeram)*u, uint64(si.Sharedram)*u, uint64(si.Bufferram)*u
	cached, available := uint64(0), unused+buffers
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		m := meminfo(string(b))
		cached = m["Cached"] + m["SReclaimable"]
		available = unused + buffers + cached
		if v, ok := m["MemAvailable"]; ok { // since 3.14
			available = v
		}
	}
	used := total - min(total, unused+buffers+cached)
	c.printf("%-6s %11s %11s %11s %11s %11s %11s\n", "", "total", "used", "free", "shared", "buff/cache", "available")
	c.printf("%-6s %11s %11s %11s %11s %11s %11s\n", "Mem:", show(total), show(used), show(unused), show(shared), show(buffers+cached), show(available))
	swap, swapFree := uint64(si.Totalswap)*u, uint64(si.Freeswap)*u
	c.printf("%-6s %11s %11s %11s\n", "Swap:", show(swap), show(swap-swapFree), show(swapFree))
	return 0
}

// meminfo is in bytes.
func meminfo(s string) map[string]uint64 {
	m := map[string]uint64{}
	for _, line := range strings.Split(s, "\n") {
		name, rest, _ := strings.Cut(line, ":")
		if f := strings.Fields(rest); len(f) > 0 {
			n, _ := strconv.ParseUint(f[0], 10, 64)
			m[name] = n * 1024
		}
	}
	return m
}
