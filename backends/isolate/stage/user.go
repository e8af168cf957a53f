package stage

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

// identity is who the program runs as.
type identity struct {
	uid, gid int
	groups   []uint32
	home     string
}

func itoa(n int) string { return strconv.Itoa(n) }

// atoi is -1 for what is not a number.
func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return n
}

// lookupUser resolves "user[:group]", names or numbers, by the container's own
// files; we are already inside its root.
func lookupUser(c *Config) (*identity, error) {
	p := c.Process.User
	id := &identity{uid: int(p.UID), gid: int(p.GID)}
	defaults := &user.ExecUser{Uid: id.uid, Gid: id.gid, Home: "/"}
	found, err := user.GetExecUserPath(c.User, defaults, "/etc/passwd", "/etc/group")
	if err != nil {
		return nil, step("user "+strconv.Quote(c.User), err)
	}
	id.home = found.Home
	if c.User == "" {
		// The IDs are the spec's; the files only know where home is.
		found.Sgids = nil
	} else {
		id.uid, id.gid = found.Uid, found.Gid
	}
	seen := map[int]bool{}
	add := func(gid int) {
		if !seen[gid] {
			seen[gid] = true
			id.groups = append(id.groups, uint32(gid))
		}
	}
	add(id.gid)
	for _, gid := range found.Sgids {
		add(gid)
	}
	for _, gid := range p.AdditionalGids {
		add(int(gid))
	}
	if len(c.GroupAdd) > 0 {
		more, err := user.GetAdditionalGroupsPath(c.GroupAdd, "/etc/group")
		if err != nil {
			return nil, step("additional groups", err)
		}
		for _, gid := range more {
			add(gid)
		}
	}
	return id, nil
}

// environment gives the program a HOME, as Docker does.
func environment(env []string, id *identity) []string {
	for _, kv := range env {
		if strings.HasPrefix(kv, "HOME=") && kv != "HOME=" {
			return env
		}
	}
	return append(append([]string(nil), env...), "HOME="+id.home)
}

// workdir changes into the working directory, which is made when it is missing
// and the container begins, and makes sure that it is inside the root: a directory that was reached through
// a descriptor of the host's has no name here (CVE-2024-21626).
func workdir(dir string, id *identity, begins bool) error {
	if dir == "" {
		dir = "/"
	}
	err := unix.Chdir(dir)
	if begins && errors.Is(err, unix.ENOENT) {
		if err = os.MkdirAll(dir, 0o755); err == nil {
			os.Chown(dir, id.uid, id.gid)
			err = unix.Chdir(dir)
		}
	}
	if err != nil {
		return step("working directory "+dir, err)
	}
	// The raw call: os.Getwd trusts $PWD. "(unreachable)" is the kernel's word
	// for a directory outside.
	name, err := unix.Getwd()
	if err != nil || !strings.HasPrefix(name, "/") {
		return step("working directory "+dir+" is outside the container", unix.ENOENT)
	}
	return nil
}
