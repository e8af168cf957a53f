package names

import (
	"net/netip"
	"strconv"
	"strings"

	"coracle/net/network"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// ttl is how long answers may be kept: names are to follow containers.
	ttl = 1
	// plainUDP is what fits where the asker did not say what it takes (RFC 1035),
	// and mostUDP what we say that we take (RFC 6891).
	plainUDP, mostUDP = 512, 4096
	// mostAnswers keeps a message below 64 kB.
	mostAnswers = 2000
)

// question is what was asked.
type question struct {
	header dnsmessage.Header
	q      dnsmessage.Question
	name   string // lower case, without the last dot
	edns   bool
	size   int // what the asker takes over UDP
}

// parse reads a query. bad: there is a header to answer to, with that code.
func parse(msg []byte) (q *question, bad dnsmessage.RCode, ok bool) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || h.Response {
		return nil, 0, false
	}
	q = &question{header: h, size: plainUDP}
	if h.OpCode != 0 {
		return q, dnsmessage.RCodeNotImplemented, true
	}
	all, err := p.AllQuestions()
	if err != nil || len(all) != 1 {
		return q, dnsmessage.RCodeFormatError, true
	}
	q.q = all[0]
	q.name = strings.ToLower(strings.TrimSuffix(q.q.Name.String(), "."))
	if p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return q, dnsmessage.RCodeFormatError, true
	}
	for {
		rh, err := p.AdditionalHeader()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		if err == nil && rh.Type == dnsmessage.TypeOPT {
			q.edns = true
			q.size = min(max(int(rh.Class), plainUDP), mostUDP)
		}
		if err != nil || p.SkipAdditional() != nil {
			return q, dnsmessage.RCodeFormatError, true
		}
	}
	if q.q.Class != dnsmessage.ClassINET && q.q.Class != dnsmessage.ClassANY {
		return q, dnsmessage.RCodeRefused, true
	}
	return q, dnsmessage.RCodeSuccess, true
}

// local answers from the book; nil: the question is for others.
func (s *Server) local(q *question) *reply {
	s.cfg.Book.Now()
	if addr, ok := reverseName(q.name); ok && q.q.Type == dnsmessage.TypePTR {
		ep, ours := s.cfg.Book.Reverse(addr)
		switch {
		case ep != nil:
			return &reply{ptr: ptrName(ep)}
		case ours:
			return &reply{code: dnsmessage.RCodeNameError}
		}
		return nil
	}
	found, ok := s.cfg.Book.Lookup(q.name, s.links())
	if !ok {
		return nil
	}
	r := new(reply)
	for _, ep := range found {
		if q.q.Type == dnsmessage.TypeA || q.q.Type == dnsmessage.TypeALL {
			r.add(ep.IPv4)
		}
		if q.q.Type == dnsmessage.TypeAAAA || q.q.Type == dnsmessage.TypeALL {
			r.add(ep.IPv6)
		}
	}
	// Without any: the name is there, and has nothing of that type.
	return r
}

func ptrName(ep *network.Endpoint) string {
	name := ep.Container
	if len(ep.Names) > 0 {
		name = ep.Names[0]
	}
	if ep.NetworkName != "" {
		name += "." + ep.NetworkName
	}
	return name + "."
}

// reply is what is answered.
type reply struct {
	code  dnsmessage.RCode
	addrs []netip.Addr
	ptr   string
}

func (r *reply) add(p netip.Prefix) {
	if p.IsValid() && len(r.addrs) < mostAnswers {
		r.addrs = append(r.addrs, p.Addr())
	}
}

// pack makes the message; above limit bytes it says that there is more, by TCP.
func (r *reply) pack(q *question, limit int) []byte {
	msg, err := r.build(q, false)
	if err == nil && len(msg) > limit {
		msg, err = r.build(q, true)
	}
	if err != nil {
		msg, _ = (&reply{code: dnsmessage.RCodeServerFailure}).build(q, false)
	}
	return msg
}

func (r *reply) build(q *question, truncated bool) ([]byte, error) {
	b := dnsmessage.NewBuilder(make([]byte, 0, plainUDP), dnsmessage.Header{
		ID: q.header.ID, Response: true, OpCode: q.header.OpCode, Truncated: truncated,
		RecursionDesired: q.header.RecursionDesired, RecursionAvailable: true, RCode: r.code,
	})
	b.EnableCompression()
	if q.q.Name.Length > 0 {
		if err := b.StartQuestions(); err != nil {
			return nil, err
		}
		if err := b.Question(q.q); err != nil {
			return nil, err
		}
	}
	if err := b.StartAnswers(); err != nil {
		return nil, err
	}
	if !truncated {
		if err := r.answers(&b, q); err != nil {
			return nil, err
		}
	}
	if q.edns {
		if err := b.StartAdditionals(); err != nil {
			return nil, err
		}
		var h dnsmessage.ResourceHeader
		if err := h.SetEDNS0(mostUDP, 0, false); err != nil {
			return nil, err
		}
		if err := b.OPTResource(h, dnsmessage.OPTResource{}); err != nil {
			return nil, err
		}
	}
	return b.Finish()
}

func (r *reply) answers(b *dnsmessage.Builder, q *question) error {
	h := dnsmessage.ResourceHeader{Name: q.q.Name, Class: dnsmessage.ClassINET, TTL: ttl}
	for _, a := range r.addrs {
		var err error
		if a.Is4() {
			err = b.AResource(h, dnsmessage.AResource{A: a.As4()})
		} else {
			err = b.AAAAResource(h, dnsmessage.AAAAResource{AAAA: a.As16()})
		}
		if err != nil {
			return err
		}
	}
	if r.ptr == "" {
		return nil
	}
	name, err := dnsmessage.NewName(r.ptr)
	if err != nil {
		return err
	}
	return b.PTRResource(h, dnsmessage.PTRResource{PTR: name})
}

// reverseName reads 4.3.2.1.in-addr.arpa and its long brother of IPv6.
func reverseName(name string) (netip.Addr, bool) {
	if four, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		parts := strings.Split(four, ".")
		if len(parts) != 4 {
			return netip.Addr{}, false
		}
		a, err := netip.ParseAddr(parts[3] + "." + parts[2] + "." + parts[1] + "." + parts[0])
		return a, err == nil
	}
	six, ok := strings.CutSuffix(name, ".ip6.arpa")
	if !ok || len(six) != 63 {
		return netip.Addr{}, false
	}
	var b [16]byte
	for i, digit := range strings.Split(six, ".") {
		v, err := strconv.ParseUint(digit, 16, 4)
		if err != nil || len(digit) != 1 || i > 31 {
			return netip.Addr{}, false
		}
		b[15-i/2] |= byte(v) << (4 * (i % 2))
	}
	return netip.AddrFrom16(b), true
}
