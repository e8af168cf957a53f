package machine

import (
	"strings"
	"testing"
)

func TestAvailable(t *testing.T) {
	for list, want := range map[string]string{
		"": "", "0": "", "0,0-0": "", "x": "Invalid value x for cpuset cpus: invalid format: x", "1-0": "invalid format", "-1": "invalid format", "0,": "invalid format",
		"0-99999999999": "invalid format", "0-9999999": "invalid format", "8000": "Requested CPUs are not available - requested 8000, available: 0",
	} {
		err := Available(list, "")
		if err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", list, err, want)
		}
	}
	if err := Available("", "x"); err == nil || !strings.Contains(err.Error(), "cpuset mems") {
		t.Error(err)
	}
}
