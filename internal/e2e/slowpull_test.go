package e2e

import (
	network "net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// slowly writes a body a little at a time, a pause after each.
type slowly struct {
	http.ResponseWriter
	pause time.Duration
}

func (s slowly) Write(p []byte) (n int, err error) {
	const little = 8 << 10
	for len(p) > 0 && err == nil {
		var m int
		m, err = s.ResponseWriter.Write(p[:min(len(p), little)])
		n, p = n+m, p[min(len(p), little):]
		if m == little {
			http.NewResponseController(s.ResponseWriter).Flush()
			time.Sleep(s.pause)
		}
	}
	return n, err
}

// TestSlowPull: a supervisor that waits for a container whose image is pulled is
// asked for more time as long as something comes, before it hears that all is
// ready.
func TestSlowPull(t *testing.T) {
	needRoot(t)
	addr := registryDaemon(t)
	ref := addr + "/slow:1"
	m := newMachine(t, "", "", 0)
	m.ok("import", busyboxTree(t), ref)
	m.ok("push", ref)
	m.ok("rmi", ref)
	// It takes a second more than twice the time after which it asks again.
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr})
	l, err := network.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxy.ServeHTTP(slowly{w, 80 * time.Millisecond}, r)
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	s := &supervisor{m: m}
	s.listen(filepath.Join(m.dir, "notify"))
	slow := l.Addr().String() + "/slow:1"
	cmd := m.command(t.Context(), "run", "--rm", "--name", "slow", net, slow, "sleep", "600")
	cmd.Env = append(cmd.Env, s.env...)
	cmd.Stdout, cmd.Stderr = &s.out, &s.out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	var asked []time.Time
	for buf := make([]byte, 4096); ; {
		s.socket.SetReadDeadline(time.Now().Add(time.Minute))
		n, err := s.socket.Read(buf)
		if err != nil {
			t.Fatalf("%v; %s", err, s.out.String())
		}
		said := string(buf[:n])
		if strings.HasPrefix(said, "EXTEND_TIMEOUT_USEC=30000000\nSTATUS=pulling "+slow) {
			asked = append(asked, time.Now())
		}
		if strings.Contains(said, "READY=1") {
			break
		}
	}
	if len(asked) < 2 || asked[1].Sub(asked[0]) < 4*time.Second {
		t.Errorf("asked for more time at %v", asked)
	}
	m.ok("kill", "slow")
	s.ends(cmd, 137)
}
