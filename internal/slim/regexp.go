package main

import (
	"errors"
	"regexp"
	"strings"
)

// late compiles an expression when it is first used.
const late = `

// late is an expression of MustCompile that nothing used yet.
type late struct {
	once sync.Once
	re   *Regexp
}

func (l *late) compile(expr string) *Regexp {
	l.once.Do(func() {
		re, err := Compile(expr)
		if err != nil {
			panic("regexp: Compile(" + quote(expr) + "): " + err.Error())
		}
		l.re = re
	})
	return l.re
}

// ready is what re stands for.
func (re *Regexp) ready() *Regexp {
	if re.late == nil {
		return re
	}
	return re.late.compile(re.expr)
}
`

// method begins a method that needs the compiled program: all that are exported
// but those that tell or set the text.
var method = regexp.MustCompile(`(?m)^func \(re \*Regexp\) ([A-Z]\w*)\(.*\{$`)

// compiledLate changes package regexp: an expression given to MustCompile, which
// most packages do when they are initialised, is compiled when it is first used.
// About sixty are there at our start, most never used: 0.25 of 1.5 ms. One that is
// wrong panics at its first use.
func compiledLate(text string) (string, error) {
	text, err := swap(text, "type Regexp struct {\n", "type Regexp struct {\n\tlate *late // set where MustCompile made it; then only expr is, too\n")
	if err != nil {
		return "", err
	}
	const must = "\tregexp, err := Compile(str)\n"
	before, after, found := strings.Cut(text, must)
	_, after, ends := strings.Cut(after, "\n}\n")
	if !found || !ends {
		return "", errors.New("no MustCompile that calls Compile")
	}
	text = before + "\treturn &Regexp{expr: str, late: new(late)}\n}\n" + after
	n := 0
	text = method.ReplaceAllStringFunc(text, func(line string) string {
		switch method.FindStringSubmatch(line)[1] {
		case "String", "AppendText", "MarshalText", "UnmarshalText":
			return line
		case "Longest": // sets a field of re itself
			n++
			return line + "\n\tif re.late != nil {\n\t\t*re = *re.ready()\n\t}"
		}
		n++
		return line + "\n\tre = re.ready()"
	})
	if n < 30 {
		return "", errors.New("not the methods that are known")
	}
	return text + late, nil
}
