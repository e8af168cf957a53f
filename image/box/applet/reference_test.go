package applet

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sameAsBusybox are command lines whose output and exit code must be those of
// busybox.
func sameAsBusybox() []string {
	return []string{
		// what is printed
		"echo a b", "echo -n x", "echo -e 'a\\tb\\nc'", "echo 'a\\tb'", "echo",
		"printf '%s-%d\\n' a 1 b 2", "printf '%5.2f|%-5s|%05d\\n' 3.14159 ab 42", "printf '%x %o %c\\n' 255 8 hello", "printf '%b' 'a\\tb\\n'", "printf 'a\\n'", "printf '%%'", "printf '%s\\n'",
		"seq 5", "seq 2 5", "seq 1 2 10", "seq 5 -1 1", "seq -s, 3", "seq -w 8 11", "seq 0.5 0.5 2", "seq 3 1",
		"yes | head -n 3", "yes a b | head -n 1",
		"basename /a/b/c.txt .txt", "basename /", "basename a/", "basename x x", "dirname /a/b", "dirname a", "dirname /a", "dirname /", "dirname a//b//",
		"date -u -d @0 '+%Y-%m-%d %H:%M:%S %a %b %j %e %s %Z %%'", "date -u -d @1000000000", "date -u -d '2020-02-29 12:34' +%s", "date -u -d @86399 +%T,%R,%F,%D,%y,%I,%p,%u,%w,%U,%V", "TZ=CET-1 date -d @0 +%H%z",
		"expr 1 + 2", "expr 2 '*' 3 + 1", "expr abc : 'a\\(.\\)'", "expr abc : 'ab'", "expr 1 '<' 2", "expr 0", "expr length hello", "expr substr hello 2 3", "expr a = b", "expr 7 % 4 - 3",

		// text
		"cat words nonl", "cat -n words", "cat -b words", "cat -e tabs", "cat -v bin", "cat nosuch words", "cat < words", "cat - < words",
		"head words", "head -n 2 words", "head -2 words", "head -c 7 words", "head -n -4 words", "head -n 1 words nums", "head -q -n 1 words nums", "head -n 0 words", "head -c 3 < words",
		"tail -n 2 words", "tail -2 words", "tail -n +3 words", "tail -c 5 words", "tail -c +3 nonl", "tail -n 1 nonl", "tail twenty.lines", "tail -n 1 words nums", "cat twenty.lines | tail -n 3", "tail -n 0 words", "tail -n +1 words", "seq 100000 | tail -n 2", "tail -n 100 words",
		"wc -l words", "wc -w spaces", "wc -c bin", "wc words", "wc words nums", "wc -lw < words", "wc -l < words", "cat words | wc -l", "wc empty", "wc -c nonl words", "wc -L words",
		"sort words", "sort -r words", "sort -u words", "sort -n nums", "sort -rn nums", "sort -nu nums", "sort -t: -k2 -n table", "sort -t: -k3,3 -k2,2n table", "sort -k2 spaces", "sort -k2n spaces", "sort -f words", "sort -b spaces", "sort -c words", "sort -c sorted", "sort -t: -k2,2nr table", "sort nonl words", "sort -V versions", "sort empty", "sort -t: -k1.2 table",
		"uniq words", "sort words | uniq", "sort words | uniq -c", "sort words | uniq -d", "sort words | uniq -u", "sort -f words | uniq -i", "uniq -f 1 spaces", "uniq empty",
		"cut -d: -f1 table", "cut -d: -f1,3 table", "cut -d: -f2- table", "cut -c1-3 words", "cut -c2 words", "cut -f2 tabs", "cut -b -2 words", "cut -s -d: -f1 words", "cut -d: -f5 words", "cut -d: -f3,1 table",
		"tr a-z A-Z < words", "tr -d aeiou < words", "tr -s p < words", "tr -cd '[:alpha:]' < table", "tr '[:lower:]' '[:upper:]' < words", "tr -c a-z _ < words", "tr -s a-z < words", "tr '\\n' ' ' < words", "tr abc x < words", "tr -ds a p < words", "tr '\\141' X < words",
		"grep fig words", "grep -v fig words", "grep -n fig words", "grep -c fig words", "grep -i apple words", "grep -l fig words nums", "grep -L fig words nums", "grep -q fig words", "grep nothing words", "grep fig nosuch", "grep -E 'a|p' words", "grep -F . nums", "grep -o 'p*' words", "grep -on an words", "grep -w fig words", "grep -x 'fi.' words", "grep '^a' words", "grep 'e$' words", "grep -h fig words nums", "grep -H fig words", "grep -e fig -e pear words", "grep -r text d", "grep -rl hidden d", "cat words | grep -c .", "grep -m1 fig words", "grep -A1 apple words", "grep -B1 apple words", "grep -C1 fig words", "grep 'a\\{1\\}' words", "grep 'p\\+' words", "grep '[[:upper:]]' words", "grep -E 'an{1,2}a?' words", "grep -E '(an)+' words", "grep 'a*' empty", "grep '' words", "grep -vc x words", "grep -F 'a\nb' sorted", "grep 'fi\\(g\\)' words", "grep -E '^(pear|fig)$' words", "grep '[]a]' sorted", "grep '*' words", "grep -s fig nosuch", "egrep 'a|f' words", "fgrep fig words", "grep -in APPLE words nums",
		"tee out < words; cat out", "echo x | tee -a words; cat words", "echo x | tee out out2 > /dev/null; cat out out2",
		"cmp words words", "cmp words link", "cmp sorted nums", "cmp -s words nums", "cmp empty words", "cmp -l sorted words",
		"od -c words", "od -x sorted", "od sorted", "od -b sorted", "od -t x1 bin", "od -An -tx1 bin", "od -tu4 -N 4 words", "od empty", "od -c -j 2 -N 3 words", "head -c 100 /dev/zero | od -c", "hexdump -C bin", "hexdump -C empty", "od -An -td2 words", "od -An -t x4 words",
		"sha256sum words", "sha256sum words > s; sha256sum -c s", "md5sum < words", "sha1sum words", "sha512sum empty", "sha256sum words > s; echo >> words; sha256sum -c s 2>/dev/null",

		// files
		"ls", "ls -a", "ls -A", "ls -1", "ls -r", "ls -d d", "ls d", "ls d words", "ls -R d", "ls nosuch", "ls -S words nums table", "ls -F", "ls -p", "ls link", "ls -l link | cut -c1-10", "ls -ln words | tr -s ' ' | cut -d' ' -f1,2,5", "ls -t words", "ls -aR d",
		"touch new; ls new; test -s new; echo $?", "touch -c nope; ls nope", "touch -d '2001-01-01 00:00:00' new; stat -c %Y new", "touch -r words new; stat -c %Y new", "touch -t 200001020304.05 x; stat -c %Y x",
		"mkdir a; ls -d a", "mkdir a/b", "mkdir -p a/b/c; find a", "mkdir -m 700 a; stat -c %a a", "mkdir d", "mkdir -p d; echo $?", "umask 077; mkdir z; stat -c %a z",
		"rm words; ls words", "rm nosuch", "rm -f nosuch", "rm d", "rm -r d; ls d", "rm -rf d nosuch; ls -d d", "rm -f", "rmdir d/e", "mkdir -p q/w; rmdir -p q/w; ls q", "rm link; cat words",
		"cp words w2; cmp words w2", "cp words nums d; ls d", "cp d d2", "cp -r d d2; find d2 | sort", "cp -a d d2; stat -c %Y d2/a d2/sub", "cp nosuch x", "cp words", "cp words d/sub/b.txt; cat d/sub/b.txt", "cp -a link l2; readlink l2", "cp link l3; readlink l3; cat l3", "cp -p script s2; stat -c '%a %Y' s2", "cp words nums nosuch", "cp words words", "ln words h; cp -a words h d; stat -c %h d/h", "cp -r d/. q; find q | sort", "cp -R link k; readlink k",
		"mv words w; ls words w", "mv words nums d; ls d", "mv d e; ls -d d e", "mv nosuch x", "mv -n words nums; cat nums", "mv words nums; cat nums",
		"ln words h; stat -c %h h", "ln -s words s; readlink s", "ln -s words link", "ln -sf nums link; readlink link", "ln -s ../words d; readlink d/words", "ln -sn nums d2; ln -sfn x d2; readlink d2", "readlink words", "readlink nosuch", "ln words d; ls d", "cd d; readlink -f ../link | sed 's:.*/::'",
		"chmod 600 words; stat -c %a words", "chmod u+x,g-r words; stat -c %a words", "chmod a=r words; stat -c %a words", "chmod -R o+w d; stat -c %a d/a d/sub", "chmod +x words; stat -c %a words", "chmod 4755 words; stat -c %A words", "chmod u=rwx,go=u-w words; stat -c %a words", "chmod nonsense words", "chmod -x script; stat -c %a script", "chmod 1777 d; stat -c %A d", "chmod g+s d; stat -c %a d", "chmod a+X words d; stat -c %a words d",
		"stat -c '%n %s %F %a %h' words link d", "stat -c %N link", "stat nosuch", "stat -L -c %s link", "stat -c '%05a|%10s|%-10s|' words",
		"find d | sort", "find d -type f | sort", "find d -name '*.txt' | sort", "find d -maxdepth 1 | sort", "find d -mindepth 1 -type d | sort", "find . -type l", "find d -name a -o -name '.dot' | sort", "find d ! -name '*.txt' -type f | sort", "find d -type f -exec cat {} ';' | sort", "find d -type f -exec echo {} + | tr ' ' '\\n' | sort", "find d -empty", "find empty -empty", "find d -depth | tail -n 1", "find d -name sub -prune -o -type f -print", "find nosuch", "find d -size +0c -type f | sort", "find d \\( -name a -o -name b.txt \\) -print | sort", "find d -type f -print0 | tr '\\0' '\\n' | sort", "find d -iname 'B.*'", "find . -newer words -name nope", "find d -perm 755 | sort", "find d -path '*sub*' | sort", "find . -mtime +100 -name words",
		"echo a b c | xargs", "echo a b c | xargs -n 1 echo x", "printf 'a\\nb c\\n' | xargs -I@ echo '[@]'", "printf 'a\\0b c\\0' | xargs -0 -n1 echo", "echo \"'a b' c\" | xargs -n1", "true | xargs echo none", "true | xargs -r echo none", "echo a | xargs false", "echo x | xargs nosuchcommand", "seq 10 | xargs -n 3",
		"tar -cf a.tar d words; tar -tf a.tar | sort", "tar -czf a.tgz d; mkdir x; tar -xzf a.tgz -C x; find x | sort; cat x/d/sub/b.txt", "tar -cf - d | tar -tf - | wc -l", "tar cf a.tar d; rm -r d; tar xf a.tar; cat d/a; stat -c '%a %Y' d/a", "tar -cf a.tar link; tar -xf a.tar -O", "tar -cf a.tar words nums; rm words nums; tar -xf a.tar nums; ls words nums", "tar -cf a.tar -C d a; tar -tf a.tar", "tar -cf a.tar words; tar -xOf a.tar words", "ln words h; tar -cf a.tar words h; rm words h; tar -xf a.tar; stat -c %h h", "tar -tf nosuch", "tar -xf words", "tar -cf a.tar nosuch", "tar -cvf a.tar words 2>/dev/null; true", "tar -cf a.tar d; tar -tf a.tar d/a", "tar -cf a.tar d; tar -xf a.tar --strip-components=1; ls sub",
		"gzip -c words | gunzip", "gzip words; ls words*; gunzip words.gz; ls words*", "gzip -c words | zcat", "gzip -d words", "cat words | gzip -9 | gzip -dc", "gzip -k words; ls words*", "gzip words; zcat words.gz", "gzip nosuch",
		"dd if=words bs=1 count=4 2>/dev/null", "dd if=words bs=2 skip=1 count=2 2>/dev/null", "dd if=words of=o bs=4 2>/dev/null; cmp words o", "printf XY | dd of=words bs=1 seek=1 conv=notrunc 2>/dev/null; cat words", "dd if=/dev/zero bs=1k count=3 2>/dev/null | wc -c", "dd if=words bs=4 count=1 status=none",
		"du -s empty | cut -f2", "mktemp -u fooXXXXXX | cut -c1-3", "f=$(mktemp -p .); test -f $f && stat -c %a $f", "d=$(mktemp -d -p .); test -d $d && stat -c %a $d", "mktemp foo",

		// conditions
		"test a = a", "test a = b", "[ 1 -lt 2 ]", "[ -f words ]", "[ -d words ]", "[ ! -e nosuch ]", "[ -z '' -a -n x ]", "[ -s empty -o -r words ]", "[ '(' = '(' ]", "test", "test -L link", "[ words -ef link ]", "command [ a ]", "env [ 3 -gt 2 ]", "env test -x script", "env test 1 -eq x", "env [ a",
		"true", "false",

		// the process and the machine
		"env -i A=1 B=2 env", "env -u HOME env | grep -c HOME", "env nosuchcommand", "env X=1 sh -c 'echo $X'",
		"id -u", "id -g", "id -un", "whoami", "hostname", "uname", "uname -m", "uname -r", "uname -s -n", "uname -a | cut -d' ' -f1,2,3",
		"nproc", "pwd", "cd d && pwd", "which nosuchcommand", "tty < /dev/null", "kill -l 9", "kill -l TERM", "kill -0 $$", "kill -0 999999", "ps -o pid,comm | grep -c '^ *1 '", "sleep 0", "sleep x", "timeout 5 true", "timeout 5 false", "env time -p true 2>/dev/null", "realpath d/../words | sed 's:.*/::'", "cat /proc/mounts | wc -l > a; mount | wc -l > b; cmp a b", "pidof nosuchprogram", "sync",
	}
}

// TestLikeBusybox runs each line by busybox's shell and applets, and by ours.
func TestLikeBusybox(t *testing.T) {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs busybox (package busybox-static) to compare with")
	}
	ref := t.TempDir()
	for _, name := range append(Names(), "sed") {
		if err := os.Symlink(busybox, filepath.Join(ref, name)); err != nil {
			t.Fatal(err)
		}
	}
	ours := links(t)
	if _, err := os.Lstat(filepath.Join(ours, "sed")); err != nil {
		// No applet of ours; a few lines use it.
		if err := os.Symlink(busybox, filepath.Join(ours, "sed")); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range sameAsBusybox() {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			dir := fixture(t)
			cmd := exec.Command(filepath.Join(ref, "sh"), "-c", line)
			cmd.Dir, cmd.Env = dir, environ(ref, dir)
			want := finish(t, cmd)
			dir2 := fixture(t)
			got := run(t, dir2, line)
			if got.out != strings.ReplaceAll(want.out, dir, dir2) || got.code != want.code {
				t.Errorf("got code %d\n%s%s\nbusybox: code %d\n%s%s", got.code, got.out, got.err, want.code, want.out, want.err)
			}
			if (got.err == "") != (want.err == "") {
				t.Errorf("standard error %q, busybox %q", got.err, want.err)
			}
		})
	}
}
