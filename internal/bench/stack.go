package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// stacks measures what a program in a network namespace without a bridge sends to
// the host, through a TCP/IP stack in userspace: ours, on a TAP and without one,
// slirp4netns, and pasta.
func stacks(b *bench) error {
	// The bench's own network may have no address but the loopback interface's, and
	// what listens there is not for containers.
	if _, err := sh("ip", "addr", "add", "198.51.100.1/32", "dev", "lo"); err != nil {
		return err
	}
	defer sh("ip", "addr", "del", "198.51.100.1/32", "dev", "lo")
	const port = ":47110"
	end, err := background(exec.Command(b.nettest, "serve", "0.0.0.0"+port), "127.0.0.1"+port)
	if err != nil {
		return err
	}
	defer end()
	ours := []string{b.coracle, "--root", b.dir + "/root", "--run", b.dir + "/run", "--backend", "wiring=netstack"}
	gateway, err := sh(ours[0], append(ours[1:], "network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge")...)
	if err != nil {
		return err
	}
	run := append(ours, "run", "--rm", "-v", b.nettest+":/nettest:ro", "box", "/nettest", "send", gateway+port)
	senders := map[string][]string{
		"tap": run,
		// A file that is no TAP device: then it does without.
		"pair": append([]string{"unshare", "-m", "sh", "-c", `mount --bind /dev/null /dev/net/tun && exec "$@"`, "sh"}, run...),
	}
	// The way from the stack to the service is of this machine, where a congestion
	// control that paces (BBR) costs everybody who does not ask for another; pasta
	// nearly stops.
	end, err = congestion("reno")
	if err != nil {
		return err
	}
	defer end()
	// pasta stalls now and then all the same; its best run is what it can do.
	peers := map[string]string{"slirp": "slirp4netns", "pasta": "pasta, its best run"}
	for name, serve := range map[string]func() (words []string, host string, end func(), err error){"slirp": slirp, "pasta": pasta} {
		words, host, end, err := serve()
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s left out: %v\n", name, err)
			delete(peers, name)
			continue
		}
		defer end()
		senders[name] = append(words, b.nettest, "send", host+port)
	}
	rates := map[string][]float64{}
	for range 5 {
		for name, words := range senders {
			f, err := pour(words...)
			if err != nil {
				return err
			}
			rates[name] = append(rates[name], f.rate())
		}
	}
	speed := middles(rates)
	if r := rates["pasta"]; r != nil {
		speed["pasta"] = slices.Max(r)
	}
	for _, of := range [][2]string{{"tap", "netstack to the host, throughput (reno)"}, {"pair", "the same without a TAP device"}} {
		for _, name := range slices.Sorted(maps.Keys(peers)) {
			b.higher(of[1], speed[of[0]], peers[name], speed[name])
		}
	}
	return nil
}

// pasta is the command that runs others in a network namespace that pasta serves, and
// where the host is there. It wants an interface that leads elsewhere.
func pasta() (words []string, host string, end func(), err error) {
	path, err := exec.LookPath("pasta")
	if err != nil {
		return nil, "", nil, err
	}
	host = "198.18.8.9"
	const link = "bench-pasta"
	end = func() { sh("ip", "link", "del", link) }
	for _, line := range []string{"link add " + link + " type veth peer name bench-nobody", "link set bench-nobody up", "link set " + link + " up", "addr add 198.18.8.1/30 dev " + link} {
		if _, err := sh("ip", strings.Fields(line)...); err != nil {
			end()
			return nil, "", nil, err
		}
	}
	words = append([]string{path}, strings.Fields("-q --runas 0 -t none -u none -T none -U none --config-net -4 -m 16000 -i "+link+" -a 198.18.8.10 -n 255.255.255.252 -g "+host+" --")...)
	return words, host, end, nil
}

// slirp is the command that runs others in a network namespace that slirp4netns
// serves, and where the host is there.
func slirp() (words []string, host string, end func(), err error) {
	path, err := exec.LookPath("slirp4netns")
	if err != nil {
		return nil, "", nil, err
	}
	holder := exec.Command("unshare", "-n", "sleep", "infinity")
	if err := holder.Start(); err != nil {
		return nil, "", nil, err
	}
	end = func() { holder.Process.Kill(); holder.Wait() }
	pid := strconv.Itoa(holder.Process.Pid)
	entered(holder.Process.Pid)
	r, w, err := os.Pipe()
	if err != nil {
		end()
		return nil, "", nil, err
	}
	defer r.Close()
	cmd := exec.Command(path, "--configure", "--mtu=65520", "--ready-fd=3", pid, "tap0")
	cmd.ExtraFiles = []*os.File{w}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	err = cmd.Start()
	w.Close()
	if err != nil {
		end()
		return nil, "", nil, err
	}
	hold := end
	end = func() { cmd.Process.Kill(); cmd.Wait(); hold() }
	if n, _ := r.Read(make([]byte, 1)); n != 1 {
		end()
		return nil, "", nil, errors.New(said.String())
	}
	return []string{"nsenter", "-t", pid, "-n"}, "10.0.2.2", end, nil
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
