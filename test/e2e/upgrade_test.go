package e2e

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/test/testkit"
)

// One release replaces another under load, and back. Callers notice nothing, running commands
// finish, owed callbacks are delivered, and used nonces stay used.
func TestUpgrade_ThereAndBackUnderLoad(t *testing.T) {
	m := boot(t)
	m.placeEarlier()
	m.placeCheckout()
	m.run(earlierFolder+"/install.sh", "--secret-key", "kept-key-0123456789abcdef")
	m.sh("echo 'COMMAND_TIMEOUT = \"7m\"   # by hand' >> /etc/dataflux-func-sidecar")

	// A different comment in the unit must not close the ports.
	m.sh("sed -i '1i # A remark that the present release does not have' /etc/systemd/system/" + socket + "; systemctl daemon-reload")
	m.moveUnderLoad("upgrade", checkout+"/install.sh")
	m.checkServes()
	m.checkNewerStateIsRefused()
	m.checkDowngradeRefusesWhatItDoesNotKnow()
	m.moveUnderLoad("downgrade", earlierFolder+"/install.sh")
	m.checkAnswers(defaultAddress)
}

// moveUnderLoad runs an install.sh while the service has requests, commands and callbacks of every
// kind.
func (m *machine) moveUnderLoad(what, install string) {
	t := m.t
	t.Helper()
	c := m.client(defaultAddress)
	configuration, sockets := m.run("cat", configFile), m.listening()
	program, executor := m.run("cksum", "/usr/local/bin/dataflux-func-sidecar"), m.executor()
	spent := c.spend(t)
	c.answer(t, map[string]any{"command": "echo owed by the " + what, "wait": false, "callbackURL": "http://127.0.0.1:8088/owed"})
	c.answer(t, map[string]any{"command": "echo kept; yes | head -c 300000", "wait": false}) // the earlier release may not know its records
	drained := c.inBackground(map[string]any{"command": "touch /tmp/" + what + "; sleep 4; echo drained"})
	m.eventually("the command runs", func() bool { _, status := m.try("test", "-e", "/tmp/"+what); return status == 0 })

	load := m.startLoad(4)
	m.run(install)
	if answered := load.stop(t); answered < 20 {
		t.Errorf("%s: only %d requests were answered", what, answered)
	}

	if result := <-drained; result.err != nil || result.answer.Data == nil || result.answer.Data.Stdout != "drained\n" {
		t.Errorf("%s: what ran before it was answered %+v, %v", what, result.answer, result.err)
	}
	if m.executor() == executor || m.run("cksum", "/usr/local/bin/dataflux-func-sidecar") == program {
		t.Errorf("%s: the other program does not serve", what)
	}
	if after := m.run("cat", configFile); after != configuration {
		t.Errorf("%s: the configuration was\n%s\nand is\n%s", what, configuration, after)
	}
	if after := m.listening(); after != sockets {
		t.Errorf("%s: the listening sockets were\n%s\nand are\n%s", what, sockets, after)
	}
	if status, text := spent.send(t); status != http.StatusUnauthorized || !strings.Contains(text, "nonce") {
		t.Errorf("%s: a replay of what ran before it: status %d, %s", what, status, text)
	}
	m.checkDelivered("owed by the " + what)
}

// spentRequest is a request that was carried out, to be sent again unchanged.
type spentRequest struct {
	c       *client
	headers http.Header
}

const spentBody = `{"command":"true"}`

func (c *client) spend(t *testing.T) spentRequest {
	t.Helper()
	request, err := c.request("POST", "/shell", []byte(spentBody))
	if err != nil {
		t.Fatal(err)
	}
	s := spentRequest{c, request.Header}
	if status, text := s.send(t); status != http.StatusOK {
		t.Fatalf("status %d, %s", status, text)
	}
	return s
}

func (s spentRequest) send(t *testing.T) (status int, text string) {
	t.Helper()
	request, err := s.c.request("POST", "/shell", []byte(spentBody))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = s.headers.Clone()
	response, err := s.c.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

type result struct {
	answer shellAnswer
	err    error
}

func (c *client) inBackground(body map[string]any) <-chan result {
	done := make(chan result, 1)
	go func() {
		_, answer, err := c.post(body)
		done <- result{answer, err}
	}()
	return done
}

// checkDelivered starts the receiver of callbacks, which did not run before, so the callback must
// have been kept.
func (m *machine) checkDelivered(stdout string) {
	t := m.t
	t.Helper()
	receiver, err := m.listen("127.0.0.1:8088")
	if err != nil {
		t.Fatal(err)
	}
	received := make(chan string, 8)
	server := &http.Server{ReadHeaderTimeout: testkit.Patience, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		received <- string(body)
	})}
	go func() { _ = server.Serve(receiver) }()
	defer func() { _ = server.Shutdown(context.Background()) }() // the answer must be sent, else the callback is repeated
	want := `{"kwargs":{"stdout":"` + stdout + `\n","stderr":""}}`
	select {
	case got := <-received:
		if got != want {
			t.Errorf("received %s, want %s", got, want)
		}
	case <-time.After(testkit.Patience):
		t.Errorf("%q was never delivered", stdout)
	}
}

const installedSums = "cksum " + configFile + " /usr/local/bin/dataflux* $(find /etc/systemd/system -type f -name 'dataflux*')"

// A configuration key of a later release is unknown to an earlier one, whose install.sh then
// changes nothing.
func (m *machine) checkDowngradeRefusesWhatItDoesNotKnow() {
	m.t.Helper()
	m.sh("cp -p " + configFile + " /root/kept; echo 'SOMETHING_OF_LATER = 1' >> " + configFile)
	before, executor := m.sh(installedSums), m.executor()
	output, status := m.try(earlierFolder + "/install.sh")
	if status == 0 || !strings.Contains(output, "line 6, column 1: this key or section is unknown") || !strings.Contains(output, "nothing was changed") {
		m.t.Errorf("status %d\n%s", status, output)
	}
	if after := m.sh(installedSums); after != before || m.executor() != executor {
		m.t.Errorf("refused, yet it was\n%s\nand is\n%s", before, after)
	}
	m.sh("cp -p /root/kept " + configFile)
}

// State of a later format is neither misread nor discarded. The service does not start and says
// what to do; after that it starts.
func (m *machine) checkNewerStateIsRefused() {
	t := m.t
	t.Helper()
	m.run("systemctl", "stop", service)
	kept := m.sh("cp -a /var/lib/dataflux-func-sidecar /root/state; cd /var/lib/dataflux-func-sidecar; find . -name 'nonces-*.log' -size +0 | head -n 1")
	file := "/var/lib/dataflux-func-sidecar/" + kept
	m.renumberFormat(file)
	sum := m.run("cksum", file)

	if output, status := m.try("systemctl", "start", service); status == 0 {
		t.Errorf("it started on state of a later version: %s", output)
	}
	said := m.awaitEntry("a newer version of this program wrote it: install that version again")
	if !strings.Contains(said, strings.TrimPrefix(kept, "./")) {
		t.Errorf("the journal does not name %s: %s", kept, said)
	}
	if after := m.run("cksum", file); after != sum {
		t.Errorf("the file was %s and is %s", sum, after)
	}
	m.sh("systemctl stop " + service + "; rm -r /var/lib/dataflux-func-sidecar; cp -a /root/state /var/lib/dataflux-func-sidecar; systemctl start " + service)
	m.checkAnswers(defaultAddress)
}

// renumberFormat raises the format version in a segment file, at the place that docs/state.md
// gives.
func (m *machine) renumberFormat(name string) {
	m.t.Helper()
	data, err := os.ReadFile(m.path(name))
	if err != nil {
		m.t.Fatal(err)
	}
	version := binary.LittleEndian.Uint32(data[8:])
	binary.LittleEndian.PutUint32(data[8:], version+1)
	binary.LittleEndian.PutUint32(data[28:], crc32.Checksum(data[:28], crc32.MakeTable(crc32.Castagnoli)))
	if err := os.WriteFile(m.path(name), data, 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// An earlier installation has a user dffs with a login shell, and perhaps the drop-in of
// ALLOW_SUDO.
func TestUpgrade_Users(t *testing.T) {
	m := boot(t)
	m.placeEarlier()
	m.placeCheckout()
	m.run(earlierFolder + "/install.sh")
	m.sh("echo 'ALLOW_SUDO = true' >> " + configFile + "; dataflux-func-sidecar configure; systemctl daemon-reload; systemctl restart " + service)
	// The users are changed to those of releases before this change, if the earlier release already
	// has it.
	m.sh(`userdel dffs-sidecar 2>/dev/null || true; usermod --shell /bin/sh dffs; chmod 0755 /home/dffs
		folder=/etc/systemd/system/` + service + `.d; mkdir -p $folder; test -e $folder/allow-sudo.conf ||
		printf '# Generated from ALLOW_SUDO = true by dataflux-func-sidecar configure.\n[Service]\nCapabilityBoundingSet=~\n' > $folder/allow-sudo.conf`)
	const look = `getent passwd dffs; id dffs; stat -c '%a %U %G' /home/dffs; ls -A /home/dffs`
	before := m.sh(look)

	output := m.install()

	if after := m.sh(look); after != before {
		t.Errorf("dffs was\n%s\nand is\n%s", before, after)
	}
	if !strings.Contains(output, "Created user dffs-sidecar.") || strings.Contains(output, "Created user dffs.") {
		t.Errorf("it says\n%s", output)
	}
	m.run("getent", "passwd", "dffs-sidecar")
	if _, status := m.try("test", "-e", "/etc/systemd/system/"+service+".d"); status == 0 {
		t.Error("the drop-in of ALLOW_SUDO is still there")
	}
	m.sh("echo 'dffs ALL=(root) NOPASSWD: ALL' > /etc/sudoers.d/dffs")
	if got := m.client(defaultAddress).shell(t, "sudo id -un"); got != "root" { // ALLOW_SUDO works without the drop-in
		t.Errorf("sudo id -un printed %q", got)
	}
	for _, says := range []string{"has the login shell /bin/sh", "everyone can list /home/dffs"} {
		found, _ := m.check()
		if _, complains := has(found, fault{check: "login", level: "warning", says: says}); !complains {
			t.Errorf("check does not say %q: %+v", says, found)
		}
	}
}
