package check

import (
	"crypto/ed25519"
	"net/netip"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/policy"
)

func TestOwnAddress(t *testing.T) {
	for bind, want := range map[string]string{
		"0.0.0.0:1": "127.0.0.1", "127.0.0.2:1": "127.0.0.1", "172.17.0.1:1": "172.17.0.1",
		"[::]:1": "::1", "[::1]:1": "::1",
	} {
		addresses, err := config.ParseBind(bind)
		if err != nil {
			t.Fatal(err)
		}
		if got := ownAddress(addresses[0]).String(); got != want {
			t.Errorf("%s: got %s, want %s", bind, got, want)
		}
	}
}

func TestKeys_Named(t *testing.T) {
	const good = "PBTUXGJLDDOVPN3PX6I2MDXNSXFU3GQE"
	now := time.Date(2027, 6, 1, 0, 0, 0, 0, time.UTC)
	key := func(expires time.Time, secrets ...string) config.NamedKey {
		k := config.NamedKey{Key: policy.Key{Name: "deploy", Actions: []string{"a"}, Expires: expires}}
		for _, s := range secrets {
			k.Secrets = append(k.Secrets, config.Key(s))
		}
		return k
	}
	never := time.Time{}
	for _, test := range []struct {
		name string
		key  config.NamedKey
		want []string // of each warning; none: all is well
	}{
		{"good", key(never, good), nil},
		{"a year to go", key(now.AddDate(1, 0, 0), good), nil},
		{"31 days to go", key(now.AddDate(0, 0, 31), good), nil},
		{"30 days to go", key(now.AddDate(0, 0, 30), good), []string{"KEY.deploy expires at 2027-07-01T00:00:00Z: write a later EXPIRES"}},
		{"a moment to go", key(now.Add(1), good), []string{"KEY.deploy expires at"}},
		{"expired", key(now, good), []string{"KEY.deploy has expired at 2027-06-01T00:00:00Z, and its requests are refused"}},
		{"120 bits", key(never, "0123456789abcde"), []string{"secret 1 of 1 of KEY.deploy has fewer than 16 bytes"}},
		{"128 bits", key(never, "0123456789abcdef"), nil},
		{"a rotation", key(never, good, "short"), []string{
			"secret 2 of 2 of KEY.deploy has fewer than 16 bytes", "2 secrets of KEY.deploy are accepted: remove the second, with configure --drop-old-secret deploy, when",
		}},
		{"one character", key(never, strings.Repeat("x", 32)), []string{"secret 1 of 1 of KEY.deploy repeats one character"}},
		{"a pasted line", key(never, "SECRET_KEY = 0123456789"), []string{"secret 1 of 1 of KEY.deploy holds the word SECRET_KEY"}},
	} {
		found := checkNamedKey(test.key, now)
		if test.want == nil {
			if len(found) != 1 || found[0] != ok("KEY.deploy has %d bytes: the key deploy may run the action a", len(test.key.Secrets[0])) {
				t.Errorf("%s: got\n%s\nwant nothing wrong", test.name, said(found))
			}
			continue
		}
		if len(found) != len(test.want) {
			t.Errorf("%s: got\n%s\nwant %q", test.name, said(found), test.want)
			continue
		}
		for i, want := range test.want {
			if found[i].Level != Warning || !strings.Contains(found[i].Message, want) {
				t.Errorf("%s: got %s, want a warning with %q", test.name, found[i], want)
			}
		}
		for _, secret := range test.key.Secrets {
			if strings.Contains(said(found), string(secret)) {
				t.Errorf("%s: got a secret in\n%s", test.name, said(found))
			}
		}
	}
}

// Public keys: what signs is told, a rotation is, and how callers address the host.
func TestKeys_PublicKeys(t *testing.T) {
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key := config.NamedKey{Key: policy.Key{Name: "fleet", AnyCommand: true}, PublicKeys: []ed25519.PublicKey{public}}
	both := key
	both.Secrets = []config.Key{config.Key("a-long-secret-of-both")}
	rotated := key
	rotated.PublicKeys = append(rotated.PublicKeys, public)
	for want, k := range map[string]config.NamedKey{
		"ok: KEY.fleet has a public key, and no secret, so no callbacks: the key fleet may run any command":                                           key,
		"ok: KEY.fleet has 21 bytes and a public key: the key fleet may run any command":                                                              both,
		"warning: 2 public keys of KEY.fleet are accepted: remove the second, with configure --drop-old-secret fleet, when its callers use the first": rotated,
	} {
		if got := strings.TrimSpace(said(checkNamedKey(k, time.Now()))); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	settings := config.Config{Bind: []config.Address{{Network: "tcp", AddrPort: netip.MustParseAddrPort("192.0.2.7:8099")}}}
	if found := checkSignedHosts(settings, "web1"); found != nil {
		t.Errorf("without public keys: got %s, want nothing", said(found))
	}
	settings.NamedKeys = []config.NamedKey{key}
	if got := said(checkSignedHosts(settings, "web1")); !strings.Contains(got, "they connect to (192.0.2.7:8099), or as web1 with its port; other") {
		t.Errorf("got %s", got)
	}
	if got := said(checkSignedHosts(settings, "localhost.localdomain")); !strings.Contains(got, "(192.0.2.7:8099); other names") {
		t.Errorf("a name of many hosts: got %s", got)
	}
	settings.SignedHosts = []string{"api.example.com", "gateway:8101"}
	if got := said(checkSignedHosts(settings, "web1")); !strings.Contains(got, "as api.example.com, gateway:8101 (SIGNED_HOSTS)") {
		t.Errorf("got %s", got)
	}
}

func TestKeys_FromOfNoCaller(t *testing.T) {
	networks := func(texts ...string) (all []netip.Prefix) {
		for _, text := range texts {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	tcp, unix := config.Address{Network: "tcp"}, config.Address{Network: "unix", Path: "/s"}
	for _, test := range []struct {
		name          string
		callers, from []netip.Prefix
		fromUnix      bool
		bind          config.Address
		want          []string
	}{
		{"no FROM", networks("10.0.0.0/8"), nil, false, tcp, nil},
		{"no CALLERS", nil, networks("192.0.2.0/24"), false, tcp, nil},
		{"inside", networks("10.0.0.0/8"), networks("10.1.0.0/16"), false, tcp, nil},
		{"around", networks("10.1.0.0/16"), networks("10.0.0.0/8"), false, tcp, nil},
		{"one outside", networks("10.0.0.0/8", "fd00::/8"), networks("fd00::7/128", "192.0.2.0/24"), false, tcp, []string{"FROM of KEY.k has 192.0.2.0/24, whose connections are closed"}},
		{"a socket", nil, nil, true, unix, nil},
		{"no socket", nil, nil, true, tcp, []string{`FROM of KEY.k has "unix", and BIND has no Unix socket`}},
	} {
		settings := config.Config{Callers: test.callers, Bind: []config.Address{test.bind}}
		found := checkFrom(settings, policy.Key{Name: "k", From: test.from, FromUnix: test.fromUnix})
		if len(found) != len(test.want) || len(found) == 1 && !strings.Contains(found[0].Message, test.want[0]) {
			t.Errorf("%s: got %q, want %q", test.name, said(found), test.want)
		}
	}
}

func TestCall_Key(t *testing.T) {
	named := func(name string, change func(*policy.Key)) config.NamedKey {
		k := config.NamedKey{Key: policy.Key{Name: name}, Secrets: []config.Key{config.Key(name + "-new"), config.Key(name + "-old")}}
		change(&k.Key)
		return k
	}
	anyCommand := func(k *policy.Key) { k.AnyCommand = true }
	lan := func(k *policy.Key) {
		k.AnyCommand, k.From = true, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	}
	unix := func(k *policy.Key) { k.AnyCommand, k.FromUnix = true, true }
	expired := func(k *policy.Key) { k.AnyCommand, k.Expires = true, time.Unix(1, 0) }
	none := func(*policy.Key) {}
	for _, test := range []struct {
		name, bind string
		keys       []config.Key
		named      []config.NamedKey
		want       string // the secret
	}{
		{"SECRET_KEY first", "127.0.0.1:1", []config.Key{config.Key("default")}, []config.NamedKey{named("a", anyCommand)}, "default"},
		{"any command before actions", "127.0.0.1:1", nil, []config.NamedKey{named("a", none), named("b", anyCommand), named("c", anyCommand)}, "b-new"},
		{"actions alone", "127.0.0.1:1", nil, []config.NamedKey{named("a", none), named("b", none)}, "a-new"},
		{"from elsewhere", "127.0.0.1:1", nil, []config.NamedKey{named("a", lan), named("b", none)}, "b-new"},
		{"from a Unix socket", "/run/x.sock", nil, []config.NamedKey{named("a", lan), named("b", none), named("c", unix)}, "c-new"},
		{"expired", "127.0.0.1:1", nil, []config.NamedKey{named("a", expired), named("b", none)}, "b-new"},
		{"none", "127.0.0.1:1", nil, []config.NamedKey{named("a", expired), named("b", lan), named("c", unix)}, ""},
	} {
		addresses, err := config.ParseBind(test.bind)
		if err != nil {
			t.Fatal(err)
		}
		c := &checker{settings: config.Config{Keys: test.keys, NamedKeys: test.named}}
		if _, got := c.callKey(addresses[0]); string(got) != test.want {
			t.Errorf("%s: got %q, want %q", test.name, string(got), test.want)
		}
	}
}
