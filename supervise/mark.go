package supervise

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// markWord is in the one line by which we know a file as ours.
const markWord = "Made by coracle supervise"

// mark puts our line into a text: below the line that names an interpreter.
// Its sum is over all the rest, so that an edited file is not overwritten.
func mark(text, system, name, comment string) string {
	sum := sha256.Sum256([]byte(text))
	line := comment + " " + markWord + ": " + system + " " + name + " " + hex.EncodeToString(sum[:8]) + "\n"
	if strings.HasPrefix(text, "#!") {
		first, rest, _ := strings.Cut(text, "\n")
		return first + "\n" + line + rest
	}
	return line + text
}

// Mark is what our line in a file says.
type Mark struct {
	System, Name string
	Intact       bool // nobody has changed the file since
}

// ReadMark finds our line in a file; ok is false where there is none.
func ReadMark(text string) (m Mark, ok bool) {
	var rest []string
	sum := ""
	for i, line := range strings.SplitAfter(text, "\n") {
		if _, after, found := strings.Cut(line, " "+markWord+": "); found && i < 2 && !ok {
			if f := strings.Fields(after); len(f) == 3 {
				m.System, m.Name, sum, ok = f[0], f[1], f[2], true
				continue
			}
		}
		rest = append(rest, line)
	}
	have := sha256.Sum256([]byte(strings.Join(rest, "")))
	m.Intact = hex.EncodeToString(have[:8]) == sum
	return m, ok
}
