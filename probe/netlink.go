package probe

import (
	"encoding/binary"
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// netlinkConn is a netlink socket of the calling thread's network namespace,
// for a few messages that are answered at once.
type netlinkConn struct {
	fd  int
	seq uint32
}

func dialNetlink(family int) (*netlinkConn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, family)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	// An answer that does not come must not hold up a start.
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
	return &netlinkConn{fd: fd}, nil
}

func (n *netlinkConn) close() { unix.Close(n.fd) }

// message is one netlink message, in the machine's byte order.
func (n *netlinkConn) message(kind, flags uint16, body []byte) []byte {
	n.seq++
	b := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(body))
	native := binary.NativeEndian
	native.PutUint32(b, uint32(unix.NLMSG_HDRLEN+len(body)))
	native.PutUint16(b[4:], kind)
	native.PutUint16(b[6:], flags)
	native.PutUint32(b[8:], n.seq)
	return append(b, body...)
}

// attr appends an attribute; nested ones are the value.
func attr(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func text(s string) []byte { return append([]byte(s), 0) }

// ask sends messages, of which the one numbered last is acknowledged, and gives
// the body of an answer of kind want, if there is one.
func (n *netlinkConn) ask(msgs []byte, last uint32, want uint16) (body []byte, err error) {
	if err := unix.Sendto(n.fd, msgs, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	buf := make([]byte, 16<<10)
	for {
		got, _, err := unix.Recvfrom(n.fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("recvfrom", err)
		}
		for rest := buf[:got]; len(rest) >= unix.NLMSG_HDRLEN; {
			h := (*unix.NlMsghdr)(unsafe.Pointer(&rest[0]))
			if int(h.Len) < unix.NLMSG_HDRLEN || int(h.Len) > len(rest) {
				break
			}
			data := rest[unix.NLMSG_HDRLEN:h.Len]
			rest = rest[min(len(rest), (int(h.Len)+3)&^3):]
			switch {
			case h.Type == unix.NLMSG_ERROR && len(data) >= 4:
				errno := -int32(binary.NativeEndian.Uint32(data))
				if errno != 0 {
					return nil, unix.Errno(errno)
				}
				if h.Seq == last {
					return body, nil
				}
			case h.Type == want:
				body = append([]byte(nil), data...)
			}
		}
	}
}

// addLink makes an interface, with a peer if it is half of a pair.
func (n *netlinkConn) addLink(name, kind, peer string) error {
	msg := n.newLink(name, kind, peer)
	_, err := n.ask(msg, n.seq, 0)
	return err
}

func (n *netlinkConn) newLink(name, kind, peer string) []byte {
	body := make([]byte, unix.SizeofIfInfomsg)
	body = attr(body, unix.IFLA_IFNAME, text(name))
	info := attr(nil, unix.IFLA_INFO_KIND, []byte(kind))
	if peer != "" {
		const vethInfoPeer = 1 // linux/veth.h
		other := attr(make([]byte, unix.SizeofIfInfomsg), unix.IFLA_IFNAME, text(peer))
		info = attr(info, unix.IFLA_INFO_DATA, attr(nil, vethInfoPeer, other))
	}
	body = attr(body, unix.IFLA_LINKINFO, info)
	return n.message(unix.RTM_NEWLINK, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, body)
}

// errNoPort is what 2.6.32 deserves: it acknowledges, and there is no port.
var errNoPort = errors.New("acknowledged, and no port is there")

// enslave makes port a port of bridge, and looks whether it is one.
func (n *netlinkConn) enslave(port, bridge string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	portIndex, err := linkIndex(fd, port)
	if err != nil {
		return err
	}
	bridgeIndex, err := linkIndex(fd, bridge)
	if err != nil {
		return err
	}
	body := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(body[4:], uint32(portIndex))
	set := attr(body, unix.IFLA_MASTER, binary.NativeEndian.AppendUint32(nil, uint32(bridgeIndex)))
	if _, err := n.ask(n.message(unix.RTM_SETLINK, unix.NLM_F_REQUEST|unix.NLM_F_ACK, set), n.seq, 0); err != nil {
		return err
	}
	got, err := n.ask(n.message(unix.RTM_GETLINK, unix.NLM_F_REQUEST|unix.NLM_F_ACK, body), n.seq, unix.RTM_NEWLINK)
	if err != nil {
		return err
	}
	if master := findAttr(got, unix.IFLA_MASTER); len(master) != 4 || binary.NativeEndian.Uint32(master) != uint32(bridgeIndex) {
		return errNoPort
	}
	return nil
}

// findAttr finds an attribute of a link message.
func findAttr(body []byte, kind uint16) []byte {
	if len(body) < unix.SizeofIfInfomsg {
		return nil
	}
	for b := body[unix.SizeofIfInfomsg:]; len(b) >= unix.SizeofRtAttr; {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return nil
		}
		if binary.NativeEndian.Uint16(b[2:])&0x3fff == kind {
			return b[unix.SizeofRtAttr:size]
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return nil
}

// nftables makes a table with a chain that translates addresses, in one batch,
// as wiring does, and in it a rule with what no network can do without. What is sent
// to the host's own addresses (fib, since 4.10) it can find out otherwise.
func (e *env) nftables() Result {
	t := trial{f: NFTables, what: "netlink to nf_tables", cap: capNetAdmin, mend: "modprobe nf_tables, or a kernel of 3.13 or newer with CONFIG_NF_TABLES"}
	n, err := dialNetlink(unix.NETLINK_NETFILTER)
	if err != nil {
		return t.result(e, err)
	}
	defer n.close()
	ask := func(kind uint16, body []byte) error {
		generic := []byte{unix.NFPROTO_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES}
		batch := n.message(unix.NFNL_MSG_BATCH_BEGIN, unix.NLM_F_REQUEST, generic)
		batch = append(batch, n.message(unix.NFNL_SUBSYS_NFTABLES<<8|kind, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE,
			append([]byte{unix.NFPROTO_IPV4, unix.NFNETLINK_V0, 0, 0}, body...))...)
		last := n.seq
		batch = append(batch, n.message(unix.NFNL_MSG_BATCH_END, unix.NLM_F_REQUEST, generic)...)
		_, err := n.ask(batch, last, 0)
		return err
	}
	t.what = "add a table by nf_tables"
	err = ask(unix.NFT_MSG_NEWTABLE, attr(nil, unix.NFTA_TABLE_NAME, text("coracle")))
	if err == nil {
		t.what, t.mend = "add a nat chain by nf_tables", "modprobe nft_chain_nat, or a kernel with CONFIG_NFT_NAT"
		hook := attr(nil, unix.NFTA_HOOK_HOOKNUM|unix.NLA_F_NET_BYTEORDER, binary.BigEndian.AppendUint32(nil, unix.NF_INET_POST_ROUTING))
		hook = attr(hook, unix.NFTA_HOOK_PRIORITY|unix.NLA_F_NET_BYTEORDER, binary.BigEndian.AppendUint32(nil, 100))
		chain := attr(nil, unix.NFTA_CHAIN_TABLE, text("coracle"))
		chain = attr(chain, unix.NFTA_CHAIN_NAME, text("nat"))
		chain = attr(chain, unix.NFTA_CHAIN_HOOK|unix.NLA_F_NESTED, hook)
		chain = attr(chain, unix.NFTA_CHAIN_TYPE, text("nat"))
		err = ask(unix.NFT_MSG_NEWCHAIN, chain)
	}
	if err == nil {
		t.what, t.mend = "add a rule with ct and masquerade by nf_tables", "modprobe nft_ct nft_masq, or a kernel of 3.18 or newer with CONFIG_NFT_CT and CONFIG_NFT_MASQ"
		state := attr(nil, unix.NFTA_CT_DREG|unix.NLA_F_NET_BYTEORDER, binary.BigEndian.AppendUint32(nil, unix.NFT_REG_1))
		state = attr(state, unix.NFTA_CT_KEY|unix.NLA_F_NET_BYTEORDER, binary.BigEndian.AppendUint32(nil, unix.NFT_CT_STATE))
		ct := attr(attr(nil, unix.NFTA_EXPR_NAME, text("ct")), unix.NFTA_EXPR_DATA|unix.NLA_F_NESTED, state)
		exprs := attr(nil, unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, ct)
		exprs = attr(exprs, unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, attr(nil, unix.NFTA_EXPR_NAME, text("masq")))
		rule := attr(attr(nil, unix.NFTA_RULE_TABLE, text("coracle")), unix.NFTA_RULE_CHAIN, text("nat"))
		err = ask(unix.NFT_MSG_NEWRULE, attr(rule, unix.NFTA_RULE_EXPRESSIONS|unix.NLA_F_NESTED, exprs))
	}
	return t.result(e, err)
}
