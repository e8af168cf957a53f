package emulate

import (
	"errors"
	"fmt"
	"os"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// How an architecture's programs run here: the rungs, best first.
const (
	Native     = "native"     // by the processor
	Binfmt     = "binfmt"     // by a handler that was there
	Register   = "register"   // by a handler that we can register for the machine
	Registered = "registered" // by a handler that we have just registered
	Private    = "private"    // by a handler in the container's user namespace
)

// Refusal is a rung that cannot serve.
type Refusal struct {
	Rung string `json:"rung"`
	Why  string `json:"why"`
	Mend string `json:"mend,omitempty"`
}

// Way is how programs of an architecture run; How is "" where they do not.
type Way struct {
	Arch     string    `json:"arch"`
	How      string    `json:"how"`
	Handler  string    `json:"handler,omitempty"`
	Emulator string    `json:"emulator,omitempty"`
	Flags    string    `json:"flags,omitempty"`
	Refused  []Refusal `json:"refused,omitempty"`
	// place are paths at which the emulator must be in the root filesystem.
	place []string
	arch  Arch
}

// Machine is where Serve looks, and what it may do.
type Machine struct {
	Dir     string // of binfmt_misc; "" is [Dir]
	Scratch string // a directory of ours in which programs may be executed, else the one for temporary files
	Root    bool   // handlers can be registered for the machine
	// User: the container has a user namespace in which binfmt_misc can be
	// mounted; with "" NoUser says why not.
	User   bool
	NoUser string
}

func (m Machine) dir() string {
	if m.Dir == "" {
		return Dir
	}
	return m.Dir
}

// Look tells how programs of a would run, and changes nothing.
func (m Machine) Look(a Arch) Way {
	w := Way{Arch: a.Name, arch: a}
	t, err := Read(m.dir())
	if err != nil {
		w.refuse(Binfmt, err.Error(), "")
	}
	for _, bad := range t.Bad {
		w.refuse(Binfmt, bad.Error(), "")
	}
	switch m.existing(&w, t); {
	case w.How != "":
		return w
	case t.Mounted && !t.Enabled:
		w.refuse(Binfmt, "binfmt_misc is disabled", "echo 1 > "+m.dir()+"/status")
		if !m.User {
			return w
		}
	}
	if w.Emulator, err = Emulator(a); err != nil {
		w.refuse(Register, err.Error(), "install qemu-user-static, or put a static qemu-"+a.CPU+"-static into PATH")
		return w
	}
	switch {
	case m.Root:
		w.How, w.Handler = Register, Prefix+a.Name
	case m.User:
		// Without P: whether emulator and kernel agree on it cannot be tried
		// before the container is there.
		w.How, w.Flags = Private, "OCF"
	default:
		w.refuse(Register, "only root can register a handler", "as root, until the next boot: coracle platform add "+a.Name)
		if m.NoUser != "" {
			w.refuse(Private, m.NoUser, "")
		}
		w.Emulator = ""
	}
	return w
}

// existing looks for what serves without our doing.
func (m Machine) existing(w *Way, t *Table) {
	a := w.arch
	handlers := t.serving(a)
	if len(handlers) == 0 {
		m.unseen(w, t)
		return
	}
	// One is used, and it is the kernel that chooses: all must do.
	for _, h := range handlers {
		if strings.Contains(h.Flags, "F") {
			continue
		}
		if err := static(h.Interpreter); err != nil {
			w.refuse(Binfmt, "handler "+h.Name+": "+err.Error(), "install a static emulator, or remove the handler: echo -1 > "+m.dir()+"/"+h.Name)
			return
		}
		w.place = append(w.place, h.Interpreter)
	}
	h := handlers[0]
	if v, err := trial(a, m.Scratch, false); v == fails {
		w.refuse(Binfmt, fmt.Sprintf("handler %s (%s) does not run a program: %v", h.Name, h.Interpreter, err),
			"install the emulator anew, or remove the handler: echo -1 > "+m.dir()+"/"+h.Name)
		w.place = nil
		return
	}
	w.How, w.Handler, w.Emulator, w.Flags = Binfmt, h.Name, h.Interpreter, h.Flags
}

// unseen tries whether programs run though no handler is in sight: by the
// processor, or by a handler of the machine around the container that we are in.
func (m Machine) unseen(w *Way, t *Table) {
	v, err := trial(w.arch, m.Scratch, os.Geteuid() == 0)
	switch {
	case v != fails && w.arch.mayBeNative():
		w.How = Native
	case v != fails && !t.Mounted:
		w.How, w.Handler = Binfmt, "of the machine around"
	case v != fails:
		w.How, w.Handler = Binfmt, "unknown"
	case w.arch.mayBeNative() && !errors.Is(err, unix.ENOEXEC):
		w.refuse(Native, fmt.Sprintf("this machine does not run such programs: %v", err), "")
	case w.arch.mayBeNative():
		w.refuse(Native, "this machine does not run such programs", "")
	case !t.Mounted:
		w.refuse(Binfmt, "binfmt_misc is not mounted on "+m.dir(), "")
	default:
		w.refuse(Binfmt, "no handler for "+w.Arch+" programs", "")
	}
}

func (w *Way) refuse(rung, why, mend string) {
	w.Refused = append(w.Refused, Refusal{rung, why, mend})
}

// Serve is Look, and registers a handler where that is the way. What does not
// serve is an *[Error].
func (m Machine) Serve(a Arch) (Way, error) {
	w := m.Look(a)
	if w.How == Register {
		w.How = Registered
		if err := m.register(&w); err != nil {
			w.How = ""
			w.refuse(Register, err.Error(), mendMount(err))
		}
	}
	if w.How == "" {
		return w, &Error{Arch: a.Name, Refused: w.Refused}
	}
	return w, nil
}

// Add registers a handler of ours for a, whatever else serves it.
func (m Machine) Add(a Arch) (Way, error) {
	w := Way{Arch: a.Name, How: Registered, Handler: Prefix + a.Name, arch: a}
	var err error
	if w.Emulator, err = Emulator(a); err != nil {
		w.refuse(Register, err.Error(), "install qemu-user-static, or put a static qemu-"+a.CPU+"-static into PATH")
		return w, &Error{Arch: a.Name, Refused: w.Refused}
	}
	if err := m.register(&w); err != nil {
		w.refuse(Register, err.Error(), mendMount(err))
		return w, &Error{Arch: a.Name, Refused: w.Refused}
	}
	return w, nil
}

func mendMount(err error) string {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return "do it as root, outside of containers"
	}
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) {
		return "modprobe binfmt_misc, or a kernel with CONFIG_BINFMT_MISC"
	}
	return ""
}

// register registers w's emulator with the best flags that kernel and emulator
// agree on: F is of 4.8, and P needs an emulator that is told of it (AT_FLAGS,
// of 5.12). What does not work is not left behind.
func (m Machine) register(w *Way) error {
	dir := m.dir()
	if err := ensure(dir); err != nil {
		return err
	}
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	if t, err := Read(dir); err != nil {
		return err
	} else if done := t.named(w.Handler); done != nil && done.Enabled {
		w.takes(*done) // another process was quicker
		return nil
	}
	var last error
	for _, flags := range []string{"POCF", "OCF", "POC", "OC"} {
		last = m.tryFlags(w, flags)
		if last == nil {
			return nil
		}
		if errors.Is(last, unix.EACCES) || errors.Is(last, unix.EPERM) || errors.Is(last, unix.EROFS) {
			break // more would not help
		}
	}
	tidy(dir)
	return fmt.Errorf("handler for %s: %w", w.Emulator, last)
}

// tryFlags registers w's emulator with flags, and takes it out again if it does
// not work so.
func (m Machine) tryFlags(w *Way, flags string) error {
	line, err := Line(w.Handler, w.arch, w.Emulator, flags)
	if err != nil {
		return err
	}
	// EINVAL: a flag that this kernel does not know.
	if err := register(m.dir(), line); err != nil {
		return err
	}
	v, err := trial(w.arch, m.Scratch, strings.Contains(flags, "F"))
	if v == keeps || v == runs && !strings.Contains(flags, "P") {
		w.takes(Handler{Name: w.Handler, Interpreter: w.Emulator, Flags: flags})
		return nil
	}
	if err == nil {
		err = errors.New("the program's name does not reach it")
	}
	return errors.Join(err, drop(m.dir(), w.Handler))
}

// named finds a handler.
func (t *Table) named(name string) *Handler {
	for i := range t.Handlers {
		if t.Handlers[i].Name == name {
			return &t.Handlers[i]
		}
	}
	return nil
}

// takes makes h, which is registered, the way.
func (w *Way) takes(h Handler) {
	w.Handler, w.Emulator, w.Flags = h.Name, h.Interpreter, h.Flags
	if !strings.Contains(h.Flags, "F") {
		w.place = []string{h.Interpreter}
	}
}

// lock is held by who registers.
func lock(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(d.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		d.Close()
		return nil, os.NewSyscallError("flock "+dir, err)
	}
	return func() { d.Close() }, nil
}

// RegisterOption begins the option of a mount of type binfmt_misc that names
// what is to be registered there, after it was mounted; the emulator's path is
// the host's, relative to its root.
const RegisterOption = "x-register="

// Mounts are what a container needs so that w serves it: the emulator, where its
// handler does not keep it open, and the handlers of its own.
func (w Way) Mounts() ([]specs.Mount, error) {
	var out []specs.Mount
	for _, p := range w.place {
		out = append(out, specs.Mount{Destination: p, Source: p, Type: "bind", Options: []string{"bind", "ro", "rprivate"}})
	}
	if w.How == Private {
		line, err := Line(Prefix+w.Arch, w.arch, strings.TrimLeft(w.Emulator, "/"), w.Flags)
		if err != nil {
			return nil, err
		}
		out = append(out, specs.Mount{Destination: Dir, Source: Source, Type: "binfmt_misc",
			Options: []string{"nosuid", "nodev", "noexec", RegisterOption + line}})
	}
	return out, nil
}

// Error says why programs of an architecture do not run here.
type Error struct {
	Arch    string
	Refused []Refusal
}

func (e *Error) Error() string {
	var why []string
	for _, r := range e.Refused {
		why = append(why, r.Why)
	}
	return fmt.Sprintf("programs for %s do not run here: %s", e.Arch, strings.Join(why, "; "))
}

// Mend is what would help, "" where nothing is known to.
func (e *Error) Mend() string {
	for _, r := range e.Refused {
		if r.Mend != "" {
			return r.Mend
		}
	}
	return ""
}
