package command

import (
	"fmt"
	"io"
	"strings"

	"coracle/backends"
	"coracle/backends/emulate"
	"coracle/cmd/coracle/format"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/system"
	"github.com/urfave/cli/v2"
)

// clientInfo is what `docker info --format` finds below ClientInfo.
type clientInfo struct {
	Debug bool
	clientVersion
	Plugins  []string
	Warnings []string
}

// infos is Docker's object, with what only coracle has beside it.
type infos struct {
	*system.Info
	ClientInfo clientInfo
	Backends   []backends.Choice
	Platforms  []emulate.Way
}

func newInfo(t *tool) *verb {
	v := &verb{mixed: true}
	v.Command = &cli.Command{
		Usage: "Display system-wide information",
		Flags: []cli.Flag{text("format", "f", "Format output: 'json' or a Go template")},
	}
	v.Action = t.info
	return v
}

func (t *tool) info(c *cli.Context) error {
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	info, err := eng.Info(c.Context)
	if err != nil {
		return err
	}
	all := infos{Info: info, ClientInfo: clientInfo{t.debug, thisVersion().Client, []string{}, nil}, Platforms: eng.Platforms()}
	if s := eng.Selection(); s != nil {
		all.Backends = s.Choices
	}
	if text := c.String("format"); text != "" {
		return format.Objects(t.Out, text, []any{all})
	}
	printInfo(t.Out, all)
	for _, w := range info.Warnings {
		t.warn(strings.TrimPrefix(w, "WARNING: "))
	}
	return nil
}

func printInfo(w io.Writer, i infos) {
	var b strings.Builder
	line := func(depth int, name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%*s%s: %s\n", depth, "", name, value)
		}
	}
	b.WriteString("Client:\n")
	line(1, "Version", i.ClientInfo.Version)
	line(1, "Context", i.ClientInfo.Context)
	line(1, "Debug Mode", fmt.Sprint(i.ClientInfo.Debug))
	b.WriteString("\nServer:\n")
	line(1, "Containers", fmt.Sprint(i.Containers))
	line(2, "Running", fmt.Sprint(i.ContainersRunning))
	line(2, "Paused", fmt.Sprint(i.ContainersPaused))
	line(2, "Stopped", fmt.Sprint(i.ContainersStopped))
	line(1, "Images", fmt.Sprint(i.Images))
	line(1, "Server Version", i.ServerVersion)
	line(1, "Storage Driver", i.Driver)
	printBackends(&b, i.Backends)
	b.WriteString(" Platforms:\n")
	for _, p := range i.Platforms {
		line(2, "linux/"+p.Arch, runsBy(p))
	}
	line(1, "Logging Driver", i.LoggingDriver)
	line(1, "Cgroup Driver", i.CgroupDriver)
	line(1, "Cgroup Version", i.CgroupVersion)
	if len(i.SecurityOptions) > 0 {
		b.WriteString(" Security Options:\n")
		for _, o := range i.SecurityOptions {
			// "name=seccomp,profile=builtin"
			fields := strings.Split(o, ",")
			fmt.Fprintf(&b, "  %s\n", strings.TrimPrefix(fields[0], "name="))
			for _, f := range fields[1:] {
				k, v, _ := strings.Cut(f, "=")
				fmt.Fprintf(&b, "   %s: %s\n", strings.ToUpper(k[:min(1, len(k))])+k[min(1, len(k)):], v)
			}
		}
	}
	line(1, "Kernel Version", i.KernelVersion)
	line(1, "Operating System", i.OperatingSystem)
	line(1, "OSType", i.OSType)
	line(1, "Architecture", i.Architecture)
	line(1, "CPUs", fmt.Sprint(i.NCPU))
	line(1, "Total Memory", units.BytesSize(float64(i.MemTotal)))
	line(1, "Name", i.Name)
	line(1, "ID", i.ID)
	line(1, "Docker Root Dir", i.DockerRootDir)
	line(1, "Debug Mode", fmt.Sprint(i.Debug))
	io.WriteString(w, b.String())
}

func printBackends(b *strings.Builder, choices []backends.Choice) {
	if len(choices) == 0 {
		return
	}
	b.WriteString(" Backends:\n")
	for _, c := range choices {
		fmt.Fprintf(b, "  %s: %s\n", c.Concern, c.Rung)
		for _, r := range c.Refused {
			fmt.Fprintf(b, "   not %s: %s\n", r.Rung, r.Why)
		}
		for _, l := range c.Lacks {
			fmt.Fprintf(b, "   without: %s\n", l)
		}
	}
}
