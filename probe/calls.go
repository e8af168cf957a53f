package probe

import (
	"errors"
	"runtime"
	"unsafe"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

func callFeatures() []Feature { return []Feature{PIDFD, OpenAt2, OPath, MemFD, RlimitData} }

// probeCalls makes calls that touch nothing but our own descriptors.
func probeCalls(e *env) []Result {
	return []Result{
		closing(e, trial{f: PIDFD, what: "pidfd_open", mend: "a kernel of 5.3 or newer"}, func() (int, error) {
			return unix.PidfdOpen(unix.Getpid(), 0)
		}),
		closing(e, trial{f: OpenAt2, what: "openat2", mend: "a kernel of 5.6 or newer"}, func() (int, error) {
			return unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
		}),
		closing(e, trial{f: MemFD, what: "memfd_create", mend: "a kernel of 3.17 or newer"}, func() (int, error) {
			return unix.MemfdCreate("coracle-probe", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		}),
		closing(e, trial{f: OPath, what: "open with O_PATH", mend: "a kernel of 2.6.39 or newer"}, openPath),
		rlimitData(e),
	}
}

// rlimitData tells whether RLIMIT_DATA counts private memory that is mapped, as
// since Linux 4.7, and not only what brk(2) gave. A child turns a page into data
// (mprotect(2) asks the same question as mmap(2)).
func rlimitData(e *env) Result {
	t := trial{f: RlimitData, what: "RLIMIT_DATA on mapped memory", mend: "a kernel of 4.7 or newer, without ignore_rlimit_data"}
	page, err := unix.Mmap(-1, 0, unix.Getpagesize(), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return unknown(t.f, err.Error())
	}
	defer unix.Munmap(page)
	limit := [2]uintptr{1, 1}
	var s sys.Script
	s.Must(unix.SYS_SETRLIMIT, unix.RLIMIT_DATA, s.Mem(unsafe.Slice((*byte)(unsafe.Pointer(&limit)), int(unsafe.Sizeof(limit)))))
	data := s.Do(unix.SYS_MPROTECT, s.Mem(page), uintptr(len(page)), unix.PROT_READ|unix.PROT_WRITE)
	answers, err := s.Run()
	runtime.KeepAlive(&limit)
	switch {
	case err != nil || !answers[data].Done:
		return unknown(t.f, t.what+": no child could try it")
	case answers[data].Err() == nil:
		err = errors.New("it is not held to it")
	case !isErr(answers[data].Err(), unix.ENOMEM):
		err = answers[data].Err()
	}
	return t.result(e, err)
}

// openPath: a kernel that does not know O_PATH opens the directory, and then
// says EISDIR of a read.
func openPath() (int, error) {
	fd, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if _, err := unix.Read(fd, make([]byte, 1)); !errors.Is(err, unix.EBADF) {
		unix.Close(fd)
		return -1, errors.New("the flag is ignored")
	}
	return fd, nil
}

func closing(e *env, t trial, f func() (int, error)) Result {
	fd, err := f()
	if err == nil {
		unix.Close(fd)
	}
	return t.result(e, err)
}

func confineFeatures() []Feature {
	return []Feature{SeccompFilter, NoNewPrivs, CapsAmbient, CapsBounding}
}

// probeConfine confines a thread that ends then.
func probeConfine(e *env) []Result {
	var out []Result
	sys.OnThread(func() {
		err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
		out = append(out, trial{f: CapsAmbient, what: "prctl PR_CAP_AMBIENT", mend: "a kernel of 4.3 or newer"}.result(e, err))
		err = unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_MKNOD, 0, 0, 0)
		out = append(out, trial{f: CapsBounding, what: "prctl PR_CAPBSET_DROP", cap: capSetPCap, mend: "a kernel with file capabilities"}.result(e, err))
		err = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		out = append(out, trial{f: NoNewPrivs, what: "prctl PR_SET_NO_NEW_PRIVS", mend: "a kernel of 3.5 or newer"}.result(e, err))
		out = append(out, trial{f: SeccompFilter, what: "load a seccomp filter", cap: capSysAdmin, mend: "a kernel of 3.5 or newer with CONFIG_SECCOMP_FILTER"}.result(e, allowAll()))
	})
	return out
}

// allowAll loads a filter that allows every call, by seccomp(2) or by prctl(2),
// which was there before (3.5, 3.17).
func allowAll() error {
	filter := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}}
	prog := unix.SockFprog{Len: 1, Filter: &filter[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		_, _, errno = unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)))
	}
	runtime.KeepAlive(filter)
	if errno != 0 {
		return errno
	}
	return nil
}
