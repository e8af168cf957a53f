package command

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"coracle/net/network/networktest"
)

// TestMain keeps what the tests start off the host's network and from starting
// the tests again: a container's second stage is the running binary, which here
// is the test's.
func TestMain(m *testing.M) {
	if !strings.HasSuffix(os.Args[0], ".test") {
		fmt.Fprintln(os.Stderr, "a test binary is no second stage:", os.Args[0])
		os.Exit(125)
	}
	os.Exit(networktest.Own(m.Run))
}
