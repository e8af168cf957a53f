package applet

import "strings"

// opts are the options of a command line, in their order.
type opts struct{ list []opt }

type opt struct {
	flag  byte
	value string
}

func (o opts) has(flag byte) bool { return o.count(flag) > 0 }

func (o opts) count(flag byte) (n int) {
	for _, x := range o.list {
		if x.flag == flag {
			n++
		}
	}
	return n
}

// last is the value of flag's last appearance.
func (o opts) last(flag byte) (value string, ok bool) {
	for _, x := range o.list {
		if x.flag == flag {
			value, ok = x.value, true
		}
	}
	return value, ok
}

func (o opts) str(flag byte, otherwise string) string {
	if v, ok := o.last(flag); ok {
		return v
	}
	return otherwise
}

func (o opts) all(flag byte) (values []string) {
	for _, x := range o.list {
		if x.flag == flag {
			values = append(values, x.value)
		}
	}
	return values
}

// latest is the last given of several flags that exclude each other, or 0.
func (o opts) latest(flags string) (flag byte) {
	for _, x := range o.list {
		if strings.IndexByte(flags, x.flag) >= 0 {
			flag = x.flag
		}
	}
	return flag
}

// opts reads options as getopt(3) does: spec holds the letters, each with a
// colon if it takes a value; a leading '+' stops at the first operand.
// longs are "name=x" for --name meaning -x. The operands remain in c.args.
func (c *call) opts(spec string, longs ...string) opts {
	var o opts
	var operands []string
	first := strings.HasPrefix(spec, "+")
	args := c.args
	for len(args) > 0 {
		a := args[0]
		switch {
		case a == "--":
			c.args = append(operands, args[1:]...)
			return o
		case strings.HasPrefix(a, "--"):
			args = longOpt(c, &o, spec, longs, args)
		case len(a) > 1 && a[0] == '-':
			args = shortOpts(c, &o, spec, args)
		case first:
			c.args = args
			return o
		default:
			operands = append(operands, a)
			args = args[1:]
		}
	}
	c.args = operands
	return o
}

func shortOpts(c *call, o *opts, spec string, args []string) []string {
	a := args[0]
	for i := 1; i < len(a); i++ {
		at := strings.IndexByte(spec, a[i])
		if at < 0 || a[i] == ':' || a[i] == '+' {
			c.misuse("invalid option -- '%c'", a[i])
		}
		if !(at+1 < len(spec) && spec[at+1] == ':') {
			o.list = append(o.list, opt{flag: a[i]})
			continue
		}
		if i+1 < len(a) {
			o.list = append(o.list, opt{a[i], a[i+1:]})
			return args[1:]
		}
		if len(args) < 2 {
			c.misuse("option requires an argument -- '%c'", a[i])
		}
		o.list = append(o.list, opt{a[i], args[1]})
		return args[2:]
	}
	return args[1:]
}

func longOpt(c *call, o *opts, spec string, longs, args []string) []string {
	name, value, has := strings.Cut(args[0][2:], "=")
	for _, l := range longs {
		flag := l[len(l)-1]
		if l[:len(l)-2] != name {
			continue
		}
		at := strings.IndexByte(spec, flag)
		takes := at >= 0 && at+1 < len(spec) && spec[at+1] == ':'
		switch {
		case !takes && has && flag != 'N': // N takes what it ignores: --color=auto
			c.misuse("option '--%s' takes no value", name)
		case takes && !has:
			if len(args) < 2 {
				c.misuse("option '--%s' requires an argument", name)
			}
			o.list = append(o.list, opt{flag, args[1]})
			return args[2:]
		default:
			o.list = append(o.list, opt{flag, value})
		}
		return args[1:]
	}
	c.misuse("unrecognized option '--%s'", name)
	return nil
}

// want misuses unless the count of operands is in [lo, hi]; hi < 0: no bound.
func (c *call) want(lo, hi int) {
	if len(c.args) < lo {
		c.misuse("missing operand")
	}
	if hi >= 0 && len(c.args) > hi {
		c.misuse("extra operand %q", c.args[hi])
	}
}
