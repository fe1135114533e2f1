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

func TestDrop_EveryThread(t *testing.T) {
	needRoot(t)
	rep := runDrop(t, "65534", "65534", "65534,4242,77")
	checkDropped(t, rep)
	for _, text := range rep.Statuses {
		if groups := parseStatus(text)["Groups"]; !slices.Equal(groups, []string{"77", "4242", "65534"}) {
			t.Errorf("got the groups %v, want 77, 4242 and 65534", groups)
		}
	}
}

// The executor is the role's user, acts on commands as theirs, and makes files as the role's.
func TestDrop_SeparatePrincipals(t *testing.T) {
	needRoot(t)
	rep := runDrop(t, "65534", "65534", "65534,77", "role=61234:61235")
	checkDroppedTo(t, rep, "Uid:\t61234\t65534\t61234\t61234\n", "Gid:\t61235\t65534\t61235\t61235\n")
	for name, test := range map[string]struct{ role, want string }{
		"root's uid":     {"role=0:61235", "root's"},
		"root's gid":     {"role=61234:0", "root's"},
		"the same group": {"role=61234:65534", "same primary group"},
	} {
		rep := runDrop(t, "65534", "65534", "65534", test.role)
		if !strings.Contains(rep.Drop, test.want) {
			t.Errorf("%s: got %q, want %q in it", name, rep.Drop, test.want)
		}
	}
}

// checkDropped reads the report without the code that Drop proves itself with.
func checkDropped(t *testing.T, rep dropReport) {
	t.Helper()
	checkDroppedTo(t, rep, "Uid:\t65534\t65534\t65534\t65534\n", "Gid:\t65534\t65534\t65534\t65534\n")
}

func checkDroppedTo(t *testing.T, rep dropReport, uids, gids string) {
	t.Helper()
	if rep.Drop != "succeeded" || rep.Proof != "succeeded" || len(rep.Regained) > 0 {
		t.Fatalf("got drop %q, proof %q, regained %v; want success and nothing",
			rep.Drop, rep.Proof, rep.Regained)
	}
	if rep.Dumpable != 0 {
		t.Errorf("got dumpable %d, want 0", rep.Dumpable)
	}
	if len(rep.Statuses) < 12 {
		t.Fatalf("got %d threads, want 12 at least", len(rep.Statuses))
	}
	for _, text := range rep.Statuses {
		for _, line := range []string{
			uids, gids,
			"CapInh:\t0000000000000000\n", "CapPrm:\t0000000000000000\n",
			"CapEff:\t0000000000000000\n", "CapAmb:\t0000000000000000\n",
		} {
			if !strings.Contains(text, line) {
				t.Errorf("got a thread\n%s\nwant %q in it", text, line)
			}
		}
	}
}

// A change of user alone would leave them.
func TestDrop_InheritableAndAmbientCapabilities(t *testing.T) {
	needRoot(t)
	checkDropped(t, runDrop(t, "65534", "65534", "65534", "ambient"))
}

func TestDrop_SecurebitsThatKeepCapabilities(t *testing.T) {
	needRoot(t)
	for _, spoil := range []string{"keepcaps", "nofixup"} {
		rep := runDrop(t, "65534", "65534", "65534", spoil)
		if !strings.Contains(rep.Drop, "securebits") || rep.Proof == "succeeded" {
			t.Errorf("%s: got drop %q, proof %q; want both to fail", spoil, rep.Drop, rep.Proof)
		}
	}
}

func TestDrop_RootIDs(t *testing.T) {
	needRoot(t)
	for _, ids := range [][]string{
		{"0", "65534", "65534"}, {"65534", "0", "0"}, {"-1", "65534", "65534"},
	} {
		if rep := runDrop(t, ids...); !strings.Contains(rep.Drop, "root's") {
			t.Errorf("ids %v: got %q, want a refusal", ids, rep.Drop)
		}
	}
}

// A proof that finds nothing wrong with root would prove nothing.
func TestProveDropped_HalfADrop(t *testing.T) {
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
		failed := Principals{Run: u, Role: u}.checkThread(s) != nil || checkNoCapabilities(s) != nil
		if want := name != "nothing changed"; failed != want {
			t.Errorf("%s: got a failed proof: %t, want %t", name, failed, want)
		}
	}
}

const goodStatus = "Name:\tx\nUid:\t5\t5\t5\t5\nGid:\t6\t6\t6\t6\nGroups:\t6 7 \n" +
	"CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n" +
	"CapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\n"

// This is the start without root, and without the right to become another user.
func TestDrop_OrdinaryUser(t *testing.T) {
	needRoot(t)
	as := func(args ...string) dropReport {
		cmd := attacker(t, append([]string{"drop"}, args...)...)
		credential := &syscall.Credential{Uid: testUID, Gid: testUID, Groups: []uint32{testUID, 77}}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
		return readReport(t, answer(t, cmd))
	}
	checkDropped(t, as("65534", "65534", "65534,77"))
	if rep := as("1234", "65534", "65534,77"); !strings.Contains(rep.Drop, "start as root") {
		t.Errorf("becoming another user: got %q, want a refusal", rep.Drop)
	}
	if rep := as("65534", "65534", "65534"); rep.Drop == "succeeded" {
		t.Error("a group too many: got success, want a refusal")
	}
}

// It needs a test binary with cgo: CI runs the tests with the race detector.
func TestDrop_BuiltWithCgo(t *testing.T) {
	if _, err := prctlAllThreads(3, 0); err == nil {
		t.Skip("this test binary does not use cgo")
	}
	if err := SetNoNewPrivs(); err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=0") {
		t.Errorf("got %v, want an error that says how to build", err)
	}
}

func TestMarkCloseOnExec_StandardDescriptorsStay(t *testing.T) {
	cmd := attacker(t, "close-on-exec")
	cmd.ExtraFiles = []*os.File{os.Stderr, os.Stderr}
	if got := answer(t, cmd); got != "3" {
		t.Errorf("%s descriptors would be inherited, want 3", got)
	}
}

func TestMarkCloseOnExec_WithoutCloseRange(t *testing.T) {
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
		t.Errorf("got the flags %#x, want FD_CLOEXEC", flags)
	}
}
