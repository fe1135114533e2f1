package journal

import (
	"encoding/binary"
	"net"
	"strconv"
	"strings"

	"dataflux-func-sidecar/nowait"
)

// journalSocket is where journald takes entries, each as one datagram
// (source: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/).
const journalSocket = "/run/systemd/journal/socket"

// sender is for one goroutine. Its socket is connected, unlike that of the library whose other parts we
// use: waiting for a journal that hangs is then the kernel's, and takes no processor time.
type sender struct {
	path string
	conn *nowait.Stream // nil until the first entry, and after a failure
	data []byte
}

// send waits until the journal takes the entry. A journal that cannot be reached leaves nobody to tell;
// one that was restarted is connected to again.
func (s *sender) send(e entry) {
	s.data = appendField(s.data[:0], "MESSAGE", e.message)
	s.data = appendField(s.data, "PRIORITY", strconv.Itoa(int(e.event.Priority)))
	s.data = appendField(s.data, "MESSAGE_ID", e.event.ID)
	s.data = appendField(s.data, "SYSLOG_IDENTIFIER", "dataflux-func-sidecar")
	for name, value := range e.fields {
		s.data = appendField(s.data, name, value)
	}
	if s.write() != nil {
		_ = s.write()
	}
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

func dialJournal(path string) (*nowait.Stream, error) {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	return nowait.NewStream(conn)
}

// appendField gives the length of a value that has several lines, as a newline would end it.
func appendField(data []byte, name, value string) []byte {
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
