package command

import (
	"fmt"
	"io"
	"runtime"
	"strings"

	"coracle/cmd/coracle/format"
	"coracle/internal/version"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// clientVersion and serverVersion have the field names of `docker version
// --format json`. There is no daemon: both are this one file. The versions of the
// API are empty as long as it serves none.
type clientVersion struct {
	Version           string
	APIVersion        string `json:"ApiVersion"`
	DefaultAPIVersion string
	GitCommit         string
	GoVersion         string
	Os                string
	Arch              string
	BuildTime         string
	Context           string
}

type serverVersion struct {
	Platform      struct{ Name string }
	Components    []component
	Version       string
	APIVersion    string `json:"ApiVersion"`
	MinAPIVersion string
	GitCommit     string
	GoVersion     string
	BuildTime     string
	Os            string
	Arch          string
	KernelVersion string
}

// component is one part of the server; ours is one.
type component struct {
	Name    string
	Version string
	Details map[string]string
}

type versions struct {
	Client clientVersion
	Server serverVersion
}

func newVersion(t *tool) *verb {
	v := &verb{mixed: true}
	v.Command = &cli.Command{
		Usage: "Show the coracle version information",
		Flags: []cli.Flag{text("format", "f", "Format output: 'json' or a Go template")},
	}
	v.Action = func(c *cli.Context) error {
		all := thisVersion()
		if text := c.String("format"); text != "" {
			return format.Objects(t.Out, text, []any{all})
		}
		printVersion(t.Out, all)
		return nil
	}
	return v
}

func thisVersion() versions {
	ver, commit := version.Get()
	v := versions{
		Client: clientVersion{
			Version: ver, GitCommit: commit, GoVersion: runtime.Version(), BuildTime: version.Built(),
			Os: runtime.GOOS, Arch: runtime.GOARCH, Context: "default",
		},
		Server: serverVersion{
			Version: ver, GitCommit: commit,
			GoVersion: runtime.Version(), BuildTime: version.Built(), Os: runtime.GOOS, Arch: runtime.GOARCH, KernelVersion: kernelVersion(),
		},
	}
	s := &v.Server
	s.Platform.Name = "coracle"
	s.Components = []component{{"Engine", ver, map[string]string{
		"ApiVersion": s.APIVersion, "Arch": s.Arch, "BuildTime": s.BuildTime, "Experimental": "false", "GitCommit": s.GitCommit,
		"GoVersion": s.GoVersion, "KernelVersion": s.KernelVersion, "MinAPIVersion": s.MinAPIVersion, "Os": s.Os,
	}}}
	return v
}

func kernelVersion() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

func printVersion(w io.Writer, v versions) {
	var b strings.Builder
	line := func(name, value string) { fmt.Fprintf(&b, " %-18s %s\n", name+":", value) }
	b.WriteString("Client:\n")
	line("Version", v.Client.Version)
	line("Go version", v.Client.GoVersion)
	line("Git commit", v.Client.GitCommit)
	line("Built", v.Client.BuildTime)
	line("OS/Arch", v.Client.Os+"/"+v.Client.Arch)
	line("Context", v.Client.Context)
	b.WriteString("\nServer: coracle (this program: there is no daemon, and no API)\n")
	line("Version", v.Server.Version)
	line("Go version", v.Server.GoVersion)
	line("Git commit", v.Server.GitCommit)
	line("Built", v.Server.BuildTime)
	line("OS/Arch", v.Server.Os+"/"+v.Server.Arch)
	line("Kernel version", v.Server.KernelVersion)
	io.WriteString(w, b.String())
}

func printShortVersion(w io.Writer) {
	ver, commit := version.Get()
	fmt.Fprintf(w, "coracle version %s, build %.7s\n", ver, commit)
}
