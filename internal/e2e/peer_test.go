package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
)

// peer is docker compose with a daemon of the test's own.
type peer struct {
	t      *testing.T
	plugin string
	env    []string
}

// newPeer starts dockerd on a socket and a directory of its own, without
// networks: it must not touch the host's rules.
func newPeer(t *testing.T) *peer {
	t.Helper()
	plugin := filepath.Join(filepath.Dir(debian), "compose", "docker-compose")
	for _, need := range []string{plugin, "/usr/sbin/dockerd"} {
		if _, err := os.Stat(need); err != nil {
			t.Skipf("needs %s: internal/needs/install.sh gets it", need)
		}
	}
	dir, err := os.MkdirTemp("", "coracle-peer-")
	if err != nil {
		t.Fatal(err)
	}
	sock := "unix://" + dir + "/docker.sock"
	cmd := exec.Command("/usr/sbin/dockerd", "-H", sock, "--data-root", dir+"/data", "--exec-root", dir+"/run", "--pidfile", dir+"/pid",
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--config-file", dir+"/none.json", "--storage-driver", "vfs")
	os.WriteFile(dir+"/none.json", []byte("{}"), 0o644)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		exec.Command("sh", "-c", "for m in $(grep -o '"+dir+"[^ ]*' /proc/self/mounts | sort -r); do umount -l $m; done").Run()
		os.RemoveAll(dir)
	})
	p := &peer{t, plugin, append(os.Environ(), "DOCKER_HOST="+sock)}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if _, err := p.docker("version"); err == nil {
			return p
		}
		if time.Now().After(end) {
			t.Skipf("needs a Docker daemon, and dockerd does not start here:\n%s", said.String())
		}
	}
}

func (p *peer) docker(args ...string) (string, error) { return p.run("docker", args...) }

func (p *peer) run(program string, args ...string) (string, error) {
	cmd := exec.Command(program, args...)
	cmd.Env = p.env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s%s", program, strings.Join(args, " "), err, out.String(), errs.String())
	}
	return strings.TrimSpace(out.String()), err
}

// TestAsDockerCompose brings files up by docker compose and by coracle, and
// compares what `inspect` says of every container, field for field.
func TestAsDockerCompose(t *testing.T) {
	needRoot(t)
	m := newMachine(t, "", "isolation=namespaces,rootfs=overlay", 0)
	p := newPeer(t)
	archive := filepath.Join(m.dir, "box.tar")
	m.ok("pull", "-q", "box")
	m.ok("save", "-o", archive, "box")
	if _, err := p.docker("load", "-i", archive); err != nil {
		t.Fatal(err)
	}
	// On the host's network in both: networks are another test's.
	host := filepath.Join(m.dir, "host.yaml")
	for _, dir := range []string{"migration", "scaled", "secrets", "extends", "volumes", "limits", "process", "envfile", "anchors", "health", "hooks", "logging", "restart"} {
		t.Run(dir, func(t *testing.T) {
			n := *m
			n.t = t
			file := []string{"compose", "--progress", "quiet", "-p", "peer-" + dir, "-f", "testdata/compose/" + dir + "/compose.yaml"}
			var services string
			cwd, _ := os.Getwd()
			for i, w := range file {
				if strings.HasPrefix(w, "testdata") {
					file[i] = filepath.Join(cwd, w)
				}
			}
			services = n.ok(append(slices.Clone(file), "config", "--services")...)
			text := "services:\n"
			for _, s := range strings.Fields(services) {
				text += "  " + s + ": {network_mode: host}\n"
			}
			if strings.Contains(services, "app") && dir == "process" {
				text = "services: {app: {network_mode: host, hostname: !reset null, init: !reset null}}\n"
			}
			if err := os.WriteFile(host, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			file = append(file, "-f", host)
			n.ok(append(slices.Clone(file), "up", "-d")...)
			defer n.try(append(slices.Clone(file), "down", "-v", "-t", "1")...)
			if _, err := p.run(p.plugin, append(slices.Clone(file[1:]), "up", "-d")...); err != nil {
				t.Fatal(err)
			}
			defer p.run(p.plugin, append(slices.Clone(file[1:]), "down", "-v", "-t", "1")...)
			ours, theirs := n.inspected("peer-"+dir), p.inspected("peer-"+dir)
			for _, name := range sortedKeys(ours, theirs) {
				if ours[name] == nil || theirs[name] == nil {
					t.Errorf("container %s: ours %t, docker compose's %t", name, ours[name] != nil, theirs[name] != nil)
					continue
				}
				for _, line := range fields("", facts(ours[name]), facts(theirs[name])) {
					t.Errorf("%s%s", name, line)
				}
			}
		})
	}
}

func sortedKeys(a, b map[string]*container.InspectResponse) []string {
	var keys []string
	for k := range a {
		keys = append(keys, k)
	}
	for k := range b {
		if a[k] == nil {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

func (m *machine) inspected(project string) map[string]*container.InspectResponse {
	return parsed(m.t, func(args ...string) (string, error) { return m.ok(args...), nil }, project)
}

func (p *peer) inspected(project string) map[string]*container.InspectResponse {
	return parsed(p.t, p.docker, project)
}

func parsed(t *testing.T, run func(args ...string) (string, error), project string) map[string]*container.InspectResponse {
	t.Helper()
	ids, err := run("ps", "-aq", "--filter", "label=com.docker.compose.project="+project)
	if err != nil {
		t.Fatal(err)
	}
	text, err := run(append([]string{"inspect"}, strings.Fields(ids)...)...)
	if err != nil {
		t.Fatal(err)
	}
	var list []container.InspectResponse
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	out := map[string]*container.InspectResponse{}
	for i := range list {
		out[list[i].Name] = &list[i]
	}
	return out
}

// facts are what a Compose file decides of a container.
func facts(i *container.InspectResponse) map[string]any {
	c, h := i.Config, i.HostConfig
	labels := map[string]string{}
	for k, v := range c.Labels {
		switch strings.TrimPrefix(k, "com.docker.compose.") {
		case "version", "image":
		default:
			labels[k] = v
		}
	}
	if h.RestartPolicy.Name == "" {
		h.RestartPolicy.Name = "no" // Docker keeps that nothing was said, and means the same
	}
	slices.Sort(c.Env)
	slices.Sort(h.Binds)
	// docker compose makes these of maps of Go: its order is another each time.
	slices.SortFunc(h.Ulimits, func(a, b *container.Ulimit) int { return strings.Compare(a.Name, b.Name) })
	slices.Sort(h.ExtraHosts)
	var mounts []string
	for _, m := range i.Mounts {
		source := m.Name
		if m.Type == "bind" {
			source = m.Source
		} else if len(source) == 64 {
			source = "anonymous"
		}
		mounts = append(mounts, fmt.Sprintf("%s %s %s rw=%t", m.Type, source, m.Destination, m.RW))
	}
	slices.Sort(mounts)
	data := map[string]any{
		"Labels": labels, "Cmd": c.Cmd, "Entrypoint": c.Entrypoint, "Env": c.Env, "User": c.User, "WorkingDir": c.WorkingDir,
		"StopSignal": c.StopSignal, "StopTimeout": c.StopTimeout, "Tty": c.Tty, "Healthcheck": c.Healthcheck, "Image": c.Image,
		"Binds": h.Binds, "Mounts": mounts, "Restart": h.RestartPolicy, "Memory": h.Memory, "NanoCPUs": h.NanoCPUs,
		"Pids": h.PidsLimit, "Reservation": h.MemoryReservation, "Ulimits": h.Ulimits, "CapAdd": h.CapAdd, "CapDrop": h.CapDrop,
		"Tmpfs": h.Tmpfs, "ReadOnly": h.ReadonlyRootfs, "Security": h.SecurityOpt, "Groups": h.GroupAdd, "Sysctls": h.Sysctls,
		"Hosts": h.ExtraHosts, "Shm": h.ShmSize, "Init": h.Init, "Log": h.LogConfig, "Network": h.NetworkMode, "OOM": h.OomScoreAdj,
		"Exit": i.State.ExitCode, "Status": i.State.Status,
	}
	// As both print it: nil and empty are one.
	text, _ := json.Marshal(data)
	var out map[string]any
	json.Unmarshal(text, &out)
	return out
}

// fields lists where two documents differ; null, {} and [] are one.
func fields(at string, a, b any) (lines []string) {
	x, ok := a.(map[string]any)
	y, both := b.(map[string]any)
	if ok && both {
		for k := range x {
			lines = append(lines, fields(at+"."+k, x[k], y[k])...)
		}
		for k := range y {
			if _, ok := x[k]; !ok {
				lines = append(lines, fields(at+"."+k, nil, y[k])...)
			}
		}
		return lines
	}
	empty := func(v any) bool {
		r := reflect.ValueOf(v)
		return v == nil || (r.Kind() == reflect.Slice || r.Kind() == reflect.Map) && r.Len() == 0
	}
	if !reflect.DeepEqual(a, b) && !(empty(a) && empty(b)) {
		lines = append(lines, fmt.Sprintf("%s: ours %v, docker compose's %v", at, a, b))
	}
	return lines
}
