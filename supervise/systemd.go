package supervise

import "path"

const systemdDir = "/etc/systemd/system"

func systemdSystem() System {
	return System{
		Name: "systemd", What: "systemd",
		files: func(u *Unit, _ Site) ([]File, []string, error) {
			f, err := rendered(u, rendering{path.Join(systemdDir, u.UnitName()+".service"), 0o644, "systemd.service"})
			return f, nil, err
		},
		links: func(u *Unit, _ Site) []File {
			unit := u.UnitName() + ".service"
			return []File{{Path: path.Join(systemdDir, "multi-user.target.wants", unit), Link: "../" + unit}}
		},
		commands: func(verb, unit string, _ Site) [][]string {
			switch verb {
			case "load":
				return [][]string{{"systemctl", "daemon-reload"}}
			case "start", "stop":
				return [][]string{{"systemctl", verb, unit + ".service"}}
			case "status":
				return [][]string{{"systemctl", "is-active", "--quiet", unit + ".service"}}
			}
			return nil
		},
	}
}
