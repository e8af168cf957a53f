package supervise

import (
	"strconv"
	"strings"
	"time"
)

// plain tells whether no shell and no supervisor reads anything into s.
func plain(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_@+=:,./-", r))
	}) < 0
}

// shWord is a word as a POSIX shell reads it.
func shWord(s string) string {
	if plain(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func words(v any, quote func(string) string) string {
	switch v := v.(type) {
	case string:
		return quote(v)
	case []string:
		out := make([]string, len(v))
		for i, s := range v {
			out[i] = quote(s)
		}
		return strings.Join(out, " ")
	}
	return ""
}

func sh(v any) string { return words(v, shWord) }

// shArgs are words within double quotes, which a shell reads again.
func shArgs(v []string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(sh(v))
}

// systemd is a command line of a unit file, or one word of another setting
// (systemd.service(5), "Command lines"). Variables are looked for in the
// arguments of a command, but not in its path.
func systemd(v any) string {
	if args, ok := v.([]string); ok && len(args) > 0 {
		rest := words(args[1:], func(s string) string { return systemdWord(strings.ReplaceAll(s, "$", "$$")) })
		return strings.TrimSpace(systemdWord(args[0]) + " " + rest)
	}
	return words(v, systemdWord)
}

func systemdWord(s string) string {
	if plain(strings.NewReplacer("%", "", "$", "").Replace(s)) {
		return strings.ReplaceAll(s, "%", "%%")
	}
	return `"` + strings.NewReplacer("%", "%%", `\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// supervisord splits like a shell, after % was expanded.
func supervisord(v any) string {
	return words(v, func(s string) string { return strings.ReplaceAll(shWord(s), "%", "%%") })
}

// seconds is a duration, rounded up; without is what stands for no bound.
func seconds(d time.Duration, without string) string {
	if d < 0 {
		return without
	}
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
