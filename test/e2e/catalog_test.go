package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// explanation is an entry of the catalog, which `journalctl -x` shows below each entry of a kind.
type explanation struct{ id, text string }

var explanationField = regexp.MustCompile("@([A-Z_]+)@")

// fields returns the fields that systemd inserts into the text.
func (e explanation) fields() []string {
	var names []string
	for _, match := range explanationField.FindAllStringSubmatch(e.text, -1) {
		names = append(names, match[1])
	}
	return names
}

// explanations returns the entries in English or, with the suffix " zh_CN", in Chinese.
func explanations(t *testing.T, suffix string) []explanation {
	t.Helper()
	file, err := os.ReadFile("../../units/dataflux-func-sidecar.catalog")
	if err != nil {
		t.Fatal(err)
	}
	var all []explanation
	for _, entry := range strings.Split("\n"+string(file), "\n-- ")[1:] {
		first, text, _ := strings.Cut(entry, "\n")
		if id, of := strings.CutSuffix(first, suffix); of && len(id) == 32 {
			all = append(all, explanation{id, strings.TrimSpace(text)})
		}
	}
	return all
}

// TestCatalog_ExplainsEveryKindOfEntry makes every kind of entry happen. After an installation
// journalctl must explain each with the values of the entry.
func TestCatalog_ExplainsEveryKindOfEntry(t *testing.T) {
	m := installed(t)
	m.makeEventsOfCommands()
	m.makeEventsOfReloads()
	m.makeEventsOfRestarts()
	m.makeEventsOfAJournalThatHangs()
	m.makeEventsOfAStartThatFails()
	english, chinese := explanations(t, ""), explanations(t, " zh_CN")
	for _, e := range english {
		if seen, _ := m.try("journalctl", "--quiet", "MESSAGE_ID="+e.id); seen == "" {
			t.Errorf("this test has to make an entry of this kind happen, and did not:\n%s", e.text)
			continue
		}
		m.checkFields(e)
		m.checkExplanation(e, "C.UTF-8")
	}
	// The C locale under another name: journalctl asks for the language, and the machine has no
	// Chinese.
	m.sh("cp -r /usr/lib/locale/C.[uU]* /usr/lib/locale/zh_CN.utf8")
	for _, e := range chinese {
		m.checkExplanation(e, "zh_CN.UTF-8")
	}
	if len(english) < 20 || len(chinese) != len(english) {
		t.Errorf("%d explanations in English, %d in Chinese", len(english), len(chinese))
	}
}

func (m *machine) makeEventsOfCommands() {
	m.t.Helper()
	c := m.client(defaultAddress)
	// The first record in the state files, for makeEventsOfAStartThatFails.
	c.answer(m.t, map[string]any{"command": "echo owed", "jobId": "owed", "callbackURL": "http://127.0.0.1:9/"})
	receiver, err := m.listen("127.0.0.1:8088")
	if err != nil {
		m.t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: testkit.Patience, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go func() { _ = server.Serve(receiver) }()
	c.answer(m.t, map[string]any{"command": "true", "jobId": "delivered", "callbackURL": "http://127.0.0.1:8088/"})
	m.awaitEntry("Callback delivered")
	_ = server.Close()
	c.answer(m.t, map[string]any{"command": "sleep 60", "timeout": 0.1})
	c.answer(m.t, map[string]any{"command": "sleep 60", "jobId": "signalled", "wait": false})
	if status, text, err := c.signed("POST", "/jobs/signalled/signal", `{"signal":"TERM"}`); status != http.StatusOK {
		m.t.Fatalf("a signal: %d %s %v", status, text, err)
	}
	if status, text, err := c.signedGet("/nowhere"); status != http.StatusNotFound {
		m.t.Fatalf("a request for nothing: %d %s %v", status, text, err)
	}
	m.run("kill", "-KILL", m.network())
	m.awaitEntry("The network role ended")
}

// makeEventsOfReloads reloads with a limit of the network role, and then with an address.
func (m *machine) makeEventsOfReloads() {
	m.t.Helper()
	m.checkAnswers(defaultAddress) // by a network role, which can be replaced
	m.sh("echo 'MAX_BODY = 2000000' >> /etc/dataflux-func-sidecar; systemctl kill --signal=HUP --kill-who=main " + service)
	m.awaitEntry("Reloaded: ")
	m.awaitEntry("has replaced the former one")
	m.sh(`cp -p /etc/dataflux-func-sidecar /root/before
		sed -i 's/^BIND.*/BIND = "127.0.0.1:8098"/' /etc/dataflux-func-sidecar`)
	if out, status := m.try("systemctl", "reload", service); status == 0 {
		m.t.Errorf("a reload of BIND: got success, want a refusal: %s", out)
	}
	m.awaitEntry("cannot reload BIND")
	m.sh("mv /root/before /etc/dataflux-func-sidecar")
}

// makeEventsOfRestarts restarts with one slot for commands, so that another command waits until it
// cannot start.
func (m *machine) makeEventsOfRestarts() {
	m.t.Helper()
	m.sh("printf 'MAX_RUNNING = 1\nMAX_QUEUED = 1\nAUDIT = \"required\"\n' >> /etc/dataflux-func-sidecar; systemctl restart " + service)
	c := m.client(defaultAddress)
	m.sh("mkdir -m 0777 /tmp/gone")
	c.answer(m.t, map[string]any{"wait": false, "command": "while [ -d /tmp/gone ]; do sleep 0.05; done"})
	c.answer(m.t, map[string]any{"wait": false, "command": "pwd", "workdir": "/tmp/gone"})
	m.run("rmdir", "/tmp/gone")
	m.awaitEntry("Command was not started")
}

// makeEventsOfAJournalThatHangs causes more refusals than the queue of entries holds. Each must be
// answered meanwhile.
func (m *machine) makeEventsOfAJournalThatHangs() {
	m.t.Helper()
	c := m.client(defaultAddress)
	m.sh("kill -STOP $(systemctl show --value -p MainPID systemd-journald)")
	for range 2000 {
		if status, text, err := c.signedGet("/nowhere"); status != http.StatusNotFound {
			m.t.Errorf("while the journal hangs: %d %s %v", status, text, err)
			break
		}
	}
	m.sh("kill -CONT $(systemctl show --value -p MainPID systemd-journald)")
	m.awaitEntry("entries were lost")
}

// makeEventsOfAStartThatFails also damages the record of an undelivered callback.
func (m *machine) makeEventsOfAStartThatFails() {
	m.t.Helper()
	m.run("systemctl", "stop", service)
	m.sh(`printf X | dd of=/var/lib/dataflux-func-sidecar/deliveries-00.log bs=1 seek=45 conv=notrunc
		echo 'MAX_RUNING = 1' >> /etc/dataflux-func-sidecar`)
	m.try("systemctl", "start", service)
	m.awaitEntry("Not serving")
	m.sh("sed -i '/RUNING/d' /etc/dataflux-func-sidecar; systemctl restart " + service)
	m.awaitEntry("Callback lost")
}

// awaitEntry waits for an entry whose text matches a regular expression, and returns its text. It
// does not ask for the unit: journald cannot tell the unit of a process that has ended before its
// last entries were read.
func (m *machine) awaitEntry(expression string) (text string) {
	m.t.Helper()
	m.eventually("in the journal: "+expression, func() bool {
		var status int
		text, status = m.try("journalctl", "--quiet", "-o", "cat", "--case-sensitive=yes", "--grep", expression)
		return status == 0 && text != ""
	})
	return text
}

// checkFields looks at every entry of a kind: systemd prints the name of a field that one of them
// lacks.
func (m *machine) checkFields(e explanation) {
	m.t.Helper()
	for line := range strings.Lines(m.run("journalctl", "--quiet", "-o", "json", "MESSAGE_ID="+e.id)) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			m.t.Fatal(err)
		}
		for _, field := range e.fields() {
			if _, text := entry[field].(string); !text {
				m.t.Errorf("the catalog names %s, which this has not: %s", field, line)
			}
		}
	}
}

// checkExplanation compares the explanation that journalctl shows with the latest entry of a kind
// with the catalog.
func (m *machine) checkExplanation(e explanation, locale string) {
	m.t.Helper()
	latest := []string{"env", "LC_ALL=" + locale, "journalctl", "--quiet", "--no-pager", "--lines=1", "MESSAGE_ID=" + e.id}
	var entry map[string]any
	if err := json.Unmarshal([]byte(m.run(append(latest, "-o", "json")...)), &entry); err != nil {
		m.t.Fatal(err)
	}
	want := explanationField.ReplaceAllStringFunc(e.text, func(name string) string {
		value, _ := entry[strings.Trim(name, "@")].(string)
		return value
	})
	var shown []string
	for line := range strings.Lines(m.run(append(latest, "-x")...)) {
		if text, beneath := strings.CutPrefix(line, "░░"); beneath {
			shown = append(shown, strings.TrimSpace(text))
		}
	}
	wanted := strings.Split(want, "\n")
	for i := range wanted {
		wanted[i] = strings.TrimSpace(wanted[i])
	}
	if shown = slices.DeleteFunc(shown, blank); !slices.Equal(shown, slices.DeleteFunc(wanted, blank)) {
		m.t.Errorf("%s: journalctl -x shows %q\nwant %q", locale, shown, wanted)
	}
}

func blank(line string) bool { return line == "" }
