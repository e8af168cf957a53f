package command

import (
	"slices"

	"github.com/urfave/cli/v2"
)

// containerFlags are those of run and create.
func containerFlags() []cli.Flag {
	return slices.Concat(processFlags(), isolationFlags(), resourceFlags(), modeFlags(), blockFlags(), keepFlags(), networkFlags())
}

func processFlags() []cli.Flag {
	return []cli.Flag{
		list("attach", "a", "Attach to STDIN, STDOUT or STDERR"),
		text("cidfile", "", "Write the container ID to the file"),
		contentTrustFlag(),
		text("entrypoint", "", "Overwrite the default ENTRYPOINT of the image"),
		groupFlag(),
		list("env", "e", "Set environment variables"),
		list("env-file", "", "Read in a file of environment variables"),
		list("group-add", "", "Add additional groups to join"),
		toggle("init", "", "Run an init inside the container that forwards signals and reaps processes"),
		toggle("interactive", "i", "Keep STDIN open even if not attached"),
		list("label", "l", "Set meta data on a container"),
		list("label-file", "", "Read in a line delimited file of labels"),
		text("name", "", "Assign a name to the container"),
		text("pidfile", "", "Write the host's PID of the container's first process to the file"),
		platformFlag(),
		text("pull", "", `Pull image before running ("always", "missing", "never")`),
		toggle("quiet", "q", "Suppress the pull output"),
		toggle("rm", "", "Automatically remove the container and its associated anonymous volumes when it exits"),
		text("stop-signal", "", "Signal to stop the container"),
		number("stop-timeout", "", "Timeout (in seconds) to stop a container"),
		toggle("tty", "t", "Allocate a pseudo-TTY"),
		text("user", "u", "Username or UID (format: <name|uid>[:<group|gid>])"),
		text("workdir", "w", "Working directory inside the container"),
	}
}

// platformFlag is that of commands that take one image, with Docker's variable.
func platformFlag() cli.Flag {
	f := text("platform", "", "Take the image of this platform (os/arch[/variant]), and an emulator if need be")
	f.EnvVars = []string{"DOCKER_DEFAULT_PLATFORM"}
	return f
}

func isolationFlags() []cli.Flag {
	return []cli.Flag{
		list("cap-add", "", "Add Linux capabilities"),
		list("cap-drop", "", "Drop Linux capabilities"),
		list("device", "", "Add a host device to the container"),
		text("hostname", "h", "Container host name"),
		list("mount", "", "`mount` Attach a filesystem mount to the container"),
		toggle("privileged", "", "Give extended privileges to this container"),
		toggle("read-only", "", "Mount the container's root filesystem as read only"),
		list("security-opt", "", "Security Options"),
		text("shm-size", "", "`bytes` Size of /dev/shm"),
		list("sysctl", "", "`map` Sysctl options"),
		list("tmpfs", "", "Mount a tmpfs directory"),
		list("volume", "v", "Bind mount a volume"),
	}
}

func resourceFlags() []cli.Flag {
	return []cli.Flag{
		number("cpu-shares", "c", "CPU shares (relative weight)"),
		text("cpus", "", "`decimal` Number of CPUs"),
		text("cpuset-cpus", "", "CPUs in which to allow execution (0-3, 0,1)"),
		text("cpuset-mems", "", "MEMs in which to allow execution (0-3, 0,1)"),
		text("kernel-memory", "", "`bytes` Is ignored: Linux deprecated this limit"),
		text("memory", "m", "`bytes` Memory limit"),
		text("memory-reservation", "", "`bytes` Memory soft limit"),
		text("memory-swap", "", "`bytes` Swap limit equal to memory plus swap: '-1' to enable unlimited swap"),
		number("oom-score-adj", "", "Tune host's OOM preferences (-1000 to 1000)"),
		number("pids-limit", "", "Tune container pids limit (set -1 for unlimited)"),
		list("ulimit", "", "`ulimit` Ulimit options"),
	}
}
