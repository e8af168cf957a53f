package kernels

import (
	"bytes"
	"errors"
)

// dtbOf is the name of the device tree that a machine of QEMU wants with a
// kernel; the others describe themselves.
func dtbOf(machine string) string {
	if machine == "raspi1ap" {
		return "bcm2835-rpi-a-plus.dtb"
	}
	return ""
}

// withSecondPort switches on, in the device tree of a Raspberry Pi 1, the small
// serial port of its chip: on the real board its pins belong to others, and QEMU
// has it all the same. The word for "on" is written over the longer one for
// "off", so that nothing moves (Devicetree Specification 0.4, 2.3.4 and 5.4).
func withSecondPort(dtb []byte) ([]byte, error) {
	const beginNode, endNode = "\x00\x00\x00\x01", "\x00\x00\x00\x02"
	at := bytes.Index(dtb, []byte(beginNode+"serial@7e215040\x00"))
	if at < 0 {
		return nil, errors.New("the device tree has no node serial@7e215040")
	}
	end := bytes.Index(dtb[at:], []byte(endNode))
	off := []byte("disabled\x00")
	status := bytes.Index(dtb[at:], off)
	if status < 0 || end < 0 || status > end {
		return dtb, nil // on already
	}
	out := bytes.Clone(dtb)
	copy(out[at+status:], append([]byte("okay"), make([]byte, len(off)-4)...))
	return out, nil
}
