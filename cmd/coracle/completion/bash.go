package completion

import (
	"fmt"
	"strings"
)

// bash writes a script that needs nothing of the package bash-completion and
// works from bash 3.2 on, which old servers have.
func bash(b *strings.Builder, p Program) {
	b.WriteString("# bash completion for coracle: made by 'coracle completion bash'\n\n")
	b.WriteString("# _coracle_about sets what is known of the command $1.\n_coracle_about() {\n\tflags= valued= kind= repeat=\n\tcase \"$1\" in\n")
	for _, c := range p.Commands {
		o := operandOf(c.Operands)
		fmt.Fprintf(b, "\t%s)\n\t\tflags=%s\n\t\tvalued=%s\n", patterns(c.Spellings), quote(spelt(c.Flags, false)+" --help"), quote(spelt(c.Flags, true)))
		kind := o.kind
		if len(o.words) > 0 {
			kind = "words " + strings.Join(o.words, " ")
		}
		fmt.Fprintf(b, "\t\tkind=%s\n", quote(kind))
		if o.repeat {
			b.WriteString("\t\trepeat=y\n")
		}
		b.WriteString("\t\t;;\n")
	}
	b.WriteString("\tesac\n}\n\n")
	b.WriteString("# _coracle_names lists the objects of the kind $2, asking the program $1.\n_coracle_names() {\n\tcase \"$2\" in\n")
	for _, q := range p.queries() {
		fmt.Fprintf(b, "\t%s) \"$1\" %s ;;\n", q.kind, q.args)
	}
	b.WriteString("\tobject)\n\t\t_coracle_names \"$1\" container\n\t\t_coracle_names \"$1\" image\n\t\t;;\n\twords*) echo \"${2#words }\" ;;\n\tesac 2>/dev/null\n}\n\n")
	b.WriteString("# _coracle_members lists the words that may follow the group $1.\n_coracle_members() {\n\tcase \"$1\" in\n")
	for _, g := range append([]string{""}, p.groups()...) {
		fmt.Fprintf(b, "\t%s) echo %s ;;\n", quote(g), quote(words(p.members(g))))
	}
	b.WriteString("\t*) return 1 ;;\n\tesac\n}\n\n")
	fmt.Fprintf(b, bashWalk, quote(spelt(p.Globals, false)+" --help"), quote(spelt(p.Globals, true)))
}

const bashWalk = `_coracle() {
	local line=${COMP_LINE:0:COMP_POINT} words cur= program found= ask=y count=0 word i next=
	local flags=%s valued=%s kind= repeat=
	read -ra words <<<"$line"
	case $line in
	*[[:space:]]) ;;
	*)
		i=$((${#words[@]} - 1))
		cur=${words[i]}
		unset "words[$i]"
		;;
	esac
	program=${words[0]}
	COMPREPLY=()
	# What is left of the word to complete says where we are: behind a flag that
	# wants a value, before the command, or among its operands.
	for word in "${words[@]:1}"; do
		if [ -n "$next" ]; then
			next=
			continue
		fi
		case $word in
		--) ;;
		-*) case " $valued " in *" $word "*) next=y ;; esac ;;
		*)
			if [ -n "$ask" ]; then
				found="${found:+$found }$word"
				if ! _coracle_members "$found" >/dev/null; then
					_coracle_about "$found"
					ask=
				fi
			else
				count=$((count + 1))
			fi
			;;
		esac
	done
	if [ -n "$next" ]; then
		return # files
	elif [ "${cur:0:1}" = - ]; then
		word=$flags
	elif [ -n "$ask" ]; then
		word=$(_coracle_members "$found")
	elif [ -n "$kind" ] && { [ "$count" = 0 ] || [ -n "$repeat" ]; }; then
		word=$(_coracle_names "$program" "$kind")
	else
		return # files
	fi
	# bash takes a colon for the end of a word; what is before it is there already.
	local before=
	case $cur in
	*:*) [ "${COMP_WORDBREAKS//:/}" = "$COMP_WORDBREAKS" ] || before=${cur%%:*}: ;;
	esac
	# -W expands its words: names hold no $ or backquotes.
	for i in $(compgen -W "$word" -- "$cur"); do
		COMPREPLY[${#COMPREPLY[@]}]=${i#"$before"}
	done
}

complete -o default -F _coracle coracle
`
