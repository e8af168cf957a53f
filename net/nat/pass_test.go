package nat

import (
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"coracle/net/network/networktest"
	"coracle/probe"
	"coracle/probe/probetest"
)

func TestMain(m *testing.M) { os.Exit(networktest.Own(m.Run)) }

func shell(t *testing.T, line string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; "+line).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// TestSettled takes away one by one what leads through the host's FORWARD, with the
// iptables of either kind.
func TestSettled(t *testing.T) {
	probetest.Need(t, probe.Root, probe.NSNet, probe.NFTables)
	const id = "0123456789abcdef"
	n := &Network{ID: id, Bridge: "cr-test", ICC: true, Masquerade: true, Subnets: []netip.Prefix{netip.MustParsePrefix("10.99.0.0/24")}}
	for _, kind := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(kind, func(t *testing.T) {
			path, err := exec.LookPath(kind)
			if err != nil {
				if path = "/usr/sbin/" + kind; !exists(path) {
					t.Skip("needs " + kind)
				}
			}
			// The name by which the driver calls the program.
			dir := t.TempDir()
			for _, end := range []string{"", "-restore"} {
				if err := os.Symlink(path+end, dir+"/iptables"+end); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			t.Cleanup(func() { shell(t, kind+" -P FORWARD ACCEPT; "+kind+" -F; "+kind+" -X") })
			if kind == "iptables-nft" && !settled(false, id) {
				t.Error("without a FORWARD chain something is missing")
			}
			shell(t, kind+" -P FORWARD DROP")
			for _, loss := range []string{"-F", "-F FORWARD", "-F " + top, "-F " + passChain(id), "-D " + top + " -j " + passChain(id), "-D " + top + " -j " + networkChain(id)} {
				if settled(false, id) {
					t.Error("nothing is put, or it was taken away, and nothing is missing")
				}
				if err := LetPass(NFTables{}, n); err != nil {
					t.Fatal(err)
				}
				if !settled(false, id) {
					t.Errorf("after all was put, something is missing:\n%s", shell(t, kind+" -S"))
				}
				shell(t, kind+" "+loss)
			}
			if settled(false, id) {
				t.Error("the jump was taken away, and nothing is missing")
			}
		})
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
