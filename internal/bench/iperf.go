package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// outside is where the client is that comes to a published port from elsewhere,
// and the machine's address there.
const outside, inside = "198.18.7.2", "198.18.7.1"

// bridges measures by iperf3 what goes from one container to another on a network of
// their own, and from outside to a published port, beside Docker. The program is the
// machine's own, which the Debian tree is of the same release as.
func bridges(b *bench) error {
	if _, err := exec.LookPath("iperf3"); err != nil || !b.peers["docker"] {
		fmt.Fprintln(os.Stderr, "bench: throughput of bridges left out: it needs iperf3 and docker")
		return nil
	}
	client, end, err := elsewhere()
	if err != nil {
		return err
	}
	defer end()
	tools := map[string]string{"coracle": b.coracle, "docker": "docker"}
	ports := map[string]string{"coracle": "15201", "docker": "15202"}
	for name, tool := range tools {
		defer sh(tool, "network", "rm", "bench-net")
		defer sh(tool, "rm", "-f", "bench-server")
		for _, args := range [][]string{
			{"network", "create", "bench-net"},
			{"run", "-d", "--name", "bench-server", "--network", "bench-net", "-p", ports[name] + ":5201", "-v", "/usr:/usr:ro", "debian", "iperf3", "-s"},
		} {
			if _, err := sh(tool, args...); err != nil {
				return err
			}
		}
	}
	time.Sleep(time.Second) // until both listen
	among, from := map[string][]float64{}, map[string][]float64{}
	for range 5 {
		for name, tool := range tools {
			rate, err := iperf(tool, "run", "--rm", "--network", "bench-net", "-v", "/usr:/usr:ro", "debian", "iperf3", "-c", "bench-server", "-t", "1", "-J")
			if err != nil {
				return err
			}
			among[name] = append(among[name], rate)
			if rate, err = iperf("nsenter", "-t", client, "-n", "iperf3", "-c", inside, "-p", ports[name], "-t", "1", "-J"); err != nil {
				return err
			}
			from[name] = append(from[name], rate)
		}
	}
	add := func(what string, rates map[string][]float64) {
		mid := middles(rates)
		b.higher(what, mid["coracle"]/8, "docker", mid["docker"]/8)
	}
	add("container to container, iperf3", among)
	add("published port from outside, iperf3", from)
	return nil
}

// iperf is what an iperf3 client saw arrive, in bits a second.
func iperf(name string, args ...string) (float64, error) {
	out, err := sh(name, args...)
	if err != nil {
		return 0, err
	}
	var report struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.End.Received.Rate == 0 {
		return 0, fmt.Errorf("iperf3: %w: %s", err, out)
	}
	return report.End.Received.Rate, nil
}

// elsewhere is a network namespace with a link to ours, named by a process in it.
func elsewhere() (pid string, end func(), err error) {
	holder := exec.Command("unshare", "-n", "sleep", "infinity")
	if err := holder.Start(); err != nil {
		return "", nil, err
	}
	end = func() {
		holder.Process.Kill()
		holder.Wait()
		sh("ip", "link", "del", "bench-out")
	}
	entered(holder.Process.Pid)
	pid = strconv.Itoa(holder.Process.Pid)
	for _, line := range []string{
		"ip link add bench-out type veth peer name eth0 netns " + pid,
		"ip addr add " + inside + "/30 dev bench-out",
		"ip link set bench-out up",
		"nsenter -t " + pid + " -n ip addr add " + outside + "/30 dev eth0",
		"nsenter -t " + pid + " -n ip link set eth0 up",
	} {
		words := strings.Fields(line)
		if _, err := sh(words[0], words[1:]...); err != nil {
			end()
			return "", nil, err
		}
	}
	return pid, end, nil
}
