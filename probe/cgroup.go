package probe

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"coracle/internal/sys"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

const groupPrefix = "coracle-probe-"

// controller1 is a controller of version 1.
type controller1 struct {
	name string
	f    Feature
}

func controllers1() []controller1 {
	return []controller1{
		{"cpu", Cgroup1CPU}, {"cpuacct", Cgroup1CPUAcct}, {"cpuset", Cgroup1CPUSet}, {"memory", Cgroup1Memory},
		{"devices", Cgroup1Devices}, {"freezer", Cgroup1Freezer}, {"blkio", Cgroup1BlkIO}, {"pids", Cgroup1PIDs},
		{"net_cls", Cgroup1NetCls}, {"hugetlb", Cgroup1HugeTLB}, {"perf_event", Cgroup1PerfEvnt},
	}
}

func controllers2() []controller1 {
	return []controller1{
		{"cpu", Cgroup2CPU}, {"cpuset", Cgroup2CPUSet}, {"memory", Cgroup2Memory}, {"pids", Cgroup2PIDs}, {"io", Cgroup2IO},
	}
}

func cgroupFeatures() []Feature {
	out := []Feature{Cgroup2, Cgroup2Kill, Cgroup2Freeze}
	for _, c := range append(controllers1(), controllers2()...) {
		out = append(out, c.f)
	}
	return out
}

// hierarchies is what is mounted: the mount of each controller of version 1,
// that of version 2, and our own group in each.
type hierarchies struct {
	v1     map[string]*mountinfo.Info
	v2     *mountinfo.Info
	own    map[string]string // "" is version 2
	kernel map[string]bool   // controllers that the kernel has enabled
}

func findHierarchies() (*hierarchies, error) {
	h := &hierarchies{v1: map[string]*mountinfo.Info{}, own: map[string]string{}, kernel: map[string]bool{}}
	for line := range strings.Lines(slurp("/proc/cgroups")) {
		if w := strings.Fields(line); len(w) == 4 && w[3] == "1" {
			h.kernel[w[0]] = true
		}
	}
	for line := range strings.Lines(slurp("/proc/self/cgroup")) {
		if w := strings.SplitN(strings.TrimSpace(line), ":", 3); len(w) == 3 {
			for c := range strings.SplitSeq(w[1], ",") {
				h.own[c] = strings.TrimSuffix(w[2], " (deleted)")
			}
		}
	}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.FSType != "cgroup" && m.FSType != "cgroup2", false
	})
	for _, m := range mounts {
		if m.FSType == "cgroup2" {
			if h.v2 == nil {
				h.v2 = m
			}
			continue
		}
		for c := range strings.SplitSeq(m.VFSOptions, ",") {
			if h.v1[c] == nil {
				h.v1[c] = m
			}
		}
	}
	return h, err
}

// place is our own group as a directory below mount m, or the mount's top
// where our group cannot be seen from it.
func (h *hierarchies) place(m *mountinfo.Info, controller string) string {
	own := h.own[controller]
	if m.Root != "/" {
		rest, ok := strings.CutPrefix(own, m.Root)
		if !ok || (rest != "" && rest[0] != '/') {
			rest = ""
		}
		own = rest
	}
	dir := filepath.Join(m.Mountpoint, own)
	if unix.Access(dir, unix.F_OK) != nil {
		return m.Mountpoint
	}
	return dir
}

// makeGroup makes a group in dir, has use look at it, and removes it.
func makeGroup(dir string, use func(group string)) error {
	cleanGroups(dir)
	g := filepath.Join(dir, groupPrefix+strconv.Itoa(os.Getpid()))
	err := unix.Mkdir(g, 0o755)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return &os.PathError{Op: "mkdir", Path: g, Err: err}
	}
	if use != nil {
		use(g)
	}
	for range 10 {
		if err = unix.Rmdir(g); !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &os.PathError{Op: "rmdir", Path: g, Err: err}
	}
	return nil
}

// cleanGroups removes what killed probes have left.
func cleanGroups(dir string) {
	for _, n := range names(dir) {
		if pid, ok := strings.CutPrefix(n, groupPrefix); ok && !alive(pid) {
			unix.Rmdir(filepath.Join(dir, n))
		}
	}
}

func probeCgroups(e *env) []Result {
	h, err := findHierarchies()
	if err != nil {
		var out []Result
		for _, f := range cgroupFeatures() {
			out = append(out, unknown(f, reason("read /proc/self/mountinfo", err)))
		}
		return out
	}
	return append(h.version2(e), h.version1(e)...)
}

func (h *hierarchies) version1(e *env) []Result {
	free := map[string]error{}
	if len(h.v1) == 0 && h.v2 == nil && e.id.caps&(1<<unix.CAP_SYS_ADMIN) != 0 {
		free = h.mountVersion1(e)
	}
	var out []Result
	tried := map[string]error{} // one trial a hierarchy: cpu and cpuacct are often one
	for _, c := range controllers1() {
		m := h.v1[c.name]
		err, mounted := free[c.name]
		switch {
		case m != nil:
			dir := h.place(m, c.name)
			err, done := tried[dir]
			if !done {
				err = makeGroup(dir, nil)
				tried[dir] = err
			}
			res := trial{f: c.f, what: "make a group in " + dir, mend: "a writable mount of " + m.Mountpoint}.result(e, err)
			if res.State == Yes {
				res.Detail = m.Mountpoint
			}
			out = append(out, res)
		case mounted && err == nil:
			out = append(out, yesWith(c.f, "not mounted; coracle mounts it"))
		case mounted:
			out = append(out, trial{f: c.f, what: "mount -t cgroup -o " + c.name, cap: capSysAdmin, mend: "a kernel with this controller"}.result(e, err))
		default:
			out = append(out, h.missing1(c))
		}
	}
	return out
}

// missing1 says why there is no mount of a controller.
func (h *hierarchies) missing1(c controller1) Result {
	switch {
	case h.v2 != nil && hasWord(slurp(filepath.Join(h.v2.Mountpoint, "cgroup.controllers")), c.name):
		return no(c.f, "the controller is with version 2", "")
	case h.kernel[c.name]:
		return no(c.f, "not mounted", "mount -t cgroup -o "+c.name+" cgroup /sys/fs/cgroup/"+c.name)
	case strings.Contains(" "+slurp("/proc/cgroups"), "\n"+c.name+"\t"):
		return no(c.f, "disabled at boot", "boot with cgroup_enable="+c.name)
	}
	return no(c.f, "the kernel has no controller "+c.name, "a kernel with this controller")
}

// mountVersion1 mounts each controller by itself, where no control groups at
// all are mounted, and unmounts it, which takes the hierarchy down again.
func (h *hierarchies) mountVersion1(e *env) map[string]error {
	out := map[string]error{}
	sys.OnThread(func() {
		if unix.Unshare(unix.CLONE_NEWNS) != nil || unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") != nil {
			return
		}
		top := e.tmpfs()
		if top == "" {
			return
		}
		for _, c := range controllers1() {
			if !h.kernel[c.name] {
				continue
			}
			dir := filepath.Join(top, c.name)
			err := unix.Mkdir(dir, 0o700)
			if err == nil {
				err = unix.Mount("cgroup", dir, "cgroup", 0, c.name)
			}
			if err == nil {
				err = makeGroup(dir, nil)
				unix.Unmount(dir, 0)
			}
			out[c.name] = err
		}
	})
	return out
}

func hasWord(text, word string) bool { return slices.Contains(strings.Fields(text), word) }

// version2 makes a group and looks what it could be given. Controllers are
// handed down level by level; those that the level of our groups does not hand
// down yet are not switched on for the trial: switching them off again would
// take limits from whoever else has begun to use them.
func (h *hierarchies) version2(e *env) []Result {
	if h.v2 == nil {
		mend := "mount -t cgroup2 none /sys/fs/cgroup"
		why := "not mounted"
		if !hasWord(slurp("/proc/filesystems"), "cgroup2") {
			why, mend = "the kernel has no cgroup2", "a kernel of 4.5 or newer"
		}
		var out []Result
		for _, f := range append([]Feature{Cgroup2, Cgroup2Kill, Cgroup2Freeze}, features2()...) {
			out = append(out, no(f, why, mend))
		}
		return out
	}
	base := h.base2(e.id.uid)
	var out []Result
	err := makeGroup(base, func(g string) {
		out = append(out, files2(e, g)...)
		for _, c := range controllers2() {
			out = append(out, h.handed(e, c, base, g))
		}
	})
	res := trial{f: Cgroup2, what: "make a group in " + base, mend: "a writable mount of " + h.v2.Mountpoint}.result(e, err)
	if res.State == Yes {
		res.Detail = h.v2.Mountpoint
		return append(out, res)
	}
	if e.id.uid != 0 && res.State == No {
		res.Mend = "have a group delegated (systemd-run --user --scope -p Delegate=yes), or run as root"
	}
	out = []Result{res}
	for _, f := range append([]Feature{Cgroup2Kill, Cgroup2Freeze}, features2()...) {
		res.Feature = f
		out = append(out, res)
	}
	return out
}

func features2() []Feature {
	var out []Feature
	for _, c := range controllers2() {
		out = append(out, c.f)
	}
	return out
}

// base2 is where groups can be made: for root the top, for a user the highest
// group above his own that was delegated to him, as a group with processes in
// it hands nothing down.
func (h *hierarchies) base2(uid int) string {
	if uid == 0 {
		return h.v2.Mountpoint
	}
	own := h.place(h.v2, "")
	best := own
	for dir := own; strings.HasPrefix(dir, h.v2.Mountpoint); dir = filepath.Dir(dir) {
		if unix.Access(dir, unix.W_OK) != nil || unix.Access(filepath.Join(dir, "cgroup.procs"), unix.W_OK) != nil {
			break
		}
		best = dir
	}
	return best
}

// files2 looks at the files of the kernel's newer abilities in group g.
func files2(e *env, g string) []Result {
	kill := trial{f: Cgroup2Kill, what: "open cgroup.kill", mend: "a kernel of 5.14 or newer"}
	freeze := trial{f: Cgroup2Freeze, what: "write \"1\" to cgroup.freeze", mend: "a kernel of 5.2 or newer"}
	return []Result{
		kill.result(e, unix.Access(filepath.Join(g, "cgroup.kill"), unix.W_OK)),
		freeze.result(e, writeFile(filepath.Join(g, "cgroup.freeze"), "1")),
	}
}

// writeFile writes in one go to a file that is there.
func writeFile(path, text string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(text))
	return err
}

func (h *hierarchies) handed(e *env, c controller1, base, g string) Result {
	if hasWord(slurp(filepath.Join(g, "cgroup.controllers")), c.name) {
		err := writeFile(filepath.Join(g, "cgroup.subtree_control"), "+"+c.name)
		return trial{f: c.f, what: "write \"+" + c.name + "\" to cgroup.subtree_control", mend: "a controller that is handed down to us"}.result(e, err)
	}
	if !hasWord(slurp(filepath.Join(base, "cgroup.controllers")), c.name) {
		v1 := c.name
		if v1 == "io" {
			v1 = "blkio"
		}
		switch {
		case h.v1[v1] != nil:
			return no(c.f, "the controller is with version 1, on "+h.v1[v1].Mountpoint, "boot with cgroup_no_v1="+v1)
		case base != h.v2.Mountpoint:
			return no(c.f, "not handed down to "+base, "have the controller delegated (systemd: Delegate="+c.name+")")
		}
		return no(c.f, "the kernel has no controller "+c.name+" here", "a kernel with this controller, or one that is not with version 1")
	}
	control := filepath.Join(base, "cgroup.subtree_control")
	if err := unix.Access(control, unix.W_OK); err != nil {
		return trial{f: c.f, what: "write to " + control}.result(e, err)
	}
	if base != h.v2.Mountpoint || h.v2.Root != "/" {
		// "No internal processes": the namespace's or delegate's top has some.
		if slurp(filepath.Join(base, "cgroup.procs")) != "" && unix.Access(filepath.Join(base, "cgroup.type"), unix.F_OK) == nil {
			return no(c.f, base+" has processes of its own, so that it hands nothing down", "start coracle in a group below it")
		}
	}
	return yesWith(c.f, "not handed down yet")
}
