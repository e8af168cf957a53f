package vm

import (
	"bytes"
	"io"
	"strings"
)

// keepLines is how many of the console's last lines are kept to be shown.
const keepLines = 40

// console takes what the kernel says on the first serial port.
func (m *machine) console() io.Writer { return consoleWriter{m} }

type consoleWriter struct{ m *machine }

func (w consoleWriter) Write(p []byte) (int, error) {
	m := w.m
	m.mu.Lock()
	defer m.mu.Unlock()
	m.part = append(m.part, p...)
	for {
		i := bytes.IndexByte(m.part, '\n')
		if i < 0 {
			return len(p), nil
		}
		m.line(strings.TrimRight(string(m.part[:i]), "\r"))
		m.part = m.part[i+1:]
	}
}

// line looks at one line of the console; the caller holds the lock.
func (m *machine) line(s string) {
	// The firmware says which device it boots, with escapes for a terminal.
	if strings.ContainsRune(s, '\x1b') || strings.TrimSpace(s) == "" ||
		strings.HasPrefix(s, "SeaBIOS") || strings.HasPrefix(s, "Booting from ROM") {
		return
	}
	m.c.Trace("console: %s", s)
	if len(m.last) == keepLines {
		m.last = append(m.last[:0], m.last[1:]...)
	}
	m.last = append(m.last, s)
	if i := strings.Index(s, "Kernel panic"); i >= 0 && m.oops == "" {
		m.oops = s[i:]
		close(m.down)
	}
	// "Out of memory: Kill…", and not "Memory cgroup out of memory: Kill…", which
	// is a limit that holds; and what the kernel says of an initramfs too large.
	for _, words := range []string{"Out of memory: ", "Out of memory and no killable processes", "System is deadlocked on memory", "Initramfs unpacking failed: write error"} {
		if i := strings.Index(s, words); i >= 0 && m.oom == "" {
			m.oom = s[i:]
		}
	}
}
