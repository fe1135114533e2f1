package main_test

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A command may stop the role, as it runs as the same user, and so may who took it over: then the channel is
// full of what nobody reads.
func TestANetworkRoleThatReadsNothingIsReplaced(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	stopped := d.networkPID()
	for range 4 { // each fills its stream's window, and all together the channel
		d.dial().put(d.sign("POST", "/shell", jsonOf(fields{"command": "sleep 0.5; head -c 4000000 /dev/zero | tr '\\0' a"})).raw())
	}
	d.eventually("four commands", func() bool { return strings.Count(d.log(), "Command started") == 4 })
	d.signal(stopped, syscall.SIGSTOP)
	d.eventually("another role", func() bool { return d.networkPID() != stopped })
	if a := d.run("echo back"); a.Data.Stdout != "back\n" {
		t.Errorf("got %s", a.body)
	}
}

func TestAStopDoesNotWaitForANetworkRoleThatReadsNothing(t *testing.T) {
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

// The host may lack descriptors or processes for a while: that ends neither the daemon nor its commands.
func TestADaemonThatCannotStartANetworkRoleTriesAgain(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	d.loseRoleFor("2")
	d.awaitLog("There is no network role: cannot make the channel to the network role: too many open files; callers wait, commands go on")
	if a := d.run("echo back"); a.Data.Stdout != "back\n" {
		t.Errorf("got %s", a.body)
	}
}

func TestADaemonWithoutANetworkRoleStopsInOrder(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `DRAIN_TIMEOUT = "10m"`) // which is not waited for: no callback can be delivered
	d.shell(fields{"command": "true", "callbackURL": "http://127.0.0.1:1/"})
	d.loseRoleFor("60")
	d.awaitLog("There is no network role: ")
	for _, group := range d.commandGroups() {
		_ = killGroup(group)
	}
	time.Sleep(1500 * time.Millisecond) // the next attempt of the callback waits for a role by then
	d.stop()
	d.awaitLog("Stopped: 2 commands finished since the start, 0 still run")
}

// systemd's watchdog would end the commands with the daemon.
func TestADaemonWithoutANetworkRoleGivesSignsOfLife(t *testing.T) {
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
	d.environment = []string{"NOTIFY_SOCKET=" + path}
	d.start()
	d.loseRoleFor("60")
	d.awaitLog("There is no network role: ")
	buffer := make([]byte, 4096)
	_ = socket.SetReadDeadline(time.Now())
	for err = nil; err == nil; { // what was said before
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

// loseRoleFor has a command take the descriptors from the daemon, which is the same user's, and kill the role.
func (d *daemon) loseRoleFor(seconds string) {
	d.t.Helper()
	// The answer needs the role, which on a busy machine may not have had its turn.
	d.shell(fields{"wait": false, "command": fmt.Sprintf(`sleep 0.5; soft=$(prlimit --pid $PPID --nofile --output SOFT --noheadings)
		prlimit --pid $PPID --nofile=3: && kill -KILL %d && sleep %s; prlimit --pid $PPID --nofile=$soft:`, d.networkPID(), seconds)})
}

// As with the socket unit, RemoveOnStop= or not.
func TestAUnixSocketByHandIsReplacedAndOpenToAll(t *testing.T) {
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
