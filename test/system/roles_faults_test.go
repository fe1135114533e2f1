package system

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// A compromised or stopped role may read nothing: then the channel fills up.
func TestNetworkRole_ReadingNothingIsReplaced(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	stopped := d.networkPID()
	for range 4 { // each fills the window of its stream, together they fill the channel
		d.dial().put(d.sign("POST", "/shell", jsonOf(fields{"command": "sleep 0.5; head -c 4000000 /dev/zero | tr '\\0' a"})).raw())
	}
	d.eventually("four commands", func() bool { return strings.Count(d.log(), "Command started") == 4 })
	d.signal(stopped, syscall.SIGSTOP)
	d.eventually("another role", func() bool { return d.networkPID() != stopped })
	if a := d.run("echo back"); a.Data.Stdout != "back\n" {
		t.Errorf("got %s", a.body)
	}
}

func TestStop_NetworkRoleReadsNothing(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, strconv.Quote(testKey), `DRAIN_TIMEOUT = "2s"`, `KILL_GRACE = "1s"`)
	d.start()
	for range 4 {
		d.dial().put(d.sign("POST", "/shell", jsonOf(fields{"command": "sleep 0.5; head -c 4000000 /dev/zero | tr '\\0' a"})).raw())
	}
	d.eventually("four commands", func() bool { return strings.Count(d.log(), "Command started") == 4 })
	d.signal(d.networkPID(), syscall.SIGSTOP)
	d.eventually("the ends of the commands", func() bool { return len(d.commandGroups()) == 0 })
	d.stop()
	d.awaitLog("Stopped: ")
}

// A temporary lack of descriptors or processes ends neither the daemon nor its commands.
func TestNetworkRole_StartIsRetried(t *testing.T) {
	t.Parallel()
	d := startAsOneUser(t)
	d.loseRoleFor("2")
	d.awaitLog("There is no network role: cannot make the channel to the network role: too many open files; callers wait, commands go on")
	if a := d.run("echo back"); a.Data.Stdout != "back\n" {
		t.Errorf("got %s", a.body)
	}
}

func TestStop_WithoutNetworkRole(t *testing.T) {
	t.Parallel()
	d := startAsOneUser(t, `DRAIN_TIMEOUT = "10m"`) // the stop does not wait for it: no callback can be delivered
	d.shell(fields{"command": "true", "callbackURL": "http://127.0.0.1:1/"})
	d.loseRoleFor("60")
	d.awaitLog("There is no network role: ")
	for _, group := range d.commandGroups() {
		_ = killGroup(group)
	}
	time.Sleep(1500 * time.Millisecond) // the next attempt of the callback waits for a role by then
	d.stop()
	d.awaitLog("Stopped: 2 commands finished since the start, 0 still running")
}

// Without these signs of life systemd's watchdog would end daemon and commands.
func TestWatchdog_WithoutNetworkRole(t *testing.T) {
	t.Parallel()
	path := sharedDir(t) + "/notify"
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		err = os.Chmod(path, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	d := newDaemon(t, strconv.Quote(testKey))
	d.environment, d.roleUser = []string{"NOTIFY_SOCKET=" + path}, "nobody"
	d.start()
	d.loseRoleFor("60")
	d.awaitLog("There is no network role: ")
	buffer := make([]byte, 4096)
	_ = socket.SetReadDeadline(time.Now())
	for err = nil; err == nil; { // the earlier lines
		_, err = socket.Read(buffer)
	}
	_ = socket.SetReadDeadline(time.Now().Add(idle))
	for said := ""; said != "WATCHDOG=1"; {
		n, err := socket.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		said = string(buffer[:n])
	}
	for _, group := range d.commandGroups() {
		_ = killGroup(group)
	}
}

// A systemd that is busy takes no message. It must learn that the daemon is ready also after a
// reload meanwhile, or it would end the daemon.
func TestReload_SystemdWasBusyAtTheStart(t *testing.T) {
	t.Parallel()
	path := sharedDir(t) + "/notify"
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		err = os.Chmod(path, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = systemd.Close() })
	fillQueue(t, path)
	d := newDaemon(t, strconv.Quote(testKey))
	d.environment = []string{"NOTIFY_SOCKET=" + path}
	d.start()
	d.wantReload(testkit.Program(t))
	buffer := make([]byte, 4096)
	_ = systemd.SetReadDeadline(time.Now().Add(idle))
	for said := ""; !strings.Contains(said, "READY=1"); {
		n, err := systemd.Read(buffer)
		if err != nil {
			t.Fatalf("got no READY=1: %v", err)
		}
		said = string(buffer[:n])
	}
}

// fillQueue fills the queue of a datagram socket, which has a bound for itself, and one for each sender.
func fillQueue(t *testing.T, path string) {
	t.Helper()
	for full := false; !full; {
		sender, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = sender.Close() })
		_ = sender.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		full = true
		for {
			if _, err := sender.Write([]byte("STATUS=x")); err != nil {
				break
			}
			full = false
		}
	}
}

// startAsOneUser starts a daemon whose processes have the user of its commands. So a command can
// take descriptors from it, as on a host that lacks them.
func startAsOneUser(t *testing.T, settings ...string) *daemon {
	t.Helper()
	d := newDaemon(t, strconv.Quote(testKey), settings...)
	d.roleUser = "nobody"
	d.start()
	return d
}

// loseRoleFor runs a command that lowers the daemon's limit of descriptors and kills the role.
func (d *daemon) loseRoleFor(seconds string) {
	d.t.Helper()
	// The answer needs the role, which may not have run yet on a busy machine.
	d.shell(fields{"wait": false, "command": fmt.Sprintf(`sleep 0.5; soft=$(prlimit --pid $PPID --nofile --output SOFT --noheadings)
		prlimit --pid $PPID --nofile=3: && kill -KILL %d && sleep %s; prlimit --pid $PPID --nofile=$soft:`, d.networkPID(), seconds)})
}

// A Unix socket of a start by hand is open to all users, as that of the socket unit, and replaces
// the socket file of an earlier start. A socket in use and other files refuse the start.
func TestServe_ReplacesItsUnixSocket(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, strconv.Quote(testKey))
	d.address = fmt.Sprintf("%s/by-hand.sock", sharedDir(t))
	for range 2 {
		d.start()
		info, err := os.Stat(d.address)
		if err != nil || info.Mode().Perm() != 0o666 {
			t.Fatalf("the socket is %v, %v", info, err)
		}
		d.stop()
	}
	d.start()
	second := newDaemon(t, strconv.Quote(testKey))
	second.address = d.address
	second.wantNoStart("address already in use")
	if err := os.Remove(d.address); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.address, []byte("somebody's"), 0o600); err != nil {
		t.Fatal(err)
	}
	second.wantNoStart("address already in use")
}
