package main

import (
	"debug/elf"
	"debug/gosym"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// tracing is where the kernel's tracer is (Documentation/trace/ftrace.rst).
const tracing = "/sys/kernel/tracing"

// toMain measures what the kernel and the runtime take before the first line of
// ours: from the execve system call to main, at which the kernel stops the program
// for its log (Documentation/trace/uprobetracer.rst). It is left out where the
// kernel or our rights do not have that.
func toMain(b *bench, bare string) error {
	if _, err := os.Stat(tracing + "/uprobe_events"); err != nil {
		fmt.Fprintln(os.Stderr, "bench: exec to main left out:", err)
		return nil
	}
	ours, err := untilMain(b.rounds*4, b.coracle, "version")
	if err != nil {
		return err
	}
	theirs, err := untilMain(b.rounds*4, bare)
	if err != nil {
		return err
	}
	b.budget("exec to main", ours, 2500*time.Microsecond)
	b.rows = append(b.rows, row{what: "the same, of a bare Go program", ours: ms(theirs)})
	return nil
}

// untilMain is the median over runs of program.
func untilMain(rounds int, program string, args ...string) (time.Duration, error) {
	program, err := filepath.EvalSymlinks(program)
	if err != nil {
		return 0, err
	}
	offset, err := mainOffset(program)
	if err != nil {
		return 0, err
	}
	name := "coracle_bench_" + strconv.Itoa(os.Getpid())
	log := tracing + "/instances/" + name
	if err := os.Mkdir(log, 0o700); err != nil {
		return 0, err
	}
	defer os.Remove(log)
	events := tracing + "/uprobe_events"
	if err := appendTo(events, fmt.Sprintf("p:%s/main %s:%#x", name, program, offset)); err != nil {
		return 0, err
	}
	defer appendTo(events, "-:"+name+"/main")
	defer os.WriteFile(log+"/events/enable", []byte("0"), 0)
	for file, text := range map[string]string{
		"trace_clock": "mono", "events/" + name + "/enable": "1", "events/syscalls/sys_enter_execve/enable": "1", "tracing_on": "1",
	} {
		if err := os.WriteFile(log+"/"+file, []byte(text), 0); err != nil {
			return 0, err
		}
	}
	pids := map[string]bool{}
	for range rounds {
		cmd := exec.Command(program, args...)
		if err := cmd.Run(); err != nil {
			return 0, err
		}
		pids[strconv.Itoa(cmd.Process.Pid)] = true
	}
	text, err := os.ReadFile(log + "/trace")
	if err != nil {
		return 0, err
	}
	times := spans(string(text), pids)
	if len(times) == 0 {
		return 0, errors.New("the kernel's log has no start of " + program)
	}
	return middle(times), nil
}

// logLine is "  name-PID  [cpu] flags  seconds: event…"; the name is the first letters
// of the program's, and may hold anything.
var logLine = regexp.MustCompile(`(?m)^.*-(\d+) +\[\d+\] \S+ +(\d+)\.(\d{6}): (sys_execve|main)\b`)

// spans are the times between the last execve and main of each of pids.
func spans(log string, pids map[string]bool) (times []time.Duration) {
	began := map[string]time.Duration{}
	for _, m := range logLine.FindAllStringSubmatch(log, -1) {
		seconds, _ := strconv.ParseInt(m[2], 10, 64)
		micros, _ := strconv.ParseInt(m[3], 10, 64)
		at := time.Duration(seconds)*time.Second + time.Duration(micros)*time.Microsecond
		switch from, ok := began[m[1]]; {
		case !pids[m[1]]:
		case m[4] != "main":
			began[m[1]] = at
		case ok:
			times = append(times, at-from)
			delete(began, m[1])
		}
	}
	return times
}

// mainOffset is where main begins in the file of a Go program, also one without a
// symbol table.
func mainOffset(program string) (uint64, error) {
	f, err := elf.Open(program)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines, text := f.Section(".gopclntab"), f.Section(".text")
	if lines == nil || text == nil {
		return 0, errors.New(program + " is no Go program")
	}
	data, err := lines.Data()
	if err != nil {
		return 0, err
	}
	table, err := gosym.NewTable(nil, gosym.NewLineTable(data, text.Addr))
	if err != nil {
		return 0, err
	}
	fn := table.LookupFunc("main.main")
	if fn == nil {
		return 0, errors.New(program + " has no main")
	}
	return fn.Entry - text.Addr + text.Offset, nil
}

func appendTo(file, line string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(line + "\n")
	return err
}
