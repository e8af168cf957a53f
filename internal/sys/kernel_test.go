package sys

import "testing"

func TestKernelVersion(t *testing.T) {
	if v := KernelVersion(); v[0] < 2 {
		t.Errorf("%v", v)
	}
}
