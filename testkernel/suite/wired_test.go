package suite

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// wirings are all rungs that wire containers.
var wirings = []string{"bridge-nft", "bridge-iptables", "bridge-forward", "netstack", "hostports"}

func TestWiredAsRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("missing feature: root")
	}
	eachWiring(t, 0)
}

func TestWiredAsUser(t *testing.T) {
	uid := os.Geteuid()
	if uid == 0 {
		uid = 42019
	}
	eachWiring(t, uid)
}

// eachWiring wires two containers by each rung that the kernel allows; which these
// are, the findings say.
func eachWiring(t *testing.T, uid int) {
	rungs := newCaller(t, uid).rungs()
	if rungs["isolation"] == "" {
		return // life tests what is said then
	}
	done := 0
	for _, rung := range wirings {
		if testing.Short() && rung != rungs["wiring"] && (uid != 0 || rung == "bridge-forward") {
			continue // an emulated kernel is slow
		}
		c := newCaller(t, uid)
		if a := c.call("--backend", "wiring="+rung, "probe"); a.code != 0 {
			t.Logf("%s: %s", rung, strings.TrimSpace(a.msg))
			if rung == rungs["wiring"] {
				t.Errorf("%s is chosen, and refused when it is asked for", rung)
			}
			continue
		}
		done++
		t.Run(rung, func(t *testing.T) {
			wired(&caller{t, c.uid, c.dir}, rung)
		})
	}
	if done == 0 {
		t.Error("no rung wires containers")
	}
}

// wired: two containers find each other by name, the host finds one by its published
// port, and names go with who has them.
func wired(c *caller, rung string) {
	by := func(args ...string) []string { return append([]string{"--backend", "wiring=" + rung}, args...) }
	ok := func(args ...string) {
		c.t.Helper()
		if a := c.call(by(args...)...); a.code != 0 {
			c.t.Fatalf("coracle %q: %+v", args, a)
		}
	}
	defer func() {
		if c.t.Failed() {
			c.call(by("rm", "-f", "web")...)
		}
		c.is(0, "wired", by("network", "rm", "wired")...)
	}()
	ok("network", "create", "wired")
	port, expose := "8080", []string{} // an ordinary user has none below 1024
	if rung == "hostports" {
		port, expose = "18680", []string{"--expose", "8080:18680"}
	}
	if rung == "hostports" && !testing.Short() {
		// Root's ports are not for others, which is said before the start.
		a := c.call(by("run", "--rm", "--network", "wired", "--expose", "80:18682", "box", "true")...)
		if said := strings.Contains(a.msg, "port 80/tcp"); a.code != 0 || said != (c.uid != 0) {
			c.t.Errorf("a port of root's: %+v", a)
		}
	}
	run := append([]string{"run", "-d", "--name", "web", "--network", "wired", "--network-alias", "www", "-p", "18681:8080"}, expose...)
	ok(append(run, "box", "sh", "-c", "mkdir /w; echo by name >/w/index.html; exec httpd -f -p "+port+" -h /w")...)
	get := "for i in web www; do n=0; until wget -q -T 5 -O - http://$i:8080/; do n=$((n+1)); test $n -lt 40 || exit 1; sleep 0.2; done; done"
	c.is(0, "by name\nby name", by("run", "--rm", "--network", "wired", "box", "sh", "-c", get)...)
	if got := fetched("http://127.0.0.1:18681/"); got != "by name" {
		c.t.Errorf("by the published port: %q", got)
	}
	ok("rm", "-f", "web")
	if testing.Short() {
		return
	}
	if a := c.call(by("run", "--rm", "--network", "wired", "box", "cat", "/etc/hosts")...); a.code != 0 || strings.Contains(a.out, "web") {
		c.t.Errorf("a name whose container is gone: %+v", a)
	}
}

// fetched asks until there is an answer; a kernel that is emulated is slow.
func fetched(url string) (got string) {
	client := &http.Client{Timeout: 5 * time.Second}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		r, err := client.Get(url)
		if err != nil {
			got = err.Error()
			continue
		}
		data, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if got = strings.TrimSpace(string(data)); r.StatusCode == http.StatusOK {
			return got
		}
	}
	return got
}
