package state

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// refuseNewer finds a file of a later format before anything of the directory is changed, so that the
// version that wrote it finds all as it was. What else may be wrong shows when the files are opened.
func (d *Dir) refuseNewer() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("cannot list the state directory: %w", err)
	}
	for _, entry := range entries {
		path := filepath.Join(d.path, entry.Name())
		for _, err := range decodeStart(path) {
			if errors.Is(err, errNewer) {
				return fmt.Errorf("cannot use %s: %w", path, err)
			}
		}
	}
	return nil
}

// decodeStart returns what decoding each part of a file that tells a version comes to.
func decodeStart(path string) []error {
	switch filepath.Ext(path) {
	case ".log":
		_, err := decodeHeader(startOf(path))
		return []error{err}
	case ".mark":
		start := startOf(path)
		_, first := decodeMark(start[:markSize])
		_, second := decodeMark(start[markPage:])
		return []error{first, second}
	}
	return nil
}

// startOf returns the bytes of a file in which all of them stand, zeros where there is nothing to be read.
func startOf(path string) []byte {
	start := make([]byte, 2*markPage)
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return start
	}
	defer f.Close()
	_, _ = io.ReadFull(f, start)
	return start
}
