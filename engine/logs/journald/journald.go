// Package journald writes lines to systemd's journal by its native protocol
// (systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram an entry.
package journald

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Socket is where the journal listens.
const Socket = "/run/systemd/journal/socket"

// Conn writes to a journal.
type Conn struct {
	path   string
	fields []byte // those that each entry has
	conn   *net.UnixConn
	next   time.Time
	last   error
	count  uint64
	epoch  string
}

// New makes a Conn that gives each entry the fields.
func New(path string, fields map[string]string) *Conn {
	c := &Conn{path: path, epoch: strconv.FormatInt(time.Now().UnixNano(), 16)}
	for k, v := range fields {
		c.fields = field(c.fields, k, []byte(v))
	}
	return c
}

// FieldName turns a label's or a variable's name into one of the journal's: upper
// case letters, digits and underscores, not an underscore first.
func FieldName(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, s)
	return strings.TrimLeft(s, "_")
}

// field appends one field; a value with a newline has its length in front.
func field(b []byte, name string, value []byte) []byte {
	b = append(b, name...)
	if strings.ContainsRune(string(value), '\n') {
		b = append(b, '\n')
		b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	} else {
		b = append(b, '=')
	}
	return append(append(b, value...), '\n')
}

// Send writes one line; partial says that more of it follows.
func (c *Conn) Send(stderr bool, at time.Time, line []byte, partial bool) error {
	priority := "6"
	if stderr {
		priority = "3"
	}
	c.count++
	b := append([]byte(nil), c.fields...)
	b = field(b, "PRIORITY", []byte(priority))
	b = field(b, "SYSLOG_TIMESTAMP", []byte(at.UTC().Format(time.RFC3339Nano)))
	b = field(b, "CONTAINER_LOG_EPOCH", []byte(c.epoch))
	b = field(b, "CONTAINER_LOG_ORDINAL", strconv.AppendUint(nil, c.count, 10))
	if partial {
		b = field(b, "CONTAINER_PARTIAL_MESSAGE", []byte("true"))
	}
	b = field(b, "MESSAGE", []byte(strings.TrimRight(string(line), "\n")))
	return c.write(b)
}

// Connect connects, unless that failed a moment ago.
func (c *Conn) Connect() error {
	if c.conn != nil {
		return nil
	}
	if time.Now().Before(c.next) {
		return c.last
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: c.path, Net: "unixgram"})
	if c.last = err; err != nil {
		c.next = time.Now().Add(time.Second)
		return err
	}
	c.conn = conn
	return nil
}

func (c *Conn) write(b []byte) error {
	var err error
	for range 2 {
		if err = c.Connect(); err != nil {
			return err
		}
		c.conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
		_, err = c.conn.Write(b)
		if errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.ENOBUFS) {
			err = c.byFile(b)
		}
		if err == nil {
			return nil
		}
		slow := errors.Is(err, os.ErrDeadlineExceeded)
		c.Close()
		if slow {
			c.last, c.next = err, time.Now().Add(time.Second)
			return err
		}
	}
	return err
}

// byFile passes what is too long for a datagram in a sealed file.
func (c *Conn) byFile(b []byte) error {
	fd, err := unix.MemfdCreate("journal", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "journal")
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return err
	}
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return err
	}
	_, _, err = c.conn.WriteMsgUnix(nil, unix.UnixRights(fd), nil)
	return err
}

// Close closes the connection.
func (c *Conn) Close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}
