package supervise

import (
	"path"
	"strings"
)

func supervisordSystem() System {
	return System{
		Name: "supervisord", What: "supervisord",
		files: func(u *Unit, s Site) ([]File, []string, error) {
			f, err := rendered(u, rendering{conf(s, u.UnitName()), 0o644, "supervisord.conf"})
			return f, join(unordered(u, "supervisord"), unpointed(u, "supervisord"), unwatched(u, "supervisord")), err
		},
		commands: func(verb, unit string, _ Site) [][]string {
			switch verb {
			case "load":
				// Starts what is new, and stops what is gone.
				return [][]string{{"supervisorctl", "update"}}
			case "start", "stop", "status":
				return [][]string{{"supervisorctl", verb, unit}}
			}
			return nil
		},
	}
}

// conf is the file of a program among those that supervisord includes.
func conf(s Site, unit string) string {
	pattern := s.Conf
	if pattern == "" {
		pattern = "/etc/supervisor/conf.d/*.conf"
	}
	return path.Join(path.Dir(pattern), strings.Replace(path.Base(pattern), "*", unit, 1))
}
