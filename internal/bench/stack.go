package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// stacks measures what a program in a network namespace without a bridge sends to
// the host, through a TCP/IP stack in userspace: ours, on a TAP and without one,
// and slirp4netns.
func stacks(b *bench) error {
	slirp, err := exec.LookPath("slirp4netns")
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: slirp4netns left out:", err)
		return nil
	}
	sink, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		return err
	}
	defer sink.Close()
	go swallow(sink)
	// The bench's own network may have no address but the loopback interface's, and
	// what listens there is not for containers.
	if _, err := sh("ip", "addr", "add", "198.51.100.1/32", "dev", "lo"); err != nil {
		return err
	}
	defer sh("ip", "addr", "del", "198.51.100.1/32", "dev", "lo")
	port := strconv.Itoa(sink.Addr().(*net.TCPAddr).Port)
	peer, end, err := slirpNet(slirp)
	if err != nil {
		return err
	}
	defer end()
	ours := []string{b.coracle, "--root", b.dir + "/root", "--run", b.dir + "/run", "--backend", "wiring=netstack"}
	gateway, err := sh(ours[0], append(ours[1:], "network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge")...)
	if err != nil {
		return err
	}
	run := append(ours, "run", "--rm", "-v", b.nettest+":/nettest:ro", "box", "/nettest", "send", gateway+":"+port)
	// A file that is no TAP device: then it does without.
	without := append([]string{"unshare", "-m", "sh", "-c", `mount --bind /dev/null /dev/net/tun && exec "$@"`, "sh"}, run...)
	theirs := []string{"nsenter", "-t", strconv.Itoa(peer), "-n", b.nettest, "send", "10.0.2.2:" + port}
	rates := map[string][]float64{}
	for range 3 {
		for name, words := range map[string][]string{"tap": run, "pair": without, "slirp4netns": theirs} {
			out, err := sh(words[0], append(words[1:], "1s")...)
			if err != nil {
				return err
			}
			rate, err := strconv.ParseFloat(out, 64)
			if err != nil {
				return fmt.Errorf("nettest send: %q", out)
			}
			rates[name] = append(rates[name], rate)
		}
	}
	speed := func(name string) float64 {
		slices.Sort(rates[name])
		return rates[name][len(rates[name])/2]
	}
	for _, of := range [][2]string{{"tap", "netstack to the host, throughput (ratio: higher is better)"}, {"pair", "the same without a TAP device"}} {
		name, what := of[0], of[1]
		b.rows = append(b.rows, row{what, fmt.Sprintf("%.2f GB/s", speed(name)/1e9), "slirp4netns", fmt.Sprintf("%.2f GB/s", speed("slirp4netns")/1e9), fmt.Sprintf("%.2f", speed(name)/speed("slirp4netns"))})
	}
	return nil
}

// slirpNet is a network namespace that slirp4netns serves, named by a process in it.
func slirpNet(slirp string) (pid int, end func(), err error) {
	holder := exec.Command("unshare", "-n", "sleep", "infinity")
	if err := holder.Start(); err != nil {
		return 0, nil, err
	}
	end = func() { holder.Process.Kill(); holder.Wait() }
	pid = holder.Process.Pid
	entered(pid)
	r, w, err := os.Pipe()
	if err != nil {
		end()
		return 0, nil, err
	}
	defer r.Close()
	cmd := exec.Command(slirp, "--configure", "--mtu=65520", "--ready-fd=3", strconv.Itoa(pid), "tap0")
	cmd.ExtraFiles = []*os.File{w}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	err = cmd.Start()
	w.Close()
	if err != nil {
		end()
		return 0, nil, err
	}
	hold := end
	end = func() { cmd.Process.Kill(); cmd.Wait(); hold() }
	if n, _ := r.Read(make([]byte, 1)); n != 1 {
		end()
		return 0, nil, fmt.Errorf("slirp4netns: %s", said.String())
	}
	return pid, end, nil
}

// entered waits until a process has left our network namespace.
func entered(pid int) {
	own, _ := os.Readlink("/proc/self/ns/net")
	for range 100 {
		if its, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/net"); err == nil && its != own {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
