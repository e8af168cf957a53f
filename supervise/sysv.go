package supervise

import (
	"fmt"
	"path"
)

// initDir is where the scripts of System V, OpenRC and procd are.
const initDir = "/etc/init.d"

func sysvSystem() System {
	return System{
		Name: "sysv", What: "System V init scripts",
		files: func(u *Unit, _ Site) ([]File, []string, error) {
			f, err := rendered(u, rendering{path.Join(initDir, u.UnitName()), 0o755, "sysv.init"})
			var not []string
			if u.Asked && u.Restart != "no" {
				not = append(not, u.UnitName()+": System V starts nothing again: give the container a restart policy, which coracle heeds there (coracle update --restart)")
			}
			return f, join(not, unwatched(u, "System V")), err
		},
		links: func(u *Unit, _ Site) []File {
			var all []File
			for level := range 7 {
				name := fmt.Sprintf("S%02d", u.Order())
				if level < 2 || level == 6 {
					name = fmt.Sprintf("K%02d", u.Reverse())
				}
				all = append(all, File{Path: fmt.Sprintf("/etc/rc%d.d/%s%s", level, name, u.UnitName()), Link: "../init.d/" + u.UnitName()})
			}
			return all
		},
		commands: func(verb, unit string, _ Site) [][]string {
			switch verb {
			case "start", "stop", "status":
				return [][]string{{path.Join(initDir, unit), verb}}
			}
			return nil
		},
		keeper: map[string][][]string{
			// Each distribution has a program that knows in which order.
			"enable":  {{"update-rc.d", "UNIT", "defaults"}, {"chkconfig", "--add", "UNIT"}, {"insserv", "UNIT"}},
			"disable": {{"update-rc.d", "-f", "UNIT", "remove"}, {"chkconfig", "--del", "UNIT"}, {"insserv", "-r", "UNIT"}},
		},
	}
}

func procdSystem() System {
	return System{
		Name: "procd", What: "procd, of OpenWrt",
		files: func(u *Unit, _ Site) ([]File, []string, error) {
			f, err := rendered(u, rendering{path.Join(initDir, u.UnitName()), 0o755, "procd.init"})
			return f, join(restarts(u, "procd"), unpointed(u, "procd"), unwatched(u, "procd")), err
		},
		links: func(u *Unit, _ Site) []File {
			script := path.Join(initDir, u.UnitName())
			return []File{
				{Path: fmt.Sprintf("/etc/rc.d/S%02d%s", u.Order(), u.UnitName()), Link: "../init.d/" + u.UnitName()},
				{Path: fmt.Sprintf("/etc/rc.d/K%02d%s", u.Reverse(), u.UnitName()), Link: "../init.d/" + path.Base(script)},
			}
		},
		commands: func(verb, unit string, _ Site) [][]string {
			switch verb {
			case "start", "stop":
				return [][]string{{path.Join(initDir, unit), verb}}
			case "status":
				return [][]string{{path.Join(initDir, unit), "running"}}
			}
			return nil
		},
	}
}
