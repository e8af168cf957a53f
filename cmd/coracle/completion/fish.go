package completion

import (
	"fmt"
	"strings"
)

func fish(b *strings.Builder, p Program) {
	b.WriteString("# fish completion for coracle: made by 'coracle completion fish'\n\n")
	fmt.Fprintf(b, fishWalk, spelt(p.Globals, true), strings.Join(p.groups(), " "))
	b.WriteString("complete -c coracle -f -n __coracle_missing -l help -d 'Print the help'\n")
	for _, f := range p.Globals {
		fishFlag(b, "__coracle_missing", f)
	}
	for _, g := range append([]string{""}, p.groups()...) {
		for _, m := range p.members(g) {
			fmt.Fprintf(b, "complete -c coracle -f -n %s -a %s -d %s\n", fishQuote(strings.TrimSpace("__coracle_missing "+g)), m.word, fishQuote(m.usage))
		}
	}
	for _, c := range p.Commands {
		at := "__coracle_at"
		for _, s := range c.Spellings {
			at += " " + fishQuote(s)
		}
		for _, f := range c.Flags {
			fishFlag(b, at, f)
		}
		o := operandOf(c.Operands)
		list := strings.Join(o.words, " ")
		if o.kind != "" {
			list = "(__coracle_names " + o.kind + ")"
		}
		if list != "" {
			if !o.repeat {
				at = "__coracle_first " + fishQuote(spelt(c.Flags, true)) + strings.TrimPrefix(at, "__coracle_at")
			}
			fmt.Fprintf(b, "complete -c coracle -f -n %s -a %s\n", fishQuote(at), fishQuote(list))
		}
	}
	b.WriteString("\nfunction __coracle_names\n\tset -l program (commandline -opc)[1]\n\tswitch $argv[1]\n")
	for _, q := range p.queries() {
		fmt.Fprintf(b, "\t\tcase %s\n\t\t\t$program %s 2>/dev/null\n", q.kind, q.args)
	}
	b.WriteString("\t\tcase object\n\t\t\t__coracle_names container\n\t\t\t__coracle_names image\n\tend\nend\n")
}

const fishWalk = `# __coracle_words prints the words of the command that the line holds so far.
function __coracle_words
	set -l valued %s
	set -l groups %s
	set -l skip 0
	set -l found
	for word in (commandline -opc)[2..-1]
		if test $skip = 1
			set skip 0
			continue
		end
		if contains -- $word $valued
			set skip 1
			continue
		end
		string match -q -- '-*' $word; and continue
		set -a found $word
		contains -- "$found" $groups; or break
	end
	# A flag that wants its value is no place for a word of ours.
	test $skip = 1; and echo -; or string join ' ' $found
end

# __coracle_first is true where the first operand of a command is to be named,
# which is of one of the spellings $argv[2..-1] and has the flags $argv[1] that
# want a value.
function __coracle_first
	set -l now (__coracle_words)
	contains -- "$now" $argv[2..-1]; or return 1
	set -l valued (string split ' ' -- $argv[1])
	set -l left (string split ' ' -- $now)
	set -l skip 0
	for word in (commandline -opc)[2..-1]
		if test $skip = 1
			set skip 0
		else if test (count $left) -gt 0
			test $word = $left[1]; and set -e left[1]
		else if contains -- $word $valued
			set skip 1
		else if not string match -q -- '-*' $word
			return 1
		end
	end
	test $skip = 0
end

# __coracle_missing is true where a command (of the group $argv) is to be named.
function __coracle_missing
	set -l now (__coracle_words)
	test "$now" = "$argv"
end

# __coracle_at is true behind a command of one of these spellings.
function __coracle_at
	set -l now (__coracle_words)
	contains -- "$now" $argv
end

`

func fishFlag(b *strings.Builder, at string, f Flag) {
	fmt.Fprintf(b, "complete -c coracle -n %s -l %s", fishQuote(at), f.Name)
	if f.Short != "" {
		fmt.Fprintf(b, " -s %s", f.Short)
	}
	if f.Value != "" {
		b.WriteString(" -r")
	}
	fmt.Fprintf(b, " -d %s\n", fishQuote(f.Usage))
}

// fishQuote is s as one word of fish, where only \ and ' are special in quotes.
func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}
