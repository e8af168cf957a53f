package install

import (
	"io/fs"
	"path"

	"coracle/docs"
)

// Manuals are the manual pages that the binary carries.
func Manuals() ([]File, error) {
	pages, err := fs.Glob(docs.Man, "man/*.1")
	if err != nil {
		return nil, err
	}
	var files []File
	for _, name := range pages {
		page, err := docs.Man.ReadFile(name)
		if err != nil {
			return nil, err
		}
		files = append(files, Bytes("share/man/man1/"+path.Base(name), page))
	}
	return files, nil
}
