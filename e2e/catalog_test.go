package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// explanation is an entry of the catalog: what `journalctl -x` shows beneath each entry of a kind.
type explanation struct{ id, text string }

var explanationField = regexp.MustCompile("@([A-Z_]+)@")

// fields are those that the text has systemd put in.
func (e explanation) fields() []string {
	var names []string
	for _, match := range explanationField.FindAllStringSubmatch(e.text, -1) {
		names = append(names, match[1])
	}
	return names
}

// explanations are those in English or, with the suffix " zh_CN", in Chinese.
func explanations(t *testing.T, suffix string) []explanation {
	t.Helper()
	file, err := os.ReadFile("../units/dataflux-func-sidecar.catalog")
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

// Every kind of entry is made to happen, and after an installation journalctl explains it with the
// entry's own values.
func TestJournalctlExplainsEveryKindOfEntry(t *testing.T) {
	m := installed(t)
	m.makeEventsOfCommands()
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
	// The C locale under another name: journalctl asks for the language, and the machine has no Chinese.
	m.sh("cp -r /usr/lib/locale/C.[uU]* /usr/lib/locale/zh_CN.utf8")
	for _, e := range chinese {
		m.checkExplanation(e, "zh_CN.UTF-8")
	}
	if len(english) < 17 || len(chinese) != len(english) {
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
	server := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go func() { _ = server.Serve(receiver) }()
	c.answer(m.t, map[string]any{"command": "true", "jobId": "delivered", "callbackURL": "http://127.0.0.1:8088/"})
	m.awaitEntry("Callback delivered")
	_ = server.Close()
	c.answer(m.t, map[string]any{"command": "sleep 60", "timeout": 0.1})
	if status, text, err := c.signedGet("/nowhere"); status != http.StatusNotFound {
		m.t.Fatalf("a request for nothing: %d %s %v", status, text, err)
	}
	m.run("kill", "-KILL", m.network())
	m.awaitEntry("The network role ended")
}

// makeEventsOfRestarts restarts with room for one command, so that another waits until it cannot start.
func (m *machine) makeEventsOfRestarts() {
	m.t.Helper()
	m.sh("printf 'MAX_RUNNING = 1\nMAX_QUEUED = 1\n' >> /etc/dataflux-func-sidecar; systemctl restart " + service)
	c := m.client(defaultAddress)
	m.sh("mkdir -m 0777 /tmp/gone")
	c.answer(m.t, map[string]any{"wait": false, "command": "while [ -d /tmp/gone ]; do sleep 0.05; done"})
	c.answer(m.t, map[string]any{"wait": false, "command": "pwd", "workdir": "/tmp/gone"})
	m.run("rmdir", "/tmp/gone")
	m.awaitEntry("Command was not started")
}

// makeEventsOfAJournalThatHangs has more refusals told than wait for it, and each is answered meanwhile.
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

// makeEventsOfAStartThatFails damages the record of a promised callback as well.
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

func (m *machine) awaitEntry(text string) {
	m.t.Helper()
	m.eventually("in the journal: "+text, func() bool {
		entries, _ := m.try("journalctl", "--quiet", "-u", service, "-o", "cat")
		return strings.Contains(entries, text)
	})
}

// checkFields looks at every entry of a kind: systemd prints the name of a field that one of them lacks.
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

// checkExplanation compares what journalctl shows beneath the latest entry of a kind with the catalog.
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
