package nosys

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// alterLinks makes a message about network interfaces one that this machine's kernel
// understands no better than the older one would the message as it was: so the
// answer is a kernel's.
//
// Which family of netlink the socket is of is not asked: other families' messages
// with the same numbers are shorter, or have no attributes where these have them.
func (s *supervisor) alterLinks(n *notif) (errno unix.Errno) {
	if n.args[2] == 0 {
		return 0
	}
	// One that makes a link has some hundred bytes.
	whole := read(n.pid, n.args[1], make([]byte, min(n.args[2], 4096)))
	alter := func(what string, part []byte, to ...byte) {
		s.trace("%s in a message of netlink by %d is not known", what, n.pid)
		// part is of whole: what it could grow by tells where.
		if !write(n.pid, n.args[1]+uint64(cap(whole)-cap(part)), to) {
			errno = unix.EOPNOTSUPP
		}
	}
	for msg := range tagged(whole, unix.NLMSG_HDRLEN, 4) {
		kind := binary.NativeEndian.Uint16(msg[4:])
		if kind != unix.RTM_NEWLINK && kind != unix.RTM_SETLINK || len(msg) < unix.NLMSG_HDRLEN+unix.SizeofIfInfomsg {
			continue
		}
		for attr := range tagged(msg[unix.NLMSG_HDRLEN+unix.SizeofIfInfomsg:], unix.SizeofRtAttr, 2) {
			switch binary.NativeEndian.Uint16(attr[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER) {
			case unix.IFLA_MASTER:
				if s.hides("ignored", "IFLA_MASTER") {
					// Of wireless extensions, which nobody sets like this.
					alter("IFLA_MASTER", attr[2:], binary.NativeEndian.AppendUint16(nil, unix.IFLA_WIRELESS)...)
				}
			case unix.IFLA_LINKINFO:
				for info := range tagged(attr[unix.SizeofRtAttr:], unix.SizeofRtAttr, 2) {
					name := string(bytes.TrimRight(info[unix.SizeofRtAttr:], "\x00"))
					if binary.NativeEndian.Uint16(info[2:]) == unix.IFLA_INFO_KIND && s.hides("link", name) {
						alter("a link of kind "+name, info[unix.SizeofRtAttr:], '?')
					}
				}
			}
		}
	}
	return errno
}

// tagged are the messages or attributes in b, which begin with their length of width
// bytes, and have a header.
func tagged(b []byte, header, width int) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) >= header {
			size := int(binary.NativeEndian.Uint16(b))
			if width == 4 {
				size = int(binary.NativeEndian.Uint32(b))
			}
			if size < header || size > len(b) || !yield(b[:size]) {
				return
			}
			b = b[min(len(b), (size+3)&^3):]
		}
	}
}
