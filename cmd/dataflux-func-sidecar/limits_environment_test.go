package main_test

import "testing"

// The step that sets the limits is this program, which its own user cannot read and whose runtime has
// variables of its own.
func TestACommandWithLimitsGetsTheEnvironmentThatItAskedFor(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	const envs = `{"GOMAXPROCS":"2","GOMEMLIMIT":"zz","GODEBUG":"inittrace=1","GOTRACEBACK":"crash","A":"1"}`
	command := `{"command":"env | sort","envs":` + envs
	with, without := d.send(d.sign("POST", "/shell", command+`,"limits":{"openFiles":100}}`)), d.send(d.sign("POST", "/shell", command+`}`))
	if with.status != 200 || with.Data.Stderr != "" || with.Data.Stdout != without.Data.Stdout {
		t.Errorf("got %s\nwithout limits it is %s", with.body, without.body)
	}
}
