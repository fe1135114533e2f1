package system

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

const (
	deployKey = "canary-deploy-key-0123456789"
	viewKey   = "canary-view-key-0123456789"
)

// policyLines is a configuration of three keys: default, deploy with two actions, view with none.
func policyLines(actions ...string) []string {
	return append([]string{
		`MAX_QUEUED = 5`,
		`[KEY.deploy]`, `SECRET = "` + deployKey + `"`, `ACTIONS = ["deploy", "status"]`,
		`[KEY.view]`, `SECRET = "` + viewKey + `"`, `ACTIONS = []`, `JOBS = "all"`,
		`[ACTION.deploy]`, `RUN = 'printf %s "$VERSION"'`, `ENVS = { VERSION = 'v[0-9]+(\.[0-9]+){0,2}' }`,
		`[ACTION.status]`, `RUN = ["/bin/echo", "$HOME; id", "-n"]`,
		`[ACTION.admin]`, `RUN = "id"`,
	}, actions...)
}

// as is the daemon for the holder of another key.
func (d *daemon) as(key string) *daemon {
	other := *d
	other.key = key
	return &other
}

func TestKeys_Refusals(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, append(policyLines(),
		`[KEY.old]`, `SECRET = "canary-old-key-0123456789"`, `EXPIRES = 2020-01-01`,
		`[KEY.far]`, `SECRET = "canary-far-key-0123456789"`, `FROM = ["192.0.2.0/24", "unix"]`)...)
	witness := filepath.Join(sharedDir(t), "witness")
	touch := "touch " + witness
	for name, c := range map[string]struct {
		key    string
		body   fields
		status int
		hint   string
	}{
		"command":            {deployKey, fields{"command": touch}, 403, `may run the actions deploy, status`},
		"other action":       {deployKey, fields{"action": "admin"}, 403, `may run the actions deploy, status`},
		"no such action":     {deployKey, fields{"action": "nothing"}, 403, `may run the actions deploy, status`},
		"action as command":  {deployKey, fields{"command": "admin"}, 403, `may run the actions deploy, status`},
		"words added":        {deployKey, fields{"command": "status; " + touch}, 403, `may run the actions`},
		"blank added":        {deployKey, fields{"command": "status "}, 403, `may run the actions`},
		"both":               {deployKey, fields{"command": "status", "action": "deploy"}, 400, "send one of them"},
		"workdir":            {deployKey, fields{"command": "status", "workdir": "/"}, 400, "workdir"},
		"missing variable":   {deployKey, fields{"command": "deploy"}, 400, "needs the variable VERSION"},
		"undeclared":         {deployKey, fields{"command": "status", "envs": []string{"A=1"}}, 400, "it takes none"},
		"viewer":             {viewKey, fields{"command": touch}, 403, `the key view may run nothing`},
		"free, unknown":      {testKey, fields{"action": "nothing"}, 400, "the actions are admin, deploy, status"},
		"expired":            {"canary-old-key-0123456789", fields{"command": touch}, 403, "expired at 2020-01-02T00:00:00Z"},
		"from elsewhere":     {"canary-far-key-0123456789", fields{"command": touch}, 403, "192.0.2.0/24, Unix sockets only"},
		"labels, too many":   {testKey, fields{"command": touch, "labels": map[string]string{"a": "1", "b": "1", "c": "1", "d": "1", "e": "1", "f": "1", "g": "1", "h": "1", "i": "1"}}, 400, "9 names"},
		"labels, name":       {testKey, fields{"command": touch, "labels": map[string]string{"User": "x"}}, 400, "a-z"},
		"labels, line break": {testKey, fields{"command": touch, "labels": map[string]string{"user": "a\nb"}}, 400, "line break"},
		"labels, long":       {testKey, fields{"command": touch, "labels": map[string]string{"user": strings.Repeat("é", 129)}}, 400, "129 characters"},
	} {
		t.Run(name, func(t *testing.T) { d.as(c.key).try200(c.body).wantRefusal(t, c.status, c.hint) })
	}
	if _, err := os.Stat(witness); err == nil {
		t.Error("a refused command has run")
	}
	for _, text := range []string{"(key deploy) with HTTP 403: \\\"the key deploy may run", "SIDECAR_KEY=deploy", "SIDECAR_KEY=old", "SIDECAR_KEY=far"} {
		if !strings.Contains(d.log(), text) {
			t.Errorf("got no %s in the log", text)
		}
	}
	for _, key := range []string{deployKey, viewKey, "canary-old-key-0123456789", "canary-far-key-0123456789"} {
		if strings.Contains(d.log(), key) {
			t.Errorf("the key %s is in the log", key)
		}
	}
}

// The stock connector sends no other keys than command and envs.
func TestActions_StockClient(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, policyLines()...).as(deployKey)
	if a := d.shell(fields{"command": "deploy", "envs": []string{"VERSION=v1.2"}}); a.Data.Stdout != "v1.2" {
		t.Errorf("deploy: got %s", a.body)
	}
	if a := d.shell(fields{"command": "status"}); a.Data.Stdout != "$HOME; id -n\n" {
		t.Errorf("status, whose arguments no shell reads: got %s", a.body)
	}
	free := d.as(testKey)
	if a := free.shell(fields{"action": "deploy", "envs": fields{"VERSION": "v3"}}); a.Data.Stdout != "v3" {
		t.Errorf("deploy with the default key: got %s", a.body)
	}
	if a := free.run("admin"); *a.Data.ExitCode != 127 {
		t.Errorf("a command of an action's name, with the default key: got %s, want it to be looked up", a.body)
	}
}

// Nothing that a request holds changes what is run: each value is refused, or is printed as it is.
func TestActions_Injections(t *testing.T) {
	t.Parallel()
	witness := filepath.Join(sharedDir(t), "witness")
	d := startDaemon(t, policyLines(
		`[ACTION.any]`, `RUN = 'printf "%s" "$VALUE"'`, `ENVS = { VALUE = '(?s).*' }`,
		`[KEY.any]`, `SECRET = "canary-any-key-0123456789"`, `ACTIONS = ["any", "deploy"]`)...)
	d = d.as("canary-any-key-0123456789")
	for _, value := range []string{
		"", " ", "-n", "--help", "-", "v1;touch W", "v1 && touch W", "v1|touch W", "$(touch W)", "`touch W`", "${IFS}touch${IFS}W",
		"'; touch W; '", `"; touch W; "`, "\"$(touch W)\"", "\\\"; touch W", "v1\ntouch W", "v1\r\ntouch W", "a\x1b[2Jb", "é漢字🙂", "\u202e",
		"%s%n", "*", "~", "$VERSION", "$$", "(){ :; }; touch W", "() { :;}; touch W", strings.Repeat("A", 4096), "\ufffd", "=", "a=b",
	} {
		value = strings.ReplaceAll(value, "W", witness)
		a := d.try200(fields{"command": "any", "envs": fields{"VALUE": value}})
		switch {
		case a.status == 200 && a.Data.Stdout != value:
			t.Errorf("%q: got %q on stdout", value, a.Data.Stdout)
		case a.status != 200 && len(value) <= 4096:
			t.Errorf("%q: got %d %s", value, a.status, a.body)
		}
		a = d.try200(fields{"command": "deploy", "envs": []string{"VERSION=" + value}})
		a.wantRefusal(t, 400, "does not match v[0-9]+")
	}
	for name, c := range map[string]struct {
		envs any
		hint string
	}{
		"NUL":         {fields{"VALUE": "a\x00b"}, "NUL"},
		"too long":    {fields{"VALUE": strings.Repeat("A", 4097)}, "4097 bytes"},
		"twice":       {[]string{"VALUE=a", "VALUE=b"}, "twice"},
		"other case":  {fields{"value": "a"}, "it takes VALUE"},
		"no name":     {[]string{"=a"}, "NAME=value"},
		"long name":   {fields{strings.Repeat("N", 10000): "a"}, "it takes VALUE"},
		"LD_PRELOAD":  {fields{"VALUE": "a", "LD_PRELOAD": "/tmp/x.so"}, `"LD_PRELOAD": it takes VALUE`},
		"BASH_ENV":    {fields{"VALUE": "a", "BASH_ENV": witness}, `"BASH_ENV": it takes VALUE`},
		"ENV":         {fields{"VALUE": "a", "ENV": witness}, `"ENV": it takes VALUE`},
		"IFS":         {fields{"VALUE": "a", "IFS": "/"}, `"IFS": it takes VALUE`},
		"PATH":        {fields{"VALUE": "a", "PATH": "/tmp"}, `"PATH": it takes VALUE`},
		"function":    {fields{"VALUE": "a", "BASH_FUNC_printf%%": "() { touch " + witness + "; }"}, "it takes VALUE"},
		"list":        {fields{"VALUE": []string{"a"}}, "must be a string"},
		"number":      {fields{"VALUE": 1}, "must be a string"},
		"key of JSON": {fields{"VALUE": "a", "$(touch " + witness + ")": "b"}, "it takes VALUE"},
	} {
		t.Run(name, func(t *testing.T) {
			d.try200(fields{"command": "any", "envs": c.envs}).wantRefusal(t, 400, c.hint)
		})
	}
	if _, err := os.Stat(witness); err == nil {
		t.Error("a value was run")
	}
}

func TestActions_List(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, policyLines(
		`[ACTION.slow]`, `RUN = "sleep 60"`, `TIMEOUT = "1m30s"`, `ONE_AT_A_TIME = "replace"`, `DESCRIPTION = "Slow"`,
		`ENVS = { A = "a", B = "b" }`, `DEFAULTS = { A = "x" }`)...)
	for key, want := range map[string]string{
		deployKey: `{"key":"deploy","anyCommand":false,"expiresAt":null,"actions":[` +
			`{"name":"deploy","description":"","envs":{"VERSION":{"pattern":"v[0-9]+(\\.[0-9]+){0,2}","required":true}},"stdin":false,"timeout":null,"oneAtATime":null},` +
			`{"name":"status","description":"","envs":{},"stdin":false,"timeout":null,"oneAtATime":null}]}`,
		viewKey: `{"key":"view","anyCommand":false,"expiresAt":null,"actions":[]}`,
	} {
		a := d.as(key).send(d.as(key).sign("GET", "/actions", "null"))
		if want = `{"ok":true,"message":"","data":` + want + `}`; a.body != want {
			t.Errorf("got %s\nwant %s", a.body, want)
		}
	}
	a := d.send(d.sign("GET", "/actions", ""))
	slow := `{"name":"slow","description":"Slow","envs":{"A":{"pattern":"a","required":false},"B":{"pattern":"b","required":true}},"stdin":false,"timeout":90,"oneAtATime":"replace"}`
	if !strings.Contains(a.body, `"key":"default","anyCommand":true`) || !strings.Contains(a.body, slow) || strings.Contains(a.body, "sleep") {
		t.Errorf("got %s\nwant the default key, and %s", a.body, slow)
	}
}

func TestActions_OneAtATime(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, policyLines(
		`[ACTION.refuse]`, `RUN = "sleep 600"`, `ONE_AT_A_TIME = "refuse"`,
		`[ACTION.wait]`, `RUN = 'sleep "$S"'`, `ENVS = { S = "[0-9]+" }`, `ONE_AT_A_TIME = "wait"`,
		`[ACTION.replace]`, `RUN = 'sleep "$S"'`, `ENVS = { S = "[0-9]+" }`, `ONE_AT_A_TIME = "replace"`)...)
	start := func(action, id, seconds string) answer {
		f := fields{"action": action, "jobId": id, "wait": false}
		if seconds != "" {
			f["envs"] = fields{"S": seconds}
		}
		return d.try200(f)
	}
	want := func(state string, ids ...string) {
		t.Helper()
		for _, id := range ids {
			d.eventually(id+" "+state, func() bool { return d.job(id).State == state })
		}
	}
	start("refuse", "r1", "")
	start("refuse", "r2", "").wantRefusal(t, 409, "runs once at a time")
	if a := start("refuse", "r1", ""); a.status != 200 { // the same job, again
		t.Errorf("repetition: got %d %s", a.status, a.body)
	}
	start("wait", "w1", "600")
	start("wait", "w2", "0")
	start("wait", "w3", "600")
	want("running", "w1")
	want("queued", "w2", "w3")
	start("replace", "p1", "600")
	want("running", "p1")
	start("replace", "p2", "600")
	start("replace", "p3", "0")
	want("ended", "p1", "p2", "p3")
	if p1, p2, p3 := d.job("p1"), d.job("p2"), d.job("p3"); p1.Ended != "cancelled" || p2.Ended != "cancelled" && p2.Failure == "" || p3.ExitCode == nil || *p3.ExitCode != 0 {
		t.Errorf("replace: got %+v\n%+v\n%+v", p1, p2, p3)
	}
	want("queued", "w2", "w3")
	d.send(d.sign("DELETE", "/jobs/w1", ""))
	want("ended", "w1", "w2")
	want("running", "w3")
	for _, id := range []string{"r1", "w3"} {
		d.send(d.sign("DELETE", "/jobs/"+id, ""))
		want("ended", id)
	}
	if a := start("refuse", "r4", ""); a.status != 200 {
		t.Errorf("after its end: got %d %s", a.status, a.body)
	}
	d.send(d.sign("DELETE", "/jobs/r4", ""))
}

func TestKeys_MaxRunning(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `MAX_QUEUED = 1`, `[KEY.few]`, `SECRET = "`+deployKey+`"`, `MAX_RUNNING = 1`)
	few := d.as(deployKey)
	few.shell(fields{"command": "sleep 600", "jobId": "one", "wait": false})
	few.shell(fields{"command": "echo two", "jobId": "two", "wait": false})
	few.try200(fields{"command": "true"}).wantRefusal(t, 503, "of this key")
	if a := d.run("echo free"); a.Data.Stdout != "free\n" { // passes the one that waits
		t.Errorf("got %s", a.body)
	}
	few.send(few.sign("DELETE", "/jobs/one", ""))
	d.eventually("two ended", func() bool { return few.job("two").State == "ended" })
}

// The lowest of the bounds holds.
func TestKeys_Limits(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, `LIMIT_OPEN_FILES = 100`,
		`[KEY.few]`, `SECRET = "`+deployKey+`"`, `LIMITS = { OPEN_FILES = 50 }`,
		`[ACTION.files]`, `RUN = "ulimit -n"`, `LIMITS = { OPEN_FILES = 40, CPU_TIME = "1m" }`, `TIMEOUT = "5s"`)
	for _, c := range []struct {
		key, want string
		body      fields
	}{
		{testKey, "100\n", fields{"command": "ulimit -n"}},
		{deployKey, "50\n", fields{"command": "ulimit -n"}},
		{deployKey, "40\n", fields{"action": "files"}},
		{deployKey, "30\n", fields{"action": "files", "limits": fields{"openFiles": 30}}},
	} {
		if a := d.as(c.key).shell(c.body); a.Data.Stdout != c.want {
			t.Errorf("%v: got %q, want %q", c.body, a.Data.Stdout, c.want)
		}
	}
	d.as(deployKey).try200(fields{"action": "files", "limits": fields{"openFiles": 45}}).wantRefusal(t, 400, "LIMITS of the key or the action")
	d.try200(fields{"action": "files", "timeout": 6}).wantRefusal(t, 400, "at most 5 seconds")
}

// Journal that takes nothing: standard error is /dev/full.
func TestAudit_Required(t *testing.T) {
	t.Parallel()
	for audit, want := range map[string]int{"required": 503, "best-effort": 200} {
		d := newDaemon(t, fmt.Sprintf("%q", testKey), fmt.Sprintf("AUDIT = %q", audit))
		d.logPath = "/dev/full"
		d.launch()
		witness := filepath.Join(sharedDir(t), "witness")
		var a answer
		testkit.Eventually(t, "an answer", func() (answered bool) {
			var err error
			a, err = d.try(d.sign("POST", "/shell", jsonOf(fields{"command": "touch " + witness})))
			return err == nil
		})
		if a.status != want || want == 503 && !strings.Contains(a.Message, "AUDIT") {
			t.Errorf("%s: got %d %s, want %d", audit, a.status, a.body, want)
		}
		d.logPath = filepath.Join(t.TempDir(), "none")
		if _, err := os.Stat(witness); (err == nil) != (want == 200) {
			t.Errorf("%s: got %v, want the command run only without an audit", audit, err)
		}
	}
}

func TestAudit_LastEntrySaysAll(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, append([]string{`AUDIT = "required"`}, policyLines()...)...)
	labels := map[string]string{"user": "alice \x7e\"'; x", "task": "任务"}
	d.as(deployKey).shell(fields{"command": "deploy", "envs": []string{"VERSION=v1"}, "jobId": "it", "labels": labels})
	d.awaitLog("Command finished")
	for _, text := range []string{
		`Job it: Command accepted for 127.0.0.1`, `with the key deploy, task \"任务\", user \"alice ~\\\"'; x\": action deploy`,
		`SIDECAR_KEY=deploy SIDECAR_ACTION=deploy`,
	} {
		if !strings.Contains(d.log(), text) {
			t.Errorf("got no %s in\n%s", text, d.log())
		}
	}
	a := d.as(deployKey).send(d.as(deployKey).sign("GET", "/jobs/it", ""))
	var got struct {
		Data struct {
			Key, Action, Command string
			Labels               map[string]string
		}
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.Data.Key != "deploy" || got.Data.Action != "deploy" || got.Data.Labels["user"] != labels["user"] {
		t.Errorf("got %s", a.body)
	}
}
