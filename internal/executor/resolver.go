package executor

import (
	"io"
	"os"
	"strings"
	"syscall"
)

const (
	resolverFile = "/etc/resolv.conf"
	maxResolver  = 2 << 10 // bytes of the lines that are sent
)

// resolverLines returns the lines of resolv.conf that configure the resolver, if the file is a
// link: the network role can open files below /etc, but perhaps not the target of the link. It
// returns whole lines, at most maxResolver bytes. If the file cannot be read it returns "", and the
// role reports that.
func resolverLines(path string) string {
	if _, err := os.Readlink(path); err != nil {
		return ""
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not block
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	text, _ := io.ReadAll(io.LimitReader(f, 64<<10))
	var kept strings.Builder
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || !isResolverKeyword(fields[0]) || kept.Len()+len(line) > maxResolver {
			continue
		}
		kept.WriteString(strings.Join(fields, " ") + "\n")
	}
	return kept.String()
}

func isResolverKeyword(word string) bool {
	switch word {
	case "nameserver", "search", "domain", "options":
		return true
	}
	return false
}
