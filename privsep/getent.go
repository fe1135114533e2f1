package privsep

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	// maxToolTime bounds each answer. A start asks three times at most, within TimeoutStartSec= of
	// the unit (30 s).
	maxToolTime = 8 * time.Second
	// maxAnswer bounds an answer in bytes. The longest valid one has maxGroups ids with blanks
	// between them.
	maxAnswer = 1 << 20
	// maxGroups is the kernel's bound for a process (NGROUPS_MAX).
	maxGroups = 1 << 16
	// maxUserName bounds a user's name in bytes, far above what any directory service has.
	maxUserName = 256
)

// errNoTool means that the host lacks a tool.
var errNoTool = errors.New("the tool is missing")

// errAnswer means that a tool's answer cannot be right. It is not quoted: it may be anything.
var errAnswer = errors.New("its answer is not valid")

// hostTools runs the host's own getent and id, which ask the sources of /etc/nsswitch.conf.
type hostTools struct {
	folders []string      // of the tools: never PATH
	timeout time.Duration // of each answer
}

func defaultTools() hostTools { return hostTools{[]string{"/usr/bin", "/bin"}, maxToolTime} }

// userNamed finds a user by name. The name in the answer may have another form, as some directory
// services write it (dffs@example.com). A login would have that one.
func (h hostTools) userNamed(name string) (User, error) {
	if !isUserName(name) {
		return User{}, ErrUnknownUser
	}
	return h.user(name)
}

// userOfID finds a user by uid.
func (h hostTools) userOfID(uid int) (User, error) {
	u, err := h.user(strconv.Itoa(uid))
	if err == nil && u.UID != uid {
		return User{}, fmt.Errorf("getent: %w: it is of another user", errAnswer)
	}
	return u, err
}

// user asks getent, for which a number is a uid.
func (h hostTools) user(key string) (User, error) {
	answer, err := h.ask("getent", "passwd", key)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 || errors.Is(err, errNoTool) {
		return User{}, fmt.Errorf("%w (%w)", ErrUnknownUser, err)
	}
	if err != nil {
		return User{}, err
	}
	fields := strings.Split(answer, ":")
	if len(fields) != 7 || !isUserName(fields[0]) {
		return User{}, fmt.Errorf("getent: %w: it is not a line of passwd(5)", errAnswer)
	}
	u, err := parseUser(fields)
	if err != nil {
		return User{}, fmt.Errorf("getent: %w: %w", errAnswer, err)
	}
	return u, nil
}

// isUserName is false for what a tool would take for an option or for a uid, and for characters
// that no name has.
func isUserName(name string) bool {
	invalid := func(r rune) bool { return r == ':' || r == ',' || unicode.IsControl(r) }
	return name != "" && len(name) <= maxUserName && name[0] != '-' &&
		strings.Trim(name, "0123456789") != "" && !strings.ContainsFunc(name, invalid)
}

// groups asks id for all groups of a user. The primary group comes first, and must be the given
// one: otherwise /etc/passwd and id mean different accounts.
func (h hostTools) groups(name string, primary int) ([]int, error) {
	if !isUserName(name) {
		return nil, errors.New("id takes no such name")
	}
	answer, err := h.ask("id", "-G", name)
	if err != nil {
		return nil, err
	}
	var groups []int
	seen := map[int]bool{}
	for text := range strings.SplitSeq(answer, " ") {
		gid, err := parseID(text)
		if err != nil || len(groups) == maxGroups {
			return nil, fmt.Errorf("id: %w: it is not a list of at most %d ids",
				errAnswer, maxGroups)
		}
		if !seen[gid] {
			seen[gid] = true
			groups = append(groups, gid)
		}
	}
	if groups[0] != primary {
		return nil, fmt.Errorf("id: %w: it has the primary group %d instead of %d",
			errAnswer, groups[0], primary)
	}
	return groups, nil
}

// ask returns the one line that a tool prints. It kills a tool that takes too long, and does not
// wait for its end: the tool may be in an uninterruptible system call.
func (h hostTools) ask(tool string, arguments ...string) (line string, err error) {
	path, err := h.path(tool)
	if err != nil {
		return "", err
	}
	var out boundedBuffer
	cmd := exec.Command(path, arguments...)
	cmd.Dir, cmd.Env, cmd.Stdout = "/", []string{"LC_ALL=C"}, &out // the rest is /dev/null
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("cannot run %s: %w", path, err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	select {
	case err = <-exited:
	case <-time.After(h.timeout):
		_ = cmd.Process.Kill()
		return "", fmt.Errorf("%s did not answer within %s and was killed", path, h.timeout)
	}
	if out.exceeded {
		return "", fmt.Errorf("%s: %w: it has more than %d bytes", path, errAnswer, maxAnswer)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	line, ended := strings.CutSuffix(string(out.text), "\n")
	if !ended || strings.ContainsFunc(line, unicode.IsControl) {
		return "", fmt.Errorf("%s: %w: it is not one line of text", path, errAnswer)
	}
	return line, nil
}

func (h hostTools) path(tool string) (string, error) {
	for _, folder := range h.folders {
		path := filepath.Join(folder, tool)
		info, err := os.Stat(path)
		if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: there is no %s in %s",
		errNoTool, tool, strings.Join(h.folders, " or "))
}

// boundedBuffer fails at the first byte beyond maxAnswer, which closes the pipe to the tool. It
// does not embed bytes.Buffer, whose ReadFrom has no bound and would be used by io.Copy.
type boundedBuffer struct {
	text     []byte
	exceeded bool
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if len(b.text)+len(p) > maxAnswer {
		b.exceeded = true
		return 0, errAnswer
	}
	b.text = append(b.text, p...)
	return len(p), nil
}
