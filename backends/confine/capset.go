package confine

import (
	"errors"
	"fmt"
	"os"

	"coracle/internal/sys"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ErrNoBounding says that this kernel cannot take capabilities from the
// bounding set (2.6.32 built without file capabilities): whatever root
// executes has all capabilities again.
var ErrNoBounding = errors.New("this kernel cannot drop capabilities for good: it is built without file capabilities")

// DropBounding takes everything that c does not list out of the bounding set
// of the calling thread, which must be locked. It needs CAP_SETPCAP, so it
// comes before setuid and [SetCaps]. A nil c drops everything.
func DropBounding(c *specs.LinuxCapabilities) error {
	for _, n := range toDrop(c) {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0); err != nil {
			if errors.Is(err, unix.EINVAL) {
				return ErrNoBounding
			}
			return fmt.Errorf("drop capability %d from the bounding set: %w", n, os.NewSyscallError("prctl", err))
		}
	}
	return nil
}

// AddDropBounding appends to s what [DropBounding] does.
func AddDropBounding(s *sys.Script, c *specs.LinuxCapabilities) {
	for _, n := range toDrop(c) {
		s.Must(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(n))
	}
}

// toDrop lists what the calling thread has in its bounding set and c does not.
func toDrop(c *specs.LinuxCapabilities) (drop []int) {
	var keep uint64
	if c != nil {
		keep = capMask(c.Bounding)
	}
	// Up to 63, not to the last name we know: a newer kernel's capabilities
	// must not slip through.
	for n := 0; n < 64; n++ {
		in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0)
		if err != nil {
			break // EINVAL: past this kernel's last capability
		}
		if in != 0 && keep&(1<<uint(n)) == 0 {
			drop = append(drop, n)
		}
	}
	return drop
}

// SetCaps gives the calling thread, which must be locked, the effective,
// permitted, inheritable and ambient capabilities of c. It comes after setuid
// under PR_SET_KEEPCAPS. What the thread does not hold it cannot be given and
// is left out; so is the ambient set on a kernel without one (before 4.3). A
// nil c drops everything.
func SetCaps(c *specs.LinuxCapabilities) error {
	hdr, data, ambient, err := capSets(c)
	if err != nil {
		return err
	}
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return os.NewSyscallError("capset", err)
	}
	return setAmbient(ambient)
}

// AddCaps appends to s what [SetCaps] does, for a child of the calling thread.
func AddCaps(s *sys.Script, c *specs.LinuxCapabilities) error {
	hdr, data, ambient, err := capSets(c)
	if err != nil {
		return err
	}
	s.Must(unix.SYS_CAPSET,
		sys.Array(s, []uint32{hdr.Version, uint32(hdr.Pid)}),
		sys.Array(s, []uint32{
			data[0].Effective, data[0].Permitted, data[0].Inheritable,
			data[1].Effective, data[1].Permitted, data[1].Inheritable,
		}))
	s.Do(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL) // EINVAL before 4.3
	for n := range 64 {
		if ambient&(1<<uint(n)) != 0 {
			s.Must(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(n))
		}
	}
	return nil
}

// capSets are the arguments of capset(2), and a mask of ambient capabilities, for c
// and the calling thread.
func capSets(c *specs.LinuxCapabilities) (hdr unix.CapUserHeader, data [2]unix.CapUserData, ambient uint64, err error) {
	if c == nil {
		c = &specs.LinuxCapabilities{}
	}
	// Raw capset(2): it acts on the calling thread alone and needs neither
	// /proc nor cap_last_cap.
	hdr.Version = unix.LINUX_CAPABILITY_VERSION_3
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return hdr, data, 0, os.NewSyscallError("capget", err)
	}
	held := uint64(data[0].Permitted) | uint64(data[1].Permitted)<<32
	permitted := capMask(c.Permitted) & held
	effective := capMask(c.Effective) & permitted
	// Inheritable is bounded by what is held: more would need CAP_SETPCAP.
	inheritable := capMask(c.Inheritable) & held
	for i := range data {
		shift := uint(32 * i)
		data[i].Permitted = uint32(permitted >> shift)
		data[i].Effective = uint32(effective >> shift)
		data[i].Inheritable = uint32(inheritable >> shift)
	}
	return hdr, data, capMask(c.Ambient) & permitted & inheritable, nil
}

func setAmbient(mask uint64) error {
	err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return nil // before 4.3 there is no ambient set
	}
	if err != nil {
		return fmt.Errorf("clear the ambient capabilities: %w", os.NewSyscallError("prctl", err))
	}
	for n := 0; n < 64; n++ {
		if mask&(1<<uint(n)) == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(n), 0, 0); err != nil {
			return fmt.Errorf("raise ambient capability %d: %w", n, os.NewSyscallError("prctl", err))
		}
	}
	return nil
}
