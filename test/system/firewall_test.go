package system

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// network is this host, a container and a neighbour in the LAN, each in a network namespace, with
// docker0 between the first two. The neighbour routes packets for 172.17.0.1 to this host.
type network struct {
	t                          *testing.T
	host, container, neighbour string
}

func newNetwork(t *testing.T) network {
	t.Helper()
	testkit.NeedRoot(t)
	testkit.NeedTools(t, "ip", "nft", "iptables", "iptables-legacy", "python3", "timeout")
	name := strings.ToLower(strings.ReplaceAll(t.TempDir(), "/", "")) // unique
	name = name[max(0, len(name)-20):]
	n := network{t, "dfh" + name, "dfc" + name, "dfn" + name}
	for _, namespace := range []string{n.host, n.container, n.neighbour} {
		n.sh("ip netns add " + namespace)
		t.Cleanup(func() { n.sh("ip netns del " + namespace) })
	}
	n.inHost(`ip link set lo up
		ip link add docker0 type bridge
		ip addr add 172.17.0.1/16 dev docker0
		ip link set docker0 up
		ip link add veth0 type veth peer name eth0 netns ` + n.container + `
		ip link set veth0 master docker0
		ip link set veth0 up
		ip link add lan type veth peer name eth0 netns ` + n.neighbour + `
		ip addr add 192.0.2.1/24 dev lan
		ip link set lan up`)
	n.sh("ip netns exec " + n.neighbour + ` sh -ec 'ip addr add 192.0.2.2/24 dev eth0; ip link set eth0 up; ip route add 172.17.0.1 via 192.0.2.1'`)
	n.sh("ip netns exec " + n.container + ` sh -ec 'ip addr add 172.17.0.2/16 dev eth0; ip link set eth0 up'`)
	return n
}

// listen starts a program that listens on 172.17.0.1:8099.
func (n network) listen() {
	n.t.Helper()
	listener := exec.Command("ip", "netns", "exec", n.host, "python3", "-c", `
import socket, sys
s = socket.create_server(("172.17.0.1", 8099), backlog=100)
print("listening", flush=True)
sys.stdin.read()`)
	out, err := listener.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if _, err = listener.StdinPipe(); err == nil {
		err = listener.Start()
	}
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		_ = listener.Process.Kill()
		_ = listener.Wait()
	})
	if _, err := out.Read(make([]byte, 1)); err != nil {
		n.t.Fatal(err)
	}
}

func (n network) sh(script string) string {
	n.t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		n.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

func (n network) inHost(script string) string {
	n.t.Helper()
	out, err := exec.Command("ip", "netns", "exec", n.host, "sh", "-ec", script).CombinedOutput()
	if err != nil {
		n.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// A connection that must succeed has much time. One that must not gets no answer.
const (
	soon  = "60" // seconds
	never = "0.5"
)

// connects tries to connect from one of the namespaces, for as long as given.
func (n network) connects(namespace, seconds string) bool {
	return exec.Command("ip", "netns", "exec", namespace, "timeout", seconds, "python3", "-c",
		`import socket; socket.create_connection(("172.17.0.1", 8099))`).Run() == nil
}

// isAnswered calls GET / from one of the namespaces.
func (n network) isAnswered(namespace string) bool {
	return exec.Command("ip", "netns", "exec", namespace, "python3", "-c",
		`import urllib.request; urllib.request.urlopen("http://172.17.0.1:8099")`).Run() == nil
}

// check returns what check says about the firewall.
func (n network) check(config string) (level, message, command string) {
	n.t.Helper()
	out, _ := exec.Command("ip", "netns", "exec", n.host, testkit.Program(n.t), "check", "--json", "--offline",
		"--config", config, "--unit-dir", "").Output() // it fails for other reasons
	var report struct {
		Findings []struct{ Check, Level, Message, Command string }
	}
	if err := json.Unmarshal(out, &report); err != nil {
		n.t.Fatalf("%v: %s", err, out)
	}
	for _, f := range report.Findings {
		if f.Check == "firewall" {
			return f.Level, f.Message, f.Command
		}
	}
	n.t.Fatalf("no finding about the firewall: %s", out)
	return
}

// ufwRules are those of `ufw enable` with ssh allowed, as far as a connection to this host passes
// them.
const ufwRules = `*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:ufw-after-input - [0:0]
:ufw-after-logging-input - [0:0]
:ufw-before-input - [0:0]
:ufw-before-logging-input - [0:0]
:ufw-logging-deny - [0:0]
:ufw-not-local - [0:0]
:ufw-reject-input - [0:0]
:ufw-skip-to-policy-input - [0:0]
:ufw-track-input - [0:0]
:ufw-user-input - [0:0]
-A INPUT -j ufw-before-logging-input
-A INPUT -j ufw-before-input
-A INPUT -j ufw-after-input
-A INPUT -j ufw-after-logging-input
-A INPUT -j ufw-reject-input
-A INPUT -j ufw-track-input
-A ufw-after-input -p udp -m udp --dport 137 -j ufw-skip-to-policy-input
-A ufw-after-input -m addrtype --dst-type BROADCAST -j ufw-skip-to-policy-input
-A ufw-after-logging-input -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j ufw-logging-deny
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT
-A ufw-before-input -j ufw-user-input
-A ufw-logging-deny -m conntrack --ctstate INVALID -m limit --limit 3/min --limit-burst 10 -j RETURN
-A ufw-logging-deny -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j ufw-logging-deny
-A ufw-not-local -j DROP
-A ufw-skip-to-policy-input -j DROP
-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT
COMMIT
`

// firewalldRules are those of the zones docker and public, in the form of firewalld.
const firewalldRules = `table inet firewalld {
	chain filter_INPUT {
		type filter hook input priority filter + 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		iifname "lo" accept
		ct state invalid drop
		jump filter_INPUT_ZONES
		reject with icmpx admin-prohibited
	}
	chain filter_INPUT_ZONES {
		iifname "docker0" goto filter_IN_%s
		goto filter_IN_public
	}
	chain filter_IN_docker {
		jump filter_IN_docker_allow
		meta l4proto { icmp, ipv6-icmp } accept
		accept
	}
	chain filter_IN_docker_allow {
	}
	chain filter_IN_public {
		jump filter_IN_public_allow
		meta l4proto { icmp, ipv6-icmp } accept
		reject with icmpx admin-prohibited
	}
	chain filter_IN_public_allow {
		tcp dport 22 accept
		ip6 daddr fe80::/64 udp dport 546 accept
	}
}
`

// strictRules are in the style of the examples of nftables.
const strictRules = `table inet filter {
	set office { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.0.2.1-192.0.2.9 } }
	chain input {
		type filter hook input priority filter; policy drop;
		ct state vmap { established : accept, related : accept, invalid : drop }
		tcp flags & (fin|syn|rst|ack) != syn ct state new drop
		iifname { "lo", "wg*" } accept
		limit rate 5/minute log prefix "input: "
		meta l4proto vmap { icmp : accept, udp : goto named }
		ip saddr @office tcp dport { 22, 8000-9000 } accept
		tcp dport 22 accept
	}
	chain named { udp dport 53 accept; }
}
`

func nft(rules string) string { return "nft -f - <<'END'\n" + rules + "END\n" }

// Whether a container really connects is compared with what check says, and its rule must help.
func TestCheck_Firewall(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.listen()
	p := newPlace(t)
	p.write("SECRET_KEY=\"" + givenKey + "\"\nWORKDIR=\"/\"\n")
	for _, test := range []struct {
		name, script string
		passes       bool
		fix          string
	}{
		{"no rule", "", true, ""},
		{
			"nftables that drop", nft(strictRules), false,
			`nft insert rule inet filter input iifname docker0 ip daddr 172.17.0.1 tcp dport 8099 accept`,
		},
		{"nftables that permit the network", nft(strings.ReplaceAll(strictRules, "10.0.0.0/8", "172.16.0.0/12")), true, ""},
		{"nftables before that", nft("table ip early { chain pre { type filter hook prerouting priority raw; iifname docker0 tcp dport 8000-8100 drop; }; }\n"), false, "nft insert rule ip early pre "},
		{"zone of firewalld that rejects", nft(fmt.Sprintf(firewalldRules, "public")), false, "nft insert rule inet firewalld filter_INPUT iifname docker0"},
		{"zone of firewalld that accepts", nft(fmt.Sprintf(firewalldRules, "docker")), true, ""},
		{
			"rules of ufw", "iptables-restore <<'END'\n" + ufwRules + "END\n", false,
			"iptables -t filter -I INPUT -i docker0 -d 172.17.0.1 -p tcp --dport 8099 -j ACCEPT",
		},
		{
			"rules of ufw that permit docker0",
			"iptables-restore <<'END'\n" + strings.Replace(ufwRules, "COMMIT", "-A ufw-user-input -i docker+ -p tcp -m multiport --dports 80,8090:8099 -m comment --comment \"for Func\" -j ACCEPT\nCOMMIT", 1) + "END\n", true, "",
		},
		{"raw table", "iptables -t raw -A PREROUTING ! -i lo -p tcp --syn --dport 8099 -j DROP", false, "iptables -t raw -I PREROUTING "},
		{"the other iptables", "iptables-legacy -A INPUT -s 172.17.0.0/16 -j REJECT", false, "iptables-legacy -t filter -I INPUT "},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := n
			n.t = t
			defer n.inHost("nft flush ruleset; iptables-legacy -F; iptables-legacy -P INPUT ACCEPT")
			n.inHost(test.script)
			level, message, command := n.check(p.path)
			if test.passes {
				if level != "ok" || !strings.HasPrefix(message, "no rule of ") || !n.connects(n.container, soon) {
					t.Errorf("got %s: %s, and a connection: %t", level, message, n.connects(n.container, soon))
				}
				return
			}
			if level != "warning" || !strings.HasPrefix(command, test.fix) || n.connects(n.container, never) {
				t.Fatalf("got %s: %s: run %s, and a connection: %t, want the command %s", level, message, command, n.connects(n.container, never), test.fix)
			}
			n.inHost(command)
			if level, message, _ := n.check(p.path); level != "ok" || !n.connects(n.container, soon) {
				t.Errorf("after its command: got %s: %s", level, message)
			}
		})
	}
	n.inHost(nft("table ip f { chain i { type filter hook input priority 0; meta cpu > 100 tcp dport 8099 drop; }; }\n"))
	if level, message, _ := n.check(p.path); level != "ok" || !strings.HasPrefix(message, "cannot judge whether the firewall lets containers on ") || !strings.HasSuffix(message, "nft rule ip f i handle 2") {
		t.Errorf("a rule that cannot be judged: got %s: %s", level, message)
	}
}

// A neighbour in the LAN reaches the address of docker0, unless CALLERS keeps it out.
func TestCallers_NeighbourInTheLAN(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	p := newPlace(t)
	dir := t.TempDir()
	write := func(line string) {
		p.write("SECRET_KEY=\"" + givenKey + "\"\nWORKDIR=\"/\"\nBIND=\"172.17.0.1:8099\"\n" + line + "\n")
	}
	write("")
	args := []string{"netns", "exec", n.host, testkit.Program(t)}
	daemon := exec.Command("ip", append(args, "serve", "--bind", "172.17.0.1:8099", "--config", p.path, "--state-dir", dir, "--user", "nobody")...)
	var log bytes.Buffer
	daemon.Stderr = &log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		_ = daemon.Wait()
		if t.Failed() {
			t.Logf("%s", log.String())
		}
	})
	testkit.Eventually(t, "the daemon to answer", func() bool { return n.isAnswered(n.host) })
	for _, step := range []struct {
		line                       string
		container, neighbour, host bool
	}{
		{"", true, true, true},
		{`CALLERS = "fd00::/8, 172.16.0.0/12"`, true, false, true},
		{`CALLERS = "172.17.0.2"`, true, false, false},
		{`CALLERS = "192.0.2.0/24"`, false, true, false},
		{"", true, true, true},
	} {
		write(step.line)
		if out, err := exec.Command("ip", append(args, "reload", "--config", p.path, "--state-dir", dir)...).CombinedOutput(); err != nil {
			t.Fatalf("reload: %v: %s", err, out)
		}
		for namespace, want := range map[string]bool{n.container: step.container, n.neighbour: step.neighbour, n.host: step.host} {
			if got := n.isAnswered(namespace); got != want {
				t.Errorf("%q: from %s: got an answer %t, want %t", step.line, namespace[:3], got, want)
			}
		}
		_, out, _ := testkit.Run(t, "", "check", "--config-only", "--config", p.path, "--user", "nobody")
		if warns := strings.Contains(out, "warning: CALLERS does not permit this host itself"); warns == step.host {
			t.Errorf("%q: check warns about this host: %t\n%s", step.line, warns, out)
		}
	}
}
