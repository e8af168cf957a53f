package applet

import "syscall"

// names lists what find knows, in order. A test compares the two.
const names = `[ basename cat chgrp chmod chown clear cmp cp cut date dd df dirname du
echo egrep env expr false fgrep find free getent grep gunzip gzip head hexdump hostname httpd
id ifconfig ip kill killall ln ls md5sum mkdir mkfifo mktemp mount mv nc nproc nslookup od
pgrep pidof ping pkill printenv printf ps pwd readlink realpath rm rmdir
seq sh sha1sum sha256sum sha512sum sleep sort stat stty sync tail tar tee test time timeout
touch tr true tty umount uname uniq uptime wc wget which whoami xargs yes zcat`

// find is a switch and no map: a map of all this would be built at every start
// of the binary.
func find(name string) entry {
	for _, part := range []func(string) entry{findFile, findText, findSystem, findNet} {
		if e := part(name); e.run != nil {
			return e
		}
	}
	return entry{}
}

func findFile(name string) entry {
	switch name {
	case "basename":
		return entry{basename, "NAME [SUFFIX] | -a [-s SUFFIX] NAME..."}
	case "chgrp":
		return entry{chown, "[-Rh] GROUP FILE..."}
	case "chmod":
		return entry{chmod, "[-Rv] MODE FILE..."}
	case "chown":
		return entry{chown, "[-Rh] USER[:GROUP] FILE..."}
	case "cp":
		return entry{cp, "[-arRpdfilnuvLPHT] [-t DIR] SOURCE... DEST"}
	case "dd":
		return entry{dd, "[if=FILE] [of=FILE] [bs=N] [count=N] [skip=N] [seek=N] [conv=notrunc,sync,fsync] [status=none]"}
	case "df":
		return entry{df, "[-hkmaTi] [FILE]..."}
	case "dirname":
		return entry{dirname, "NAME..."}
	case "du":
		return entry{du, "[-shkmacxb] [-d DEPTH] [FILE]..."}
	case "find":
		return entry{findFiles, "[-HL] [PATH]... [EXPRESSION]"}
	case "gunzip", "zcat":
		return entry{gzipApplet, "[-cfkt] [FILE]..."}
	case "gzip":
		return entry{gzipApplet, "[-cdfkt123456789] [FILE]..."}
	case "ln":
		return entry{ln, "[-sfnTv] TARGET... LINK|DIR"}
	case "ls":
		return entry{ls, "[-la1ARhdnirtScuFpLHCsgo] [FILE]..."}
	case "mkdir":
		return entry{mkdir, "[-pv] [-m MODE] DIR..."}
	case "mkfifo":
		return entry{mkfifo, "[-m MODE] NAME..."}
	case "mktemp":
		return entry{mktemp, "[-dqtu] [-p DIR] [TEMPLATE]"}
	case "mv":
		return entry{mv, "[-finuvT] [-t DIR] SOURCE... DEST"}
	case "pwd":
		return entry{pwd, "[-LP]"}
	case "readlink":
		return entry{readlink, "[-fenv] FILE..."}
	case "realpath":
		return entry{readlink, "FILE..."}
	case "rm":
		return entry{rm, "[-rfidv] FILE..."}
	case "rmdir":
		return entry{rmdir, "[-p] DIR..."}
	case "stat":
		return entry{statApplet, "[-Ltf] [-c FORMAT] FILE..."}
	case "sync":
		return entry{func(*call) int { syscall.Sync(); return 0 }, ""}
	case "tar":
		return entry{tarApplet, "-c|-x|-t [-zvkmOph] [-f FILE] [-C DIR] [--exclude PATTERN] [--strip-components N] [FILE]..."}
	case "touch":
		return entry{touch, "[-camh] [-d DATE] [-t STAMP] [-r FILE] FILE..."}
	case "xargs":
		return entry{xargs, "[-0rt] [-n N] [-I STRING] [COMMAND [ARG]...]"}
	}
	return entry{}
}

func findText(name string) entry {
	switch name {
	case "[":
		return entry{test, "EXPRESSION ]"}
	case "cat":
		return entry{cat, "[-nbsvetAET] [FILE]..."}
	case "cmp":
		return entry{cmpFiles, "[-sl] [-n N] FILE1 [FILE2]"}
	case "cut":
		return entry{cut, "-f LIST | -c LIST | -b LIST [-d DELIMITER] [-s] [--complement] [FILE]..."}
	case "date":
		return entry{date, "[-uR] [-d DATE|@SECONDS] [-r FILE] [-s DATE] [+FORMAT]"}
	case "echo":
		return entry{echo, "[-neE] [ARG]..."}
	case "expr":
		return entry{expr, "EXPRESSION"}
	case "false":
		return entry{func(*call) int { return 1 }, ""}
	case "grep", "egrep", "fgrep":
		return entry{grep, "[-EFivnclLqorhHwxs] [-m N] [-A N] [-B N] [-C N] [-f FILE] [-e] PATTERN [FILE]..."}
	case "head":
		return entry{head, "[-qv] [-n N] [-c N] [FILE]..."}
	case "hexdump":
		return entry{od, "[-C] [FILE]..."}
	case "md5sum", "sha1sum", "sha256sum", "sha512sum":
		return entry{shasum, "[-c [-s]] [FILE]..."}
	case "od":
		return entry{od, "[-cbxodvC] [-A d|o|x|n] [-t TYPE] [-N COUNT] [-j SKIP] [FILE]..."}
	case "printf":
		return entry{printf, "FORMAT [ARG]..."}
	case "seq":
		return entry{seq, "[-w] [-s SEPARATOR] [FIRST [STEP]] LAST"}
	case "sort":
		return entry{sortLines, "[-nrukfbdghMVscz] [-k KEY] [-t CHAR] [-o FILE] [FILE]..."}
	case "tail":
		return entry{tail, "[-fFqv] [-n [+]N] [-c [+]N] [-s SECONDS] [FILE]..."}
	case "tee":
		return entry{tee, "[-ai] [FILE]..."}
	case "test":
		return entry{test, "EXPRESSION"}
	case "tr":
		return entry{tr, "[-cds] SET1 [SET2]"}
	case "true":
		return entry{func(*call) int { return 0 }, ""}
	case "uniq":
		return entry{uniq, "[-cdui] [-f N] [-s N] [-w N] [INPUT [OUTPUT]]"}
	case "wc":
		return entry{wc, "[-lwcmL] [FILE]..."}
	case "yes":
		return entry{yes, "[STRING]..."}
	}
	return entry{}
}

func findSystem(name string) entry {
	switch name {
	case "clear":
		return entry{func(c *call) int { c.print("\x1b[H\x1b[J"); return 0 }, ""}
	case "env":
		return entry{env, "[-i0] [-u NAME] [NAME=VALUE]... [COMMAND [ARG]...]"}
	case "free":
		return entry{free, "[-bkmgh]"}
	case "hostname":
		return entry{hostname, "[-si] [NAME]"}
	case "id":
		return entry{id, "[-ugGnr] [USER]"}
	case "kill":
		return entry{kill, "[-l] | [-SIGNAL | -s SIGNAL] PID..."}
	case "killall":
		return entry{killall, "[-SIGNAL] [-q] NAME..."}
	case "mount":
		return entry{mount, "[-t TYPE] [-o OPTIONS] [--bind] [SOURCE] TARGET"}
	case "nproc":
		return entry{nproc, "[--ignore=N]"}
	case "pgrep":
		return entry{pgrep, "[-flxvno] [-P PID] PATTERN"}
	case "pkill":
		return entry{pgrep, "[-SIGNAL] [-fxvno] [-P PID] PATTERN"}
	case "pidof":
		return entry{pidof, "[-s] [-o PID] NAME..."}
	case "printenv":
		return entry{printenv, "[NAME]..."}
	case "ps":
		return entry{ps, "[aux] [-eflA] [-o COLUMN,...] [-p PID,...]"}
	case "sh":
		return entry{sh, "[-eux] [-o OPTION] [-c COMMAND [NAME [ARG]...] | FILE [ARG]... | -s]"}
	case "sleep":
		return entry{sleep, "N[smhd]..."}
	case "stty":
		return entry{stty, "[size | rows N | cols N | [-]echo | sane | raw]..."}
	case "time":
		return entry{timeApplet, "[-p] COMMAND [ARG]..."}
	case "timeout":
		return entry{timeout, "[-s SIGNAL] [-k SECONDS] SECONDS COMMAND [ARG]..."}
	case "tty":
		return entry{tty, "[-s]"}
	case "umount":
		return entry{umount, "[-lf] TARGET..."}
	case "uname":
		return entry{uname, "[-asnrvmo]"}
	case "uptime":
		return entry{uptime, ""}
	case "which":
		return entry{which, "[-a] COMMAND..."}
	case "whoami":
		return entry{whoami, ""}
	}
	return entry{}
}

func findNet(name string) entry {
	switch name {
	case "getent":
		return entry{getent, "hosts|passwd|group KEY..."}
	case "httpd":
		return entry{httpd, "[-v] [-p [ADDRESS:]PORT] [-t TEXT | -n | [-h] DIR]"}
	case "ifconfig":
		return entry{ifconfig, "[-a] [INTERFACE]"}
	case "ip":
		return entry{ip, "[-4|-6] addr|link|route [show [dev INTERFACE]]"}
	case "nc":
		return entry{nc, "[-uvzk] [-w SECONDS] [-p PORT] HOST PORT | -l [-uk] [-w SECONDS] [-p] PORT | -U [-l] SOCKET"}
	case "nslookup":
		return entry{nslookup, "[-t a|aaaa|mx|txt|ns|srv|cname] NAME [SERVER]"}
	case "ping":
		return entry{ping, "[-46q] [-c COUNT] [-i SECONDS] [-W SECONDS] [-w SECONDS] [-s SIZE] HOST"}
	case "wget":
		return entry{wget, "[-qcS] [-O FILE|-] [-P DIR] [-T SECONDS] [-t TRIES] [--header H] [--post-data DATA | --post-file FILE] [--spider] [--no-check-certificate] URL..."}
	}
	return entry{}
}
