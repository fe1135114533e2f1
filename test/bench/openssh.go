package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// openssh is a server with a configuration and keys of its own, and one connection to it that stays
// open, over which each command is one session. A client process per command is what `ssh` costs.
//
// The connection has a terminal, as both ends disable Nagle's algorithm only then; otherwise each
// command waits some 40 ms for a delayed acknowledgement.
type openssh struct {
	folder         string
	address        string
	server, master *exec.Cmd
	hold           io.Closer // the master ends when its input does
}

const serverConfig = `ListenAddress %[1]s
HostKey %[2]s/host
AuthorizedKeysFile %[2]s/user.pub %[2]s/authorized
StrictModes no
UsePAM no
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxSessions 4000
MaxStartups 4000
PrintMotd no
PrintLastLog no
PidFile none
LogLevel %[3]s
`

const clientConfig = `Host bench
HostName 127.0.0.1
Port %[1]s
User %[3]s
IdentityFile %[2]s/user
IdentitiesOnly yes
UserKnownHostsFile %[2]s/known
StrictHostKeyChecking yes
ControlPath %[2]s/master
BatchMode yes
LogLevel ERROR
`

// The server needs /run/sshd, and the run user may have no shell. Both are changed in a mount
// namespace.
const serverScript = `mount -t tmpfs none /run && mkdir /run/sshd && mount --bind "$1/passwd" /etc/passwd && exec /usr/sbin/sshd -D -e -f "$1/sshd_config"`

func startOpenSSH(user, folder, logLevel string) (*openssh, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("its server needs root to run commands as another user")
	}
	for _, program := range []string{"/usr/sbin/sshd", "ssh", "ssh-keygen", "unshare"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, errors.New(
				"it is not installed: apt-get install openssh-server openssh-client util-linux",
			)
		}
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	s := &openssh{folder: folder, address: address}
	if err := s.configure(user, logLevel); err != nil {
		return nil, err
	}
	if err := s.start(); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *openssh) configure(user, logLevel string) error {
	for _, name := range []string{"host", "user", "limited"} {
		if out, err := exec.Command(
			"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f",
			filepath.Join(s.folder, name),
		).CombinedOutput(); err != nil {
			return fmt.Errorf("cannot make a key: %w: %s", err, out)
		}
	}
	public, err := os.ReadFile(filepath.Join(s.folder, "host.pub"))
	if err != nil {
		return fmt.Errorf("cannot configure it: %w", err)
	}
	limited, err := os.ReadFile(filepath.Join(s.folder, "limited.pub"))
	if err != nil {
		return fmt.Errorf("cannot configure it: %w", err)
	}
	accounts, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return fmt.Errorf("cannot configure it: %w", err)
	}
	host, port, _ := net.SplitHostPort(s.address)
	for name, text := range map[string]string{
		"sshd_config": fmt.Sprintf(serverConfig, s.address, s.folder, logLevel),
		"ssh_config":  fmt.Sprintf(clientConfig, port, s.folder, user),
		"known":       fmt.Sprintf("[%s]:%s %s", host, port, public),
		"authorized":  `restrict,command="echo \"hello $SSH_ORIGINAL_COMMAND\"" ` + string(limited), // for the facts
		"passwd":      withShell(string(accounts), user),
	} {
		if err := os.WriteFile(filepath.Join(s.folder, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("cannot configure it: %w", err)
		}
	}
	return nil
}

// withShell gives the run user the shell and the home directory that the other runners use.
func withShell(accounts, user string) string {
	lines := strings.Split(accounts, "\n")
	for i, line := range lines {
		fields := strings.Split(line, ":")
		if len(fields) == 7 && fields[0] == user {
			fields[5], fields[6] = "/", "/bin/sh"
			lines[i] = strings.Join(fields, ":")
		}
	}
	return strings.Join(lines, "\n")
}

func (s *openssh) start() (err error) {
	log, err := os.Create(filepath.Join(s.folder, "log"))
	if err != nil {
		return fmt.Errorf("cannot keep its log: %w", err)
	}
	defer func() { _ = log.Close() }()
	s.server = exec.Command("unshare", "--mount", "sh", "-c", serverScript, "sh", s.folder)
	s.server.Stderr = log
	s.server.SysProcAttr, _ = childAttributes("")
	if err := s.server.Start(); err != nil {
		return fmt.Errorf("cannot start its server: %w", err)
	}
	if err := awaitListening(s.address); err != nil {
		return err
	}
	s.master = exec.Command(
		"ssh", "-F", filepath.Join(s.folder, "ssh_config"), "-tt", "-M", "bench", "exec cat",
	)
	s.master.SysProcAttr, _ = childAttributes("")
	if s.hold, err = s.master.StdinPipe(); err != nil {
		return fmt.Errorf("cannot connect: %w", err)
	}
	if err := s.master.Start(); err != nil {
		return fmt.Errorf("cannot connect: %w", err)
	}
	return await(func() error { // a client without a master opens a connection of its own
		_, err := runProgram(
			[]string{"ssh", "-F", filepath.Join(s.folder, "ssh_config"), "-O", "check", "bench"},
		)
		return err
	})
}

// awaitListening connects and closes the connection at once.
func awaitListening(address string) error {
	return await(func() error {
		conn, err := net.DialTimeout("tcp", address, startTimeout)
		if err != nil {
			return fmt.Errorf("cannot connect: %w", err)
		}
		return conn.Close()
	})
}

func (s *openssh) prefix() []string {
	return []string{
		"ssh", "-F", filepath.Join(s.folder, "ssh_config"), "-o", "ControlMaster=no", "bench",
	}
}

// serving returns the server's processes without the clients.
func (s *openssh) serving() []process {
	return process(s.server.Process.Pid).sameProgram("sshd")
}

func (s *openssh) stop() {
	if s.hold != nil {
		_ = s.hold.Close()
	}
	for _, c := range []*exec.Cmd{s.master, s.server} {
		if c == nil || c.Process == nil {
			continue
		}
		_ = c.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(startTimeout, func() { _ = c.Process.Kill() })
		_ = c.Wait()
		kill.Stop()
	}
}
