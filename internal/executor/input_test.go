package executor

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/privsep/message"
)

func TestDecodeShell_Input(t *testing.T) {
	binary := []byte{0, 0xff, '\n'}
	encoded := base64.StdEncoding.EncodeToString(binary)
	for body, want := range map[string]shellRequest{
		`{"command":"cat","stdin":"a\u0000é"}`: {
			command: "cat", input: input{stdin: []byte("a\x00é")},
		},
		`{"command":"cat","stdinBase64":"` + encoded + `"}`: {
			command: "cat", input: input{stdin: binary},
		},
		`{"command":"cat","stdin":""}`:       {command: "cat"},
		`{"command":"cat","stdinBase64":""}`: {command: "cat"},
		`{"command":"cat","stdin":null,"stdinBase64":"YQ=="}`: {
			command: "cat", input: input{stdin: []byte("a")},
		},
		`{"script":"echo","command":null}`: {input: input{script: []byte("echo")}},
		`{"scriptBase64":"` + encoded + `","stdin":"x","args":[]}`: {
			input: input{script: binary, stdin: []byte("x"), args: []string{}},
		},
		`{"script":"x","interpreter":["/usr/bin/python3","-I"],"args":["","$(id)","é"]}`: {
			input: input{
				script: []byte("x"), interpreter: []string{"/usr/bin/python3", "-I"},
				args: []string{"", "$(id)", "é"},
			},
		},
		`{"action":"a","stdin":"x"}`: {action: "a", input: input{stdin: []byte("x")}},
	} {
		want.wait = true
		if got, err := decodeShell([]byte(body)); err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", body, got, err, want)
		}
	}
}

func TestDecodeShell_InvalidInput(t *testing.T) {
	list := func(n int) string { return `["/x"` + strings.Repeat(`,"x"`, n-1) + `]` }
	for body, want := range map[string]string{
		`{"command":"x","stdin":1}`:                           "stdin: must be a string",
		`{"command":"x","stdin":["a"]}`:                       "stdin: must be a string",
		`{"command":"x","stdinBase64":[1,2]}`:                 "stdinBase64: must be a string of base64",
		`{"command":"x","stdinBase64":"YQ"}`:                  "stdinBase64: must be a string of base64",
		`{"command":"x","stdinBase64":"Y!=="}`:                "stdinBase64: must be a string of base64",
		`{"command":"x","stdin":"","stdinBase64":""}`:         "stdin and stdinBase64 are there both",
		`{"script":"x","scriptBase64":"YQ=="}`:                "script and scriptBase64 are there both",
		`{"script":"x","command":"y"}`:                        "script and command or action are there both",
		`{"script":"x","command":""}`:                         "script and command or action are there both",
		`{"script":"x","action":"y"}`:                         "script and command or action are there both",
		`{"script":""}`:                                       "script: it is empty",
		`{"scriptBase64":""}`:                                 "script: it is empty",
		`{"stdin":"x"}`:                                       "command is missing or empty",
		`{"command":"x","interpreter":["/bin/sh"]}`:           "interpreter: it is for a script",
		`{"command":"x","args":[]}`:                           "args: it is for a script",
		`{"action":"x","args":["y"]}`:                         "args: it is for a script",
		`{"script":"x","interpreter":[]}`:                     "interpreter: must name a program",
		`{"script":"x","interpreter":"/bin/sh"}`:              "interpreter: must be a list of strings",
		`{"script":"x","args":["a",null]}`:                    "args: entry 2 must be a string",
		`{"script":"x","args":[1]}`:                           "args: must be a list of strings",
		`{"script":"x","args":{"0":"a"}}`:                     "args: must be a list of strings",
		`{"script":"x","args":` + list(1001) + `}`:            "args: has 1001 entries, at most 1000",
		`{"script":"x","interpreter":` + list(65) + `}`:       "interpreter: has 65 entries, at most 64",
		`{"script":"x","Script":"y"}`:                         `unknown key "Script"`,
		`{"script":"x","interpreter":["/bin/sh"],"args":"a"}`: "args: must be a list of strings",
	} {
		if _, err := decodeShell([]byte(body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", body, err, want)
		}
	}
	for _, body := range []string{
		`{"script":"x","args":` + list(1000) + `}`, `{"script":"x","interpreter":` + list(64) + `}`,
	} {
		if _, err := decodeShell([]byte(body)); err != nil {
			t.Errorf("%.60s: got %v, want none", body, err)
		}
	}
}

// The digest of a request without stdin and script is that of earlier releases: a job that one of
// them accepted is the same job.
func TestRequestDigest_Input(t *testing.T) {
	digest := func(body string) string {
		r, err := decodeShell([]byte(body))
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		sum := requestDigest(r)
		return hex.EncodeToString(sum[:])
	}
	const plain = `{"command":"hostname","workdir":"/","envs":["A=1"],"timeout":5}`
	if got := digest(plain); got != plainDigest {
		t.Errorf("got %s for %s, want %s", got, plain, plainDigest)
	}
	seen := map[string]string{}
	for _, body := range []string{
		`{"command":"x"}`, `{"command":"x","stdin":"a"}`, `{"command":"x","stdin":"b"}`,
		`{"script":"x"}`, `{"script":"y"}`, `{"script":"x","stdin":"a"}`,
		`{"script":"x","args":["a"]}`, `{"script":"x","args":["a",""]}`,
		`{"script":"x","interpreter":["/a"]}`, `{"script":"x","interpreter":["/a","a"]}`,
		`{"script":"x","interpreter":["/a"],"args":["a"]}`,
		`{"command":"x","envs":{"stdin":"a"}}`, `{"command":"x","envs":{"script":"a"}}`,
		`{"action":"x"}`, `{"action":"x","stdin":"a"}`,
	} {
		sum := digest(body)
		if first, twice := seen[sum]; twice {
			t.Errorf("%s and %s have the same digest", first, body)
		}
		seen[sum] = body
	}
	if digest(`{"command":"x","stdin":"a"}`) != digest(`{"command":"x","stdinBase64":"YQ=="}`) {
		t.Error("text and base64 of the same bytes have different digests")
	}
}

const plainDigest = "8a57dfc544f3a819bf6626ace1ced11e9f1268c1ec27067b0e8549eb64372c54"

func TestShell_Stdin(t *testing.T) {
	r := newRig(t, nil)
	large := strings.Repeat("0123456789abcde\n", 40000)
	for _, c := range []struct{ body, want string }{
		{`{"command":"cat"}`, ""},
		{`{"command":"cat","stdin":"a\nb"}`, "a\nb"},
		{`{"command":"wc -c","stdinBase64":"AP8K"}`, "3\n"},
		{`{"command":"cat","stdin":` + quoteJSON(large) + `}`, large},
		{`{"script":"read a; echo \"$0 $1 $a\"; cat","args":["x y"],"stdin":"l\nm"}`, "/dev/fd/3 x y l\nm"},
		{`{"scriptBase64":"ZWNobyDpCg=="}`, ""}, // echo \xe9
	} {
		head, got := r.shell(c.body)
		if c.want == "" && strings.Contains(c.body, "scriptBase64") {
			if got.Data == nil || got.Data.StdoutBase64 != "6Qo=" {
				t.Errorf("%s: got %d %+v", c.body, head.Status, got)
			}
			continue
		}
		if head.Status != 200 || got.Data.Stdout != c.want {
			t.Errorf("%.80s: got %d %.200v %s, want %.80q", c.body, head.Status, got.Data, got.Message,
				c.want)
		}
	}
}

func TestShell_InterpreterFaults(t *testing.T) {
	r := newRig(t, nil)
	for body, want := range map[string]string{
		`{"script":"x","interpreter":["/nowhere/python"]}`:                "cannot run the interpreter",
		`{"script":"x","interpreter":["python3"]}`:                        "is not an absolute path",
		`{"script":"x","args":["a\u0000"]}`:                               "argument 1 of the script contains a NUL byte",
		`{"script":"x","interpreter":["/bin/sh","\u0000"]}`:               "part 2 of the interpreter contains a NUL byte",
		`{"script":"x","args":["","` + strings.Repeat("a", 1<<17) + `"]}`: "argument 2 of the script has 131072 bytes",
	} {
		if head, got := r.shell(body); head.Status != 400 || !strings.Contains(got.Message, want) {
			t.Errorf("%.80s: got %d %s, want 400, %q", body, head.Status, got.Message, want)
		}
	}
}

func inputPolicy(o *Options) {
	only := policy.Key{Name: policy.DefaultKey, Actions: []string{"deaf", "listens"}}
	o.Policy = policy.New([]policy.Key{only}, []policy.Action{
		{Name: "deaf", Text: "cat"}, {Name: "listens", Text: "cat", Stdin: true},
	})
}

// What a key or an action does not allow, no key of the body allows.
func TestAction_Input(t *testing.T) {
	free := func(o *Options) {
		inputPolicy(o)
		o.Policy.Keys[policy.DefaultKey] = new(policy.Default())
	}
	restricted, any := newRig(t, inputPolicy), newRig(t, free)
	for _, c := range []struct {
		rig    *rig
		body   string
		status uint16
		want   string
	}{
		{restricted, `{"command":"listens","stdin":"a"}`, 200, "a"},
		{restricted, `{"action":"listens","stdinBase64":"YQ=="}`, 200, "a"},
		{restricted, `{"command":"deaf"}`, 200, ""},
		{restricted, `{"command":"deaf","stdin":""}`, 200, ""},
		{restricted, `{"command":"deaf","stdin":"a"}`, 400, "the action deaf takes none (STDIN)"},
		{restricted, `{"action":"deaf","stdinBase64":"YQ=="}`, 400, "takes none (STDIN)"},
		{restricted, `{"script":"id"}`, 403, "may run the actions deaf, listens"},
		{restricted, `{"scriptBase64":"aWQ=","stdin":"a"}`, 403, "may run the actions"},
		{restricted, `{"script":"id","interpreter":["/bin/sh"],"args":["deaf"]}`, 403, "may run"},
		{restricted, `{"script":"id","action":"listens"}`, 400, "are there both"},
		{restricted, `{"script":"id","command":"listens"}`, 400, "are there both"},
		{restricted, `{"action":"listens","interpreter":["/bin/sh"]}`, 400, "it is for a script"},
		{restricted, `{"action":"listens","args":["a"]}`, 400, "it is for a script"},
		{any, `{"action":"listens","stdin":"a"}`, 200, "a"},
		{any, `{"action":"deaf","stdin":"a"}`, 400, "takes none"},
		{any, `{"action":"deaf","script":"id"}`, 400, "are there both"},
		{any, `{"script":"cat","stdin":"a"}`, 200, "a"},
	} {
		head, got := c.rig.shell(c.body)
		text := got.Message
		if head.Status == 200 {
			text = got.Data.Stdout
		}
		if head.Status != c.status || head.Status == 200 && text != c.want ||
			!strings.Contains(text, c.want) {
			t.Errorf("%s: got %d %q, want %d %q", c.body, head.Status, text, c.status, c.want)
		}
	}
	if log := restricted.log.String(); strings.Contains(log, "uid=") {
		t.Errorf("a script ran:\n%s", log)
	}
}

// What is queued or runs holds 64 MiB at most, and all of it is given back.
func TestInput_HeldIsBounded(t *testing.T) {
	table := newTestTable(Jobs{MaxRunning: 2, MaxQueued: 100, KeepCount: 10, KeepTime: time.Hour})
	admit := func(id string, size int) (*job, error) {
		r := &shellRequest{command: "x", input: input{stdin: make([]byte, size)}}
		return table.admit(table.newJob(ofDefault(id), message.Call{}, r))
	}
	var jobs []*job
	for i := range 4 {
		j, err := admit(fmt.Sprint(i), maxHeldInput/4)
		if err != nil {
			t.Fatalf("job %d: %v", i, err)
		}
		jobs = append(jobs, j)
	}
	_, err := admit("more", 1)
	if r := asRefusal(err); err == nil || r.status != statusServiceUnavailable ||
		!strings.Contains(r.message, "64 MiB together") {
		t.Errorf("above the bound: got %v, want 503", err)
	}
	if j, err := admit("0", maxHeldInput); err != nil || j != jobs[0] {
		t.Errorf("a repeated request: got %v, %v; want its job", j, err)
	}
	if _, err := admit("none", 0); err != nil {
		t.Errorf("a command without input: got %v", err)
	}
	jobs[0].finish(nil)
	if _, err := admit("again", maxHeldInput/4); err != nil {
		t.Errorf("after the end of a job: got %v", err)
	}
	table.endAll()
	for _, j := range table.all(new(policy.Default())) {
		if view := j.view(); view.state < jobFinished {
			j.refuse(errKeyRemoved())
		}
	}
	if table.heldInput != 0 {
		t.Errorf("got %d bytes held after all jobs, want 0", table.heldInput)
	}
}

// A reload in the middle changes nothing for commands that read, and a queued one still gets all.
func TestHandOver_Input(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Jobs.MaxRunning, o.Jobs.MaxQueued = 1, 10 })
	gate := t.TempDir() + "/gate"
	script := "read first; until test -e " + gate + "; do sleep 0.01; done; echo $first; cat\n# end"
	body := func(id string) string {
		return fmt.Sprintf(`{"script":%s,"stdin":"one\ntwo\n","jobId":%q}`, quoteJSON(script), id)
	}
	running := r.request(body("running"))
	waitFor(t, func() bool { return strings.Count(r.jobs(), `"state":"running"`) == 1 })
	queued := r.request(body("queued"))
	waitFor(t, func() bool { return r.queued() == 1 })
	want := r.executor.jobs.heldInput
	if one := int64(len(script) + len("one\ntwo\n")); want != 2*one {
		t.Errorf("got %d bytes held, want %d", want, 2*one)
	}
	for range 2 {
		r.reload(nil)
		if got := r.executor.jobs.heldInput; got != want {
			t.Errorf("after a reload: got %d bytes held, want %d", got, want)
		}
	}
	if jobs := r.jobs(); strings.Count(jobs, `"command":"script (`) != 2 {
		t.Errorf("got the jobs %s, want two scripts", jobs)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	answers := r.answersUnordered(2)
	for _, id := range []uint64{running, queued} {
		if got := parse(t, answers[id]); got.Data == nil || got.Data.Stdout != "one\ntwo\n" {
			t.Errorf("request %d: got %.300s", id, answers[id])
		}
	}
	waitFor(t, func() bool { return r.executor.jobs.heldInput == 0 })
}

func TestLog_Input(t *testing.T) {
	r := &shellRequest{input: input{
		stdin: []byte("CANARY-STDIN"), script: []byte("first \x1b line\nCANARY-SCRIPT"),
		interpreter: []string{"/usr/bin/python3", "-I"}, args: []string{"arg"},
	}}
	table := newTestTable(Jobs{MaxRunning: 1})
	j := table.newJob(ofDefault("id"), message.Call{}, r)
	c := &exec.Command{Shell: "/bin/sh"}
	r.input.apply("", c)
	const sum = "2a02d993b3f01da1c3098834a7d24e12fb5a202c743d272320ec8087537f0d14"
	for shown, want := range map[bool]string{
		true: `Started for test: script, 26 bytes, "/usr/bin/python3 -I": "first \x1b line"` +
			` with the arguments "arg"`,
		false: `Started for test: script, 26 bytes, "/usr/bin/python3"`,
	} {
		l := requestLog{showCommands: shown}
		text, fields := l.describe("Started for ", j, c)
		if text != want {
			t.Errorf("got  %s\nwant %s", text, want)
		}
		last := l.auditFields(j)
		for name, f := range map[string]journal.Fields{"started": fields, "last": last} {
			if f[journal.StdinBytes] != "12" || f[journal.ScriptSHA256] != sum {
				t.Errorf("%s: got the fields %v, want 12 bytes and %s", name, f, sum)
			}
			if strings.Contains(fmt.Sprint(f), "CANARY") {
				t.Errorf("%s: got the fields %v", name, f)
			}
		}
		if shown && (fields[journal.Command] != "first \x1b line" ||
			last[journal.Command] != "script (26 bytes)") {
			t.Errorf("got the commands %q and %q", fields[journal.Command], last[journal.Command])
		}
	}
	r.script, r.args = bytes.Repeat([]byte("é"), 5000), nil
	r.input.apply("", c)
	_, fields := requestLog{showCommands: true}.describe("", j, c)
	if got := len(fields[journal.Command]); got != maxLoggedCommand {
		t.Errorf("got %d bytes of a long line, want %d", got, maxLoggedCommand)
	}
}
