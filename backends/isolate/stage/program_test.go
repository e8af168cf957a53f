package stage

import (
	"os"
	"strings"
	"testing"
)

// TestLibcTooNew reads the ABI note of this machine's own libc.
func TestLibcTooNew(t *testing.T) {
	const program = "/bin/ls"
	data, err := os.ReadFile(program)
	if err != nil || !strings.Contains(string(data[:min(len(data), 4096)]), "ld-linux") {
		t.Skip("needs a program linked with glibc")
	}
	if why := libcTooNew(program, [3]uint32{2, 6, 18}); !strings.Contains(why, "this is 2.6.18") {
		t.Errorf("on 2.6.18: %q", why)
	}
	if why := libcTooNew(program, [3]uint32{6, 1, 0}); why != "" {
		t.Errorf("on 6.1: %q", why)
	}
	if why := libcTooNew("/proc/self/exe", [3]uint32{2, 6, 18}); why != "" {
		t.Errorf("a static program: %q", why)
	}
}
