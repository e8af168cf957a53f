package tree

import (
	"context"
	"errors"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// CopyOptions say how Copy copies.
type CopyOptions struct {
	// Clone shares the data of files by FICLONE. Where the filesystem cannot,
	// Copy fails with the errno (EOPNOTSUPP, ENOTTY, EXDEV).
	Clone bool
	// NoOwner leaves everything to the caller, and device nodes out.
	NoOwner bool
	// NoXattr says that no file of the source has extended attributes that
	// matter, which saves a call for each.
	NoXattr bool
	// Workers is the number of files copied at once; 0: as many as serve.
	Workers int
}

// Copy copies the tree below directory src into the empty directory dst, which
// gets src's owner, mode, times and attributes too: hard links stay hard
// links, holes stay holes, times keep their nanoseconds. Sockets are left out.
// On an error what has been copied is left to the caller to remove.
func Copy(ctx context.Context, src, dst string, opt CopyOptions) error {
	c := &copier{ctx: ctx, opt: opt, src: -1, dst: -1, links: map[inode]string{}}
	c.umask, c.uid, c.gid = sys.Umask(), uint32(unix.Geteuid()), uint32(unix.Getegid())
	c.wake = sync.NewCond(&c.mu)
	defer c.close()
	var err error
	if c.src, err = sys.Openat(unix.AT_FDCWD, src, unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
		return err
	}
	if c.dst, err = sys.Openat(unix.AT_FDCWD, dst, unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
		return err
	}
	var st unix.Stat_t
	if err = sys.Fstat(c.dst, &st); err != nil {
		return err
	}
	c.inherit = st.Gid != c.gid || st.Mode&unix.S_ISGID != 0
	c.push(job{rel: "."})
	n := opt.Workers
	if n <= 0 {
		n = min(max(2, 2*runtime.NumCPU()), 8)
	}
	var wg sync.WaitGroup
	for range n {
		wg.Go(c.work)
	}
	wg.Wait()
	if c.err != nil {
		return c.err
	}
	return c.finish()
}

// job is a directory, or, with files, some of an open directory's files.
type job struct {
	rel   string
	dir   *pair
	files []entry
}

// entry is a directory's name for a file. typ is DT_REG …, or DT_UNKNOWN.
type entry struct {
	name string
	typ  byte
}

// pair is a directory that is being copied. The last job that uses it gives the
// copy its metadata.
type pair struct {
	rel      string
	src, dst int
	st       unix.Stat_t
	refs     int // under copier.mu
}

type copier struct {
	ctx      context.Context
	opt      CopyOptions
	src, dst int
	umask    uint32
	uid, gid uint32

	mu     sync.Mutex
	wake   *sync.Cond
	jobs   []job
	active int // jobs that run or wait
	idle   int // workers that wait for one
	err    error
	links  map[inode]string // first name of a file with several
	extra  []extraName
	late   []lateMode
	lent   []lateMode // of the source, to be given back
	// inherit: new files may get another group than ours (setgid or grpid
	// above the copy).
	inherit bool
}

type extraName struct{ first, rel string }

type lateMode struct {
	rel  string
	mode uint32
}

func (c *copier) close() {
	slices.SortFunc(c.lent, deepestFirst)
	for _, l := range c.lent {
		sys.ChmodNoFollow(c.src, l.rel, l.mode)
	}
	if c.src >= 0 {
		unix.Close(c.src)
	}
	if c.dst >= 0 {
		unix.Close(c.dst)
	}
}

func (c *copier) push(j job) {
	c.mu.Lock()
	c.jobs = append(c.jobs, j)
	c.active++
	c.mu.Unlock()
	c.wake.Signal()
}

// next waits for a job; false: there will be none.
func (c *copier) next() (job, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.jobs) == 0 && c.active > 0 {
		c.idle++
		c.wake.Wait()
		c.idle--
	}
	if len(c.jobs) == 0 {
		return job{}, false
	}
	// Last in, first out: the queue stays short.
	j := c.jobs[len(c.jobs)-1]
	c.jobs = c.jobs[:len(c.jobs)-1]
	return j, true
}

// starving tells whether a worker waits for a job that nobody has pushed yet.
func (c *copier) starving() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.idle > len(c.jobs)
}

func (c *copier) done(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && c.err == nil {
		c.err = err
	}
	c.active--
	if c.active == 0 {
		c.wake.Broadcast()
	}
}

func (c *copier) failed() error {
	c.mu.Lock()
	err := c.err
	c.mu.Unlock()
	if err == nil {
		err = c.ctx.Err()
	}
	return err
}

func (c *copier) work() {
	w := &worker{copier: c, data: make([]byte, 128<<10), dents: make([]byte, 32<<10)}
	for {
		j, ok := c.next()
		if !ok {
			return
		}
		err := c.failed()
		switch {
		case j.dir == nil && err == nil:
			err = w.directory(j.rel)
		case j.dir != nil:
			err = w.files(j.dir, j.files, err)
		}
		c.done(err)
	}
}

// finish makes the second names of files, which may be in any directory, and
// sets the modes that would have been in the way.
func (c *copier) finish() error {
	touched := map[string]struct{}{}
	for _, e := range c.extra {
		if err := sys.Linkat(c.dst, e.first, c.dst, e.rel); err != nil {
			return err
		}
		touched[parent(e.rel)] = struct{}{}
	}
	for rel := range touched {
		var st unix.Stat_t
		if err := sys.Fstatat(c.src, rel, &st); err != nil {
			return err
		}
		if err := sys.UtimesAt(c.dst, rel, st.Atim, st.Mtim); err != nil {
			return err
		}
	}
	// Deepest first: a directory may forbid to enter it.
	slices.SortFunc(c.late, deepestFirst)
	for _, l := range c.late {
		if err := sys.ChmodNoFollow(c.dst, l.rel, l.mode); err != nil {
			return err
		}
	}
	return nil
}

func deepestFirst(a, b lateMode) int { return strings.Compare(b.rel, a.rel) }

func parent(rel string) string {
	if i := strings.LastIndexByte(rel, '/'); i >= 0 {
		return rel[:i]
	}
	return "."
}

func below(rel, name string) string {
	if rel == "." {
		return name
	}
	return rel + "/" + name
}

func isGone(err error) bool   { return errors.Is(err, fs.ErrNotExist) }
func isDenied(err error) bool { return errors.Is(err, unix.EACCES) }
