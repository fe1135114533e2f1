package host

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// heldSocket is a socket of this host with the processes that have it open.
type heldSocket struct {
	address string
	inode   string
	holders []holder
}

type holder struct {
	pid       int
	name      string
	inService bool // it runs in the service's own cgroup, as the original Sidecar does before an upgrade
}

func (h holder) isSystemd() bool { return h.pid == 1 }

// ours says whether the service has the socket, or systemd for the service: units are the addresses of
// its active socket unit.
func (s heldSocket) ours(units []string) bool {
	return slices.ContainsFunc(s.holders, func(h holder) bool {
		return h.inService || h.isSystemd() && slices.Contains(units, s.address)
	})
}

// withHolders looks for the processes that have the sockets open.
func withHolders(sockets []heldSocket) []heldSocket {
	descriptors, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, descriptor := range descriptors {
		target, err := os.Readlink(descriptor)
		if err != nil {
			continue // closed meanwhile
		}
		pid, _ := strconv.Atoi(strings.Split(descriptor, "/")[2])
		for i, s := range sockets {
			if target == "socket:["+s.inode+"]" {
				sockets[i].holders = append(sockets[i].holders, holderFrom(pid))
			}
		}
	}
	return sockets
}

func holderFrom(pid int) holder {
	folder := fmt.Sprintf("/proc/%d/", pid)
	comm, _ := os.ReadFile(folder + "comm") // cut to 15 bytes
	h := holder{pid: pid, name: strings.TrimSpace(string(comm))}
	program, _ := os.Readlink(folder + "exe")
	// As after an upgrade of that program.
	if base := strings.TrimSuffix(filepath.Base(program), " (deleted)"); strings.HasPrefix(base, h.name) {
		h.name = base
	}
	cgroups, _ := os.ReadFile(folder + "cgroup")
	for line := range strings.Lines(string(cgroups)) {
		h.inService = h.inService || slices.Contains(strings.Split(strings.TrimSpace(line), "/"), "dataflux-func-sidecar.service")
	}
	return h
}

// describe names the holders. systemd keeps a copy of every socket that it hands over, so it is named
// only where nobody else is.
func describe(sockets []heldSocket) string {
	var names []string
	for _, s := range sockets {
		for _, h := range s.holders {
			name := fmt.Sprintf("%s (PID %d)", h.name, h.pid)
			switch {
			case h.isSystemd() && len(s.holders) > 1:
				continue
			case h.isSystemd():
				name = "systemd, for a socket unit that systemctl list-sockets shows"
			}
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return "a process that cannot be seen from here, such as one of another container"
	}
	return strings.Join(names, " and ")
}
