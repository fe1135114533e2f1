package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/handover"
)

// This file is the control socket, from both ends. It is in the state directory, which only root
// can enter. `reload` sends one message of controlVerb with two descriptors, a request in a sealed
// memory file and its own program, and gets one answer.

const (
	controlName = "control" // in the state directory
	controlVerb = "reload\n"

	// maxRequest bounds a request in bytes. In JSON a byte of the configuration takes up to six.
	maxRequest     = 8 * config.MaxFile
	maxRequestTime = 5 * time.Second // from the connection to the request
	maxAnswer      = 64 << 10        // bytes
	maxAnswerTime  = time.Second     // to write one
	maxReloadTime  = time.Minute     // until `reload` gives up
)

// request is what a reload brings. It holds keys.
type request struct {
	Path        string // of the configuration, for messages
	Config      string // its text
	Certificate []byte // PEM; empty without TLS
	Key         []byte // PEM
	// SecretFiles are the secrets of the keys that have a SECRET_FILE, by the name of the key: the
	// program that takes over is not root.
	SecretFiles map[string][][]byte

	// From the text, for a daemon of another release, whose configuration has other keys.
	Bind        []string
	MetricsBind []string
	Keys        [][]byte // all secrets, and the texts of public keys
}

// answer is what `reload` prints. Text may have a hint.
type answer struct {
	Done bool
	Text string
}

// openControl makes the control socket in the state directory, and replaces that of an earlier
// daemon. The caller has the directory's lock.
func openControl(dir string) (*net.UnixListener, error) {
	folder, path, err := controlPath(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = folder.Close() }()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // the daemon that ends may not
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// controlPath leads to the socket by a descriptor: the address of a socket has 107 bytes at most.
func controlPath(dir string) (folder *os.File, path string, err error) {
	if folder, err = os.Open(dir); err != nil {
		return nil, "", err
	}
	return folder, fmt.Sprintf("/proc/self/fd/%d/%s", folder.Fd(), controlName), nil
}

// reloadRequest is a request that has arrived.
type reloadRequest struct {
	request
	program  *os.File
	began    int64         // nanoseconds of CLOCK_MONOTONIC
	answered chan struct{} // closed with the answer
	conn     *net.UnixConn // nil for SIGHUP
}

// monotonic is CLOCK_MONOTONIC in nanoseconds, which goes on over an execve.
func monotonic() int64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return now.Nano()
}

// answer answers the request, once, and frees what it holds.
func (r *reloadRequest) answer(a answer) {
	if r.conn != nil {
		text, err := json.Marshal(a)
		if err == nil {
			_ = r.conn.SetWriteDeadline(time.Now().Add(maxAnswerTime))
			_, _ = r.conn.Write(text)
		}
		_ = r.conn.Close()
	}
	if r.program != nil {
		_ = r.program.Close()
	}
	close(r.answered)
}

// controlServer accepts requests, one after the other.
type controlServer struct {
	listener *net.UnixListener
	peer     int // the user besides root who may reload; negative: none
	requests chan<- *reloadRequest
}

// run passes on each request, and waits for its answer. It ends when the listener is closed.
func (c *controlServer) run() {
	for {
		conn, err := c.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no descriptors for a while
			time.Sleep(firstBackoff)
			continue
		}
		r, err := c.receive(conn)
		if err != nil {
			r = &reloadRequest{conn: conn, answered: make(chan struct{})}
			r.answer(answer{Text: err.Error()})
			continue
		}
		c.requests <- r
		<-r.answered
	}
}

// receive returns the request that a peer sends within maxRequestTime.
func (c *controlServer) receive(conn *net.UnixConn) (*reloadRequest, error) {
	r := &reloadRequest{conn: conn, answered: make(chan struct{}), began: monotonic()}
	if err := c.checkPeer(conn); err != nil {
		return nil, err
	}
	_ = conn.SetReadDeadline(time.Now().Add(maxRequestTime))
	files, err := receiveFiles(conn)
	if err != nil {
		return nil, err
	}
	defer func() { _ = files[0].Close() }()
	if r.request, err = readRequest(files[0]); err != nil {
		_ = files[1].Close()
		return nil, err
	}
	r.program = files[1]
	return r, nil
}

// checkPeer returns an error unless root, or the user of a daemon that never was root, has
// connected.
func (c *controlServer) checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	failed := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(failed, err); err != nil {
		return fmt.Errorf("cannot find who asks for a reload: %w", err)
	}
	if peer.Uid != 0 && (c.peer < 0 || int(peer.Uid) != c.peer) {
		return errors.New("cannot reload: only root may ask for it; hint: run this as root")
	}
	return nil
}

// receiveFiles returns exactly two files: the request and the program.
func receiveFiles(conn *net.UnixConn) (files []*os.File, err error) {
	const most = 2
	text, control := make([]byte, len(controlVerb)), make([]byte, unix.CmsgSpace(most*4))
	n, size, flags, _, err := conn.ReadMsgUnix(text, control)
	if err != nil {
		return nil, fmt.Errorf("cannot read the request: %w", err)
	}
	messages, err := syscall.ParseSocketControlMessage(control[:size])
	if err != nil {
		return nil, fmt.Errorf("cannot read the request: %w", err)
	}
	for _, m := range messages {
		fds, _ := syscall.ParseUnixRights(&m)
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "request"))
		}
	}
	truncated := flags&unix.MSG_CTRUNC != 0
	if len(files) == most && !truncated && string(text[:n]) == controlVerb {
		return files, nil
	}
	for _, f := range files {
		_ = f.Close()
	}
	return nil, errForeignRequest
}

var errForeignRequest = errors.New("cannot reload: this release does not understand the request; " +
	"hint: restart the service instead")

// readRequest checks the size first.
func readRequest(file *os.File) (r request, err error) {
	info, err := file.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() > maxRequest) {
		err = fmt.Errorf("it is no file of at most %d bytes", maxRequest)
	}
	if err != nil {
		return r, fmt.Errorf("cannot read the request: %w", err)
	}
	in, err := handover.NewReader(file)
	if err == nil {
		err = in.Document(&r)
	}
	return r, err
}

// ErrNoDaemon means that no daemon that knows reload could be reached.
var ErrNoDaemon = errors.New("no daemon that can reload was reached")

// sendRequest asks the daemon of a state directory to go on as this program with the request, and
// returns its answer. It takes maxReloadTime at most.
func sendRequest(stateDir string, r request) (a answer, err error) {
	conn, err := dialControl(stateDir)
	if err != nil {
		return a, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(maxReloadTime))
	w, err := handover.NewWriter()
	if errors.Is(err, unix.ENOSYS) {
		return a, fmt.Errorf("%w: a reload needs Linux 3.19; hint: run systemctl restart "+
			"dataflux-func-sidecar", ErrNoDaemon)
	}
	if err != nil {
		return a, err
	}
	defer func() { _ = w.Close() }()
	file, err := w.Finish(r)
	if err != nil {
		return a, err
	}
	program, err := openProgram("/proc/self/exe")
	if err != nil {
		return a, err
	}
	defer func() { _ = program.Close() }()
	rights := syscall.UnixRights(int(file.Fd()), int(program.Fd()))
	if _, _, err = conn.WriteMsgUnix([]byte(controlVerb), rights, nil); err != nil {
		return a, fmt.Errorf("cannot send the request to the daemon: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(conn, maxAnswer))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return a, fmt.Errorf("the daemon did not answer within %s; hint: look at "+
			"`journalctl -u dataflux-func-sidecar`", maxReloadTime)
	case err == nil:
		err = json.Unmarshal(text, &a)
	}
	if err != nil {
		return a, errors.New("the daemon ended during the reload; hint: look at " +
			"`journalctl -u dataflux-func-sidecar`, and restart the service if it does not run")
	}
	return a, nil
}

// dialControl returns ErrNoDaemon if there is no socket, or no process listens on it.
func dialControl(stateDir string) (*net.UnixConn, error) {
	folder, path, err := controlPath(stateDir)
	if err == nil {
		defer func() { _ = folder.Close() }()
		var conn *net.UnixConn
		conn, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		if err == nil {
			return conn, nil
		}
	}
	at := filepath.Join(stateDir, controlName)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("cannot connect to %s: %w; hint: run this as root", at, err)
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%w: none serves %s: it does not run, or is of a release without "+
			"reload; hint: run systemctl restart dataflux-func-sidecar", ErrNoDaemon, at)
	}
	return nil, fmt.Errorf("cannot connect to %s: %w", at, err)
}

// openProgram needs no right to read the file.
func openProgram(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the program %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}
