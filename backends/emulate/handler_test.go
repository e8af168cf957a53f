package emulate

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

// As the kernel shows Debian's handler.
const shown = `enabled
interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
flags: POCF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
`

func TestParse(t *testing.T) {
	h, err := parse("qemu-aarch64", shown)
	if err != nil || !h.Enabled || h.Interpreter != "/usr/libexec/qemu-binfmt/aarch64-binfmt-P" || h.Flags != "POCF" || len(h.Magic) != 20 || h.Ours() {
		t.Fatalf("%+v %v", h, err)
	}
	for _, a := range Archs() {
		if got := h.Serves(a); got != (a.Name == "arm64") {
			t.Errorf("%s: %v", a.Name, got)
		}
	}
	// Ours is the same as Debian's, by the same facts.
	a, _ := Lookup("arm64")
	magic, mask := a.magic()
	if hex.EncodeToString(magic) != hex.EncodeToString(h.Magic) || hex.EncodeToString(mask) != hex.EncodeToString(h.Mask) {
		t.Errorf("%x %x", magic, mask)
	}
}

func TestParseMalformed(t *testing.T) {
	for name, text := range map[string]string{
		"empty":          "",
		"no state":       strings.TrimPrefix(shown, "enabled\n"),
		"odd magic":      strings.Replace(shown, "magic 7f", "magic 7", 1),
		"no hex":         strings.Replace(shown, "magic 7f", "magic zz", 1),
		"short mask":     strings.Replace(shown, "mask ff", "mask ", 1),
		"no magic":       strings.Split(shown, "magic")[0],
		"no interpreter": strings.Replace(shown, "interpreter", "interpretor", 1),
		"offset":         strings.Replace(shown, "offset 0", "offset -1", 1),
		"offset text":    strings.Replace(shown, "offset 0", "offset x", 1),
		"noise":          strings.Repeat("\x00\xff\n", 1000),
	} {
		h, err := parse("x", text)
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v %v", name, h, err)
		}
		if err != nil && len(err.Error()) > 500 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
	}
	if _, err := parse("x", "enabled\ninterpreter /x\nflags: \nextension .py\n"); !errors.Is(err, errExtension) {
		t.Error(err)
	}
	h, err := parse("x", strings.Replace(shown, "offset 0", "offset 250", 1))
	a, _ := Lookup("arm64")
	if err != nil || h.Serves(a) {
		t.Errorf("magic beyond what the kernel reads: %v", err)
	}
}

func TestLine(t *testing.T) {
	a, _ := Lookup("s390x")
	got, err := Line("coracle-s390x", a, "/q", "F")
	want := `:coracle-s390x:M:0:\x7f\x45\x4c\x46\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff:/q:F`
	if err != nil || got != want {
		t.Errorf("%s\n%s %v", got, want, err)
	}
	for _, path := range []string{"/a:b", "/a\nb", "/" + strings.Repeat("a", 127)} {
		if _, err := Line("x", a, path, ""); err == nil {
			t.Errorf("%.20q was taken", path)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(shown)
	f.Fuzz(func(t *testing.T, text string) {
		h, err := parse("x", text)
		if err == nil {
			for _, a := range Archs() {
				h.Serves(a)
			}
		}
	})
}
