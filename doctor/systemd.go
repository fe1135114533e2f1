package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/units"
)

// systemdTime bounds how long systemd is waited for.
const systemdTime = 20 * time.Second

// properties are what systemd says of a unit.
type properties map[string]string

// systemd is what it says of our units, by their names.
type systemd map[string]properties

// askSystemd takes no more than `systemctl show` gives to everybody.
func askSystemd() (systemd, error) {
	const asked = "Id,LoadState,ActiveState,SubState,Result,UnitFileState,FragmentPath,NeedDaemonReload,ExecMainStartTimestampMonotonic"
	text, err := shellOutput("systemctl show --property=" + asked + " " + strings.Join(units.Names(), " "))
	if err != nil {
		return nil, fmt.Errorf("cannot ask systemd for the state of the units: %w", err)
	}
	all := systemd{}
	for block := range strings.SplitSeq(text, "\n\n") {
		unit := properties{}
		for line := range strings.Lines(block) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			unit[name] = value
		}
		all[unit["Id"]] = unit
	}
	return all, nil
}

// shellOutput runs a command as the daemon runs its own: there is one way to start processes here.
func shellOutput(command string) (string, error) {
	runner, err := exec.NewRunner(nil)
	if err != nil {
		return "", err
	}
	defer runner.Close()
	env := []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	process, err := runner.Start(exec.Command{
		Shell: "/bin/sh", Text: command, Dir: "/", Env: env, MaxOutput: 1 << 20, Timeout: systemdTime, Grace: time.Second,
	})
	if err != nil {
		return "", err
	}
	<-process.Done()
	result := process.Result()
	if result.ExitCode != 0 {
		return "", errors.Join(fmt.Errorf("%s: exit status %d, %s", command, result.ExitCode, result.Ended), errors.New(allOf(&result.Stderr)))
	}
	return allOf(&result.Stdout), nil
}

func allOf(o *exec.Output) string {
	var text bytes.Buffer
	_, _ = o.WriteTo(&text) // a buffer takes everything
	return strings.TrimSpace(text.String())
}
