// Package vm boots a kernel in QEMU with an initramfs that holds one program,
// and brings back the program's output and exit code. It uses nothing that a
// 2.6.32 on a PC does not have: two serial ports and an initramfs.
package vm

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Kinds of frames on the second serial port.
const (
	KindReady  = 'R' // the init runs
	KindStdout = '1'
	KindStderr = '2'
	KindExit   = 'X' // 4 bytes: the exit code
	KindError  = 'E' // the init could not do its work: a text
	KindNote   = 'N' // what the init had to do without: a text
)

// Plan is what the init reads from PlanFile: what to run, in which way.
type Plan struct {
	Args    []string
	Env     []string
	Dir     string
	Port    string   // the name below /dev of the port for frames
	Modules []string // files to insert, in this order
	Cgroups string   // the versions of control groups to mount: 1, 2 or 1+2
	Seconds int      // the time limit; the init shortens it a little
	// Handover is the program to become process 1 when all is mounted; it has
	// `/init report` run, which does the rest. "": the init stays.
	Handover string
}

// PlanFile is where the init finds its Plan.
const PlanFile = "/testkernel.json"

// DiskFile is where the init looks for a file system, packed by gzip, to be /tmp.
const DiskFile = "/disk.img.gz"

// maxFrame bounds what is believed of a frame's length.
const maxFrame = 1 << 20

// WriteFrame writes kind, the length as 4 bytes, big-endian, and data.
func WriteFrame(w io.Writer, kind byte, data []byte) error {
	buf := make([]byte, 0, 5+len(data))
	buf = append(buf, kind)
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(data)))
	_, err := w.Write(append(buf, data...))
	return err
}

// ReadFrame reads one frame.
func ReadFrame(r io.Reader) (kind byte, data []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("a frame of kind %q claims %d bytes", head[0], n)
	}
	data = make([]byte, n)
	_, err = io.ReadFull(r, data)
	return head[0], data, err
}
