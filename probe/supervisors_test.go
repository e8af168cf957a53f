package probe

import "testing"

func TestSupervisor(t *testing.T) {
	for _, c := range []struct {
		comm string
		args []string
		want Supervisor
	}{
		{"runsvdir", []string{"runsvdir", "-P", "/etc/service", "log: ..."}, Supervisor{Name: "runit", Dir: "/etc/service"}},
		{"s6-svscan", []string{"s6-svscan", "-t0", "/run/service"}, Supervisor{Name: "s6", Dir: "/run/service"}},
		{"s6-svscan", []string{"s6-svscan", "-d", "3", "--", "scan"}, Supervisor{Name: "s6", Dir: "scan"}},
		{"s6-svscan", []string{"s6-svscan"}, Supervisor{Name: "s6", Dir: "."}},
		{"supervisord", []string{"/usr/bin/python3", "/usr/bin/supervisord", "-n", "-c", "/x.conf"}, Supervisor{Name: "supervisord", Conf: "/x.conf"}},
		{"python3", []string{"python3", "-u", "/usr/bin/supervisord", "--configuration=/y"}, Supervisor{Name: "supervisord", Conf: "/y"}},
		{"vi", []string{"vi", "a", "b", "supervisord"}, Supervisor{}},
		{"runsvdir", []string{"runsvdir"}, Supervisor{Name: "runit"}},
	} {
		if got := supervisor(c.comm, c.args); got != c.want {
			t.Errorf("%s %q: %+v, want %+v", c.comm, c.args, got, c.want)
		}
	}
}
