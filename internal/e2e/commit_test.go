package e2e

import (
	"strings"
	"testing"
)

// TestCommitKilled: who commits is killed while the container stands still for it:
// the container goes on. One that was paused before stays paused through a commit.
func TestCommitKilled(t *testing.T) {
	needRoot(t)
	for name, backend := range map[string]string{"best": "", "no control groups": "limits=rlimits,isolation=chroot,rootfs=copy"} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, "", backend, 0)
			m.ok("run", "-d", net, "--name", "ticks", "box", "sh", "-c",
				"head -c 400000000 /dev/urandom >/big; i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.05; done")
			until(t, "it ticks", func() bool { return strings.Contains(m.ok("logs", "ticks"), "tick 1\n") })
			state := func() string { return m.ok("inspect", "-f", "{{.State.Status}}", "ticks") }
			for range 3 {
				c := m.command(t.Context(), "commit", "ticks", "never:1")
				if err := c.Start(); err != nil {
					t.Fatal(err)
				}
				until(t, "it stands still", func() bool { return state() == "paused" })
				c.Process.Kill()
				c.Wait()
				until(t, "it goes on", func() bool { return state() == "running" })
				before := m.ok("logs", "ticks")
				until(t, "it ticks again", func() bool { return len(m.ok("logs", "ticks")) > len(before) })
			}
			if out := m.ok("images", "-q", "never"); out != "" {
				t.Errorf("half an image: %s", out)
			}
			m.ok("exec", "ticks", "rm", "/big")
			m.ok("commit", "ticks", "made:1")
			if s := state(); s != "running" {
				t.Errorf("after a commit it is %s", s)
			}
			m.ok("pause", "ticks")
			m.ok("commit", "ticks", "made:2")
			if s := state(); s != "paused" {
				t.Errorf("one that was paused is %s after a commit", s)
			}
			m.ok("unpause", "ticks")
			m.ok("rm", "-f", "ticks")
		})
	}
}
