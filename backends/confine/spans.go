package confine

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// verdict is what s says about one call of one table.
type verdict struct {
	nr uint32
	// always is true where a rule without conditions decides: ret.
	always bool
	ret    uint32
	rules  []rule
}

// verdicts collects what the rules say, by number.
func (t abi) verdicts(rules []rule) []verdict {
	byNr := make(map[uint32]*verdict, 512)
	at := func(nr uint32) *verdict {
		v := byNr[nr]
		if v == nil {
			v = &verdict{nr: nr}
			byNr[nr] = v
		}
		return v
	}
	var buf [2]uint32
	for _, r := range rules {
		for _, name := range r.names {
			for _, nr := range t.numbers(buf[:0], name) {
				at(nr).add(r)
			}
			if t != abi386 {
				continue
			}
			if by, call, ok := muxed(name); ok && !r.mute && (len(r.args) == 0 || r.deny) {
				// What i386 programs reach by socketcall(2) and ipc(2) too.
				// Their arguments are behind a pointer: a conditional refusal
				// is made a plain one, a conditional leave is not given.
				at(t.numbers(buf[:0], by)[0]).add(rule{args: muxArg(by, call), ret: r.ret})
			}
		}
	}
	out := make([]verdict, 0, len(byNr))
	for _, v := range byNr {
		out = append(out, *v)
	}
	slices.SortFunc(out, func(a, b verdict) int { return int(int64(a.nr) - int64(b.nr)) })
	return out
}

func (v *verdict) add(r rule) {
	switch {
	case v.always, r.mute:
	case len(r.args) == 0:
		v.always, v.ret = true, r.ret
	default:
		v.rules = append(v.rules, r)
	}
}

// muxArg is the condition on a multiplexer's first argument; ipc(2) keeps a
// version in its high half.
func muxArg(by string, call uint64) []specs.LinuxSeccompArg {
	if by == "ipc" {
		return []specs.LinuxSeccompArg{{Index: 0, Value: 0xffff, ValueTwo: call, Op: specs.OpMaskedEqual}}
	}
	return []specs.LinuxSeccompArg{{Index: 0, Value: call, Op: specs.OpEqualTo}}
}

// spans cover all numbers of table t from 0.
func (t abi) spans(rules []rule, def uint32, nosys bool) []span {
	b := spanner{spans: make([]span, 0, 256)}
	b.add(0, ret(def))
	limit := uint32(1<<32 - 1)
	if t == abiARM {
		limit = armPrivate
	}
	all := t.verdicts(rules)
	own := slices.IndexFunc(all, func(v verdict) bool { return v.nr >= limit })
	if own < 0 {
		own = len(all)
	}
	b.verdicts(all[:own], t, def)
	if nosys && own > 0 {
		b.add(all[own-1].nr+1, ret(retENOSYS))
	}
	if t == abiARM {
		b.add(armPrivate, ret(def))
	}
	b.verdicts(all[own:], t, def)
	return b.spans
}

func (v *verdict) code(t abi, def uint32) code {
	if v.always {
		return ret(v.ret)
	}
	var c code
	for _, r := range v.rules {
		c = c.rule(r.args, t.narrow(), r.ret)
	}
	return append(c, insn{opRet, 0, 0, def})
}

// spanner joins neighbours that do the same.
type spanner struct{ spans []span }

func (b *spanner) verdicts(vs []verdict, t abi, def uint32) {
	for _, v := range vs {
		b.add(v.nr, v.code(t, def))
		b.add(v.nr+1, ret(def))
	}
}

func (b *spanner) add(from uint32, do code) {
	if n := len(b.spans); n > 0 && b.spans[n-1].from == from {
		b.spans = b.spans[:n-1]
	}
	if n := len(b.spans); n > 0 && slices.Equal(b.spans[n-1].do, do) {
		return
	}
	b.spans = append(b.spans, span{from, do})
}
