package completion

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// program is a small tree with all that there is: groups, values, kinds.
func program() Program {
	return Program{
		Globals: []Flag{{Name: "root", Value: "dir", Usage: "Where it's kept"}, {Name: "debug", Short: "D", Usage: "Print [more]: all"}},
		Commands: []Command{
			{Spellings: []string{"run", "container run"}, Usage: "Run it: now", Operands: "IMAGE [COMMAND] [ARG...]",
				Flags: []Flag{{Name: "env", Short: "e", Value: "list", Usage: "A [b]"}, {Name: "rm", Usage: "Remove 'it'"}, {Name: "read-only", Usage: "x"}}},
			{Spellings: []string{"ps", "container ls", "container ps"}, Usage: "List", Flags: []Flag{{Name: "all", Short: "a", Usage: "All"}}},
			{Spellings: []string{"rm", "container rm"}, Usage: "Remove", Operands: "CONTAINER [CONTAINER...]"},
			{Spellings: []string{"images", "image ls"}, Usage: "List images", Operands: "[REPOSITORY[:TAG]]"},
			{Spellings: []string{"inspect"}, Usage: "Look", Operands: "NAME|ID [NAME|ID...]"},
			{Spellings: []string{"completion"}, Usage: "Complete", Operands: "bash|zsh|fish"},
			{Spellings: []string{"load"}, Usage: "Load", Operands: "file|- [REPOSITORY[:TAG]]"},
		},
	}
}

// cases are lines to be completed, with what must come of them: all of it, in
// any order; nothing means that files are offered.
var cases = []struct{ line, want string }{
	{"coracle r", "rm run"},
	{"coracle co", "completion container"},
	{"coracle container ", "ls ps rm run"},
	{"coracle container r", "rm run"},
	{"coracle --root /x container l", "ls"},
	{"coracle --root ru", ""},
	{"coracle run --r", "--read-only --rm"},
	{"coracle container run --r", "--read-only --rm"},
	{"coracle run ", "app:1 box:latest"},
	{"coracle run --rm b", "box:latest"},
	{"coracle run -e A=b b", "box:latest"},
	{"coracle run box ", ""},
	{"coracle run -e ", ""},
	{"coracle rm w", "web web2"},
	{"coracle rm web d", "db"},
	{"coracle image ls a", "app:1"},
	{"coracle inspect ", "app:1 box:latest db web web2"},
	{"coracle completion ", "bash fish zsh"},
	{"coracle completion bash ", ""},
	{"coracle load ", ""},
}

// world is a directory with the script and a coracle that answers the script's
// questions; returned is the script's path and the PATH to use.
func world(t *testing.T, shell string) (script, path string) {
	t.Helper()
	dir := t.TempDir()
	var b bytes.Buffer
	if err := Write(&b, shell, program()); err != nil {
		t.Fatal(err)
	}
	script = filepath.Join(dir, "script")
	answers := "#!/bin/sh\ncase \"$*\" in\n'ps --all --format {{.Names}}') printf 'web\\nweb2\\ndb\\n' ;;\n'images --format {{.Repository}}:{{.Tag}}') printf 'box:latest\\napp:1\\n' ;;\n*) exit 1 ;;\nesac\n"
	for name, f := range map[string]struct {
		text string
		mode os.FileMode
	}{"script": {b.String(), 0o644}, "coracle": {answers, 0o755}, "setup": {zshSetup, 0o644}} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(f.text), f.mode); err != nil {
			t.Fatal(err)
		}
	}
	return script, dir + ":" + os.Getenv("PATH")
}

// complete runs the shell with that program on every case and compares what it
// prints, a line for each case with the words that it would offer.
func complete(t *testing.T, want func(i int) string, name string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs the program %s", name)
	}
	script, path := world(t, name)
	for _, c := range cases {
		args = append(args, c.line)
	}
	cmd := exec.Command(name, args...)
	cmd.Env = []string{"PATH=" + path, "SCRIPT=" + script, "HOME=" + filepath.Dir(script), "LC_ALL=C", "TERM=dumb"}
	cmd.Dir = filepath.Join(filepath.Dir(script), "empty") // no files to offer
	if err := os.Mkdir(cmd.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(cases) || stderr.Len() > 0 {
		t.Fatalf("%d lines for %d cases: %s\n%s", len(lines), len(cases), out, &stderr)
	}
	for i, c := range cases {
		got := strings.Fields(lines[i])
		slices.Sort(got)
		if g := strings.Join(slices.Compact(got), " "); g != want(i) {
			t.Errorf("%q: got %q, want %q", c.line, g, want(i))
		}
	}
}

func plainly(i int) string { return cases[i].want }

func TestBash(t *testing.T) {
	complete(t, plainly, "bash", "--norc", "-c", `set -u; source "$SCRIPT"; COMP_WORDBREAKS=' '
for line; do COMP_LINE=$line COMP_POINT=${#line}; _coracle; echo "${COMPREPLY[*]-}"; done`, "bash")
}

// TestBashColon: what is before a colon is on the line already.
func TestBashColon(t *testing.T) {
	script, path := world(t, "bash")
	cmd := exec.Command("bash", "--norc", "-c", `source "$SCRIPT"; COMP_WORDBREAKS=' :'; COMP_LINE='coracle run box:l' COMP_POINT=17; _coracle; echo "${COMPREPLY[@]}"`)
	cmd.Env = []string{"PATH=" + path, "SCRIPT=" + script}
	if out, err := cmd.Output(); err != nil || string(out) != "latest\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestFish(t *testing.T) {
	complete(t, plainly, "fish", "--no-config", "-c", `source $SCRIPT
for line in $argv; echo (complete -C $line | string replace -r '\t.*' ''); end`)
}

// TestZsh completes in a real line editor, by a terminal of zsh's own.
func TestZsh(t *testing.T) {
	complete(t, plainly, "zsh", "-f", "-c", zshHarness, "zsh")
}

// zshHarness types each line and a TAB. The matches are written down by a
// compadd that stands before the real one, a further key ends the line.
const zshHarness = `zmodload zsh/zpty zsh/zselect
export OUT=$PWD/../out; : > $OUT
zpty -b z zsh -f -i
zpty -w z "source $PWD/../setup"
for line; do
	: > $OUT
	zpty -w -n z "$line"$'\t\C-g'
	for ((i = 0; i < 500; i++)); do
		zpty -t z && zpty -r -t z junk 2>/dev/null
		[[ "$(<$OUT)" == *END* ]] && break
		zselect -t 1
	done
	print -r -- ${${(f)"$(<$OUT)"}:#END}
done
zpty -d z`

const zshSetup = `PROMPT=; autoload -U compinit; compinit -D -u; source $SCRIPT
compadd() {
	if [[ ${@[1,(i)(-|--)]} != *-(O|A|D)\ * ]]; then
		local -a hits
		builtin compadd -A hits "$@"
		print -rl -- $hits >> $OUT
	fi
	builtin compadd "$@"
}
ended() { print -r -- END >> $OUT; BUFFER=; }
zle -N ended; bindkey '^G' ended
setopt nolistambiguous nobeep; unsetopt automenu
`

func TestUnknownShell(t *testing.T) {
	if err := Write(&bytes.Buffer{}, "tcsh", program()); err == nil {
		t.Error("no error")
	}
}
