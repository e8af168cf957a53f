package sys

import "os"

// Self is a path by which this program's own file can be executed: its name,
// or, where another file has that name by now (an upgrade) or none, a link of
// /proc, which leads to the file that runs. named is false then. The version
// that executes and the one that is executed are the same.
func Self() (path string, named bool, err error) {
	const link = "/proc/self/exe"
	if path, err = os.Readlink(link); err != nil {
		return "", false, err
	}
	ours, err := os.Stat(link)
	if err != nil {
		return "", false, err
	}
	if st, err := os.Stat(path); err == nil && os.SameFile(ours, st) {
		return path, true, nil
	}
	return link, false, nil
}
