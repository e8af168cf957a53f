package findings

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"coracle/testkernel/nosys"
)

// asEnv makes the test binary run itself again as on a kernel of the version that
// it names.
const asEnv = "TESTKERNEL_AS"

func asMain(version string) int {
	os.Unsetenv(asEnv)
	v, err := nosys.ParseVersion(version)
	code := 0
	if err == nil {
		code, err = nosys.Run(nosys.Config{Version: v, Args: os.Args})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// versions are those of which real kernels were seen.
func versions() []string { return []string{"2.6.32", "3.2", "3.4", "3.10", "4.4", "5.10"} }

func TestNosysTable(t *testing.T) {
	for _, v := range versions() {
		for _, user := range Users() {
			want, err := For(Nosys+v, user)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range Features() {
				if want[f].State == "" {
					t.Errorf("%s, %s: nothing is said about %s", v, user, f)
				}
			}
		}
	}
	if _, err := For(Nosys+"new", "root"); err == nil {
		t.Error("a version that is none was taken")
	}
	known, err := Known(Nosys + "3.2")
	if err != nil || !strings.Contains(known, "ns.pid=yes") || !strings.Contains(known, "pidfd=no") || strings.Contains(known, "net.tun") {
		t.Errorf("%q %v", known, err)
	}
}

// TestNosys compares on this machine, whose kernel must have what the versions
// bring.
func TestNosys(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("missing feature: root")
	}
	if os.Getenv(NameEnv) != "" {
		t.Skip("missing feature: the running kernel's own calls")
	}
	for _, v := range versions() {
		for _, user := range Users() {
			t.Run(v+" "+user, func(t *testing.T) {
				t.Setenv(asEnv, v)
				compare(t, Nosys+v, user)
			})
		}
	}
}
