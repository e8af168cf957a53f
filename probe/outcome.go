package probe

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func yes(f Feature) Result { return Result{Feature: f, State: Yes} }

func yesWith(f Feature, detail string) Result {
	return Result{Feature: f, State: Yes, Detail: detail}
}

func no(f Feature, why, mend string) Result {
	return Result{Feature: f, State: No, Why: why, Mend: mend}
}

func unknown(f Feature, why string) Result {
	return Result{Feature: f, State: Unknown, Why: why}
}

// trial is one attempt at a feature and how its failure is to be read.
type trial struct {
	f    Feature
	what string // what was attempted: "mount overlay"
	cap  uint   // the capability that it needs, plus one; 0: none
	mend string // what gives the kernel the feature
}

// result reads err: nil is Yes; what may pass by itself is Unknown; the rest is
// No, with the reason and what would mend it.
func (t trial) result(e *env, err error) Result {
	if err == nil {
		return yes(t.f)
	}
	why := reason(t.what, err)
	switch {
	case passing(err):
		return unknown(t.f, why)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return no(t.f, why, e.permission(t.cap))
	}
	return no(t.f, why, t.mend)
}

// each gives the same failure to several features.
func each(e *env, err error, trials ...trial) []Result {
	var out []Result
	for _, t := range trials {
		out = append(out, t.result(e, err))
	}
	return out
}

func reason(what string, err error) string {
	var pe *os.PathError
	var se *os.SyscallError
	switch {
	case errors.As(err, &pe):
		err = pe.Err
	case errors.As(err, &se):
		err = se.Err
	}
	return fmt.Sprintf("%s: %v", what, err)
}

// passing tells whether err says something of this moment, not of this machine.
func passing(err error) bool {
	for _, errno := range [...]unix.Errno{
		unix.EBUSY, unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.ENOSPC, unix.EDQUOT, unix.EINTR,
		unix.EAGAIN, unix.EIO, unix.ETIMEDOUT, unix.ESTALE, unix.ENOBUFS, unix.ECANCELED,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// permission is what would mend EPERM.
func (e *env) permission(need uint) string {
	switch {
	case need > 0 && e.id.caps&(1<<(need-1)) == 0 && e.id.uid != 0:
		return "run as root"
	case need > 0 && e.id.caps&(1<<(need-1)) == 0:
		return "run with " + capName(need-1)
	case e.id.seccomp != "0" && e.id.seccomp != "":
		return "run without the seccomp filter that we are under"
	case e.id.uid != 0:
		return "run as root"
	}
	return "a security module or the sandbox around us forbids it"
}

// Capabilities that trials need, plus one; see trial.cap.
const (
	capSysAdmin  = unix.CAP_SYS_ADMIN + 1
	capNetAdmin  = unix.CAP_NET_ADMIN + 1
	capSysChroot = unix.CAP_SYS_CHROOT + 1
	capSetPCap   = unix.CAP_SETPCAP + 1
	capSetFCap   = unix.CAP_SETFCAP + 1
	capNetRaw    = unix.CAP_NET_RAW + 1
)
