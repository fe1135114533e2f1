package privsep

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// dropReport is what the attack program prints after a drop.
type dropReport struct {
	Drop     string
	Proof    string
	Statuses []string
	Regained []string
	Dumpable int
}

func runDrop(t *testing.T, args ...string) dropReport {
	t.Helper()
	return readReport(t, answer(t, attacker(t, append([]string{"drop"}, args...)...)))
}

func readReport(t *testing.T, text string) dropReport {
	t.Helper()
	var rep dropReport
	if err := json.Unmarshal([]byte(text), &rep); err != nil {
		t.Fatalf("cannot read the report: %v: %s", err, text)
	}
	return rep
}

func TestDropLeavesNothingOfRootOnAnyThread(t *testing.T) {
	needRoot(t)
	rep := runDrop(t, "65534", "65534", "65534,4242,77")
	checkDropped(t, rep)
	for _, text := range rep.Statuses {
		if groups := parseStatus(text)["Groups"]; !slices.Equal(groups, []string{"77", "4242", "65534"}) {
			t.Errorf("groups %v", groups)
		}
	}
}

// checkDropped reads the report without the code that Drop proves itself with.
func checkDropped(t *testing.T, rep dropReport) {
	t.Helper()
	if rep.Drop != "succeeded" || rep.Proof != "succeeded" || len(rep.Regained) > 0 {
		t.Fatalf("drop %q, proof %q, had back: %v", rep.Drop, rep.Proof, rep.Regained)
	}
	if rep.Dumpable != 0 {
		t.Errorf("dumpable reads %d", rep.Dumpable)
	}
	if len(rep.Statuses) < 12 {
		t.Fatalf("only %d threads were examined", len(rep.Statuses))
	}
	for _, text := range rep.Statuses {
		for _, line := range []string{
			"Uid:\t65534\t65534\t65534\t65534\n", "Gid:\t65534\t65534\t65534\t65534\n",
			"CapInh:\t0000000000000000\n", "CapPrm:\t0000000000000000\n",
			"CapEff:\t0000000000000000\n", "CapAmb:\t0000000000000000\n",
		} {
			if !strings.Contains(text, line) {
				t.Errorf("a thread lacks %q:\n%s", line, text)
			}
		}
	}
}

// TestDropClearsInheritableAndAmbientCapabilities covers what a change of user
// alone would leave.
func TestDropClearsInheritableAndAmbientCapabilities(t *testing.T) {
	needRoot(t)
	checkDropped(t, runDrop(t, "65534", "65534", "65534", "ambient"))
}

func TestDropRefusesSecurebitsThatKeepCapabilities(t *testing.T) {
	needRoot(t)
	for _, spoil := range []string{"keepcaps", "nofixup"} {
		rep := runDrop(t, "65534", "65534", "65534", spoil)
		if !strings.Contains(rep.Drop, "securebits") || rep.Proof == "succeeded" {
			t.Errorf("%s: drop %q, proof %q", spoil, rep.Drop, rep.Proof)
		}
	}
}

func TestDropRefusesRootIDs(t *testing.T) {
	needRoot(t)
	for _, ids := range [][]string{{"0", "65534", "65534"}, {"65534", "0", "0"}, {"-1", "65534", "65534"}} {
		if rep := runDrop(t, ids...); !strings.Contains(rep.Drop, "root's") {
			t.Errorf("ids %v: drop %q", ids, rep.Drop)
		}
	}
}

// TestProofFindsWhatAHalfDropLeaves: a proof that finds nothing wrong with root
// would prove nothing.
func TestProofFindsWhatAHalfDropLeaves(t *testing.T) {
	for name, change := range map[string][2]string{
		"saved uid":       {"Uid:\t5\t5\t5\t5", "Uid:\t5\t5\t0\t5"},
		"fs uid":          {"Uid:\t5\t5\t5\t5", "Uid:\t5\t5\t5\t0"},
		"no uids":         {"Uid:\t5\t5\t5\t5", ""},
		"effective gid":   {"Gid:\t6\t6\t6\t6", "Gid:\t6\t0\t6\t6"},
		"group more":      {"Groups:\t6 7", "Groups:\t0 6 7"},
		"group less":      {"Groups:\t6 7", "Groups:\t6"},
		"inheritable":     {"CapInh:\t0000000000000000", "CapInh:\t0000000000000080"},
		"permitted":       {"CapPrm:\t0000000000000000", "CapPrm:\t8000000000000000"},
		"no effective":    {"CapEff:\t0000000000000000", ""},
		"ambient":         {"CapAmb:\t0000000000000000", "CapAmb:\t0000000000002000"},
		"nothing changed": {},
	} {
		s := parseStatus(strings.Replace(goodStatus, change[0], change[1], 1))
		u := User{UID: 5, GID: 6, Groups: []int{7, 6}}
		failed := u.checkIDs(s) != nil || checkNoCapabilities(s) != nil
		if failed == (name == "nothing changed") {
			t.Errorf("%s: found wrong: %v", name, failed)
		}
	}
}

const goodStatus = "Name:\tx\nUid:\t5\t5\t5\t5\nGid:\t6\t6\t6\t6\nGroups:\t6 7 \n" +
	"CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n" +
	"CapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\n"

// TestDropKeepsAnOrdinaryUser is the start without root, and without the right
// to become somebody else.
func TestDropKeepsAnOrdinaryUser(t *testing.T) {
	needRoot(t)
	as := func(args ...string) dropReport {
		cmd := attacker(t, append([]string{"drop"}, args...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: testUID, Gid: testUID, Groups: []uint32{testUID, 77}}}
		return readReport(t, answer(t, cmd))
	}
	checkDropped(t, as("65534", "65534", "65534,77"))
	if rep := as("1234", "65534", "65534,77"); !strings.Contains(rep.Drop, "start as root") {
		t.Errorf("becoming another user: %q", rep.Drop)
	}
	if rep := as("65534", "65534", "65534"); rep.Drop == "succeeded" {
		t.Error("a group too many was overlooked")
	}
}

// TestDropSaysWhenItIsBuiltWithCgo needs a test binary that is: the race
// detector is on in CI.
func TestDropSaysWhenItIsBuiltWithCgo(t *testing.T) {
	if _, err := prctlAllThreads(3, 0); err == nil {
		t.Skip("this test binary does not use cgo")
	}
	if err := SetNoNewPrivs(); err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=0") {
		t.Errorf("error %v does not say how to build", err)
	}
}

func TestMarkCloseOnExecLeavesOnlyTheStandardDescriptors(t *testing.T) {
	cmd := attacker(t, "close-on-exec")
	cmd.ExtraFiles = []*os.File{os.Stderr, os.Stderr}
	if got := answer(t, cmd); got != "3" {
		t.Errorf("%s descriptors would be inherited, want 3", got)
	}
}

func TestMarkCloseOnExecWithoutCloseRange(t *testing.T) {
	fd, err := syscall.Open("/dev/null", syscall.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := markEachCloseOnExec(uint(fd)); err != nil {
		t.Fatal(err)
	}
	flags, _, _ := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
	if flags&syscall.FD_CLOEXEC == 0 {
		t.Error("the descriptor is still inherited")
	}
}
