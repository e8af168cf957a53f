package applet

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
	"mvdan.cc/sh/v3/syntax"
)

// converse reads commands from a person.
func (s *shell) converse() int {
	line := s.plainLine
	if in, ok := s.In.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		line = s.editor(in)
	}
	code := 0
	for {
		src, err := s.ask(line)
		if errors.Is(err, io.EOF) {
			return s.leave(code)
		}
		if err != nil {
			s.warn("%v", err)
			code = 2
			continue
		}
		file, err := syntax.NewParser().Parse(strings.NewReader(src), "")
		if err != nil {
			s.warn("%v", err)
			code = 2
			continue
		}
		for _, st := range file.Stmts {
			code = s.status(s.one(st))
			if s.runner.Exited() {
				return code
			}
		}
	}
}

// ask reads lines until they are whole commands.
func (s *shell) ask(line func(prompt string) (string, error)) (string, error) {
	var src strings.Builder
	prompt := s.prompt()
	for {
		l, err := line(prompt)
		if errors.Is(err, errInterrupted) {
			src.Reset()
			prompt = s.prompt()
			continue
		}
		if err != nil {
			return "", err
		}
		src.WriteString(l + "\n")
		_, err = syntax.NewParser().Parse(strings.NewReader(src.String()), "")
		if err == nil || !syntax.IsIncomplete(err) {
			return src.String(), nil
		}
		prompt = "> "
	}
}

func (s *shell) prompt() string {
	ps1 := s.runner.Vars["PS1"].Str
	if ps1 == "" {
		ps1 = s.getenv("PS1")
	}
	if ps1 == "" {
		ps1 = `\w \$ `
	}
	dir := s.runner.Dir
	if dir == "" {
		dir = s.Dir
	}
	if home := s.getenv("HOME"); home != "" && home != "/" {
		if rest, ok := strings.CutPrefix(dir, home); ok && (rest == "" || rest[0] == '/') {
			dir = "~" + rest
		}
	}
	mark := "$"
	if os.Geteuid() == 0 {
		mark = "#"
	}
	host, _ := os.Hostname()
	host, _, _ = strings.Cut(host, ".")
	return strings.NewReplacer(`\w`, dir, `\W`, filepath.Base(dir), `\$`, mark, `\h`, host, `\u`, userName(uint32(os.Geteuid())), `\n`, "\n", `\[`, "", `\]`, "", `\e`, "\x1b").Replace(ps1)
}

var errInterrupted = errors.New("interrupted")

func (s *shell) plainLine(prompt string) (string, error) {
	fmt.Fprint(s.Err, prompt)
	var b []byte
	var one [1]byte
	for {
		n, err := s.In.Read(one[:])
		if n == 1 && one[0] == '\n' {
			return string(b), nil
		}
		b = append(b, one[:n]...)
		if err != nil {
			if len(b) > 0 && errors.Is(err, io.EOF) {
				return string(b), nil
			}
			return "", err
		}
	}
}

// editor reads lines with editing and history. The terminal is raw only while
// a line is read, and never read further than that line: what was typed ahead
// is for the command.
func (s *shell) editor(in *os.File) func(string) (string, error) {
	var ctrlC bool
	rw := struct {
		io.Reader
		io.Writer
	}{keys{in, &ctrlC}, s.Err}
	t := term.NewTerminal(rw, "")
	t.SetBracketedPasteMode(false)
	return func(prompt string) (string, error) {
		fd := int(in.Fd())
		old, err := term.MakeRaw(fd)
		if err != nil {
			return s.plainLine(prompt)
		}
		defer term.Restore(fd, old)
		if w, h, err := term.GetSize(fd); err == nil && w > 0 {
			t.SetSize(w, h)
		}
		// Lines of background jobs should not form stairs.
		if tio, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
			tio.Oflag |= unix.OPOST
			unix.IoctlSetTermios(fd, unix.TCSETS, tio)
		}
		t.SetPrompt(prompt)
		ctrlC = false
		l, err := t.ReadLine()
		if ctrlC {
			fmt.Fprint(s.Err, "^C\n")
			return "", errInterrupted
		}
		if errors.Is(err, io.EOF) {
			fmt.Fprint(s.Err, "\n")
		}
		return l, err
	}
}

// keys gives single bytes, and turns Ctrl-C into Ctrl-U Return, with a note:
// the line editor would take it for the end of the file.
type keys struct {
	in    *os.File
	ctrlC *bool
}

func (k keys) Read(p []byte) (int, error) {
	n, err := k.in.Read(p[:1])
	if n == 1 && p[0] == 3 && len(p) >= 2 {
		*k.ctrlC = true
		p[0], p[1] = 21, '\r'
		return 2, nil
	}
	return n, err
}
