package supervise

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Manager puts units in place with one system, on this machine or in an image.
type Manager struct {
	*Found
	Place *Place
	// Tell runs a program of the system, in an image those alone that keep links.
	// Its error has what the program said.
	Tell func(args []string) error
	Warn func(string)
}

// TellIn runs a program of an image in there, as this machine's processor can.
func TellIn(root string) func(args []string) error {
	return func(args []string) error {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Chroot: root}
		return said(args, cmd)
	}
}

// Tell runs a program.
func Tell(args []string) error {
	cmd := exec.Command(args[0], args[1:]...)
	if _, err := exec.LookPath(args[0]); err != nil {
		// Who is not logged in as root may lack them.
		for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/bin", "/bin"} {
			if p, err := exec.LookPath(filepath.Join(dir, args[0])); err == nil {
				cmd = exec.Command(p, args[1:]...)
			}
		}
	}
	return said(args, cmd)
}

// said runs a command; its error has what it said.
func said(args []string, cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	text := strings.TrimSpace(string(out))
	if text == "" {
		text = err.Error()
	}
	return &TellError{strings.Join(args, " "), text, err}
}

// TellError is a program of the init system that failed.
type TellError struct {
	Command, Said string
	Err           error
}

func (e *TellError) Error() string { return e.Command + ": " + e.Said }
func (e *TellError) Unwrap() error { return e.Err }

func (m *Manager) live() bool { return m.Place.Root == "/" }

func (m *Manager) tell(verb, unit string) error {
	if !m.live() {
		return nil
	}
	for _, args := range m.commands(verb, unit, m.Site) {
		if err := m.Tell(args); err != nil {
			return err
		}
	}
	return nil
}

// keeps is the program that keeps the system's links, or nil.
func (m *Manager) keeps(verb, unit string) []string {
	for _, args := range m.keeper[verb] {
		for _, dir := range []string{"/usr/sbin", "/sbin"} {
			at, err := m.Place.real(path.Join(dir, args[0]))
			if err != nil {
				continue
			}
			if _, err := os.Stat(at); err == nil {
				full := []string{path.Join(dir, args[0])}
				for _, a := range args[1:] {
					if a == "UNIT" {
						a = unit
					}
					full = append(full, a)
				}
				return full
			}
		}
	}
	return nil
}

// enable has the unit started at boot, where a program does so.
func (m *Manager) enable(u *Unit) error {
	args := m.keeps("enable", u.UnitName())
	if args == nil {
		return nil
	}
	err := m.Tell(args)
	if err == nil || m.live() {
		return err
	}
	// An image of another architecture, or we are not root.
	m.Warn(err.Error() + ": the links are made without it")
	return m.Place.Install(m.links(u, m.Site))
}

// all are a unit's files and links.
func (m *Manager) all(u *Unit) (files, links []File, warnings []string, err error) {
	files, warnings, err = m.Files(u, m.Site)
	if m.links != nil && err == nil {
		links = m.links(u, m.Site)
	}
	return files, links, warnings, err
}

// Install puts units in place, so that they start at boot; with now, at once.
// Some systems start at once whatever they find.
func (m *Manager) Install(units []*Unit, now bool) error {
	var files []File
	for _, u := range units {
		f, l, warnings, err := m.all(u)
		if err != nil {
			return err
		}
		for _, w := range warnings {
			m.Warn(w)
		}
		files = append(files, f...)
		if m.keeps("enable", u.UnitName()) == nil {
			files = append(files, l...)
		}
	}
	if err := m.Place.Install(files); err != nil {
		return err
	}
	if err := m.tell("load", ""); err != nil {
		return err
	}
	for _, u := range units {
		if err := m.enable(u); err != nil {
			return err
		}
	}
	for _, u := range units {
		if !now || !m.live() {
			break
		}
		m.await(u.UnitName())
		if err := m.tell("start", u.UnitName()); err != nil {
			return err
		}
	}
	return nil
}

// await waits until a scanned directory is supervised: runsvdir looks every five
// seconds.
func (m *Manager) await(unit string) {
	if m.Scan == "" {
		return
	}
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(path.Join(m.Scan, unit, "supervise/control")); err == nil {
			return
		}
	}
}

// ErrNotInstalled says that there is no unit of ours.
var ErrNotInstalled = errors.New("no unit of coracle supervise")

// Remove stops a container's unit and takes it away.
func (m *Manager) Remove(name string) error {
	u := &Unit{Name: name, Binary: "/"}
	unit := u.UnitName()
	files, links, _, err := m.all(u)
	if err != nil {
		return err
	}
	// Nothing is stopped that is not ours to stop.
	there := false
	for _, f := range files {
		is, err := m.Place.removable(f)
		if err != nil {
			return err
		}
		there = there || is
	}
	if !there {
		return fmt.Errorf("%w for %s is installed with %s", ErrNotInstalled, name, m.Name)
	}
	if err := m.tell("stop", unit); err != nil {
		m.Warn(err.Error())
	}
	if args := m.keeps("disable", unit); args != nil {
		if err := m.Tell(args); err == nil {
			links = nil
		} else {
			m.Warn(err.Error())
		}
	}
	if _, err := m.Place.Remove(links); err != nil {
		return err
	}
	if err := m.tell("end", unit); err != nil {
		m.Warn(err.Error())
	}
	if err := m.sweepDir(files); err != nil {
		return err
	}
	if _, err := m.Place.Remove(files); err != nil {
		return err
	}
	if m.Scan != "" {
		return nil
	}
	return m.tell("load", unit)
}

// sweepDir removes what a supervisor made in a service directory of ours.
func (m *Manager) sweepDir(files []File) error {
	if m.Scan == "" {
		return nil
	}
	dir, err := m.Place.real(path.Dir(files[0].Path))
	if err != nil {
		return err
	}
	for _, sub := range []string{"supervise", "event", "log/supervise", "log/event"} {
		if err := removeBusy(filepath.Join(dir, sub)); err != nil {
			return err
		}
	}
	return nil
}

// removeBusy removes a directory into which somebody who is just ending still
// writes: a supervisor that was told to let go.
func removeBusy(dir string) error {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := os.RemoveAll(dir)
		if !errors.Is(err, syscall.ENOTEMPTY) || time.Now().After(end) {
			return err
		}
	}
}

// Installed is a unit of ours that a machine has.
type Installed struct {
	Name, System, Path string
	Intact             bool
	Enabled            bool // it starts at boot
	Active             bool // the system says that it runs; only on this machine
}

// List finds the units of a system.
func (m *Manager) List() ([]Installed, error) {
	files, _, err := m.files(&Unit{Name: "*", Binary: "/"}, m.Site)
	if err != nil {
		return nil, err
	}
	pattern, err := m.Place.real(files[0].Path)
	if files[0].Part {
		return m.listParts(files[0].Path)
	}
	if strings.Contains(files[0].Path, "/*/") || path.Base(files[0].Path) == "run" {
		// A link in the pattern is not followed, but there is none of ours.
		dir, e := m.Place.real(svDir)
		pattern, err = filepath.Join(dir, Prefix+"*", "run"), e
	}
	if err != nil {
		return nil, err
	}
	names, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	var all []Installed
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if k, ok := ReadMark(string(text)); ok && k.System == m.Name {
			shown := name
			if !m.live() {
				shown = strings.TrimPrefix(name, m.Place.Root)
			}
			all = append(all, m.state(Installed{Name: k.Name, System: m.Name, Path: shown, Intact: k.Intact}))
		}
	}
	return all, nil
}

func (m *Manager) listParts(name string) ([]Installed, error) {
	at, err := m.Place.real(name)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(at)
	if err != nil {
		return nil, err
	}
	var all []Installed
	lines := strings.SplitAfter(string(text), "\n")
	for i := range lines[:len(lines)-1] {
		if !strings.Contains(lines[i], markWord) {
			continue
		}
		if k, ok := ReadMark(lines[i] + lines[i+1]); ok && k.System == m.Name {
			all = append(all, Installed{Name: k.Name, System: m.Name, Path: name, Intact: k.Intact, Enabled: true})
		}
	}
	return all, nil
}

func (m *Manager) state(i Installed) Installed {
	unit := Prefix + i.Name
	i.Enabled = m.enabled(&Unit{Name: i.Name, Binary: "/"})
	if m.live() {
		if list := m.commands("status", unit, m.Site); len(list) > 0 {
			i.Active = m.Tell(list[0]) == nil
		}
	}
	return i
}

// enabled tells whether the unit starts at boot: a system without links starts
// all that it finds.
func (m *Manager) enabled(u *Unit) bool {
	if m.links == nil {
		return true
	}
	for _, l := range m.links(u, m.Site) {
		at, err := m.Place.real(l.Path)
		if err != nil {
			continue
		}
		// The order may be another's choice: S20 instead of S90.
		if base := path.Base(l.Path); strings.HasPrefix(base, "S") && strings.HasSuffix(base, u.UnitName()) && len(base) == len(u.UnitName())+3 {
			at = filepath.Join(filepath.Dir(at), "S[0-9][0-9]"+u.UnitName())
		} else if strings.HasPrefix(base, "K") {
			continue
		}
		if names, _ := filepath.Glob(at); len(names) > 0 {
			return true
		}
	}
	return false
}
