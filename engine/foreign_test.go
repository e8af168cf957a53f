package engine

import (
	"runtime"
	"testing"

	"coracle/engine/record"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestArchitecture(t *testing.T) {
	for said, want := range map[string]string{
		"linux/arm64": "arm64", "linux/arm/v7": "arm", "linux/aarch64": "arm64", "linux/armhf": "arm", "linux/noarch": "noarch",
		"": runtime.GOARCH, "linux": runtime.GOARCH, "linux/": runtime.GOARCH, "/": runtime.GOARCH, "linux/a b": runtime.GOARCH,
	} {
		if got := architecture(&record.Container{Platform: said}); got != want {
			t.Errorf("%q: %s, want %s", said, got, want)
		}
	}
}

func TestUnasked(t *testing.T) {
	other := ocispec.Platform{OS: "linux", Architecture: "s390x"}
	if unasked("", other) == "" || unasked("linux/s390x", other) != "" || unasked("", ocispec.Platform{}) != "" ||
		unasked("", ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}) != "" {
		t.Error("the warning comes at the wrong time")
	}
	if runtime.GOARCH == "amd64" && unasked("", ocispec.Platform{OS: "linux", Architecture: "x86_64"}) != "" {
		t.Error("x86_64 is amd64")
	}
}
