// Package events is the journal of what happened to containers, images, volumes
// and networks: two files of bounded size that every command and every monitor
// appends to, in Docker's JSON, one line each. It tells people and scripts; no
// decision of ours rests on it, so a record that cannot be written (a full disk) is
// dropped, and none is waited for.
package events

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/moby/api/types/events"
	"golang.org/x/sys/unix"
)

// fileSize is where the journal begins a new file. There is one older beside it.
const fileSize = 1 << 20

// What callers need of Docker's package.
type (
	Message = events.Message
	Type    = events.Type
	Action  = events.Action
)

// Journal is the journal of one state directory. It may be used by many
// goroutines and processes at once.
type Journal struct {
	dir  string
	size int64
}

// In is the journal in dir, which is made when something is written.
func In(dir string) *Journal { return &Journal{dir: dir, size: fileSize} }

func (j *Journal) path() string { return filepath.Join(j.dir, "journal") }

func (j *Journal) older() string { return j.path() + ".1" }

// Log writes one event, which happened now.
func (j *Journal) Log(t Type, a Action, id string, attributes map[string]string) {
	if j == nil {
		return
	}
	now := time.Now()
	if attributes == nil {
		attributes = map[string]string{}
	}
	m := Message{
		Type: t, Action: a, Actor: events.Actor{ID: id, Attributes: attributes}, Scope: "local",
		Time: now.Unix(), TimeNano: now.UnixNano(),
	}
	data, err := json.Marshal(&m)
	if err != nil {
		return
	}
	// A line break before it, too: what a full disk cut off spoils no other record.
	line := append(append(make([]byte, 0, len(data)+2), '\n'), data...)
	j.append(append(line, '\n'))
}

// append writes line by one system call, which no other writer's can cut through.
// Nothing is synced: the start of a container passes here.
func (j *Journal) append(line []byte) {
	f, err := os.OpenFile(j.path(), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		if os.Mkdir(j.dir, 0o700) != nil {
			return
		}
		f, err = os.OpenFile(j.path(), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	}
	if err != nil {
		return
	}
	defer f.Close()
	_, _ = f.Write(line)
	if st, err := f.Stat(); err == nil && st.Size() > j.size {
		j.turn(f)
	}
}

// turn begins a new file, unless another has done so just now. Who still writes to
// the old one writes to the older, where readers look too.
func (j *Journal) turn(f *os.File) {
	lock, err := os.OpenFile(filepath.Join(j.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return
	}
	defer lock.Close()
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX) != nil {
		return
	}
	if same(f, j.path()) {
		_ = os.Rename(j.path(), j.older())
	}
}

func same(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}
