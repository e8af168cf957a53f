package logs

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
)

func boat() *Info {
	return &Info{
		ContainerID: strings.Repeat("ab", 32), ContainerName: "/boat", ContainerImageName: "img:1", ContainerImageID: "sha256:" + strings.Repeat("cd", 32),
		ContainerLabels: map[string]string{"l": "1", "other": "2"}, ContainerEnv: []string{"E=3"},
	}
}

func start(t *testing.T, kind string, o map[string]string) (s Sink, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "json.log")
	s, err := Start(path, container.LogConfig{Type: kind, Config: o}, boat(), func(w string) { t.Log(w) })
	if err != nil {
		t.Fatal(err)
	}
	return s, path
}

// TestAttributes: labels, variables and the tag stand in each line.
func TestAttributes(t *testing.T) {
	s, path := start(t, "json-file", map[string]string{"labels": "l,none", "env-regex": "^E", "tag": "{{.Name}}/{{.ID}}/{{.ImageName}}"})
	fmt.Fprintln(s.Stdout(), "x")
	s.Close()
	got := all(t, path, Query{Tail: -1})
	if len(got) != 1 || fmt.Sprint(got[0].Attrs) != "map[E:3 l:1 tag:boat/abababababab/img:1]" {
		t.Errorf("%+v", got)
	}
}

// TestSyslog: each transport and each format, by a receiver that reads.
func TestSyslog(t *testing.T) {
	dir := t.TempDir()
	gram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "/log", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer gram.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	packet := func(c net.PacketConn) func() string {
		return func() string {
			c.SetReadDeadline(time.Now().Add(20 * time.Second))
			b := make([]byte, 4096)
			n, _, err := c.ReadFrom(b)
			if err != nil {
				t.Error(err)
			}
			return string(b[:n])
		}
	}
	var in *bufio.Reader
	stream := func() string {
		if in == nil {
			c, err := tcp.Accept()
			if err != nil {
				t.Error(err)
				return ""
			}
			c.SetDeadline(time.Now().Add(20 * time.Second))
			in = bufio.NewReader(c)
		}
		s, err := in.ReadString('\n')
		if err != nil {
			t.Error(err)
		}
		return s
	}
	const stamp, host = `[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d`, `\S+`
	for _, tc := range []struct {
		addr, format string
		read         func() string
		want         string // of a line on stdout
	}{
		{"unix://" + dir + "/log", "", packet(gram), `^<30>` + stamp + ` abababababab\[\d+\]: one\n$`},
		{"unixgram://" + dir + "/log", "rfc3164", packet(gram), `^<30>` + stamp + ` ` + host + ` abababababab\[\d+\]: one\n$`},
		{"udp://" + udp.LocalAddr().String(), "rfc5424", packet(udp), `^<30>1 \d{4}-\d\d-\d\dT[\d:+Z-]+ ` + host + ` abababababab \d+ abababababab - one\n$`},
		{"tcp://" + tcp.Addr().String(), "rfc5424micro", stream, `^<30>1 \S+\.\d{6}\S+ ` + host + ` abababababab \d+ abababababab - one\n$`},
	} {
		in = nil
		s, path := start(t, "syslog", map[string]string{"syslog-address": tc.addr, "syslog-format": tc.format})
		fmt.Fprintln(s.Stdout(), "one")
		if got := tc.read(); !regexp.MustCompile(tc.want).MatchString(got) {
			t.Errorf("%s %s: %q", tc.addr, tc.format, got)
		}
		fmt.Fprintln(s.Stderr(), "two")
		if got := tc.read(); !strings.HasPrefix(got, "<27>") {
			t.Errorf("stderr: %q", got)
		}
		if n, err := s.Close(); n != 0 || err != nil {
			t.Error(n, err)
		}
		if got := all(t, path, Query{Tail: -1}); len(got) != 2 {
			t.Errorf("the copy has %d lines", len(got))
		}
	}
}

// TestNobodyListens: a server that is down, and one that takes nothing, hold
// nobody up for long, and the copy is whole.
func TestNobodyListens(t *testing.T) {
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for _, l := range []net.Listener{deaf, gone} {
		for _, mode := range []string{"blocking", "non-blocking"} {
			s, path := start(t, "syslog", map[string]string{"syslog-address": "tcp://" + l.Addr().String(), "mode": mode, "cache-max-size": "100m"})
			line := strings.Repeat("x", 999) + "\n"
			longest := time.Duration(0)
			for range 400 { // past every socket's buffer, 16 KB a write
				began := time.Now()
				s.Stdout().Write([]byte(strings.Repeat(line, 16)))
				longest = max(longest, time.Since(began))
			}
			n, err := s.Close()
			if l == gone && (n == 0 || err == nil) {
				t.Errorf("gone, %s: %d lost, %v", mode, n, err)
			}
			if longest > 20*patience {
				t.Errorf("%s: a write took %v", mode, longest)
			}
			if got := all(t, path, Query{Tail: 1}); len(got) != 1 || got[0].Log != line {
				t.Errorf("%s: the copy ends in %q", mode, got)
			}
		}
	}
}

// TestServerComesBack: lines go on where a server was restarted.
func TestServerComesBack(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	s, _ := start(t, "syslog", map[string]string{"syslog-address": "tcp://" + addr, "cache-disabled": "true"})
	defer s.Close()
	fmt.Fprintln(s.Stdout(), "lost")
	if l, err = net.Listen("tcp", addr); err != nil {
		t.Skip("the port was taken meanwhile")
	}
	defer l.Close()
	got := make(chan string, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			line, _ := bufio.NewReader(c).ReadString('\n')
			got <- line
		}
	}()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		fmt.Fprintln(s.Stdout(), "again")
		select {
		case line := <-got:
			if !strings.HasSuffix(line, ": again\n") {
				t.Errorf("%q", line)
			}
			return
		default:
		}
	}
	t.Error("nothing came")
}

// TestJournal: entries of the native protocol, of one line, of many and of more
// than a datagram's, and parts of a long line.
func TestJournal(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "socket")
	t.Setenv("CORACLE_JOURNAL", sock)
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: sock, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, _ := start(t, "journald", map[string]string{"labels": "l", "tag": "t-{{.Name}}"})
	read := func() string {
		b := make([]byte, 64<<10)
		l.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := l.Read(b)
		if err != nil {
			t.Error(err)
		}
		return string(b[:n])
	}
	fmt.Fprintln(s.Stdout(), "hello")
	got := read()
	for _, want := range []string{
		"MESSAGE=hello\n", "PRIORITY=6\n", "CONTAINER_NAME=boat\n", "CONTAINER_ID=abababababab\n", "CONTAINER_TAG=t-boat\n",
		"SYSLOG_IDENTIFIER=t-boat\n", "IMAGE_NAME=img:1\n", "L=1\n", "CONTAINER_ID_FULL=" + strings.Repeat("ab", 32) + "\n",
	} {
		if !strings.Contains("\n"+got, "\n"+want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	fmt.Fprint(s.Stderr(), strings.Repeat("y", maxLine+5)+"\n")
	if got := read(); !strings.Contains(got, "CONTAINER_PARTIAL_MESSAGE=true\n") || !strings.Contains(got, "PRIORITY=3\n") {
		t.Errorf("%.200q", got)
	}
	if got := read(); strings.Contains(got, "PARTIAL") || !strings.Contains(got, "MESSAGE=yyyyy\n") {
		t.Errorf("%q", got)
	}
	s.Close()
}

// TestCompressed: what was compressed is read, by its end too, and followed.
func TestCompressed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "json.log")
	w, err := Open(path, Options{MaxSize: 16 << 10, MaxFiles: 6, Compress: true})
	if err != nil {
		t.Fatal(err)
	}
	end, done := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		err := Read(context.Background(), path, Query{Tail: -1, Follow: true, End: end}, func(e Entry) error {
			if e.Log != fmt.Sprintf("line %d\n", n) {
				t.Errorf("line %d is %q", n, e.Log)
			}
			n++
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		done <- n
	}()
	const lines = 1200
	for i := range lines {
		fmt.Fprintf(w.Stdout(), "line %d\n", i)
		if i%10 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	w.Close()
	close(end)
	if n := <-done; n != lines {
		t.Errorf("the follower saw %d lines", n)
	}
	zips, _ := filepath.Glob(path + ".*.gz")
	if len(zips) < 2 {
		files, _ := os.ReadDir(filepath.Dir(path))
		t.Errorf("compressed: %v of %v", zips, files)
	}
	got := all(t, path, Query{Tail: 1000})
	if len(got) == 0 || got[len(got)-1].Log != fmt.Sprintf("line %d\n", lines-1) {
		t.Fatalf("%d lines", len(got))
	}
	for i := range got {
		if want := fmt.Sprintf("line %d\n", lines-len(got)+i); got[i].Log != want {
			t.Fatalf("%q, want %q", got[i].Log, want)
		}
	}
}

func TestValid(t *testing.T) {
	for want, c := range map[string]container.LogConfig{
		"logging plugin x": {Type: "x"},
		"unknown log opt 'x' for json-file log driver":   {Type: "json-file", Config: map[string]string{"x": "1"}},
		"unknown log opt 'labels' for log driver local":  {Type: "local", Config: map[string]string{"labels": "1"}},
		"unknown log opt 'x' for syslog log driver":      {Type: "syslog", Config: map[string]string{"x": "1"}},
		"invalid syslog facility":                        {Type: "syslog", Config: map[string]string{"syslog-facility": "x"}},
		"Invalid syslog format":                          {Type: "syslog", Config: map[string]string{"syslog-format": "x"}},
		"should be in form proto://address":              {Type: "syslog", Config: map[string]string{"syslog-address": "x"}},
		"logging mode not supported: x":                  {Type: "journald", Config: map[string]string{"mode": "x"}},
		"max-buffer-size option is only supported with ": {Type: "json-file", Config: map[string]string{"max-buffer-size": "1m"}},
		"unclosed action":                                {Type: "journald", Config: map[string]string{"tag": "{{.ID"}},
	} {
		if err := Valid(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
	for _, kind := range []string{"json-file", "local", "none", "syslog", "journald"} {
		if err := Valid(container.LogConfig{Type: kind}); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
