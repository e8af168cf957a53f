package probe

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Supervisor is a program that starts services and starts them again.
type Supervisor struct {
	Name string // as Report.Init has it
	PID  int
	Dir  string // runit, s6: the directory that it scans
	Conf string // supervisord: its file
	Why  string // what it was known by
}

// Supervisors finds what runs services on this machine now: process 1 if it
// does, then the others by their process IDs. It is not part of a [Report],
// for they come and go.
func Supervisors() []Supervisor {
	var all []Supervisor
	switch init := initSystem(); init {
	case "unknown", "container", "tini", "dumb-init", "catatonit":
	case "runit", "s6", "supervisord":
		// They are among the processes, with their directory.
	default:
		all = append(all, Supervisor{Name: init, PID: 1, Why: "process 1"})
	}
	procs, _ := os.ReadDir("/proc")
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		dir := filepath.Join("/proc", p.Name())
		args := strings.Split(strings.TrimSuffix(slurp(dir+"/cmdline"), "\x00"), "\x00")
		s := supervisor(processName(dir+"/stat"), args)
		if s.Name == "" || !here(dir) {
			continue
		}
		s.PID, s.Why = pid, "process "+p.Name()
		if s.Dir != "" && !filepath.IsAbs(s.Dir) {
			cwd, _ := os.Readlink(dir + "/cwd")
			s.Dir = filepath.Join(cwd, s.Dir)
		}
		all = append(all, s)
	}
	return all
}

// here tells whether a process sees the same files as we do: one in a container
// supervises what is in there.
func here(dir string) bool {
	theirs, err := os.Stat(dir + "/root/.")
	if err != nil {
		return false
	}
	ours, err := os.Stat("/.")
	return err == nil && os.SameFile(theirs, ours)
}

// supervisor knows a supervisor by its name and reads its arguments.
func supervisor(comm string, args []string) Supervisor {
	switch comm {
	case "runsvdir":
		s := Supervisor{Name: "runit"}
		for _, a := range args[1:] {
			if a != "-P" {
				s.Dir = a
				break
			}
		}
		return s
	case "s6-svscan":
		return Supervisor{Name: "s6", Dir: scanDir(args[1:])}
	}
	// Python's name is that of the interpreter in some versions.
	for i, a := range args {
		if i > 2 || filepath.Base(a) != "supervisord" {
			continue
		}
		s := Supervisor{Name: "supervisord"}
		for j, o := range args {
			if v, ok := strings.CutPrefix(o, "--configuration="); ok {
				s.Conf = v
			} else if (o == "-c" || o == "--configuration") && j+1 < len(args) {
				s.Conf = args[j+1]
			}
		}
		return s
	}
	return Supervisor{}
}

// scanDir is the directory among s6-svscan's arguments, "." without one; its
// options with a value are t, c, C, d and L.
func scanDir(args []string) string {
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			if i+1 < len(args) {
				return args[i+1]
			}
		case len(a) == 2 && a[0] == '-' && strings.Contains("tcCdLX", a[1:]):
			i++
		case strings.HasPrefix(a, "-"):
		default:
			return a
		}
	}
	return "."
}
