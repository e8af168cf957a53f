package load

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
)

// formats has compose-go know the "raw" format of an env_file, which docker compose
// adds to it: the lines that `docker run --env-file` reads, quotes and dollar signs
// as they stand.
func formats() {
	dotenv.RegisterFormat("raw", raw)
}

func raw(r io.Reader, filename string, vars map[string]string, lookup func(key string) (string, bool)) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxSize)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimLeft(strings.TrimPrefix(lines.Text(), "\ufeff"), " \t")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		switch {
		case key == "":
			return fmt.Errorf("%s:%d: no variable name on line '%s'", filename, n, line)
		case strings.ContainsAny(key, " \t"):
			return fmt.Errorf("%s:%d: variable '%s' contains whitespaces", filename, n, key)
		case !ok && lookup == nil:
			continue
		case !ok:
			if value, ok = lookup(key); !ok {
				continue
			}
		}
		vars[key] = value
	}
	return lines.Err()
}
