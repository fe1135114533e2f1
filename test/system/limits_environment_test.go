package system

import "testing"

// The program itself, which the run user cannot read, sets the limits in a step before the command.
// Variables of the Go runtime in a request must reach the command unchanged, and not affect this
// step.
func TestEnvironment_WithLimits(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	const envs = `{"GOMAXPROCS":"2","GOMEMLIMIT":"zz","GODEBUG":"inittrace=1","GOTRACEBACK":"crash","A":"1"}`
	command := `{"command":"env | sort","envs":` + envs
	with, without := d.send(d.sign("POST", "/shell", command+`,"limits":{"openFiles":100}}`)), d.send(d.sign("POST", "/shell", command+`}`))
	if with.status != 200 || with.Data.Stderr != "" || with.Data.Stdout != without.Data.Stdout {
		t.Errorf("got %s\nwithout limits it is %s", with.body, without.body)
	}
}
