package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"
)

// client runs Docker's commands, by Docker or by us.
type client func(args ...string) (out string, code int)

// dockerAndUs are the two, each with the same image, volume and containers.
func dockerAndUs(t *testing.T) (docker, us client) {
	needRoot(t)
	env := dockerDaemon(t)
	m := newMachine(t, "", "isolation=namespaces", 0)
	docker = func(args ...string) (string, int) {
		cmd := exec.Command("docker", args...)
		cmd.Env = append(os.Environ(), env...)
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	us = func(args ...string) (string, int) {
		r := m.try(args...)
		return r.out + r.err, r.code
	}
	box := busyboxTree(t)
	for _, line := range [][]string{
		{"import", "-c", "ENV A=1", "-c", "LABEL il=iv", "-c", "VOLUME /vol", "-c", "EXPOSE 80", "-c", `CMD ["sh"]`, box, "busybox:json"},
		{"volume", "create", "--label", "a=1", "named"},
		{"volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "opts"},
		{"run", "-d", "--name", "runs", "--net", "none", "-v", "named:/named", "--mount", "type=bind,source=/etc,target=/host,readonly", "--mount", "type=tmpfs,target=/t", "--tmpfs", "/tm:size=1m",
			"-e", "B=2", "-l", "cl=cv", "-m", "64m", "--cap-add", "NET_ADMIN", "--ulimit", "nofile=100:200", "--hostname", "boat", "--init",
			"--stop-signal", "INT", "--stop-timeout", "3", "--add-host", "a:192.0.2.1", "--dns", "192.0.2.2", "--shm-size", "1m", "--log-opt", "max-size=1m", "busybox:json", "sleep", "600"},
		{"run", "--name", "ended", "--net", "none", "-t", "--entrypoint", "sh", "-w", "/tmp", "-u", "0:0", "busybox:json", "-c", "exit 3"},
		{"create", "--name", "made", "--net", "none", "--read-only", "--privileged", "--pid", "container:runs", "--restart", "on-failure:2", "busybox:json", "true"},
		{"create", "--name", "plain", "--net", "none", "busybox:json", "true"},
	} {
		t.Cleanup(func() {
			if line[0] != "import" && line[0] != "volume" {
				docker("rm", "-f", "-v", line[slices.Index(line, "--name")+1])
			}
		})
		for who, run := range map[string]client{"docker": docker, "us": us} {
			if out, code := run(line...); code != 0 && code != 3 {
				t.Fatalf("%s: %q: exit %d: %s", who, line, code, out)
			}
		}
	}
	return docker, us
}

// TestJSONAsDocker compares what is printed as JSON, key by key, type by type,
// and value by value where the values must be the same.
func TestJSONAsDocker(t *testing.T) {
	docker, us := dockerAndUs(t)
	time.Sleep(1100 * time.Millisecond) // events end with the last whole second
	for _, line := range []string{
		"inspect runs", "inspect ended", "inspect made", "inspect plain", "inspect -s plain", "image inspect busybox:json", "volume inspect named", "volume inspect opts",
		"ps -a --format json --no-trunc", "ps -as --format json", "images --format json", "volume ls --format json", "history --format json busybox:json",
		"events --since 1h --until 0s --format json --filter container=ended --filter event=die",
		"events --since 1h --until 0s --format json --filter container=ended --filter event=start",
		"events --since 1h --until 0s --format json --filter volume=named --filter event=mount",
		"stats --no-stream --no-trunc --format json runs",
		"version --format json", "info --format json", "system info --format json",
	} {
		theirs, code := docker(strings.Fields(line)...)
		if code != 0 {
			t.Fatalf("docker %s: %s", line, theirs)
		}
		ours, code := us(strings.Fields(line)...)
		if code != 0 {
			t.Errorf("%s: exit %d: %s", line, code, ours)
			continue
		}
		c := comparison{command: line}
		c.values("", jsonValues(t, ours), jsonValues(t, theirs))
		for _, d := range c.differ {
			t.Errorf("%s: %s", line, d)
		}
	}
}

// jsonValues reads JSON, one value or one a line.
func jsonValues(t *testing.T, text string) any {
	t.Helper()
	var all []any
	dec := json.NewDecoder(strings.NewReader(text))
	for dec.More() {
		var v any
		if err := dec.Decode(&v); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		all = append(all, v)
	}
	if len(all) == 1 {
		return all[0]
	}
	return all
}

// comparison gathers in what ours differs from theirs.
type comparison struct {
	command string
	differ  []string
}

func (c *comparison) say(path, format string, a ...any) {
	if !excused(c.command, path) {
		c.differ = append(c.differ, path+": "+fmt.Sprintf(format, a...))
	}
}

func (c *comparison) values(path string, ours, theirs any) {
	if a, b := kindOf(ours), kindOf(theirs); a != b {
		c.say(path, "ours is %s (%.60s), Docker's %s (%.60s)", a, text(ours), b, text(theirs))
		return
	}
	switch their := theirs.(type) {
	case map[string]any:
		our := ours.(map[string]any)
		for _, k := range keys(our, their) {
			o, have := our[k]
			th, want := their[k]
			at := path + "." + k
			switch {
			case !have:
				c.say(at, "lacking; Docker has %.60s", text(th))
			case !want:
				c.say(at, "Docker has no such key")
			default:
				c.values(at, o, th)
			}
		}
	case []any:
		our := ours.([]any)
		if strings.HasSuffix(path, "].Mounts") {
			byDestination(our) // Docker's are in no order
			byDestination(their)
		}
		if len(our) != len(their) {
			c.say(path, "ours has %d, Docker's %d: %.100s, %.100s", len(our), len(their), text(ours), text(theirs))
			return
		}
		for i := range their {
			c.values(path+"[]", our[i], their[i])
		}
	default:
		if ours != theirs && sameValue(path) {
			c.say(path, "ours is %v, Docker's %v", ours, theirs)
		}
	}
}

func byDestination(list []any) {
	at := func(i int) string {
		m, _ := list[i].(map[string]any)
		s, _ := m["Destination"].(string)
		return s
	}
	sort.Slice(list, func(i, j int) bool { return at(i) < at(j) })
}

func keys(a, b map[string]any) []string {
	var all []string
	for k := range a {
		all = append(all, k)
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			all = append(all, k)
		}
	}
	sort.Strings(all)
	return all
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case string:
		return "string"
	case bool:
		return "bool"
	}
	return "number"
}

func text(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// sameValue tells whether the values at path must be the same: what the user
// said, and what follows from it. The others are places, moments, IDs and
// versions.
func sameValue(path string) bool {
	last := path[strings.LastIndex(path, ".")+1:]
	switch strings.TrimSuffix(last, "[]") {
	case "Id", "ID", "Image", "Created", "CreatedAt", "CreatedSince", "RunningFor", "StartedAt", "FinishedAt", "LastTagTime", "Pid", "Driver", "Status",
		"ResolvConfPath", "HostnamePath", "HostsPath", "LogPath", "Source", "Mountpoint", "Mounts", "Size", "SizeRw", "SizeRootFs", "VirtualSize", "NetworkID",
		"EndpointID", "SandboxID", "SandboxKey", "Version", "ApiVersion", "MinAPIVersion", "GitCommit", "GoVersion", "BuildTime", "DefaultAPIVersion",
		"Comment", "SystemTime", "id", "time", "timeNano", "container", "CPUPerc", "MemPerc", "MemUsage", "PIDs", "BlockIO", "Container", "NFd", "NGoroutines", "DockerRootDir", "ServerVersion", "InitBinary", "DefaultRuntime", "Runtime", "CgroupnsMode", "PidMode", "Layers":
		return false
	case "Name":
		// Of an anonymous volume, of a driver, and of who made the server.
		return !strings.Contains(path, "Mounts") && !strings.HasPrefix(path, "[].Name") && path != ".Server.Platform.Name" && !strings.Contains(path, "GraphDriver")
	case "Hostname":
		return path != "[].Config.Hostname" // of those without --hostname; see TestTemplatesAsDocker
	case "OomKillDisable":
		return path != ".OomKillDisable"
	}
	return true
}

// excused tells whether ours may differ in shape at path, each with its reason.
func excused(command, path string) bool {
	for _, prefix := range []string{
		// Docker's daemon here is 20.10: what 28 has no more, or has besides.
		"[].HostConfig.KernelMemory", ".KernelMemory", ".ContainerdCommit", ".RuncCommit", ".InitCommit", "[].NetworkSettings.Networks.none.DNSNames",
		"[].NetworkSettings.Networks.none.GwPriority", "[].Config.OnBuild", "[].Labels", ".ClientInfo.ApiVersion", "[].HostConfig.MaskedPaths", ".CDISpecDirs", ".Server.Components",
		".Actor.Attributes.execDuration",
		// What belongs to a driver, and ours are others.
		"[].GraphDriver", ".DriverStatus", ".Runtimes", ".Plugins", ".SecurityOptions", ".Warnings", ".RegistryConfig",
		// Ours alone.
		".Backends", ".Platforms",
	} {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	// The configuration of an image has been that of the OCI since API 1.50.
	if command == "image inspect busybox:json" {
		switch path {
		case "[].Container", "[].ContainerConfig", "[].Author", "[].Descriptor", "[].VirtualSize", "[].DockerVersion", "[].Parent":
			return true
		}
		return strings.HasPrefix(path, "[].Config.")
	}
	return false
}

// TestTemplatesAsDocker: templates of scripts, which must print the same.
func TestTemplatesAsDocker(t *testing.T) {
	docker, us := dockerAndUs(t)
	for _, args := range [][]string{
		{"inspect", "-f", "{{.State.Running}} {{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}} {{.State.Error}} {{.State.FinishedAt}}", "runs"},
		{"inspect", "-f", "{{ .State.ExitCode }} {{ .Path }} {{ .Args }} {{.RestartCount}} {{.Name}} {{.Platform}}", "ended"},
		{"inspect", "-f", "{{json .NetworkSettings.Ports}} {{.NetworkSettings.IPAddress}}|{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}}{{end}}", "runs"},
		{"inspect", "-f", "{{json .Config.Env}} {{json .Config.Labels}} {{json .Config.Cmd}} {{json .Config.Entrypoint}} {{json .Config.Volumes}} {{json .Config.ExposedPorts}}", "runs"},
		{"inspect", "-f", "{{.Config.Hostname}} {{.Config.Image}} {{.Config.User}} {{.Config.WorkingDir}} {{.Config.StopSignal}} {{.Config.StopTimeout}} {{.Config.Tty}}", "runs"},
		{"inspect", "-f", "{{index .Config.Labels \"cl\"}} {{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.CapAdd}} {{.HostConfig.ShmSize}} {{.HostConfig.Init}}", "runs"},
		{"inspect", "-f", "{{range .HostConfig.Binds}}{{println .}}{{end}}{{json .HostConfig.Tmpfs}} {{json .HostConfig.Ulimits}} {{json .HostConfig.LogConfig}}", "runs"},
		{"inspect", "-f", `{{range .Mounts}}{{if eq .Type "bind"}}{{.Type}} {{.Source}} {{.Destination}} {{.Mode}} {{.RW}} {{.Propagation}}{{end}}{{end}}`, "runs"},
		{"inspect", "-f", `{{range .Mounts}}{{if eq .Destination "/named"}}{{.Type}} {{.Name}} {{.Driver}} {{.Mode}} {{.RW}}{{end}}{{end}}`, "runs"},
		{"inspect", "-f", "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}} {{.HostConfig.Privileged}} {{.HostConfig.ReadonlyRootfs}} {{json .HostConfig.SecurityOpt}}", "made"},
		{"inspect", "--format", "{{.State.Status}} {{.State.StartedAt}} {{.State.Pid}} {{.HostsPath}}", "plain"},
		{"inspect", "--format", "{{.Nothing}}", "plain"},
		{"inspect", "--format", "{{.State", "plain"},
		{"inspect", "nobody"},
		{"ps", "-a", "--filter", "name=made", "--format", "{{.Names}}|{{.Image}}|{{.Command}}|{{.State}}|{{.Ports}}|{{.Labels}}|{{.LocalVolumes}}|{{.Networks}}|{{.Status}}"},
		{"ps", "-a", "--format", `table {{.Names}}\t{{.Image}}\t{{.State}}\t{{.Label "cl"}}`},
		{"ps", "-a", "--format", `{{upper .Names}} {{lower .Image}} {{title .State}} {{truncate .Names 2}} {{join (split .Image ":") "/"}} {{pad .State 1 1}}|`},
		{"images", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}}"},
		{"images", "--format", "table {{.Repository}}\t{{.Tag}}", "busybox"},
		{"image", "inspect", "-f", "{{json .Config.Env}} {{json .Config.Cmd}} {{json .Config.Labels}} {{.Os}}/{{.Architecture}} {{json .RepoTags}} {{.RootFS.Type}} {{len .RootFS.Layers}}", "busybox:json"},
		{"volume", "inspect", "-f", "{{.Name}} {{.Driver}} {{.Scope}} {{json .Labels}} {{json .Options}}", "named", "opts"},
		{"volume", "inspect", "nothing"},
		{"volume", "rm", "nothing"},
		{"volume", "create", "x"},
		{"volume", "ls", "-f", "name=named", "--format", "table {{.Name}}\t{{.Driver}}\t{{.Scope}}"},
		{"info", "-f", "{{.Containers}} {{.ContainersRunning}} {{.ContainersStopped}} {{.Images}} {{.OSType}} {{.NCPU}} {{.MemTotal}} {{.KernelVersion}} {{.CgroupVersion}} {{.LoggingDriver}}"},
		{"version", "-f", "{{.Client.Os}}/{{.Client.Arch}} {{.Server.Os}}/{{.Server.Arch}} {{.Server.KernelVersion}}"},
		{"create", "--pid", "container:nobody", "busybox:json"},
		{"create", "--isolation", "process", "busybox:json"},
		{"create", "--log-driver", "nosuch", "busybox:json"},
		{"create", "--log-opt", "nosuch=1", "busybox:json"},
		{"create", "--log-driver", "none", "--log-opt", "x=1", "busybox:json"},
		{"create", "--volumes-from", "nobody", "busybox:json"},
		{"create", "--volumes-from", "runs:bad", "busybox:json"},
		{"create", "-v", "a/b:/x", "busybox:json"},
		{"create", "-v", "/x:/y:bad", "busybox:json"},
		{"create", "--uts", "host", "--hostname", "x", "busybox:json"},
		{"create", "--network", "container:runs", "--hostname", "x", "busybox:json"},
		{"create", "--memory-swappiness", "101", "busybox:json"},
		{"create", "--sysctl", "kernel.x=1", "busybox:json"},
		{"create", "--device-cgroup-rule", "x", "busybox:json"},
		{"create", "--mount", "type=bind,src=/nonexistent/x,dst=/y", "busybox:json"},
	} {
		theirs, want := docker(args...)
		ours, got := us(args...)
		if got != want {
			t.Errorf("%q: exit %d, Docker's is %d: %s; %s", args, got, want, ours, theirs)
		}
		if a, b := said(ours), said(theirs); a != b {
			t.Errorf("%q: ours\n%s\nDocker's\n%s", args, a, b)
		}
	}
}

// said is an output without who says it, and without hints.
func said(out string) string {
	var keep []string
	for line := range strings.SplitSeq(out, "\n") {
		line = strings.TrimSpace(line)
		for _, who := range []string{"coracle: ", "docker: ", "Error response from daemon: ", "Error: "} {
			line = strings.TrimPrefix(line, who)
		}
		// time=: what Docker's client tells of its own insides when it stops in the
		// middle of an upload, now and then.
		if strings.HasPrefix(line, "time=") || strings.HasPrefix(line, "hint: ") || strings.HasPrefix(line, "Run 'docker") || strings.HasPrefix(line, "See '") || strings.HasPrefix(line, "Usage:") || line == "" {
			continue
		}
		if line != "" {
			// 20.10 began its errors with capitals.
			line = strings.ToLower(line[:1]) + line[1:]
		}
		keep = append(keep, strings.ReplaceAll(line, "coracle", "docker"))
	}
	return strings.Join(keep, "\n")
}
