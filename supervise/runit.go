package supervise

import (
	"path"
	"strconv"
)

// svDir is where service directories are kept; those that run are linked from
// the directory that is scanned.
const svDir = "/etc/sv"

func runitSystem() System {
	return System{
		Name: "runit", What: "runit (runsvdir)",
		files: func(u *Unit, _ Site) ([]File, []string, error) {
			dir := path.Join(svDir, u.UnitName())
			f, err := rendered(u,
				rendering{path.Join(dir, "run"), 0o755, "runit.run"},
				rendering{path.Join(dir, "finish"), 0o755, "runit.finish"},
				rendering{path.Join(dir, "check"), 0o755, "runit.check"},
				rendering{path.Join(dir, "log/run"), 0o755, "runit.log"})
			return f, join(restarts(u, "runsv"), unwatched(u, "runit")), err
		},
		links: scanned,
		commands: func(verb, unit string, s Site) [][]string {
			at := path.Join(s.Scan, unit)
			switch verb {
			case "start":
				return [][]string{{"sv", "-w", "60", "start", at}}
			case "stop":
				return [][]string{{"sv", "-w", "60", "stop", at}}
			case "end":
				// runsv goes after the service and its log.
				return [][]string{{"sv", "-w", "60", "force-shutdown", path.Join(svDir, unit)}}
			case "status":
				// sv's own exit code only tells of errors.
				return [][]string{{"sh", "-c", `case $(sv status "$0") in run:*) ;; *) exit 3 ;; esac`, at}}
			}
			return nil
		},
	}
}

func scanned(u *Unit, s Site) []File {
	return []File{{Path: path.Join(s.Scan, u.UnitName()), Link: path.Join(svDir, u.UnitName())}}
}

func s6System() System {
	return System{
		Name: "s6", What: "s6 (s6-svscan)",
		files: func(u *Unit, _ Site) ([]File, []string, error) {
			dir := path.Join(svDir, u.UnitName())
			f, err := rendered(u,
				rendering{path.Join(dir, "run"), 0o755, "s6.run"},
				rendering{path.Join(dir, "finish"), 0o755, "runit.finish"},
				rendering{path.Join(dir, "log/run"), 0o755, "s6.log"})
			// https://skarnet.org/software/s6/servicedir.html
			for _, n := range []struct {
				name  string
				value int64
			}{{"notification-fd", 3}, {"timeout-kill", u.Millis()}, {"timeout-finish", 30000}} {
				f = append(f, File{Path: path.Join(dir, n.name), Mode: 0o644, Text: strconv.FormatInt(n.value, 10) + "\n", Bare: true})
			}
			return f, join(restarts(u, "s6-supervise"), unwatched(u, "s6")), err
		},
		links: scanned,
		commands: func(verb, unit string, s Site) [][]string {
			at := path.Join(s.Scan, unit)
			switch verb {
			case "load", "end":
				// n: what is no longer there is not supervised any more.
				return [][]string{{"s6-svscanctl", "-an", s.Scan}}
			case "start":
				return [][]string{{"s6-svc", "-wU", "-T", "60000", "-u", at}}
			case "stop":
				return [][]string{{"s6-svc", "-wD", "-d", at}}
			case "status":
				return [][]string{{"sh", "-c", `[ "$(s6-svstat -o up "$0")" = true ]`, at}}
			}
			return nil
		},
	}
}
