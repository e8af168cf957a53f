package main

import (
	"bytes"
	"errors"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"coracle/internal/sys"

	"golang.org/x/net/dns/dnsmessage"
)

// follow measures how long after a container has started or ended another one still
// has the old answer, from its name server and from its hosts file: the longest of all
// rounds. The times of starts and ends are those that inspect shows.
func follow(b *bench) error {
	coracle := func(args ...string) (string, error) {
		return sh(b.coracle, append([]string{"--root", b.dir + "/follow", "--run", b.dir + "/follow-run"}, args...)...)
	}
	if _, err := coracle("network", "create", "n"); err != nil {
		return err
	}
	defer coracle("network", "prune", "-f")
	defer coracle("rm", "-f", "watcher", "comes")
	for _, args := range [][]string{{"run", "-d", "--name", "watcher", "--network", "n", "box", "sleep", "600"}, {"create", "--name", "comes", "--network", "n", "box", "sleep", "600"}} {
		if _, err := coracle(args...); err != nil {
			return err
		}
	}
	is, err := coracle("inspect", "-f", "{{.HostsPath}} /proc/{{.State.Pid}}/ns/net", "watcher")
	if err != nil {
		return err
	}
	hosts, ns, _ := strings.Cut(is, " ")
	server, err := dialIn(ns, "127.0.0.11:53")
	if err != nil {
		return err
	}
	defer server.Close()
	sees := map[string]func() bool{
		"name server": func() bool { return answers(server, "comes.") },
		"hosts file": func() bool {
			data, _ := os.ReadFile(hosts)
			return bytes.Contains(data, []byte("\tcomes "))
		},
	}
	longest := map[string]time.Duration{}
	for range 20 {
		for _, turn := range []struct {
			args []string
			when string
			want bool
		}{{[]string{"start", "comes"}, "{{.State.StartedAt}}", true}, {[]string{"stop", "-t", "0", "comes"}, "{{.State.FinishedAt}}", false}} {
			seen := watch(sees, turn.want)
			if _, err := coracle(turn.args...); err != nil {
				return err
			}
			text, err := coracle("inspect", "-f", turn.when, "comes")
			if err != nil {
				return err
			}
			at, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				return err
			}
			when := seen()
			for name := range sees {
				if when[name].IsZero() {
					return errors.New("a container's name did not follow its " + turn.args[0] + ": " + name)
				}
				longest[name] = max(longest[name], when[name].Sub(at))
			}
		}
	}
	b.budget("a name in another container's name server, behind a start or end", longest["name server"], 100*time.Millisecond)
	b.budget("the same in its hosts file", longest["hosts file"], 100*time.Millisecond)
	return thousand(b, coracle, server)
}

// thousand asks for each of a thousand names, nine times, one after the other.
func thousand(b *bench, coracle func(...string) (string, error), server net.Conn) error {
	args := []string{"run", "-d", "--name", "many", "--network", "n"}
	for i := range 1000 {
		args = append(args, "--network-alias", "name"+strconv.Itoa(i))
	}
	defer coracle("rm", "-f", "many")
	if _, err := coracle(append(args, "box", "sleep", "600")...); err != nil {
		return err
	}
	time.Sleep(100 * time.Millisecond) // names follow
	var took []time.Duration
	for range 9 {
		for i := range 1000 {
			name := "name" + strconv.Itoa(i) + "."
			began := time.Now()
			if !answers(server, name) {
				return errors.New("not answered: " + name)
			}
			took = append(took, time.Since(began))
		}
	}
	slices.Sort(took)
	b.budget("one of 1,000 names, 99 of 100 answers within", took[len(took)*99/100], time.Millisecond)
	return nil
}

// watch looks all the time, and tells when each first saw what is wanted.
func watch(sees map[string]func() bool, want bool) func() map[string]time.Time {
	var all sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]time.Time{}
	for name, see := range sees {
		all.Go(func() {
			for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
				if see() == want {
					mu.Lock()
					defer mu.Unlock()
					seen[name] = time.Now()
					return
				}
			}
		})
	}
	return func() map[string]time.Time {
		all.Wait()
		return seen
	}
}

// dialIn makes a UDP socket in a network namespace.
func dialIn(path, to string) (c net.Conn, err error) {
	ns, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if e := sys.InNetwork(ns, func() { c, err = net.Dial("udp", to) }); e != nil {
		return nil, e
	}
	return c, err
}

// answers asks a name server once.
func answers(c net.Conn, name string) bool {
	q := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	msg, err := q.Pack()
	if err != nil {
		return false
	}
	c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write(msg); err != nil {
		return false
	}
	buf := make([]byte, 1024)
	n, err := c.Read(buf)
	return err == nil && q.Unpack(buf[:n]) == nil && len(q.Answers) > 0
}
