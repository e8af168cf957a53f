package layer

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"coracle/fs/snapshot/snaptest"
)

// parts are what FuzzEntries makes names and link targets of.
var parts = []string{"a", "b", "d", "l", "..", ".", "", ".wh.a", ".wh.d", ".wh.l", ".wh..wh..opq", "victim", "file", "sub", "root", ".wh."}

// FuzzEntries unpacks archives whose headers are right and whose entries are not:
// FuzzApply hardly gets beyond a checksum. Four bytes are an entry: its type, two
// parts of its name, two of its link, and its mode.
func FuzzEntries(f *testing.F) {
	f.Add([]byte("\x01\x23\xb3\x00\x00\x3c\x00\x00"), byte(0)) // a link out, and a file through it
	f.Add([]byte("\x02\x22\x00\x00\x00\x27\x00\x00\x00\x2a\x00\x00"), byte(1))
	f.Add([]byte("\x03\x30\x4b\x00\x01\x34\x44\x00\x03\x00\x3c\x00"), byte(2))
	outer, root := surroundings(f)
	f.Fuzz(func(t *testing.T, data []byte, style byte) {
		trapped(t, root)
		var all []entry
		for ; len(data) >= 4 && len(all) < 24; data = data[4:] {
			e := entry{Name: parts[data[1]>>4] + "/" + parts[data[1]&15], Link: parts[data[2]>>4] + "/" + parts[data[2]&15], UID: os.Geteuid(), GID: os.Getegid()}
			if data[0]&8 != 0 {
				e.Name = "d/l/" + e.Name
			}
			if data[0]&16 != 0 {
				e.Link = "../" + e.Link
			}
			switch data[0] & 7 {
			case 1:
				e.Type = '2'
			case 2:
				e.Type = '5'
			case 3:
				e.Type = '1'
			case 4:
				e.Type = '6'
			default:
				e.Type, e.Body = '0', "body"
			}
			if e.Type != '5' {
				e.Name = strings.TrimRight(e.Name, "/")
			}
			if e.Type != '1' && e.Type != '2' {
				e.Link = ""
			}
			e.Mode = int64(data[3]) << 4
			all = append(all, e)
		}
		before := state(t, outer)
		opt := Options{Style: Style(style % 3), Squash: true, UserXattr: true, MaxBytes: 1 << 20}
		Apply(context.Background(), bytes.NewReader(snaptest.Tar(t, all...)), root, opt)
		if after := state(t, outer); after != before {
			t.Errorf("outside changed by %+v:\n%s\n->\n%s", all, before, after)
		}
	})
}
