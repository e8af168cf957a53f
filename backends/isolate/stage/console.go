package stage

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// terminal makes a pseudo-terminal in the container's own devpts, so that its
// name is the same inside and outside the program, sends the master to the
// monitor and takes the slave as the three streams and controlling terminal.
func terminal(c *Config, id *identity) error {
	if !c.Terminal {
		return nil
	}
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return step("open /dev/ptmx", err)
	}
	defer unix.Close(master)
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return step("unlock terminal", err)
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return step("number of terminal", err)
	}
	name := "/dev/pts/" + strconv.Itoa(n)
	slave, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return step("open "+name, err)
	}
	if c.Rows > 0 && c.Cols > 0 {
		unix.IoctlSetWinsize(slave, unix.TIOCSWINSZ, &unix.Winsize{Row: c.Rows, Col: c.Cols})
	}
	// mode 0620 as grantpt(3); a user namespace may not map the tty group.
	unix.Fchown(slave, id.uid, -1)
	if !c.Enter && c.PrivateMounts {
		if err := bindConsole(name); err != nil {
			return step("bind /dev/console", err)
		}
	}
	if err := tellFiles(message{Console: true}, master); err != nil {
		return step("send terminal", err)
	}
	for fd := range 3 {
		if err := unix.Dup3(slave, fd, 0); err != nil {
			return step("terminal as stream", err)
		}
	}
	// The init leaves the terminal to its child.
	if c.Init {
		return nil
	}
	return step("controlling terminal", unix.IoctlSetInt(0, unix.TIOCSCTTY, 0))
}

func bindConsole(name string) error {
	f, err := os.OpenFile("/dev/console", os.O_CREATE|os.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0o600)
	if err == nil {
		f.Close()
	}
	return unix.Mount(name, "/dev/console", "", unix.MS_BIND, "")
}
