package exec

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// inputs are the memory files of a command, -1 each if it has none. They are open from before its
// births until it has executed its program, which then holds them alone.
type inputs struct{ stdin, script int }

// openInputs makes no system call for a command without stdin and script.
func openInputs(c *Command) (in inputs, err error) {
	in = inputs{-1, -1}
	if c.Stdin != nil {
		if in.stdin, err = memoryFile("stdin", c.Stdin); err != nil {
			return in, inputFault(err)
		}
	}
	if c.Script != nil {
		if in.script, err = memoryFile("script", c.Script.Text); err != nil {
			in.close()
			return inputs{-1, -1}, inputFault(err)
		}
	}
	return in, nil
}

func inputFault(cause error) error {
	return hostFault(cause, "cannot hold the command's stdin or script in memory")
}

func (in inputs) close() {
	for _, fd := range []int{in.stdin, in.script} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// memoryFile returns a read-only descriptor of a sealed file in memory with the content. The file
// belongs to the daemon's user: its mode lets the command open it once more, for reading. The
// descriptor is above scriptDescriptor, and closed on exec.
func memoryFile(name string, content []byte) (fd int, err error) {
	writing, err := createMemoryFile(name)
	if err != nil {
		return -1, err
	}
	defer unix.Close(writing)
	if err = writeAll(writing, content); err != nil {
		return -1, err
	}
	if err = unix.Fchmod(writing, 0o444); err != nil {
		return -1, err
	}
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
	if _, err = unix.FcntlInt(uintptr(writing), unix.F_ADD_SEALS, seals); err != nil {
		return -1, err
	}
	path := "/proc/self/fd/" + strconv.Itoa(writing)
	fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil || fd > scriptDescriptor {
		return fd, err
	}
	defer unix.Close(fd)
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, scriptDescriptor+1)
}

// createMemoryFile asks for a file that can never be executed, as the kernel may permit no other
// (vm.memfd_noexec); before Linux 6.3 there are none.
func createMemoryFile(name string) (fd int, err error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err = unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate(name, flags)
	}
	return fd, err
}

func writeAll(fd int, content []byte) error {
	for len(content) > 0 {
		n, err := unix.Write(fd, content)
		if err != nil && err != unix.EINTR {
			return err
		}
		content = content[max(n, 0):]
	}
	return nil
}
