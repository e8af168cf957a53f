package stage

import (
	"strings"

	"golang.org/x/sys/unix"
)

// options are a spec's mount options, sorted out as mount(8) does.
type options struct {
	flags       uintptr
	propagation []uintptr
	data        string
	chdir       string   // x-chdir=
	register    []string // x-register=, to be written to the file "register" of the mount
	subpath     string   // x-subpath=, what of the source is bound
	tree        int      // x-tree=, which of the mounts handed to us is put there; 0: none
	// recursive: what is mounted below a read-only bind is to be read-only too;
	// must: or it is an error.
	recursive, must bool
}

// MountOptions are the flags and the data of mount(2) for a list of options as
// mount(8) takes them.
func MountOptions(list []string) (flags uintptr, data string) {
	o := parseOptions(list)
	return o.flags, o.data
}

func parseOptions(list []string) options {
	var o options
	var data []string
	for _, opt := range list {
		if set, clear, ok := mountFlag(opt); ok {
			o.flags = o.flags&^clear | set
			continue
		}
		if flag, ok := propagationFlag(opt); ok {
			o.propagation = append(o.propagation, flag)
			continue
		}
		switch {
		case strings.HasPrefix(opt, "x-chdir="):
			o.chdir = strings.TrimPrefix(opt, "x-chdir=")
		case strings.HasPrefix(opt, "x-register="):
			o.register = append(o.register, strings.TrimPrefix(opt, "x-register="))
		case strings.HasPrefix(opt, "x-subpath="):
			o.subpath = strings.TrimPrefix(opt, "x-subpath=")
		case strings.HasPrefix(opt, "x-tree="):
			o.tree = atoi(strings.TrimPrefix(opt, "x-tree="))
		case opt == "rro" || opt == "x-rro":
			o.flags |= unix.MS_RDONLY
			o.recursive, o.must = true, opt == "x-rro"
		case opt == "tmpcopyup" || opt == "" || opt == "defaults":
		default:
			data = append(data, opt)
		}
	}
	o.data = strings.Join(data, ",")
	return o
}

func mountFlag(opt string) (set, clear uintptr, ok bool) {
	switch opt {
	case "ro":
		return unix.MS_RDONLY, 0, true
	case "rw":
		return 0, unix.MS_RDONLY, true
	case "nosuid":
		return unix.MS_NOSUID, 0, true
	case "suid":
		return 0, unix.MS_NOSUID, true
	case "nodev":
		return unix.MS_NODEV, 0, true
	case "dev":
		return 0, unix.MS_NODEV, true
	case "noexec":
		return unix.MS_NOEXEC, 0, true
	case "exec":
		return 0, unix.MS_NOEXEC, true
	case "sync":
		return unix.MS_SYNCHRONOUS, 0, true
	case "dirsync":
		return unix.MS_DIRSYNC, 0, true
	case "noatime":
		return unix.MS_NOATIME, 0, true
	case "nodiratime":
		return unix.MS_NODIRATIME, 0, true
	case "relatime":
		return unix.MS_RELATIME, 0, true
	case "strictatime":
		return unix.MS_STRICTATIME, 0, true
	case "bind":
		return unix.MS_BIND, 0, true
	case "rbind":
		return unix.MS_BIND | unix.MS_REC, 0, true
	}
	return 0, 0, false
}

func propagationFlag(opt string) (uintptr, bool) {
	switch opt {
	case "private":
		return unix.MS_PRIVATE, true
	case "rprivate":
		return unix.MS_PRIVATE | unix.MS_REC, true
	case "slave":
		return unix.MS_SLAVE, true
	case "rslave":
		return unix.MS_SLAVE | unix.MS_REC, true
	case "shared":
		return unix.MS_SHARED, true
	case "rshared":
		return unix.MS_SHARED | unix.MS_REC, true
	case "unbindable":
		return unix.MS_UNBINDABLE, true
	case "runbindable":
		return unix.MS_UNBINDABLE | unix.MS_REC, true
	}
	return 0, false
}

// dropOption removes the options that begin with prefix from mount data.
func dropOption(data, prefix string) string {
	var kept []string
	for _, opt := range strings.Split(data, ",") {
		if !strings.HasPrefix(opt, prefix) {
			kept = append(kept, opt)
		}
	}
	return strings.Join(kept, ",")
}
