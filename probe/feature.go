package probe

import "time"

// Feature names one thing that a kernel, a machine or a user may be able to do.
// The name is what `coracle probe --check` takes.
type Feature string

// The features. "X" says that clone (or the operation itself) works;
// "X.unshare" and "X.setns" that a running thread can leave for, or join, one.
const (
	Root Feature = "root" // effective uid 0 with the capabilities that mounting and chroot need

	NSMount         Feature = "ns.mount"
	NSMountUnshare  Feature = "ns.mount.unshare"
	NSMountSetns    Feature = "ns.mount.setns"
	NSPID           Feature = "ns.pid"
	NSPIDUnshare    Feature = "ns.pid.unshare"
	NSPIDSetns      Feature = "ns.pid.setns"
	NSNet           Feature = "ns.net"
	NSNetUnshare    Feature = "ns.net.unshare"
	NSNetSetns      Feature = "ns.net.setns"
	NSIPC           Feature = "ns.ipc"
	NSIPCUnshare    Feature = "ns.ipc.unshare"
	NSIPCSetns      Feature = "ns.ipc.setns"
	NSUTS           Feature = "ns.uts"
	NSUTSUnshare    Feature = "ns.uts.unshare"
	NSUTSSetns      Feature = "ns.uts.setns"
	NSCgroup        Feature = "ns.cgroup"
	NSCgroupUnshare Feature = "ns.cgroup.unshare"
	NSCgroupSetns   Feature = "ns.cgroup.setns"
	NSTime          Feature = "ns.time"
	NSUser          Feature = "ns.user" // for this user, uid_map written, and a mount namespace usable inside
	NSUserUnshare   Feature = "ns.user.unshare"
	NSUserSetns     Feature = "ns.user.setns"
	NSUserPID       Feature = "ns.user.pid"       // a PID namespace inside it
	NSUserNet       Feature = "ns.user.net"       // a network namespace inside it
	NSUserProc      Feature = "ns.user.proc"      // a fresh /proc inside it; masked parts of ours forbid that
	NewIDMap        Feature = "ns.user.newuidmap" // newuidmap, newgidmap and a sub-id range for this user

	Chroot    Feature = "chroot"
	PivotRoot Feature = "pivot_root"
	BindRO    Feature = "mount.bind.ro"
	MountProp Feature = "mount.propagation"
	NewMount  Feature = "mount.newapi"

	Overlay         Feature = "overlay"          // natively, on the state directory
	OverlayUserNS   Feature = "overlay.userns"   // inside a user namespace, on the state directory
	OverlayVolatile Feature = "overlay.volatile" // unmounted without a sync of the whole filesystem below
	AUFS            Feature = "aufs"
	Reflink         Feature = "reflink" // on the state directory
	XattrUser       Feature = "xattr.user"
	XattrTrusted    Feature = "xattr.trusted"
	XattrSecurity   Feature = "xattr.security"
	XattrACL        Feature = "xattr.acl"

	Cgroup2       Feature = "cgroup2" // mounted, and we may make groups below our own
	Cgroup2CPU    Feature = "cgroup2.cpu"
	Cgroup2CPUSet Feature = "cgroup2.cpuset"
	Cgroup2Memory Feature = "cgroup2.memory"
	Cgroup2PIDs   Feature = "cgroup2.pids"
	Cgroup2IO     Feature = "cgroup2.io"
	Cgroup2Kill   Feature = "cgroup2.kill"
	Cgroup2Freeze Feature = "cgroup2.freeze"

	Cgroup1         Feature = "cgroup1" // at least one controller that limits is usable
	Cgroup1CPU      Feature = "cgroup1.cpu"
	Cgroup1CPUAcct  Feature = "cgroup1.cpuacct"
	Cgroup1CPUSet   Feature = "cgroup1.cpuset"
	Cgroup1Memory   Feature = "cgroup1.memory"
	Cgroup1Devices  Feature = "cgroup1.devices"
	Cgroup1Freezer  Feature = "cgroup1.freezer"
	Cgroup1BlkIO    Feature = "cgroup1.blkio"
	Cgroup1PIDs     Feature = "cgroup1.pids"
	Cgroup1NetCls   Feature = "cgroup1.net_cls"
	Cgroup1HugeTLB  Feature = "cgroup1.hugetlb"
	Cgroup1PerfEvnt Feature = "cgroup1.perf_event"

	SeccompFilter Feature = "seccomp.filter"
	NoNewPrivs    Feature = "no_new_privs"
	Subreaper     Feature = "subreaper"
	CapsAmbient   Feature = "caps.ambient"
	CapsBounding  Feature = "caps.bounding"
	RlimitData    Feature = "rlimit.data"

	PIDFD   Feature = "pidfd"
	OpenAt2 Feature = "openat2"
	OPath   Feature = "o_path"
	MemFD   Feature = "memfd"

	Tun           Feature = "net.tun"
	NetPacket     Feature = "net.packet" // a packet socket on a veth pair, which does for a TAP
	Veth          Feature = "net.veth"
	BridgeNetlink Feature = "net.bridge.netlink"
	BridgeIoctl   Feature = "net.bridge.ioctl"
	NFTables      Feature = "net.nftables"
	IPTables      Feature = "net.iptables"

	DevptsNewInstance Feature = "devpts.newinstance"
	BinfmtMisc        Feature = "binfmt_misc"
	BinfmtUserNS      Feature = "binfmt_misc.userns"
)

// State is what a probe found: three-valued, because a probe that could not
// run has found nothing.
type State int

// The states. Unknown is never cached and never refuses a rung: it means try
// the real operation and report the real error.
const (
	Unknown State = iota
	Yes
	No
)

// String is "yes", "no" or "unknown".
func (s State) String() string {
	switch s {
	case Yes:
		return "yes"
	case No:
		return "no"
	}
	return "unknown"
}

// MarshalText makes scripts read the words.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote; any other word is Unknown.
func (s *State) UnmarshalText(text []byte) error {
	switch string(text) {
	case "yes":
		*s = Yes
	case "no":
		*s = No
	default:
		*s = Unknown
	}
	return nil
}

// Result is one finding.
type Result struct {
	Feature Feature `json:"feature"`
	State   State   `json:"state"`
	Why     string  `json:"why,omitempty"`    // for No and Unknown: the errno, the sysctl, the module
	Mend    string  `json:"mend,omitempty"`   // what would turn it into Yes; empty where nothing would
	Detail  string  `json:"detail,omitempty"` // for Yes: a mount point, a device, a handler list
}

// Report is everything that was found on one boot for one user and one state
// directory.
type Report struct {
	Format   int                `json:"format"`
	Boot     string             `json:"boot"`     // /proc/sys/kernel/random/boot_id, or btime where that is missing
	StateDir string             `json:"stateDir"` // the directory that overlay, reflink and xattrs were tried in
	Kernel   string             `json:"kernel"`   // uname -r, for messages only
	Arch     string             `json:"arch"`     // uname -m
	UID      int                `json:"uid"`
	EffCaps  uint64             `json:"effCaps"`
	UIDMap   string             `json:"uidMap"` // /proc/self/uid_map, one line each
	GIDMap   string             `json:"gidMap"`
	Init     string             `json:"init"` // systemd, sysv, upstart, openrc, runit, s6, procd, unknown …
	Results  map[Feature]Result `json:"results"`
	// Took is how long Run took to find this, or to read it where it was found
	// before; nanoseconds in JSON.
	Took time.Duration `json:"took"`
}

// Get returns the finding about f; a feature that was never probed is Unknown.
func (r *Report) Get(f Feature) Result {
	if res, ok := r.Results[f]; ok {
		return res
	}
	return Result{Feature: f, State: Unknown, Why: "not probed"}
}

// Has tells whether f was seen to work.
func (r *Report) Has(f Feature) bool { return r.Get(f).State == Yes }

// Lacks tells whether f was seen not to work.
func (r *Report) Lacks(f Feature) bool { return r.Get(f).State == No }
