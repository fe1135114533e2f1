package client

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// noticeableSkew is how far two clocks may differ before it is worth a word. The Date header counts in
// seconds, and the request was under way.
const noticeableSkew = 5 * time.Second

// Explain is an error as a sentence that says what to change; keySource is where the key came from.
func Explain(err error, keySource string) string {
	var refused *Refusal
	var unreachable *Unreachable
	switch {
	case errors.As(err, &refused):
		return explainRefusal(refused, keySource)
	case errors.As(err, &unreachable) && !unreachable.Sent:
		return unreachable.Error() + adviceOn(unreachable)
	case errors.Is(err, ErrStranger):
		return err.Error() + ": compare the URL with BIND of its configuration"
	}
	return err.Error()
}

func explainRefusal(refused *Refusal, keySource string) string {
	text := refused.Message
	switch refused.Status {
	case Unauthorized:
		text += fmt.Sprintf(" (the key here came from %s)", keySource)
		if skew := refused.Skew.Abs(); skew >= noticeableSkew {
			text += fmt.Sprintf("; the clock of this host is %s %s the other's: set both, see timedatectl", skew, aheadOrBehind(refused.Skew))
		}
	case Busy:
		if refused.RetryAfter > 0 {
			text += fmt.Sprintf(" (try again in %s)", refused.RetryAfter)
		}
	}
	return fmt.Sprintf("refused with %d: %s", refused.Status, text)
}

func aheadOrBehind(skew time.Duration) string {
	if skew > 0 {
		return "ahead of"
	}
	return "behind"
}

// adviceOn says what to do about a Sidecar that gives no answer.
func adviceOn(e *Unreachable) string {
	var unknown x509.UnknownAuthorityError
	var timeout net.Error
	switch {
	case errors.Is(e, syscall.ECONNREFUSED), errors.Is(e, os.ErrNotExist):
		return ". Is the service running, and is this an address of its BIND? See systemctl status dataflux-func-sidecar"
	case errors.Is(e, syscall.EACCES):
		return ": this user may not connect to that socket: run this as root, or with the group that SocketMode= of the socket unit gives it to"
	case errors.As(e, &unknown):
		return ": name the authority's certificate with --ca"
	case errors.Is(e, ErrOtherCertificate):
		return " than TLS_CERTIFICATE names: if that was renewed, systemctl restart dataflux-func-sidecar makes the service show it"
	case errors.Is(e, ErrNoTLS):
		return ": it speaks no TLS: write http:// in place of https://"
	case errors.Is(e, context.DeadlineExceeded), errors.As(e, &timeout) && timeout.Timeout():
		return ". Is the host up, and does a firewall drop connections to this port?"
	}
	return ""
}
