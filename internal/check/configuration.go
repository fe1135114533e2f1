package check

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/host"
	"dataflux-func-sidecar/internal/policy"
)

// maxSoon is the time before the end of a key in which check reminds of it.
const maxSoon = 30 * 24 * time.Hour

// checkKeys finds keys that are short, look like an example or a mistake, are left from a rotation,
// expire soon, or are for callers who cannot connect.
func checkKeys(c *checker) (found []Finding) {
	keys := c.settings.Keys
	for i, key := range keys {
		name := fmt.Sprintf("SECRET_KEY %d of %d", i+1, len(keys))
		if doubt := doubtAbout(name, key); doubt != nil {
			found = append(found, *doubt)
		} else {
			found = append(found, ok("%s has %d bytes", name, len(key)))
		}
	}
	if len(keys) > 1 {
		found = append(found, warning("%d keys are accepted: remove the old ones from SECRET_KEY "+
			"when DataFlux Func uses the new one everywhere", len(keys)))
	}
	for _, key := range c.settings.NamedKeys {
		found = append(found, checkNamedKey(key, time.Now())...)
		found = append(found, checkFrom(c.settings, key.Key)...)
	}
	hostname, _ := os.Hostname() // empty if it has none
	return append(found, checkSignedHosts(c.settings, hostname)...)
}

// doubtAbout returns nil for a secret that looks like a good one. name is where it is in the
// configuration.
func doubtAbout(name string, secret config.Key) *Finding {
	var f Finding
	switch {
	case len(secret) < config.ShortKey:
		f = warning("%s has fewer than %d bytes: set a longer one here and in DataFlux Func", name,
			config.ShortKey)
	case bytes.Count(secret, secret[:1]) == len(secret):
		f = warning("%s repeats one character, like the example of a manual: set a random one "+
			"here and in DataFlux Func", name)
	case secret.Doubt() != "":
		f = warning("%s %s: compare it with the one in DataFlux Func", name, secret.Doubt())
	default:
		return nil
	}
	return &f
}

func checkNamedKey(key config.NamedKey, now time.Time) (found []Finding) {
	place := "KEY." + key.Name
	for i, secret := range key.Secrets {
		name := fmt.Sprintf("secret %d of %d of %s", i+1, len(key.Secrets), place)
		if doubt := doubtAbout(name, secret); doubt != nil {
			found = append(found, *doubt)
		}
	}
	if len(key.Secrets) > 1 {
		how := "with configure --drop-old-secret " + key.Name
		if key.SecretFile != "" {
			how = "from " + key.SecretPath()
		}
		found = append(found, warning("%d secrets of %s are accepted: remove the second, %s, when "+
			"its callers use the first", len(key.Secrets), place, how))
	}
	if len(key.PublicKeys) > 1 {
		found = append(found, warning("%d public keys of %s are accepted: remove the second, "+
			"with configure --drop-old-secret %s, when its callers use the first",
			len(key.PublicKeys), place, key.Name))
	}
	switch expires := key.Expires.UTC().Format(time.RFC3339); {
	case key.HasExpired(now):
		found = append(found, warning("%s has expired at %s, and its requests are refused: write "+
			"a later EXPIRES, or remove the table", place, expires))
	case !key.Expires.IsZero() && key.Expires.Sub(now) <= maxSoon:
		found = append(found, warning("%s expires at %s: write a later EXPIRES, or tell its "+
			"callers", place, expires))
	}
	if len(found) == 0 {
		found = append(found, ok("%s has %s: %s", place, credentialsOf(key), key.Describe()))
	}
	return found
}

// credentialsOf says what signs requests.
func credentialsOf(key config.NamedKey) string {
	switch {
	case len(key.PublicKeys) == 0:
		return fmt.Sprintf("%d bytes", len(key.Secrets[0]))
	case len(key.Secrets) == 0:
		return "a public key, and no secret, so no callbacks"
	}
	return fmt.Sprintf("%d bytes and a public key", len(key.Secrets[0]))
}

// checkSignedHosts says how callers with a private key address this host, if there are any.
func checkSignedHosts(settings config.Config, hostname string) []Finding {
	isPublic := func(k config.NamedKey) bool { return len(k.PublicKeys) > 0 }
	if !slices.ContainsFunc(settings.NamedKeys, isPublic) {
		return nil
	}
	if len(settings.SignedHosts) > 0 {
		return []Finding{ok("callers with a private key address this host as %s (SIGNED_HOSTS)",
			strings.Join(settings.SignedHosts, ", "))}
	}
	named := ""
	if name := policy.OwnName(hostname); name != "" {
		named = ", or as " + name + " with its port"
	}
	return []Finding{ok("callers with a private key address this host by the address of BIND that "+
		"they connect to (%s)%s; other names and translated addresses belong into SIGNED_HOSTS",
		config.JoinBind(settings.Bind), named)}
}

// checkFrom finds entries of FROM without effect, as no connection from there is accepted.
func checkFrom(settings config.Config, key policy.Key) (found []Finding) {
	for _, network := range key.From {
		if len(settings.Callers) > 0 && !slices.ContainsFunc(settings.Callers, network.Overlaps) {
			found = append(found, warning("FROM of KEY.%s has %s, whose connections are closed, "+
				"as CALLERS lacks it: add it there too, or leave it out here", key.Name, network))
		}
	}
	isUnix := func(a config.Address) bool { return a.Network == "unix" }
	if key.FromUnix && !slices.ContainsFunc(settings.Bind, isUnix) {
		found = append(found, warning("FROM of KEY.%s has \"unix\", and BIND has no Unix socket: "+
			"add its path to BIND, or leave \"unix\" out", key.Name))
	}
	return found
}

// checkSudo reminds of ALLOW_SUDO.
func checkSudo(c *checker) []Finding {
	if !c.settings.AllowSudo {
		return nil
	}
	return []Finding{warning("ALLOW_SUDO = true: commands may become root as far as sudoers lets " +
		"them")}
}

// checkAddresses finds addresses of BIND that are open to everyone, or that systemd cannot listen
// on.
func checkAddresses(c *checker) (found []Finding) {
	for _, address := range c.settings.Bind {
		switch ip := address.AddrPort.Addr(); {
		case address.Network == "unix":
			found = append(found, checkSocketFile(address.Path))
		case ip.IsUnspecified():
			found = append(found, warning("BIND address %s takes connections on every address of "+
				"this host: write the addresses that DataFlux Func uses, or have a firewall",
				address))
		case ip.IsLoopback() && ip.Is4(), host.Assigned(ip):
			found = append(found, ok("BIND address %s is an address of this host", address))
		case ip.String() == host.StockBridge && !host.BridgeAddress().IsValid():
			found = append(found, ok("BIND address %s waits for docker0, which comes with Docker",
				address))
		default:
			found = append(found, warning("BIND address %s is on no interface now (a Docker "+
				"bridge comes with its network): nothing to do if it will be, as the socket waits "+
				"for it", address))
		}
	}
	return found
}

// checkCallers finds addresses that this host itself cannot call.
func checkCallers(c *checker) (found []Finding) {
	for _, address := range c.settings.Bind {
		if !c.permitsItself(address) {
			found = append(found, warning("CALLERS does not permit this host itself to call %s, "+
				"as shell and check do: add %s", address, ownAddress(address)))
		}
	}
	if len(c.settings.Callers) > 0 && len(found) == 0 {
		found = append(found, ok("CALLERS permits this host itself"))
	}
	return found
}

// permitsItself reports whether CALLERS lets this host connect to an address of BIND.
func (c *checker) permitsItself(address config.Address) bool {
	return address.Network != "tcp" || c.settings.PermitsCaller(ownAddress(address))
}

// ownAddress is from where this host connects to an address of BIND.
func ownAddress(address config.Address) netip.Addr {
	switch ip := address.AddrPort.Addr(); {
	case ip == netip.IPv4Unspecified(), ip.Is4() && ip.IsLoopback():
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case ip.IsUnspecified():
		return netip.IPv6Loopback()
	default:
		return ip
	}
}

// checkSocketFile finds a file in the way of a Unix socket: systemd replaces a socket and nothing
// else.
func checkSocketFile(path string) Finding {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return ok("BIND address %s is free", path)
	case err != nil:
		return failure("BIND address %s cannot be looked at: %v: write another path", path, err)
	case info.Mode().Type() != os.ModeSocket:
		return failure("BIND address %s is a file and no socket: move it away or "+
			"write another path", path)
	}
	return ok("BIND address %s is a socket", path)
}

// checkBridge finds Docker's stock address in BIND where docker0 has another one.
func checkBridge(c *checker) []Finding {
	bridge := host.BridgeAddress()
	followed := host.FollowBridge(c.settings.Bind, bridge)
	switch {
	case !bridge.IsValid():
		return nil
	case !slices.Equal(followed, c.settings.Bind):
		change := "dataflux-func-sidecar configure --config " + config.ShellQuote(c.Config) +
			" --bind " + config.ShellQuote(config.JoinBind(followed))
		switch {
		case c.UnitDir == "":
			change += " --unit-dir ''"
		case c.apply() == config.Apply:
			change = config.Apply + " --bind " + config.ShellQuote(config.JoinBind(followed))
		}
		return []Finding{warning("BIND names %s, but docker0 has %s, and containers look for "+
			"this host there", host.StockBridge, bridge).fix(change)}
	case slices.ContainsFunc(c.settings.Bind,
		func(a config.Address) bool { return a.AddrPort.Addr() == bridge }):
		return []Finding{ok("containers on docker0 find this host under %s", bridge)}
	}
	return nil
}
