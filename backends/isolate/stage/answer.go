package stage

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"coracle/backends/isolate"
	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// Answer is what came back from the stage.
type Answer struct {
	Warnings []string
	Console  *os.File
}

// maxFiles bounds how many descriptors come with one message; the kernel's
// bound is 253 (SCM_MAX_FD).
const maxFiles = 64

// ear hears a stage out.
type ear struct {
	Answer
	opened  func(map[string]*os.File) error
	pending []byte
	fds     []int // came, and not yet claimed by a message
}

// Listen reads the stage's messages until the program was executed or a step
// failed; the error is then an *isolate.ExecError or *isolate.StageError. An
// end without a word, which a killed stage leaves, looks like success: the
// process's exit status tells. opened gets the files that Config.Net asked for.
func Listen(fd int, opened func(map[string]*os.File) error) (Answer, error) {
	e := &ear{opened: opened}
	defer func() {
		for _, fd := range e.fds {
			unix.Close(fd)
		}
	}()
	buf, oob := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(4*maxFiles))
	for {
		n, oobn, _, _, err := unix.Recvmsg(fd, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.ECONNRESET) {
			// It died with words of ours unread, as a Go program does that is
			// not given its threads.
			return e.Answer, fmt.Errorf("the second stage died: too little memory, or too few processes permitted: %w", err)
		}
		if err != nil {
			return e.Answer, os.NewSyscallError("recvmsg", err)
		}
		if fds, err := sys.Rights(oob[:oobn]); err == nil {
			e.fds = append(e.fds, fds...)
		}
		if n == 0 {
			return e.Answer, nil
		}
		if err := e.take(buf[:n]); err != nil {
			return e.Answer, err
		}
	}
}

// take reads the messages that are whole.
func (e *ear) take(data []byte) error {
	e.pending = append(e.pending, data...)
	for {
		line, rest, ok := cut(e.pending)
		if !ok {
			return nil
		}
		e.pending = rest
		var m message
		if err := json.Unmarshal(line, &m); err != nil {
			return fmt.Errorf("second stage: %w", err)
		}
		switch {
		case m.Exec != nil:
			return m.Exec
		case m.Stage != nil:
			return m.Stage
		case m.Warn != "":
			e.Warnings = append(e.Warnings, m.Warn)
		case m.Console && len(e.fds) > 0:
			e.Console = isolate.NetFiles([]string{"console"}, e.fds[:1])["console"]
			e.fds = e.fds[1:]
		case len(m.Files) > 0 && len(m.Files) <= len(e.fds):
			files := isolate.NetFiles(m.Files, e.fds[:len(m.Files)])
			e.fds = e.fds[len(m.Files):]
			if err := e.hand(files); err != nil {
				return err
			}
		}
	}
}

func (e *ear) hand(files map[string]*os.File) error {
	if e.opened != nil {
		return e.opened(files)
	}
	for _, f := range files {
		f.Close()
	}
	return nil
}

func cut(b []byte) (line, rest []byte, ok bool) {
	for i, c := range b {
		if c == '\n' {
			return b[:i], b[i+1:], true
		}
	}
	return nil, b, false
}
