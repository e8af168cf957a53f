// Package argv puts a command line into one canonical shape, reading it as
// Docker's CLI does: flags after operands, bundled shorthands (-it), attached
// values (-p80:80, -eA=B), --flag=value and --flag=false, and "--".
//
// The parser behind it (urfave/cli, on the standard library's flag package)
// would take flags after operands for operands and refuse attached values.
// After Parse it only ever sees --name=value and operands behind "--". The
// texts of errors are those of Docker's CLI, which scripts compare.
package argv

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrHelp says that --help (or -h, where no flag has that shorthand) was asked
// for.
var ErrHelp = errors.New("help asked for")

// Kind is what a flag's value looks like.
type Kind int

// The kinds.
const (
	String Kind = iota
	Bool        // needs no value
	Int
)

// Flag is what must be known of a flag to read it.
type Flag struct {
	Name  string // without dashes
	Short byte   // 0: none
	Kind  Kind
}

// Title is how messages name the flag: "-m, --memory".
func (f Flag) Title() string {
	if f.Short != 0 {
		return "-" + string(f.Short) + ", --" + f.Name
	}
	return "--" + f.Name
}

// UnknownError says that there is no such flag. Name is without dashes.
type UnknownError struct {
	Name string
	Msg  string
}

func (e *UnknownError) Error() string { return e.Msg }

// Parse reads args. With interspersed, flags may follow operands; without, the
// first operand and all behind it are left as they are. flags come back as
// "--name=value" in the order given, booleans as --name=true or =false.
func Parse(known []Flag, interspersed bool, args []string) (flags, operands []string, err error) {
	p := parser{known: known, rest: args}
	for len(p.rest) > 0 {
		arg := p.rest[0]
		switch {
		case arg == "--":
			return p.flags, append(operands, p.rest[1:]...), nil
		case len(arg) < 2 || arg[0] != '-':
			if !interspersed {
				return p.flags, append(operands, p.rest...), nil
			}
			operands = append(operands, arg)
			p.rest = p.rest[1:]
			continue
		}
		p.rest = p.rest[1:]
		if arg[1] == '-' {
			err = p.long(arg)
		} else {
			err = p.short(arg[1:])
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return p.flags, operands, nil
}

type parser struct {
	known []Flag
	rest  []string
	flags []string
}

func (p *parser) long(arg string) error {
	name, value, given := strings.Cut(arg[2:], "=")
	if name == "" || name[0] == '-' {
		return fmt.Errorf("bad flag syntax: %s", arg)
	}
	for _, f := range p.known {
		if f.Name != name {
			continue
		}
		switch {
		case given:
		case f.Kind == Bool:
			value = "true"
		case len(p.rest) == 0:
			return fmt.Errorf("flag needs an argument: --%s", name)
		default:
			value, p.rest = p.rest[0], p.rest[1:]
		}
		return p.add(f, value)
	}
	if name == "help" {
		return ErrHelp
	}
	return &UnknownError{Name: name, Msg: "unknown flag: --" + name}
}

func (p *parser) short(shorts string) error {
	for shorts != "" {
		f, ok := p.byShort(shorts[0])
		if !ok {
			if shorts[0] == 'h' {
				return ErrHelp
			}
			return &UnknownError{Name: shorts[:1], Msg: fmt.Sprintf("unknown shorthand flag: %q in -%s", shorts[0], shorts)}
		}
		rest := shorts[1:]
		var value string
		switch {
		case len(rest) > 1 && rest[0] == '=':
			value, rest = rest[1:], ""
		case f.Kind == Bool:
			value = "true"
		case rest != "":
			value, rest = rest, ""
		case len(p.rest) == 0:
			return fmt.Errorf("flag needs an argument: %q in -%s", shorts[0], shorts)
		default:
			value, p.rest = p.rest[0], p.rest[1:]
		}
		if err := p.add(f, value); err != nil {
			return err
		}
		shorts = rest
	}
	return nil
}

func (p *parser) byShort(c byte) (Flag, bool) {
	for _, f := range p.known {
		if f.Short == c {
			return f, true
		}
	}
	return Flag{}, false
}

func (p *parser) add(f Flag, value string) error {
	switch f.Kind {
	case Bool:
		b, err := strconv.ParseBool(value)
		if err != nil {
			return Invalid(f, value, err)
		}
		value = strconv.FormatBool(b)
	case Int:
		if _, err := strconv.ParseInt(value, 0, strconv.IntSize); err != nil {
			return Invalid(f, value, err)
		}
	}
	p.flags = append(p.flags, "--"+f.Name+"="+value)
	return nil
}

// Invalid is Docker's text for a flag whose value cannot be read.
func Invalid(f Flag, value string, err error) error {
	return fmt.Errorf("invalid argument %q for %q flag: %w", value, f.Title(), err)
}
