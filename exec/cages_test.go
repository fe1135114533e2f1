//go:build cages

package exec

import (
	"strings"
	"testing"
)

// A cage changes the user of commands, where they are born, and how their processes are found,
// signalled and reaped. The tests of these run in both kinds of cages as well. Tests of other
// things, as of an output's bytes, prove the same outside; those that choose their cage themselves,
// or need root, are left out. It needs root itself and takes half a minute, so it has a build tag
// of its own: make test-system runs it.
func TestCages(t *testing.T) {
	const which = "^(TestStart_|TestGuard_|TestSpawn_(EachKernel|ManyAtOnce)|TestCommand_|TestThen_" +
		"|TestResult_(WaysToEnd|Usage)|TestEnd_|TestLeft_GroupGone|TestBackground_" +
		"|TestDescendants_|TestLoad_ManyCommands|TestOutput_ReopenedStreams|TestWorkdir_|TestInput_|TestScript_" +
		"|TestEnvironment_OfTheDaemon|TestLimits_(All|Unset|NeverRaised|OtherProperties|Memory))"
	const not = "WithoutProcesses|EscapedGracePeriod|OtherUsers|Groups|Hangs"
	for _, way := range []string{withCgroups, withOrphans} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			out := runCaged(t, way, nil, "-test.run", which, "-test.skip", not)
			if t.Failed() {
				t.Log(failures(out))
			}
		})
	}
}

func TestHandOver_InCages(t *testing.T) {
	for _, way := range []string{withOrphans, withCgroups} {
		t.Run(way, func(t *testing.T) { testReloads(t, way) })
	}
}

func failures(out string) string {
	var kept []string
	for line := range strings.Lines(out) {
		well := strings.Contains(line, "--- PASS") || strings.Contains(line, "--- SKIP")
		if !well && !strings.HasPrefix(line, "=== ") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}
