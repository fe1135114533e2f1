package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// Secrets of the keys default and deploy, and a later one of deploy. No run may print one.
const (
	fullSecret   = "of-the-full-key-0123456789"
	deploySecret = "of-the-key-deploy-0123456789"
	laterSecret  = "of-the-key-deploy-9876543210"
)

// roleVariables are those of every host.
var roleVariables = map[string]any{
	"sidecar_settings": map[string]any{"BIND": defaultAddress, "ENVIRONMENT": map[string]any{"COLOUR": `"blue" \ ü`}},
	"sidecar_keys": map[string]any{
		"deploy": map[string]any{"ACTIONS": []string{"deploy"}, "EXPIRES": "2099-12-31"},
		"fleet":  map[string]any{"PUBLIC_KEYS": "s76P7eJ7nsRrkvaHQKr8Z8uZvsj6e2bLTv8TmISi/bQ="}, // has no secret
	},
	"sidecar_secrets": map[string]any{"default": fullSecret, "deploy": deploySecret},
	"sidecar_actions": map[string]any{"deploy": map[string]any{
		"RUN": "echo \"$COLOUR\"\necho \"$VERSION\"", "ENVS": map[string]any{"VERSION": `v[0-9]+(\.[0-9]+)*`},
	}},
}

// with returns roleVariables with others.
func with(others map[string]any) map[string]any {
	variables := maps.Clone(roleVariables)
	maps.Copy(variables, others)
	return variables
}

// The role on three machines: one installs a release folder, one a package of this host, one a
// package of a URL. The machines go through all states of a host, because each run costs seconds.
func TestAnsible_Role(t *testing.T) {
	testkit.NeedTools(t, "ansible-playbook")
	if suite() == "trixie" || suite() == "sid" {
		t.Logf("the modules of Debian 12's Ansible do not know the Python of %s", suite())
		return
	}
	r := newRollOut(t, 3)
	this, next := r.placeSources()

	// A first installation that fails leaves nothing that the next run cannot mend.
	r.write(this, with(map[string]any{"sidecar_settings": map[string]any{"BIND": "nowhere"}}))
	if output, err := r.attempt("--limit", "host0,host1"); err == nil || !strings.Contains(output, "BIND") {
		t.Fatalf("an invalid BIND: got %v, want a failure that names it\n%s", err, output)
	}
	r.write(this, with(nil))
	r.checkPrediction()
	r.run(true)
	var executors []string
	for _, m := range r.machines {
		m.checkServes()
		m.checkKey(deploySecret)
		executors = append(executors, m.executor())
	}
	r.run(false)

	r.startJobs()
	later := map[string]any{"sidecar_secrets": map[string]any{"default": fullSecret, "deploy": []string{laterSecret, deploySecret}}}
	r.write(this, with(later))
	r.checkPrediction()
	r.run(true, "--limit", "host0")
	r.machines[0].checkKey(laterSecret)
	r.machines[0].checkKey(deploySecret)

	r.write(next, with(later))
	r.run(true)
	for i, m := range r.machines {
		m.checkServesNext()
		m.checkKey(laterSecret)
		if got := m.executor(); got != executors[i] {
			t.Errorf("host%d: got executor %s, want %s as before: the role reloads", i, got, executors[i])
		}
	}
	r.endJobs()

	r.checkAbsent(next)
}

// checkAbsent removes everything by the role.
func (r *rollOut) checkAbsent(sources []map[string]any) {
	r.t.Helper()
	r.write(sources, with(map[string]any{"sidecar_state": "absent", "sidecar_purge": true}))
	r.checkPrediction()
	r.run(true)
	for i, m := range r.machines {
		left := m.sh("find /etc /usr /var/lib -name '*dataflux*' ! -path '/var/lib/systemd/*' ! -path '/etc/yum.repos.d/*'")
		if left != "" {
			r.t.Errorf("host%d: got remaining files, want none:\n%s", i, left)
		}
	}
	r.run(false)
}

// rollOut is the use of the role on some machines, by the Ansible of this host.
type rollOut struct {
	t        *testing.T
	folder   string // of inventory, play and variables
	machines []*machine
}

func newRollOut(t *testing.T, count int) *rollOut {
	t.Helper()
	r := &rollOut{t: t, folder: t.TempDir(), machines: bootAll(t, count)}
	collections := filepath.Join(r.folder, "ansible_collections", "dataflux_func")
	if err := os.MkdirAll(collections, 0o700); err != nil {
		t.Fatal(err)
	}
	testkit.TrackFiles("packaging/ansible", "")
	if err := os.Symlink(filepath.Join(testkit.Root(), "packaging/ansible"), filepath.Join(collections, "sidecar")); err != nil {
		t.Fatal(err)
	}
	return r
}

// placeSources returns what each machine installs: this release and the next.
func (r *rollOut) placeSources() (this, next []map[string]any) {
	r.t.Helper()
	folder, err := nextProgram()
	if err != nil {
		r.t.Fatal(err)
	}
	arch := runtime.GOARCH
	for _, m := range r.machines[1:] {
		m.addTool("python3-apt")
	}
	archives := "linux-" + map[string]string{"amd64": "amd64", "arm64": "arm"}[arch]
	for _, version := range []struct {
		to                           *[]map[string]any
		name, archives, program, deb string
	}{
		{&this, "a release", ".", testkit.Program(r.t), packagePath(r.t, thesePackages, debName(thisVersion, arch))},
		{&next, "next-release", archives, filepath.Join(folder, packageName), packagePath(r.t, nextPackages, debName(nextVersion, arch))},
	} {
		released := filepath.Join(r.folder, version.name)
		inside := "/srv/" + filepath.Base(version.deb)
		r.machines[2].place(version.deb, inside, 0o644)
		*version.to = []map[string]any{
			{"sidecar_release": released},
			{"sidecar_package": version.deb},
			{"sidecar_package": "file://" + inside, "sidecar_package_checksum": "sha256:" + strings.Fields(r.machines[2].run("sha256sum", inside))[0]},
		}
		r.release(released, version.archives, version.program)
	}
	return this, next
}

// release makes a release folder with the files that the role needs, and the archive in a folder of
// it, as make dist does, or in none, as download.sh does.
func (r *rollOut) release(folder, archives, program string) {
	r.t.Helper()
	cmd := exec.Command("sh", "-euc", `
		mkdir -p "$0/$2" "$0/parts"
		cp units/*.s* units/*.path units/*.catalog packaging/man/* "$1" "$0/parts"
		(cd "$0/parts" && tar -czf "../$2/dataflux-func-sidecar.tar.gz" *)
		rm -r "$0/parts"
		cp install.sh "$0"
		cd "$0"
		find . -type f -printf '%P\0' | xargs -0 sha256sum >../sums; mv ../sums sha256sums`,
		folder, program, archives)
	cmd.Dir = testkit.Root()
	if err := testkit.Explain(cmd); err != nil {
		r.t.Fatal(err)
	}
}

// write writes the inventory, with what each machine installs, and the play, with the variables.
func (r *rollOut) write(sources []map[string]any, variables map[string]any) {
	r.t.Helper()
	hosts := map[string]any{}
	for i, m := range r.machines {
		leader, err := m.leader()
		if err != nil {
			r.t.Fatal(err)
		}
		host := map[string]any{
			"ansible_connection": "nsenter", "ansible_nsenter_leader": leader, "ansible_python_interpreter": "/usr/bin/python3",
		}
		maps.Copy(host, sources[i])
		hosts[fmt.Sprintf("host%d", i)] = host
	}
	for name, content := range map[string]any{
		"inventory.json": map[string]any{"all": map[string]any{"hosts": hosts}},
		"play.json": []map[string]any{{
			"hosts": "all", "gather_facts": false, "vars": variables, "roles": []string{"dataflux_func.sidecar.sidecar"},
		}},
	} {
		text, err := json.Marshal(content)
		if err == nil {
			err = os.WriteFile(filepath.Join(r.folder, name), text, 0o600)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

var recap = regexp.MustCompile(`(?m)^(host\d+) +: ok=\d+ +changed=(\d+) `)

// run runs the play, and checks for each machine whether it has changed something.
func (r *rollOut) run(changes bool, args ...string) {
	r.t.Helper()
	output := r.play(args...)
	hosts := recap.FindAllStringSubmatch(output, -1)
	if len(hosts) == 0 {
		r.t.Fatalf("no host in the recap:\n%s", output)
	}
	for _, host := range hosts {
		if changed := host[2] != "0"; changed != changes {
			r.t.Errorf("%s: got changed=%s, want changes: %t\n%s", host[1], host[2], changes, output)
		}
	}
}

// play runs the play.
func (r *rollOut) play(args ...string) (output string) {
	r.t.Helper()
	output, err := r.attempt(args...)
	if err != nil {
		r.t.Fatalf("ansible-playbook %s: %v\n%s", args, err, output)
	}
	return output
}

// attempt runs the play, and looks for secrets in what it prints and in what the machines log.
func (r *rollOut) attempt(args ...string) (printed string, err error) {
	r.t.Helper()
	cmd := exec.Command("ansible-playbook", append([]string{"-vv", "--diff", "--inventory", "inventory.json", "play.json"}, args...)...)
	cmd.Dir = r.folder
	cmd.Env = append(os.Environ(),
		"ANSIBLE_COLLECTIONS_PATH="+r.folder, "ANSIBLE_CONNECTION_PLUGINS="+filepath.Join(testkit.Root(), "test/e2e/ansible/connection"),
		"ANSIBLE_CACHE_PLUGIN=jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION="+filepath.Join(r.folder, "facts"),
		"ANSIBLE_LOCAL_TEMP="+filepath.Join(r.folder, "temp"), "ANSIBLE_PIPELINING=true", "ANSIBLE_NOCOLOR=1", "LC_ALL=C.UTF-8")
	began := time.Now()
	text, err := cmd.CombinedOutput()
	output := string(text)
	r.t.Logf("play %v: %.1f s, %.1f s of CPU", args, time.Since(began).Seconds(), (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
	for _, m := range r.machines {
		output += m.run("journalctl", "--quiet", "--output=cat")
	}
	for _, secret := range []string{fullSecret, deploySecret, laterSecret} {
		if strings.Contains(output, secret) {
			r.t.Errorf("the secret %s is where it does not belong:\n%s", secret, output)
		}
	}
	return string(text), err
}

// checkPrediction runs the play in check mode on the first machine: it tells that something would
// change, and changes nothing.
func (r *rollOut) checkPrediction() {
	r.t.Helper()
	before := r.machines[0].snapshot()
	r.run(true, "--check", "--limit", "host0")
	if changed := difference(before, r.machines[0].snapshot()); changed != "" {
		r.t.Errorf("the check mode changed\n%s", changed)
	}
}

// startJobs starts a job on each machine that ends when endJobs lets it.
func (r *rollOut) startJobs() {
	r.t.Helper()
	for _, m := range r.machines {
		m.client(defaultAddress).answer(r.t, map[string]any{
			"command": "touch /tmp/runs; until [ -e /tmp/go ]; do sleep 0.1; done; echo end", "jobId": "under-way", "wait": false,
		})
		m.eventually("the job runs", func() bool { _, status := m.try("test", "-e", "/tmp/runs"); return status == 0 })
	}
}

// endJobs lets the jobs end, which have run on all the time.
func (r *rollOut) endJobs() {
	r.t.Helper()
	for i, m := range r.machines {
		m.run("touch", "/tmp/go")
		m.run(packageName, "wait", "under-way")
		if got := m.run(packageName, "logs", "under-way"); got != "end" {
			r.t.Errorf("host%d: the job printed %q, want end", i, got)
		}
	}
}

// checkKey runs the action by a secret of the key deploy, which may run nothing else.
func (m *machine) checkKey(secret string) {
	m.t.Helper()
	c := m.client(defaultAddress)
	c.key = secret
	answer := c.answer(m.t, map[string]any{"action": "deploy", "envs": map[string]any{"VERSION": "v1.2"}})
	if want := "\"blue\" \\ ü\nv1.2\n"; answer.Data.Stdout != want {
		m.t.Errorf("the action printed %q, want %q", answer.Data.Stdout, want)
	}
	if status, _, err := c.post(map[string]any{"command": "id"}); err != nil || status != 403 {
		m.t.Errorf("a command of the key deploy: got status %d, %v, want 403", status, err)
	}
}
