package look

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// column is one of ps's.
type column struct {
	title string
	value func(*Process, *view) string
}

// view is what columns need beside the process.
type view struct {
	now  time.Time
	boot time.Time
	mem  uint64
	user map[int]string
	grp  map[int]string
}

// columns are those of ps -o that we make ourselves, by each of their names.
func columns() map[string]column {
	num := func(f func(*Process) int) func(*Process, *view) string {
		return func(p *Process, _ *view) string { return strconv.Itoa(f(p)) }
	}
	args := func(p *Process, _ *view) string { return p.Args }
	user := func(p *Process, v *view) string { return name(v.user, p.UID) }
	cpu := func(p *Process, v *view) string { return fmt.Sprintf("%.1f", p.percent(v)) }
	mem := func(p *Process, v *view) string {
		return fmt.Sprintf("%.1f", 100*float64(p.RSS)/float64(max(v.mem, 1)))
	}
	tty := func(p *Process, _ *view) string { return terminal(p.TTY) }
	cumulative := func(p *Process, _ *view) string { return clock(p.Ticks/hertz, true) }
	kib := func(f func(*Process) uint64) func(*Process, *view) string {
		return func(p *Process, _ *view) string { return strconv.FormatUint(f(p)>>10, 10) }
	}
	vsz, rss := kib(func(p *Process) uint64 { return p.VSize }), kib(func(p *Process) uint64 { return p.RSS })
	began := func(p *Process, v *view) string { return day(p.began(v), v.now) }
	state := func(p *Process, _ *view) string { return string(p.State) }
	elapsed := func(p *Process, v *view) string { return ago(v.now.Sub(p.began(v))) }
	return map[string]column{
		"pid": {"PID", num(func(p *Process) int { return p.PID })}, "ppid": {"PPID", num(func(p *Process) int { return p.PPID })},
		"uid": {"UID", num(func(p *Process) int { return p.UID })}, "gid": {"GID", num(func(p *Process) int { return p.GID })},
		"user": {"USER", user}, "euser": {"EUSER", user}, "uname": {"USER", user},
		"group": {"GROUP", func(p *Process, v *view) string { return name(v.grp, p.GID) }},
		"comm":  {"COMMAND", func(p *Process, _ *view) string { return p.Comm }},
		"cmd":   {"CMD", args}, "args": {"COMMAND", args}, "command": {"COMMAND", args},
		"c":    {"C", func(p *Process, v *view) string { return strconv.Itoa(min(99, int(p.percent(v)))) }},
		"pcpu": {"%CPU", cpu}, "%cpu": {"%CPU", cpu}, "pmem": {"%MEM", mem}, "%mem": {"%MEM", mem},
		"vsz": {"VSZ", vsz}, "vsize": {"VSZ", vsz}, "rss": {"RSS", rss}, "rssize": {"RSS", rss},
		"tty": {"TT", tty}, "tt": {"TT", tty}, "tname": {"TTY", tty}, "stat": {"STAT", status}, "s": {"S", state}, "state": {"S", state},
		"stime": {"STIME", began}, "start_time": {"START", began}, "time": {"TIME", cumulative}, "cputime": {"TIME", cumulative},
		"etime": {"ELAPSED", elapsed}, "ni": {"NI", num(func(p *Process) int { return p.Nice })}, "nice": {"NI", num(func(p *Process) int { return p.Nice })},
		"nlwp": {"NLWP", num(func(p *Process) int { return p.Threads })}, "sid": {"SID", num(func(p *Process) int { return p.Session })},
		// Those of -ef and aux that -o has no name for.
		" uid": {"UID", user}, " bsdtime": {"TIME", func(p *Process, _ *view) string { return clock(p.Ticks/hertz, false) }},
	}
}

// wanted are the columns of options of ps that we know; nil: only ps knows them.
func wanted(args []string) []string {
	switch strings.Join(args, " ") {
	case "", "-ef", "-fe", "-e -f", "-f":
		return strings.Split(" uid|pid|ppid|c|stime|tname|time|cmd", "|")
	case "aux", "-aux", "a u x", "axu":
		return strings.Split("user|pid|%cpu|%mem|vsz|rss|tname|stat|start_time| bsdtime|args", "|")
	}
	var names []string
	for i := 0; i < len(args); i++ {
		value, ok := strings.CutPrefix(args[i], "-o")
		if value2, bsd := strings.CutPrefix(args[i], "-eo"); !ok && bsd {
			value, ok = value2, true
		}
		if args[i] == "-e" || args[i] == "-A" {
			continue
		}
		if !ok {
			return nil
		}
		if value == "" {
			if i++; i == len(args) {
				return nil
			}
			value = args[i]
		}
		names = append(names, strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	known := columns()
	for _, n := range names {
		if _, ok := known[n]; !ok {
			return nil
		}
	}
	return names
}

// Top is what ps with args would show of pids: titles and rows. What is not known
// here is asked of the host's ps, as Docker asks it for all.
func Top(pids []int, args []string) (titles []string, rows [][]string, err error) {
	names := wanted(args)
	if names == nil {
		return byProgram(pids, args)
	}
	if !slices.Contains(names, "pid") {
		return nil, nil, errors.New("Couldn't find PID field in ps output")
	}
	known := columns()
	for _, n := range names {
		titles = append(titles, known[n].title)
	}
	m := ReadMachine()
	v := &view{now: time.Now(), boot: m.Boot, mem: m.Memory, user: accounts("/etc/passwd"), grp: accounts("/etc/group")}
	slices.Sort(pids)
	for _, pid := range pids {
		p, ok := Read(pid)
		if !ok {
			continue
		}
		row := make([]string, len(names))
		for i, n := range names {
			row[i] = known[n].value(&p, v)
		}
		rows = append(rows, row)
	}
	return titles, rows, nil
}

func byProgram(pids []int, args []string) (titles []string, rows [][]string, err error) {
	cmd := exec.Command("ps", args...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		if first, _, _ := strings.Cut(said.String(), "\n"); first != "" {
			err = errors.New(first)
		}
		return nil, nil, fmt.Errorf("ps: %w", err)
	}
	at := -1
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if titles == nil {
			titles = f
			if at = slices.Index(f, "PID"); at < 0 {
				return nil, nil, errors.New("Couldn't find PID field in ps output")
			}
			continue
		}
		if at >= len(f) {
			continue
		}
		pid, err := strconv.Atoi(f[at])
		if err != nil || !slices.Contains(pids, pid) {
			continue
		}
		// The last column may have blanks.
		if n := len(titles); len(f) > n {
			f = append(f[:n-1:n-1], strings.Join(f[n-1:], " "))
		}
		rows = append(rows, f)
	}
	return titles, rows, nil
}

func (p *Process) began(v *view) time.Time {
	return v.boot.Add(time.Duration(p.Start) * (time.Second / hertz))
}

func (p *Process) percent(v *view) float64 {
	lived := v.now.Sub(p.began(v)).Seconds()
	if lived <= 0 {
		return 0
	}
	return 100 * float64(p.Ticks) / hertz / lived
}

func status(p *Process, _ *view) string {
	s := string(p.State)
	switch {
	case p.Nice < 0:
		s += "<"
	case p.Nice > 0:
		s += "N"
	}
	if p.Locked {
		s += "L"
	}
	if p.Session == p.PID {
		s += "s"
	}
	if p.Threads > 1 {
		s += "l"
	}
	if p.TPGID > 0 && p.TPGID == p.PID {
		s += "+"
	}
	return s
}

// terminal is the name of a device number as /proc has it (proc(5), tty_nr).
func terminal(n int) string {
	major, minor := n>>8&0xfff, n&0xff|n>>12&0xfff00
	switch {
	case n == 0:
		return "?"
	case major >= 136 && major < 144:
		return "pts/" + strconv.Itoa((major-136)<<8+minor)
	case major == 4 && minor < 64:
		return "tty" + strconv.Itoa(minor)
	case major == 4:
		return "ttyS" + strconv.Itoa(minor-64)
	}
	return "?"
}

// clock is a processor time: 1-02:03:04, or ps aux's 123:04.
func clock(sec uint64, long bool) string {
	if !long {
		return fmt.Sprintf("%d:%02d", sec/60, sec%60)
	}
	s := fmt.Sprintf("%02d:%02d:%02d", sec/3600%24, sec/60%60, sec%60)
	if sec >= 86400 {
		s = fmt.Sprintf("%d-%s", sec/86400, s)
	}
	return s
}

// ago is ps's ELAPSED: [[DD-]hh:]mm:ss.
func ago(d time.Duration) string {
	sec := uint64(max(0, d.Seconds()))
	switch {
	case sec >= 3600:
		return clock(sec, true)
	default:
		return fmt.Sprintf("%02d:%02d", sec/60, sec%60)
	}
}

// day is ps's STIME: the hour today, the day this year, else the year.
func day(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	switch {
	case t.Year() != now.Year():
		return t.Format("2006")
	case t.YearDay() != now.YearDay():
		return t.Format("Jan02")
	}
	return t.Format("15:04")
}

func name(of map[int]string, id int) string {
	if n, ok := of[id]; ok {
		return n
	}
	return strconv.Itoa(id)
}

// accounts are the host's names of IDs: these are the host's processes.
func accounts(path string) map[int]string {
	out := map[int]string{}
	data, _ := os.ReadFile(path)
	for line := range strings.SplitSeq(string(data), "\n") {
		f := strings.Split(line, ":")
		if len(f) < 3 {
			continue
		}
		if id, err := strconv.Atoi(f[2]); err == nil {
			if _, have := out[id]; !have {
				out[id] = f[0]
			}
		}
	}
	return out
}
