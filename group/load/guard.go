package load

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	"go.yaml.in/yaml/v4"
)

// The bounds of one file: people's largest are some hundred kilobytes. A file
// of 4 MB takes compose-go about 600 MB of memory.
const (
	maxSize  = 4 << 20
	maxNodes = 200_000 // with every alias written out
)

// guard looks at the files before compose-go does: their size, their syntax
// (with line and column), and what their anchors make of them.
func guard(o *cli.ProjectOptions) error {
	for _, path := range o.ConfigPaths {
		if path == "-" {
			continue
		}
		if err := inspect(path); err != nil {
			return err
		}
	}
	return nil
}

func inspect(path string) error {
	st, err := os.Stat(path)
	var pe *fs.PathError
	switch {
	case errors.As(err, &pe):
		return fmt.Errorf("open %s: %w", path, pe.Err)
	case err != nil:
		return err
	case st.IsDir():
		return fmt.Errorf("%s is a directory: name the Compose file in it", path)
	case st.Size() > maxSize:
		return fmt.Errorf("%s: %d bytes; a Compose file may have %d: split it with include", path, st.Size(), maxSize)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return check(path, data)
}

func check(path string, data []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return syntax(path, data, err)
	}
	c := counter{known: map[*yaml.Node]int{}}
	if n := c.count(&doc); n > maxNodes || c.loop != nil {
		at := c.loop
		if at == nil {
			at = c.worst
		}
		if c.loop != nil {
			return fmt.Errorf("%s:%d:%d: anchor %q contains itself", path, at.Line, at.Column, at.Value)
		}
		if at == nil {
			return fmt.Errorf("%s: %d values; a Compose file may have %d: split it with include", path, n, maxNodes)
		}
		return fmt.Errorf("%s:%d:%d: alias %q makes the file grow to more than %d values", path, at.Line, at.Column, at.Value, maxNodes)
	}
	return nil
}

// counter counts a document's values with every alias written out, without
// writing them out.
type counter struct {
	known map[*yaml.Node]int
	loop  *yaml.Node
	worst *yaml.Node // the first alias with which it is too much
}

func (c *counter) count(n *yaml.Node) int {
	if size, ok := c.known[n]; ok {
		return size // -1: we are in it
	}
	c.known[n] = -1
	size := 1
	for _, sub := range n.Content {
		size = min(size+c.count(sub), maxNodes+1)
	}
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		switch inner := c.count(n.Alias); {
		case inner < 0:
			c.loop = n
		default:
			size = min(size+inner, maxNodes+1)
		}
		if size > maxNodes && c.worst == nil {
			c.worst = n
		}
	}
	c.known[n] = size
	return size
}

// syntax is a parser's error as file:line:column: what.
func syntax(path string, data []byte, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	m := regexp.MustCompile(`^(?s:(.*\D))?line (\d+)(?:, column (\d+))?: (.*)$`).FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("%s: %s", path, text)
	}
	line, _ := strconv.Atoi(m[2])
	if strings.HasPrefix(text, "while parsing") {
		line++ // the parser counts from 0, the scanner from 1
	}
	column, _ := strconv.Atoi(m[3])
	if column == 0 {
		column = firstColumn(data, line)
	}
	what := m[4]
	if strings.HasPrefix(what, "found character that cannot start") && tabbed(data, line) {
		what = "indented with a tab: YAML wants spaces"
	}
	return fmt.Errorf("%s:%d:%d: %s", path, line, column, what)
}

func lineOf(data []byte, line int) string {
	lines := strings.Split(string(data), "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	return lines[line-1]
}

func tabbed(data []byte, line int) bool {
	return strings.HasPrefix(strings.TrimLeft(lineOf(data, line), " "), "\t")
}

// firstColumn is where the text of a line begins.
func firstColumn(data []byte, line int) int {
	text := lineOf(data, line)
	return len(text) - len(strings.TrimLeft(text, " ")) + 1
}
