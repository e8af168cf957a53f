package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// idFile is a --cidfile: made before the container is, so that two commands
// never share one, and taken away again when there is no container.
type idFile struct {
	file    *os.File
	written bool
}

func newIDFile(path string) (*idFile, error) {
	if path == "" {
		return &idFile{}, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("container ID file found, make sure the other container isn't running or delete %s", path)
	case err != nil:
		return nil, fmt.Errorf("failed to create the container ID file: %w", err)
	}
	return &idFile{file: f}, nil
}

func (f *idFile) write(id string) error {
	if f.file == nil {
		return nil
	}
	if _, err := f.file.WriteString(id); err != nil {
		return fmt.Errorf("failed to write the container ID to the file: %w", err)
	}
	f.written = true
	return nil
}

func (f *idFile) close() {
	if f.file == nil {
		return
	}
	f.file.Close()
	if !f.written {
		os.Remove(f.file.Name())
	}
}
