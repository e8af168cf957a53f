package command

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"coracle/backends"
	"coracle/backends/isolate"
	"coracle/engine"
	"coracle/engine/changes"
	"coracle/image"
	"coracle/image/registry"
	"coracle/probe"
)

// hint says what the user may do about an error; "" when nothing is known to
// help. All hints are here: libraries return facts.
func (t *tool) hint(err error) string {
	for _, match := range []func(error) string{installHint, unitsHint, platformHint, t.rungHint, programHint, imageHint, containerHint, state(t.options).hint} {
		if h := match(err); h != "" {
			return h
		}
	}
	return ""
}

// rungHint is about a way of running containers that this machine lacks.
func (t *tool) rungHint(err error) string {
	var wish *backends.WishError
	if errors.As(err, &wish) {
		if wish.Mend != "" {
			return wish.Mend
		}
		return "'coracle probe' says what works here, and why the rest does not"
	}
	var feature *probe.ErrFeature
	if errors.As(err, &feature) {
		return "'coracle probe' lists the features"
	}
	if !errors.Is(err, backends.ErrNoRung) {
		return ""
	}
	hint := "run it as root, or let users make user namespaces: 'coracle probe' says what forbids it"
	if t.open == nil || t.open.Selection() == nil {
		return hint
	}
	for _, c := range t.open.Selection().Choices {
		for _, r := range c.Refused {
			// To be root needs no explaining: what else would do?
			if c.Rung == "" && r.Mend != "" && r.Feature != probe.Root {
				return r.Mend
			}
		}
	}
	return hint
}

// platformHint is about a platform that is not this machine's.
func platformHint(err error) string {
	var known interface{ Mend() string } // *emulate.Error, *box.MissingError
	if errors.As(err, &known) {
		return known.Mend()
	}
	return ""
}

// programHint is about a program that could not be executed.
func programHint(err error) string {
	var exec *isolate.ExecError
	if !errors.As(err, &exec) {
		return ""
	}
	switch {
	case exec.Errno == syscall.ENOEXEC && strings.HasPrefix(exec.Reason, "neither"):
		return "give the interpreter with it (sh FILE), or begin the file with #!"
	case exec.Errno == syscall.ENOEXEC:
		return "take an image of this architecture, or install qemu-user with its binfmt_misc handlers"
	case exec.Errno == syscall.ENOENT && strings.HasSuffix(exec.Reason, "is missing"):
		return "the image lacks what the program needs to start: take a complete image, or a static program"
	case exec.Errno == syscall.ENOENT && exec.Reason == "no command specified":
		return "the image has no command of its own: name one after the image"
	case exec.Errno == syscall.ENOENT:
		return "a program is looked up in the container's PATH, or give its full path in the container"
	case exec.Errno == syscall.EACCES:
		return "the file must be executable for the container's user"
	}
	return ""
}

func imageHint(err error) string {
	switch {
	case errors.Is(err, errDamaged):
		return "'coracle pull' brings what is damaged anew; what is unpacked, 'coracle image verify --repair' mends too"
	case errors.Is(err, image.ErrNotFound):
		return "'coracle images' lists the images"
	case errors.Is(err, image.ErrAmbiguous):
		return "give more digits of the ID"
	case errors.Is(err, image.ErrInUse):
		return "remove its containers first ('coracle ps -a' lists them), or use --force"
	case errors.Is(err, registry.ErrLimited):
		return "wait, or log in with 'coracle login': registries let known users pull more; or name a mirror in /etc/coracle/config.json"
	case errors.Is(err, registry.ErrDenied) && strings.Contains(err.Error(), "login attempt"):
		return "check the user's name and the password"
	case strings.Contains(err.Error(), "error getting credentials"):
		return "install the helper that ~/.docker/config.json names, or take it out there"
	case errors.Is(err, registry.ErrDenied):
		return "check the name, or log in to the registry with 'coracle login'"
	case errors.Is(err, registry.ErrReach):
		return reachHint(err)
	case errors.As(err, new(*archiveError)) && errors.Is(err, image.ErrInvalid):
		return "the archive is damaged or cut off: make it or copy it again; nothing of it was kept"
	}
	return ""
}

// reachHint is about a registry that does not answer as it should.
func reachHint(err error) string {
	s := err.Error()
	switch {
	case strings.Contains(s, "certificate"):
		return "put the registry's authority into /etc/docker/certs.d/HOST:PORT/ca.crt"
	case strings.Contains(s, "server gave HTTP response"):
		return "the registry speaks plain HTTP: list it under insecure-registries in /etc/coracle/config.json if that is meant"
	case strings.Contains(s, "no such host"), strings.Contains(s, "refused"), strings.Contains(s, "timeout"), strings.Contains(s, "unreachable"):
		return "check the network, the registry's name, and HTTPS_PROXY if there is a proxy; what has come is kept for the next attempt"
	}
	return "pull again: what has come is kept, and gone on with"
}

func containerHint(err error) string {
	var e *engine.Error
	if !errors.As(err, &e) {
		return ""
	}
	text := e.Error()
	switch {
	case e.Kind == engine.NotFound && strings.Contains(strings.ToLower(text), "no such container"):
		return "'coracle ps -a' lists the containers"
	case e.Kind == engine.Conflict && strings.Contains(text, "already in use"):
		return "take another --name, or remove that container with 'coracle rm'"
	case e.Kind == engine.Conflict && strings.Contains(text, "is not running"):
		return "start it with 'coracle start'"
	case text == "no command specified":
		return "the image has no command of its own: name one after the image"
	case strings.Contains(text, "bind source path does not exist"):
		return "make it first, or use --volume, which makes a missing directory"
	case e.Kind == engine.Conflict && strings.Contains(text, "running"):
		return "stop it first with 'coracle stop', or use --force"
	}
	return ""
}

// state is where the state directory is.
type state engine.Options

// hint is about what this machine does not let us do.
func (s state) hint(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return s.fullHint(err)
	case errors.Is(err, syscall.EROFS) && s.ours(err):
		return "name a writable state directory with --root or CORACLE_ROOT"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "raise the limit of open files (ulimit -n)"
	case errors.Is(err, fs.ErrPermission) && s.ours(err):
		return "the state directory must be yours: name another with --root or CORACLE_ROOT"
	}
	return ""
}

// fullHint says where there is no room.
func (s state) fullHint(err error) string {
	if errors.As(err, new(*changes.InsideError)) {
		return "free some space where that path of the container lies: its volume, or the state directory. What was copied whole stays"
	}
	var path *fs.PathError
	switch at := errors.As(err, &path); {
	case at && path.Path == "/dev/stdout":
		return "free some space where the output goes: what is there is cut off"
	case at && filepath.IsAbs(path.Path) && !s.ours(err):
		return "free some space in " + filepath.Dir(path.Path)
	case at:
		if _, run, err := engine.Places(engine.Options(s)); err == nil && changes.Within(path.Path, run) {
			return "free some space in " + run + ", or take another directory for what does not outlive a boot, with --run"
		}
	}
	return "free some space, or keep the state elsewhere with --root; nothing half-done was kept"
}

// ours tells whether err is about a file of the state directory, or about one on the
// way to it. What has no full name is one that another program opened, or a container.
func (s state) ours(err error) bool {
	var path *fs.PathError
	if !errors.As(err, &path) || !filepath.IsAbs(path.Path) {
		return false
	}
	root, run, err := engine.Places(engine.Options(s))
	if err != nil {
		return true
	}
	for _, dir := range [...]string{root, run} {
		if changes.Within(path.Path, dir) || changes.Within(dir, path.Path) {
			return true
		}
	}
	return false
}
