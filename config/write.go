package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// abandoned is the age from which a temporary file is taken for the leftover of
// an interrupted run rather than for the work of one that goes on.
const abandoned = 10 * time.Minute

const mostBackups = 100

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

// BackUp writes data to a new file beside path, for its owner alone, and returns
// its name. It never replaces a file: another name is taken unless the one that
// is there holds the very same.
func BackUp(path string, data []byte) (backup string, err error) {
	dir, base := filepath.Split(path)
	temporary, err := os.CreateTemp(filepath.Clean(dir), temporaryPattern(base)) // 0600, exclusive
	if err != nil {
		return "", fmt.Errorf("cannot back up %s: %w", path, err)
	}
	defer os.Remove(temporary.Name())
	if err := errors.Join(fill(temporary, data, 0o600), temporary.Close()); err != nil {
		return "", fmt.Errorf("cannot back up %s: %w", path, err)
	}
	backup = path + ".original"
	for n := 1; n <= mostBackups; n++ {
		err = os.Link(temporary.Name(), backup) // unlike a rename, it replaces nothing
		if err == nil || isBackup(backup, data) {
			return backup, syncDir(filepath.Clean(dir))
		}
		if !errors.Is(err, os.ErrExist) {
			break
		}
		backup = fmt.Sprintf("%s.original.%d", path, n)
	}
	return "", fmt.Errorf("cannot back up %s: %w: move its earlier backups away", path, err)
}

func isBackup(path string, data []byte) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != 0o600 {
		return false
	}
	there, err := os.ReadFile(path)
	return err == nil && bytes.Equal(there, data)
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
