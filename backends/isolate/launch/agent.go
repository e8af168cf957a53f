package launch

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"

	"coracle/backends/isolate"
	"coracle/backends/isolate/agent"

	"golang.org/x/sys/unix"
)

// Ask has the container's agent start the stage of p, which is one more process
// of t.
func Ask(ctx context.Context, t isolate.Target, p *Plan) (isolate.Process, error) {
	if !Alive(t) {
		return nil, fmt.Errorf("container %s: %w", t.ID, os.ErrProcessDone)
	}
	talk, err := newTalk(p.IO)
	if err != nil {
		return nil, err
	}
	defer talk.close()
	conn, err := agent.Dial(t.RunDir)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", t.ID, err)
	}
	if err := conn.Start(ctx, talk.files); err != nil {
		conn.Close()
		return nil, fmt.Errorf("container %s: %w", t.ID, err)
	}
	proc := &process{done: make(chan struct{}), kill: conn.Signal}
	// Before our copy of the socket is closed, by whose inode it is found.
	proc.pid, err = holder(t.PID, talk.theirs)
	talk.theirs.Close()
	go proc.hear(conn)
	if err == nil {
		p.Config.Inside = true
		err = proc.instruct(ctx, talk.ours, p)
	}
	if err != nil {
		proc.abandon()
		return nil, err
	}
	return proc, nil
}

// hear waits for the status that the agent tells.
func (p *process) hear(conn *agent.Conn) {
	defer close(p.done)
	status := conn.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status, p.reaped = status, true
	conn.Close()
}

// holder finds the host's number of the child of parent that has socket as
// descriptor 3. The kernel translates the numbers that it passes over sockets
// since 2.6.36 only, and shows a process's numbers inside in /proc since 4.1.
func holder(parent int, socket *os.File) (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(socket.Fd()), &st); err != nil {
		return 0, os.NewSyscallError("fstat", err)
	}
	want := "socket:[" + strconv.FormatUint(st.Ino, 10) + "]"
	all, err := PIDs()
	if err != nil {
		return 0, err
	}
	// The newest first.
	for _, pid := range slices.Backward(all) {
		if ParentOf(pid) != parent {
			continue
		}
		if to, _ := os.Readlink("/proc/" + strconv.Itoa(pid) + "/fd/3"); to == want {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("the process that the agent has started: %w", os.ErrProcessDone)
}
