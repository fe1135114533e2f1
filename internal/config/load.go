package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// DefaultPath is the configuration of an installed service.
const DefaultPath = "/etc/dataflux-func-sidecar"

// Load reads the configuration for the daemon, and the files of secrets that it names. Besides what
// Parse checks, each file must be regular, belong to root or the user of this process, and have no
// mode bits for group and others: the right to write it, or to read its key, is the right to run
// commands.
func Load(path string) (Config, error) {
	c, _, err := LoadText(path)
	return c, err
}

// LoadText is Load. It also returns the text of the file.
func LoadText(path string) (Config, []byte, error) {
	data, info, err := Read(path)
	if err != nil {
		return Config{}, nil, err
	}
	c, err := Parse(path, data)
	if err == nil {
		err = c.readSecretFiles(path)
	}
	if err := errors.Join(CheckOwner(path, info), CheckMode(path, info), err); err != nil {
		return Config{}, nil, err
	}
	return c, data, nil
}

// Read returns the content of a configuration file, and the result of fstat(2) on the descriptor
// that it was read from.
func Read(path string) ([]byte, os.FileInfo, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not block
	if err != nil {
		return nil, nil, unreadable(path, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a regular file: correct the path of the "+
			"configuration", path)
	}
	data, err := io.ReadAll(io.LimitReader(file, MaxFile+1))
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	if len(data) > MaxFile {
		return nil, nil, fmt.Errorf("%s is larger than %d bytes: no configuration is; give "+
			"another file", path, MaxFile)
	}
	return data, info, nil
}

func unreadable(path string, err error) error {
	err = fmt.Errorf("cannot read the configuration: %w", err)
	switch {
	case errors.Is(err, os.ErrNotExist):
		create := "dataflux-func-sidecar configure"
		if path != DefaultPath { // of a start by hand
			create += " --config " + ShellQuote(path) + " --unit-dir ''"
		}
		return fmt.Errorf("%w; hint: create it with %s", err, create)
	case errors.Is(err, os.ErrPermission) && os.Geteuid() != 0:
		return fmt.Errorf("%w; hint: run this as root", err)
	case errors.Is(err, os.ErrPermission):
		return unreadableByRoot(path, err)
	}
	return fmt.Errorf("%w; hint: correct the path", err)
}

// unreadableByRoot is the error of a file that root cannot read, for want of CAP_DAC_OVERRIDE.
func unreadableByRoot(path string, err error) error {
	return &Fixable{
		fmt.Errorf("%w: the service reads it as root without CAP_DAC_OVERRIDE", err),
		"chown root: " + ShellQuote(path),
	}
}

// CheckOwner returns an error unless a file belongs to root or to the user of this process.
func CheckOwner(path string, info os.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("cannot tell who owns %s", path)
	}
	if stat.Uid == 0 || int(stat.Uid) == os.Geteuid() {
		return nil
	}
	return &Fixable{
		fmt.Errorf("%s belongs to user %d, who can change it", path, stat.Uid),
		"chown root: " + ShellQuote(path),
	}
}

// CheckMode returns an error if a file's mode gives any right to group or others.
func CheckMode(path string, info os.FileInfo) error {
	mode := info.Mode().Perm()
	if mode&0o077 == 0 {
		return nil
	}
	return &Fixable{
		fmt.Errorf("%s has mode %04o, so other users can read or write the key", path, mode),
		"chmod 0600 " + ShellQuote(path),
	}
}

// Fixable is an error with the command that fixes it when root runs it in a shell.
type Fixable struct {
	Fault   error
	Command string
}

func (f *Fixable) Error() string { return f.Fault.Error() + ": run " + f.Command }

// Unwrap returns the fault.
func (f *Fixable) Unwrap() error { return f.Fault }

// ShellQuote returns a path as a word of a shell command, for the commands in messages.
func ShellQuote(path string) string {
	if strings.IndexFunc(path, notInPaths) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// Failures splits the joined errors of Load and LoadTLS.
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
