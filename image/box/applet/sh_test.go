package applet

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

func TestShell(t *testing.T) {
	for _, tt := range []struct {
		name, script, out string
		code              int
	}{
		{"loops", "for i in 1 2 3; do echo $i; done; n=0; while [ $n -lt 2 ]; do n=$((n+1)); echo w$n; done; until [ $n -eq 0 ]; do n=$((n-1)); done; echo $n", "1\n2\n3\nw1\nw2\n0\n", 0},
		{"break and continue", "for i in 1 2 3 4; do [ $i = 2 ] && continue; [ $i = 4 ] && break; echo $i; done", "1\n3\n", 0},
		{"case", "case abc in x) echo x;; a*) echo a;; *) echo other;; esac", "a\n", 0},
		{"functions", "f() { local v=$1; echo f$v; return 7; }; f 1; echo $?; type f >/dev/null && echo known", "f1\n7\nknown\n", 0},
		{"pipes", "seq 10 | grep 1 | wc -l | tr -d ' '; false | true; echo $?; true | false; echo $?", "2\n0\n1\n", 0},
		{"pipe into a loop", "seq 3 | while read -r x; do echo \"<$x>\"; done", "<1>\n<2>\n<3>\n", 0},
		{"redirections", "echo a > f; echo b >> f; cat < f; ls nosuch 2> e; test -s e && echo err; { echo x; ls nosuch; } > both 2>&1; wc -l < both | tr -d ' '; echo gone > /dev/null", "a\nb\nerr\n2\n", 0},
		{"here-documents", "v=1; cat <<A; cat <<'B'; cat <<-C\n$v $((v+1)) $(echo sub)\nA\n$v\nB\n\ttab\n\tC\n", "1 2 sub\n$v\ntab\n", 0},
		{"command substitution", "echo \"$(echo a; echo b)\" `echo c`; x=$(false); echo $?; echo $(cat d/a)", "a\nb c\n1\nin a\n", 0},
		{"exit codes", "(exit 3); echo $?; sh -c 'exit 4'; echo $?; nosuch 2>/dev/null; echo $?; ./words 2>/dev/null; echo $?; ! true; echo $?; exit 9", "3\n4\n127\n126\n1\n", 9},
		{"code of the last command", "false", "", 1},
		{"killed by a signal", "sh -c 'kill -9 $$'; echo $?", "137\n", 0},
		{"exit trap", "trap 'echo bye $?' EXIT; echo hi; exit 3", "hi\nbye 3\n", 3},
		{"background and wait", "{ sleep 0.05; echo bg; exit 5; } & p=$!; echo fg; wait $p; echo $?; wait; echo done", "fg\nbg\n5\ndone\n", 0},
		{"kill a job", "sleep 60 & kill $!; wait $!; echo $?; (sleep 60; echo no) & kill -9 $!; wait $!; echo $?", "143\n137\n", 0},
		{"kill the second of two jobs", "sleep 60 & a=$!; sleep 61 & b=$!; kill $b; wait $b; echo $?; kill -0 $a && echo lives; kill -INT $a; wait $a; echo $?", "143\nlives\n130\n", 0},
		{"kill a job that is a process", "sh -c 'sleep 60' & kill $!; wait $!; echo $?", "143\n", 0},
		{"cd acts on applets", "cd d; pwd | grep -o '[^/]*$'; ls; cat a; cd sub; cat b.txt; cd ..; cat a; (cd e; ls); ls", "d\na\ne\nsub\nin a\ntext of b\nin a\nx y.txt\na\ne\nsub\n", 0},
		{"environment acts on applets", "export V=1; printenv V; V=2 printenv V; W=3; printenv W; unset V; printenv V; echo $?", "1\n2\n1\n", 0},
		{"parameters", "set -- a 'b c'; echo $# \"$2\" \"$@\" ${1:-x} ${9:-y} ${#2}; shift; echo $1; v=file.tar.gz; echo ${v%.gz} ${v%%.*} ${v#*.} ${v##*.}", "2 b c a b c a y 3\nb c\nfile.tar file tar.gz gz\n", 0},
		{"arithmetic", "echo $((2*3+4)) $((7/2)) $((7%3)) $((1<<4)) $((5>3)); i=1; i=$((i+=2)); echo $i", "10 3 1 16 1\n3\n", 0},
		{"globs", "echo d/*; echo d/nosuch*; echo 'd/*'; echo *.lines", "d/a d/e d/sub\nd/nosuch*\nd/*\ntwenty.lines\n", 0},
		{"quoting", "a='x  y'; echo $a; echo \"$a\"; echo '$a' \"\\$a\"; IFS=:; b=1:2; echo $b", "x y\nx  y\n$a $a\n1 2\n", 0},
		{"errexit", "set -e; echo a; if false; then :; fi; false || true; false; echo no", "a\n", 1},
		{"nounset", "set -u; echo ${x:-ok}; echo $x; echo no", "ok\n", 1},
		{"exec replaces", "exec echo replaced; echo no", "replaced\n", 0},
		{"exec of nothing", "exec nosuch; echo no", "", 127},
		{"exec for redirections", "exec > f; echo in file; exec >&2; cat f", "", 0},
		{"exec keeps the PID", "a=$$; exec sh -c 'test $0 = $$ && echo same' $a", "same\n", 0},
		{"exec in a subshell", "(exec echo sub); echo after; x=$(exec echo cs); echo $x", "sub\nafter\ncs\n", 0},
		{"exec with a redirection", "exec cat < d/a", "in a\n", 0},
		{"scripts", "./script; sh script; PATH=$PATH:. script; . ./script", "ran\nran\nran\nran\n", 0},
		{"a script without #!", "printf 'echo bare $1\\n' > s; chmod +x s; ./s arg", "bare arg\n", 0},
		{"eval", "eval 'x=1; echo $x'; eval \"echo a\" b", "1\na b\n", 0},
		{"umask", "umask; umask 077; touch p; stat -c %a p; (umask 0); ", "0022\n600\n", 0},
		{"ulimit", "ulimit -n 64; ulimit -n; sh -c 'ulimit -n'", "64\n64\n", 0},
		{"read", "echo 'a b c' | { read x y; echo \"$y\"; }; echo 'a:b' | { IFS=: read x y; echo $y; }; read z < /dev/null; echo $?", "b c\nb\n1\n", 0},
		{"getopts", "set -- -a -b val rest; while getopts ab: o; do echo $o $OPTARG; done; shift $((OPTIND-1)); echo $1", "a\nb val\nrest\n", 0},
		{"test is POSIX's", "[ '(' = '(' ] && echo 1; [ ! '' ] && echo 2; [ -n = ] && echo 3; [ a -a b ] && echo 4; [ 1 -eq a ] 2>/dev/null; echo $?", "1\n2\n3\n4\n2\n", 0},
		{"printf", "printf '%05.1f|%3s\\n' 2.25 a; printf '%s ' a b c", "002.2|  a\na b c ", 0},
		{"traps are shown", "trap 'echo t' TERM; trap", "trap -- 'echo t' TERM\n", 0},
		{"bad signal", "trap x NOSUCH", "", 1},
		{"ignored signal", "trap '' INT TERM; kill $$; echo alive; sh -c 'kill -INT $$; sleep 0.1; echo child too'", "alive\nchild too\n", 0},
		{"trap runs between commands", "trap 'echo got' USR1; kill -USR1 $$; sleep 0.1; echo next", "got\nnext\n", 0},
		{"trap that leaves", "trap 'echo t; exit 4' TERM; kill $$; sleep 0.1; echo no", "t\n", 4},
		{"trap as the last thing", "trap 'echo t; exit 4' USR2; sh -c 'kill -USR2 '$$'; sleep 0.1'", "t\n", 4},
		{"trap not in a subshell", "trap 'echo t' USR1; (kill -USR1 $$; sleep 0.1; echo sub); echo main", "sub\nt\nmain\n", 0},
		{"trap ends a wait", "trap 'echo t' USR1; sleep 60 & (sleep 0.1; kill -USR1 $$) & wait; echo $? ; kill %1 2>/dev/null; exit 0", "t\n138\n", 0},
		{"trap reset", "trap 'echo t' TERM; trap - TERM; kill $$; sleep 1", "", 143},
		{"untrapped", "kill $$; sleep 1", "", 143},
		{"a pipeline's end is a subshell", "echo x | exit 3; echo $?; echo x | exec cat; echo y | read v; echo \"[$v]\"", "3\nx\n[]\n", 0},
		{"yes ends", "yes | head -n 1; echo ok", "y\nok\n", 0},
		{"writer after its reader", "seq 1000000 | head -n 1; cat /dev/zero | head -c 3 | wc -c", "1\n3\n", 0},
		{"another program of an applet's name", "mkdir o; printf '#!/bin/sh\\necho other\\n' > o/ls; chmod +x o/ls; PATH=$PWD/o:$PATH ls", "other\n", 0},
		{"no PATH at all", "PATH=; echo a | cat", "a\n", 0},
		{"syntax error", "echo a; if", "", 2},
		{"no command", "", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := run(t, fixture(t), tt.script)
			if got.out != tt.out || got.code != tt.code {
				t.Errorf("code %d, output %q\nwant %d, %q\n%s", got.code, got.out, tt.code, tt.out, got.err)
			}
		})
	}
}

func TestShellArguments(t *testing.T) {
	dir := fixture(t)
	if got := run(t, dir, "echo $0 $# $1", "name", "x"); got.out != "name 1 x\n" {
		t.Errorf("-c with operands: %+v", got)
	}
	bin := links(t)
	sh := func(in string, args ...string) outcome {
		cmd := exec.Command(filepath.Join(bin, "sh"), args...)
		cmd.Dir, cmd.Env, cmd.Stdin = dir, environ(bin, dir), strings.NewReader(in)
		return finish(t, cmd)
	}
	for _, tt := range []struct {
		in   string
		args []string
		want outcome
	}{
		{"echo $0; read x\nrest\necho $x; exit 3", nil, outcome{"sh\nrest\n", "", 3}},
		{"read x\nline\necho got $x\nexit 3\n", nil, outcome{"got line\n", "", 3}},
		{"trap 'echo bye' EXIT\necho a\n", nil, outcome{"a\nbye\n", "", 0}},
		{"echo $1", []string{"-s", "arg"}, outcome{"arg\n", "", 0}},
		{"if true\nthen\necho multi\nfi\n", nil, outcome{"multi\n", "", 0}},
		{"sleep 60 &\nkill $!\nwait $!\necho $?\n", nil, outcome{"143\n", "", 0}},
		{"", []string{"-x", "-c", "echo a"}, outcome{"a\n", "+ echo a\n", 0}},
		{"", []string{"-ec", "false; echo no"}, outcome{"", "", 1}},
		{"", []string{"nosuchscript"}, outcome{"", "sh: nosuchscript: no such file or directory\n", 127}},
		{"", []string{"script"}, outcome{"ran\n", "", 0}},
	} {
		got := sh(tt.in, tt.args...)
		if got.out != tt.want.out || got.code != tt.want.code || tt.want.err != "" && got.err != tt.want.err {
			t.Errorf("%q %q: %+v, want %+v", tt.in, tt.args, got, tt.want)
		}
	}
}

// start starts sh -c line and waits for it to print "ready".
func start(t *testing.T, line string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := command(t, t.TempDir(), line)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	buf := make([]byte, 6)
	if _, err := io.ReadFull(out, buf); err != nil || string(buf) != "ready\n" {
		t.Fatalf("%q, %v", buf, err)
	}
	return cmd, out
}

func TestSignalsFromOutside(t *testing.T) {
	for _, tt := range []struct {
		line string
		sig  syscall.Signal
		out  string
		code int
	}{
		{"echo ready; exec sleep 60", syscall.SIGTERM, "", 143},
		{"echo ready; sleep 60", syscall.SIGTERM, "", 143},
		{"echo ready; sleep 60", syscall.SIGINT, "", 130},
		{"echo ready; sleep 60", syscall.SIGQUIT, "", 131},
		{"trap 'echo t; exit 5' TERM; echo ready; sleep 60 & wait", syscall.SIGTERM, "t\n", 5},
		{"trap 'echo t; exit 5' TERM; echo ready; while :; do sleep 0.01; done", syscall.SIGTERM, "t\n", 5},
		{"trap 'echo t; exit 5' TERM; echo ready; sleep 0.3", syscall.SIGTERM, "t\n", 5},
		{"trap 'echo i' INT; echo ready; sleep 60; echo after", syscall.SIGINT, "i\nafter\n", 0},
		{"trap 'kill $p; wait $p; exit 6' TERM; sleep 60 & p=$!; echo ready; wait $p", syscall.SIGTERM, "", 6},
		{"echo ready; exec httpd -p 127.0.0.1:0 -t x > /dev/null", syscall.SIGTERM, "", 143},
		{"echo ready; exec httpd -p 127.0.0.1:0 -t x > /dev/null", syscall.SIGQUIT, "", 131},
	} {
		t.Run(tt.line+" "+tt.sig.String(), func(t *testing.T) {
			t.Parallel()
			cmd, out := start(t, tt.line)
			time.Sleep(50 * time.Millisecond) // past exec
			cmd.Process.Signal(tt.sig)
			timer := time.AfterFunc(20*time.Second, func() { t.Error("did not end"); cmd.Process.Kill() })
			defer timer.Stop()
			rest, _ := io.ReadAll(out)
			err := cmd.Wait()
			if code := waitCode(cmd, err); code != tt.code || string(rest) != tt.out {
				t.Errorf("code %d, output %q; want %d, %q", code, rest, tt.code, tt.out)
			}
		})
	}
}

// TestFirstProcess starts the userland as PID 1 of a PID namespace, where the
// kernel drops signals that have no handler.
func TestFirstProcess(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for a PID namespace")
	}
	for _, tt := range []struct {
		line string
		sig  syscall.Signal
		code int
	}{
		{"echo ready; exec sleep 60", syscall.SIGTERM, 143},
		{"echo ready; exec httpd -p 127.0.0.1:0 -t x > /dev/null", syscall.SIGTERM, 143},
		{"trap 'exit 5' TERM; echo ready; sleep 60 & wait", syscall.SIGTERM, 5},
		{"echo ready; sleep 0.5; exit 7", syscall.SIGTERM, 7}, // no trap: ignored
		{"echo ready; sleep 60; exit 7", syscall.SIGINT, 130},
		{"trap 'exit 5' TERM; trap - TERM; echo ready; sleep 0.5; exit 8", syscall.SIGTERM, 8},
	} {
		t.Run(tt.line, func(t *testing.T) {
			t.Parallel()
			cmd := command(t, t.TempDir(), tt.line)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Skipf("needs PID namespaces: %v", err)
			}
			timer := time.AfterFunc(20*time.Second, func() { t.Error("did not end"); cmd.Process.Kill() })
			defer timer.Stop()
			buf := make([]byte, 6)
			if _, err := io.ReadFull(out, buf); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
			cmd.Process.Signal(tt.sig)
			io.Copy(io.Discard, out)
			err = cmd.Wait()
			if code := waitCode(cmd, err); code != tt.code {
				t.Errorf("code %d, want %d", code, tt.code)
			}
		})
	}
}

// TestTerminal talks to an interactive shell.
func TestTerminal(t *testing.T) {
	dir := fixture(t)
	bin := links(t)
	cmd := exec.Command(filepath.Join(bin, "sh"))
	cmd.Dir, cmd.Env = dir, append(environ(bin, dir), "PS1=prompt> ")
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 100})
	if err != nil {
		t.Skipf("needs a pseudo-terminal: %v", err)
	}
	defer tty.Close()
	defer cmd.Process.Kill()
	chunks := make(chan string)
	go func() {
		defer close(chunks)
		buf := make([]byte, 1024)
		for {
			n, err := tty.Read(buf)
			if n > 0 {
				chunks <- string(buf[:n])
			}
			if err != nil {
				return
			}
		}
	}()
	var all string // what has come and was not asked for yet
	expect := func(want string) {
		t.Helper()
		late := time.After(20 * time.Second)
		for !strings.Contains(all, want) {
			select {
			case s, ok := <-chunks:
				all += s
				if !ok {
					t.Fatalf("waiting for %q: closed; got %q", want, all)
				}
			case <-late:
				t.Fatalf("waiting for %q; got %q", want, all)
			}
		}
		_, all, _ = strings.Cut(all, want)
	}
	send := func(s string) { io.WriteString(tty, s) }
	expect("prompt> ")
	send("echo a$((1+1))b $0\r")
	expect("a2b sh")
	expect("prompt> ")
	send("stty size\r")
	expect("24 100")
	expect("prompt> ")
	send("for i in x y; do\r")
	expect("> ")
	send("echo =$i=; done\r")
	expect("=y=")
	expect("prompt> ")
	send("sleep 60\r")
	time.Sleep(200 * time.Millisecond)
	send("\x03")
	expect("prompt> ")
	send("echo code $?\r")
	expect("code 130")
	expect("prompt> ")
	send("cat\r")
	time.Sleep(200 * time.Millisecond)
	send("typed\r")
	expect("typed\r\ntyped")
	send("\x03")
	expect("prompt> ")
	send("half a line\x03")
	expect("prompt> ")
	send("cd d; pwd\r")
	expect("/d\r\n")
	expect("prompt> ")
	send("tty\r")
	expect("/dev/pts/")
	expect("prompt> ")
	send("trap 'echo bye' EXIT\r")
	expect("prompt> ")
	send("(exit 3)\r")
	expect("prompt> ")
	send("\x04")
	expect("bye")
	if code := waitCode(cmd, cmd.Wait()); code != 3 {
		t.Errorf("exit code %d, want that of the last command, 3", code)
	}
}
