package main

import (
	"fmt"
	"time"

	"dataflux-func-sidecar/certificate"
	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/journal"
	"dataflux-func-sidecar/privsep/message"
	"dataflux-func-sidecar/units"
)

// identityOf reads certificate and key while the process is still root, and says which sockets speak TLS.
// It returns nil where none does. A certificate that has expired is served nevertheless: callers on Unix
// sockets and those who do not look are not to suffer, and the others say what is wrong.
func identityOf(settings config.Config, sockets []socket, log *journal.Log) (*message.Identity, error) {
	speak, any := make([]bool, len(sockets)), false
	for i, s := range sockets {
		speak[i] = !s.metrics && settings.SpeaksTLS(s.address)
		any = any || speak[i]
	}
	if !any {
		return nil, nil
	}
	pair, err := certificate.Load(settings)
	if err != nil {
		return nil, err
	}
	if wrong := pair.Untimely(time.Now()); wrong != "" {
		log.Write(journal.Degraded(), fmt.Sprintf("The TLS certificate %s: callers who check it will refuse it. Renew it, then: %s", wrong, units.Restart), nil)
	}
	return &message.Identity{Certificate: pair.Certificate, Key: pair.Key, Listeners: speak}, nil
}

// certify hands over what TLS needs. If that fails, so does all that is sent after it.
func (s *supervisor) certify(conn *message.Conn) {
	if s.identity != nil {
		_ = conn.Send(message.Frame{Kind: message.Certified, Payload: s.identity.Encode()})
	}
}

// where lists what is listened on, which of it speaks TLS, and where the metrics are.
func (s *supervisor) where() string {
	ordinary, forMetrics := divided(s.sockets)
	where := config.JoinBind(addressesOf(ordinary))
	if s.identity != nil {
		where += fmt.Sprintf(" (TLS on %s)", config.JoinBind(s.secured()))
	}
	if len(forMetrics) > 0 {
		where += fmt.Sprintf(" (metrics on %s)", config.JoinBind(addressesOf(forMetrics)))
	}
	return where
}

func (s *supervisor) secured() (secured []config.Address) {
	for i, speaks := range s.identity.Listeners {
		if speaks {
			secured = append(secured, s.sockets[i].address)
		}
	}
	return secured
}
