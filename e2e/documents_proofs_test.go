package e2e

// step is a command of the documents that is run in the machine, in the order of this list.
type step struct {
	command string
	says    string // what its output has besides what the document shows
	before  string // a script that brings about what the command is about
}

// steps begin on a machine that serves a release folder to itself and has nothing else.
func steps() []step {
	const (
		away         = `! ss -ltn | grep 18099 && systemctl stop dataflux-func-sidecar; dataflux-func-sidecar configure --bind 127.0.0.1:8099,192.0.2.7:8099; systemctl daemon-reload; systemctl start dataflux-func-sidecar`
		treeIsUp     = `until pgrep -fx 'sleep 60' && pgrep -fx 'sleep 50' && pgrep -fx 'sleep 30'; do sleep 0.1; done`
		otherMetrics = `ip addr add 192.0.2.7/32 dev lo; mkdir /etc/systemd/system/dataflux-func-sidecar-metrics.socket.d; printf '[Socket]\nListenStream=\nListenStream=192.0.2.7:18099\n' > /etc/systemd/system/dataflux-func-sidecar-metrics.socket.d/override.conf; systemctl daemon-reload`
		keyInFile    = `echo a-key-of-the-documents-test > key`
	)
	return []step{
		{command: "curl -fsSO https://YOUR-SERVER/download.sh"},
		{command: "sh download.sh --url https://YOUR-SERVER", says: "all checksums are right"},
		{command: "cd dataflux-func-sidecar && sudo ./install.sh", says: "and have fun!"},
		{command: "curl http://127.0.0.1:8099", says: "Welcome"},
		{command: "sudo dataflux-func-sidecar configure --print-summary", says: "Secret Key:"},
		{command: "sudo dataflux-func-sidecar shell 'hostname; id -un'", says: "sidecar-host\ndffs"},
		{command: "sudo dataflux-func-sidecar check", says: "ok: a signed call"},
		{command: "sudo journalctl -u dataflux-func-sidecar -n 20", says: "hostname; id -un"},
		{command: "sudo dataflux-func-sidecar jobs", says: "hostname; id -un"},
		{command: "sudo journalctl -x -u dataflux-func-sidecar -p warning", before: "curl -s -X POST http://127.0.0.1:8099/shell; sleep 6", says: "the clocks differ"},
		{command: "sudo journalctl -x -u dataflux-func-sidecar -p warning -n 20", says: "the clocks differ"},

		{command: "sudo dataflux-func-sidecar shell --follow 'make backup'", says: "backup of dffs"},
		{command: "sudo dataflux-func-sidecar shell --no-wait --job-id backup 'make backup'", says: "backup"},
		{command: "sudo dataflux-func-sidecar cancel backup", says: "backup"},
		{command: "sudo dataflux-func-sidecar sign http://127.0.0.1:8099/shell '{\"command\":\"id -un\",\"jobId\":\"demo-1\"}' | curl --config -", says: `"ok":true`},
		{command: "sudo dataflux-func-sidecar sign DELETE http://127.0.0.1:8099/jobs/demo-1 | curl --config -", says: `"ok":true`},
		{command: "sudo journalctl SIDECAR_JOB_ID=demo-1", says: "id -un"},
		{command: "sudo dataflux-func-sidecar shell --no-wait --job-id tree 'sleep 50 & setsid sleep 60 & sleep 30'", says: "tree"},
		{command: "ps -u dffs -o user,pid,ppid,pgid,args --forest", before: treeIsUp, says: "dataflux-func-sidecar network"},
		{command: "sudo dataflux-func-sidecar cancel tree", says: "tree: is being ended"},

		{command: "date -u", says: "UTC"},
		{command: "timedatectl show -p NTPSynchronized", says: "NTPSynchronized="},
		{command: "sudo ss -ltnp 'sport = :8099'", says: "127.0.0.1:8099"},
		{command: "ip -4 addr show docker0", before: "ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0", says: "172.17.0.1"},
		{command: "sudo dataflux-func-sidecar shell 'echo $PATH'", says: "/usr/bin"},
		{command: "sudo -u dffs test -w /home/dffs"},
		{command: "sudo dataflux-func-sidecar shell 'id; ls -ld .'", says: "dffs"},
		{command: "systemctl status dataflux-func-sidecar dataflux-func-sidecar.socket", says: "active (running)"},
		{command: "systemctl cat dataflux-func-sidecar.service", says: "ExecStart="},

		{command: "sudo dataflux-func-sidecar check --config-only", says: "ok: "},
		{command: "sudo dataflux-func-sidecar configure", says: "BIND: kept"},
		{command: "sudo dataflux-func-sidecar configure --bind 127.0.0.1:8099,172.18.0.1:8099", says: "systemctl"},
		{command: "sudo systemctl daemon-reload"},
		{command: "sudo systemctl stop dataflux-func-sidecar.service dataflux-func-sidecar.socket"},
		{command: "sudo systemctl start dataflux-func-sidecar"},
		{command: "sudo dataflux-func-sidecar configure --bind '127.0.0.1:8099,[::1]:8099,/run/sidecar.sock'", says: "systemctl"},
		{command: "sudo systemctl stop dataflux-func-sidecar", before: "systemctl daemon-reload"},
		{command: "sudo systemctl restart dataflux-func-sidecar", before: "systemctl stop dataflux-func-sidecar.socket"},
		{command: "sudo dataflux-func-sidecar check --json", says: `"ok":true`},
		{command: "systemctl is-active dataflux-func-sidecar", says: "active"},
		{command: "systemctl show -p StatusText -p NRestarts dataflux-func-sidecar", says: "StatusText=Serving"},
		{command: "curl -fsS http://127.0.0.1:8099", says: "Welcome"},
		{command: "sudo journalctl -u dataflux-func-sidecar", says: "Command finished after"},

		{command: "sudo systemctl enable dataflux-func-sidecar-metrics.socket && sudo systemctl restart dataflux-func-sidecar"},
		{command: "curl -fsS http://127.0.0.1:18099/metrics", says: `dataflux_func_sidecar_build_info{version="1.`},
		{command: "sudo systemctl stop dataflux-func-sidecar-metrics.socket && sudo systemctl restart dataflux-func-sidecar", before: otherMetrics},
		{command: "sudo systemctl disable --now dataflux-func-sidecar-metrics.socket && sudo systemctl restart dataflux-func-sidecar", before: "curl -fsS http://192.0.2.7:18099/metrics"},

		{command: "sudo ./install.sh --secret-key-file ./key", before: keyInFile, says: "a-key-of-the-documents-test"},
		{command: "dataflux-func-sidecar shell --url http://192.0.2.7:8099 --secret-key-file ./key 'uptime'", before: away, says: "load average"},
		{command: "dataflux-func-sidecar version --url http://192.0.2.7:8099", says: "http://192.0.2.7:8099: 1."},
		{command: "sudo systemctl set-property dataflux-func-sidecar.service MemoryMax=2G TasksMax=500"},
		{command: "sudo ./install.sh --bind '127.0.0.1:8200,[::1]:8200'", says: "Now open 127.0.0.1:8200,[::1]:8200"},
		{command: "sudo ./install.sh --uninstall", says: "Stopped the service"},
		{command: "sudo ./install.sh --uninstall --purge", says: "Removed user dffs"},
	}
}

// elsewhere are commands that another test or the CI runs: a file, and a text in it that does.
func elsewhere() map[string][2]string {
	return map[string][2]string{
		"make test":   {"../.ci/run", "GOFLAGS=-v make test"},
		"make lint":   {"../.ci/run", "make lint"},
		"make fuzz":   {"../.ci/run", "make fuzz"},
		"make matrix": {"../.ci/run", "dev/matrix.sh"},
		"make help":   {"documents_test.go", "TestMakeHelpListsTheTargets"},
		"make dist":   {"../release/dist_test.go", "dist.sh"},
		"sudo apt install ./dataflux-func-sidecar_1.0.0-1_amd64.deb":  {"package_deb_test.go", "func TestDebianPackageFromInstallationToPurge"},
		"sudo dnf install ./dataflux-func-sidecar-1.0.0-1.x86_64.rpm": {"package_rpm_test.go", "rpm"},
		"sudo systemctl enable --now dataflux-func-sidecar":           {"package_rpm_test.go", "enable"},
	}
}

// untried are the commands that nothing proves, each with the reason.
func untried() map[string]string {
	return map[string]string{
		"make run":    "serves until Ctrl-C, in the foreground of a terminal",
		"make faults": "a long run of what `make test` runs briefly",
		"make bench":  "takes minutes, and decides about nothing",
		"docker exec FUNC-CONTAINER curl http://172.17.0.1:8099": "needs Docker and DataFlux Func",
	}
}
