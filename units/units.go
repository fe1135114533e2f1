// Package units has the names of the systemd units, and asks systemd about them. It never writes
// their texts: install.sh and the packages do.
package units

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The units.
const (
	Service       = "dataflux-func-sidecar.service"
	Socket        = "dataflux-func-sidecar.socket"
	Ports         = "dataflux-func-sidecar-ports.service"
	Metrics       = "dataflux-func-sidecar-metrics.socket"
	ReloadPath    = "dataflux-func-sidecar-reload.path"
	ReloadService = "dataflux-func-sidecar-reload.service"
)

// Restart is the command that starts the service again, which ends what runs after DRAIN_TIMEOUT.
const Restart = "systemctl restart dataflux-func-sidecar"

// Reload is the command that makes the service read its configuration again, and ends nothing.
const Reload = "systemctl reload dataflux-func-sidecar"

// StopTimeout is TimeoutStopSec= of the service as installed: the time from a stop to SIGKILL.
const StopTimeout = 60 * time.Second

// Names lists the units, the service first.
func Names() []string {
	return []string{Service, Socket, Ports, Metrics, ReloadPath, ReloadService}
}

// Properties are properties of one unit by name, in the normalized form of `systemctl show`. The
// values of one that is repeated are joined by newlines.
type Properties map[string]string

// showTimeout bounds a question to systemd.
const showTimeout = 20 * time.Second

// Show asks systemd for properties of units, and returns them by unit name. It needs no privilege.
// It fails if systemd does not run, or does not answer within 20 seconds.
func Show(properties []string, names ...string) (map[string]Properties, error) {
	args := append([]string{"show", "--property=Id," + strings.Join(properties, ",")}, names...)
	out, err := run(showTimeout, "systemctl", args...)
	if err != nil {
		return nil, fmt.Errorf("cannot ask systemd for the state of the units: %w", err)
	}
	return parseShown(out), nil
}

// Control runs systemctl, such as "restart", Service. It returns when systemd is done, or has
// failed with what systemctl said. A limit of zero is none: a stop may wait for commands.
func Control(limit time.Duration, args ...string) error {
	if _, err := run(limit, "systemctl", args...); err != nil {
		return fmt.Errorf("cannot %s with systemctl: %w", strings.Join(args, " "), err)
	}
	return nil
}

// LastEntry returns the last entry of the service in the journal that begins with one of the marks,
// of the 1000 last entries, or the empty string. The text is as the service wrote it.
//
// Role is the user id of the daemon, negative if commands have the same one. Entries of other users
// do not count: those of commands are of the same unit, and can say anything.
func LastEntry(role int, marks ...string) string {
	args := append(ofDaemon(role), "--lines=1000", "--output=cat")
	out, _ := run(showTimeout, "journalctl", args...)
	last := ""
	for line := range strings.Lines(out) {
		if slices.ContainsFunc(marks, func(m string) bool { return strings.HasPrefix(line, m) }) {
			last = strings.TrimSpace(line)
		}
	}
	return last
}

const (
	lastTimesLimit = 10 * time.Second // for all values together
	lastTimesJobs  = 4                // questions at the same time
)

// LastTimes returns when the service last wrote an entry to the journal with each value of a field.
// A value without an entry, or whose answer does not come within 10 seconds for all, is left out.
// role is as for LastEntry.
//
// Each value is a question of its own. The journal has an index by value, so that the last entry is
// found without a search, also if it is a year old; one question for all values would have to read
// every entry since.
func LastTimes(role int, field string, values []string) map[string]time.Time {
	ctx, stop := context.WithTimeout(context.Background(), lastTimesLimit)
	defer stop()
	return lastTimes(ctx, role, field, values)
}

func lastTimes(
	ctx context.Context, role int, field string, values []string,
) map[string]time.Time {
	var lock sync.Mutex
	times := map[string]time.Time{}
	var asking sync.WaitGroup
	free := make(chan struct{}, lastTimesJobs)
	for _, value := range values {
		free <- struct{}{}
		asking.Go(func() {
			defer func() { <-free }()
			args := append(ofDaemon(role), field+"="+value, "--lines=1", "--output=json",
				"--output-fields="+field)
			out, err := output(ctx, "journalctl", args...)
			at, found := entryTime(out)
			if err == nil && found {
				lock.Lock()
				times[value] = at
				lock.Unlock()
			}
		})
	}
	asking.Wait()
	return times
}

// entryTime returns the time of an entry in the JSON form of journalctl.
func entryTime(text string) (time.Time, bool) {
	var entry struct {
		Microseconds string `json:"__REALTIME_TIMESTAMP"`
	}
	if json.Unmarshal([]byte(text), &entry) != nil {
		return time.Time{}, false
	}
	microseconds, err := strconv.ParseInt(entry.Microseconds, 10, 64)
	return time.UnixMicro(microseconds), err == nil
}

// ofDaemon are the arguments of journalctl for entries that the daemon wrote: see LastEntry.
func ofDaemon(role int) []string {
	args := []string{"--unit=" + Service, "--no-pager", "--quiet"}
	if role >= 0 {
		args = append(args, "_UID=0", "_UID="+strconv.Itoa(role))
	}
	return args
}

// run returns the standard output of a program, of at most maxOutput bytes. Its error has the
// standard error.
func run(limit time.Duration, name string, args ...string) (string, error) {
	ctx := context.Background()
	if limit > 0 {
		limited, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		ctx = limited
	}
	return output(ctx, name, args...)
}

// maxOutput bounds what a program may print, in bytes. Entries of the journal can be large, and
// where commands have the user of the daemon they write them.
const maxOutput = 16 << 20

// output is run until a context ends.
func output(ctx context.Context, name string, args ...string) (string, error) {
	var stdout, stderr boundedBuffer
	command := exec.CommandContext(ctx, name, args...)
	command.Env = []string{"LC_ALL=C"} // no more than needed: the environment may hold a key
	command.WaitDelay = time.Second    // a child of it may keep its output open
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	if stdout.exceeded || stderr.exceeded {
		return "", fmt.Errorf("%s printed more than %d bytes", name, maxOutput)
	}
	if errors.As(err, new(*exec.ExitError)) {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(stderr.text)))
	}
	return string(stdout.text), err
}

// boundedBuffer fails at the first byte beyond maxOutput, which closes the pipe to the program.
type boundedBuffer struct {
	text     []byte
	exceeded bool
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if len(b.text)+len(p) > maxOutput {
		b.exceeded = true
		return 0, io.ErrShortWrite
	}
	b.text = append(b.text, p...)
	return len(p), nil
}

// settleTime bounds how long ShowSettled waits for jobs of systemd.
const settleTime = 5 * time.Second

// ShowSettled is Show after the jobs of the units are done, or after 5 seconds. `systemctl restart`
// waits for the service alone; units that follow it, such as Ports, are started a moment later.
func ShowSettled(properties []string, names ...string) (map[string]Properties, error) {
	properties = append([]string{"Job"}, properties...)
	for deadline := time.Now().Add(settleTime); ; time.Sleep(settleTime / 50) {
		shown, err := Show(properties, names...)
		if err != nil || !anyJob(shown) || time.Now().After(deadline) {
			return shown, err
		}
	}
}

// anyJob reports whether systemd is about to change one of the units.
func anyJob(shown map[string]Properties) bool {
	for _, unit := range shown {
		if job := unit["Job"]; job != "" && job != "0" {
			return true
		}
	}
	return false
}

// parseShown parses blocks of NAME=value, one for each unit, that blank lines separate.
func parseShown(text string) map[string]Properties {
	all := map[string]Properties{}
	for block := range strings.SplitSeq(text, "\n\n") {
		unit := Properties{}
		for line := range strings.Lines(block) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			if earlier, repeated := unit[name]; repeated {
				value = earlier + "\n" + value
			}
			unit[name] = value
		}
		all[unit["Id"]] = unit
	}
	return all
}

// Listen returns the addresses of a socket unit from its property Listen, in systemd's form:
// 127.0.0.1:8099, [::1]:8099 or a path.
func (p Properties) Listen() (addresses []string) {
	// systemd before 230 prints ListenStream=ADDRESS, later ones Listen=ADDRESS (Stream).
	for line := range strings.Lines(p["ListenStream"] + "\n" + p["Listen"]) {
		if fields := strings.Fields(line); len(fields) > 0 {
			addresses = append(addresses, fields[0])
		}
	}
	return addresses
}

// StopTimeout returns TimeoutStopSec= of a service. It is zero if there is no limit, or one of a
// day or more.
func (p Properties) StopTimeout() time.Duration {
	// systemd writes 1min 30s. Its units from a day on are none of ParseDuration.
	text := strings.NewReplacer("min", "m", " ", "").Replace(p["TimeoutStopUSec"])
	limit, err := time.ParseDuration(text)
	if err != nil {
		return 0
	}
	return limit
}

// Program returns the path that ExecStart= of a service executes, or the empty string.
func (p Properties) Program() string {
	_, path, _ := strings.Cut(p["ExecStart"], "path=")
	path, _, _ = strings.Cut(path, " ;")
	return path
}
