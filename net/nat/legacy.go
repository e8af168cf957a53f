package nat

import (
	"bytes"
	"encoding/binary"
	"os"
	"runtime"
	"strings"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// The kernel tells nobody what becomes of the tables of iptables' old kind, so they
// are looked at. It takes no program: the whole of a table is one getsockopt.

// Of include/uapi/linux/netfilter_ipv4/ip_tables.h, and the same for IPv6.
const (
	getInfo    = 64 // IPT_SO_GET_INFO
	getEntries = 65 // IPT_SO_GET_ENTRIES
	tableName  = 32 // XT_TABLE_MAXNAMELEN
	infoSize   = tableName + 13*4
)

// oldTables are those of the old kind that are there, by family. Others are not
// asked for, because asking makes them.
func oldTables(v6 bool) []string {
	path := "/proc/net/ip_tables_names"
	if v6 {
		path = "/proc/net/ip6_tables_names"
	}
	data, _ := os.ReadFile(path)
	var out []string
	for _, name := range strings.Fields(string(data)) {
		if name == "filter" || name == "nat" {
			out = append(out, name)
		}
	}
	return out
}

// hasOld tells whether there is anything to look at.
func hasOld() bool { return len(oldTables(false))+len(oldTables(true)) > 0 }

// oldMarks counts how often the names occur in the rules of the old tables: a flush
// leaves fewer. Not ok: one could not be read just now.
func oldMarks(names []string) (n int, ok bool) {
	for _, v6 := range []bool{false, true} {
		for _, table := range oldTables(v6) {
			rules := oldRules(v6, table)
			if rules == nil {
				return 0, false
			}
			for _, name := range names {
				n += bytes.Count(rules, []byte(name))
			}
		}
	}
	return n, true
}

// oldRules is a table as the kernel has it; nil where it cannot be read.
func oldRules(v6 bool, table string) []byte {
	family, level := unix.AF_INET, unix.IPPROTO_IP
	if v6 {
		family, level = unix.AF_INET6, unix.IPPROTO_IPV6
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	info := make([]byte, infoSize)
	copy(info, table)
	if _, err := sys.Getsockopt(fd, level, getInfo, info); err != nil {
		return nil
	}
	size := binary.NativeEndian.Uint32(info[infoSize-4:])
	head := tableName + 8 // its size, and the entries are aligned to 8,
	if runtime.GOARCH == "386" {
		head = tableName + 4 // but there
	}
	all := make([]byte, head+int(size))
	copy(all, table)
	binary.NativeEndian.PutUint32(all[tableName:], size)
	// A table that was replaced meanwhile has another size: the next look is soon.
	if _, err := sys.Getsockopt(fd, level, getEntries, all); err != nil {
		return nil
	}
	return all[head:]
}
