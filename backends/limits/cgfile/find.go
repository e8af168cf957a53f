package cgfile

import (
	"bufio"
	"os"
	"path"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// Hierarchy is one mounted hierarchy.
type Hierarchy struct {
	V2          bool
	Controllers []string // of v1: from the mount's options; names left out
	Mount       string   // where it is mounted
	Own         string   // our own group, from the mount's top: "/" or "/a/b"
}

// Find lists the mounted hierarchies, each once. A v1 hierarchy without a
// controller (name=systemd) is left out.
func Find() ([]Hierarchy, error) {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.FSType != "cgroup" && m.FSType != "cgroup2", false
	})
	if err != nil {
		return nil, err
	}
	own, err := ownGroups("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	return hierarchies(mounts, own), nil
}

func hierarchies(mounts []*mountinfo.Info, own map[string]string) []Hierarchy {
	var out []Hierarchy
	taken := map[string]bool{}
	for _, m := range mounts {
		h := Hierarchy{V2: m.FSType == "cgroup2", Mount: m.Mountpoint}
		key := ""
		if !h.V2 {
			h.Controllers = controllersOf(m.VFSOptions, own)
			if len(h.Controllers) == 0 {
				continue
			}
			key = h.Controllers[0]
		}
		if taken[key] {
			continue
		}
		group, ok := below(m.Root, own[key])
		if !ok {
			continue // bound from elsewhere: our own group is not in it
		}
		h.Own = group
		taken[key] = true
		out = append(out, h)
	}
	return out
}

// controllersOf keeps those mount options that are controllers.
func controllersOf(options string, own map[string]string) []string {
	var out []string
	for w := range strings.SplitSeq(options, ",") {
		if _, ok := own[w]; ok && w != "" {
			out = append(out, w)
		}
	}
	return out
}

// below gives group as seen from a mount whose top is root. In a cgroup
// namespace of another mount's making, root climbs out ("/..") and what is
// visible is the mount's top.
func below(root, group string) (string, bool) {
	switch {
	case group == "" || strings.HasPrefix(root, "/.."):
		return "/", true
	case root == "/":
		return path.Clean("/" + group), true
	case group == root:
		return "/", true
	case strings.HasPrefix(group, root+"/"):
		return group[len(root):], true
	case group == "/":
		// A host's hierarchy bound into a cgroup namespace.
		return "/", true
	}
	return "", false
}

// ownGroups reads lines "4:memory,cpu:/a/b" into controller to path; "" is v2.
func ownGroups(file string) (map[string]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := map[string]string{}
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		w := strings.SplitN(sc.Text(), ":", 3)
		if len(w) != 3 {
			continue
		}
		for c := range strings.SplitSeq(w[1], ",") {
			if strings.HasPrefix(c, "name=") || (c == "" && w[0] != "0") {
				continue
			}
			// A process outlives its group's directory as "/x (deleted)".
			out[c] = strings.TrimSuffix(w[2], " (deleted)")
		}
	}
	return out, sc.Err()
}
