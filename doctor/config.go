package doctor

import (
	"errors"
	"os"
	"slices"
	"strings"

	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/host"
	"dataflux-func-sidecar/privsep"
)

// load reads the configuration and finds the user, on whom several checks rely.
func (p *patient) load() ([]Finding, error) {
	settings, err := config.Load(p.Config)
	if err != nil {
		return failures(err), err
	}
	p.settings = settings
	p.account, _ = privsep.LookupUser(p.User) // checkUser says what is wrong
	return []Finding{well("%s is valid, and only its owner can read or write it", p.Config)}, nil
}

// failures are the errors that were joined, each with the command that mends it if there is one.
func failures(err error) (found []Finding) {
	for _, one := range config.Failures(err) {
		mendable, ok := errors.AsType[*config.Mendable](one)
		if !ok {
			found = append(found, failed("%v", one))
			continue
		}
		message := strings.TrimSuffix(one.Error(), ": run "+mendable.Command)
		found = append(found, failed("%s", message).mendedBy(mendable.Command))
	}
	return found
}

func checkKeys(p *patient) (found []Finding) {
	keys := p.settings.Keys
	for i, key := range keys {
		switch {
		case len(key) < config.ShortKey:
			found = append(found, unwise("SECRET_KEY %d of %d has fewer than %d bytes: set a longer one here and in DataFlux Func", i+1, len(keys), config.ShortKey))
		case oneByte(key):
			found = append(found, unwise("SECRET_KEY %d of %d repeats one character, like the example of a manual: set a random one here and in DataFlux Func", i+1, len(keys)))
		default:
			found = append(found, well("SECRET_KEY %d of %d has %d bytes", i+1, len(keys), len(key)))
		}
	}
	if len(keys) > 1 {
		found = append(found, unwise("%d keys are accepted: remove the old ones from SECRET_KEY when DataFlux Func uses the new one everywhere", len(keys)))
	}
	return found
}

func oneByte(key config.Key) bool {
	for _, b := range key {
		if b != key[0] {
			return false
		}
	}
	return true
}

func checkAddresses(p *patient) (found []Finding) {
	for _, address := range p.settings.Bind {
		if address.Network == "unix" {
			found = append(found, checkSocketFile(address.Path))
			continue
		}
		found = append(found, checkAddress(address))
	}
	return found
}

func checkAddress(address config.Address) Finding {
	ip := address.AddrPort.Addr()
	switch {
	case ip.IsUnspecified():
		return unwise("BIND address %s takes connections on every address of this host: write the addresses that DataFlux Func uses, or have a firewall", address)
	case ip.IsLoopback() && ip.Is4(), host.Assigned(ip):
		return well("BIND address %s is an address of this host", address)
	}
	return unwise("BIND address %s is on no interface now (a Docker bridge comes with Docker): nothing to do if it will be, as the socket waits for it", address)
}

// checkSocketFile finds what would keep systemd from making the socket: it
// replaces a socket that is there, and nothing else.
func checkSocketFile(path string) Finding {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return well("BIND address %s is free", path)
	case err != nil:
		return failed("BIND address %s cannot be looked at: %v: write another path", path, err)
	case info.Mode().Type() != os.ModeSocket:
		return failed("BIND address %s is a file and no socket: move it away or write another path", path)
	}
	return well("BIND address %s is a socket", path)
}

// checkBridge finds the address that containers do not find this host under.
func checkBridge(p *patient) []Finding {
	bridge := host.BridgeAddress()
	followed := host.FollowBridge(p.settings.Bind, bridge)
	switch {
	case !bridge.IsValid():
		return nil
	case !slices.Equal(followed, p.settings.Bind):
		return []Finding{unwise("BIND names %s, but docker0 has %s, and containers look for this host there", host.StockBridge, bridge).
			mendedBy("dataflux-func-sidecar configure --config " + config.ShellQuote(p.Config) + " --bind " + config.ShellQuote(config.JoinBind(followed)) + " && " + config.ApplyBind)}
	case slices.ContainsFunc(p.settings.Bind, func(a config.Address) bool { return a.AddrPort.Addr() == bridge }):
		return []Finding{well("containers on docker0 find this host under %s", bridge)}
	}
	return nil
}
