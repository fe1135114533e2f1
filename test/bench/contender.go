package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"dataflux-func-sidecar/sign"
)

// contender is a way to run commands that the facts compare.
type contender struct {
	name, address string
	log           string // a file
	// begin asks the server at an address, which may be a proxy, to run a command.
	begin func(address, command string) (*pendingCall, error)
}

// pendingCall is one command that was asked for.
type pendingCall struct {
	wait  func() (answer string, err error)
	abort func() // breaks the connection
}

func (c contender) run(address, command string) (string, error) {
	call, err := c.begin(address, command)
	if err != nil {
		return "", err
	}
	defer call.abort()
	return call.wait()
}

// beginHTTP sends a request on a connection of its own.
func beginHTTP(address string, request []byte) (*pendingCall, error) {
	conn, err := net.DialTimeout("tcp", address, startTimeout)
	if err != nil {
		return nil, fmt.Errorf("cannot connect: %w", err)
	}
	_ = conn.SetDeadline(time.Now().Add(startTimeout))
	if _, err := conn.Write(request); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("cannot send the request: %w", err)
	}
	return &pendingCall{
		wait: func() (string, error) {
			_, answer, err := readAnswer(conn)
			return answer, err
		},
		abort: func() { _ = conn.Close() },
	}, nil
}

func readAnswer(conn net.Conn) (status int, text string, err error) {
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", fmt.Errorf("cannot read the answer: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, "", fmt.Errorf("cannot read the answer: %w", err)
	}
	return answer.StatusCode, string(body), nil
}

// statusOf sends a request and returns the HTTP status, 0 for none.
func statusOf(address string, request []byte) int {
	conn, err := net.DialTimeout("tcp", address, startTimeout)
	if err != nil {
		return 0
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(startTimeout))
	if _, err := conn.Write(request); err != nil {
		return 0
	}
	status, _, _ := readAnswer(conn)
	return status
}

// jobID is the same for the same command, so that a repeated call is the same job.
func jobID(command string) string {
	return fmt.Sprintf("job-%08x", crc32.ChecksumIEEE([]byte(command)))
}

func (d *daemon) contender() contender {
	return contender{
		name: "daemon", address: d.address, log: d.log,
		begin: func(address, command string) (*pendingCall, error) {
			return beginHTTP(address, d.request(d.key, map[string]any{"command": command, "jobId": jobID(command)}))
		},
	}
}

// contenderWithoutIDs sends no jobId, so that each of its calls is a job of its own.
func (d *daemon) contenderWithoutIDs() contender {
	return contender{
		name: "daemon-without-ids", address: d.address, log: d.log,
		begin: func(address, command string) (*pendingCall, error) {
			return beginHTTP(address, d.request(d.key, map[string]any{"command": command}))
		},
	}
}

// request is a signed call of a key.
func (d *daemon) request(key string, body map[string]any) []byte {
	text, _ := json.Marshal(body) // strings and maps of strings alone
	return signOne([]byte(key), text)
}

// job returns what the daemon tells of a job.
func (d *daemon) job(id string) (string, error) {
	r := sign.Request{
		Method: "GET", Path: "/jobs/" + id, Nonce: hex.EncodeToString([]byte(rand.Text())),
		Timestamp: strconv.FormatInt(time.Now().Unix(), 10),
	}
	call, err := beginHTTP(d.address, fmt.Appendf(
		nil, "GET %s HTTP/1.1\r\nHost: bench\r\nX-Auth-Nonce: %s\r\nX-Auth-Timestamp: %s\r\nX-Auth-Signature: %s\r\n\r\n",
		r.Path, r.Nonce, r.Timestamp, sign.Signature([]byte(d.key), r),
	))
	if err != nil {
		return "", err
	}
	defer call.abort()
	return call.wait()
}

func (w *webhook) contender() contender {
	return contender{
		name: "webhook", address: w.address, log: w.log,
		begin: func(address, command string) (*pendingCall, error) {
			return beginHTTP(address, w.request("run", map[string]any{"command": command}))
		},
	}
}

func (w *webhook) request(hook string, body map[string]any) []byte {
	text, _ := json.Marshal(body)
	return signHook(hook, []byte(w.key), text)
}

func (s *openssh) contender(address string) contender {
	return contender{
		name: "OpenSSH", address: address, log: filepath.Join(s.folder, "log"),
		begin: func(address, command string) (*pendingCall, error) { return s.begin(address, "user", command) },
	}
}

// client is ssh with one of the keys and a connection of its own.
func (s *openssh) client(address, key string, arguments ...string) *exec.Cmd {
	_, port, _ := net.SplitHostPort(address)
	return exec.Command("ssh", append([]string{
		"-F", filepath.Join(s.folder, "ssh_config"), "-o", "ControlPath=none", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "IdentityFile=none", "-i", filepath.Join(s.folder, key), "-p", port,
	}, arguments...)...)
}

func (s *openssh) begin(address, key, command string) (*pendingCall, error) {
	c := s.client(address, key, "bench", command)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("cannot start ssh: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	return &pendingCall{
		wait: func() (string, error) {
			select {
			case err := <-ended:
				return out.String(), err
			case <-time.After(startTimeout):
				return "", errors.New("ssh does not end")
			}
		},
		abort: func() { _ = c.Process.Kill() },
	}, nil
}

// recorder passes one connection on and keeps what its client sends.
type recorder struct {
	listener net.Listener
	done     chan struct{}
	sent     bytes.Buffer // complete when done is closed
}

func startRecorder(target string) (*recorder, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	r := &recorder{listener: l, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		client, err := l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", target)
		if err != nil {
			_ = client.Close()
			return
		}
		go func() { _, _ = io.Copy(client, server); _ = client.Close() }()
		_, _ = io.Copy(io.MultiWriter(server, &r.sent), client)
		_ = server.Close()
	}()
	return r, nil
}

func (r *recorder) address() string { return r.listener.Addr().String() }

// recorded waits for the end of the connection.
func (r *recorder) recorded() ([]byte, error) {
	defer func() { _ = r.listener.Close() }()
	select {
	case <-r.done:
		return r.sent.Bytes(), nil
	case <-time.After(startTimeout):
		return nil, errors.New("the recorded connection does not end")
	}
}

// replay sends recorded bytes on a new connection, and returns the start of the answer.
func replay(address string, recorded []byte) string {
	conn, err := net.DialTimeout("tcp", address, startTimeout)
	if err != nil {
		return ""
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
	_, _ = conn.Write(recorded)
	var answer bytes.Buffer
	_, _ = io.CopyN(&answer, conn, 12) // HTTP/1.1 NNN
	_, _ = io.Copy(io.Discard, conn)   // to its end or the deadline: a keep-alive connection stays open
	return answer.String()
}

// holds reports whether the writable memory of a process has a text. Only root can read it.
func (p process) holds(text string) (bool, error) {
	maps, err := os.ReadFile(p.file("maps"))
	if err != nil {
		return false, fmt.Errorf("cannot read the memory: %w", err)
	}
	memory, err := os.Open(p.file("mem"))
	if err != nil {
		return false, fmt.Errorf("cannot read the memory: %w", err)
	}
	defer func() { _ = memory.Close() }()
	read := 0
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var rights string
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &from, &to, &rights); n != 3 || !strings.HasPrefix(rights, "rw") {
			continue
		}
		part := make([]byte, to-from)
		n, _ := memory.ReadAt(part, from)
		read += n
		if bytes.Contains(part[:n], []byte(text)) {
			return true, nil
		}
	}
	if read == 0 {
		return false, errors.New("cannot read the memory: nothing of it is readable")
	}
	return false, nil
}
