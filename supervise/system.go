package supervise

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"text/template"
)

//go:embed templates
var templates embed.FS

// File is one file of a unit.
type File struct {
	Path string // absolute, on the machine that is to have it
	Mode fs.FileMode
	Text string
	Link string // the target, where it is a symbolic link
	// Bare files hold a number and no line of ours; they belong to the file run
	// beside them.
	Bare bool
	// Part: the text is a part of a file that others write to, too.
	Part bool
}

// Site says where a system looks for its units, where that is not the same on
// every machine.
type Site struct {
	Scan string // runit, s6: the directory that is scanned
	Conf string // supervisord: the directory of included files, and what they end in
	Busy bool   // inittab: busybox reads it
}

// System is one process supervisor, or init.
type System struct {
	Name string
	What string // for people
	// Files are those of a unit, with what this system cannot do for it. Links
	// are what has it started at boot.
	files func(u *Unit, s Site) ([]File, []string, error)
	links func(u *Unit, s Site) []File
	// commands are what the running system is told: "load" after files changed,
	// "end" after the links are gone, "start", "stop", "status".
	commands func(verb, unit string, s Site) [][]string
	// keeper has the programs of which the first that is there keeps the links,
	// instead of ours; UNIT stands for the unit's name.
	keeper map[string][][]string
}

// Systems are all that are known.
func Systems() []System {
	return []System{
		systemdSystem(), upstartSystem(), openrcSystem(), runitSystem(), s6System(), supervisordSystem(), procdSystem(), sysvSystem(), inittabSystem(),
	}
}

// Names are theirs.
func Names() []string {
	var all []string
	for _, s := range Systems() {
		all = append(all, s.Name)
	}
	return all
}

// Named finds a system.
func Named(name string) (*System, error) {
	for _, s := range Systems() {
		if s.Name == name {
			return &s, nil
		}
	}
	return nil, fmt.Errorf("init system %q is none of %s", name, strings.Join(Names(), ", "))
}

// Files are those of a unit, marked as ours, without the links that have it
// started; warnings say what the system cannot do for it.
func (s *System) Files(u *Unit, at Site) ([]File, []string, error) {
	files, warnings, err := s.files(u, at)
	if err != nil {
		return nil, nil, err
	}
	for i := range files {
		if f := &files[i]; !f.Bare {
			f.Text = mark(f.Text, s.Name, u.Name, comment(f.Path))
		}
	}
	return files, warnings, nil
}

// render makes a file of a template.
func render(name string, u *Unit) (string, error) {
	t, err := template.New(name).Funcs(template.FuncMap{
		"sh": sh, "shargs": shArgs, "systemd": systemd, "supervisord": supervisord, "seconds": seconds,
	}).ParseFS(templates, "templates/"+name)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.ExecuteTemplate(&b, name, u)
	return b.String(), err
}

// rendered is a file for each template, in the order of the names: where to put
// it, its mode, its template.
func rendered(u *Unit, list ...rendering) ([]File, error) {
	var files []File
	for _, r := range list {
		text, err := render(r.template, u)
		if err != nil {
			return nil, err
		}
		files = append(files, File{Path: r.path, Mode: r.mode, Text: text})
	}
	return files, nil
}

type rendering struct {
	path     string
	mode     fs.FileMode
	template string
}

// restarts warns where a system starts again whatever ends.
func restarts(u *Unit, who string) []string {
	if u.Asked && u.Restart != "always" {
		return []string{fmt.Sprintf("%s: %s starts it again whenever it ends: --restart %s is not honoured", u.UnitName(), who, u.Restart)}
	}
	return nil
}

// unpointed warns where a system cannot be told when a unit is ready.
func unpointed(u *Unit, who string) []string {
	if u.Ready == "healthy" || u.Ready == "container" {
		return []string{fmt.Sprintf("%s: %s has no word for a service that is ready: --ready %s only holds up what waits for it", u.UnitName(), who, u.Ready)}
	}
	return nil
}

// unwatched warns where nobody waits for a watchdog.
func unwatched(u *Unit, who string) []string {
	if u.Watchdog > 0 {
		return []string{fmt.Sprintf("%s: %s has no watchdog: --watchdog is not honoured", u.UnitName(), who)}
	}
	return nil
}

// unordered warns where a system starts all at once.
func unordered(u *Unit, who string) []string {
	if len(u.After) > 0 {
		return []string{fmt.Sprintf("%s: %s does not wait for %s", u.UnitName(), who, strings.Join(u.After, ", "))}
	}
	return nil
}

func join(lists ...[]string) []string {
	var all []string
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// comment is what begins one in a file of that name.
func comment(name string) string {
	if path.Ext(name) == ".conf" && strings.Contains(name, "supervisor") || path.Ext(name) == ".ini" {
		return ";"
	}
	return "#"
}

// ShortPath is a file's path below the directory of its system.
func ShortPath(name string) string {
	for _, dir := range []string{systemdDir, "/etc/init", initDir, svDir, "/etc/supervisor/conf.d", "/etc"} {
		if rest, ok := strings.CutPrefix(name, dir+"/"); ok {
			return "/" + rest
		}
	}
	return "/" + path.Base(name)
}
