package supervise

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
)

// Place is a machine's files: this one's, or those of an image below Root.
type Place struct {
	Root  string // "/" for this machine
	Force bool   // files of ours that were changed since are replaced, too
	// Report is told what is done: "install", "replace", "keep", "remove".
	Report func(what, path string)
}

// ErrInTheWay is matched by an *InTheWayError.
var ErrInTheWay = errors.New("file in the way")

// InTheWayError is a file that we did not write, or that was changed since.
type InTheWayError struct {
	Path string
	Ours bool // it was ours
}

func (e *InTheWayError) Error() string {
	if e.Ours {
		return e.Path + " was changed since coracle supervise wrote it"
	}
	return e.Path + " is in the way: coracle supervise did not write it"
}

// Is makes errors.Is(err, ErrInTheWay) true.
func (e *InTheWayError) Is(target error) bool { return target == ErrInTheWay }

// real is where a path of the machine is for us: links lead nowhere but below
// Root. The last part is not followed.
func (p *Place) real(name string) (string, error) {
	dir, err := securejoin.SecureJoin(p.Root, filepath.Dir(name))
	return filepath.Join(dir, filepath.Base(name)), err
}

// Install puts the files in place. All are looked at before any is written;
// each is written aside and renamed.
func (p *Place) Install(files []File) error {
	changes := make([]string, len(files))
	for i, f := range files {
		var err error
		if changes[i], err = p.look(f); err != nil {
			return err
		}
	}
	var made []File
	for i, f := range files {
		if changes[i] != "keep" {
			if err := p.write(f); err != nil {
				// What was not there before is not to be half there now.
				for _, m := range made {
					p.delete(m)
				}
				return err
			}
		}
		if changes[i] == "install" {
			made = append(made, f)
		}
		p.Report(changes[i], f.Path)
	}
	return nil
}

// look tells what is to be done for a file, or why it must not be.
func (p *Place) look(f File) (string, error) {
	at, err := p.real(f.Path)
	if err != nil {
		return "", err
	}
	st, err := os.Lstat(at)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "install", nil
	case err != nil:
		return "", err
	case f.Link != "":
		if to, err := os.Readlink(at); err != nil || to != f.Link {
			return "", &InTheWayError{Path: f.Path}
		}
		return "keep", nil
	case !st.Mode().IsRegular():
		return "", &InTheWayError{Path: f.Path}
	}
	text, err := os.ReadFile(at)
	if err != nil {
		return "", err
	}
	if f.Part {
		return p.lookPart(f, string(text))
	}
	if string(text) == f.Text && st.Mode().Perm() == f.Mode {
		return "keep", nil
	}
	if err := p.ours(f, string(text)); err != nil {
		return "", err
	}
	return "replace", nil
}

// ours refuses a file with that text that we did not write.
func (p *Place) ours(f File, text string) error {
	if f.Bare {
		return p.oursBare(f, text)
	}
	m, ok := ReadMark(text)
	want, _ := ReadMark(f.Text)
	switch {
	case !ok || m.System != want.System || m.Name != want.Name:
		return &InTheWayError{Path: f.Path}
	case !m.Intact && !p.Force:
		return &InTheWayError{Path: f.Path, Ours: true}
	}
	return nil
}

// oursBare: a number beside a file run of ours.
func (p *Place) oursBare(f File, text string) error {
	at, err := p.real(filepath.Join(filepath.Dir(f.Path), "run"))
	if err != nil {
		return err
	}
	run, _ := os.ReadFile(at)
	if _, ok := ReadMark(string(run)); !ok {
		return &InTheWayError{Path: f.Path}
	}
	if strings.Trim(text, "0123456789\n") != "" && !p.Force {
		return &InTheWayError{Path: f.Path, Ours: true}
	}
	return nil
}

func (p *Place) write(f File) error {
	at, err := p.real(f.Path)
	if err != nil {
		return err
	}
	text := f.Text
	if f.Part {
		old, err := os.ReadFile(at)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		text = without(string(old), f.Text) + f.Text
	}
	dir := filepath.Dir(at)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if f.Link != "" {
		return os.Symlink(f.Link, at)
	}
	tmp, err := os.CreateTemp(dir, ".coracle-")
	if err != nil {
		return err
	}
	_, err = tmp.WriteString(text)
	for _, next := range []func() error{func() error { return tmp.Chmod(f.Mode) }, tmp.Sync} {
		if err == nil {
			err = next()
		}
	}
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), at)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}

// Remove takes the files away, the last first; none if one of them is not ours.
// gone tells whether nothing was there.
func (p *Place) Remove(files []File) (gone bool, err error) {
	there := make([]bool, len(files))
	gone = true
	for i, f := range files {
		if there[i], err = p.removable(f); err != nil {
			return false, err
		}
		gone = gone && !there[i]
	}
	for i := len(files) - 1; i >= 0; i-- {
		if !there[i] {
			continue
		}
		if err := p.delete(files[i]); err != nil {
			return false, err
		}
		p.Report("remove", files[i].Path)
	}
	return gone, nil
}

func (p *Place) removable(f File) (bool, error) {
	at, err := p.real(f.Path)
	if err != nil {
		return false, err
	}
	if _, err := os.Lstat(at); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return false, err
	}
	if f.Link != "" {
		to, err := os.Readlink(at)
		if err != nil || to != f.Link {
			return false, &InTheWayError{Path: f.Path}
		}
		return true, nil
	}
	text, err := os.ReadFile(at)
	if err != nil {
		return false, err
	}
	if f.Part {
		what, err := p.lookPart(f, string(text))
		return what != "install", err
	}
	return true, p.ours(f, string(text))
}

// delete removes a file, and its directory if that is empty and a unit's own.
func (p *Place) delete(f File) error {
	at, err := p.real(f.Path)
	if err != nil {
		return err
	}
	if f.Part {
		text, err := os.ReadFile(at)
		if err != nil {
			return err
		}
		return p.write(File{Path: f.Path, Mode: f.Mode, Text: without(string(text), f.Text)})
	}
	if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for dir := filepath.Dir(at); strings.Contains(dir, "/"+Prefix) && os.Remove(dir) == nil; {
		dir = filepath.Dir(dir)
	}
	return nil
}

// lookPart is look for lines in a file that others write to.
func (p *Place) lookPart(f File, text string) (string, error) {
	if strings.Contains(text, f.Text) {
		return "keep", nil
	}
	id, _, _ := strings.Cut(strings.SplitAfterN(f.Text, "\n", 2)[1], ":")
	have := without(text, f.Text)
	for line := range strings.Lines(have) {
		if got, _, _ := strings.Cut(line, ":"); id != "" && got == id {
			return "", fmt.Errorf("%w: %s has another line called %s", ErrInTheWay, f.Path, id)
		}
	}
	begins := strings.Index(text, markLine(f.Text))
	if begins < 0 {
		return "install", nil
	}
	lines := strings.SplitAfterN(text[begins:], "\n", 3)
	if m, _ := ReadMark(strings.Join(lines[:min(2, len(lines))], "")); !m.Intact && !p.Force {
		return "", &InTheWayError{Path: "the line of " + m.Name + " in " + f.Path, Ours: true}
	}
	return "replace", nil
}

// markLine is the beginning of our line in a part, without its sum.
func markLine(part string) string {
	line, _, _ := strings.Cut(part, "\n")
	return line[:strings.LastIndexByte(line, ' ')+1]
}

// without is a text without the part that was written for the same unit: our
// line and the next.
func without(text, part string) string {
	var out strings.Builder
	ours := markLine(part)
	skip := false
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, ours):
			skip = true
		case skip:
			skip = false
		default:
			out.WriteString(line)
		}
	}
	s := out.String()
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return s
}
