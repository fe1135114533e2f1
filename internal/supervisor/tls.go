package supervisor

import (
	"slices"
	"time"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/units"
)

// loadIdentity reads certificate and key while the process is root, and marks the sockets that
// speak TLS. It returns nil if none does. An expired certificate is logged and served: callers on
// Unix sockets and callers that do not check it are not affected, and the others report it.
func loadIdentity(
	settings config.Config, sockets []socket, log *journal.Log,
) (*message.Identity, error) {
	speakTLS := tlsSockets(settings, sockets)
	if speakTLS == nil {
		return nil, nil
	}
	pair, err := settings.LoadTLS()
	if err != nil {
		return nil, err
	}
	reportValidity(pair, log)
	return &message.Identity{Certificate: pair.Certificate, Key: pair.Key, Listeners: speakTLS}, nil
}

// tlsSockets says for each socket whether it speaks TLS. It is nil if none does.
func tlsSockets(settings config.Config, sockets []socket) []bool {
	speakTLS := make([]bool, len(sockets))
	for i, s := range sockets {
		speakTLS[i] = !s.metrics && settings.SpeaksTLS(s.address)
	}
	if !slices.Contains(speakTLS, true) {
		return nil
	}
	return speakTLS
}

// certificateExpiry is when a served certificate expires; zero without TLS.
func certificateExpiry(identity *message.Identity) time.Time {
	if identity == nil {
		return time.Time{}
	}
	leaf, err := config.ParseLeaf(identity.Certificate)
	if err != nil { // it was parsed before
		return time.Time{}
	}
	return leaf.NotAfter
}

func reportValidity(pair config.TLSPair, log *journal.Log) {
	if err := pair.Validity(time.Now()); err != nil {
		logf(log, journal.Degraded(), "The TLS certificate %v: callers that check it refuse it; "+
			"hint: renew it, then run %s", err, units.Reload)
	}
}
