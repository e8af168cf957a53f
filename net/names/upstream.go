package names

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// perServer is how long one server has to answer.
const perServer = 2 * time.Second

// headerLen is that of a message (RFC 1035, 4.1.1).
const headerLen = 12

// ask passes a question to the servers of the host in turn, and returns what the
// first that knows answered, or a failure. Over UDP, where nobody answers, TCP
// is tried: some networks let only that through.
func (s *Server) ask(network string, msg []byte, q *question) []byte {
	var refused []byte
	ways := []string{network}
	if network == "udp" {
		ways = append(ways, "tcp")
	}
	for _, way := range ways {
		for _, server := range s.cfg.Upstream {
			got, err := s.exchange(way, server, msg)
			if err != nil {
				continue
			}
			switch code := dnsmessage.RCode(got[3] & 0xf); code {
			case dnsmessage.RCodeSuccess, dnsmessage.RCodeNameError:
				return got
			default:
				refused = got // the next may know better
			}
		}
		if refused != nil || s.ctx.Err() != nil {
			break
		}
	}
	if refused != nil {
		return refused
	}
	return (&reply{code: dnsmessage.RCodeServerFailure}).pack(q, plainUDP)
}

var errStrange = errors.New("an answer to something else")

// exchange asks one server, by an ID and a port that nobody can guess.
func (s *Server) exchange(network string, server netip.AddrPort, msg []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(s.ctx, perServer)
	defer cancel()
	c, err := s.cfg.Dial(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	out := bytes.Clone(msg)
	binary.BigEndian.PutUint16(out, uint16(rand.Uint32()))
	got, err := roundTrip(c, network, out)
	if err != nil {
		return nil, err
	}
	copy(got[:2], msg[:2])
	return got, nil
}

func roundTrip(c net.Conn, network string, out []byte) ([]byte, error) {
	if network == "tcp" {
		if err := writeTCP(c, out); err != nil {
			return nil, err
		}
		got, err := readTCP(c)
		if err == nil && !answers(got, out) {
			err = errStrange
		}
		return got, err
	}
	if _, err := c.Write(out); err != nil {
		return nil, err
	}
	buf := make([]byte, mostUDP)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return nil, err
		}
		if answers(buf[:n], out) {
			return buf[:n], nil
		}
	}
}

// answers tells whether got answers the question out: its ID, and the same name
// in the same letters.
func answers(got, out []byte) bool {
	if len(got) < headerLen || got[0] != out[0] || got[1] != out[1] || got[2]&0x80 == 0 {
		return false
	}
	var p, want dnsmessage.Parser
	if _, err := p.Start(got); err != nil {
		return false
	}
	if _, err := want.Start(out); err != nil {
		return false
	}
	a, err := p.Question()
	if err != nil {
		// A server that could not read the question need not repeat it.
		return got[3]&0xf == byte(dnsmessage.RCodeFormatError)
	}
	b, err := want.Question()
	return err == nil && a == b
}
