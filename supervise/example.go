package supervise

import (
	"io/fs"

	"github.com/moby/moby/api/types/container"
)

// Example are files to look at: the units of a container called web, for each
// system, below a directory of its name.
func Example() ([]File, error) {
	web := &Inspected{
		ID: "0000000000000000000000000000000000000000000000000000000000000000", Name: "/web",
		Config: &container.Config{}, HostConfig: &container.HostConfig{},
	}
	u, err := Of(web, nil, Options{Binary: "/usr/bin/coracle"})
	if err != nil {
		return nil, err
	}
	var all []File
	for _, s := range Systems() {
		files, _, err := s.Files(u, Site{Scan: "/etc/service"})
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			f.Path = s.Name + ShortPath(f.Path)
			f.Mode &= fs.ModePerm
			all = append(all, f)
		}
	}
	return all, nil
}
