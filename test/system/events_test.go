package system

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// awaitFile is a command that waits for a file.
func awaitFile(path string) string { return "until test -e " + path + "; do sleep 0.01; done; " }

// stepper is a command that writes to the streams in turn; the test says when.
type stepper struct {
	t       *testing.T
	dir     string
	command string
}

func newStepper(t *testing.T) *stepper {
	t.Helper()
	dir := sharedDir(t)
	return &stepper{t, dir, "echo one; " + awaitFile(dir+"/1") + "echo two >&2; " + awaitFile(dir+"/2") +
		"printf 'three\\377'; " + awaitFile(dir+"/3") + "exit 3"}
}

// next lets the command go on to its step n.
func (s *stepper) next(n int) { touch(s.t, filepath.Join(s.dir, fmt.Sprint(n))) }

// eventReader reads the answer to a request for events.
type eventReader struct {
	t    *testing.T
	body io.ReadCloser
	from *bufio.Reader
}

func (d *daemon) events(t *testing.T, id, body string) (*eventReader, http.Header) {
	t.Helper()
	r := d.sign("GET", "/jobs/"+id+"/events", body).http(d)
	r.Header.Set("Last-Event-ID", "999-999-end") // is not signed, and must have no effect
	client := newClient()
	t.Cleanup(client.CloseIdleConnections)
	response, err := client.Do(r)
	if err != nil || response.StatusCode != 200 {
		t.Fatalf("got %v, %v", response, err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return &eventReader{t, response.Body, bufio.NewReader(response.Body)}, response.Header
}

// next is the next event without its time, as "ID NAME DATA"; "" at the end.
func (e *eventReader) next() string {
	e.t.Helper()
	var id, name, data string
	for {
		line, err := e.from.ReadString('\n')
		if err == io.EOF {
			return ""
		}
		if err != nil {
			e.t.Fatal(err)
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "id":
			id = value
		case "event":
			name = value
		case "data":
			data = value
		case "":
			if line == "\n" && name != "" {
				if _, after, timed := strings.Cut(data, `"offset"`); timed {
					data = `{"offset"` + after
				}
				return id + " " + name + " " + data
			}
		}
	}
}

func (e *eventReader) want(wants ...string) {
	e.t.Helper()
	for _, want := range wants {
		if got := e.next(); !strings.HasPrefix(got, want) || want == "" && got != "" {
			e.t.Fatalf("got the event %q, want %q", got, want)
		}
	}
}

const (
	eventOne   = `4-0 stdout {"offset":0,"text":"one\n"}`
	eventTwo   = `4-4 stderr {"offset":0,"text":"two\n"}`
	eventThree = `10-4 stdout {"offset":4,"base64":"dGhyZWX/"}`
	eventEnd   = `10-4-end result {"jobId":"it","state":"ended",`
)

// Events come while the command runs, in order, through a reload; a caller that comes back goes on
// where it was, also after a crash.
func TestEvents_WhileTheCommandRuns(t *testing.T) {
	t.Parallel()
	d, s := startDaemon(t), newStepper(t)
	d.shell(fields{"command": s.command, "wait": false, "jobId": "it"})
	e, header := d.events(t, "it", "")
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no", "Content-Length": "",
	} {
		if got := header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	e.want(eventOne)
	s.next(1)
	e.want(eventTwo)
	d.wantReloaded()
	again, _ := d.events(t, "it", `{"after":"4-0"}`)
	again.want(eventTwo)
	s.next(2)
	e.want(eventThree)
	again.want(eventThree)
	d.wantReloaded()
	s.next(3)
	e.want(eventEnd, "")
	again.want(eventEnd, "")
	d.signal(d.pid, syscall.SIGKILL)
	d.awaitEnd()
	d.start()
	kept, _ := d.events(t, "it", "")
	kept.want(eventOne, eventTwo, eventThree, eventEnd, "")
	kept, _ = d.events(t, "it", `{"after":"4-4","follow":false}`)
	kept.want(eventThree, eventEnd, "")
	kept, _ = d.events(t, "it", `{"after":"10-4-end"}`)
	kept.want("")
}

// What the command line was told is on its own descriptor at once.
func TestShell_FollowsBothStreams(t *testing.T) {
	t.Parallel()
	d := startDaemon(t)
	for _, how := range []string{"shell", "logs", "jobs"} {
		s := newStepper(t)
		args := []string{"shell", "--follow", s.command}
		if how != "shell" {
			d.shell(fields{"command": s.command, "wait": false, "jobId": how})
			args = []string{how, "--follow", how}
		}
		cmd := exec.Command(testkit.Program(t), append(args, "--config", d.config, "--url", "http://"+d.address)...)
		cmd.Env = keyVariable(testKey)
		outPipe, err1 := cmd.StdoutPipe()
		errPipe, err2 := cmd.StderrPipe()
		if err1 != nil || err2 != nil || cmd.Start() != nil {
			t.Fatal(err1, err2)
		}
		out, errs := bufio.NewReader(outPipe), bufio.NewReader(errPipe)
		for _, step := range []struct {
			from *bufio.Reader
			want string
		}{{out, "one\n"}, {errs, "two\n"}, {out, "three\xff"}} {
			got := make([]byte, len(step.want))
			if _, err := io.ReadFull(step.from, got); err != nil || string(got) != step.want {
				t.Errorf("%s: got %q, %v, want %q", how, got, err, step.want)
			}
			s.next(map[string]int{"one\n": 1, "two\n": 2, "three\xff": 3}[step.want])
		}
		restOut, _ := io.ReadAll(out)
		restErr, _ := io.ReadAll(errs)
		_ = cmd.Wait() // its ProcessState tells all
		if len(restOut)+len(restErr) > 0 || cmd.ProcessState.ExitCode() != 3 {
			t.Errorf("%s: got status %d, then %q and %q, want 3 and nothing", how, cmd.ProcessState.ExitCode(), restOut, restErr)
		}
	}
}

// Both streams into one file are in the order in which they were read.
func TestLogs_InOrder(t *testing.T) {
	t.Parallel()
	d, s := startDaemon(t), newStepper(t)
	d.shell(fields{"command": s.command, "wait": false, "jobId": "it"})
	for i, text := range []string{"one", "two", "three"} {
		d.eventually(text, func() bool { j := d.job("it"); return strings.Contains(j.Stdout+j.Stderr, text) })
		s.next(i + 1)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "both"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	cmd := exec.Command(testkit.Program(t), "logs", "it", "--config", d.config, "--url", "http://"+d.address)
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
	if got, _ := os.ReadFile(file.Name()); string(got) != "one\ntwo\nthree\xff" {
		t.Errorf("got %q, want one, two, three", got)
	}
}

// Where bytes are missing one warning says how many, with --follow and without.
func TestLogs_BothEnds(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "MAX_OUTPUT = 1024", "OUTPUT_TAIL = 24")
	text := strings.Repeat("0123456789", 300)
	d.shell(fields{"command": "printf " + text, "jobId": "it"})
	want := text[:1000] + text[3000-24:]
	const missing = "warning: 1976 bytes of stdout are missing, which were not kept (MAX_OUTPUT)\n"
	for _, options := range [][]string{{"logs", "it"}, {"logs", "--quiet", "it"}} {
		if s := d.cli(options...); s.status != 0 || s.stdout != want || s.stderr != missing {
			t.Errorf("%q: got %+v, want the output and %q", options, s, missing)
		}
	}
	const cut = "warning: stdout was cut: the first 1000 and the last 24 of 3000 bytes are here, 1976 between them are missing (MAX_OUTPUT)\n"
	for _, options := range [][]string{{"logs", "--follow", "it"}, {"jobs", "--follow", "it"}} {
		if s := d.cli(options...); s.status != 0 || s.stdout != want || s.stderr != missing {
			t.Errorf("%q: got %+v, want the output and %q", options, s, missing)
		}
	}
	if s := d.cli("shell", "printf "+text); s.status != 0 || s.stdout != want || s.stderr != cut {
		t.Errorf("shell: got %+v, want the output and %q", s, cut)
	}
	wantText(t, d.cli("shell", "--json", "printf "+text).stdout, `"stdoutTail":"678901234567890123456789"`)
	wantText(t, d.cli("jobs", "--json", "it").stdout, `"stdoutTail":"678901234567890123456789"`)
	for body, want := range map[string]string{
		`{"from":"end"}`: text[3000-24:], `{"from":"end","offset":4,"follow":false}`: "6789", `{"offset":998}`: "89",
	} {
		if a := d.send(d.sign("GET", "/jobs/it/output", body)); a.body != want {
			t.Errorf("output %s: got %q, want %q", body, a.body, want)
		}
	}
	d.send(d.sign("GET", "/jobs/it/output", `{"from":"middle"}`)).wantRefusal(t, 400, `"start" or "end"`)
	d.send(d.sign("GET", "/jobs/it/events", `{"after":"x"}`)).wantRefusal(t, 400, "id of an event")
}

// Output that was shown while the command ran is not reported as missing, though it is not kept.
func TestShell_FollowShowsWhatIsNotKept(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "MAX_OUTPUT = 1024", "OUTPUT_TAIL = 512")
	dir := sharedDir(t)
	const steps, each = 10, 400
	cmd := exec.Command(testkit.Program(t), "shell", "--follow", "--job-id", "it", "--config", d.config, "--url", "http://"+d.address,
		fmt.Sprintf("for i in $(seq %d); do %s printf '%%0%dd' $i; done; echo end >&2", steps, awaitFile(dir+"/$i"), each))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		t.Fatal("cannot start the command line", err)
	}
	for i := 1; i <= steps; i++ {
		touch(t, filepath.Join(dir, strconv.Itoa(i)))
		got := make([]byte, each)
		if _, err := io.ReadFull(stdout, got); err != nil || string(got) != fmt.Sprintf("%0*d", each, i) {
			t.Errorf("step %d: got %q, %v", i, got, err)
		}
	}
	if err := cmd.Wait(); err != nil || stderr.String() != "end\n" {
		t.Errorf("got %v and %q, want no error and nothing but the command's", err, stderr.String())
	}
	if j := d.job("it"); !j.StdoutTruncated {
		t.Error("all output is kept, so this test shows nothing")
	}
}

// A Sidecar of release 1.0.0 has no events and keeps the start of an output only. What is not kept
// is reported too.
func TestLogs_WithoutEvents(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, "MAX_OUTPUT = 1024", "OUTPUT_TAIL = 0")
	target, _ := url.Parse("http://" + d.address)
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/events") {
			sidecarLike(404, `{"ok":false,"message":"there is no such path","data":null}`).ServeHTTP(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	defer server.Close()
	d.shell(fields{"command": "printf %03000d 1; printf %02000d 1 >&2", "jobId": "much"})
	d.shell(fields{"command": "echo all", "jobId": "all"})
	const missing = "warning: 1976 bytes of stdout are missing, which were not kept (MAX_OUTPUT)\n" +
		"warning: 976 bytes of stderr are missing, which were not kept (MAX_OUTPUT)\n"
	for _, command := range [][]string{{"logs"}, {"logs", "--follow"}, {"jobs", "--follow"}} {
		call := func(id string) spoken {
			return invoke(t, invocation{args: append(command, id, "--config", d.config, "--url", server.URL)})
		}
		if s := call("much"); s.status != 0 || len(s.stdout) != 1024 || s.stderr != strings.Repeat("0", 1024)+missing {
			t.Errorf("%q: got %+v, want 1024 bytes of each stream and %q", command, s, missing)
		}
		if s := call("all"); s.status != 0 || s.stdout != "all\n" || s.stderr != "" {
			t.Errorf("%q: got %+v, want the output alone", command, s)
		}
	}
}

// A proxy that closes the connection costs nothing: the command line goes on after the latest event.
func TestShell_FollowsThroughBrokenConnections(t *testing.T) {
	t.Parallel()
	d, s := startDaemon(t), newStepper(t)
	var open atomic.Pointer[net.Conn]
	target, _ := url.Parse("http://" + d.address)
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	server := httptest.NewUnstartedServer(proxy)
	server.Config.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateActive {
			open.Store(&c)
		}
	}
	server.Start()
	defer server.Close()
	cmd := exec.Command(testkit.Program(t), "shell", "--follow", s.command, "--url", server.URL)
	cmd.Env = keyVariable(testKey)
	outPipe, err1 := cmd.StdoutPipe()
	errPipe, err2 := cmd.StderrPipe()
	if err1 != nil || err2 != nil || cmd.Start() != nil {
		t.Fatal(err1, err2)
	}
	out, errs := bufio.NewReader(outPipe), bufio.NewReader(errPipe)
	cut := func() { _ = (*open.Load()).Close() }
	if got, err := out.ReadString('\n'); got != "one\n" {
		t.Errorf("got %q, %v, want one", got, err)
	}
	cut()
	s.next(1)
	if got, err := errs.ReadString('\n'); got != "two\n" {
		t.Errorf("got %q, %v, want two", got, err)
	}
	cut()
	s.next(2)
	s.next(3)
	restOut, _ := io.ReadAll(out)
	restErr, _ := io.ReadAll(errs)
	_ = cmd.Wait() // its ProcessState tells all
	if string(restOut) != "three\xff" || len(restErr) > 0 || cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("got status %d, %q and %q, want 3, three and nothing", cmd.ProcessState.ExitCode(), restOut, restErr)
	}
}

// Who may not see a job any more gets no more events of it; others do.
func TestEvents_OfARemovedKey(t *testing.T) {
	t.Parallel()
	ann := []string{`[KEY.ann]`, `SECRET = "` + annKey + `"`}
	cal := []string{`[KEY.cal]`, `SECRET = "` + calKey + `"`, `JOBS = "all"`}
	d, s := startDaemon(t, append(cal, ann...)...), newStepper(t)
	d.as(annKey).shell(fields{"command": s.command, "wait": false, "jobId": "it"})
	own, _ := d.as(annKey).events(t, "it", "")
	other, _ := d.as(calKey).events(t, "ann:it", "")
	own.want(eventOne)
	other.want(eventOne)
	d.configure(strconv.Quote(testKey), ann...)
	d.wantReloaded()
	s.next(1)
	own.want(eventTwo)
	if rest, err := io.ReadAll(other.from); len(rest) > 0 || err == nil {
		t.Errorf("a removed key: got %q, %v, want no more and a broken connection", rest, err)
	}
}
