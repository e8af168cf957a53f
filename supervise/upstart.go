package supervise

import "path"

func upstartSystem() System {
	return System{
		Name: "upstart", What: "upstart, of Ubuntu 6.10 to 14.10 and RHEL 6",
		files: func(u *Unit, _ Site) ([]File, []string, error) {
			f, err := rendered(u, rendering{path.Join("/etc/init", u.UnitName()+".conf"), 0o644, "upstart.conf"})
			return f, join(unpointed(u, "upstart"), unwatched(u, "upstart")), err
		},
		commands: func(verb, unit string, _ Site) [][]string {
			switch verb {
			case "load":
				return [][]string{{"initctl", "reload-configuration"}}
			case "start", "stop", "status":
				return [][]string{{"initctl", verb, unit}}
			}
			return nil
		},
	}
}
