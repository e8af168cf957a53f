package applet

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// background runs an applet in this process until the test ends, and returns
// the address that it says it listens on.
func background(t *testing.T, std Stdio, args ...string) (addr string, done chan int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	pr, pw := io.Pipe()
	if args[0] == "httpd" {
		std.Out, std.Err = pw, io.Discard
	} else {
		std.Err = pw
	}
	run, _ := Lookup(args[0])
	done = make(chan int, 1)
	ended := make(chan bool)
	go func() {
		done <- run(ctx, std, args)
		pw.Close()
		close(ended)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	buf := make([]byte, 256)
	n, err := pr.Read(buf)
	if err != nil {
		t.Fatalf("%q said nothing: %v", args, err)
	}
	go io.Copy(io.Discard, pr)
	f := strings.Fields(string(buf[:n]))
	return f[len(f)-1], done
}

func TestHTTP(t *testing.T) {
	dir := fixture(t)
	addr, _ := background(t, Stdio{Dir: dir}, "httpd", "-p", "127.0.0.1:0")
	url := "http://" + addr
	ctx := context.Background()
	get := func(args ...string) outcome { return inProcess(ctx, dir, "", append([]string{"wget"}, args...)...) }
	if got := get("-q", "-O", "-", url+"/d/a"); got.out != "in a\n" || got.code != 0 || got.err != "" {
		t.Errorf("%+v", got)
	}
	if got := get("-qO-", url+"/d/e/x%20y.txt"); got.out != "blank in the name\n" {
		t.Errorf("%+v", got)
	}
	if got := get("-q", "-O", "-", url+"/nosuch"); got.code != 1 || !strings.Contains(got.err, "404") {
		t.Errorf("%+v", got)
	}
	if got := get("-q", "-O", "-", url+"/../../etc/passwd"); got.code == 0 {
		t.Errorf("outside the directory: %+v", got)
	}
	if got := get("-O", "saved", url+"/words"); got.code != 0 || !strings.Contains(got.err, "'saved' saved (32 bytes)") {
		t.Errorf("%+v", got)
	}
	if got := inProcess(ctx, dir, "", "cmp", "words", "saved"); got.code != 0 {
		t.Error("saved is not what was served")
	}
	os.Truncate(filepath.Join(dir, "saved"), 10)
	if got := get("-q", "-c", "-O", "saved", url+"/words"); got.code != 0 {
		t.Errorf("continue: %+v", got)
	}
	if got := inProcess(ctx, dir, "", "cmp", "words", "saved"); got.code != 0 {
		t.Error("continued is not what was served")
	}
	if got := get("-q", "-P", "d", url+"/nums"); got.code != 0 {
		t.Errorf("%+v", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "d/nums")); err != nil {
		t.Error(err)
	}
	if got := get("-S", "-q", "-O", "-", url+"/words"); !strings.Contains(got.err, "200 OK") || !strings.Contains(got.err, "Content-Length: 32") {
		t.Errorf("-S: %+v", got)
	}
	if got := get("-q", "--spider", url+"/words"); got.code != 0 || got.out != "" {
		t.Errorf("--spider: %+v", got)
	}
}

func TestHTTPText(t *testing.T) {
	ctx := context.Background()
	addr, _ := background(t, Stdio{Dir: "/"}, "httpd", "-p", "127.0.0.1:0", "-t", "a text")
	if got := inProcess(ctx, "/", "", "wget", "-qO-", "--post-data", "x=1", addr+"/any"); got.out != "a text\n" {
		t.Errorf("%+v", got)
	}
	addr, _ = background(t, Stdio{Dir: "/"}, "httpd", "-n", "-p", "127.0.0.1:0")
	host, _ := os.Hostname()
	if got := inProcess(ctx, "/", "", "wget", "-qO-", addr); got.out != host+"\n" {
		t.Errorf("%+v, want %q", got, host)
	}
	if got := inProcess(ctx, "/", "", "httpd", "-p", addr, "-t", "x"); got.code != 1 || !strings.Contains(got.err, "address already in use") {
		t.Errorf("a port taken: %+v", got)
	}
}

// TestWgetTimeout: a server that takes the connection and stays silent.
func TestWgetTimeout(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	start := time.Now()
	got := inProcess(context.Background(), "/", "", "wget", "-q", "--timeout", "0.3", "-O", "-", ln.Addr().String())
	if got.code != 1 || !strings.Contains(got.err, "timed out") || time.Since(start) > 10*time.Second {
		t.Errorf("%+v after %v", got, time.Since(start))
	}
}

func TestNetcat(t *testing.T) {
	for _, u := range []string{"", "u"} {
		t.Run("tcp"+u, func(t *testing.T) {
			var got bytes.Buffer
			addr, done := background(t, Stdio{In: strings.NewReader("answer\n"), Out: &got, Dir: "/"}, "nc", "-lv"+u, "-w", "1", "-s", "127.0.0.1", "-p", "0")
			host, port, err := net.SplitHostPort(addr)
			if err != nil {
				t.Fatal(addr, err)
			}
			c := inProcess(context.Background(), "/", "question\n", "nc", "-w", "1", "-n"+u, host, port)
			if c.out != "answer\n" || c.code != 0 {
				t.Errorf("client: %+v", c)
			}
			select {
			case code := <-done:
				if code != 0 || got.String() != "question\n" {
					t.Errorf("server: code %d, %q", code, got.String())
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the server did not end")
			}
		})
	}
}

// TestNetcatCarries sends 16 MB and its end through a connection.
func TestNetcatCarries(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	var got bytes.Buffer
	addr, done := background(t, Stdio{Out: &got, Dir: "/"}, "nc", "-lv", "-s", "127.0.0.1", "-p", "0")
	host, port, _ := net.SplitHostPort(addr)
	run, _ := Lookup("nc")
	if code := run(context.Background(), Stdio{In: bytes.NewReader(data), Out: io.Discard, Err: io.Discard, Dir: "/"}, []string{"nc", host, port}); code != 0 {
		t.Errorf("client: %d", code)
	}
	<-done
	if !bytes.Equal(got.Bytes(), data) {
		t.Errorf("%d bytes arrived of %d", got.Len(), len(data))
	}
}

func TestNetcatUnixAndScan(t *testing.T) {
	dir := t.TempDir()
	var got bytes.Buffer
	_, done := background(t, Stdio{Out: &got, Dir: dir}, "nc", "-lvU", "sock")
	if c := inProcess(context.Background(), dir, "hi", "nc", "-U", "sock"); c.code != 0 {
		t.Errorf("%+v", c)
	}
	if <-done; got.String() != "hi" {
		t.Errorf("%q", got.String())
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := fmt.Sprint(ln.Addr().(*net.TCPAddr).Port)
	if c := inProcess(context.Background(), "/", "", "nc", "-zv", "-w", "2", "127.0.0.1", port); c.code != 0 {
		t.Errorf("open port: %+v", c)
	}
	if c := inProcess(context.Background(), "/", "", "nc", "-z", "-w", "2", "127.0.0.1", "1"); c.code != 1 {
		t.Errorf("closed port: %+v", c)
	}
}

func TestPing(t *testing.T) {
	got := inProcess(context.Background(), "/", "", "ping", "-c", "2", "-i", "0.05", "-W", "2", "127.0.0.1")
	if strings.Contains(got.err, "not permitted") || strings.Contains(got.err, "denied") {
		t.Skip("needs CAP_NET_RAW or ping_group_range")
	}
	if got.code != 0 || !strings.Contains(got.out, "2 packets received, 0% packet loss") {
		t.Errorf("%+v", got)
	}
}

// TestStreams carries 64 MB through pipes and archives.
func TestStreams(t *testing.T) {
	dir := t.TempDir()
	if got := run(t, dir, "head -c 67108864 /dev/zero | cat | cat | wc -c"); strings.TrimSpace(got.out) != "67108864" {
		t.Errorf("%+v", got)
	}
	if got := run(t, dir, "mkdir in out; yes 'some text that packs well' | head -c 67108864 > in/big; tar -czf - -C in . | tar -xzf - -C out; cmp in/big out/big && wc -c < out/big"); strings.TrimSpace(got.out) != "67108864" {
		t.Errorf("%+v", got)
	}
}
