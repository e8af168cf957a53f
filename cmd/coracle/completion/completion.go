// Package completion writes the scripts by which shells complete coracle's
// command lines, from the tree of its commands. Names of containers, images and
// the like are asked of the program when they are needed.
package completion

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Program is what is known of the command line.
type Program struct {
	Globals  []Flag
	Commands []Command
}

// Flag is an option of one command.
type Flag struct {
	Name  string // without dashes
	Short string // one letter; "" for none
	Value string // what kind of value; "" for a switch
	Usage string
}

// Command is one command.
type Command struct {
	Spellings []string // "ps", "container ls": the usual one first
	Usage     string
	Operands  string // as the help shows them: "CONTAINER [CONTAINER...]"
	Flags     []Flag
}

// Shells are those that Write knows, in the order in which to name them.
func Shells() []string { return []string{"bash", "zsh", "fish"} }

// Write writes the script for one of Shells.
func Write(w io.Writer, shell string, p Program) error {
	var b strings.Builder
	switch shell {
	case "bash":
		bash(&b, p)
	case "zsh":
		zsh(&b, p)
	case "fish":
		fish(&b, p)
	default:
		return fmt.Errorf("no completion for the shell %q: there are %s", shell, strings.Join(Shells(), ", "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Path is where a shell looks for the script, below a prefix like /usr/local:
// bash-completion's and fish's directories are found through XDG_DATA_DIRS, zsh's
// is in its built-in fpath.
func Path(shell string) string {
	switch shell {
	case "bash":
		return "share/bash-completion/completions/coracle"
	case "zsh":
		return "share/zsh/site-functions/_coracle"
	}
	return "share/fish/vendor_completions.d/coracle.fish"
}

// operand is what stands where a command's operands do.
type operand struct {
	kind   string   // a key of queries, or ""
	words  []string // the only ones there are
	repeat bool     // all operands are of that kind, not only the first
}

// operandOf reads how the help shows operands: Docker's words for them name
// the kind.
func operandOf(usage string) operand {
	first, rest, _ := strings.Cut(usage, " ")
	name := strings.Trim(first, "[].")
	name, _, _ = strings.Cut(name, "[")
	o := operand{repeat: strings.HasSuffix(strings.TrimRight(usage, "]"), name+"...")}
	switch {
	case name == "CONTAINER":
		o.kind = "container"
	case name == "IMAGE", name == "SOURCE_IMAGE", name == "REPOSITORY":
		o.kind = "image"
	case name == "VOLUME":
		o.kind = "volume"
	case name == "NETWORK":
		o.kind = "network"
	case name == "NAME|ID":
		o.kind = "object"
	case rest == "" && strings.Contains(name, "|") && name == strings.ToLower(name) && !strings.HasPrefix(name, "file"):
		o.words = strings.Split(name, "|")
	}
	return o
}

// query is the command that lists what an operand may be.
type query struct{ kind, needs, args string }

// queries are those that the program can answer.
func (p Program) queries() []query {
	all := []query{
		{"container", "ps", `ps --all --format '{{.Names}}'`},
		{"image", "images", `images --format '{{.Repository}}:{{.Tag}}'`},
		{"volume", "volume ls", `volume ls --quiet`},
		{"network", "network ls", `network ls --format '{{.Name}}'`},
	}
	return slices.DeleteFunc(all, func(q query) bool { return !p.has(q.needs) })
}

func (p Program) has(spelling string) bool {
	return slices.ContainsFunc(p.Commands, func(c Command) bool { return slices.Contains(c.Spellings, spelling) })
}

// groups are the first words of the commands of two words.
func (p Program) groups() []string {
	var all []string
	for _, c := range p.Commands {
		for _, s := range c.Spellings {
			if first, _, two := strings.Cut(s, " "); two {
				all = append(all, first)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// member is one word that may follow a group, or the program's name.
type member struct{ word, usage string }

// members of a group; of "", the words that may follow the program's name.
func (p Program) members(group string) []member {
	var all []member
	for _, c := range p.Commands {
		for _, s := range c.Spellings {
			first, second, two := strings.Cut(s, " ")
			switch {
			case two && first == group:
				all = append(all, member{second, c.Usage})
			case !two && group == "":
				all = append(all, member{first, c.Usage})
			}
		}
	}
	if group == "" {
		for _, g := range p.groups() {
			// A group may be a command by itself.
			if !p.has(g) {
				all = append(all, member{g, "Manage " + g + "s"})
			}
		}
	}
	slices.SortFunc(all, func(a, b member) int { return strings.Compare(a.word, b.word) })
	return all
}

func words(all []member) string {
	var w []string
	for _, m := range all {
		w = append(w, m.word)
	}
	return strings.Join(w, " ")
}

// spelt is a flag as it is typed: "--all -a".
func spelt(flags []Flag, valuedOnly bool) string {
	var w []string
	for _, f := range flags {
		if valuedOnly && f.Value == "" {
			continue
		}
		w = append(w, "--"+f.Name)
		if f.Short != "" {
			w = append(w, "-"+f.Short)
		}
	}
	return strings.Join(w, " ")
}

// quote is s as one word of a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// patterns are the spellings as a shell's case has them.
func patterns(spellings []string) string {
	q := make([]string, len(spellings))
	for i, s := range spellings {
		q[i] = quote(s)
	}
	return strings.Join(q, "|")
}
