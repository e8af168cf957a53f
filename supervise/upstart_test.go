package supervise

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// job is what a parser of upstart's grammar (init(5) of upstart 1.12) reads: each
// stanza with its words. upstart itself is in no Debian, so this is all that its
// files are tried with.
type job struct {
	stanzas [][]string
}

// parseUpstart reads a job. It knows the stanzas of the manual page and how many
// words each takes.
func parseUpstart(text string) (*job, error) {
	j := &job{}
	lines := strings.Split(strings.ReplaceAll(text, "\\\n", " "), "\n")
	for i := 0; i < len(lines); i++ {
		words, err := upstartWords(lines[i])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		if len(words) == 0 {
			continue
		}
		if err := upstartStanza(words); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		j.stanzas = append(j.stanzas, words)
		if words[len(words)-1] != "script" || words[0] == "end" {
			continue
		}
		for i++; ; i++ {
			if i == len(lines) {
				return nil, fmt.Errorf("script without end script")
			}
			if w := strings.Fields(lines[i]); len(w) == 2 && w[0] == "end" && w[1] == "script" {
				break
			}
		}
	}
	return j, nil
}

// upstartWords splits a line: quotes, parentheses as words of their own, comments.
func upstartWords(line string) ([]string, error) {
	trimmed := strings.TrimSpace(line)
	// A command is for the shell to split.
	for _, prefix := range []string{"exec ", "pre-start exec ", "post-start exec ", "pre-stop exec ", "post-stop exec "} {
		if rest, ok := strings.CutPrefix(trimmed, prefix); ok {
			return append(strings.Fields(prefix), rest), nil
		}
	}
	var words []string
	word, quote, in := "", rune(0), false
	end := func() {
		if in {
			words = append(words, word)
		}
		word, in = "", false
	}
	for _, r := range trimmed {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word += string(r)
		case r == '"' || r == '\'':
			quote, in = r, true
		case r == '#' && !in:
			end()
			return words, nil
		case r == ' ' || r == '\t':
			end()
		case r == '(' || r == ')':
			end()
			words = append(words, string(r))
		default:
			word += string(r)
			in = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quote is not closed")
	}
	end()
	return words, nil
}

func upstartStanza(w []string) error {
	number := func(s string) bool { _, err := strconv.Atoi(s); return err == nil }
	n := len(w)
	ok := false
	switch w[0] {
	case "description", "author", "version", "usage", "chroot", "chdir", "setuid", "setgid", "instance", "umask", "nice", "export":
		ok = n == 2
	case "task", "manual":
		ok = n == 1
	case "script":
		ok = n == 1
	case "exec":
		ok = n == 2
	case "pre-start", "post-start", "pre-stop", "post-stop":
		ok = n == 2 && w[1] == "script" || n == 3 && w[1] == "exec"
	case "env", "emits":
		ok = n >= 2
	case "console":
		ok = n == 2 && slices.Contains([]string{"log", "none", "output", "owner"}, w[1])
	case "expect":
		ok = n == 2 && slices.Contains([]string{"fork", "daemon", "stop"}, w[1])
	case "respawn":
		ok = n == 1 || n == 3 && w[1] == "limit" && w[2] == "unlimited" || n == 4 && w[1] == "limit" && number(w[2]) && number(w[3])
	case "kill":
		ok = n == 3 && (w[1] == "timeout" && number(w[2]) || w[1] == "signal")
	case "reload":
		ok = n == 3 && w[1] == "signal"
	case "normal":
		ok = n >= 3 && w[1] == "exit"
	case "oom":
		ok = n == 3 && w[1] == "score"
	case "limit":
		ok = n == 4
	case "start", "stop":
		if n < 3 || w[1] != "on" {
			return fmt.Errorf("%q wants `on` and an event", w)
		}
		rest, err := upstartEvents(w[2:])
		if err == nil && len(rest) > 0 {
			err = fmt.Errorf("%q is left over", rest)
		}
		return err
	}
	if !ok {
		return fmt.Errorf("unknown stanza %q", w)
	}
	return nil
}

// upstartEvents reads EVENT [ARG…] [and|or EVENT…], with parentheses.
func upstartEvents(w []string) (rest []string, err error) {
	for {
		if len(w) == 0 {
			return nil, fmt.Errorf("an event is missing")
		}
		if w[0] == "(" {
			if w, err = upstartEvents(w[1:]); err != nil {
				return nil, err
			}
			if len(w) == 0 || w[0] != ")" {
				return nil, fmt.Errorf("a parenthesis is not closed")
			}
			w = w[1:]
		} else {
			if slices.Contains([]string{"and", "or", ")"}, w[0]) {
				return nil, fmt.Errorf("%q stands for an event", w[0])
			}
			for len(w) > 0 && !slices.Contains([]string{"and", "or", ")"}, w[0]) {
				w = w[1:]
			}
		}
		if len(w) == 0 || w[0] == ")" {
			return w, nil
		}
		w = w[1:]
	}
}

func (j *job) has(words ...string) bool {
	return slices.ContainsFunc(j.stanzas, func(s []string) bool { return slices.Equal(s, words) })
}

func TestUpstartGrammar(t *testing.T) {
	for _, u := range units() {
		j, err := parseUpstart(text(t, "upstart", u))
		if err != nil {
			t.Errorf("%s: %v", u.Name, err)
			continue
		}
		for _, s := range j.stanzas {
			// Not one more fork is to be followed than happen: none.
			if s[0] == "expect" {
				t.Errorf("%s: %q", u.Name, s)
			}
		}
		if !j.has("exec", sh(u.Exec())) {
			t.Errorf("%s: %q", u.Name, j.stanzas)
		}
		if want := seconds(u.Patience(), "31536000"); !j.has("kill", "timeout", want) {
			t.Errorf("%s: kill timeout %s is missing: %q", u.Name, want, j.stanzas)
		}
		if j.has("respawn") == (u.Restart == "no") {
			t.Errorf("%s: restart %s: %q", u.Name, u.Restart, j.stanzas)
		}
		for _, a := range u.After {
			if !slices.ContainsFunc(j.stanzas, func(s []string) bool { return s[0] == "start" && slices.Contains(s, a) }) {
				t.Errorf("%s does not wait for %s", u.Name, a)
			}
		}
	}
}

// TestUpstartParser makes sure that the check can fail.
func TestUpstartParser(t *testing.T) {
	for _, bad := range []string{
		"expect twice", "kill timeout soon", "start runlevel [2345]", "start on", "start on a and", "start on (a or b",
		"stop on a or or b", "respawn limit 5", "description \"open", "script\ntrue\n", "restart always", "console nowhere", "exec", "start on a ) b",
	} {
		if j, err := parseUpstart(bad); err == nil {
			t.Errorf("%q passes: %q", bad, j.stanzas)
		}
	}
	j, err := parseUpstart("# x\nstart on (runlevel [2345] and (started a or net-device-up IFACE=eth0)) # y\nkill \\\n timeout 5\npre-start script\n\tthis is not a stanza\nend script\n")
	if err != nil || !j.has("kill", "timeout", "5") {
		t.Errorf("%v %v", j, err)
	}
}
