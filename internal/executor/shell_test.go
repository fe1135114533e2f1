package executor

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/test/testkit"
)

func TestShell_Answer(t *testing.T) {
	head, got := newRig(t, nil).shell(`{"command":"echo out; echo err >&2; exit 3"}`)
	if head.Status != 200 || !got.OK || got.Data.Stdout != "out\n" || got.Data.Stderr != "err\n" ||
		*got.Data.ExitCode != 3 || got.Data.Signal != nil {
		t.Errorf("got %d %+v, want 200 with both outputs and exit code 3", head.Status, got)
	}
}

func TestVerify_NothingIsDecodedBefore(t *testing.T) {
	r := newRig(t, nil)
	call := signed("POST", "/shell", "nonce-00001", `{"command":"touch /tmp/never"}`)
	call.Body = []byte(`{"not JSON`)
	r.last++
	r.send(message.Frame{Kind: message.Request, ID: r.last, Payload: call.Encode()})
	_, head, body := r.answer()
	if got := parse(t, body); head.Status != 401 ||
		!strings.Contains(got.Message, "signature does not match") || got.Data != nil {
		t.Errorf("got %d %s, want 401 without data", head.Status, body)
	}
}

func TestRoute_UnknownPathsNeedASignature(t *testing.T) {
	r := newRig(t, nil)
	for i, c := range []struct {
		method, path string
		status       uint16
	}{
		{"GET", "/job", 404},
		{"GET", "/jobs/", 404},
		{"GET", "/jobs/../shell", 404},
		{"GET", "/jobs/no-such", 404},
		{"DELETE", "/jobs/no-such", 404},
		{"GET", "/jobs/a/b", 404},
		{"GET", "/jobs/a/", 404},
		{"POST", "/jobs", 405},
		{"GET", "/jobs/a%2F", 404},
		{"POST", "//shell", 404},
		{"POST", "/shell%0A", 404},
		{"POST", "/../shell", 404},
		{"GET", "/shell", 405},
	} {
		call := signed(c.method, c.path, fmt.Sprintf("nonce-%05d", i), "null")
		forged := call
		forged.Signature = strings.Repeat("0", 40)
		for _, try := range []struct {
			call   message.Call
			status uint16
		}{{forged, 401}, {call, c.status}} {
			r.last++
			r.send(message.Frame{Kind: message.Request, ID: r.last, Payload: try.call.Encode()})
			if _, head, body := r.answer(); head.Status != try.status {
				t.Errorf("%s %s: got %d %s, want %d", c.method, c.path, head.Status, body,
					try.status)
			}
		}
	}
}

func TestShell_ConcurrentOutputsDoNotMix(t *testing.T) {
	r := newRig(t, nil)
	want := map[uint64]string{}
	for i := range 40 {
		text := strings.Repeat(fmt.Sprintf("%04d", i), 50)
		want[r.request(`{"command":"printf `+text+`; sleep 0.1; printf `+text+`"}`)] = text + text
	}
	for range want {
		id, _, body := r.answer()
		if got := parse(t, body); got.Data == nil || got.Data.Stdout != want[id] {
			t.Errorf("request %d got %.300s, want its own output", id, body)
		}
	}
}

func TestAnswer_OutputThatIsNotUTF8(t *testing.T) {
	_, got := newRig(t, nil).shell(`{"command":"printf 'a\\377b\\342\\202'"}`)
	raw, err := base64.StdEncoding.DecodeString(got.Data.StdoutBase64)
	if err != nil || !bytes.Equal(raw, []byte("a\xffb\xe2\x82")) {
		t.Errorf("got %q, %v, want %q", raw, err, "a\xffb\xe2\x82")
	}
	if !strings.HasPrefix(got.Data.Stdout, "a\ufffdb\ufffd") {
		t.Errorf("the text is %q", got.Data.Stdout)
	}
}

func TestAnswer_TruncatedOutput(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Commands.MaxOutput = 1000 })
	_, got := r.shell(`{"command":"i=0; while [ $i -lt 1000 ]; do printf 你; i=$((i+1)); done"}`)
	if !got.Data.StdoutTruncated || got.Data.StdoutBytes != 3000 ||
		got.Data.Stdout != strings.Repeat("你", 333) || got.Data.StdoutBase64 != "" {
		t.Errorf("got %d characters, base64 %q, %+v, "+
			"want 333 characters of 3000 bytes, truncated, without base64",
			len(got.Data.Stdout), got.Data.StdoutBase64, got.Data.StdoutBytes)
	}
	if !strings.Contains(got.Message, "stdout was cut: the first 1000 of 3000 bytes") {
		t.Errorf("the message is %q", got.Message)
	}
}

func TestAnswer_LargerThanTheWindow(t *testing.T) {
	_, got := newRig(t, nil).shell(`{"command":"seq 1 300000"}`)
	if lines := strings.Split(got.Data.Stdout, "\n"); len(lines) != 300001 ||
		lines[299999] != "300000" || got.Data.StdoutTruncated {
		t.Errorf("got %d lines, want 300001, the last of them 300000", len(lines))
	}
}

func TestShell_AboveMaxRunning(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Jobs.MaxRunning = 1 })
	first := r.request(`{"command":"sleep 0.5; echo first"}`)
	waitFor(t, func() bool { return r.running() == 1 })
	r.request(`{"command":"echo second"}`)
	id, head, body := r.answer()
	if id == first || head.Status != 503 || head.RetryAfter == 0 ||
		!strings.Contains(string(body), "MAX_RUNNING") {
		t.Errorf("got %d %d %s, want 503 with Retry-After that names MAX_RUNNING", id, head.Status,
			body)
	}
	if id, _, body := r.answer(); id != first || parse(t, body).Data.Stdout != "first\n" {
		t.Errorf("got %d %s, want the output of the first", id, body)
	}
	if head, _ := r.shell(`{"command":"echo third"}`); head.Status != 200 {
		t.Errorf("the place was not given back: %d", head.Status)
	}
}

func TestShell_CallerHangsUp(t *testing.T) {
	r := newRig(t, nil)
	file := t.TempDir() + "/done"
	id := r.request(`{"command":"sleep 0.3; echo yes > ` + file + `"}`)
	r.send(message.Frame{Kind: message.Hangup, ID: id})
	waitFor(t, func() bool { return r.finished() == 1 })
	if head, got := r.shell(`{"command":"cat ` + file + `"}`); head.Status != 200 ||
		got.Data.Stdout != "yes\n" {
		t.Errorf("got %+v, want 200 with the file", got)
	}
}

func TestShell_RoleEnds(t *testing.T) {
	r := newRig(t, nil)
	file := t.TempDir() + "/done"
	r.request(`{"command":"sleep 0.3; echo yes > ` + file + `"}`)
	waitFor(t, func() bool { return r.running() == 1 })
	_ = r.network.Close()
	<-r.session.Ended()
	r.connect()
	waitFor(t, func() bool { return r.finished() == 1 })
	if _, got := r.shell(`{"command":"cat ` + file + `"}`); got.Data.Stdout != "yes\n" {
		t.Errorf("got %+v, want the file", got)
	}
}

func TestEndAll_RunningJob(t *testing.T) {
	r := newRig(t, nil)
	r.request(`{"command":"sleep 60"}`)
	waitFor(t, func() bool { return r.running() == 1 })
	r.executor.EndAll()
	_, _, body := r.answer()
	if got := parse(t, body); got.Data.Signal == nil || *got.Data.Signal != "SIGTERM" {
		t.Errorf("got %s, want SIGTERM", body)
	}
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Patience)
	defer cancel()
	if err := r.executor.Wait(ctx); err != nil {
		t.Error(err)
	}
	waitFor(t, func() bool { return strings.Contains(r.log.String(), "ended by the daemon: stopped") })
}

func TestLog_ShowsNoBodiesAndNoValues(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Commands.LogText = false })
	r.shell(`{"command":"echo CANARY-COMMAND","envs":{"A":"CANARY-VALUE"}}`)
	r.shell(`{"command":"true","envs":["CANARYNAME"],"workdir":"CANARY-DIR"}`)
	log := r.log.String()
	if strings.Contains(log, "CANARY") || strings.Contains(log, testKey) {
		t.Errorf("the journal tells a secret:\n%s", log)
	}
}

func TestAnswer_Types(t *testing.T) {
	r := newRig(t, nil)
	r.request(`{"command":"kill -9 $$"}`)
	_, _, body := r.answer()
	var got struct{ Data map[string]any }
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	if got.Data["exitCode"] != nil || got.Data["signal"] != "SIGKILL" ||
		got.Data["timedOut"] != false {
		t.Errorf("got %s, want exitCode null, SIGKILL and timedOut false", body)
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	testkit.Eventually(t, "what the test waits for", done)
}

func TestShell_Environment(t *testing.T) {
	r := newRig(t, func(o *Options) {
		for _, name := range []string{"PROXY", "LANG", "OTHER"} {
			o.Commands.Environment = append(o.Commands.Environment, exec.Variable{Name: name, Value: "all"})
		}
	})
	const command = `{"command":"echo $PROXY $LANG $OTHER $HOME"`
	if _, got := r.shell(command + `}`); got.Data.Stdout != "all all all /\n" {
		t.Errorf("without envs: got %+v, want all all all /", got)
	}
	if _, got := r.shell(command +
		`,"envs":["LANG=one","OTHER="]}`); got.Data.Stdout != "all one /\n" {
		t.Errorf("with envs: got %+v, want all one /", got)
	}
	if _, got := r.shell(command + `}`); got.Data.Stdout != "all all all /\n" {
		t.Errorf("envs of one request reached the next: %+v", got)
	}
	if strings.Contains(r.log.String(), "PROXY=") || strings.Contains(r.log.String(), "all all") {
		t.Errorf("the journal shows variables:\n%s", r.log.String())
	}
}
