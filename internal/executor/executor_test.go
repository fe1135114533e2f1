package executor

import (
	"errors"
	"testing"

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
