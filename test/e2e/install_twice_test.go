package e2e

import "testing"

func TestInstall_SeveralAtOnce(t *testing.T) {
	m := boot(t)
	m.placeCheckout()
	output := m.sh(`
		run() { ` + checkout + `/install.sh --bind "$1" 2>&1; }
		run 127.0.0.1:8301 & first=$!
		run 127.0.0.1:8302 & second=$!
		run 127.0.0.1:8303 & third=$!
		wait $first; wait $second; wait $third`)
	wantSaid(t, output, "Another install.sh runs: waiting for it")
	m.checkAnswers(m.bind())
	if mode := m.run("stat", "-c", "%a", "/usr/local/bin/dataflux-func-sidecar"); mode != "711" {
		t.Errorf("the program has mode %s", mode)
	}

	m.sh(`flock /run/systemd/system true`) // the lock is free again
	m.write("/usr/local/sbin/flock", "#!/bin/sh\ncase $1 in -w) exit 1 ;; *) exec /usr/bin/flock \"$@\" ;; esac\n")
	m.sh("chmod +x /usr/local/sbin/flock; mkfifo /run/held; flock /run/systemd/system cat /run/held >/dev/null 2>&1 &")
	m.eventually("another holds the lock", func() bool {
		_, status := m.try("flock", "-n", "/run/systemd/system", "true")
		return status != 0
	})
	const said = "another install.sh still runs, and nothing was changed\nhint: run this again when it has ended"
	m.refusal(said, checkout+"/install.sh --bind 127.0.0.1:8304")
	m.refusal(said, checkout+"/install.sh --uninstall --purge")
	m.sh("echo >/run/held; rm /run/held /usr/local/sbin/flock")
	m.uninstall("--purge")
}
