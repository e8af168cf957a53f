package userns

import (
	"bufio"
	"os"
	"os/user"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// subIDs reads the ranges of a user from /etc/subuid or /etc/subgid (subuid(5)):
// "name-or-uid:first:count". Ranges with nothing in them are passed over.
func subIDs(file string, uid int) []specs.LinuxIDMapping {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	number := strconv.Itoa(uid)
	name := number
	if u, err := user.LookupId(number); err == nil {
		name = u.Username
	}
	var ranges []specs.LinuxIDMapping
	for scan := bufio.NewScanner(f); scan.Scan(); {
		part := strings.Split(strings.TrimSpace(scan.Text()), ":")
		if len(part) != 3 || (part[0] != name && part[0] != number) {
			continue
		}
		first, err1 := strconv.ParseUint(part[1], 10, 32)
		count, err2 := strconv.ParseUint(part[2], 10, 32)
		if err1 == nil && err2 == nil && count > 0 {
			ranges = append(ranges, specs.LinuxIDMapping{HostID: uint32(first), Size: uint32(count)})
		}
	}
	return ranges
}
