package probe

import (
	"os"
	"strings"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// kind is one kind of namespace.
type kind struct {
	name            string // in /proc/self/ns
	flag            uintptr
	clone           Feature
	unshare, setns  Feature
	option          string // of the kernel's configuration
	mayBeUnsupplied bool
}

func kinds() []kind {
	return []kind{
		{"mnt", unix.CLONE_NEWNS, NSMount, NSMountUnshare, NSMountSetns, "", false},
		{"pid", unix.CLONE_NEWPID, NSPID, NSPIDUnshare, NSPIDSetns, "CONFIG_PID_NS", false},
		{"net", unix.CLONE_NEWNET, NSNet, NSNetUnshare, NSNetSetns, "CONFIG_NET_NS", false},
		{"ipc", unix.CLONE_NEWIPC, NSIPC, NSIPCUnshare, NSIPCSetns, "CONFIG_IPC_NS", false},
		{"uts", unix.CLONE_NEWUTS, NSUTS, NSUTSUnshare, NSUTSSetns, "CONFIG_UTS_NS", false},
		{"cgroup", unix.CLONE_NEWCGROUP, NSCgroup, NSCgroupUnshare, NSCgroupSetns, "CONFIG_CGROUPS", true},
	}
}

func cloneFeatures() []Feature {
	var out []Feature
	for _, k := range kinds() {
		out = append(out, k.clone)
	}
	return append(out, Subreaper, NSUserUnshare)
}

// usable tells whether the flag of k may be passed at all. CLONE_NEWCGROUP was
// CLONE_STOPPED before 2.6.38, with which the child hangs for ever, and then
// ignored until 4.6: only the file tells.
func (k kind) usable() bool {
	return !k.mayBeUnsupplied || unix.Access("/proc/self/ns/"+k.name, unix.F_OK) == nil
}

func (k kind) kernel() string {
	if k.option == "" {
		return ""
	}
	return "a kernel with " + k.option
}

// probeClone makes one child in all namespaces at once, and one for each kind
// only where that fails.
func probeClone(e *env) []Result {
	all := uintptr(0)
	for _, k := range kinds() {
		if k.usable() {
			all |= k.flag
		}
	}
	out, err := tryClone(e, all)
	for _, k := range kinds() {
		t := trial{f: k.clone, what: "clone with CLONE_NEW" + flagName(k), cap: capSysAdmin, mend: k.kernel()}
		switch {
		case !k.usable():
			out = append(out, no(k.clone, "/proc/self/ns/"+k.name+" is missing", k.kernel()+", 4.6 or newer"))
		case err == nil:
			out = append(out, yes(k.clone))
		default:
			_, one := tryClone(e, k.flag)
			out = append(out, t.result(e, namespaceLimit(k, one)))
		}
	}
	return out
}

func flagName(k kind) string {
	if k.name == "mnt" {
		return "NS"
	}
	return strings.ToUpper(k.name)
}

// tryClone makes a child with flags; it must be process 1 of a new PID
// namespace, or the kernel has ignored the flag. As a child of one thread that
// is thrown away it tries two things more.
func tryClone(e *env, flags uintptr) ([]Result, error) {
	s := sys.Script{Flags: flags, Hold: flags&unix.CLONE_NEWNET != 0}
	pid := s.Do(unix.SYS_GETPID)
	sub := s.Do(unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 1)
	user := s.Do(unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
	more := func(a []sys.Answer) []Result {
		return []Result{subreaper(e, a[sub].Err()), e.unshareUser(a[user].Err())}
	}
	run, err := s.Start()
	if err != nil {
		s.Flags, s.Hold = 0, false
		a, plain := s.Run()
		if plain != nil {
			return nil, err
		}
		return more(a), err
	}
	defer run.End()
	e.netMade("clone")
	a := run.Answers()
	if s.Hold {
		e.nets.Wait()
	}
	if flags&unix.CLONE_NEWPID != 0 && a[pid].Ret != 1 {
		err = unix.ENOTSUP
	}
	return more(a), err
}

func subreaper(e *env, err error) Result {
	return trial{f: Subreaper, what: "prctl PR_SET_CHILD_SUBREAPER", mend: "a kernel of 3.4 or newer"}.result(e, err)
}

// namespaceLimit tells a limit of zero, which is a No, from one that is used up
// just now: the kernel says ENOSPC of both.
func namespaceLimit(k kind, err error) error {
	if err == nil || !isErr(err, unix.ENOSPC) {
		return err
	}
	if file := "/proc/sys/user/max_" + k.name + "_namespaces"; slurp(file) == "0" {
		return &os.PathError{Op: "clone", Path: file, Err: errForbidden(file)}
	}
	return err
}

// errForbidden is a sysctl that forbids.
type errForbidden string

func (f errForbidden) Error() string { return "forbidden by " + string(f) + "=0" }

func unshareFeatures() []Feature {
	out := []Feature{NSTime}
	for _, k := range kinds() {
		if k.name != "mnt" && k.name != "net" { // found with their own probes
			out = append(out, k.unshare, k.setns)
		}
	}
	return out
}

// probeUnshare leaves namespaces on a thread and comes back.
func probeUnshare(e *env) []Result {
	var out []Result
	sys.OnThread(func() {
		for _, k := range kinds() {
			if k.name == "mnt" || k.name == "net" {
				continue
			}
			out = append(out, leave(e, k), comeBack(e, k))
		}
		out = append(out, probeTime(e))
	})
	return out
}

func leave(e *env, k kind) Result {
	if !k.usable() {
		return no(k.unshare, "/proc/self/ns/"+k.name+" is missing", k.kernel())
	}
	err := namespaceLimit(k, unix.Unshare(int(k.flag)))
	return trial{f: k.unshare, what: "unshare CLONE_NEW" + flagName(k) + " of a thread", cap: capSysAdmin, mend: k.kernel()}.result(e, err)
}

// comeBack joins the namespace that the process is in.
func comeBack(e *env, k kind) Result {
	t := trial{f: k.setns, what: "setns /proc/self/ns/" + k.name, cap: capSysAdmin, mend: "a newer kernel (3.8 has it for all kinds but cgroup)"}
	fd, err := unix.Open("/proc/self/ns/"+k.name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return t.result(e, err)
	}
	defer unix.Close(fd)
	return t.result(e, unix.Setns(fd, int(k.flag)))
}

// probeTime: unshare(2) leaves time namespaces for children only, so the
// thread stays as it is. An older kernel refuses the flag.
func probeTime(e *env) Result {
	err := unix.Unshare(unix.CLONE_NEWTIME)
	return trial{f: NSTime, what: "unshare CLONE_NEWTIME", cap: capSysAdmin, mend: "a kernel of 5.6 or newer with CONFIG_TIME_NS"}.result(e, err)
}
