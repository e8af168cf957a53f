package changes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"

	"coracle/engine/fsop"
	"coracle/internal/sys"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/sys/mountinfo"
	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Name is argv[0] of the process that works on a container's files where the
// calling one cannot: as root of the containers' user namespace, or where their
// root is mounted, in a mount namespace that is gone with it.
const Name = "coracle-changes"

// The helper's descriptors beside its standard ones.
const (
	fdJob    = 3 // the job, JSON
	fdAnswer = 4
	fdRoot   = 5 // a running container's root
)

// job is work on a container's files.
type job struct {
	Op   string // "diff", "commit", "export", "stat", "get", "put"
	Kind string // machine.Layers.Kind
	Old  []string
	New  []string
	Made unix.Timespec

	// Root is where the root is, or is to be mounted.
	Root   string
	Mounts []specs.Mount
	Binds  []bind
	Held   bool // fdRoot is the root

	Path     string
	Owner    string // USER of the image, for put
	ReadOnly bool   // the root is
	Users    bool
}

// bind is a volume of a container that does not run.
type bind struct {
	From, To string
	ReadOnly bool
}

// answer is what came of it.
type answer struct {
	Err     string
	Errno   syscall.Errno
	Stat    *Stat
	Entries int
	Notes   []string
}

// Main is the helper's; it returns the exit code.
func Main() int {
	var j job
	a := &answer{}
	err := json.NewDecoder(os.NewFile(fdJob, "job")).Decode(&j)
	if err == nil {
		root := -1
		if j.Held {
			root = fdRoot
		}
		err = j.run(context.Background(), root, os.Stdin, os.Stdout, a)
	}
	if err != nil {
		a.Err = err.Error()
		errors.As(err, &a.Errno)
	}
	if json.NewEncoder(os.NewFile(fdAnswer, "answer")).Encode(a) != nil {
		return 1
	}
	return 0
}

// run does the job; root is the descriptor of the root, or -1.
func (j *job) run(ctx context.Context, root int, in io.Reader, out io.Writer, a *answer) error {
	switch j.Op {
	case "diff", "commit", "export":
		return j.compare(ctx, out, a)
	}
	if root < 0 {
		fd, err := j.mount()
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		root = fd
	}
	switch j.Op {
	case "stat":
		st, err := stat(root, j.Path)
		a.Stat = st
		return err
	case "get":
		return get(ctx, root, j.Path, out)
	case "put":
		return j.put(ctx, root, in, a)
	}
	return fmt.Errorf("unknown job %q", j.Op)
}

// compare walks the layers and writes what Op asks for: lines of JSON, a
// layer's tar, or the whole tree's.
func (j *job) compare(ctx context.Context, out io.Writer, a *answer) error {
	fresh, err := open(j.New)
	if err != nil {
		return err
	}
	defer shut(fresh)
	var old []dir
	if j.Op != "export" {
		if old, err = open(j.Old); err != nil {
			return err
		}
		defer shut(old)
		for i := range old {
			old[i].at += len(j.New) - len(j.Old)
		}
		if old == nil {
			old = []dir{}
		}
	}
	w := &walker{ctx: ctx, union: union{kind: j.Kind}, made: j.Made}
	if w.covered, err = j.mounted(); err != nil {
		return err
	}
	if j.Op == "diff" {
		enc := json.NewEncoder(out)
		w.tell = func(kind container.ChangeType, path string, _ *node) error {
			return enc.Encode(container.FilesystemChange{Kind: kind, Path: path})
		}
		return w.walk("", old, fresh)
	}
	p := newPacker(ctx, out)
	if j.Op == "commit" {
		p.raw = out
	}
	w.tell = func(_ container.ChangeType, path string, n *node) error {
		name := strings.TrimPrefix(path, "/")
		if n == nil {
			return p.gone(name)
		}
		if j.Op == "commit" && strings.HasPrefix(n.name, aufsMark) {
			return fmt.Errorf("%s: a layer cannot hold a name that begins with %q", path, aufsMark)
		}
		if n.covered && n.is(unix.S_IFREG) {
			return p.hollow(name, &n.st)
		}
		return named(path, p.put(name, n.fd, n.name, &n.st))
	}
	err = w.walk("", old, fresh)
	a.Entries = p.count
	if err != nil {
		return err
	}
	return p.w.Close()
}

// mounted are the paths of a flat root that something is mounted on.
func (j *job) mounted() (map[string]bool, error) {
	if j.Kind != "flat" || len(j.New) == 0 {
		return nil, nil
	}
	list, err := mountinfo.GetMounts(mountinfo.PrefixFilter(j.New[0]))
	covered := map[string]bool{}
	for _, m := range list {
		if p, ok := strings.CutPrefix(m.Mountpoint, j.New[0]+"/"); ok {
			covered["/"+p] = true
		}
	}
	return covered, err
}

// mount mounts the root, if it is to be mounted, with its volumes, and opens it.
func (j *job) mount() (int, error) {
	if len(j.Mounts) > 0 {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return -1, os.NewSyscallError("make mounts private", err)
		}
		for _, m := range j.Mounts {
			if err := fsop.Mount(m, j.Root); err != nil {
				return -1, fmt.Errorf("mount %s on %s: %w", m.Type, j.Root, err)
			}
		}
	}
	fd, err := sys.OpenDirat(unix.AT_FDCWD, j.Root)
	if err != nil {
		return -1, err
	}
	for _, b := range j.Binds {
		if err := b.mount(fd); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("mount %s on %s: %w", b.From, b.To, err)
		}
	}
	return fd, nil
}

// mount binds a volume to its place, which is made as a start would make it.
func (b *bind) mount(root int) error {
	st, err := os.Stat(b.From)
	if errors.Is(err, os.ErrNotExist) {
		return nil // a start would make it, or say so
	}
	if err != nil {
		return err
	}
	w, err := begin(root)
	if err != nil {
		return err
	}
	defer w.close()
	w.missing = makeDir
	to := b.To
	if st.IsDir() {
		to += "/"
	}
	base, err := w.find(to, true)
	if err != nil {
		return err
	}
	at := "/proc/self/fd/" + strconv.Itoa(w.top())
	if base != "." {
		fd, err := sys.Openat(w.top(), base, unix.O_RDONLY|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o644)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		at = "/proc/self/fd/" + strconv.Itoa(fd)
	}
	if err := unix.Mount(b.From, at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	return nil
}

func (j *job) put(ctx context.Context, root int, in io.Reader, a *answer) error {
	w, err := begin(root)
	if err != nil {
		return err
	}
	defer w.close()
	base, err := w.find(j.Path, true)
	if err != nil {
		return err
	}
	if base != "." {
		var st unix.Stat_t
		if err := sys.Fstatat(w.top(), base, &st); err != nil {
			return err
		}
		return errNoDirectory
	}
	dest := w.path()
	if err := j.writable(dest); err != nil {
		return err
	}
	u := &unpacker{
		ctx: ctx, root: root, dest: dest, links: true, chown: true, users: j.Users,
		warn: func(line string) { a.Notes = append(a.Notes, line) },
	}
	if j.Owner != "" {
		if u.owner, err = lookup(root, j.Owner); err != nil {
			return err
		}
	}
	return u.unpack(in)
}

// writable refuses what the container itself could not write to.
func (j *job) writable(dest string) error {
	volume := ""
	var refused error
	if j.ReadOnly {
		refused = errRootReadonly
	}
	for _, b := range j.Binds {
		if Within(dest, b.To) && len(b.To) > len(volume) {
			volume, refused = b.To, nil
			if b.ReadOnly {
				refused = errVolumeReadonly
			}
		}
	}
	return refused
}

// Within tells whether a clean path is dir or something in it.
func Within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// lookup finds who the container's user is, in its own files.
func lookup(root int, name string) (*owner, error) {
	passwd, err := small(root, "/etc/passwd")
	if err != nil {
		return nil, err
	}
	group, err := small(root, "/etc/group")
	if err != nil {
		return nil, err
	}
	who, err := user.GetExecUser(name, &user.ExecUser{}, strings.NewReader(passwd), strings.NewReader(group))
	if err != nil {
		return nil, err
	}
	return &owner{who.Uid, who.Gid}, nil
}

// small reads a file of at most a megabyte; an absent one is empty.
func small(root int, p string) (string, error) {
	w, err := begin(root)
	if err != nil {
		return "", err
	}
	defer w.close()
	base, err := w.find(p, true)
	if err != nil || base == "." {
		return "", nil
	}
	f, err := openFile(w.top(), base)
	if err != nil {
		return "", nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 1<<20))
	return string(data), err
}

// stat looks at a path as Docker's API does: the last component is not followed.
func stat(root int, p string) (*Stat, error) {
	w, err := begin(root)
	if err != nil {
		return nil, err
	}
	defer w.close()
	base, err := w.find(p, false)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := sys.Fstatat(w.top(), base, &st); err != nil {
		return nil, err
	}
	out := &Stat{Name: path.Base(p), Size: st.Size, Mode: uint32(st.Mode)}
	if out.Link() {
		full, err := begin(root)
		if err != nil {
			return nil, err
		}
		defer full.close()
		base, err := full.find(p, true)
		if err != nil {
			return nil, err
		}
		out.LinkTarget = path.Join(full.path(), base)
	}
	return out, nil
}

// get writes a path as a tar: a directory with all that is in it, and whatever
// else by its own name. It is not followed.
func get(ctx context.Context, root int, p string, out io.Writer) error {
	w, err := begin(root)
	if err != nil {
		return err
	}
	defer w.close()
	base, err := w.find(p, false)
	if err != nil {
		return err
	}
	return newPacker(ctx, out).path(w.top(), base, lastName(p), path.Join(w.path(), base))
}

// path writes the file base of a directory as name, with all that is in it. Errors
// call it full.
func (p *packer) path(dirfd int, base, name, full string) error {
	var st unix.Stat_t
	if err := sys.Fstatat(dirfd, base, &st); err != nil {
		return named(full, err)
	}
	if err := p.put(name, dirfd, base, &st); err != nil {
		return named(full, err)
	}
	if uint32(st.Mode)&unix.S_IFMT == unix.S_IFDIR {
		fd, err := sys.OpenDirat(dirfd, base)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		w := &walker{ctx: p.ctx, union: union{kind: "flat"}}
		w.tell = func(_ container.ChangeType, below string, n *node) error {
			return named(full+below, p.put(name+below, n.fd, n.name, &n.st))
		}
		if err := w.walk("", nil, []dir{{fd, 0}}); err != nil {
			return err
		}
	}
	return p.w.Close()
}

// lastName is the name that a path has in an archive: "." for a directory's
// contents, "" for the root's.
func lastName(p string) string {
	if strings.HasSuffix(p, "/.") {
		return "."
	}
	if p = path.Clean("/" + p); p == "/" {
		return ""
	}
	return path.Base(p)
}
