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
	// RootOf is the process whose root is changed into before anything else (Enter
	// without MountNS).
	RootOf int

	Spec       *specs.Spec
	Process    *specs.Process
	RootMounts []specs.Mount
	// PrivateMounts: the stage has a mount namespace of its own, so it makes
	// the root by pivot_root and drops the host's mounts.
	PrivateMounts bool
	// Trees are descriptors, from FirstTree on, of mounts that stay peers of the
	// host's. Mounts of the spec name them by x-tree=, counted from 1.
	FirstTree, Trees int
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
	// Net is done in the container's own network namespace before all else.
	Net *isolate.Net
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
	p.Spec, p.RootMounts, p.Net, p.Trees = nil, nil, nil, 0
	return &p
}

// message is what the stage answers.
type message struct {
	Warn  string
	Exec  *isolate.ExecError  `json:",omitempty"`
	Stage *isolate.StageError `json:",omitempty"`
	// Console comes with the terminal's master as a descriptor, Files with those
	// that Config.Net asked for.
	Console bool     `json:",omitempty"`
	Files   []string `json:",omitempty"`
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

// tell sends one message.
func tell(m message) {
	data, err := json.Marshal(m)
	if err != nil {
		return
	}
	unix.Write(socket, append(data, '\n'))
}

func tellFiles(m message, fds ...int) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return unix.Sendmsg(socket, append(data, '\n'), unix.UnixRights(fds...), nil, 0)
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
