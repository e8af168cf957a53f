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

	"coracle/group/model"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"
)

// peer is docker compose with a daemon of the test's own.
type peer struct {
	t      *testing.T
	plugin string
	env    []string
	// restart ends the daemon and starts it again.
	restart func()
}

// newPeer starts dockerd on a socket and a directory of its own. Its networks are
// in the tests' own network namespace.
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
	args := []string{"-H", sock, "--data-root", dir + "/data", "--exec-root", dir + "/run", "--pidfile", dir + "/pid",
		"--config-file", dir + "/none.json"}
	os.WriteFile(dir+"/none.json", []byte("{}"), 0o644)
	var said bytes.Buffer
	var cmd *exec.Cmd
	begin := func() {
		cmd = exec.Command("/usr/sbin/dockerd", args...)
		cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	end := func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	}
	begin()
	t.Cleanup(func() {
		end()
		exec.Command("sh", "-c", "for m in $(grep -o '"+dir+"[^ ]*' /proc/self/mounts | sort -r); do umount -l $m; done").Run()
		os.RemoveAll(dir)
	})
	p := &peer{t: t, plugin: plugin, env: append(os.Environ(), "DOCKER_HOST="+sock)}
	answers := func() bool {
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			if _, err := p.docker("version"); err == nil {
				return true
			}
		}
		return false
	}
	p.restart = func() {
		end()
		begin()
		if !answers() {
			t.Fatalf("dockerd does not start again:\n%s", said.String())
		}
	}
	if !answers() {
		t.Skipf("needs a Docker daemon, and dockerd does not start here:\n%s", said.String())
	}
	return p
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
	if tree := filepath.Join(filepath.Dir(debian), servicesTree); exists(tree) {
		m.ok("import", tree, "services")
		if _, err := p.docker("import", tree, "services"); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range scenes() {
		t.Run(s.dir, func(t *testing.T) {
			if strings.Contains(s.only, "services") && m.try("image", "inspect", "services").code != 0 {
				t.Skip("needs build/services.tar: internal/needs/install.sh makes it")
			}
			n, q := *m, *p
			n.t, q.t = t, t
			n.beside(&q, s)
		})
	}
}

// beside brings a scene up by both and compares what became of it. Not at once:
// both may publish the same ports.
func (m *machine) beside(p *peer, s scene) {
	t := m.t
	project := "peer-" + s.dir
	dir, err := filepath.Abs("testdata/compose/" + s.dir)
	if err != nil {
		t.Fatal(err)
	}
	file := []string{"compose", "--progress", "quiet", "-p", project, "-f", dir + "/compose.yaml"}
	if over := dir + "/compose.override.yaml"; exists(over) {
		file = append(file, "-f", over)
	}
	down := []string{"down", "-v", "-t", "1"}
	var seen [2]outcome
	for i, run := range []func(args ...string) (string, error){
		func(args ...string) (string, error) { return m.ok(args...), nil },
		func(args ...string) (string, error) {
			if args[0] == "compose" {
				return p.run(p.plugin, args[1:]...)
			}
			return p.docker(args...)
		},
	} {
		func() {
			defer run(append(slices.Clone(file), down...)...)
			if _, err := run(append(slices.Clone(file), "up", "-d")...); err != nil {
				t.Fatal(err)
			}
			// What ends and what crashes does so in time.
			for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
				seen[i] = look(t, run, project)
				if seen[i].settled(project, s) || time.Now().After(end) {
					return
				}
			}
		}()
	}
	for _, line := range fields("", seen[0].facts(), seen[1].facts()) {
		t.Errorf("%s", line)
	}
}

// outcome is what there is of a project.
type outcome struct {
	containers map[string]*container.InspectResponse
	networks   []network.Inspect
	volumes    []volume.Volume
}

func look(t *testing.T, run func(args ...string) (string, error), project string) outcome {
	t.Helper()
	o := outcome{containers: map[string]*container.InspectResponse{}}
	var list []container.InspectResponse
	ask(t, run, project, []string{"ps", "-aq"}, []string{"inspect"}, &list)
	for i := range list {
		o.containers[strings.TrimPrefix(list[i].Name, "/")] = &list[i]
	}
	ask(t, run, project, []string{"network", "ls", "-q"}, []string{"network", "inspect"}, &o.networks)
	ask(t, run, project, []string{"volume", "ls", "-q"}, []string{"volume", "inspect"}, &o.volumes)
	return o
}

// ask lists what has the project's label and inspects it.
func ask(t *testing.T, run func(args ...string) (string, error), project string, list, inspect []string, into any) {
	t.Helper()
	ids, err := run(append(list, "--filter", "label=com.docker.compose.project="+project)...)
	if err != nil {
		t.Fatal(err)
	}
	if ids == "" {
		return
	}
	text, err := run(append(inspect, strings.Fields(ids)...)...)
	if err != nil {
		t.Fatal(err)
	}
	// docker compose passes ranges on that Docker does not read as such.
	text = strings.Replace(text, `"8000-8002": {}`, `"8000/tcp": {}, "8001/tcp": {}, "8002/tcp": {}`, 1)
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}

// settled tells whether the containers are as the scene says.
func (o outcome) settled(project string, s scene) bool {
	for name, want := range s.states {
		c := o.containers[project+"-"+name]
		if c == nil {
			c = o.containers[name]
		}
		// One that crashes is "running" too while it is cleaned up, without an address.
		if c == nil || c.RestartCount < s.restarts {
			return false
		}
		got := string(c.State.Status)
		if got == "exited" {
			got = fmt.Sprintf("exited %d", c.State.ExitCode)
		}
		if got != want {
			return false
		}
	}
	return true
}

// facts are what a Compose file decides.
func (o outcome) facts() any {
	all := map[string]any{}
	for name, c := range o.containers {
		all["container "+name] = facts(c)
	}
	for _, n := range o.networks {
		all["network "+n.Name] = map[string]any{"Labels": labels(n.Labels), "Driver": n.Driver, "Internal": n.Internal, "Attachable": n.Attachable, "IPv6": n.EnableIPv6, "Scope": n.Scope, "IPAM": n.IPAM.Driver}
	}
	for _, v := range o.volumes {
		all["volume "+v.Name] = map[string]any{"Labels": labels(v.Labels), "Driver": v.Driver, "Options": v.Options, "Scope": v.Scope}
	}
	text, _ := json.Marshal(all)
	for name, c := range o.containers {
		text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte(c.ID), []byte(name)), []byte(c.ID[:12]), []byte(name))
	}
	var out any
	json.Unmarshal(text, &out)
	return out
}

// labels are those without what is the program's own.
func labels(all map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range all {
		if k != model.LabelVersion && k != model.LabelImage {
			out[k] = v
		}
	}
	return out
}

// attached is what was asked of a container's networks, by name.
func attached(i *container.InspectResponse) map[string]any {
	all := map[string]any{}
	for name, e := range i.NetworkSettings.Networks {
		aliases := slices.DeleteFunc(slices.Clone(e.Aliases), func(a string) bool { return strings.HasPrefix(i.ID, a) || a == i.Config.Hostname })
		slices.Sort(aliases)
		slices.Sort(e.Links)
		all[name] = map[string]any{"Aliases": slices.Compact(aliases), "Links": e.Links, "IPAM": e.IPAMConfig, "Options": e.DriverOpts, "Address": e.IPAddress.IsValid()}
	}
	return all
}

// facts are what a Compose file decides of a container.
func facts(i *container.InspectResponse) map[string]any {
	c, h := i.Config, i.HostConfig
	if h.RestartPolicy.Name == "" {
		h.RestartPolicy.Name = "no" // Docker keeps that nothing was said, and means the same
	}
	if h.NetworkMode.IsContainer() || h.IpcMode.IsContainer() || h.PidMode.IsContainer() {
		delete(c.Labels, model.LabelHash) // the other's ID is in it
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
		"Labels": labels(c.Labels), "Cmd": c.Cmd, "Entrypoint": c.Entrypoint, "Env": c.Env, "User": c.User, "WorkingDir": c.WorkingDir,
		"StopSignal": c.StopSignal, "StopTimeout": c.StopTimeout, "Tty": c.Tty, "Healthcheck": c.Healthcheck, "Image": c.Image,
		"Binds": h.Binds, "Mounts": mounts, "Restart": h.RestartPolicy, "Memory": h.Memory, "NanoCPUs": h.NanoCPUs,
		"Pids": h.PidsLimit, "Reservation": h.MemoryReservation, "Ulimits": h.Ulimits, "CapAdd": h.CapAdd, "CapDrop": h.CapDrop,
		"Tmpfs": h.Tmpfs, "ReadOnly": h.ReadonlyRootfs, "Security": h.SecurityOpt, "Groups": h.GroupAdd, "Sysctls": h.Sysctls,
		"Hosts": h.ExtraHosts, "Shm": h.ShmSize, "Init": h.Init, "Log": h.LogConfig, "Network": h.NetworkMode, "OOM": h.OomScoreAdj,
		"Ports": h.PortBindings, "Exposed": c.ExposedPorts, "Published": published(i), "Networks": attached(i), "Hostname": hostname(i), "Domain": c.Domainname,
		"VolumesFrom": h.VolumesFrom, "PID": h.PidMode, "IPC": h.IpcMode, "Privileged": h.Privileged, "Stdin": c.OpenStdin, "DNS": h.DNS, "CPUs": h.CpusetCpus,
		"Exit": i.State.ExitCode, "Status": i.State.Status, "Restarts": i.RestartCount,
	}
	// As both print it: nil and empty are one.
	text, _ := json.Marshal(data)
	var out map[string]any
	json.Unmarshal(text, &out)
	return out
}

// hostname is what the file said: the container's ID is what it is without.
func hostname(i *container.InspectResponse) string {
	if strings.HasPrefix(i.ID, i.Config.Hostname) {
		return ""
	}
	return i.Config.Hostname
}

// published are the ports that are, and at how many places each.
func published(i *container.InspectResponse) map[string]int {
	all := map[string]int{}
	for port, list := range i.NetworkSettings.Ports {
		if len(list) > 0 {
			all[port.String()] = len(list)
		}
	}
	return all
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
