package supervisor

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/journal"
)

func TestListen_CauseAndHint(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	path := filepath.Join(t.TempDir(), "socket")
	takenPath, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = takenPath.Close() }()
	port := strings.TrimPrefix(taken.Addr().String(), "127.0.0.1:")
	for _, test := range []struct{ name, bind, want string }{
		{
			"address in use", taken.Addr().String(),
			"cannot listen on 127.0.0.1:" + port + ": address already in use; " +
				"hint: stop the process that `ss -ltnp 'sport = :" + port + "'` shows, " +
				"or give another address",
		},
		{
			"path in use", path,
			"cannot listen on " + path + ": address already in use; " +
				"hint: stop the process that `ss -lxp` shows, or give another path",
		},
		{
			"address of another host", "192.0.2.1:8099",
			"cannot listen on 192.0.2.1:8099: cannot assign requested address; " +
				"hint: give an address of this host: `ip -brief address` shows them",
		},
		{
			"no directory", filepath.Join(path+"-none", "socket"),
			"cannot listen on " + path + "-none/socket: no such file or directory",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := openSockets(test.bind, "")
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

// A socket of packets listens too, and has an address: ListenSequentialPacket= of a drop-in.
func TestInspect_OtherSockets(t *testing.T) {
	for network, want := range map[string]string{"unix": "", "unixpacket": "it is no stream socket"} {
		path := filepath.Join(t.TempDir(), "socket")
		l, err := net.Listen(network, path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		file, err := l.(*net.UnixListener).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = file.Close() })
		address, err := inspect(file)
		if want == "" && (err != nil || address.Path != path) {
			t.Errorf("%s: got %v, %v; want its path", network, address, err)
		}
		if want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: got %v, %v; want %q", network, address, err, want)
		}
	}
}

// The daemon is root here, and a command may own the directory of a socket.
func TestListen_SocketReplacedByALink(t *testing.T) {
	folder := t.TempDir()
	path, target, link := filepath.Join(folder, "s"), filepath.Join(folder, "t"), filepath.Join(folder, "l")
	f, err := listenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := openToAll(link); err == nil {
		t.Error("a link was followed")
	}
	for file, want := range map[string]os.FileMode{path: 0o666 | os.ModeSocket, target: 0o600} {
		if info, err := os.Stat(file); err != nil || info.Mode() != want {
			t.Errorf("%s: got %v, %v, want %v", file, info.Mode(), err, want)
		}
	}
}

// A socket unit may hand over none, some, or other addresses than BIND has.
func TestFollowBind(t *testing.T) {
	free := func() string {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		return l.Addr().String()
	}
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	path := filepath.Join(t.TempDir(), "missing", "socket")
	one, other := free(), "192.0.2.1:"+strings.TrimPrefix(free(), "127.0.0.1:") // of no interface
	for _, test := range []struct{ name, handed, bind, want, said string }{
		{"all", one, one, one, ""},
		{"none", "", one + "," + path + "," + other, one + "," + path + "," + other, "Opened by the daemon itself: " + one},
		{"some", path, path + "," + one, path + "," + one, "Opened by the daemon itself: " + one},
		{"others", path, one, path + "," + one, "Opened by the daemon itself: " + one},
		{"one in use", path, path + "," + taken.Addr().String(), path, "address already in use"},
		{"all in use", "", taken.Addr().String(), "", "address already in use"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var sockets []socket
			if test.handed != "" {
				handed, err := config.ParseBind(test.handed)
				if err != nil {
					t.Fatal(err)
				}
				sockets = []socket{{address: handed[0]}}
			}
			bind, err := config.ParseBind(test.bind)
			if err != nil {
				t.Fatal(err)
			}
			var said strings.Builder
			log := journal.New(&said)
			got, err := followBind(sockets, bind, log)
			log.Flush(time.Minute)
			for _, s := range got {
				if s.file != nil {
					defer func() { _ = s.file.Close() }()
				}
			}
			if (err == nil) != (test.want != "") || config.JoinBind(addressesOf(got)) != test.want {
				t.Errorf("got %s, %v, want %q", config.JoinBind(addressesOf(got)), err, test.want)
			}
			if text := said.String() + fmt.Sprint(err); !strings.Contains(text, test.said) {
				t.Errorf("got %q, want %q in it", text, test.said)
			}
		})
	}
}

func TestSockets_DifferFromBind(t *testing.T) {
	parse := func(bind string) []config.Address {
		addresses, err := config.ParseBind(bind)
		if err != nil {
			t.Fatal(err)
		}
		return addresses
	}
	for _, test := range []struct{ bind, have, want string }{
		{"127.0.0.1:1,127.0.0.1:2", "127.0.0.1:2,127.0.0.1:1", ""},
		{"127.0.0.1:1,127.0.0.1:2", "127.0.0.1:1", "without 127.0.0.1:2"},
		{"127.0.0.1:1", "127.0.0.1:1,/run/a.sock", "with /run/a.sock in addition"},
		{"127.0.0.1:1", "127.0.0.1:2", "without 127.0.0.1:1 and with 127.0.0.1:2 in addition"},
	} {
		if got := describeDifference(parse(test.bind), parse(test.have)); got != test.want {
			t.Errorf("BIND %s, sockets %s: got %q, want %q", test.bind, test.have, got, test.want)
		}
	}
}
