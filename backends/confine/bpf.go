package confine

import (
	"encoding/binary"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// insn is struct sock_filter.
type insn struct {
	code   uint16
	jt, jf uint8
	k      uint32
}

// Operations of classic BPF (include/uapi/linux/bpf_common.h).
const (
	opLoad = 0x20 // BPF_LD|BPF_W|BPF_ABS
	opAnd  = 0x54 // BPF_ALU|BPF_AND|BPF_K
	opJump = 0x05 // BPF_JMP|BPF_JA
	opJEQ  = 0x15 // BPF_JMP|BPF_JEQ|BPF_K
	opJGT  = 0x25 // BPF_JMP|BPF_JGT|BPF_K
	opJGE  = 0x35 // BPF_JMP|BPF_JGE|BPF_K
	opRet  = 0x06 // BPF_RET|BPF_K
)

// Offsets in struct seccomp_data. All our architectures are little-endian, so
// an argument's low word comes first.
const (
	offNr   = 0
	offArch = 4
	offArgs = 16
)

// code is a piece of program in which every path ends in a return, or, for the
// tests of arguments, runs off its end. Jumps are relative: a piece can be put
// anywhere.
type code []insn

func (c code) bytes() []byte {
	out := make([]byte, 0, 8*len(c))
	for _, i := range c {
		out = binary.NativeEndian.AppendUint16(out, i.code)
		out = append(out, i.jt, i.jf)
		out = binary.NativeEndian.AppendUint32(out, i.k)
	}
	return out
}

// span is what happens from call number from on, up to the next span: do, or,
// where that is nil, the return of ret.
type span struct {
	from uint32
	ret  uint32
	do   code
}

func (s *span) size() int {
	if s.do == nil {
		return 1
	}
	return len(s.do)
}

// searchSize is how many instructions search makes of spans.
func searchSize(spans []span) int {
	if len(spans) == 1 {
		return spans[0].size()
	}
	mid := len(spans) / 2
	low := searchSize(spans[:mid])
	n := low + searchSize(spans[mid:]) + 1
	if low > 255 {
		n++
	}
	return n
}

// search appends a binary search for the call number in A over spans, the
// first of which begins at or below all numbers that can come.
func (c code) search(spans []span) code {
	if len(spans) == 1 {
		if spans[0].do == nil {
			return append(c, insn{opRet, 0, 0, spans[0].ret})
		}
		return append(c, spans[0].do...)
	}
	mid := len(spans) / 2
	at, low := spans[mid].from, searchSize(spans[:mid])
	if low <= 255 {
		c = append(c, insn{opJGE, uint8(low), 0, at})
	} else {
		// A conditional jump reaches 255 instructions, an unconditional one all.
		c = append(c, insn{opJGE, 0, 1, at}, insn{opJump, 0, 0, uint32(low)})
	}
	return c.search(spans[:mid]).search(spans[mid:])
}

// next and fail are jump targets of an argument's test, until they are known.
const (
	next = 254
	fail = 255
)

// argTest is the test of one condition: it falls through where it holds, and
// otherwise jumps to fail, which the caller fills in.
func argTest(arg specs.LinuxSeccompArg, narrow bool) code {
	lo := uint32(offArgs + 8*arg.Index)
	hi := lo + 4
	v, v2 := arg.Value, arg.ValueTwo
	if narrow {
		return narrowTest(arg.Op, lo, uint32(v), uint32(v2))
	}
	vhi, vlo := uint32(v>>32), uint32(v)
	switch arg.Op {
	case specs.OpEqualTo:
		return code{
			{opLoad, 0, 0, hi}, {opJEQ, 0, fail, vhi},
			{opLoad, 0, 0, lo}, {opJEQ, 0, fail, vlo},
		}
	case specs.OpNotEqual:
		return code{
			{opLoad, 0, 0, hi}, {opJEQ, 0, next, vhi},
			{opLoad, 0, 0, lo}, {opJEQ, fail, 0, vlo},
		}
	case specs.OpMaskedEqual:
		return code{
			{opLoad, 0, 0, hi}, {opAnd, 0, 0, vhi}, {opJEQ, 0, fail, uint32(v2 >> 32)},
			{opLoad, 0, 0, lo}, {opAnd, 0, 0, vlo}, {opJEQ, 0, fail, uint32(v2)},
		}
	case specs.OpGreaterThan, specs.OpGreaterEqual:
		return code{
			{opLoad, 0, 0, hi}, {opJGT, next, 0, vhi}, {opJEQ, 0, fail, vhi},
			{opLoad, 0, 0, lo}, {greater(arg.Op), 0, fail, vlo},
		}
	default: // OpLessThan, OpLessEqual
		return code{
			{opLoad, 0, 0, hi}, {opJGT, fail, 0, vhi}, {opJEQ, 0, next, vhi},
			{opLoad, 0, 0, lo}, {greater(arg.Op), fail, 0, vlo},
		}
	}
}

func narrowTest(op specs.LinuxSeccompOperator, lo, v, v2 uint32) code {
	load := insn{opLoad, 0, 0, lo}
	switch op {
	case specs.OpEqualTo:
		return code{load, {opJEQ, 0, fail, v}}
	case specs.OpNotEqual:
		return code{load, {opJEQ, fail, 0, v}}
	case specs.OpMaskedEqual:
		return code{load, {opAnd, 0, 0, v}, {opJEQ, 0, fail, v2}}
	case specs.OpGreaterThan, specs.OpGreaterEqual:
		return code{load, {greater(op), 0, fail, v}}
	default:
		return code{load, {greater(op), fail, 0, v}}
	}
}

// greater is the comparison that op, or its opposite, is made of.
func greater(op specs.LinuxSeccompOperator) uint16 {
	if op == specs.OpGreaterThan || op == specs.OpLessEqual {
		return opJGT
	}
	return opJGE
}

// rule appends "if all args hold, return ret" and runs off its end otherwise.
func (c code) rule(args []specs.LinuxSeccompArg, narrow bool, ret uint32) code {
	from := len(c)
	for _, a := range args {
		test := argTest(a, narrow)
		for i := range test {
			test[i].jt = settle(test[i].jt, next, len(test)-i-1)
			test[i].jf = settle(test[i].jf, next, len(test)-i-1)
		}
		c = append(c, test...)
	}
	c = append(c, insn{opRet, 0, 0, ret})
	body := c[from:]
	for i := range body {
		body[i].jt = settle(body[i].jt, fail, len(body)-i-1)
		body[i].jf = settle(body[i].jf, fail, len(body)-i-1)
	}
	return c
}

// settle replaces the mark of a jump target by its distance.
func settle(j, mark uint8, distance int) uint8 {
	if j == mark {
		return uint8(distance)
	}
	return j
}
