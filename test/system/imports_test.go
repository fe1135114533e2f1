package system

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "dataflux-func-sidecar"

// allowedImports lists which of our packages each package may import, and why no others. Add a new
// package to docs/architecture.md first, then here.
var allowedImports = []importRule{
	{
		"cmd/dataflux-func-sidecar",
		[]string{
			"exec", "internal/check", "internal/client", "internal/config",
			"internal/config/legacy", "internal/escape", "internal/host", "internal/journal", "internal/policy",
			"internal/release", "internal/supervisor", "packaging", "sign", "units",
		},
		"the command line: options and messages; the daemon is internal/supervisor",
	},
	{"connector", nil, "Python for Func, and its tests"},
	{"exec", []string{"internal/handover", "internal/worker"}, "runs commands and creates processes; knows no request, key or network"},
	{
		"internal/check",
		[]string{
			"internal/client", "internal/config", "internal/escape", "internal/firewall",
			"internal/host", "internal/policy", "privsep", "units",
		},
		"inspects the host and asks the running service",
	},
	{
		"internal/client",
		[]string{"internal/config", "internal/escape", "internal/host", "sign"},
		"calls a Sidecar for the command line",
	},
	{
		"internal/config",
		[]string{"exec", "internal/policy", "privsep/message", "sign"},
		"parses the configuration and its TLS pair, within the bounds of the channel and of commands",
	},
	{
		"internal/config/legacy",
		[]string{"internal/config"},
		"rewrites the configuration of the original Sidecar",
	},
	{"internal/escape", nil, "makes foreign text safe for a terminal"},
	{
		"internal/executor",
		[]string{
			"exec", "internal/handover", "internal/journal", "internal/policy", "internal/state",
			"internal/worker", "privsep/message", "sign",
		},
		"the executor role: no HTTP, no configuration file",
	},
	{"internal/firewall", nil, "asks nft and iptables-save, and judges their rules"},
	{"internal/handover", nil, "the file of a reload; knows no meaning of what is in it"},
	{
		"internal/host",
		[]string{"internal/config", "internal/escape"},
		"reads addresses and listeners from /proc",
	},
	{"internal/journal", nil, "writes log entries; knows no event's origin"},
	{"internal/policy", []string{"exec"}, "decides what a key may do; knows no secret and no request"},
	{"internal/release", nil, "verifies a release folder; knows no host"},
	{"internal/state", []string{"internal/handover"}, "stores bytes; knows no meaning of them"},
	{
		"internal/supervisor",
		[]string{
			"exec", "internal/config", "internal/executor", "internal/handover",
			"internal/journal", "internal/policy", "internal/state", "listener", "privsep",
			"privsep/message",
			"sign", "units",
		},
		"starts, watches and drains both roles: the one package that knows both",
	},
	{"internal/worker", nil, "goroutines for both exec and the executor"},
	{"listener", []string{"privsep/message"}, "the network role: no key, no verdict, no command"},
	{"packaging", nil, "scripts, and their tests"},
	{"packaging/provenance", nil, "a tool of the release: how it was built"},
	{"packaging/scriptset", nil, "a tool of the release: the files that Func imports"},
	{
		"privsep",
		[]string{"exec", "internal/handover"},
		"starts and confines roles, which exec creates like commands; does not know what they do",
	},
	{"privsep/message", nil, "the channel between the roles"},
	{"sign", nil, "of a request it knows only what is signed"},
	{"units", nil, "names of the units, and questions to systemd"},
}

type importRule struct {
	name    string
	imports []string
	why     string
}

// reservedImports lists the packages that may import certain packages of the library.
var reservedImports = []importRule{
	{
		"net/http",
		[]string{"listener", "internal/client"},
		"HTTP is parsed by the sandboxed role and by the client of the command line",
	},
	{
		"os/exec",
		[]string{"internal/firewall", "internal/release", "privsep", "units"},
		"as root, before the drop, privsep asks getent and id about a user, and root's command-line " +
			"tools ask systemctl and ssh-keygen; roles and commands are started by system calls",
	},
	{"plugin", nil, "no code comes from elsewhere"},
	{"unsafe", []string{"privsep", "exec"}, "system calls that the library lacks"},
}

// processCreation lists the calls that start a program without os/exec. Only exec, which starts
// commands, and privsep, which starts roles, may use them.
var processCreation = regexp.MustCompile(`\b(syscall|unix)\.(ForkExec|StartProcess|Exec` +
	`|SYS_(CLONE3?|V?FORK|EXECVE(AT)?))\b|\bos\.StartProcess\b`)

type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

// listPackages returns our packages that are part of the program, without the name of the module.
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
		p.ImportPath = strings.TrimPrefix(p.ImportPath, module+"/")
		if !strings.HasPrefix(p.ImportPath, "test/") {
			packages = append(packages, p)
		}
	}
}

// findPackage returns the package of a name.
func findPackage(t *testing.T, name string) listed {
	t.Helper()
	for _, p := range listPackages(t) {
		if p.ImportPath == name {
			return p
		}
	}
	t.Fatalf("got no package %s", name)
	return listed{}
}

func TestImports_OwnPackages(t *testing.T) {
	packages := listPackages(t)
	for _, p := range packages {
		at := slices.IndexFunc(allowedImports, func(r importRule) bool {
			return r.name == p.ImportPath
		})
		if at < 0 {
			t.Errorf("package %s has no rule", p.ImportPath)
			continue
		}
		rule := allowedImports[at]
		for _, imported := range p.Imports {
			inner, own := strings.CutPrefix(imported, module+"/")
			if own && !slices.Contains(rule.imports, inner) {
				t.Errorf("%s imports %s (%s), want imports of %v only",
					p.ImportPath, inner, rule.why, rule.imports)
			}
		}
	}
	if len(packages) != len(allowedImports) {
		t.Errorf("got %d packages, want %d, as many as there are rules",
			len(packages), len(allowedImports))
	}
}

func TestImports_DangerousPackages(t *testing.T) {
	for _, p := range listPackages(t) {
		for _, rule := range reservedImports {
			imports := slices.Contains(p.Imports, rule.name)
			if imports && !slices.Contains(rule.imports, p.ImportPath) {
				t.Errorf("%s imports %s, want that in %v only: %s",
					p.ImportPath, rule.name, rule.imports, rule.why)
			}
		}
	}
}

func TestImports_ProcessCreation(t *testing.T) {
	root, found := "../..", 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, root+"/")
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{"test", "testdata", ".git"}, entry.Name()):
			return filepath.SkipDir
		case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		call := processCreation.FindString(string(text))
		if call == "" {
			return nil
		}
		found++
		if top, _, _ := strings.Cut(name, "/"); top != "exec" && top != "privsep" {
			t.Errorf("%s has %s, want that in exec and privsep only", name, call)
		}
		return nil
	})
	if err != nil || found == 0 {
		t.Errorf("got %d files that create processes, %v, want some", found, err)
	}
}

// Indirect imports count too.
func TestImports_NetworkRoleReachesNoKeyAndNoCommand(t *testing.T) {
	p := findPackage(t, "listener")
	for _, forbidden := range []string{
		module + "/sign", module + "/exec", module + "/internal/config",
		module + "/internal/executor", "os/exec",
	} {
		if slices.Contains(p.Deps, forbidden) {
			t.Errorf("listener reaches %s", forbidden)
		}
	}
}

func TestImports_ExecutorReachesNoHTTP(t *testing.T) {
	for _, role := range []string{"internal/executor", "exec", "sign"} {
		if slices.Contains(findPackage(t, role).Deps, "net/http") {
			t.Errorf("%s reaches net/http", role)
		}
	}
}
