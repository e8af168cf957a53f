package confine

import specs "github.com/opencontainers/runtime-spec/specs-go"

// Number is the number of the system call name in the table of arch, and
// whether that table has it.
func Number(arch specs.Arch, name string) (uint32, bool) {
	t, ok := specABI(arch)
	if !ok {
		return 0, false
	}
	var buf [2]uint32
	nrs := t.numbers(buf[:0], name)
	if len(nrs) == 0 {
		return 0, false
	}
	return nrs[len(nrs)-1], true
}
