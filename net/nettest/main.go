// Command nettest is one piece of wiring as a process of its own, so that
// internal/bench can tell its processor time from that of who sends and receives.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"coracle/net/forward"
	"coracle/net/network"
)

const usage = `usage: nettest forward FROM TO    carry one TCP port until standard input ends
       nettest serve AT           take what clients send until standard input ends
       nettest send TO DURATION   send, and print how many bytes arrived, and the seconds`

func main() {
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 3 && args[0] == "forward":
		err = carry(args[1], args[2])
	case len(args) == 2 && args[0] == "serve":
		err = serve(args[1])
	case len(args) == 3 && args[0] == "send":
		err = send(args[1], args[2])
	default:
		err = errors.New(usage)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nettest:", err)
		os.Exit(1)
	}
}

func carry(at, service string) error {
	from, err := netip.ParseAddrPort(at)
	if err != nil {
		return err
	}
	to, err := netip.ParseAddrPort(service)
	if err != nil {
		return err
	}
	_, r, err := forward.Reserve([]network.Publish{{Proto: "tcp", HostIP: from.Addr(), Host: from.Port(), Port: to.Port(), Count: 1}})
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.Serve(forward.Way{To: func(string, uint16) (netip.AddrPort, bool) { return to, true }}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// confirm is how many bytes the service reads before it answers with one byte.
const confirm = 4 << 20

func serve(at string) error {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go take(c)
		}
	}()
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func take(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 1<<20)
	for sum := 0; ; {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		for sum += n; sum >= confirm; sum -= confirm {
			c.Write([]byte{0})
		}
	}
}

// send counts what the service has confirmed: what is under way at the end is not
// counted.
func send(to, duration string) error {
	d, err := time.ParseDuration(duration)
	if err != nil {
		return err
	}
	c, err := net.Dial("tcp", to)
	if err != nil {
		return err
	}
	defer c.Close()
	began := time.Now()
	c.SetDeadline(began.Add(d))
	go func() {
		buf := make([]byte, 256<<10)
		for {
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
	}()
	var sum int64
	answers := make([]byte, 64)
	for {
		n, err := c.Read(answers)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			fmt.Println(sum, time.Since(began).Seconds())
			return nil
		case err != nil:
			return err
		}
		sum += int64(n) * confirm
	}
}
