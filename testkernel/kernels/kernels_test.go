package kernels

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"coracle/testkernel/configs"
)

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range All() {
		if seen[k.Name] {
			t.Errorf("%s is there twice", k.Name)
		}
		seen[k.Name] = true
		if k.What == "" || k.Machine == "" || k.pkg == "" {
			t.Errorf("%+v is incomplete", k)
		}
		if !k.Built() {
			continue
		}
		if _, err := config(k); err != nil {
			t.Error(err)
		}
		if _, err := buildKey(k); err != nil {
			t.Error(err)
		}
	}
	lines := 0
	for line := range strings.Lines(table) {
		if line[0] != '#' {
			lines++
		}
	}
	if lines != len(All()) {
		t.Errorf("%d lines of kernels.tsv, and %d kernels read", lines, len(All()))
	}
	for _, arch := range []string{"amd64", "386", "arm", "arm64"} {
		if k, err := Named("default", arch); err != nil || k.GOARCH() != arch {
			t.Errorf("the default for %s: %+v, %v", arch, k, err)
		}
	}
}

// TestFragmentsOnlyTakeAway: what a fragment takes away, base has.
func TestFragmentsOnlyTakeAway(t *testing.T) {
	base, err := configs.Files.ReadFile("base.config")
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(configs.Files, "*.config")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{"base": true}
	for _, k := range All() {
		if k.Built() {
			for _, f := range k.fragments() {
				used[f] = true
			}
		}
	}
	for _, name := range names {
		if !used[strings.TrimSuffix(name, ".config")] {
			t.Errorf("no kernel is built with %s", name)
		}
		data, err := configs.Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			line = strings.TrimSpace(line)
			if name == "base.config" || line == "" || !strings.HasPrefix(line, "# CONFIG_") {
				continue
			}
			option, ok := strings.CutSuffix(strings.TrimPrefix(line, "# "), " is not set")
			if !ok || !strings.Contains(string(base), "\n"+option+"=y\n") {
				t.Errorf("%s: %q takes nothing from base", name, line)
			}
		}
	}
}

func TestConfigIsHonoured(t *testing.T) {
	whole, part := Kernel{pkg: "base"}, Kernel{pkg: "no-tun"}
	for _, c := range []struct {
		k         Kernel
		wish, got string
		want      string
	}{
		{whole, "CONFIG_TUN=y\n", "CONFIG_TUN=y\n", ""},
		{whole, "CONFIG_TUN=y\n", "# CONFIG_TUN is not set\n", "CONFIG_TUN=y was not taken"},
		{part, "# CONFIG_TUN is not set\n", "CONFIG_TUN=y\n", "CONFIG_TUN=y came back"},
		{part, "# CONFIG_TUN is not set\n", "", ""},
		{part, "CONFIG_VETH=y\n", "", ""},
	} {
		err := honoured(c.k, c.wish, c.got)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q of %q: %v, want %q", c.wish, c.got, err, c.want)
		}
	}
}

// TestModulesComeInOrder looks at what the cache has: a module stands behind
// those that it depends on.
func TestModulesComeInOrder(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(CacheDir(), "bookworm-*", "modules", "*.ko"))
	if len(files) == 0 {
		t.Skip("missing feature: the kernel bookworm in the cache (make kernels)")
	}
	at := map[string]int{}
	for i, f := range files {
		_, name, _ := strings.Cut(filepath.Base(f), "-")
		at[name] = i + 1
	}
	if at["overlay.ko"] == 0 || at["stp.ko"] == 0 || at["llc.ko"] > at["stp.ko"] || at["stp.ko"] > at["bridge.ko"] {
		t.Error(files)
	}
}
