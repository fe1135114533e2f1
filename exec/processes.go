package exec

import (
	"errors"
	"os"
	"strconv"
	"strings"
)

// process is one process, as /proc/PID/stat describes it.
type process struct {
	pid, parent, group, session int
	started                     uint64 // clock ticks after the boot of the host
	dead                        bool   // a zombie
	runnable                    bool   // running, or waiting for a processor only
	hanging                     bool   // in an uninterruptible sleep
}

func readProcess(pid int) (process, error) {
	return readStat(pid, "/proc/"+strconv.Itoa(pid)+"/stat")
}

// readStat reads the stat file of a process or of a thread.
func readStat(pid int, path string) (process, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return process{}, err
	}
	// The name is in parentheses and may contain anything, also parentheses.
	end := strings.LastIndexByte(string(text), ')')
	fields := strings.Fields(string(text[end+1:]))
	const startTime = 19
	if len(fields) <= startTime {
		return process{}, errors.New("cannot parse /proc/PID/stat")
	}
	p := process{
		pid: pid, dead: fields[0] == "Z" || fields[0] == "X", runnable: fields[0] == "R",
		hanging: fields[0] == "D",
	}
	for i, field := range []*int{&p.parent, &p.group, &p.session} {
		if *field, err = strconv.Atoi(fields[i+1]); err != nil {
			return process{}, err
		}
	}
	p.started, err = strconv.ParseUint(fields[startTime], 10, 64)
	return p, err
}

// readProcesses lists all processes of the host.
func readProcesses() (list []process) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, err := readProcess(pid); err == nil {
			list = append(list, p)
		}
	}
	return list
}
