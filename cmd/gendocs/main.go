// Command gendocs writes the reference of coracle's commands as Markdown and
// as man pages, and examples of units. With -check it writes nothing and fails
// where a file differs from what it would write.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"coracle/cmd/coracle/command"
	"coracle/supervise"

	"github.com/cpuguy83/go-md2man/v2/md2man"
)

func main() {
	check := flag.Bool("check", false, "compare instead of writing")
	dir := flag.String("dir", ".", "where the tree is")
	docker := flag.String("docker", "", "write docker.tsv anew from this client of Docker's")
	plugin := flag.String("compose", "", "write compose.tsv anew from this plugin of Docker's")
	flag.Parse()
	if *plugin != "" {
		if err := writeCompose(*plugin); err != nil {
			fmt.Fprintln(os.Stderr, "gendocs:", err)
			os.Exit(1)
		}
		return
	}
	if *docker != "" {
		if err := writeDocker(*docker); err != nil {
			fmt.Fprintln(os.Stderr, "gendocs:", err)
			os.Exit(1)
		}
		return
	}
	if err := generate(*dir, *check); err != nil {
		fmt.Fprintln(os.Stderr, "gendocs:", err)
		os.Exit(1)
	}
}

// page is one file of ours.
type page struct {
	text []byte
	mode os.FileMode
}

// writeDocker writes the data file, which the next run reads.
func writeDocker(docker string) error {
	data, err := askDocker(docker)
	if err != nil {
		return err
	}
	return os.WriteFile("cmd/gendocs/docker.tsv", data, 0o644)
}

func writeCompose(plugin string) error {
	data, err := askCompose(plugin)
	if err != nil {
		return err
	}
	return os.WriteFile("cmd/gendocs/compose.tsv", data, 0o644)
}

func generate(dir string, check bool) error {
	files, err := pages()
	if err != nil {
		return err
	}
	if check {
		return compare(dir, files)
	}
	for name, p := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, p.text, p.mode); err != nil {
			return err
		}
		if err := os.Chmod(path, p.mode); err != nil {
			return err
		}
	}
	return nil
}

func compare(dir string, files map[string]page) error {
	for name, p := range files {
		path := filepath.Join(dir, name)
		have, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		st, err := os.Stat(path)
		if err != nil {
			return err
		}
		if !bytes.Equal(have, p.text) || st.Mode()&0o100 != p.mode&0o100 {
			return fmt.Errorf("%s is out of date: run 'go run ./cmd/gendocs'", path)
		}
	}
	for _, pattern := range []string{"docs/reference/*.md", "docs/man/*.1", "contrib/init/*/*", "contrib/init/*/*/*", "contrib/init/*/*/*/*"} {
		have, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range have {
			name, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			if st, err := os.Stat(path); err != nil || st.IsDir() {
				continue
			}
			if _, ok := files[name]; !ok {
				return fmt.Errorf("%s is of a command that is gone: delete it", path)
			}
		}
	}
	return nil
}

// pages are all files, by name in the tree.
func pages() (map[string]page, error) {
	all := map[string]page{}
	docs, err := documents()
	if err != nil {
		return nil, err
	}
	for name, text := range docs {
		all["docs/"+name] = page{text, 0o644}
	}
	units, err := supervise.Example()
	if err != nil {
		return nil, err
	}
	for _, f := range units {
		all["contrib/init/"+f.Path] = page{[]byte(f.Text), f.Mode}
	}
	return all, nil
}

// documents are those of the commands, by name below the directory of the
// documentation.
func documents() (map[string][]byte, error) {
	globals, commands := command.Docs()
	files := map[string][]byte{}
	var index, list strings.Builder
	for _, c := range commands {
		file := strings.ReplaceAll(c.Spellings[0], " ", "-")
		fmt.Fprintf(&index, "| [coracle %s](%s.md) | %s |\n", c.Spellings[0], file, c.Usage)
		fmt.Fprintf(&list, "**%s**\n: %s. See **coracle-%s(1)**.\n\n", c.Spellings[0], c.Usage, file)
		files["reference/"+file+".md"] = []byte(reference(c))
		files["man/coracle-"+file+".1"] = md2man.Render([]byte(manual(c, file)))
	}
	codes := command.ExitCodes
	_, rows, _ := strings.Cut(codes, "\n")
	files["reference/README.md"] = fmt.Appendf(nil,
		"# coracle\n\n```\ncoracle [OPTIONS] COMMAND [ARG...]\n```\n\n| command | |\n|---|---|\n%s\n## Global options\n\n%s\n## Exit codes\n\n```\n%s```\n",
		index.String(), table(globals), rows)
	files["man/coracle.1"] = md2man.Render(fmt.Appendf(nil,
		"%% coracle 1 \"\" coracle \"coracle manual\"\n\n# NAME\ncoracle - run containers on any Linux, with one file and no daemon\n\n# SYNOPSIS\n**coracle** [OPTIONS] COMMAND [ARG...]\n\n# COMMANDS\n%s\n# GLOBAL OPTIONS\n%s\n# EXIT STATUS\n\n```\n%s```\n",
		list.String(), terms(globals), rows))
	var err error
	if files["flags.md"], err = flagTable(globals, commands); err != nil {
		return nil, err
	}
	files["compose.md"], err = composeTable(commands)
	return files, err
}

func reference(c command.Doc) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# coracle %s\n\n%s.\n\n```\n%s\n```\n\n", c.Spellings[0], c.Usage, c.Synopsis)
	if c.Description != "" {
		fmt.Fprintf(&b, "%s\n\n", c.Description)
	}
	if len(c.Spellings) > 1 {
		fmt.Fprintf(&b, "Also spelt `coracle %s`.\n\n", strings.Join(c.Spellings[1:], "`, `coracle "))
	}
	if len(c.Flags) > 0 {
		fmt.Fprintf(&b, "## Options\n\n%s", table(c.Flags))
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func table(flags []command.FlagDoc) string {
	var b strings.Builder
	b.WriteString("| option | |\n|---|---|\n")
	for _, f := range flags {
		fmt.Fprintf(&b, "| `%s` | %s |\n", strings.TrimSpace(f.Title()), escape(usage(f)))
	}
	return b.String()
}

// escape keeps the text from being read as a table's cells or as HTML.
func escape(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", ">", "&gt;").Replace(s)
}

func usage(f command.FlagDoc) string {
	if len(f.Env) == 0 {
		return f.Usage
	}
	return f.Usage + " (environment: " + strings.Join(f.Env, ", ") + ")"
}

func manual(c command.Doc, file string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%% coracle-%s 1 \"\" coracle \"coracle manual\"\n\n# NAME\ncoracle-%s - %s\n\n# SYNOPSIS\n%s\n\n",
		file, file, strings.ToLower(c.Usage[:1])+c.Usage[1:], c.Synopsis)
	if c.Description != "" {
		fmt.Fprintf(&b, "# DESCRIPTION\n%s\n\n", c.Description)
	}
	if len(c.Spellings) > 1 {
		fmt.Fprintf(&b, "Also spelt **coracle %s**.\n\n", strings.Join(c.Spellings[1:], "**, **coracle "))
	}
	if len(c.Flags) > 0 {
		fmt.Fprintf(&b, "# OPTIONS\n%s\n", terms(c.Flags))
	}
	b.WriteString("# SEE ALSO\n**coracle(1)**\n")
	return b.String()
}

func terms(flags []command.FlagDoc) string {
	var b strings.Builder
	for _, f := range flags {
		fmt.Fprintf(&b, "**%s**\n: %s\n\n", strings.TrimSpace(f.Title()), strings.NewReplacer("<", `\<`, "|", `\|`).Replace(usage(f)))
	}
	return b.String()
}
