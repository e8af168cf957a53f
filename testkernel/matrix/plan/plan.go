// Package plan is what matrix tells the program inside a machine, and how that
// one's output is divided into steps.
package plan

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Plan is what to run. Paths are relative to the file that it is in.
type Plan struct {
	Steps []Step
}

// Step is one program.
type Step struct {
	Name    string
	Program string
	Args    []string
	Dir     string
	Seconds int
}

// Mark is a line between the output of steps.
type Mark struct {
	Step    string
	Ended   bool
	Code    int
	Seconds float64
	Error   string `json:",omitempty"`
}

// sign begins a Mark's line: "record separator", as in RFC 7464.
const sign = "\x1e"

// WriteMark writes m on a line of its own.
func WriteMark(w io.Writer, m Mark) {
	data, err := json.Marshal(m)
	if err == nil {
		fmt.Fprintf(w, "\n%s%s\n", sign, data)
	}
}

// ReadMark tells whether line is a Mark, and which.
func ReadMark(line string) (Mark, bool) {
	text, ok := strings.CutPrefix(line, sign)
	var m Mark
	ok = ok && json.Unmarshal([]byte(text), &m) == nil
	return m, ok
}
