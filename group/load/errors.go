package load

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/compose-spec/compose-go/v2/errdefs"
)

// explain makes compose-go's errors one line that says what to change.
func explain(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if errors.Is(err, errdefs.ErrNotFound) && strings.HasPrefix(text, "no configuration file provided") {
		return ErrNoFile
	}
	for _, class := range []string{"invalid compose project", "not found", "no such service", "empty compose file"} {
		text = strings.TrimSuffix(text, ": "+class)
	}
	for _, r := range rewrites() {
		if m := r.re.FindStringSubmatch(text); m != nil {
			text = r.say(m)
			break
		}
	}
	if circle, ok := strings.CutPrefix(text, "Circular reference:\n"); ok {
		text = "circular extends: " + strings.Join(strings.Fields(circle), " ")
	}
	return &Error{Msg: text, Err: err}
}

// Error is an error in a Compose file.
type Error struct {
	Msg string
	Err error
}

func (e *Error) Error() string { return e.Msg }
func (e *Error) Unwrap() error { return e.Err }

type rewrite struct {
	re  *regexp.Regexp
	say func(m []string) string
}

// rewrites are compose-go's texts that do not tell what to do.
func rewrites() []rewrite {
	return []rewrite{
		{regexp.MustCompile(`^no such service: (.+)$`), func(m []string) string {
			return "no such service: " + m[1]
		}},
		{regexp.MustCompile(`^service "(.+)" refers to undefined (network|volume|secret|config) (.+)$`), func(m []string) string {
			return fmt.Sprintf("service %q refers to undefined %s %s: declare it under %ss", m[1], m[2], strings.Trim(m[3], `"`), m[2])
		}},
		{regexp.MustCompile(`^service "(.+)" depends on undefined service "?([^"]+)"?$`), func(m []string) string {
			return fmt.Sprintf("service %q depends on undefined service %q", m[1], m[2])
		}},
		{regexp.MustCompile(`^invalid interpolation format for (\S+)\.\nYou may need to escape any \$ with another \$\.\n((?s:.*))$`), func(m []string) string {
			return fmt.Sprintf("invalid interpolation format for %s: %q; write $$ where a dollar sign is meant", m[1], m[2])
		}},
		{regexp.MustCompile(`^service "(.+)" has neither an image nor a build context specified$`), func(m []string) string {
			return fmt.Sprintf("service %q has no image: name one under image", m[1])
		}},
	}
}
