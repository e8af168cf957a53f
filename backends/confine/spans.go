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
	rules  []*rule
	named  bool
}

// verdicts collects what the rules say, by number.
func (t abi) verdicts(rules []rule) []verdict {
	// All tables are dense but for arm's few private calls.
	dense := make([]verdict, 640)
	var sparse []verdict
	at := func(nr uint32) *verdict {
		if nr < uint32(len(dense)) {
			dense[nr].nr, dense[nr].named = nr, true
			return &dense[nr]
		}
		i := slices.IndexFunc(sparse, func(v verdict) bool { return v.nr == nr })
		if i < 0 {
			i = len(sparse)
			sparse = append(sparse, verdict{nr: nr, named: true})
		}
		return &sparse[i]
	}
	var buf [2]uint32
	for i := range rules {
		r := &rules[i]
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
				at(t.numbers(buf[:0], by)[0]).add(&rule{args: muxArg(by, call), ret: r.ret})
			}
		}
	}
	slices.SortFunc(sparse, func(a, b verdict) int { return int(int64(a.nr) - int64(b.nr)) })
	out := slices.DeleteFunc(dense, func(v verdict) bool { return !v.named })
	return append(out, sparse...)
}

func (v *verdict) add(r *rule) {
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
	limit := uint32(1<<32 - 1)
	if t == abiARM {
		limit = armPrivate
	}
	all := t.verdicts(rules)
	own := slices.IndexFunc(all, func(v verdict) bool { return v.nr >= limit })
	if own < 0 {
		own = len(all)
	}
	b := spanner{spans: make([]span, 0, 256), def: def}
	b.plain(0, def)
	b.verdicts(all[:own], t)
	if nosys && own > 0 {
		b.plain(all[own-1].nr+1, retENOSYS)
	}
	if t == abiARM {
		b.plain(armPrivate, def)
	}
	b.verdicts(all[own:], t)
	return b.spans
}

// spanner joins neighbours that do the same.
type spanner struct {
	spans []span
	def   uint32
}

func (b *spanner) verdicts(vs []verdict, t abi) {
	for i := range vs {
		v := &vs[i]
		switch {
		case v.always:
			b.plain(v.nr, v.ret)
		case len(v.rules) == 0:
			b.plain(v.nr, b.def)
		default:
			var c code
			for _, r := range v.rules {
				c = c.rule(r.args, t.narrow(), r.ret)
			}
			b.cut(v.nr)
			b.spans = append(b.spans, span{from: v.nr, do: append(c, insn{opRet, 0, 0, b.def})})
		}
		b.plain(v.nr+1, b.def)
	}
}

// plain begins a span of one return.
func (b *spanner) plain(from, ret uint32) {
	b.cut(from)
	if n := len(b.spans); n > 0 && b.spans[n-1].do == nil && b.spans[n-1].ret == ret {
		return
	}
	b.spans = append(b.spans, span{from: from, ret: ret})
}

// cut takes the last span away where the next begins at the same number.
func (b *spanner) cut(from uint32) {
	if n := len(b.spans); n > 0 && b.spans[n-1].from == from {
		b.spans = b.spans[:n-1]
	}
}
