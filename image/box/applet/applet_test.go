package applet

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"
)

// TestOwn holds what busybox has not, or does in another way than coreutils.
func TestOwn(t *testing.T) {
	for _, tt := range []struct {
		line, out string
		code      int
	}{
		{"A=x printenv A", "x\n", 0},
		{"printenv NOPE", "", 1},
		{"timeout 0.1 sleep 5", "", 124},
		{"timeout -s KILL 0.1 sleep 5", "", 137},
		{"tar -cf a.tar --exclude sub d; tar -tf a.tar | sort", "d/\nd/a\nd/e/\nd/e/x y.txt\n", 0},
		{"tar -cf a.tar d; rm -r d; tar -xf a.tar; stat -c %Y d d/sub", "981173106\n981173106\n", 0},
		{"find d -name a -delete; ls d", "e\nsub\n", 0},
		{"sort -h sizes", "512\n1K\n2M\n1G\n", 0},
		{"ls --color=auto d", "a\ne\nsub\n", 0},
		{"echo --help", "--help\n", 0},
		{"touch -- -x; ls -- -x", "-x\n", 0},
		{"rm .", "", 1},
		{"rm -rf /", "", 1},
		{"nosuch", "", 127},
		{"./words", "", 126},
		{"/nosuch/prog", "", 127},
		{"./d", "", 126},
		{"box nosuch", "", 127},
		{"box echo a", "a\n", 0},
		{"ln words words", "", 1},
		{"ln -f words words; cat words | wc -l", "6\n", 0},
		{"cp -r d d/sub/in 2>/dev/null; echo $?; find d -name in | wc -l", "1\n1\n", 0},
		{"printf '\\x41\\101\\n'", "AA\n", 0},
		{"grep '\\(a\\)\\1' words", "", 2},
		{"grep -q x words nosuch", "", 2},
		{"ls -l nosuch words 2>/dev/null | wc -l", "1\n", 0},
		{"xargs -n2 < sorted", "a b\nc\n", 0},
		{"getent passwd 0 | cut -d: -f1", "root\n", 0},
		{"getent hosts localhost | tr -s ' ' | cut -d' ' -f2", "localhost\n", 0},
		{"ip addr show lo | grep -c 127.0.0.1/8", "1\n", 0},
		{"ifconfig lo | grep -c 127.0.0.1", "1\n", 0},
		{"ps -o pid= -p $$ | tr -d ' '> a; echo $$ | cmp - a", "", 0},
		{"ps aux | head -n 1 | cut -c1-4; ps -ef | head -n 1 | cut -c1-4", "USER\nUSER\n", 0},
		{"free | wc -l; uptime | wc -l; df -h / | wc -l; du -sh d | wc -l", "3\n1\n2\n1\n", 0},
		{"seq 3 | tail -f -n 1 | head -n 1", "3\n", 0},
		{"stty size < /dev/null", "", 1},
		{"date +%Y -d nonsense", "", 1},
		{"date -d 2020-01-02 +%-d%_m", "2 1\n", 0},
		{"cat words > /dev/full", "", 1},
		{"echo x | dd of=/dev/full status=none", "", 1},
		{"seq 100000 > /dev/full", "", 1},
		{"cut words", "", 1},
		{"sort -k words", "", 2},
		{"readlink -f nosuch/deep", "", 1},
		{"mount -t nosuchfs none d", "", 1},
		{"umount d", "", 1},
		{"hostname -x", "", 1},
		{"cat -A tabs | head -n 1", "a^Ib^Ic$\n", 0},
		{"basename -a $(which sh ls)", "sh\nls\n", 0},
		{"nslookup localhost | grep -c 127.0.0.1", "1\n", 0},
		{"nslookup no.such.invalid 127.0.0.1:1", "Server:\t\t127.0.0.1:1\n\n", 1},
		{"wget -q -O - http://127.0.0.1:1/", "", 1},
		{"nc -w 1 127.0.0.1 1 < /dev/null", "", 1},
		{"killall -q nosuchprogram", "", 1},
	} {
		t.Run(tt.line, func(t *testing.T) {
			t.Parallel()
			got := run(t, fixture(t), tt.line)
			if got.out != tt.out || got.code != tt.code {
				t.Errorf("code %d, output %q, want %d, %q; %s", got.code, got.out, tt.code, tt.out, got.err)
			}
			if tt.code == 0 && got.err != "" {
				t.Errorf("complains: %s", got.err)
			}
			if strings.Contains(got.err, "internal error") {
				t.Error(got.err)
			}
		})
	}
}

// TestNames keeps the list of names and the switch in step.
func TestNames(t *testing.T) {
	list := Names()
	if !sort.StringsAreSorted(list) {
		s := slices.Clone(list)
		sort.Strings(s)
		t.Errorf("names are not in order; in order: %s", strings.Join(s, " "))
	}
	src, err := os.ReadFile("table.go")
	if err != nil {
		t.Fatal(err)
	}
	var cases []string
	for _, line := range strings.Split(string(src), "\n") {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "case "); ok {
			for _, name := range strings.Split(strings.TrimSuffix(rest, ":"), ", ") {
				cases = append(cases, strings.Trim(name, `"`))
			}
		}
	}
	sort.Strings(cases)
	if !slices.Equal(cases, list) {
		t.Errorf("listed %v\nknown  %v", list, cases)
	}
	for _, name := range list {
		if name == "coracle" || name == "docker" || name == "box" {
			t.Errorf("%s means something else", name)
		}
	}
}

// call runs an applet in this process.
func inProcess(ctx context.Context, dir, in string, args ...string) outcome {
	run, ok := Lookup(args[0])
	if !ok {
		return outcome{code: 127}
	}
	var out, errb strings.Builder
	code := run(ctx, Stdio{In: strings.NewReader(in), Out: &out, Err: &errb, Dir: dir, Env: []string{"PATH=/nowhere"}}, args)
	return outcome{out.String(), errb.String(), code}
}

func TestEveryAppletHelpsAndRefuses(t *testing.T) {
	for _, name := range Names() {
		if literal(name) {
			continue
		}
		got := inProcess(context.Background(), "/", "", name, "--help")
		if got.code != 0 || !strings.HasPrefix(got.out, "Usage: "+name+" ") || got.err != "" {
			t.Errorf("%s --help: %+v", name, got)
		}
		if strings.Count(got.out, "\n") > 1 {
			t.Errorf("%s --help is longer than a line", name)
		}
		switch name {
		case "clear", "sync", "nproc", "whoami", "yes", "kill", "uname":
			continue // no options to refuse, or none that a test should try
		}
		if got := inProcess(context.Background(), "/nonexistent", "", name, "--nosuchoption"); got.code == 0 || got.err == "" {
			t.Errorf("%s took a wrong option: %+v", name, got)
		}
	}
}

// TestDirectory: applets go by Stdio's directory and not by the process's.
func TestDirectory(t *testing.T) {
	dir := fixture(t)
	ctx := context.Background()
	for _, args := range [][]string{
		{"cat", "words"}, {"ls", "d"}, {"touch", "t1"}, {"mkdir", "-p", "m/n"}, {"cp", "words", "w"}, {"mv", "w", "w2"}, {"ln", "-s", "w2", "l"},
		{"chmod", "600", "w2"}, {"stat", "l"}, {"find", "d"}, {"tar", "-cf", "a.tar", "d"}, {"gzip", "-k", "w2"}, {"sha256sum", "words"},
		{"test", "-f", "words"}, {"dd", "if=words", "of=o", "status=none"}, {"rm", "o"}, {"rmdir", "m/n"}, {"du", "d"}, {"sort", "-o", "so", "words"},
		{"head", "words"}, {"tail", "words"}, {"wc", "words"}, {"grep", "fig", "words"}, {"cmp", "words", "words"}, {"od", "words"}, {"df", "."}, {"realpath", "l"},
	} {
		if got := inProcess(ctx, dir, "", args...); got.code != 0 {
			t.Errorf("%q: %+v", args, got)
		}
	}
	for _, name := range []string{"t1", "m", "w2", "l", "a.tar", "w2.gz", "so"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(name); err == nil {
			t.Errorf("%s was made in the process's directory", name)
		}
	}
}

// TestCancel: an applet ends soon after its context.
func TestCancel(t *testing.T) {
	for _, args := range [][]string{
		{"sleep", "inf"}, {"httpd", "-p", "127.0.0.1:0", "-t", "x"}, {"nc", "-l", "-s", "127.0.0.1", "-p", "0"}, {"nc", "-lu", "-s", "127.0.0.1", "-p", "0"},
		{"tail", "-f", "/dev/null"}, {"yes"}, {"seq", "1e15"}, {"dd", "if=/dev/zero", "of=/dev/null"}, {"find", "/proc"},
	} {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(context.Background())
			run, _ := Lookup(args[0])
			done := make(chan int)
			go func() {
				done <- run(ctx, Stdio{Out: io.Discard, Err: io.Discard, Dir: "/"}, args)
			}()
			time.Sleep(30 * time.Millisecond)
			cancel()
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Fatal("still running")
			}
		})
	}
}

func TestLargeDirectory(t *testing.T) {
	dir := t.TempDir()
	const n = 20000
	for i := range n {
		f, err := os.Create(filepath.Join(dir, "f"+string(rune('a'+i%26))+strings.Repeat("x", i%7)+digits(uint32(i))))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	for _, line := range []string{"ls | wc -l", "find . -type f | wc -l", "find . -type f -print0 | xargs -0 ls | wc -l", "ls -l | tail -n +2 | wc -l", "tar -cf - . | tar -tf - | tail -n +2 | wc -l"} {
		if got := run(t, dir, line); strings.TrimSpace(got.out) != "20000" {
			t.Errorf("%s: %+v", line, got)
		}
	}
	if got := run(t, dir, "rm -r ../"+filepath.Base(dir)+"/f*; ls | wc -l"); strings.TrimSpace(got.out) != "0" {
		t.Errorf("rm: %+v", got)
	}
}

func FuzzPatterns(f *testing.F) {
	for _, s := range []string{"a*", "\\(a\\|b\\)\\{2\\}", "[[:alpha:]]", "[]", "[^]a]", "a{1", "*", "^*", "\\", "(", "+a", "[a-", "a\\{1,2", "[:]"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, extended bool) {
		if re, err := compile(s, extended, false, false); err == nil {
			re.MatchString("some text\n")
		}
		if set := s; len(set) < 100 {
			expandSet(set)
		}
		unescape(s, extended)
	})
}
