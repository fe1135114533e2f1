package listener

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"dataflux-func-sidecar/privsep/message"
)

func TestParseResolver(t *testing.T) {
	for name, c := range map[string]struct {
		lines string
		want  nameServers
	}{
		"nothing": {"", nameServers{ndots: 1}},
		"all": {
			"nameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver fe80::1%eth0\n" +
				"search a.example b.example\noptions ndots:2 use-vc edns0\n",
			nameServers{
				[]string{"192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%eth0]:53"},
				[]string{"a.example", "b.example"},
				2, true,
			},
		},
		"a fourth server": {
			"nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4",
			nameServers{servers: []string{"192.0.2.1:53", "192.0.2.2:53", "192.0.2.3:53"}, ndots: 1},
		},
		"bad values": {
			"nameserver evil.example\nnameserver\nsearch\noptions ndots:x ndots:99\n" +
				"\x00\nunknown x\ndomain a b\n",
			nameServers{search: []string{"a"}, ndots: 15},
		},
	} {
		if got := parseResolver(c.lines); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestNameServers_Candidates(t *testing.T) {
	n := nameServers{search: []string{"a.example", ".", "b.example."}, ndots: 2}
	for name, want := range map[string]string{
		"host":     "host.a.example. host.b.example. host.",
		"host.x":   "host.x.a.example. host.x.b.example. host.x.",
		"host.x.y": "host.x.y. host.x.y.a.example. host.x.y.b.example.",
		"host.":    "host.",
	} {
		if got := strings.Join(n.candidates(name), " "); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// dnsServer resolves one name, to 127.0.0.1, and records each question with its transport.
type dnsServer struct {
	name    string
	address string

	mu    sync.Mutex
	asked []string
}

func newDNSServer(t *testing.T, name string) *dnsServer {
	t.Helper()
	streams := listen(t)
	packets, err := net.ListenPacket("udp", streams.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = packets.Close() })
	s := &dnsServer{name: name, address: streams.Addr().String()}
	go func() {
		query := make([]byte, 1500)
		for {
			n, from, err := packets.ReadFrom(query)
			if err != nil {
				return
			}
			_, _ = packets.WriteTo(s.answer("udp", query[:n]), from)
		}
	}()
	go func() {
		for {
			conn, err := streams.Accept()
			if err != nil {
				return
			}
			var size [2]byte
			_, _ = io.ReadFull(conn, size[:])
			query := make([]byte, binary.BigEndian.Uint16(size[:]))
			_, _ = io.ReadFull(conn, query)
			answer := s.answer("tcp", query)
			_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
			_ = conn.Close()
		}
	}()
	return s
}

// answer copies the question and adds one record of type A, or says that there is no such name.
func (s *dnsServer) answer(network string, query []byte) []byte {
	var labels []string
	end := 12
	for ; query[end] != 0; end += int(query[end]) + 1 {
		labels = append(labels, string(query[end+1:end+1+int(query[end])]))
	}
	end += 5
	name := strings.Join(labels, ".")
	s.mu.Lock()
	s.asked = append(s.asked, network+" "+name)
	s.mu.Unlock()
	answer := append([]byte{}, query[:end]...)
	copy(answer[2:12], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
	switch {
	case name != s.name:
		answer[3] = 0x83
	case query[end-3] == 1:
		answer[7] = 1
		answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1)
	}
	return answer
}

func (s *dnsServer) wasAsked(question string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.asked, question)
}

func TestNameServers_Dial(t *testing.T) {
	server, empty := newDNSServer(t, "receiver.corp.example"), newDNSServer(t, "")
	_, port, _ := net.SplitHostPort(listen(t).Addr().String())
	dead := "127.0.0.1:1"
	for _, c := range []struct {
		what  string
		n     nameServers
		host  string
		wants string // in the error; "" for a connection
		asked string
	}{
		{"a full name", nameServers{
			servers: []string{server.address}, ndots: 1,
		}, "receiver.corp.example", "", "udp receiver.corp.example"},
		{"the search list", nameServers{
			servers: []string{server.address}, search: []string{"none.example", "corp.example"}, ndots: 1,
		}, "receiver", "", "udp receiver.none.example"},
		{"over TCP", nameServers{
			servers: []string{server.address}, ndots: 1, tcp: true,
		}, "receiver.corp.example.", "", "tcp receiver.corp.example"},
		{"the third server", nameServers{
			servers: []string{dead, dead, server.address}, ndots: 1,
		}, "receiver.corp.example", "", ""},
		{"/etc/hosts first", nameServers{
			servers: []string{dead}, search: []string{"corp.example"}, ndots: 1,
		}, "localhost", "", ""},
		{"no such name", nameServers{
			servers: []string{empty.address}, ndots: 1,
		}, "other.example", "no such host", ""},
		{"no server", nameServers{}, "other.example", "make the file that it leads to", ""},
	} {
		conn, err := c.n.dialContext(context.Background(), net.Dialer{}, "tcp", c.host, port)
		if err == nil {
			_ = conn.Close()
		}
		if c.wants == "" && err != nil || c.wants != "" &&
			(err == nil || !strings.Contains(err.Error(), c.wants)) {
			t.Errorf("%s: got %v, want %q", c.what, err, c.wants)
		}
		if c.asked != "" && !server.wasAsked(c.asked) {
			t.Errorf("%s: got the questions %q, want %q in them", c.what, server.asked, c.asked)
		}
	}
	if empty.wasAsked("udp localhost") || server.wasAsked("udp localhost.corp.example") {
		t.Error("got a question for a name in /etc/hosts, want none")
	}
}

// The lines come with the callback and are used only where package net cannot read the file.
func TestCallback_ResolverLines(t *testing.T) {
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer receiver.Close()
	p := posterTrusting(t)
	p.resolverReadable = func() bool { return false }
	url := strings.Replace(receiver.URL, "127.0.0.1", "unknown.invalid", 1)
	for lines, want := range map[string]string{
		"": "names no name server", "nameserver 127.99.99.99\n": "lookup unknown.invalid",
	} {
		body := newInbox()
		body.put(message.Frame{Last: true, Payload: []byte("{}")})
		got := p.attempt(context.Background(), 1, message.Callback{URL: url, Length: 2, Resolver: lines},
			body)
		if !strings.Contains(got.Error, want) {
			t.Errorf("%q: got %+v, want %q", lines, got, want)
		}
	}
	if got := p.try(receiver.URL); got.Status != 200 {
		t.Errorf("an address, without a server: got %+v, want 200", got)
	}
}
