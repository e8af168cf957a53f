// Command nettest is one piece of wiring as a process of its own, so that
// internal/bench can tell its processor time from that of who sends and receives.
package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"coracle/net/forward"
	"coracle/net/network"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 4 && os.Args[1] == "forward":
		err = carry(os.Args[2], os.Args[3])
	case len(os.Args) == 4 && os.Args[1] == "send":
		err = send(os.Args[2], os.Args[3])
	default:
		err = fmt.Errorf("usage: nettest forward FROM TO | send TO DURATION")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nettest:", err)
		os.Exit(1)
	}
}

// carry forwards one TCP port until standard input ends.
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

// send sends to a TCP service for a while, waits for the byte by which it says that
// all has come, and prints how many bytes went a second.
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
	began, buf, sum := time.Now(), make([]byte, 256<<10), 0
	for time.Since(began) < d {
		n, err := c.Write(buf)
		sum += n
		if err != nil {
			return err
		}
	}
	c.(*net.TCPConn).CloseWrite()
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err
	}
	fmt.Println(float64(sum) / time.Since(began).Seconds())
	return nil
}
