package supervise

import "path"

func openrcSystem() System {
	return System{
		Name: "openrc", What: "OpenRC with supervise-daemon",
		files: func(u *Unit, _ Site) ([]File, []string, error) {
			f, err := rendered(u, rendering{path.Join("/etc/init.d", u.UnitName()), 0o755, "openrc.init"})
			return f, join(restarts(u, "supervise-daemon"), unwatched(u, "OpenRC")), err
		},
		links: func(u *Unit, _ Site) []File {
			return []File{{Path: path.Join("/etc/runlevels/default", u.UnitName()), Link: path.Join("/etc/init.d", u.UnitName())}}
		},
		commands: func(verb, unit string, _ Site) [][]string {
			switch verb {
			case "load":
				return [][]string{{"rc-update", "--update"}}
			case "start", "stop", "status":
				return [][]string{{"rc-service", unit, verb}}
			}
			return nil
		},
	}
}
