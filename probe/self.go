package probe

import (
	"os/user"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// probeSelf reads what we are.
func probeSelf(e *env) []Result {
	return []Result{e.id.root(), e.id.newIDMap()}
}

// root: the capabilities without which no privileged rung works.
func (id *identity) root() Result {
	if id.uid != 0 {
		return no(Root, "uid "+strconv.Itoa(id.uid), "run as root")
	}
	var missing []string
	for _, bit := range [...]uint{
		unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_KILL, unix.CAP_SETGID, unix.CAP_SETUID,
		unix.CAP_SYS_CHROOT, unix.CAP_SYS_ADMIN,
	} {
		if id.caps&(1<<bit) == 0 {
			missing = append(missing, capName(bit))
		}
	}
	if len(missing) > 0 {
		list := strings.Join(missing, ", ")
		return no(Root, "uid 0 without "+list, "run with "+list)
	}
	return yes(Root)
}

// newIDMap looks for the programs, which must be setuid or have file
// capabilities, and for ranges of IDs (subuid(5)).
func (id *identity) newIDMap() Result {
	for _, name := range [...]string{"newuidmap", "newgidmap"} {
		p := program(name)
		if p == "" {
			return no(NewIDMap, name+notInPath, "install "+name+" (package uidmap or shadow)")
		}
		var st unix.Stat_t
		if unix.Stat(p, &st) == nil && st.Mode&unix.S_ISUID == 0 && id.uid != 0 {
			if _, err := unix.Getxattr(p, "security.capability", nil); err != nil {
				return no(NewIDMap, p+" is neither setuid nor has it file capabilities", "chmod u+s "+p)
			}
		}
	}
	for _, file := range [...]string{"/etc/subuid", "/etc/subgid"} {
		if !hasRange(file, id.uid) {
			return no(NewIDMap, "no range of user "+strconv.Itoa(id.uid)+" in "+file, "add a line like NAME:100000:65536 to "+file)
		}
	}
	return yes(NewIDMap)
}

func hasRange(file string, uid int) bool {
	number := strconv.Itoa(uid)
	text := slurp(file)
	if text == "" {
		return false
	}
	name := number
	if u, err := user.LookupId(number); err == nil {
		name = u.Username
	}
	for line := range strings.Lines(text) {
		part := strings.Split(strings.TrimSpace(line), ":")
		if len(part) == 3 && (part[0] == name || part[0] == number) {
			if n, err := strconv.ParseUint(part[2], 10, 32); err == nil && n > 0 {
				return true
			}
		}
	}
	return false
}
