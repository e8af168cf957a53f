package kernels

import (
	"bytes"
	"debug/elf"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// wanted are modules that coracle's rungs use and Debian does not build in.
func wanted() []string {
	return []string{
		"crc32c_generic", // libcrc32c asks for it by an alias
		"overlay", "veth", "bridge", "br_netfilter", "tun", "dummy", "macvlan", "fuse", "loop", "ext4", "binfmt_misc",
		"nf_tables", "nft_nat", "nft_masq", "nft_chain_nat", "nft_ct",
		"iptable_nat", "iptable_filter", "xt_MASQUERADE", "xt_nat", "xt_conntrack", "xt_addrtype", "xt_comment",
	}
}

// modules lists the files of wanted modules below root and of what they depend
// on, in the order to insert them. Packages bring no modules.dep: what a module
// depends on it says itself, in its section .modinfo.
func modules(root string) ([]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := strings.TrimSuffix(d.Name(), ".xz")
		if name, ok := strings.CutSuffix(base, ".ko"); ok && d.Type().IsRegular() {
			files[strings.ReplaceAll(name, "-", "_")] = p
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var order []string
	seen := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		name = strings.ReplaceAll(name, "-", "_")
		file, ok := files[name]
		if seen[name] || !ok {
			return nil // built in, or not built
		}
		seen[name] = true
		file, deps, err := depends(file)
		if err != nil {
			return err
		}
		for _, d := range deps {
			if err := add(d); err != nil {
				return err
			}
		}
		order = append(order, file)
		return nil
	}
	for _, w := range wanted() {
		if err := add(w); err != nil {
			return nil, err
		}
	}
	return slices.Clip(order), nil
}

// depends reads "depends=a,b" of a module, which is unpacked if it is packed.
func depends(file string) (string, []string, error) {
	if strings.HasSuffix(file, ".xz") {
		if out, err := exec.Command("xz", "-dkf", file).CombinedOutput(); err != nil {
			return "", nil, &fs.PathError{Op: "unpack " + string(bytes.TrimSpace(out)), Path: file, Err: err}
		}
		file = strings.TrimSuffix(file, ".xz")
	}
	f, err := elf.Open(file)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return file, nil, nil
	}
	data, err := s.Data()
	if err != nil {
		return "", nil, err
	}
	for field := range bytes.SplitSeq(data, []byte{0}) {
		if deps, ok := strings.CutPrefix(string(field), "depends="); ok && deps != "" {
			return file, strings.Split(deps, ","), nil
		}
	}
	return file, nil, nil
}
