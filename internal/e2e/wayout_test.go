package e2e

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	netpkg "net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// there runs f in the network namespace of a process; sockets that it opens stay
// there.
func there(t *testing.T, pid int, f func() error) {
	t.Helper()
	ns, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	sys.OnThread(func() {
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
			err = f()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// wiringOut: a container reaches what the host reaches, under the host's address;
// not from an internal network, and not other networks of containers.
func wiringOut(t *testing.T, m *machine) {
	needRoot(t) // for what is outside
	pid := outside(t)
	data := make([]byte, 8<<20)
	rand.Read(data)
	var web netpkg.Listener
	var echo netpkg.PacketConn
	there(t, pid, func() (err error) {
		if web, err = netpkg.Listen("tcp", "10.219.0.2:80"); err == nil {
			echo, err = netpkg.ListenPacket("udp", "10.219.0.2:7")
		}
		return err
	})
	mux := http.NewServeMux()
	mux.HandleFunc("/who", func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := netpkg.SplitHostPort(r.RemoteAddr)
		fmt.Fprintln(w, host)
	})
	mux.HandleFunc("/data", func(w http.ResponseWriter, _ *http.Request) { w.Write(data) })
	srv := &http.Server{Handler: mux}
	go srv.Serve(web)
	t.Cleanup(func() { srv.Close(); echo.Close() })
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := echo.ReadFrom(buf)
			if err != nil {
				return
			}
			echo.WriteTo(bytes.ToUpper(buf[:n]), from)
		}
	}()
	m.network("away")
	m.network("other")
	m.network("inward", "--internal")
	m.run("goes", []string{"--network", "away"}, "box", "sleep", "600")
	m.run("stays", []string{"--network", "inward"}, "box", "sleep", "600")
	m.serve("apart", "--network", "other")
	m.gets("goes", "http://10.219.0.2/who", "10.219.0.1")
	if got, sum := m.ok("exec", "goes", "sh", "-c", "wget -q -O - http://10.219.0.2/data | sha256sum"), sha256.Sum256(data); !strings.HasPrefix(got, hex.EncodeToString(sum[:])) {
		t.Errorf("8 MB from outside came as %s", got)
	}
	until(t, "an answer by UDP", func() bool {
		return strings.Contains(m.try("exec", "goes", "sh", "-c", "echo hello | nc -u -w 1 10.219.0.2 7").out, "HELLO")
	})
	if m.uid == 0 {
		m.reachesOutside("at the start", "goes")
	}
	if m.shared() {
		return // nothing is kept in
	}
	m.getsNot("stays", "http://10.219.0.2/who")
	m.getsNot("goes", "http://"+m.address("apart", "other")+"/")
	// A second network gives and takes the way out.
	m.ok("network", "connect", "away", "stays")
	m.gets("stays", "http://10.219.0.2/who", "10.219.0.1")
	m.ok("network", "disconnect", "away", "stays")
	m.getsNot("stays", "http://10.219.0.2/who")
}
