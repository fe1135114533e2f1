package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// nextProgram returns a folder with the program of the next version for this host.
var nextProgram = sync.OnceValues(func() (string, error) {
	testkit.TrackFiles(".", ".go")
	folder := filepath.Join(testkit.Scratch(), "next-program")
	return folder, buildFor(runtime.GOARCH, nextVersion, folder)
})

const nextFolder = "/root/next"

// placeNext copies a built checkout of the next version.
func (m *machine) placeNext() {
	m.t.Helper()
	folder, err := nextProgram()
	if err != nil {
		m.t.Fatal(err)
	}
	m.sh("cp -r " + checkout + " " + nextFolder)
	m.place(filepath.Join(folder, packageName), nextFolder+"/bin/"+packageName, 0o755)
}

// A release replaces another that can reload, and back, while jobs of every kind are under way. No
// job notices.
func TestUpgrade_UnderRunningJobs(t *testing.T) {
	t.Run("install.sh", func(t *testing.T) {
		m := boot(t)
		m.placeCheckout()
		m.placeNext()
		m.install()
		m.moveUnderJobs(
			func() string { return m.run(nextFolder + "/install.sh") },
			func() string { return m.install() })
	})
	t.Run("deb", func(t *testing.T) {
		m := boot(t)
		this, next := m.placeDebs()
		m.apt("install", this)
		m.moveUnderJobs(
			func() string { return m.apt("install", next) },
			func() string { return m.apt("install", "--allow-downgrades", this) })
	})
	t.Run("rpm", func(t *testing.T) {
		m := boot(t)
		this, next := m.placeRPM()
		m.rpm("--install", this)
		m.run("systemctl", "enable", "--quiet", "--now", service)
		m.moveUnderJobs(
			func() string { return m.rpm("--upgrade", next) },
			func() string { return m.rpm("--upgrade", "--oldpackage", this) })
	})
}

// jobsUnderWay are jobs that end when the file /tmp/go appears.
type jobsUnderWay struct {
	m        *machine
	c        *client
	spent    spentRequest
	waiting  map[string]<-chan result // by jobId
	followed <-chan []byte
	before   string // what GET /jobs said
}

// underWay is the configuration for four running jobs and a queue.
const underWay = `MAX_RUNNING = 4
MAX_QUEUED = 20
MAX_OUTPUT = 67108864
DRAIN_TIMEOUT = "1s"
`

func (m *machine) moveUnderJobs(upgrade, downgrade func() string) {
	t := m.t
	t.Helper()
	m.sh("printf '" + strings.ReplaceAll(underWay, "\n", `\n`) + "' >> " + configFile)
	m.run("systemctl", "restart", service)
	executor, sockets := m.executor(), m.listening()
	j := m.startJobs()
	for _, step := range []struct {
		name, version string
		install       func() string
	}{{"upgrade", nextVersion, upgrade}, {"downgrade", thisVersion, downgrade}} {
		said := step.install()
		if got := m.run("curl", "-sS", "http://"+defaultAddress); !strings.Contains(got, step.version) {
			t.Errorf("%s: GET / says %q, want version %s; the installation said\n%s", step.name, got, step.version, said)
		}
		if got := m.executor(); got != executor {
			t.Fatalf("%s: got executor %s, want %s as before; the installation said\n%s", step.name, got, executor, said)
		}
		if got := m.listening(); got != sockets {
			t.Errorf("%s: got the listening sockets\n%s\nwant\n%s", step.name, got, sockets)
		}
		wantSaid(t, m.run(packageName, "configure", "--apply"), "nothing to do")
		j.checkUnchanged(step.name)
		j.awaitMoreOutput()
	}
	j.finish()
}

// startJobs starts a job that prints, which is followed, three jobs with callers that wait, five
// that are queued, and two that have ended and owe callbacks to a receiver that does not run.
func (m *machine) startJobs() *jobsUnderWay {
	t := m.t
	t.Helper()
	c := m.client(defaultAddress)
	j := &jobsUnderWay{m: m, c: c, spent: c.spend(t), waiting: map[string]<-chan result{}}
	for _, id := range []string{"owed-1", "owed-2"} {
		c.answer(t, map[string]any{"command": "echo " + id, "jobId": id, "callbackURL": "http://127.0.0.1:8088/" + id})
	}
	c.answer(t, map[string]any{"jobId": "printer", "wait": false, "command": `
		i=0; until [ -e /tmp/go ]; do seq $((i + 1)) $((i + 100)); i=$((i + 100)); echo "at $i" >&2; sleep 0.01; done; exit 7`})
	j.followed = j.follow("printer")
	for n := range 3 {
		id := fmt.Sprintf("waiting-%d", n)
		j.waiting[id] = c.inBackground(map[string]any{"jobId": id, "command": fmt.Sprintf(
			"echo begin; touch /tmp/%s; until [ -e /tmp/go ]; do sleep 0.05; done; echo end; exit %d", id, n)})
		m.eventually(id+" runs", func() bool { _, status := m.try("test", "-e", "/tmp/"+id); return status == 0 })
	}
	for n := range 5 {
		id := fmt.Sprintf("queued-%d", n)
		body := map[string]any{"jobId": id, "command": fmt.Sprintf("echo %s; exit %d", id, n)}
		if n == 0 { // one of them with a caller that waits
			j.waiting[id] = c.inBackground(body)
		} else {
			body["wait"] = false
			c.answer(t, body)
		}
		m.eventually(id+" is queued", func() bool { return j.job(id)["state"] == "queued" })
	}
	j.before = j.list()
	return j
}

// follow reads the standard output of a job to its end.
func (j *jobsUnderWay) follow(id string) <-chan []byte {
	j.m.t.Helper()
	request, err := j.c.request("GET", "/jobs/"+id+"/output", []byte(`{"follow":true}`))
	if err != nil {
		j.m.t.Fatal(err)
	}
	follower := *j.c.http
	follower.Timeout = 2 * testkit.Patience
	response, err := follower.Do(request)
	if err != nil {
		j.m.t.Fatal(err)
	}
	followed := make(chan []byte, 1)
	go func() {
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			text = append(text, "\nthe follower failed: "+err.Error()...)
		}
		followed <- text
	}()
	return followed
}

// job returns the data of GET /jobs/ID, which is empty if there is no such job.
func (j *jobsUnderWay) job(id string) map[string]any {
	j.m.t.Helper()
	_, text, err := j.c.signedGet("/jobs/" + id)
	var answer struct{ Data map[string]any }
	if err == nil {
		err = json.Unmarshal([]byte(text), &answer)
	}
	if err != nil {
		j.m.t.Fatal(err)
	}
	return answer.Data
}

// list returns the jobs of GET /jobs, one on each line, without the bytes of those that run.
func (j *jobsUnderWay) list() string {
	j.m.t.Helper()
	status, text, err := j.c.signedGet("/jobs")
	var answer struct {
		Data struct{ Jobs []map[string]any }
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), &answer)
	}
	if err != nil || status != http.StatusOK {
		j.m.t.Fatalf("GET /jobs: status %d, %v", status, err)
	}
	var lines []string
	for _, job := range answer.Data.Jobs {
		if job["state"] == "running" {
			delete(job, "stdoutBytes")
			delete(job, "stderrBytes")
		}
		line, err := json.Marshal(job)
		if err != nil {
			j.m.t.Fatal(err)
		}
		lines = append(lines, string(line))
	}
	return strings.Join(lines, "\n")
}

// checkUnchanged checks that the jobs are the same, and that a request that was sent before is still
// refused.
func (j *jobsUnderWay) checkUnchanged(step string) {
	t := j.m.t
	t.Helper()
	if got := j.list(); got != j.before {
		t.Errorf("%s: GET /jobs says\n%s\nwant\n%s", step, got, j.before)
	}
	for id, waiting := range j.waiting {
		select {
		case got := <-waiting:
			t.Fatalf("%s: the caller of %s was answered %+v, %v, although the job goes on", step, id, got.answer, got.err)
		default:
		}
	}
	if status, text := j.spent.send(t); status != http.StatusUnauthorized || !strings.Contains(text, "nonce") {
		t.Errorf("%s: a replay was answered with status %d, %s", step, status, text)
	}
}

// awaitMoreOutput waits until the printing job has printed more than it has now.
func (j *jobsUnderWay) awaitMoreOutput() {
	j.m.t.Helper()
	printed := func() float64 { bytes, _ := j.job("printer")["stdoutBytes"].(float64); return bytes }
	before := printed()
	j.m.eventually("the job prints on", func() bool { return printed() > before })
}

// finish lets all jobs end, and checks every byte and exit code.
func (j *jobsUnderWay) finish() {
	t := j.m.t
	t.Helper()
	j.m.sh("touch /tmp/go")
	for id, waiting := range j.waiting {
		got := <-waiting
		var wantCode int
		want := "begin\nend\n"
		if _, err := fmt.Sscanf(id, "waiting-%d", &wantCode); err != nil {
			want = id + "\n"
		}
		if got.err != nil || got.answer.Data == nil || got.answer.Data.Stdout != want || got.answer.Data.ExitCode == nil ||
			*got.answer.Data.ExitCode != wantCode {
			t.Errorf("the caller of %s got %+v, %v, want %q and exit code %d", id, got.answer, got.err, want, wantCode)
		}
	}
	for n := range 5 {
		id := fmt.Sprintf("queued-%d", n)
		j.m.eventually(id+" has ended", func() bool { return j.job(id)["state"] == "ended" })
		if job := j.job(id); job["stdout"] != id+"\n" || job["exitCode"] != float64(n) {
			t.Errorf("%s ended as %v, want output %s and exit code %d", id, job, id, n)
		}
	}
	j.checkPrinter()
	j.checkCallbacks()
}

// checkPrinter checks that neither the follower nor the kept output lacks a line or has one twice.
func (j *jobsUnderWay) checkPrinter() {
	t := j.m.t
	t.Helper()
	j.m.eventually("the printer has ended", func() bool { return j.job("printer")["state"] == "ended" })
	job := j.job("printer")
	stdout, _ := job["stdout"].(string)
	stderr, _ := job["stderr"].(string)
	lines := strings.Count(stdout, "\n")
	var want, wantErr bytes.Buffer
	for n := 1; n <= lines; n++ {
		want.WriteString(strconv.Itoa(n) + "\n")
		if n%100 == 0 {
			wantErr.WriteString("at " + strconv.Itoa(n) + "\n")
		}
	}
	if lines == 0 || stdout != want.String() {
		t.Errorf("the kept output has %d lines, and they are not the numbers from 1 on: %s", lines, firstGap(stdout))
	}
	if stderr != wantErr.String() {
		t.Errorf("got %d bytes on stderr, want %d", len(stderr), wantErr.Len())
	}
	if job["exitCode"] != float64(7) || job["stdoutBytes"] != float64(want.Len()) {
		t.Errorf("got exit code %v and %v bytes, want 7 and %d", job["exitCode"], job["stdoutBytes"], want.Len())
	}
	if followed := string(<-j.followed); followed != stdout {
		t.Errorf("the follower has %d bytes, want the %d of the kept output: %s", len(followed), len(stdout), firstGap(followed))
	}
}

// firstGap says where lines are not the numbers from 1 on.
func firstGap(text string) string {
	n := 0
	for line := range strings.Lines(text) {
		n++
		if line != strconv.Itoa(n)+"\n" {
			return fmt.Sprintf("line %d is %q", n, line)
		}
	}
	return fmt.Sprintf("complete up to %d", n)
}

// checkCallbacks starts the receiver, and checks that each callback comes, with the result of its
// job.
func (j *jobsUnderWay) checkCallbacks() {
	t := j.m.t
	t.Helper()
	listening, err := j.m.listen("127.0.0.1:8088")
	if err != nil {
		t.Fatal(err)
	}
	received := make(chan string, 16)
	server := &http.Server{ReadHeaderTimeout: testkit.Patience, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		received <- fmt.Sprintf("%s %s %s %s", r.URL.Path, r.Header.Get("X-Sidecar-Job-Id"), r.Header.Get("X-Sidecar-Exit-Code"), body)
	})}
	go func() { _ = server.Serve(listening) }()
	defer func() { _ = server.Shutdown(context.Background()) }() // the answer must be sent, else the callback is repeated
	var got, want []string
	for _, id := range []string{"owed-1", "owed-2"} {
		want = append(want, fmt.Sprintf(`/%s %s 0 {"kwargs":{"stdout":"%s\n","stderr":""}}`, id, id, id))
	}
	for range want {
		select {
		case one := <-received:
			got = append(got, one)
		case <-time.After(2 * testkit.Patience):
			t.Fatalf("got the callbacks %q, want %q", got, want)
		}
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("got the callbacks %q, want %q", got, want)
	}
}
