package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// abandoned is the age from which a temporary file is taken for the leftover of
// an interrupted run rather than for the work of one that goes on.
const abandoned = 10 * time.Minute

// WriteFile replaces a file at one stroke: whoever reads it, after a power cut
// too, finds the old content or the new. The mode holds from the first byte on
// and irrespective of the umask.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	dir, base := filepath.Split(path)
	dir = filepath.Clean(dir)
	removeLeftovers(dir, base)
	temporary, err := os.CreateTemp(dir, temporaryPattern(base)) // 0600, exclusive
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	err = errors.Join(fill(temporary, data, mode), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temporary.Name())
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return syncDir(dir)
}

func temporaryPattern(base string) string { return "." + base + ".*.tmp" }

func fill(file *os.File, data []byte, mode os.FileMode) error {
	if err := file.Chmod(mode); err != nil {
		return err
	}
	if _, err := file.Write(data); err != nil {
		return err
	}
	return file.Sync()
}

func syncDir(dir string) error {
	opened, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot sync %s: %w", dir, err)
	}
	defer opened.Close()
	if err := opened.Sync(); err != nil {
		return fmt.Errorf("cannot sync %s: %w", dir, err)
	}
	return nil
}

// removeLeftovers clears what interrupted runs left, as it may hold a key. What
// cannot be removed is no reason to fail: it is 0600 and read by nobody.
func removeLeftovers(dir, base string) {
	names, err := filepath.Glob(filepath.Join(dir, temporaryPattern(base)))
	if err != nil {
		return
	}
	for _, name := range names {
		info, err := os.Lstat(name)
		if err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > abandoned {
			_ = os.Remove(name)
		}
	}
}
