package e2e

import (
	"strings"
	"testing"
)

const givenKey = "canary-0123456789-abcdefghijk"

// sampler searches every later process for the key, as fast as it can, until /run/sampling is
// removed. Its arguments are the two halves of the key. It prints where it saw the key (cmdline or
// environ, and the program), and whether it saw the program run as `configure`, which receives the
// key.
const sampler = `
import os, sys, time
key = (sys.argv[1] + sys.argv[2]).encode()
seen, end = set(), time.time() + 60
open('/run/sampling', 'w')
while os.path.exists('/run/sampling') and time.time() < end:
    for pid in os.listdir('/proc'):
        if not pid.isdigit() or int(pid) <= os.getpid():
            continue
        for part in ('cmdline', 'environ'):
            try:
                data = open(f'/proc/{pid}/{part}', 'rb').read()
                if key in data:
                    seen.add(part + ' of ' + open(f'/proc/{pid}/comm').read().strip())
            except OSError:
                continue
            if b'\0configure\0' in data:
                seen.add('configure')
print(*sorted(seen), sep='\n')
`

// watched runs an installation while the sampler watches, and returns the output of the sampler. It
// repeats if the sampler was too slow to see `configure`.
func (m *machine) watched(install string) (seen string) {
	m.t.Helper()
	m.write("/root/sampler.py", sampler)
	for range 10 {
		seen = m.sh(`rm -f /run/sampling
			python3 /root/sampler.py ` + givenKey[:10] + ` ` + givenKey[10:] + ` >/root/seen &
			while [ ! -e /run/sampling ]; do sleep 0.05; done
			` + install + ` >/dev/null 2>/root/said || { cat /root/said; exit 1; }
			rm /run/sampling
			wait
			cat /root/seen`)
		if strings.Contains(seen, "configure") {
			break
		}
	}
	return seen
}

func TestInstall_KeyFileIsNotShown(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	install := checkout + "/install.sh "
	m.write("/root/key", givenKey+"\n")
	// The caller's environment has the names that install.sh uses, all exported.
	hostile := "SECRET_KEY=none BIND=none SECRET_KEY_FROM=none earlier=none summary=none"
	for _, way := range []string{
		"env " + hostile + " " + install + "--secret-key-file /root/key",
		"env " + hostile + " " + install + "--secret-key-file - </root/key",
		"env " + hostile + " SHELLOPTS=allexport bash " + install + "--secret-key-file=/root/key",
	} {
		if seen := m.watched(way); seen != "configure" {
			t.Errorf("%s: seen:\n%s", way, seen)
		}
		if key := m.secretKey(); key != givenKey {
			t.Errorf("%s: the key is %q", way, key)
		}
		// A change of an existing configuration, which install.sh keeps in case of a refusal.
		if seen := m.watched("env " + hostile + " " + install + "--bind 127.0.0.1:8200"); seen != "configure" {
			t.Errorf("%s, then another address: seen:\n%s", way, seen)
		}
		m.run(checkout+"/install.sh", "--uninstall", "--purge")
	}
	// The control: --secret-key shows the key, as --help says, so the sampler works.
	if seen := m.watched(install + "--secret-key " + givenKey); !strings.Contains(seen, "cmdline of install.sh\n") {
		t.Errorf("--secret-key: seen:\n%s", seen)
	}
}

func TestInstall_KeyFileWithoutAKey(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	install := checkout + "/install.sh --secret-key-file "
	m.refusal("cannot read /root/none", install+"/root/none")
	m.refusal("/dev/null is empty", install+"/dev/null")
	m.refusal("- is empty", install+"- </dev/null")
	m.write("/root/key", givenKey+"\nmore\n")
	for _, mode := range []string{"0640", "0604", "0620"} {
		m.run("chmod", mode, "/root/key")
		m.refusal("other users can read or write /root/key", install+"/root/key")
	}
	m.run("ln", "-s", "key", "/root/link")
	m.refusal("where its mode cannot be changed, use --secret-key-file - </root/link", install+"/root/link")
	m.run("mkfifo", "-m", "0644", "/root/fifo") // the mode of a FIFO says nothing about the key
	m.refusal("/root/fifo is empty", ": >/root/fifo & "+install+"/root/fifo")
	m.run("chmod", "0600", "/root/key")
	output, status := m.tryInstall("--secret-key-file", "/root/link")
	if status != 1 || strings.Contains(output, givenKey) || !strings.Contains(output, "standard input") {
		t.Errorf("two lines: status %d\n%s", status, output)
	}
	if _, status := m.try("test", "-e", "/etc/dataflux-func-sidecar"); status == 0 {
		t.Error("two lines became a key")
	}
}
