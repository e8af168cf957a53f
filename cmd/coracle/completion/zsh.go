package completion

import (
	"fmt"
	"strings"
)

func zsh(b *strings.Builder, p Program) {
	b.WriteString("#compdef coracle\n# zsh completion for coracle: made by 'coracle completion zsh'\n\n")
	b.WriteString("_coracle_names() {\n\tlocal -a names\n\tcase $1 in\n")
	for _, q := range p.queries() {
		fmt.Fprintf(b, "\t%s) names=(${(f)\"$(_call_program %ss $coracle_program %s 2>/dev/null)\"}) ;;\n", q.kind, q.kind, strings.ReplaceAll(quote(q.args), "!", `\!`))
	}
	b.WriteString("\tobject)\n\t\t_coracle_names container\n\t\t_coracle_names image\n\t\treturn\n\t\t;;\n\tesac\n\tcompadd -a names\n}\n\n")
	b.WriteString("_coracle_members() {\n\tlocal -a members\n\tcase $1 in\n")
	for _, g := range append([]string{""}, p.groups()...) {
		fmt.Fprintf(b, "\t%s)\n\t\tmembers=(\n", quote(g))
		for _, m := range p.members(g) {
			fmt.Fprintf(b, "\t\t\t%s\n", quote(m.word+":"+strings.ReplaceAll(m.usage, ":", `\:`)))
		}
		b.WriteString("\t\t)\n\t\t;;\n")
	}
	b.WriteString("\tesac\n\t_describe command members\n}\n\n_coracle() {\n\tlocal coracle_program=$words[1] curcontext=$curcontext state line found\n\ttypeset -A opt_args\n\t_arguments -C")
	zshFlags(b, p.Globals)
	b.WriteString(" \\\n\t\t'1:command: _coracle_members' '*::argument:->rest' && return\n\t[[ $state == rest ]] || return 1\n\tfound=$words[1]\n")
	fmt.Fprintf(b, "\tcase $found in\n\t(%s)\n\t\tif (( CURRENT == 2 )); then\n\t\t\t_coracle_members $found\n\t\t\treturn\n\t\tfi\n\t\tfound=\"$found $words[2]\"\n\t\tshift words\n\t\t(( CURRENT-- ))\n\t\t;;\n\tesac\n\tcase $found in\n", strings.Join(p.groups(), "|"))
	for _, c := range p.Commands {
		fmt.Fprintf(b, "\t(%s)\n\t\t_arguments -s", patterns(c.Spellings))
		zshFlags(b, c.Flags)
		fmt.Fprintf(b, " \\\n\t\t\t%s\n\t\t;;\n", zshOperands(operandOf(c.Operands)))
	}
	// Autoloaded from fpath the file is the function's body; sourced, it is not.
	b.WriteString("\tesac\n}\n\nif [ \"$funcstack[1]\" = _coracle ]; then\n\t_coracle \"$@\"\nelse\n\tcompdef _coracle coracle\nfi\n")
}

func zshFlags(b *strings.Builder, flags []Flag) {
	for _, f := range flags {
		usage := strings.NewReplacer("[", `\[`, "]", `\]`, ":", `\:`).Replace(f.Usage)
		value, equals := "", ""
		if f.Value != "" {
			value, equals = ":"+strings.ReplaceAll(f.Value, ":", " ")+":_files", "="
		}
		// A list may be given again and again.
		again := ""
		if f.Value == "list" {
			again = "*"
		}
		fmt.Fprintf(b, " \\\n\t\t\t%s", quote(again+"--"+f.Name+equals+"["+usage+"]"+value))
		if f.Short != "" {
			plus := ""
			if f.Value != "" {
				plus = "+"
			}
			fmt.Fprintf(b, " %s", quote(again+"-"+f.Short+plus+"["+usage+"]"+value))
		}
	}
}

// A leading space makes _arguments call the function with these words alone.
func zshOperands(o operand) string {
	switch {
	case len(o.words) > 0:
		return quote("1:argument:(" + strings.Join(o.words, " ") + ")")
	case o.kind == "":
		return "'*:file:_files'"
	case o.repeat:
		return quote("*:" + o.kind + ": _coracle_names " + o.kind)
	}
	return quote("1:"+o.kind+": _coracle_names "+o.kind) + " '*:: :_files'"
}
