package changes

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"coracle/internal/sys"

	"golang.org/x/sys/unix"
)

// The least that holes must save for a file to be written as a sparse one, and the
// most pieces that such a file may have: readers hold them in memory.
const (
	sparseFrom  = 64 << 10
	sparseParts = 4096
	// ustarMost is what the size field of a plain header holds (pax(1)).
	ustarMost = 1<<33 - 1
)

// piece is a part of a file that is no hole.
type piece struct{ at, size int64 }

// pieces lists the data of a file; none where it has no holes to speak of.
func pieces(f *os.File, st *unix.Stat_t, size int64) []piece {
	if size-int64(st.Blocks)*512 < sparseFrom {
		return nil
	}
	var all []piece
	saved := size
	for off := int64(0); off < size; {
		start, end, ok := sys.NextData(int(f.Fd()), off, size)
		if !ok || len(all) == sparseParts {
			return nil
		}
		if start >= size {
			break
		}
		end = min(end, size)
		all = append(all, piece{start, end - start})
		saved -= end - start
		off = end
	}
	if saved < sparseFrom {
		return nil
	}
	// The last piece says where the file ends.
	return append(all, piece{size, 0})
}

// sparse writes a file without its holes, as GNU tar's format 1.0 has it (tar.info,
// "PAX Format, Version 1.0"). archive/tar reads this and does not write it: so the
// extended header is made here, and what it says counts before the plain one.
func (p *packer) sparse(h *tar.Header, f *os.File, all []piece) error {
	var list strings.Builder
	stored := int64(0)
	fmt.Fprintf(&list, "%d\n", len(all))
	for _, c := range all {
		fmt.Fprintf(&list, "%d\n%d\n", c.at, c.size)
		stored += c.size
	}
	head := list.String()
	head += strings.Repeat("\x00", -len(head)&511)
	stored += int64(len(head))
	if stored > ustarMost {
		return errNotSparse
	}
	records := map[string]string{
		"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": h.Name, "GNU.sparse.realsize": strconv.FormatInt(h.Size, 10),
		"path": path.Join(path.Dir(h.Name), "GNUSparseFile.0", path.Base(h.Name)), "size": strconv.FormatInt(stored, 10),
		"uid": strconv.Itoa(h.Uid), "gid": strconv.Itoa(h.Gid),
		"mtime": fmt.Sprintf("%d.%09d", h.ModTime.Unix(), h.ModTime.Nanosecond()),
	}
	if h.ModTime.Unix() < 0 || !utf8.ValidString(h.Name) {
		return errNotSparse
	}
	for k, v := range h.PAXRecords {
		records[k] = v
	}
	if err := p.w.Flush(); err != nil {
		return err
	}
	if err := writeExtended(p.raw, records); err != nil {
		return err
	}
	plain := &tar.Header{Name: "GNUSparseFile.0", Typeflag: tar.TypeReg, Mode: h.Mode, Size: stored, Format: tar.FormatUSTAR}
	if err := p.w.WriteHeader(plain); err != nil {
		return err
	}
	if _, err := io.WriteString(p.w, head); err != nil {
		return err
	}
	for _, c := range all {
		part := io.NewSectionReader(f, c.at, c.size)
		n, err := io.CopyBuffer(struct{ io.Writer }{p.w}, &cancelled{p.ctx, part}, p.buf)
		if err == nil { // a file that was cut short meanwhile
			_, err = io.CopyBuffer(struct{ io.Writer }{p.w}, io.LimitReader(zeros{}, c.size-n), p.buf)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeExtended writes an extended header, which is an entry of its own.
func writeExtended(w io.Writer, records map[string]string) error {
	var keys []string
	for k := range records {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var body bytes.Buffer
	for _, k := range keys {
		// Each line begins with its own length, this number included.
		line := " " + k + "=" + records[k] + "\n"
		n := len(line)
		for n != len(line)+len(strconv.Itoa(n)) {
			n = len(line) + len(strconv.Itoa(n))
		}
		body.WriteString(strconv.Itoa(n) + line)
	}
	var block [512]byte
	copy(block[0:], "PaxHeaders.0/sparse")
	copy(block[100:], "0000644\x000000000\x000000000\x00")
	copy(block[124:], fmt.Sprintf("%011o\x00%011o\x00", body.Len(), 0))
	copy(block[148:], "        x")
	copy(block[257:], "ustar\x0000")
	sum := 0
	for _, c := range block {
		sum += int(c)
	}
	copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
	body.Write(make([]byte, -body.Len()&511))
	if _, err := w.Write(block[:]); err != nil {
		return err
	}
	_, err := w.Write(body.Bytes())
	return err
}
