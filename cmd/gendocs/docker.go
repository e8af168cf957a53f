package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
)

// composeTSV is what docker compose says of itself.
//
//go:embed compose.tsv
var composeTSV string

// dockerTSV is what Docker's client says of itself: see its first lines.
//
//go:embed docker.tsv
var dockerTSV string

// dockerFlag is one flag of one command of Docker's; Name is "" for the command
// itself.
type dockerFlag struct {
	Command, Name, Short, Value, Usage string
}

// dockerData reads docker.tsv.
func dockerData(text string) (source string, flags []dockerFlag, err error) {
	for n, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if rest, ok := strings.CutPrefix(line, "# "); ok {
			source += rest + " "
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 5 {
			return "", nil, fmt.Errorf("docker.tsv, line %d: %d fields", n+1, len(f))
		}
		flags = append(flags, dockerFlag{f[0], f[1], f[2], f[3], f[4]})
	}
	return strings.TrimSpace(source), flags, nil
}

// askDocker writes docker.tsv anew from the client named docker.
func askDocker(docker string) ([]byte, error) {
	version, err := exec.Command(docker, "--version").Output()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s: what `docker COMMAND --help` lists, without plugins,\n# written by go run ./cmd/gendocs -docker %s. Columns: command, flag, shorthand, value, usage.\n",
		strings.TrimSpace(string(version)), docker)
	err = askCommand(&b, docker, "", nil)
	return b.Bytes(), err
}

// askCompose writes compose.tsv anew from the plugin of that name.
func askCompose(plugin string) ([]byte, error) {
	version, err := exec.Command(plugin, "version").Output()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s: what `docker compose COMMAND --help` lists,\n# written by go run ./cmd/gendocs -compose PLUGIN. Columns: command, flag, shorthand, value, usage.\n",
		strings.TrimSpace(string(version)))
	err = askCommand(&b, plugin, "compose", nil)
	return b.Bytes(), err
}

var (
	subcommand = regexp.MustCompile(`^  ([a-z-]+)(\*?)\s{2,}(\S.*)$`)
	flagLine   = regexp.MustCompile(`^\s+(?:-(\w), )?--([a-z0-9-]+)(?: (\S+))?(?:\s{2,}(.*))?$`)
)

// askCommand adds the flags of a command and of those below it.
func askCommand(b *bytes.Buffer, docker, below string, words []string) error {
	out, err := exec.Command(docker, append(words, "--help")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("docker %s --help: %w", strings.Join(words, " "), err)
	}
	name := strings.TrimSpace(below + " " + strings.Join(words, " "))
	section := ""
	var commands []string
	var last *dockerFlag
	done := func() {
		if last != nil {
			fmt.Fprintf(b, "%s\t%s\t%s\t%s\t%s\n", last.Command, last.Name, last.Short, last.Value, strings.TrimSpace(last.Usage))
		}
		last = nil
	}
	lines := strings.Split(string(out), "\n")
	if len(words) > 0 {
		fmt.Fprintf(b, "%s\t\t\t\t%s\n", name, about(lines))
	}
	for _, line := range lines {
		switch {
		case strings.HasSuffix(line, ":") && !strings.HasPrefix(line, " "):
			section = line
		case strings.Contains(section, "Commands"):
			if m := subcommand.FindStringSubmatch(line); m != nil && m[2] == "" {
				commands = append(commands, m[1])
			}
		case strings.Contains(section, "Options"):
			if m := flagLine.FindStringSubmatch(line); m != nil {
				done()
				last = &dockerFlag{name, m[2], m[1], m[3], m[4]}
			} else if last != nil && strings.HasPrefix(line, "   ") {
				last.Usage += " " + strings.TrimSpace(line)
			}
		}
	}
	done()
	for _, w := range commands {
		if err := askCommand(b, docker, below, append(words[:len(words):len(words)], w)); err != nil {
			return err
		}
	}
	return nil
}

// about is a command's own line: the first after the usage.
func about(lines []string) string {
	for _, line := range lines {
		if line != "" && !strings.HasPrefix(line, "Usage:") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
