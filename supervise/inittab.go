package supervise

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
)

// maxProcess is the longest command of a line of System V's inittab(5).
const maxProcess = 127

// inittabSystem is init itself: it starts again what ends. One line of a file
// that all share.
func inittabSystem() System {
	return System{
		Name: "inittab", What: "init, by a line of /etc/inittab (System V, busybox)",
		files: func(u *Unit, s Site) ([]File, []string, error) {
			process := sh(u.Exec())
			if len(process) > maxProcess && !s.Busy {
				return nil, nil, fmt.Errorf("init takes commands of %d bytes at most: %q has %d", maxProcess, process, len(process))
			}
			action := "respawn"
			if u.Restart == "no" {
				action = "once"
			}
			id, levels := lineID(u.UnitName()), "2345"
			if s.Busy {
				// The first field is the terminal: none. It knows no runlevels.
				id, levels = "", ""
			}
			text := id + ":" + levels + ":" + action + ":" + process + "\n"
			var not []string
			if u.Asked && u.Restart == "on-failure" {
				not = restarts(u, "init")
			}
			f := File{Path: "/etc/inittab", Mode: 0o644, Text: text, Part: true}
			return []File{f}, join(not, unordered(u, "init"), unpointed(u, "init"), unwatched(u, "init")), nil
		},
		commands: func(verb, _ string, _ Site) [][]string {
			if verb == "load" {
				// The shell's own kill: the program is in no smallest Debian.
				return [][]string{{"sh", "-c", "kill -HUP 1"}}
			}
			return nil
		},
	}
}

// lineID is a name of four letters for a unit.
func lineID(unit string) string {
	sum := sha256.Sum256([]byte(unit))
	return "c" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:3]
}
