package exec

import (
	"bufio"
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// readFile reads at most 512 bytes.
func readFile(dir int, name string) ([]byte, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	text := make([]byte, 512)
	n, err := unix.Read(fd, text)
	return text[:max(n, 0)], err
}

func readNumber(dir int, name string) (uint64, error) {
	text, err := readFile(dir, name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 64)
}

// numberAfter returns the number after a name that begins a line, 0 if there is none.
func numberAfter(text []byte, name string) uint64 {
	for line := range bytes.Lines(text) {
		if number, found := bytes.CutPrefix(line, []byte(name)); found {
			n, _ := strconv.ParseUint(string(bytes.TrimSpace(number)), 10, 64)
			return n
		}
	}
	return 0
}

func writeFile(dir int, name, text string) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(text))
	return err
}

// orMax is a limit as the files of cgroups have it.
func orMax(limit uint64) string {
	if limit == 0 {
		return "max"
	}
	return strconv.FormatUint(limit, 10)
}

// readPIDs reads a list of process ids of any length.
func readPIDs(dir int, name string) (pids []int, err error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		pid, err := strconv.Atoi(lines.Text())
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, lines.Err()
}
