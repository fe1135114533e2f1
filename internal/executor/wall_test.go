package executor

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/policy"
)

// FuzzAddress compares splitPath and resolve with a look at all jobs: a key finds a job only if it
// sees it, and no path leads to two.
func FuzzAddress(f *testing.F) {
	for _, path := range []string{
		"/jobs/a", "/jobs/ann:a", "/jobs/ben:a", "/callbacks/default:a/retry", "/jobs/b/output", "/jobs/:a", "/jobs/ann:", "/jobs/ann:a:b",
		"/jobs/ann/a", "/jobs//a", "/jobs/ann%3Aa", "/jobs/a/", "/callbacks/ann:b/retry/x", "/jobs", "/jobs/", "/jobs/ANN:a", "/jobs/all:c",
	} {
		f.Add(path, uint8(len(path)))
	}
	items := map[jobRef]string{}
	for _, ref := range []jobRef{{"ann", "a"}, {"ann", "b"}, {"ben", "a"}, {"ben", "c"}, {"default", "a"}, {"gone", "d"}, {"gone", "ann"}} {
		items[ref] = ref.recordID()
	}
	keys := []policy.Key{{Name: "ann"}, {Name: "ben"}, {Name: "all", AllJobs: true}, policy.Default()}
	f.Fuzz(func(t *testing.T, path string, which uint8) {
		key := keys[int(which)%len(keys)]
		pattern, address := splitPath(path)
		if address == "" {
			if pattern != path {
				t.Fatalf("%q: got %q without a job", path, pattern)
			}
			return
		}
		if strings.Replace(pattern, "ID", address, 1) != path && strings.Replace(path, address, "ID", 1) != pattern {
			t.Fatalf("%q: got %q and %q", path, pattern, address)
		}
		if !regexp.MustCompile(`^([A-Za-z0-9_-]{1,64}:)?[A-Za-z0-9_-]{1,64}$`).MatchString(address) {
			t.Fatalf("%q: got the address %q", path, address)
		}
		got, err := resolve(items, &key, address)
		var seen []string
		own := ""
		for ref, item := range items {
			if !key.AllJobs && ref.key != key.Name || address != ref.id && address != ref.key+":"+ref.id {
				continue
			}
			seen = append(seen, item)
			if ref.key == key.Name {
				own = item
			}
		}
		switch {
		case own != "" && (got != own || err != nil), own == "" && len(seen) == 1 && (got != seen[0] || err != nil):
			t.Fatalf("%s asks for %q: got %q and %v, want %q", key.Name, address, got, err, seen)
		case len(seen) == 0 && (got != "" || err != nil):
			t.Fatalf("%s asks for %q: got %q and %v, want none", key.Name, address, got, err)
		case own == "" && len(seen) > 1:
			if r, refused := errors.AsType[*refusal](err); !refused || r.status != statusConflict || got != "" {
				t.Fatalf("%s asks for %q: got %q and %v, want 409", key.Name, address, got, err)
			}
		}
		if ref := parseRecordID(got); got != "" && ref.recordID() != got {
			t.Fatalf("got %q for %q", ref.recordID(), got)
		}
	})
}

// FuzzDecode_RestrictedKey holds what a key with one action can make of a request: that action as
// root wrote it, with values that match, within its bounds.
func FuzzDecode_RestrictedKey(f *testing.F) {
	for _, body := range []string{
		`{"command":"go","envs":["V=v1"]}`, `{"action":"go","envs":{"V":"v1"},"timeout":5,"limits":{"openFiles":9,"cpuTime":3}}`,
		`{"command":"go; id","envs":["V=v1"]}`, `{"command":"go","envs":["V=v1","V=v2"]}`, `{"command":"go","envs":["V=v1\n"],"workdir":"/"}`,
		`{"command":"go","action":"","envs":{"V":"v1","PATH":"/tmp"},"timeout":1e3}`, `{"command":"other"}`, `{"action":"go","envs":{"V":"v\u0000"}}`,
		`{"action":"go","envs":["V=v1","D=x"]}`, `{"action":"go","envs":["V=v1"],"limits":{"openFiles":11}}`,
	} {
		f.Add([]byte(body))
	}
	pattern := func(text string) policy.Pattern {
		p, err := policy.ParsePattern(text)
		if err != nil {
			f.Fatal(err)
		}
		return p
	}
	key := policy.Key{Name: "k", Actions: []string{"go"}, Limits: exec.Limits{Memory: 1 << 30}}
	s := &shell{
		commands: Commands{Shell: "/bin/sh", Workdir: "/", Login: exec.Login{Name: "n", Home: "/", Shell: "/bin/sh"}, Limits: exec.Limits{OpenFiles: 20}},
		policy: policy.New([]policy.Key{key}, []policy.Action{
			{
				Name: "go", Text: "run", Workdir: "/opt", Timeout: 9 * time.Second, Limits: exec.Limits{OpenFiles: 10, CPUTime: 4 * time.Second},
				Variables: []policy.Variable{{Name: "V", Pattern: pattern("v[0-9]+")}, {Name: "D", Pattern: pattern("[a-z]"), Default: "D E", HasDefault: true}},
			},
			{Name: "other", Text: "no"},
		}),
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, c, err := s.decode(body, &key)
		if err != nil {
			if status := asRefusal(err).status; status != statusBadRequest && status != statusForbidden {
				t.Fatalf("%q: got status %d", body, status)
			}
			return
		}
		if r.action != "go" || r.command != "" || c.Text != "run" || c.Argv != nil || c.Shell != "/bin/sh" || c.Dir != "/opt" ||
			c.Timeout <= 0 || c.Timeout > 9*time.Second || c.Limits.OpenFiles > 10 || c.Limits.OpenFiles < 1 ||
			c.Limits.CPUTime > 4*time.Second || c.Limits.CPUTime < 1 || c.Limits.Memory > 1<<30 || c.Limits.Memory < 1 {
			t.Fatalf("%q: got the command %+v", body, c)
		}
		bare, err := exec.Environment(s.commands.Login, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range c.Env {
			if !slices.Contains(bare, v) && !regexp.MustCompile(`\A(V=v[0-9]+|D=[a-z]|D=D E)\z`).MatchString(v) {
				t.Fatalf("%q: got the variable %q", body, v)
			}
		}
		if len(c.Env) != len(bare)+2 {
			t.Fatalf("%q: got the environment %q", body, c.Env)
		}
	})
}

// BenchmarkResolve is the look-up of a job of another key by its id alone, among as many jobs as can
// be kept, and of an id that is not there.
func BenchmarkResolve(b *testing.B) {
	for _, count := range []int{1000, 100_000} {
		items := map[jobRef]*job{}
		for i := range count {
			items[jobRef{fmt.Sprintf("key%d", i%10), newJobID()}] = nil
		}
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			for b.Loop() {
				_, _ = resolve(items, new(policy.Default()), "absent")
			}
		})
	}
}
