package firewall

import (
	"net/netip"
	"testing"
)

func fromContainer() Connection {
	return Connection{
		Interface: "docker0", From: netip.MustParseAddr("172.17.0.2"),
		To: netip.MustParseAddr("172.17.0.1"), Port: 8099,
	}
}

// TestCheck_Firewall of test/system compares the verdicts with what the kernel does.
func TestJudge_IPTables(t *testing.T) {
	for rules, want := range map[string]Verdict{
		"":                                 Accepted,
		"*filter\n:INPUT DROP [0:0]\n":     Dropped,
		"*filter\n:FORWARD DROP [0:0]\n":   Accepted,
		"*nat\n:INPUT DROP [0:0]\n":        Accepted,
		"*security\n:INPUT DROP [0:0]\n":   Dropped,
		"*filter\n:INPUT ACCEPT\n-A INPUT": Accepted,
		"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m recent --update --seconds 60 -j DROP\n":                   Unknown,
		"*filter\n:INPUT DROP [0:0]\n-A INPUT -m recent --update --seconds 60 -j DROP\n":                     Dropped,
		"*filter\n:INPUT DROP [0:0]\n-A INPUT -m set --match-set s src -j ACCEPT\n":                          Unknown,
		"*filter\n:INPUT DROP [0:0]\n-A INPUT -j NFQUEUE --queue-num 0\n":                                    Unknown,
		"*filter\n:INPUT DROP [0:0]\n-A INPUT -j EXTENSION\n":                                                Unknown,
		"*filter\n:INPUT DROP [0:0]\n-A INPUT ! -s 10.0.0.0/8 -i docker+ -p tcp -j ACCEPT\n":                 Accepted,
		"*filter\n:INPUT DROP [0:0]\n:loop - [0:0]\n-A INPUT -g loop\n-A INPUT -j ACCEPT\n-A loop -j loop\n": Dropped,
	} {
		got := Rules{tables: []listing{{"iptables", rules}}}.Judge(fromContainer())
		if got.Verdict != want || (got.Verdict == Unknown) != (got.Doubt != "") {
			t.Errorf("%q: got %+v, want %d", rules, got, want)
		}
	}
}

func FuzzJudge(f *testing.F) {
	f.Add(`{"nftables":[{"chain":{"family":"ip","table":"t","name":"c","type":"filter","hook":"input","policy":"drop"}},`+
		`{"rule":{"family":"ip","table":"t","chain":"c","expr":[{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":{"set":["lo"]}}},`+
		`{"vmap":{"key":{"ct":{"key":"state"}},"data":{"set":[["new",{"jump":{"target":"c"}}]]}}}]}}]}`,
		"*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp ! --tcp-flags FIN,SYN SYN -m comment --comment \"a b\" -j x\n")
	f.Fuzz(func(t *testing.T, nft, tables string) {
		r := Rules{nft: []byte(nft), tables: []listing{{"iptables", tables}}}
		if got := r.Judge(fromContainer()); got.Verdict == Unknown && got.Doubt == "" {
			t.Errorf("got %+v, want a reason", got)
		}
	})
}
