package supervise

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"coracle/probe"
)

// ErrNone says that no init system is found.
var ErrNone = errors.New("no init system is found that coracle has units for")

// Found is a system that a machine has, and where it looks for its units.
type Found struct {
	*System
	Site
	Why string // what it was known by
}

// Detect finds what supervises processes on a machine: on this one what runs,
// in an image what is installed. name narrows it to one; "" takes the best.
func Detect(root, name string) (*Found, error) {
	if name != "" {
		if _, err := Named(name); err != nil {
			return nil, err
		}
	}
	list := installed(root)
	if root == "/" {
		list = running()
	}
	var had []string
	for _, f := range list {
		if name == "" || f.Name == name {
			return f, nil
		}
		had = append(had, f.Name)
	}
	where := "this machine"
	if root != "/" {
		where = root
	}
	switch {
	case name == "":
		return nil, fmt.Errorf("%s: %w", where, ErrNone)
	case len(had) == 0:
		return nil, fmt.Errorf("%s has no %s", where, name)
	}
	return nil, fmt.Errorf("%s has no %s: it has %s", where, name, strings.Join(had, ", "))
}

func found(name, why string, at Site) *Found {
	s, err := Named(name)
	if err != nil {
		return nil
	}
	return &Found{s, at, why}
}

// running are the systems of this machine, the one with process 1 first.
func running() []*Found {
	var list []*Found
	for _, s := range probe.Supervisors() {
		at := Site{Scan: s.Dir, Busy: s.Name == "busybox"}
		switch s.Name {
		case "supervisord":
			at.Conf = included("/", s.Conf)
		case "busybox":
			s.Name = "inittab"
		}
		if f := found(s.Name, s.Why, at); f != nil {
			list = append(list, f)
		}
		if s.Name == "sysv" {
			// The same process 1 reads its table, too.
			list = append(list, found("inittab", s.Why, at))
		}
	}
	return list
}

// signs are files by which an image is known to have a system, the most telling
// first.
var signs = []struct{ name, file, scan string }{
	{"systemd", "/lib/systemd/systemd", ""},
	{"systemd", "/usr/lib/systemd/systemd", ""},
	{"procd", "/sbin/procd", ""},
	{"openrc", "/sbin/openrc-run", ""},
	{"upstart", "/sbin/initctl", ""},
	{"s6", "/etc/s6-linux-init", "/etc/s6-linux-init/current/run-image/service"},
	{"s6", "/etc/services.d", "/etc/services.d"},
	{"s6", "/bin/s6-svscan", "/service"},
	{"s6", "/usr/bin/s6-svscan", "/service"},
	{"runit", "/sbin/runit-init", "/etc/service"},
	{"runit", "/usr/bin/runsvdir", "/etc/service"},
	{"sysv", "/etc/rc2.d", ""},
	{"sysv", "/etc/rc.d/rc3.d", ""},
	{"supervisord", "/usr/bin/supervisord", ""},
	{"inittab", "/etc/inittab", ""},
}

// installed are the systems that an image has.
func installed(root string) []*Found {
	p := &Place{Root: root}
	var list []*Found
	for _, s := range signs {
		at, err := p.real(s.file)
		if err != nil {
			continue
		}
		if _, err := os.Stat(at); err != nil {
			// A link into the image leads elsewhere from here.
			if _, err := os.Lstat(at); err != nil {
				continue
			}
		}
		site := Site{Scan: s.scan}
		switch s.name {
		case "supervisord":
			site.Conf = included(root, "")
		case "inittab":
			to, _ := os.Readlink(filepath.Join(root, "sbin/init"))
			site.Busy = strings.HasSuffix(to, "busybox")
		}
		list = append(list, found(s.name, s.file, site))
	}
	return list
}

// included is the pattern of the files that supervisord's own includes, in
// conf or where the distributions have it.
func included(root, conf string) string {
	names := []string{conf}
	if conf == "" {
		names = []string{"/etc/supervisor/supervisord.conf", "/etc/supervisord.conf"}
	}
	p := &Place{Root: root}
	for _, name := range names {
		at, err := p.real(name)
		if err != nil {
			continue
		}
		text, err := os.ReadFile(at)
		if err != nil {
			continue
		}
		in := false
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "[") {
				in = line == "[include]"
			}
			key, value, ok := strings.Cut(line, "=")
			if !in || !ok || strings.TrimSpace(key) != "files" {
				continue
			}
			for _, pattern := range strings.Fields(value) {
				pattern = strings.ReplaceAll(pattern, "%(here)s", filepath.Dir(name))
				if !filepath.IsAbs(pattern) {
					pattern = filepath.Join(filepath.Dir(name), pattern)
				}
				if strings.Count(filepath.Base(pattern), "*") == 1 {
					return pattern
				}
			}
		}
	}
	return ""
}
