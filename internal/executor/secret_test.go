package executor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/privsep/message"
)

const canarySecret = "canary-0123456789"

func TestDecodeShell_SecretEnvs(t *testing.T) {
	for _, body := range []string{
		`{"command":"x","secretEnvs":{"A":"canary-0123456789","B":"eight888"},"envs":["C=1"]}`,
		`{"command":"x","secretEnvs":["A=canary-0123456789","B=eight888"],"envs":{"C":"1"}}`,
	} {
		r, err := decodeShell([]byte(body))
		if err != nil || fmt.Sprint(r.secretEnvs) != "[A=canary-0123456789 B=eight888]" || len(r.envs) != 1 {
			t.Errorf("%s: got %v, %v, %v", body, r.secretEnvs, r.envs, err)
		}
	}
	many := strings.Repeat(`"A=canary-01234",`, exec.MaxSecrets)
	for body, want := range map[string]string{
		`{"command":"x","secretEnvs":{"A":"short12"}}`:                                                             "has 7 bytes, not 8 to 4096",
		`{"command":"x","secretEnvs":{"A":"` + strings.Repeat("x", exec.MaxSecret+1) + `"}}`:                       "has 4097 bytes",
		`{"command":"x","secretEnvs":[` + many + `"B=canary-01234"]}`:                                              "17 variables, at most 16",
		`{"command":"x","secretEnvs":["A=canary-01234","A=canary-01235"]}`:                                         `"A" is there twice`,
		`{"command":"x","secretEnvs":{"A":"canary-01234"},"envs":["A=1"]}`:                                         `"A" is in envs too`,
		`{"command":"echo canary-01234","secretEnvs":{"A":"canary-01234"}}`:                                        `command has the value of "A" in it`,
		`{"command":"x","workdir":"/canary-01234","secretEnvs":{"A":"canary-01234"}}`:                              "workdir has the value",
		`{"command":"x","jobId":"canary-01234","secretEnvs":{"A":"canary-01234"}}`:                                 "jobId has the value",
		`{"command":"x","labels":{"a":"b canary-01234"},"secretEnvs":{"A":"canary-01234"}}`:                        "labels: a has the value",
		`{"command":"x","labels":{"canary_01234":"x canary_01234"},"secretEnvs":{"A":"canary_01234"}}`:             "labels has the value",
		`{"command":"x","callbackURL":"http://h/canary-01234","secretEnvs":{"A":"canary-01234"}}`:                  "callbackURL has the value",
		`{"command":"x","callbackURL":"http://h/?x=%63anary-01234","secretEnvs":{"A":"canary-01234"}}`:             "callbackURL has the value",
		`{"command":"x","callbackURL":"http://h/?x=%zz&y=%63anary-01234","secretEnvs":{"A":"canary-01234"}}`:       "callbackURL has the value",
		`{"command":"x","callbackURL":"http://h/?canary+01234","secretEnvs":{"A":"canary 01234"}}`:                 "callbackURL has the value",
		`{"command":"x","callbackURL":"http://h/#%63anary-01234","secretEnvs":{"A":"canary-01234"}}`:               "callbackURL has the value",
		`{"command":"x","callbackURL":"http://h/canary%2F01234","secretEnvs":{"A":"canary/01234"}}`:                "callbackURL has the value",
		`{"command":"x","callbackURL":"http://u:canary%2d01234@h/","secretEnvs":{"A":"canary-01234"}}`:             "callbackURL has the value",
		`{"script":"x\necho canary-01234","secretEnvs":{"A":"canary-01234"}}`:                                      "script has the value",
		`{"script":"x","args":["a","canary-01234"],"secretEnvs":{"A":"canary-01234"}}`:                             "args has the value",
		`{"script":"x","interpreter":["/canary-01234"],"secretEnvs":{"A":"canary-01234"}}`:                         "interpreter has the value",
		`{"command":"x","secretEnvs":"A=canary-01234"}`:                                                            "must be a list",
		`{"command":"x","secretEnvs":["canary-01234"]}`:                                                            "entry 1 is not of the form",
		`{"command":"x","secretEnvs":{"A":["canary-01234"]}}`:                                                      "must be a string",
		`{"action":"canary-01234","secretEnvs":{"A":"canary-01234"}}`:                                              "action has the value",
		`{"command":"x","secretEnvs":{"TRACEPARENT":"canary-01234"},"traceparent":"` + string(exampleTrace) + `"}`: "there both",
	} {
		_, err := decodeShell([]byte(body))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.200s: got %v, want %s", body, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%.200s: the value is in the error %v", body, err)
		}
	}
}

// secretBody is a request whose command writes its secret to both streams, in pieces too.
func secretBody(more string) string {
	return `{"command":"echo a $S b; echo $S >&2; printf %.7s \"$S\"; sleep 0.05; printf 0123456789; echo",` +
		`"secretEnvs":{"S":"` + canarySecret + `"}` + more + `}`
}

const maskedOutput = "a *** b\n***\n"

// Nothing that the daemon tells or keeps has the value: answers, jobs, output, callbacks, the
// journal and the state directory.
func TestSecretEnvs_AreNowhere(t *testing.T) {
	path := t.TempDir() + "/state"
	r, die := life(t, path)
	var told []string
	_, answer := r.call("POST", "/shell", secretBody(`,"jobId":"one"`))
	r.request(secretBody(`,"jobId":"owed","wait":false,"callbackURL":"http://h:1/"`))
	p := r.receivePost()
	for _, text := range []string{answer, string(p.body)} {
		told = append(told, text)
		if !strings.Contains(text, `"a *** b\n***\n"`) {
			t.Errorf("got %s, want it masked", text)
		}
	}
	if !strings.Contains(answer, `"masked":true`) ||
		!strings.Contains(answer, fmt.Sprintf(`"stdoutBytes":%d`, len(maskedOutput))) {
		t.Errorf("got %s, want masked, and the bytes after masking", answer)
	}
	if got := p.header("X-Sidecar-Masked"); got != "true" {
		t.Errorf("got X-Sidecar-Masked %q in the callback, want true", got)
	}
	r.outcome(p, message.Outcome{Status: 200})
	r.shell(secretBody(`,"jobId":"two","wait":false`))
	if got := r.waitForState("two", "ended"); got.Stdout != maskedOutput {
		t.Errorf("got %q, want %q", got.Stdout, maskedOutput)
	}
	for _, of := range []string{"/jobs", "/jobs/two", "/jobs/two/output", "/callbacks"} {
		_, body := r.call("GET", of, "null")
		told = append(told, body)
	}
	if n := strings.Count(told[2], `"masked":true`); n != 3 {
		t.Errorf("got the jobs %s, want three that are masked", told[2])
	}
	told = append(told, r.log.String())
	die()
	r, die = life(t, path)
	if _, body := r.call("GET", "/jobs/two", "null"); !strings.Contains(body, `"masked":true`) {
		t.Errorf("after a restart: got %s, want it masked", body)
	}
	die()
	_ = filepath.WalkDir(path, func(file string, _ os.DirEntry, _ error) error {
		if text, err := os.ReadFile(file); err == nil {
			told = append(told, string(text))
		}
		return nil
	})
	for _, text := range told {
		if strings.Contains(text, canarySecret) {
			t.Errorf("the secret is in %.3000q", text)
		}
	}
}

// The rest of the output is masked after a reload, and so is that of a job that was queued.
func TestSecretEnvs_AcrossReload(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Jobs.MaxRunning, o.Jobs.MaxQueued = 1, 1 })
	file := filepath.Join(t.TempDir(), "go on")
	r.shell(`{"command":"printf %.9s up-$S; until test -e '` + file + `'; do sleep 0.01; done; ` +
		`printf %s -0123456789; echo $S","secretEnvs":{"S":"` + canarySecret + `"},"jobId":"runs","wait":false}`)
	r.shell(`{"command":"echo $S","secretEnvs":{"S":"` + canarySecret + `"},"jobId":"waits","wait":false}`)
	waitFor(t, func() bool { return r.job("runs").Stdout == "up-" })
	r.reload(nil)
	r.reload(nil)
	create(t, file)
	if got := r.waitForState("runs", "ended"); got.Stdout != "up-******\n" {
		t.Errorf("got %q, want the secret masked", got.Stdout)
	}
	if got := r.waitForState("waits", "ended"); got.Stdout != "***\n" {
		t.Errorf("queued before the reload: got %q, want it masked", got.Stdout)
	}
	if _, body := r.call("GET", "/jobs/runs", "null"); !strings.Contains(body, `"masked":true`) {
		t.Errorf("got %s, want masked", body)
	}
}

// An action takes secrets in the variables that it declares, and checks them as others.
func TestSecretEnvs_OfAction(t *testing.T) {
	pattern, err := policy.ParsePattern("[a-z0-9-]+")
	if err != nil {
		t.Fatal(err)
	}
	a := policy.Action{
		Name: "a", Text: "echo $TOKEN",
		Variables: []policy.Variable{{Name: "TOKEN", Pattern: pattern}},
	}
	for body, want := range map[string]string{
		`{"TOKEN":"canary-0123456789"}`:                         "",
		`{"TOKEN":"canary 0123456789"}`:                         "does not match",
		`{"OTHER":"canary-0123456789"}`:                         "has no variable",
		`{"TOKEN":"canary-0123456789","PATH":"/canary-012345"}`: "has no variable",
	} {
		r, err := decodeShell([]byte(`{"action":"a","secretEnvs":` + body + `}`))
		if err != nil {
			t.Fatal(err)
		}
		s := &shell{policy: policy.New([]policy.Key{policy.Default()}, []policy.Action{a})}
		s.commands = Commands{Shell: "/bin/sh", Workdir: "/", Login: exec.Login{Home: "/"}}
		c, err := s.command(r, new(policy.Default()))
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "canary")) {
			t.Errorf("%s: got %v, want %q", body, err, want)
		}
		if err == nil && (len(c.Secrets) != 1 || !strings.Contains(fmt.Sprint(c.Env), "TOKEN=canary-0123456789")) {
			t.Errorf("%s: got %+v, want the variable, masked", body, c)
		}
	}
}

const exampleTrace traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestDecodeShell_Traceparent(t *testing.T) {
	good := string(exampleTrace)
	for text, ok := range map[string]bool{
		good:                                   true,
		strings.Replace(good, "-01", "-00", 1): true,
		strings.Replace(good, "-01", "-ff", 1): true,
		"":                                     false,
		strings.ToUpper(good):                  false,
		"01" + good[2:]:                        false,
		"ff" + good[2:]:                        false,
		good + "-00":                           false,
		good[:54]:                              false,
		good + "0":                             false,
		" " + good:                             false,
		strings.Replace(good, "b7ad6b7169203331", "0000000000000000", 1):                                 false,
		strings.Replace(good, "0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000", 1): false,
		strings.Replace(good, "-", "_", 1):                                                               false,
		strings.Replace(good, "0a", "é", 1):                                                              false,
	} {
		body, _ := json.Marshal(map[string]string{"command": "x", "traceparent": text})
		r, err := decodeShell(body)
		if ok != (err == nil) || ok && string(r.traceparent) != text {
			t.Errorf("%q: got %q, %v, want accepted %t", text, r.traceparent, err, ok)
		}
	}
	if _, err := decodeShell([]byte(`{"command":"x","traceparent":1}`)); err == nil {
		t.Error("a number was accepted")
	}
}

func TestTraceparent_Fields(t *testing.T) {
	f := origin{jobRef: jobRef{policy.DefaultKey, "x"}, originFacts: originFacts{Traceparent: exampleTrace}}.fields()
	if f["SIDECAR_TRACEPARENT"] != string(exampleTrace) ||
		f["SIDECAR_TRACE_ID"] != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("got %v, want the trace and its id", f)
	}
	if f := ofDefault("x").fields(); f["SIDECAR_TRACEPARENT"] != "" {
		t.Errorf("without one: got %v", f)
	}
}

func TestTraceparent_OfCommandJobAndJournal(t *testing.T) {
	r := newRig(t, nil)
	trace := `,"traceparent":"` + string(exampleTrace) + `"`
	if _, got := r.shell(`{"command":"echo $TRACEPARENT"` + trace + `}`); got.Data == nil ||
		got.Data.Stdout != string(exampleTrace)+"\n" {
		t.Errorf("got %+v, want TRACEPARENT of the command", got)
	}
	if head, got := r.shell(`{"command":"x","envs":["TRACEPARENT=1"]` + trace + `}`); head.Status != 400 ||
		!strings.Contains(got.Message, "there both") {
		t.Errorf("got %d %+v, want 400: the variable is there both ways", head.Status, got)
	}
	r.shell(`{"command":"sleep 60","wait":false,"jobId":"traced"` + trace + `}`)
	for range 2 {
		if list := r.jobs(); !strings.Contains(list, trace) {
			t.Errorf("got %s, want %s", list, trace)
		}
		r.reload(nil)
	}
	r.call("DELETE", "/jobs/traced", "null")
	r.waitForState("traced", "ended")
	for line := range strings.Lines(r.log.String()) {
		if strings.Contains(line, "SIDECAR_JOB_ID=traced") &&
			!strings.Contains(line, "SIDECAR_TRACEPARENT="+string(exampleTrace)) {
			t.Errorf("got the entry %s, want its trace", line)
		}
	}
}

// The entries about a job from before a restart have its trace.
func TestTraceparent_AfterRestart(t *testing.T) {
	path := t.TempDir() + "/state"
	r, die := life(t, path)
	r.shell(`{"command":"sleep 60","wait":false,"jobId":"traced","traceparent":"` + string(exampleTrace) + `"}`)
	r.waitForState("traced", "running")
	die()
	r, die = life(t, path)
	defer die()
	if _, body := r.call("GET", "/jobs/traced", "null"); !strings.Contains(body, string(exampleTrace)) {
		t.Errorf("got %s, want its traceparent", body)
	}
	if !strings.Contains(r.log.String(), "SIDECAR_TRACEPARENT="+string(exampleTrace)) {
		t.Errorf("got the log %s, want the trace", r.log)
	}
}

// An action that declares TRACEPARENT checks it against its pattern: nothing gets past that.
func TestTraceparent_OfAction(t *testing.T) {
	pattern, err := policy.ParsePattern("none")
	if err != nil {
		t.Fatal(err)
	}
	r, err := decodeShell([]byte(`{"action":"a","traceparent":"` + string(exampleTrace) + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	plain := r
	if err := applyAction(&policy.Action{Name: "a"}, plain, &exec.Command{}); err != nil {
		t.Errorf("an action without it: got %v, want it accepted", err)
	}
	err = applyAction(&policy.Action{Name: "a", Variables: []policy.Variable{
		{Name: "TRACEPARENT", Pattern: pattern, HasDefault: true, Default: "none"},
	}}, r, &exec.Command{})
	if err == nil || !strings.Contains(err.Error(), "send it in envs") {
		t.Errorf("an action that declares it: got %v, want a refusal", err)
	}
}
