package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	// leftoverAge is the age from which a temporary file belongs to an interrupted run. A younger
	// one may belong to a run in progress.
	leftoverAge = 10 * time.Minute
	maxBackups  = 100
)

// WriteFile replaces a file atomically: readers see the old content or the new one, also after a
// power cut. The mode applies from the first byte on and regardless of the umask.
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

// BackUp writes data to path.original, or to path.original.N with N from 1 to 99, with mode 0600,
// and returns the name. It never replaces a file; one with the same data and mode is reused.
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
	for n := 1; n <= maxBackups; n++ {
		err = os.Link(temporary.Name(), backup) // unlike rename(2), it replaces nothing
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

// removeLeftovers removes the temporary files of interrupted runs, as they may hold a key. It is
// best effort: their mode is 0600.
func removeLeftovers(dir, base string) {
	names, err := filepath.Glob(filepath.Join(dir, temporaryPattern(base)))
	if err != nil {
		return
	}
	for _, name := range names {
		info, err := os.Lstat(name)
		if err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > leftoverAge {
			_ = os.Remove(name)
		}
	}
}
