package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "dataflux-func-sidecar"

// ours says which of our packages each of them may import directly. A package that is not here has no
// place in the design yet: give it one in README.md, then here.
func ours() map[string][]string {
	return map[string][]string{
		"sign":            nil,                // knows of requests only what is signed
		"nowait":          nil,                // system calls
		"crew":            nil,                // goroutines
		"exec":            {"crew", "nowait"}, // knows nothing of requests, keys or the network
		"journal":         {"nowait"},
		"metrics":         nil, // counts, and knows nothing of what
		"config":          nil,
		"connector":       nil, // scripts for Func, in Python
		"privsep":         nil, // starts roles, and does not know what they do
		"privsep/message": nil,
		"listener":        {"nowait", "privsep/message"}, // the network role: no key, no verdict, no command
		"executor":        {"crew", "exec", "journal", "metrics", "privsep/message", "sign", "state"},
		"state":           nil,                                                                     // knows nothing of what the bytes in its files mean
		"certificate":     {"config", "privsep/message"},                                           // no more than the channel carries
		"client":          {"certificate", "config", "host", "sign"},                               // calls a Sidecar for the command line
		"doctor":          {"certificate", "client", "config", "exec", "host", "privsep", "units"}, // looks, and asks the running service
		"host":            {"config"},
		"release":         nil, // scripts, and tests of them
		"units":           nil, // texts of the units
	}
}

// reserved says in which of our packages something dangerous may appear at all, with the reason.
func reserved() map[string]struct {
	in  []string
	why string
} {
	return map[string]struct {
		in  []string
		why string
	}{
		"net/http": {[]string{"listener", "client"}, "HTTP is parsed by the sandboxed role, and by who calls from the command line"},
		"os/exec":  {nil, "processes are started by exec and privsep, with system calls and syscall.ForkExec"},
		"plugin":   {nil, "no code comes from elsewhere"},
		"unsafe":   {[]string{"privsep", "exec", "nowait"}, "system calls that the library lacks"},
	}
}

type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", module+"/...")
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// shipped leaves out what is no part of the program: the benchmark and the end-to-end tests.
func shipped(p listed) (name string, ok bool) {
	name = strings.TrimPrefix(p.ImportPath, module+"/")
	tool := name == "bench" || strings.HasPrefix(name, "bench/") || name == "e2e" || strings.HasPrefix(name, "e2e/")
	return name, !tool && !strings.HasPrefix(name, "cmd/")
}

func TestPackagesImportOnlyWhatTheDesignGivesThem(t *testing.T) {
	rules, seen := ours(), 0
	for _, p := range listPackages(t) {
		name, ok := shipped(p)
		if !ok {
			continue
		}
		seen++
		allowed, known := rules[name]
		if !known {
			t.Errorf("package %s has no rule", name)
		}
		for _, imported := range p.Imports {
			if inner, own := strings.CutPrefix(imported, module+"/"); own && !slices.Contains(allowed, inner) {
				t.Errorf("%s imports %s; it may import %v of ours", name, inner, allowed)
			}
		}
	}
	if seen != len(rules) {
		t.Errorf("%d packages are there, %d have a rule", seen, len(rules))
	}
}

func TestDangerousPackagesAppearOnlyWhereTheyMay(t *testing.T) {
	for _, p := range listPackages(t) {
		name, ok := shipped(p)
		if !ok {
			continue
		}
		for imported, rule := range reserved() {
			if slices.Contains(p.Imports, imported) && !slices.Contains(rule.in, name) {
				t.Errorf("%s imports %s: %s", name, imported, rule.why)
			}
		}
	}
}

// What a package reaches through others counts as well: the roles must not meet behind their backs.
func TestTheNetworkRoleReachesNoKeyAndNoCommand(t *testing.T) {
	for _, p := range listPackages(t) {
		if p.ImportPath != module+"/listener" {
			continue
		}
		for _, forbidden := range []string{module + "/sign", module + "/exec", module + "/config", module + "/executor", "os/exec"} {
			if slices.Contains(p.Deps, forbidden) {
				t.Errorf("listener reaches %s", forbidden)
			}
		}
		return
	}
	t.Error("package listener was not found")
}

func TestTheExecutorReachesNoHTTP(t *testing.T) {
	for _, p := range listPackages(t) {
		for _, role := range []string{"executor", "exec", "sign"} {
			if p.ImportPath == module+"/"+role && slices.Contains(p.Deps, "net/http") {
				t.Errorf("%s reaches net/http", role)
			}
		}
	}
}
