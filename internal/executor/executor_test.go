package executor

import (
	"errors"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

func TestPackageComment_ListsEveryFile(t *testing.T) { testkit.CheckPackageComment(t, "executor.go") }

func TestContainment_String(t *testing.T) {
	const (
		cgroups = "Each command has a cgroup of its own: a timeout or a cancellation ends all its processes"
		none    = "Commands have no cgroups of their own (no kernel): a process that leaves its " +
			"command's process group is ended as far as it can be found"
	)
	noCgroups, noOrphans := errors.New("no kernel"), errors.New("no orphans")
	for _, c := range []struct {
		containment Containment
		want        string
	}{
		{Containment{}, cgroups},
		{Containment{NoOrphans: noOrphans}, cgroups + "; no orphans"},
		{Containment{OneUser: true}, cgroups + "; a process that sudo made another user's ends with " +
			"the service (Linux before 5.14)"},
		{Containment{NoCgroups: noCgroups}, none},
		{Containment{NoCgroups: noCgroups, NoOrphans: noOrphans}, none + "; no orphans"},
	} {
		if got := c.containment.String(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// Only failing proofs say that no command can be started, and not the time without any.
func TestStartProof_Judge(t *testing.T) {
	begun := time.Now()
	var p startProof
	for _, c := range []struct {
		name              string
		sinceBirth, clock time.Duration
		prove, starts     bool
	}{
		{"a command was started", 14 * time.Second, 14 * time.Second, false, true},
		{"none for a while", 19 * time.Second, 19 * time.Second, true, true},
		{"the proof succeeded", 4 * time.Second, 24 * time.Second, false, true},
		{"the host was paused for a day", 24 * time.Hour, 24 * time.Hour, true, true},
		{"it was proved", 4 * time.Second, 24*time.Hour + 5*time.Second, false, true},
		{"none for a while again", 19 * time.Second, 24*time.Hour + 20*time.Second, true, true},
		{"a pause just after the proof", 40*time.Minute - 21*time.Second, 24*time.Hour + 40*time.Minute, true, true},
		{"it is proved at once", 4 * time.Second, 24*time.Hour + 41*time.Minute, false, true},
		{"none for a while once more", 19 * time.Second, 25 * time.Hour, true, true},
		{"the proof fails", 48 * time.Second, 25*time.Hour + 29*time.Second, true, true},
		{"the proof has failed for long", 49 * time.Second, 25*time.Hour + 30*time.Second, true, false},
		{"it succeeds after all", time.Second, 25*time.Hour + 35*time.Second, false, true},
	} {
		now := begun.Add(c.clock)
		prove, starts := p.judge(now.Add(-c.sinceBirth), now)
		if prove != c.prove || starts != c.starts {
			t.Errorf("%s: got %v, %v; want %v, %v", c.name, prove, starts, c.prove, c.starts)
		}
	}
}
