package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// Load reads the configuration that the daemon serves with. Beside what Parse
// checks, the file must be a regular one that nobody but its owner can read or
// write, and the owner must be root or the user who runs the program: whoever
// can write the file can run commands, and so can whoever can read the key.
func Load(path string) (Config, error) {
	data, info, err := Read(path)
	if err != nil {
		return Config{}, err
	}
	c, err := Parse(path, data)
	if err := errors.Join(CheckOwner(path, info), CheckMode(path, info), err); err != nil {
		return Config{}, err
	}
	return c, nil
}

// Read returns a configuration file's bytes and what Stat says of the very file
// that they were read from.
func Read(path string) ([]byte, os.FileInfo, error) {
	// O_NONBLOCK, so that a FIFO is refused rather than waited for.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, unreadable(path, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a regular file: correct the path of the configuration", path)
	}
	data, err := readBounded(path, file)
	return data, info, err
}

func unreadable(path string, err error) error {
	err = fmt.Errorf("cannot read the configuration: %w", err)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: create it with dataflux-func-sidecar configure", err)
	case errors.Is(err, os.ErrPermission) && os.Geteuid() != 0:
		return fmt.Errorf("%w: run this as root", err)
	case errors.Is(err, os.ErrPermission):
		return Unpermitted(path, err)
	}
	return fmt.Errorf("%w: correct the path", err)
}

// Unpermitted is about a file that not even root may read.
func Unpermitted(path string, err error) error {
	return &Mendable{fmt.Errorf("%w: the service reads it as root, who may pass over no file modes there", err), "chown root: " + ShellQuote(path)}
}

func readBounded(path string, file io.Reader) ([]byte, error) {
	var data bytes.Buffer
	_, err := data.ReadFrom(io.LimitReader(file, longestFile+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	if data.Len() > longestFile {
		return nil, fmt.Errorf("%s is larger than %d bytes: no configuration is; give another file", path, longestFile)
	}
	return data.Bytes(), nil
}

// CheckOwner refuses a file that belongs to another user than root and the one
// who runs the program.
func CheckOwner(path string, info os.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("cannot tell who owns %s", path)
	}
	if stat.Uid == 0 || int(stat.Uid) == os.Geteuid() {
		return nil
	}
	return &Mendable{fmt.Errorf("%s belongs to user %d, who can change it", path, stat.Uid), "chown root: " + ShellQuote(path)}
}

// CheckMode refuses a file that its group or others have any right to.
func CheckMode(path string, info os.FileInfo) error {
	mode := info.Mode().Perm()
	if mode&0o077 == 0 {
		return nil
	}
	return &Mendable{fmt.Errorf("%s has mode %04o, so other users can read or write the key", path, mode), "chmod 0600 " + ShellQuote(path)}
}

// Mendable is an error with the command that mends it when root runs it in a shell.
type Mendable struct {
	Fault   error
	Command string
}

func (m *Mendable) Error() string { return m.Fault.Error() + ": run " + m.Command }

// Unwrap returns the fault.
func (m *Mendable) Unwrap() error { return m.Fault }

// ShellQuote writes a path as a shell takes it, for the commands in messages.
func ShellQuote(path string) string {
	if strings.IndexFunc(path, notInPaths) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// Failures takes the errors apart that reading a configuration has joined.
func Failures(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, Failures(one)...)
	}
	return all
}
