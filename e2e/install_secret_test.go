package e2e

import (
	"strings"
	"testing"
)

const givenKey = "canary-0123456789-abcdefghijk"

// sampler looks into every later process as fast as it can, for the key of which it has the two halves,
// until it is told to stop, and prints where it saw it: cmdline or environ, and the program. It also
// prints whether it saw the program run as `configure`, which is what takes the key.
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

// watched runs an installation while the sampler watches, and returns what it saw: again, as long as it
// was too slow to see anything that counts.
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

func TestInstallShowsAKeyFromAFileToNobody(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	install := checkout + "/install.sh "
	m.write("/root/key", givenKey+"\n")
	// Whatever stands in the caller's environment under the names that install.sh uses, all exported.
	hostile := "SECRET_KEY=none BIND=none SECRET_KEY_FROM=none"
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
		m.run(checkout+"/install.sh", "--uninstall", "--purge")
	}
	// What --help says of the other way, and proof that the sampler sees.
	if seen := m.watched(install + "--secret-key " + givenKey); !strings.Contains(seen, "cmdline of install.sh\n") {
		t.Errorf("--secret-key: seen:\n%s", seen)
	}
}

func TestInstallRefusesAKeyFileThatHoldsNoKey(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	install := checkout + "/install.sh --secret-key-file "
	m.refusal("cannot read /root/none", install+"/root/none")
	m.refusal("/dev/null is empty", install+"/dev/null")
	m.refusal("- is empty", install+"- </dev/null")
	m.write("/root/key", givenKey+"\nmore\n")
	output, status := m.tryInstall("--secret-key-file", "/root/key")
	if status != 1 || strings.Contains(output, givenKey) || !strings.Contains(output, "standard input") {
		t.Errorf("two lines: status %d\n%s", status, output)
	}
	if _, status := m.try("test", "-e", "/etc/dataflux-func-sidecar"); status == 0 {
		t.Error("two lines became a key")
	}
}
