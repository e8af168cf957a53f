package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"coracle/backends/emulate"
	"coracle/cmd/coracle/opts"
	"coracle/engine"

	"github.com/urfave/cli/v2"
)

func newPlatformLs(t *tool) *verb {
	v := &verb{}
	v.Command = &cli.Command{
		Usage: "List the platforms whose programs run here, and how",
		Description: "native: by the processor. binfmt: by an emulator (qemu-user) that a binfmt_misc handler\n" +
			"starts. register: by a handler that 'run --platform' or 'platform add' registers; it is called\n" +
			"coracle-ARCH and serves the whole machine until it is removed or the machine boots. private: by\n" +
			"a handler of the container's own (Linux 6.7, without root).",
	}
	v.Action = func(c *cli.Context) error {
		eng, err := t.engine(c.Context)
		if err != nil {
			return err
		}
		printPlatforms(t.Out, eng.Platforms())
		return nil
	}
	return v
}

func newPlatformAdd(t *tool) *verb {
	v := &verb{min: 1, max: -1}
	v.Command = &cli.Command{
		Usage:       "Register handlers for programs of other architectures, until the next boot",
		ArgsUsage:   "PLATFORM [PLATFORM...]",
		Description: "'run --platform' does the same where it is root. Once there, handlers serve other users too.",
	}
	v.Action = func(c *cli.Context) error {
		archs, err := architectures(c.Args().Slice())
		if err != nil {
			return err
		}
		root, _, err := engine.Places(t.options)
		if err != nil {
			return err
		}
		m := emulate.Machine{Scratch: filepath.Join(root, "fs"), Root: true}
		for _, a := range archs {
			w, err := m.Add(a)
			if err != nil {
				return err
			}
			fmt.Fprintf(t.Out, "%s: %s (%s)\n", w.Handler, w.Emulator, w.Flags)
		}
		return nil
	}
	return v
}

func newPlatformRm(t *tool) *verb {
	v := &verb{max: -1}
	v.Command = &cli.Command{
		Usage:     "Remove handlers that coracle registered, all of them for no name",
		ArgsUsage: "[PLATFORM...]",
	}
	v.Action = func(c *cli.Context) error {
		archs, err := architectures(c.Args().Slice())
		if err != nil {
			return err
		}
		all := len(archs) == 0
		if all {
			archs = emulate.Archs()
		}
		for _, a := range archs {
			err := emulate.Remove(emulate.Dir, a.Name)
			switch {
			case err == nil:
				fmt.Fprintln(t.Out, emulate.Prefix+a.Name)
			case errors.Is(err, os.ErrNotExist) && all:
			case errors.Is(err, os.ErrNotExist):
				return fmt.Errorf("no handler %s%s is registered", emulate.Prefix, a.Name)
			default:
				return err
			}
		}
		return nil
	}
	return v
}

// architectures are those of platforms' names.
func architectures(names []string) ([]emulate.Arch, error) {
	var out []emulate.Arch
	for _, name := range names {
		name, system, arch, err := opts.Platform(name)
		if err != nil {
			return nil, err
		}
		a, ok := emulate.Lookup(arch)
		if !ok || system != "linux" {
			return nil, fmt.Errorf("no emulator is known for %s", name)
		}
		out = append(out, a)
	}
	return out, nil
}

// runsBy says in a few words how programs run.
func runsBy(w emulate.Way) string {
	switch {
	case w.How == "":
		return "not"
	case w.How == emulate.Native:
		return w.How
	case w.Emulator == "":
		return "by a handler " + w.Handler
	}
	return "by " + filepath.Base(w.Emulator)
}

func printPlatforms(w io.Writer, ways []emulate.Way) {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprint(tw, "PLATFORM\tRUNS\tHANDLER\tFLAGS\tEMULATOR\n")
	var notes strings.Builder
	for _, p := range ways {
		row := []string{"linux/" + p.Arch, p.How, p.Handler, p.Flags, p.Emulator}
		for i := range row {
			if row[i] == "" {
				row[i] = "-"
			}
		}
		fmt.Fprintln(tw, strings.Join(row, "\t"))
		if p.How != "" {
			continue
		}
		for _, r := range p.Refused {
			fmt.Fprintf(&notes, "linux/%s not %s: %s", p.Arch, r.Rung, r.Why)
			if r.Mend != "" {
				fmt.Fprintf(&notes, "; to mend: %s", r.Mend)
			}
			notes.WriteByte('\n')
		}
	}
	tw.Flush()
	io.WriteString(w, notes.String())
}
