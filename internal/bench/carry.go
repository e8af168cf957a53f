package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// forwarders measures what goes through a published port in userspace, over the
// loopback interface, and what a gigabyte costs the process in between.
func forwarders(b *bench) error {
	proxy, err := exec.LookPath("docker-proxy")
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: docker-proxy left out:", err)
		return nil
	}
	control := "the host's congestion control"
	if data, err := os.ReadFile(congestionPath); err == nil {
		control += ", " + strings.TrimSpace(string(data))
	}
	if err := carried(b, proxy, control); err != nil {
		return err
	}
	back, err := congestion("reno")
	if err != nil {
		return err
	}
	defer back()
	return carried(b, proxy, "reno")
}

// carried measures forwarders beside each other; what paces on the loopback interface
// meets those who do nothing about it.
func carried(b *bench, proxy, control string) error {
	direct, ours, theirs := &carrier{port: 47100}, &carrier{port: 47101}, &carrier{port: 47102}
	direct.cmd = exec.Command(b.nettest, "serve", direct.at())
	ours.cmd = exec.Command(b.nettest, "forward", ours.at(), direct.at())
	theirs.cmd = exec.Command(proxy, "-proto", "tcp", "-host-ip", "127.0.0.1", "-host-port", strconv.Itoa(theirs.port), "-container-ip", "127.0.0.1", "-container-port", strconv.Itoa(direct.port))
	all := []*carrier{direct, ours, theirs}
	for _, c := range all {
		end, err := background(c.cmd, c.at())
		if err != nil {
			return err
		}
		defer end()
	}
	// In turns, so that a slow moment of the machine meets all.
	for range 7 {
		for _, c := range all {
			if err := c.send(b.nettest); err != nil {
				return err
			}
		}
	}
	b.higher("published port in userspace, throughput ("+control+")", ours.rate(), "docker-proxy", theirs.rate())
	b.rows = append(b.rows, row{"the same, processor time a gigabyte", ms(ours.cost()), "docker-proxy", ms(theirs.cost()), fmt.Sprintf("%.2f", float64(ours.cost())/float64(theirs.cost()))})
	b.higher("client to service with no forwarder at all, throughput", direct.rate(), "docker-proxy", theirs.rate())
	return nil
}

// congestionPath is what TCP sockets of this network namespace begin with.
const congestionPath = "/proc/sys/net/ipv4/tcp_congestion_control"

func congestion(name string) (back func(), err error) {
	was, err := os.ReadFile(congestionPath)
	if err != nil {
		return nil, err
	}
	return func() { os.WriteFile(congestionPath, was, 0) }, os.WriteFile(congestionPath, []byte(name), 0)
}

// background starts what listens at an address, and waits until it does.
func background(cmd *exec.Cmd, at string) (end func(), err error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	cmd.ExtraFiles = []*os.File{null} // docker-proxy tells there that it listens
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	end = func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	}
	for range 100 {
		var conn net.Conn
		if conn, err = net.Dial("tcp", at); err == nil {
			conn.Close()
			return end, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	end()
	return nil, err
}

// flow is what nettest send has sent: bytes, and the seconds they took.
type flow struct{ bytes, seconds float64 }

// pour runs nettest send for a second; words are the command and where to.
func pour(words ...string) (f flow, err error) {
	cmd := exec.Command(words[0], append(words[1:], "1s")...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err == nil {
		_, err = fmt.Sscan(string(out), &f.bytes, &f.seconds)
	}
	if err != nil {
		return f, fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, out, said.String())
	}
	return f, nil
}

func (f flow) rate() float64 { return f.bytes / f.seconds }

// higher adds a row of two throughputs, in bytes a second.
func (b *bench) higher(what string, ours float64, peer string, theirs float64) {
	b.rows = append(b.rows, row{what, fmt.Sprintf("%.2f GB/s", ours/1e9), peer, fmt.Sprintf("%.2f GB/s", theirs/1e9), fmt.Sprintf("%.2f", ours/theirs)})
}

// carrier is a forwarder under measurement, or the service itself.
type carrier struct {
	flow
	port int
	cmd  *exec.Cmd
	cpu  time.Duration
}

func (c *carrier) at() string { return "127.0.0.1:" + strconv.Itoa(c.port) }

func (c *carrier) send(nettest string) error {
	used := cpu(c.cmd.Process.Pid)
	f, err := pour(nettest, "send", c.at())
	if err != nil {
		return err
	}
	c.bytes += f.bytes
	c.seconds += f.seconds
	c.cpu += cpu(c.cmd.Process.Pid) - used
	return nil
}

func (c *carrier) cost() time.Duration {
	return time.Duration(float64(c.cpu) / (c.bytes / 1e9))
}

// cpu is the processor time that a process has used, with what the kernel did of the
// network's work on its behalf: a quarter of docker-proxy's, which the ticks in
// /proc/PID/stat count as nobody's. The clock's number is as in the kernel's
// include/linux/posix-timers.h: CPUCLOCK_SCHED of a process.
func cpu(pid int) time.Duration {
	const sched = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// wiring measures what carries packets and names, piece by piece, each in a
// process of its own.
func (b *bench) wiring() error {
	b.nettest = b.dir + "/nettest"
	build := exec.Command("go", "build", "-o", b.nettest, "coracle/net/nettest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build nettest: %w\n%s", err, out)
	}
	if err := forwarders(b); err != nil {
		return err
	}
	if err := follow(b); err != nil {
		return err
	}
	return stacks(b)
}
