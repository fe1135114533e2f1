package system

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// Case 10: during a rotation both keys are valid; after a restart without the old key only the new
// one.
func TestKeys_Rotation(t *testing.T) {
	t.Parallel()
	const oldKey, newKey = "canary-old-key-0123456789", "canary-new-key-0123456789"
	d := startDaemonWithKeys(t, `["`+newKey+`", "`+oldKey+`"]`)
	for _, key := range []string{newKey, oldKey} {
		d.key = key
		if a := d.run("echo in"); a.Data.Stdout != "in\n" {
			t.Errorf("got %s", a.body)
		}
	}
	d.stop()
	d.configure(strconv.Quote(newKey))
	d.start()
	d.key = oldKey
	d.try200(fields{"command": "true"}).wantRefusal(t, 401, "does not match")
	d.key = newKey
	if a := d.run("echo in"); a.Data.Stdout != "in\n" {
		t.Errorf("got %s", a.body)
	}
	if strings.Contains(d.log(), oldKey) {
		t.Error("the old key is in the log")
	}
}

// Case 6: an invalid configuration refuses the start, and the message says what to change.
func TestServe_InvalidConfiguration(t *testing.T) {
	t.Parallel()
	const key = `SECRET_KEY = "canary-key-0123456789abcdef"`
	for text, hints := range map[string][]string{
		`SECRET_KEY = ""`: {"SECRET_KEY"}, `SECRET_KEY = []`: {"SECRET_KEY"}, `SECRET_KEY = ["a-long-enough-key", ""]`: {"SECRET_KEY"},
		`BIND = "127.0.0.1:8099"`: {"SECRET_KEY"}, ``: {"SECRET_KEY"}, `SECRET_KEY = 7`: {"SECRET_KEY", "line 1"},
		key + "\nSECRET_KEYS = 1": {"SECRET_KEYS", "line 2"}, key + "\nbind = \"127.0.0.1:1\"": {"BIND", "line 2"},
		key + "\nBIND = \"0.0.0.0.8099\"": {"must be an IP address with a port"}, key + "\nMAX_BODY = \"big\"": {"MAX_BODY", "line 2"}, key + "\nMAX_RUNNING = 0": {"MAX_RUNNING"},
		key + "\nKILL_GRACE = 5": {"KILL_GRACE", `"5s"`}, key + "\nnot toml": {"line 2"}, key + "\n" + key: {"line 2"},
	} {
		d := newDaemon(t, strconv.Quote(testKey))
		if err := os.WriteFile(d.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		d.wantNoStart(hints...)
	}
}

func TestServe_UnfitConfigurationFile(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, strconv.Quote(testKey))
	if err := os.Chmod(d.config, 0o644); err != nil {
		t.Fatal(err)
	}
	d.wantNoStart("chmod 0600")
	if err := os.Remove(d.config); err != nil {
		t.Fatal(err)
	}
	d.wantNoStart("configure")
}

// wantNoStart launches the daemon, which must end by itself and print the hints.
func (d *daemon) wantNoStart(hints ...string) {
	d.t.Helper()
	d.launch()
	d.awaitEnd()
	log := d.log()
	if d.state.ExitCode() != 1 || !strings.Contains(log, "Not serving: ") {
		d.t.Errorf("it ended with %v:\n%s", d.state, log)
	}
	for _, hint := range hints {
		if !strings.Contains(log, hint) && !strings.Contains(log, strings.Trim(strconv.Quote(hint), `"`)) {
			d.t.Errorf("no %q in:\n%s", hint, log)
		}
	}
}

func TestServe_NoSocketsAndNoBind(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, strconv.Quote(testKey))
	for wants, args := range map[string][]string{
		"systemctl start dataflux-func-sidecar":                                                    {"serve", "--config", d.config},
		"--bind: address 1 of 1 must be an IP address with a port":                                 {"serve", "--config", d.config, "--bind", "0.0.0.0.8099"},
		"cannot listen on 192.0.2.1:1":                                                             {"serve", "--config", d.config, "--bind", "192.0.2.1:1"},
		"it takes no arguments, only options":                                                      {"serve", "--config", d.config, "8099"},
		"there is no command \"start\"\nhint: `dataflux-func-sidecar help`":                        {"start"},
		"cannot listen on 192.0.2.1:2: cannot assign requested address; hint: give an":             {"serve", "--config", d.config, "--bind", "192.0.2.1:2"},
		"hint: create it with dataflux-func-sidecar configure --config /none/config --unit-dir ''": {"serve", "--config", "/none/config", "--bind", "127.0.0.1:1"},
		"there is no command \"server\"":                                                           {"server"},
		"did you mean `dataflux-func-sidecar serve`?":                                              {"sevre"},
		"Usage:": {},
	} {
		out, err := exec.Command(testkit.Program(t), args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), wants) {
			t.Errorf("%v: %v: %s", args, err, out)
		}
	}
	if os.Geteuid() == 0 {
		d.launchUnknownUser()
	}
}

func (d *daemon) launchUnknownUser() {
	d.t.Helper()
	for user, want := range map[string]string{"no-such-user": "no-such-user", "root": "root"} {
		out, err := exec.Command(testkit.Program(d.t), "serve", "--config", d.config, "--bind", d.address, "--state-dir", d.stateDir(), "--user", user).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			d.t.Errorf("--user %s: %v: %s", user, err, out)
		}
	}
}

func TestSign_WithCurl(t *testing.T) {
	t.Parallel()
	testkit.NeedTools(t, "curl")
	d := startDaemon(t)
	call := func(args ...string) string {
		t.Helper()
		config, err := exec.Command(testkit.Program(t), append([]string{"sign", "--config", d.config}, args...)...).CombinedOutput()
		if err != nil || strings.Contains(string(config), testKey) {
			t.Fatalf("sign: %v: %s", err, config)
		}
		cmd := exec.Command("curl", "--config", "-", "--max-time", "60")
		cmd.Stdin, cmd.Dir = strings.NewReader(string(config)), t.TempDir()
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("curl: %v: %s", err, out)
		}
		return string(out)
	}
	url := "http://" + d.address + "/shell"
	for command, want := range map[string]string{
		"echo plain": "plain\\n", `printf '%s' "a\\b \"q\" $((1+1))"`: `a\\b \"q\" 2`, "printf 'é\\t@x\\n'": `é\t@x\n`, "printf %s '@/etc/passwd'": "@/etc/passwd",
		"echo one\necho two": `one\ntwo\n`,
	} {
		if out := call(url, jsonOf(fields{"command": command})); !strings.Contains(out, `"stdout":"`+want+`"`) {
			t.Errorf("%q: got %s", command, out)
		}
	}
	if out := call("GET", "http://"+d.address+"/jobs"); !strings.Contains(out, `"jobs":[{"jobId":`) {
		t.Errorf("GET /jobs: %s", out)
	}
	if out := call("http://" + d.address); out != welcome {
		t.Errorf("GET /: %s", out)
	}
	if out := call("HEAD", "http://"+d.address); !strings.HasPrefix(out, "HTTP/1.1 200 OK\r\n") {
		t.Errorf("HEAD /: %s", out)
	}
	out, err := exec.Command(testkit.Program(t), "sign", "--config", d.config, url+"?a=b", "{}").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "query") {
		t.Errorf("a query: %v %s", err, out)
	}
}

func TestServe_UnixSocket(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, strconv.Quote(testKey))
	path := filepath.Join(sharedDir(t), "sidecar.sock")
	tcp := d.address
	d.address = tcp + "," + path
	d.launch()
	d.awaitLog("Ready: ")
	d.address = tcp
	conn, err := dialUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	w := d.newWire(conn)
	a := w.put(d.sign("POST", "/shell", `{"command":"echo by unix"}`).raw()).answer("POST")
	if a.Data == nil || a.Data.Stdout != "by unix\n" {
		t.Errorf("got %d %s", a.status, a.body)
	}
	d.awaitLog(`Command started for unix socket`)
	if a := d.run("echo by tcp"); a.Data.Stdout != "by tcp\n" {
		t.Errorf("got %s", a.body)
	}
}
