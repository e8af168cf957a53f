package opts

import (
	"testing"

	"github.com/moby/moby/api/types/network"
)

func TestExpose(t *testing.T) {
	set, served, err := Expose([]string{"80", "7000-7001/udp", "8000:9000", "53:5353/udp"})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"80/tcp", "7000/udp", "7001/udp", "8000/tcp", "53/udp"} {
		if _, ok := set[network.MustParsePort(p)]; !ok {
			t.Errorf("%s is not declared", p)
		}
	}
	if len(set) != 5 || len(served) != 2 || served[network.MustParsePort("8000/tcp")] != 9000 || served[network.MustParsePort("53/udp")] != 5353 {
		t.Errorf("%v, served %v", set, served)
	}
	// Docker takes these, too.
	if set, _, err := Expose([]string{"0", "81/icmp"}); err != nil || len(set) != 2 {
		t.Errorf("0 and 81/icmp: %v, %v", set, err)
	}
	for _, bad := range []string{"x", "80:", ":80", "80:0", "0:80", "80:70000", "80-81:90", "80:90:100", "80:90/icmp", "70000", "5-3"} {
		if _, _, err := Expose([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
