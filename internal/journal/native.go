package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// journalSocket receives entries, one in each datagram
// (source: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/).
const journalSocket = "/run/systemd/journal/socket"

// sender writes to the journal, from one goroutine. Its socket is connected, unlike that of
// go-systemd: a write to a journal that hangs blocks in the kernel instead of polling.
type sender struct {
	path string
	conn *net.UnixConn // nil until the first entry, and after a failure
	data []byte
}

// send blocks until the journal has taken the entry. After a failure it reconnects and retries
// once, as the journal may have been restarted.
func (s *sender) send(e entry) error {
	s.data = appendField(s.data[:0], "MESSAGE", e.message)
	s.data = appendField(s.data, "PRIORITY", strconv.Itoa(int(e.event.Priority)))
	s.data = appendField(s.data, "MESSAGE_ID", e.event.ID)
	s.data = appendField(s.data, "SYSLOG_IDENTIFIER", "dataflux-func-sidecar")
	for name, value := range e.fields {
		s.data = appendField(s.data, name, value)
	}
	err := s.write()
	if err != nil {
		err = s.write()
	}
	if err != nil {
		return fmt.Errorf("cannot write to the journal: %w", err)
	}
	return nil
}

func (s *sender) write() (err error) {
	if s.conn == nil {
		if s.conn, err = dialJournal(s.path); err != nil {
			return err
		}
	}
	if _, err = s.conn.Write(s.data); err != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
	return err
}

// settle waits until journald has processed the entries, but no longer than until. journald reads
// the unit of an entry from the /proc directory of its sender: an entry of a process that has
// exited belongs to no unit, and `journalctl -u` does not show it. journald processes datagrams in
// turn and ignores an empty one, so when the empty one has left the queue, the entries before it
// are processed.
func (s *sender) settle(until time.Time) {
	if s.conn == nil || s.conn.SetWriteDeadline(until) != nil {
		return
	}
	defer func() { _ = s.conn.SetWriteDeadline(time.Time{}) }()
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return
	}
	failed := raw.Write(func(fd uintptr) (done bool) {
		_, err = unix.SendmsgN(int(fd), nil, nil, nil, unix.MSG_DONTWAIT)
		return !errors.Is(err, unix.EAGAIN)
	})
	if failed != nil || err != nil {
		return
	}
	for time.Now().Before(until) {
		var unread int
		failed = raw.Control(func(fd uintptr) {
			unread, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
		})
		if failed != nil || err != nil || unread == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func dialJournal(path string) (*net.UnixConn, error) {
	return net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
}

// maxValue bounds the value of a field in bytes. Few fields of an entry can be that long, and fewer
// than 30 are shorter than 4 KiB, so it fits into a datagram of 208 KiB, the default of
// net.core.wmem_default, and needs no memfd.
const maxValue = 16 << 10

// appendField writes the length of a value that has newlines, as a newline would end it otherwise.
func appendField(data []byte, name, value string) []byte {
	if len(value) > maxValue {
		value = fmt.Sprintf("%s… (%d bytes)", Cut(value, maxValue), len(value))
	}
	data = append(data, name...)
	if strings.Contains(value, "\n") {
		data = append(data, '\n')
		data = binary.LittleEndian.AppendUint64(data, uint64(len(value)))
	} else {
		data = append(data, '=')
	}
	data = append(data, value...)
	return append(data, '\n')
}
