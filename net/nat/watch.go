package nat

import (
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Watcher calls back when the host's packet filter may have lost rules of ours, or
// began to drop.
type Watcher struct {
	fd, stop int // fd is -1 where the kernel tells nobody
	marks    func() []string
	done     chan struct{}
	once     sync.Once
}

// groupNFTables is NFNLGRP_NFTABLES (include/uapi/linux/netfilter/nfnetlink.h).
const groupNFTables = 7

// Watch calls lost, from a goroutine of its own, a little after anything was
// deleted, or a chain of iptables' filter changed; and where there are tables of
// iptables' old kind, when rules went from them that hold one of marks, which it asks
// and looks for now and then. nil where there is nothing to watch: its Stop does nothing.
func Watch(marks func() []string, lost func()) *Watcher {
	w := &Watcher{fd: listen(), marks: marks, done: make(chan struct{})}
	if w.fd < 0 && !hasOld() {
		return nil
	}
	var err error
	if w.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		if w.fd >= 0 {
			unix.Close(w.fd)
		}
		return nil
	}
	go w.run(lost)
	return w
}

// listen opens what nftables tells of; -1 where it tells nobody.
func listen() int {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return -1
	}
	filter(fd)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (groupNFTables - 1)}); err != nil {
		unix.Close(fd)
		return -1
	}
	return fd
}

// filter lets the kernel keep from us all but deletions, of which a start of
// another container has none: a hundred monitors are not to wake for each. And
// but what becomes of chains in iptables' table "filter": Docker, started after
// us, makes FORWARD there drop.
func filter(fd int) {
	deleted := []uint8{unix.NFT_MSG_DELTABLE, unix.NFT_MSG_DELCHAIN, unix.NFT_MSG_DELRULE, unix.NFT_MSG_DELSET, unix.NFT_MSG_DELSETELEM}
	n := len(deleted)
	// nlmsg_type, at 4, is in the machine's byte order, of which ld reads bytes.
	low, high := uint32(4), uint32(5)
	if bigEndian() {
		low, high = 5, 4
	}
	prog := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: high},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.NFNL_SUBSYS_NFTABLES, Jf: uint8(n + 5)},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: low},
	}
	for i, m := range deleted {
		prog = append(prog, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(m), Jt: uint8(n - i + 4)})
	}
	prog = append(prog,
		// What one transaction says comes together, and we see the first of it.
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.NFT_MSG_NEWTABLE, Jt: 1},
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.NFT_MSG_NEWCHAIN, Jf: 2},
		// The first attribute is the table's name, behind two headers and its own.
		unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 24},
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0x66696c74, Jt: 1}, // "filt"
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 16},
	)
	unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
}

func bigEndian() bool {
	n := uint16(1)
	return *(*byte)(unsafe.Pointer(&n)) == 0
}

// settle is how long a reload is given to come to its end.
const settle = 50 * time.Millisecond

// look is how often tables of the old kind are looked at.
const look = 2 * time.Second

func (w *Watcher) run(lost func()) {
	defer close(w.done)
	buf := make([]byte, 64<<10)
	wait := -1
	if hasOld() {
		wait = int(look.Milliseconds())
	}
	had, _ := oldMarks(w.marks())
	for {
		fds := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}, {Fd: int32(w.stop), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, wait); err != nil && err != unix.EINTR {
			return
		}
		if fds[1].Revents != 0 {
			return
		}
		if fds[0].Revents == 0 {
			if has, ok := oldMarks(w.marks()); ok && has < had {
				lost()
				had, _ = oldMarks(w.marks())
			} else if ok {
				had = has
			}
			continue
		}
		time.Sleep(settle)
		for {
			// An overrun (ENOBUFS) has told us enough too.
			if _, _, err := unix.Recvfrom(w.fd, buf, 0); err == unix.EAGAIN {
				break
			}
		}
		lost()
	}
}

// Stop ends it; lost is not called any more once it returns.
func (w *Watcher) Stop() {
	if w == nil {
		return
	}
	w.once.Do(func() {
		unix.Write(w.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		<-w.done
		if w.fd >= 0 {
			unix.Close(w.fd)
		}
		unix.Close(w.stop)
	})
}
