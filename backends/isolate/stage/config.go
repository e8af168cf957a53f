// Package stage is the second stage of a container's start: our binary again,
// as the container's first process. It mounts the root, confines itself and
// executes the container's program, whose process it becomes.
//
// Main takes over when the binary is called by [Name]. What it is told and what
// it answers goes over one socket, descriptor 3: a [Config] in, messages out.
// The socket closes when the program is executed; that is how the parent knows.
//
// Use it through an isolation driver only.
package stage

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"syscall"

	"coracle/backends/isolate"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Name is argv[0] of the second stage.
const Name = "coracle-init"

// socket is the descriptor that the parent passes, beyond the three streams.
const socket = 3

// maxConfig bounds what is read from the socket, bytes.
const maxConfig = 16 << 20

// Config tells the second stage what to do.
type Config struct {
	// Enter joins a container that runs instead of making one: Root is then
	// not set up.
	Enter bool
	// Inside: an agent in the container, our parent, has started this stage, so
	// there is no root to make or to enter.
	Inside bool
	// MountNS says that descriptor 4 is the mount namespace to join (Enter).
	MountNS bool
	// ChrootTo is changed into before anything else (Enter without MountNS).
	ChrootTo string

	Spec       *specs.Spec
	Process    *specs.Process
	RootMounts []specs.Mount
	// PrivateMounts: the stage has a mount namespace of its own, so it makes
	// the root by pivot_root and drops the host's mounts.
	PrivateMounts bool
	// UserNS: in a user namespace devices are bound, not made, and what the
	// kernel refuses there is left out with a warning where Docker does too.
	UserNS bool
	// User is resolved against the container's own /etc/passwd.
	User string
	// Terminal makes a pseudo-terminal and sends its master.
	Terminal   bool
	Rows, Cols uint16
	// Init stays as the first process and reaps.
	Init bool
	// Agent stays as the first process and starts others, who ask at descriptor
	// 4, a listening socket (package agent). The program's own configuration,
	// with Inside, follows this one on the socket.
	Agent bool
	// Loopback brings the loopback interface up.
	Loopback bool
	// Seccomp is the compiled filter.
	Seccomp []byte
	// Nice is added to the priority.
	Nice int
	// GroupAdd are additional groups, names or numbers.
	GroupAdd []string
}

// ForProgram is what an agent's first child is told, after c was told the agent.
func (c *Config) ForProgram() *Config {
	p := *c
	p.Inside, p.Agent, p.Init = true, false, false
	p.Spec, p.RootMounts = nil, nil
	return &p
}

// message is what the stage answers.
type message struct {
	Warn  string
	Exec  *isolate.ExecError  `json:",omitempty"`
	Stage *isolate.StageError `json:",omitempty"`
	// Console comes with the terminal's master as a descriptor.
	Console bool
}

// Send writes the configuration to the stage.
func Send(conn *os.File, c *Config) error {
	data := make([]byte, 4, 16<<10)
	var err error
	if c.Inside {
		// To the agent's binary, which may be of another version than ours.
		var text []byte
		text, err = json.Marshal(c)
		data = append(data, text...)
	} else {
		data, err = encode(data, reflect.ValueOf(c).Elem())
	}
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint32(data, uint32(len(data)-4))
	_, err = conn.Write(data)
	return err
}

// monitor reads from the socket. An os.File would close its number when it is
// collected, and in a process that stays the number is another's by then.
type monitor struct{}

func (monitor) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(socket, p)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func receive(conn io.Reader) (*Config, error) {
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxConfig {
		return nil, fmt.Errorf("configuration of %d bytes", n)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(conn, data); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	c := new(Config)
	if n > 0 && data[0] == '{' { // encode begins with the number of fields
		return c, json.Unmarshal(data, c)
	}
	_, err := decode(data, reflect.ValueOf(c).Elem())
	return c, err
}

// Answer is what came back from the stage.
type Answer struct {
	Warnings []string
	Console  *os.File
}

// Listen reads the stage's messages until the program was executed or a step
// failed; the error is then an *isolate.ExecError or *isolate.StageError. An
// end without a word, which a killed stage leaves, looks like success: the
// process's exit status tells.
func Listen(fd int) (Answer, error) {
	var a Answer
	var pending []byte
	buf, oob := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(fd, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.ECONNRESET) {
			// It died with words of ours unread, as a Go program does that is
			// not given its threads.
			return a, fmt.Errorf("the second stage died: too little memory, or too few processes permitted: %w", err)
		}
		if err != nil {
			return a, os.NewSyscallError("recvmsg", err)
		}
		if oobn > 0 {
			a.Console = descriptor(oob[:oobn])
		}
		if n == 0 {
			return a, nil
		}
		pending = append(pending, buf[:n]...)
		for {
			line, rest, ok := cut(pending)
			if !ok {
				break
			}
			pending = rest
			var m message
			if err := json.Unmarshal(line, &m); err != nil {
				return a, fmt.Errorf("second stage: %w", err)
			}
			switch {
			case m.Exec != nil:
				return a, m.Exec
			case m.Stage != nil:
				return a, m.Stage
			case m.Warn != "":
				a.Warnings = append(a.Warnings, m.Warn)
			}
		}
	}
}

func cut(b []byte) (line, rest []byte, ok bool) {
	for i, c := range b {
		if c == '\n' {
			return b[:i], b[i+1:], true
		}
	}
	return nil, b, false
}

func descriptor(oob []byte) *os.File {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) == 0 {
		return nil
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) == 0 {
		return nil
	}
	for _, fd := range fds[1:] {
		unix.Close(fd)
	}
	// Non-blocking, so that the file joins Go's poller and Close ends a Read.
	unix.SetNonblock(fds[0], true)
	return os.NewFile(uintptr(fds[0]), "console")
}

// tell sends one message.
func tell(m message) {
	data, err := json.Marshal(m)
	if err != nil {
		return
	}
	unix.Write(socket, append(data, '\n'))
}

func tellConsole(master int) error {
	data, _ := json.Marshal(message{Console: true})
	return unix.Sendmsg(socket, append(data, '\n'), unix.UnixRights(master), nil, 0)
}

// step makes a failed step of an error.
func step(what string, err error) error {
	if err == nil {
		return nil
	}
	var stage *isolate.StageError
	var exec *isolate.ExecError
	if errors.As(err, &stage) || errors.As(err, &exec) {
		return err
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return &isolate.StageError{Step: what, Errno: errno}
	}
	return &isolate.StageError{Step: what, Msg: err.Error()}
}
