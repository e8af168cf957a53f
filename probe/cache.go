package probe

import (
	"context"
	"encoding/json"
	"errors"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cache is the file of findings of one user and state directory. What it says
// holds for one boot; it is written aside and renamed, and not synced, as it
// dies with the boot.
type cache struct {
	id   *identity
	path string // "" where there is no cache
}

// stored is the file. Findings that could not be told are not in it.
type stored struct {
	Format   int
	Boot     string
	Kernel   string
	UID, GID int
	Caps     uint64
	Seccomp  string
	UIDMap   string
	GIDMap   string
	StateDir string
	Dev      uint64
	Exists   bool
	// Fingerprints: with another one, some findings are tried again.
	Modules, Settings, Cgroup, Binfmt uint64

	Arch, Init string
	// Found holds "feature", "y" or "n", why, mend, detail.
	Found [][5]string
}

func openCache(o Options, id *identity) *cache {
	c := &cache{id: id}
	if o.RunDir == "" {
		return c
	}
	dir := filepath.Join(o.RunDir, "probe")
	c.path = filepath.Join(dir, strconv.Itoa(id.uid)+"-"+strconv.FormatUint(sum(id.stateDir), 36)+".json")
	return c
}

func sum(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}

// key is the part of the file that must match as a whole.
func (c *cache) key() stored {
	id := c.id
	return stored{
		Format: reportFormat, Boot: id.boot, Kernel: id.kernel, UID: id.uid, GID: id.gid, Caps: id.caps, Seccomp: id.seccomp,
		UIDMap: id.uidMap, GIDMap: id.gidMap, StateDir: id.stateDir, Dev: id.dev, Exists: id.existing == id.stateDir,
		Modules: sum(id.modules), Settings: sum(id.settings), Cgroup: sum(id.cgroup), Binfmt: sum(id.binfmt),
	}
}

func (s *stored) sameKey(o *stored) bool {
	return s.Format == o.Format && s.Boot == o.Boot && s.Boot != "" && s.Kernel == o.Kernel &&
		s.UID == o.UID && s.GID == o.GID && s.Caps == o.Caps && s.Seccomp == o.Seccomp &&
		s.UIDMap == o.UIDMap && s.GIDMap == o.GIDMap && s.StateDir == o.StateDir && s.Dev == o.Dev && s.Exists == o.Exists
}

// load gives what is cached and which features are to be tried again; nil
// where nothing can be used. A file of another user is not ours to believe.
func (c *cache) load() (*Report, []Feature) {
	if c.path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(c.path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, nil
	}
	defer f.Close()
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil || int(st.Uid) != c.id.uid || st.Size > 1<<20 {
		return nil, nil
	}
	buf := make([]byte, st.Size)
	var s stored
	if n, err := f.Read(buf); err != nil || json.Unmarshal(buf[:n], &s) != nil {
		return nil, nil
	}
	key := c.key()
	if !s.sameKey(&key) {
		return nil, nil
	}
	r := &Report{
		Format: s.Format, Boot: s.Boot, StateDir: s.StateDir, Kernel: s.Kernel, Arch: s.Arch, UID: s.UID,
		EffCaps: s.Caps, UIDMap: s.UIDMap, GIDMap: s.GIDMap, Init: s.Init, Results: make(map[Feature]Result, len(s.Found)),
	}
	for _, w := range s.Found {
		state := No
		if w[1] == "y" {
			state = Yes
		}
		r.Results[Feature(w[0])] = Result{Feature(w[0]), state, w[2], w[3], w[4]}
	}
	return r, c.stale(r, &s, &key)
}

// stale lists what is to be tried again: what is not cached as it could not be
// told, what does not work and may now, and what hangs on a setting that
// changed.
func (c *cache) stale(r *Report, s, key *stored) []Feature {
	var out []Feature
	for _, g := range groups() {
		for _, f := range g.features {
			res, have := r.Results[f]
			switch {
			case !have,
				res.State == No && s.Modules != key.Modules,
				res.State == No && installed(res.Why),
				f == BinfmtMisc && s.Binfmt != key.Binfmt,
				s.Settings != key.Settings && (g.name == "userns" || f == NSUserUnshare),
				s.Cgroup != key.Cgroup && g.name == "cgroup":
				out = append(out, f)
			}
		}
	}
	return out
}

const notInPath = " is not in PATH"

// installed tells whether a program that was missing is there now.
func installed(why string) bool {
	name, ok := strings.CutSuffix(why, notInPath)
	return ok && program(name) != ""
}

// save writes the file. A cache that cannot be written is only slower.
func (c *cache) save(r *Report) {
	if c.path == "" {
		return
	}
	s := c.key()
	s.Arch, s.Init = r.Arch, r.Init
	for f, res := range r.Results {
		switch res.State {
		case Yes:
			s.Found = append(s.Found, [5]string{string(f), "y", res.Why, res.Mend, res.Detail})
		case No:
			s.Found = append(s.Found, [5]string{string(f), "n", res.Why, res.Mend, res.Detail})
		}
	}
	data, err := json.Marshal(s)
	if err != nil {
		return
	}
	tmp, err := os.CreateTemp(filepath.Dir(c.path), ".new-")
	if err != nil {
		return
	}
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), c.path)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
}

// patience is how long a start waits for another's probe before it makes its own.
const patience = 3 * time.Second

// lock makes concurrent starts take turns, so that the first one probes and the
// others read. Without a cache there is nothing to take turns for.
func (c *cache) lock(ctx context.Context) (unlock func(), err error) {
	free := func() {}
	if c.path == "" {
		return free, nil
	}
	if err := os.MkdirAll(filepath.Dir(c.path), 0o700); err != nil {
		c.path = ""
		return free, nil
	}
	f, err := os.OpenFile(c.path+".lock", os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		c.path = ""
		return free, nil
	}
	// Not a blocking flock: the holder may be stuck in a directory that does
	// not answer.
	for end := time.Now().Add(patience); time.Now().Before(end); {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			break
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, context.Cause(ctx)
		case <-time.After(time.Millisecond):
		}
	}
	return func() { f.Close() }, nil
}
