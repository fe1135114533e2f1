package system

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// The golden signatures check the signer of these tests, which shares no code with the program's.
func TestStockClient_SameSignature(t *testing.T) {
	t.Parallel()
	var vectors []struct{ Name, SecretKey, Method, Path, Nonce, Timestamp, Body, Signature string }
	data, err := os.ReadFile("../../sign/testdata/vectors.json")
	if err == nil {
		err = json.Unmarshal(data, &vectors)
	}
	if err != nil || len(vectors) == 0 {
		t.Fatalf("%d vectors: %v", len(vectors), err)
	}
	for _, v := range vectors {
		if got := mac(v.SecretKey, v.Method, v.Path, v.Nonce, v.Timestamp, v.Body); got != v.Signature {
			t.Errorf("%s: got %s, want %s", v.Name, got, v.Signature)
		}
	}
}

// The bodies are written as the stock client's json encoder writes them.
func TestStockClient_EveryForm(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	dir := sharedDir(t)
	for body, want := range map[string]string{
		`{"command":"echo \u4f60\u597d \/ \"x\"","wait":true}`:                             "你好 / x\n",
		`{"command":"echo 你好","wait":true}`:                                                "你好\n",
		`{"command":"echo \ud83d\ude00"}`:                                                  "😀\n",
		`{"command":"echo $MY_NAME","envs":["MY_NAME=Tom"]}`:                               "Tom\n",
		`{"command":"echo $MY_NAME","envs":["MY_NAME=a=b c"]}`:                             "a=b c\n",
		`{"command":"echo $MY_NAME","envs":{"MY_NAME":"Tom"}}`:                             "Tom\n",
		`{"command":"echo $MY_NAME","envs":["MY_NAME=Tom","MY_NAME=Ann"]}`:                 "Ann\n",
		`{"command":"pwd","workdir":"` + strings.ReplaceAll(dir, "/", `\/`) + `"}`:         dir + "\n",
		`{"command":"echo all","wait":true,"workdir":null,"envs":null,"callbackURL":null}`: "all\n",
		`{"command":"echo empty","workdir":"","envs":[],"callbackURL":""}`:                 "empty\n",
		" {\t\"command\" : \"echo spaced\" }\r\n":                                          "spaced\n",
		`{"command":"echo <&>'; echo \\\\ok","wait":true,"timeout":30}`:                    "",
		`{"command":"printf '%s\\n' '<&>'","wait":true,"timeout":30}`:                      "<&>\n",
	} {
		a := d.exchange(d.sign("POST", "/shell", body).raw())
		if a.status != 200 || a.Data == nil || a.Data.Stdout != want {
			t.Errorf("%s: got %d %s", body, a.status, a.body)
		}
	}
}

func TestStockClient_GenericCall(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	for _, body := range []string{"null", ""} {
		d.exchange(d.sign("GET", "/nothing", body).raw()).wantRefusal(t, 404, "POST /shell")
		if a := d.exchange(d.sign("GET", "/jobs", body).raw()); a.status != 200 || !strings.Contains(a.body, `"jobs":[]`) {
			t.Errorf("GET /jobs with %q: got %d %s", body, a.status, a.body)
		}
	}
	d.exchange(d.sign("POST", "/shell", "null").raw()).wantRefusal(t, 400, "not a JSON object")
}

func TestStockClient_DoesNotWait(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	a := d.shell(fields{"command": "read x < /proc/self/stat; sleep 60", "wait": false})
	if a.Data.Stdout != "" || a.Data.Stderr != "" || a.Data.JobID == "" || !strings.Contains(a.body, `"stdout":""`) || !strings.Contains(a.body, `"stderr":""`) {
		t.Errorf("got %s", a.body)
	}
	if log := d.log(); strings.Contains(log, "Command finished") {
		t.Errorf("the command has ended before:\n%s", log)
	}
	d.awaitLog("SIDECAR_JOB_ID=" + a.Data.JobID)
	d.endCommands()
}

// endCommands stops the daemon without waiting for running commands.
func (d *daemon) endCommands() {
	d.t.Helper()
	for _, pid := range d.commandGroups() {
		_ = killGroup(pid)
	}
}
