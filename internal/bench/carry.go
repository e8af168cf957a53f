package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// forwarders measures what goes through a published port in userspace, over the
// loopback interface, and what a gigabyte costs the process in between.
func (b *bench) forwarders() error {
	proxy, err := exec.LookPath("docker-proxy")
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: docker-proxy left out:", err)
		return nil
	}
	sink, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer sink.Close()
	go swallow(sink)
	service := sink.Addr().(*net.TCPAddr)
	var carriers []*carrier
	for _, c := range []*carrier{{port: 47101}, {port: 47102}} {
		at := "127.0.0.1:" + strconv.Itoa(c.port)
		c.cmd = exec.Command(b.nettest, "forward", at, service.String())
		if len(carriers) > 0 {
			c.cmd = exec.Command(proxy, "-proto", "tcp", "-host-ip", "127.0.0.1", "-host-port", strconv.Itoa(c.port), "-container-ip", "127.0.0.1", "-container-port", strconv.Itoa(service.Port))
		}
		if err := c.start(at); err != nil {
			return err
		}
		defer c.stop()
		carriers = append(carriers, c)
	}
	// What the machine can do at all, with nobody in between.
	direct := &carrier{port: service.Port}
	carriers = append(carriers, direct)
	// In turns, so that a slow moment of the machine meets all.
	for range 5 {
		for _, c := range carriers {
			if err := c.send(time.Second); err != nil {
				return err
			}
		}
	}
	ours, theirs := carriers[0], carriers[1]
	b.rows = append(b.rows,
		row{"published port in userspace, throughput (ratio: higher is better)", ours.speed(), "docker-proxy", theirs.speed(), fmt.Sprintf("%.2f", ours.rate()/theirs.rate())},
		row{"the same, processor time a gigabyte", ms(ours.cost()), "docker-proxy", ms(theirs.cost()), fmt.Sprintf("%.2f", float64(ours.cost())/float64(theirs.cost()))},
		row{"client to service with no forwarder at all, throughput", direct.speed(), "docker-proxy", theirs.speed(), fmt.Sprintf("%.2f", direct.rate()/theirs.rate())})
	return nil
}

func swallow(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			buf := make([]byte, 1<<20)
			for {
				if _, err := c.Read(buf); err != nil {
					c.Write([]byte{0})
					return
				}
			}
		}()
	}
}

// carrier is one forwarder under measurement.
type carrier struct {
	port  int
	cmd   *exec.Cmd
	in    io.Closer
	bytes int64
	took  time.Duration
	cpu   time.Duration
}

func (c *carrier) start(at string) error {
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return err
	}
	c.in = in
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	c.cmd.ExtraFiles = []*os.File{null} // docker-proxy tells there that it listens
	if err := c.cmd.Start(); err != nil {
		return err
	}
	for range 100 {
		var conn net.Conn
		if conn, err = net.Dial("tcp", at); err == nil {
			return conn.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.stop()
	return err
}

func (c *carrier) stop() {
	c.in.Close()
	c.cmd.Process.Kill()
	c.cmd.Wait()
}

// send sends for a while, and waits until all has arrived.
func (c *carrier) send(d time.Duration) error {
	conn, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(c.port))
	if err != nil {
		return err
	}
	defer conn.Close()
	used, began, buf := c.used(), time.Now(), make([]byte, 256<<10)
	for time.Since(began) < d {
		n, err := conn.Write(buf)
		c.bytes += int64(n)
		if err != nil {
			return err
		}
	}
	conn.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, conn)
	c.took += time.Since(began)
	c.cpu += c.used() - used
	return nil
}

// used is the processor time of the process in between, where there is one.
func (c *carrier) used() time.Duration {
	if c.cmd == nil {
		return 0
	}
	return cpu(c.cmd.Process.Pid)
}

func (c *carrier) rate() float64 { return float64(c.bytes) / c.took.Seconds() }
func (c *carrier) speed() string { return fmt.Sprintf("%.2f GB/s", c.rate()/1e9) }
func (c *carrier) cost() time.Duration {
	return time.Duration(float64(c.cpu) / (float64(c.bytes) / 1e9))
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
	if err := b.forwarders(); err != nil {
		return err
	}
	if err := follow(b); err != nil {
		return err
	}
	return stacks(b)
}
