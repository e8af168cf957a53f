package namespaces

import (
	"context"
	"os"
	"testing"

	"coracle/backends/isolate"
	"coracle/backends/isolate/isolatetest"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// BenchmarkStart is one container from fork to the end of /bin/true.
func BenchmarkStart(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: namespaces without a user namespace")
	}
	root := isolatetest.BenchRoot(b)
	spec := func() *specs.Spec {
		return &specs.Spec{
			Root:    &specs.Root{Path: root},
			Process: &specs.Process{Cwd: "/", Args: []string{"true"}, Env: []string{"PATH=/bin"}},
			Mounts: []specs.Mount{
				{Destination: "/proc", Type: "proc", Source: "proc"},
				{Destination: "/dev", Type: "tmpfs", Source: "tmpfs"},
			},
			Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.MountNamespace}}},
		}
	}
	for b.Loop() {
		p, err := New().Start(context.Background(), &isolate.Bundle{ID: "bench", Spec: spec(), RunDir: root})
		if err != nil {
			b.Fatal(err)
		}
		p.Wait()
	}
}
