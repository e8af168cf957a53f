package e2e

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// ids are what differs from run to run.
var ids = regexp.MustCompile(`[0-9a-f]{64}`)

// TestMistakesAsDocker: what a person mistypes, or asks of a container that is
// not as it would have to be.
func TestMistakesAsDocker(t *testing.T) {
	tool(t, "docker")
	if out, _ := exec.Command("docker", "--version").Output(); !strings.HasPrefix(string(out), "Docker version 28.") {
		t.Skipf("needs the client of Docker 28, whose words ours are: %s", out)
	}
	docker, us := dockerAndUs(t)
	for _, args := range [][]string{
		{"attach"}, {"attach", "a", "b"}, {"attach", "nobody"}, {"attach", "ended"}, {"attach", "plain"},
		{"attach", "--nosuch", "runs"},
		{"create"}, {"create", "--nosuch", "busybox:json"}, {"create", "--name", "runs", "busybox:json"}, {"create", "--name", "b!d", "busybox:json"},
		{"create", "-m", "1k", "busybox:json"}, {"create", "-m", "abc", "busybox:json"}, {"create", "-m", "-5m", "busybox:json"}, {"create", "-m", "", "busybox:json"},
		{"create", "-m", "64m", "--memory-swap", "32m", "busybox:json"}, {"create", "--memory-swap", "32m", "busybox:json"}, {"create", "--memory-reservation", "128m", "-m", "64m", "busybox:json"},
		{"create", "--cpus", "abc", "busybox:json"}, {"create", "--cpus", "0.0001", "busybox:json"}, {"create", "--cpus", "-1", "busybox:json"}, {"create", "--cpus", "1000", "busybox:json"},
		{"create", "--cpus", "1", "--cpu-quota", "1000", "busybox:json"}, {"create", "--cpus", "1", "--cpu-period", "1000", "busybox:json"},
		{"create", "--cpu-period", "10", "busybox:json"}, {"create", "--cpu-quota", "10", "busybox:json"}, {"create", "--cpuset-cpus", "x", "busybox:json"}, {"create", "--cpuset-cpus", "99", "busybox:json"}, {"create", "--cpuset-mems", "9", "busybox:json"},
		{"create", "--cpu-shares", "x", "busybox:json"}, {"create", "-c", "-2", "busybox:json"}, {"create", "--pids-limit", "x", "busybox:json"},
		{"create", "--oom-score-adj", "2000", "busybox:json"}, {"create", "--oom-score-adj", "x", "busybox:json"}, {"create", "--shm-size", "x", "busybox:json"}, {"create", "--shm-size", "-1", "busybox:json"}, {"create", "--shm-size", "0", "busybox:json"},
		{"create", "--ulimit", "x", "busybox:json"}, {"create", "--ulimit", "nofile", "busybox:json"}, {"create", "--ulimit", "nosuch=1", "busybox:json"}, {"create", "--ulimit", "nofile=x", "busybox:json"}, {"create", "--ulimit", "nofile=2:1", "busybox:json"}, {"create", "--ulimit", "nofile=1:2:3", "busybox:json"},
		{"create", "--restart", "on-failure:x", "busybox:json"}, {"create", "--restart", "on-failure:1:2", "busybox:json"},
		{"create", "--rm", "--restart", "always", "busybox:json"}, {"run", "--rm", "--restart", "always", "busybox:json"}, {"run", "-d", "--rm", "--restart", "on-failure", "busybox:json"},
		{"create", "--stop-timeout", "x", "busybox:json"}, {"create", "--stop-signal", "NOSUCH", "busybox:json"},
		{"create", "-e", "=x", "busybox:json"}, {"create", "-e", "", "busybox:json"}, {"create", "--env-file", "/no/such", "busybox:json"}, {"create", "-l", "", "busybox:json"}, {"create", "-l", "=x", "busybox:json"}, {"create", "--label-file", "/no/such", "busybox:json"},
		{"create", "--add-host", "x", "busybox:json"}, {"create", "--add-host", "x:y", "busybox:json"}, {"create", "--add-host", "x:", "busybox:json"}, {"create", "--dns", "x", "busybox:json"}, {"create", "--dns-search", ".x y", "busybox:json"},
		{"create", "--device", "x", "busybox:json"}, {"create", "--device", "", "busybox:json"}, {"create", "--device", "/dev/null:/dev/x:q", "busybox:json"}, {"create", "--device", "/dev/null:/x:rwm:y", "busybox:json"},
		{"create", "--cap-add", "NOSUCH", "busybox:json"}, {"create", "--cap-drop", "nosuch", "busybox:json"}, {"create", "--cap-add", "", "busybox:json"}, {"create", "--security-opt", "x", "busybox:json"}, {"create", "--security-opt", "x=y", "busybox:json"}, {"create", "--security-opt", "seccomp=/no/such", "busybox:json"},
		{"create", "--pid", "x", "busybox:json"}, {"create", "--uts", "x", "busybox:json"}, {"create", "--userns", "x", "busybox:json"}, {"create", "--cgroupns", "x", "busybox:json"}, {"create", "--ipc", "container:nobody", "busybox:json"}, {"create", "--pid", "container:", "busybox:json"},
		{"create", "--blkio-weight-device", "x", "busybox:json"}, {"create", "--device-read-bps", "x", "busybox:json"}, {"create", "--device-read-bps", "/dev/x:y", "busybox:json"}, {"create", "--device-write-iops", "/dev/x:-1", "busybox:json"},
		{"create", "--health-interval", "x", "busybox:json"}, {"create", "--health-interval", "1us", "--health-cmd", "true", "busybox:json"}, {"create", "--health-interval", "-1s", "--health-cmd", "true", "busybox:json"}, {"create", "--health-retries", "-1", "--health-cmd", "true", "busybox:json"}, {"create", "--no-healthcheck", "--health-cmd", "x", "busybox:json"}, {"create", "--health-timeout", "1us", "--health-cmd", "x", "busybox:json"}, {"create", "--health-start-period", "-1s", "--health-cmd", "x", "busybox:json"},
		{"create", "--tmpfs", "x", "busybox:json"}, {"create", "--tmpfs", "/x:nosuchopt", "busybox:json"}, {"create", "--tmpfs", "", "busybox:json"}, {"create", "--tmpfs", "/", "busybox:json"},
		{"create", "-v", "", "busybox:json"}, {"create", "-v", "/x:/", "busybox:json"}, {"create", "-v", "/x:y", "busybox:json"}, {"create", "-v", "/a:/b:ro,rw", "busybox:json"}, {"create", "-v", "/a:/b:ro,z,Z", "busybox:json"}, {"create", "-v", "/a:/x", "-v", "/b:/x", "busybox:json"}, {"create", "-v", "a:/x:ro:z", "busybox:json"}, {"create", "-v", "./a:/x:bad", "busybox:json"},
		{"create", "--mount", "", "busybox:json"}, {"create", "--mount", "x", "busybox:json"}, {"create", "--mount", "type=bind", "busybox:json"}, {"create", "--mount", "type=bind,dst=/x", "busybox:json"}, {"create", "--mount", "type=x,dst=/x", "busybox:json"}, {"create", "--mount", "type=bind,src=/etc,dst=x", "busybox:json"}, {"create", "--mount", "type=bind,src=etc,dst=/x", "busybox:json"}, {"create", "--mount", "type=bind,src=/etc,dst=/", "busybox:json"}, {"create", "--mount", "type=volume,src=a/b,dst=/x", "busybox:json"}, {"create", "--mount", "type=tmpfs,src=x,dst=/x", "busybox:json"}, {"create", "--mount", "type=tmpfs,dst=/x,tmpfs-size=x", "busybox:json"}, {"create", "--mount", "type=tmpfs,dst=/x,tmpfs-mode=9", "busybox:json"}, {"create", "--mount", "type=bind,src=/etc,dst=/x,bind-propagation=x", "busybox:json"}, {"create", "--mount", "type=bind,src=/etc,dst=/x,readonly=x", "busybox:json"}, {"create", "--mount", "type=bind,src=/etc,dst=/x,nosuch=x", "busybox:json"}, {"create", "--mount", "type=volume,dst=/x,tmpfs-size=1", "busybox:json"}, {"create", "--mount", "type=bind,src=/etc,dst=/x,volume-nocopy", "busybox:json"}, {"create", "--mount", "type=tmpfs,dst=/x,bind-propagation=shared", "busybox:json"}, {"create", "--mount", "type=bind,src=/etc,dst=/x", "-v", "/etc:/x", "busybox:json"},
		{"create", "--volumes-from", "", "busybox:json"}, {"create", "--volumes-from", ":ro", "busybox:json"},
		{"create", "--log-opt", "x", "busybox:json"}, {"create", "--log-opt", "max-file=2", "busybox:json"}, {"create", "--log-driver", "syslog", "--log-opt", "syslog-address=x://y", "busybox:json"}, {"create", "--log-driver", "syslog", "--log-opt", "syslog-facility=x", "busybox:json"}, {"create", "--log-driver", "local", "--log-opt", "nosuch=1", "busybox:json"}, {"create", "--log-opt", "mode=x", "busybox:json"}, {"create", "--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=x", "busybox:json"}, {"create", "--log-driver", "journald", "--log-opt", "max-size=1m", "busybox:json"},
		{"create", "--hostname", "-bad-", "busybox:json"}, {"create", "--hostname", "a_b", "busybox:json"}, {"create", "--mac-address", "x", "busybox:json"}, {"create", "--link", "nobody", "busybox:json"}, {"create", "--link", "", "busybox:json"}, {"create", "-p", "x", "busybox:json"}, {"create", "-p", "99999:1", "busybox:json"}, {"create", "-p", "1:2:3:4", "busybox:json"}, {"create", "-p", "80/x", "busybox:json"}, {"create", "-p", "1-3:1-2", "busybox:json"},
		{"create", "-w", "tmp", "busybox:json"}, {"create", "--entrypoint", "", "--net", "none", "busybox:json"}, {"create", "--cidfile", "/no/such/dir/x", "busybox:json"}, {"create", "--cidfile", "/etc/passwd", "busybox:json"}, {"create", "--group-add", "nosuch", "--net", "none", "busybox:json"}, {"create", "--pull", "x", "busybox:json"}, {"create", "--cgroup-parent", "a b", "--net", "none", "busybox:json"}, {"create", "--storage-opt", "x", "busybox:json"}, {"create", "--sysctl", "x", "busybox:json"},
		{"create", "BAD/Image"}, {"create", "--pull", "never", "nosuch"}, {"create", ""}, {"create", "busybox:no:no"},
		{"run", "-it", "busybox:json"}, {"run", "-d", "-a", "stdout", "busybox:json"}, {"run", "-a", "x", "busybox:json"},
		{"exec"}, {"exec", "runs"}, {"exec", "nobody", "true"}, {"exec", "ended", "true"}, {"exec", "plain", "true"}, {"exec", "-e", "=x", "runs", "true"}, {"exec", "--env-file", "/no/such", "runs", "true"}, {"exec", "-it", "runs", "true"}, {"exec", "-t", "runs", "sh", "-c", "exit 4"}, {"exec", "runs", "sh", "-c", "exit 5"}, {"exec", "runs", "sh", "-c", "kill -9 $$"}, {"exec", "--nosuch", "runs", "true"},
		{"kill"}, {"kill", "nobody"}, {"kill", "-s", "NOSUCH", "runs"}, {"kill", "-s", "0", "runs"},
		{"logs"}, {"logs", "nobody"}, {"logs", "--tail", "x", "ended"}, {"logs", "--since", "x", "ended"}, {"logs", "--until", "x", "ended"}, {"logs", "plain"}, {"logs", "a", "b"}, {"logs", "--tail", "-5", "ended"}, {"logs", "--since", "5q", "ended"},
		{"pause"}, {"pause", "nobody"}, {"pause", "ended"}, {"unpause", "runs"}, {"unpause", "nobody"}, {"unpause", "ended"}, {"unpause", "plain"}, {"pause", "runs"}, {"pause", "runs"}, {"exec", "runs", "true"}, {"restart", "-t", "x", "runs"}, {"attach", "runs"}, {"start", "runs"}, {"unpause", "runs", "runs"},
		{"port"}, {"port", "nobody"}, {"port", "runs", "80"}, {"port", "runs", "x"}, {"port", "runs", "80/x"}, {"port", "ended"}, {"port", "runs"},
		{"rename"}, {"rename", "plain"}, {"rename", "nobody", "x"}, {"rename", "plain", "runs"}, {"rename", "plain", "plain"}, {"rename", "plain", "b!d"}, {"rename", "plain", ""}, {"rename", "", "x"},
		{"restart"}, {"restart", "nobody"}, {"restart", "--time", "x", "ended"},
		{"rm"}, {"rm", "nobody"}, {"rm", "-f", "nobody"}, {"rm", "nobody", "nobody2"}, {"rm", "-v", "nobody"},
		{"start"}, {"start", "nobody"}, {"start", "-a", "plain", "ended"}, {"start", "-i", "plain", "ended"}, {"start", "nobody", "nobody2"}, {"start", "runs"},
		{"stats", "--no-stream", "nobody"}, {"stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "ended"},
		{"stop"}, {"stop", "nobody"}, {"stop", "ended"}, {"stop", "plain"}, {"stop", "-t", "x", "runs"}, {"stop", "-s", "NOSUCH", "ended"},
		{"top"}, {"top", "nobody"}, {"top", "ended"},
		{"update"}, {"update", "runs"}, {"update", "nobody"}, {"update", "-m", "1k", "runs"}, {"update", "-m", "x", "runs"}, {"update", "-m", "256m", "runs"}, {"update", "--restart", "on-failure:x", "runs"}, {"update", "--cpus", "x", "runs"}, {"update", "--cpus", "1000", "runs"}, {"update", "--cpuset-cpus", "99", "runs"}, {"update", "--cpu-period", "1", "runs"}, {"update", "--pids-limit", "x", "runs"}, {"update", "--cpu-shares", "512", "nobody", "runs"}, {"update", "--restart", "always", "plain"},
		{"wait"}, {"wait", "nobody"}, {"wait", "ended"}, {"wait", "ended", "nobody"},
		{"events", "--since", "x"}, {"events", "--until", "x"}, {"events", "--since", "1h", "--until", "0s", "--filter", "x"}, {"events", "x"},
		{"ps", "x"}, {"ps", "--filter", "x"}, {"ps", "--filter", "nosuch=x"}, {"ps", "--filter", "status=x"}, {"ps", "--filter", "is-task=x"}, {"ps", "--filter", "expose=80/x"}, {"ps", "--filter", "ancestor=nosuch"}, {"ps", "--filter", "network=nosuch"}, {"ps", "--filter", "volume=nosuch"}, {"ps", "-n", "x"}, {"ps", "-a", "--filter", "volume=/named", "--format", "{{.Names}}"}, {"ps", "-a", "--filter", "label=cl", "--format", "{{.Names}}"}, {"ps", "-a", "--filter", "label=cl=x", "--format", "{{.Names}}"},
		{"inspect"}, {"inspect", "--type", "volume", "runs"}, {"inspect", "--type", "container", "busybox:json"}, {"inspect", "-f", "{{.Id}}", "nobody", "nobody2"}, {"container", "inspect", "nobody"}, {"container", "inspect", "busybox:json"},
		{"cp", "nobody:/x", "/tmp"}, {"cp", "runs:/nosuch", "/tmp"}, {"cp", "runs:/etc", "made:/tmp"}, {"cp", "/etc", "/tmp"}, {"cp", "/etc/passwd", "runs:/nosuch/dir/"}, {"cp", "runs:/etc/passwd", "/no/such/dir/x"}, {"cp", "-", "runs:/nosuch"},
		{"diff"}, {"diff", "nobody"}, {"commit"}, {"commit", "nobody"}, {"commit", "ended", "BAD"}, {"export", "nobody"}, {"export"},
		{"volume", "create", "a/b"}, {"volume", "create", "-d", "nosuch", "v"}, {"volume", "create", "-o", "x", "v"}, {"volume", "create", "-o", "nosuch=x", "v1"}, {"volume", "create", "-o", "type=tmpfs", "v2"}, {"volume", "create", "-o", "size=1m", "v3"}, {"volume", "create", "x"}, {"volume", "rm"}, {"volume", "rm", "named"}, {"volume", "rm", "-f", "nosuch"}, {"volume", "inspect"}, {"volume", "ls", "--filter", "x"}, {"volume", "ls", "--filter", "nosuch=x"}, {"volume", "prune", "-f", "--filter", "nosuch=x"}, {"volume", "ls", "x"}, {"volume", "create", ""},
		{"container", "prune", "-f", "--filter", "nosuch=x"}, {"container", "prune", "x"}, {"container", "nosuch"}, {"nosuch"}, {"container", "ls", "--nosuch"}, {"-x"}, {"--nosuch", "ps"},
	} {
		theirs, want := docker(args...)
		ours, got := us(args...)
		if got != want {
			t.Errorf("%q: exit %d, Docker's is %d: %s; %s", args, got, want, ours, theirs)
		}
		if a, b := ids.ReplaceAllString(said(ours), "ID"), ids.ReplaceAllString(said(theirs), "ID"); a != b {
			t.Errorf("%q: ours\n%s\nDocker's\n%s", args, a, b)
		}
	}
}
