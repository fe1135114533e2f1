package listener

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"dataflux-func-sidecar/privsep/message"
)

// maxSignatureHeader bounds each header of a signature, in bytes. The executor, which checks them,
// accepts fewer.
const maxSignatureHeader = 512

// signatureHeader is a header that a signed request has once.
type signatureHeader struct {
	name     string
	value    *string
	required bool
}

// readHeaders stores the values of headers. Its errors name the header, and not its value.
func readHeaders(r *http.Request, headers []signatureHeader) error {
	for _, h := range headers {
		switch values := r.Header.Values(h.name); {
		case len(values) == 0 && !h.required:
		case len(values) != 1:
			return fmt.Errorf("it needs exactly one %s header, and has %d", h.name, len(values))
		case values[0] == "":
			return fmt.Errorf("its %s header is empty", h.name)
		case len(values[0]) > maxSignatureHeader:
			return fmt.Errorf("its %s header is longer than %d bytes", h.name, maxSignatureHeader)
		default:
			*h.value = values[0]
		}
	}
	return nil
}

// httpSignature returns the fields of an HTTP message signature as they travel.
func httpSignature(r *http.Request) (string, error) {
	for _, name := range []string{"X-Auth-Signature", "X-Auth-Nonce", "X-Auth-Timestamp"} {
		if r.Header.Values(name) != nil {
			return "", fmt.Errorf("it has Signature and %s: sign in one of the two ways", name)
		}
	}
	h := message.HTTPSignature{Authority: authority(r.Host, connectionOf(r).speaksTLS())}
	err := readHeaders(r, []signatureHeader{
		{"Signature-Input", &h.Input, true},
		{"Signature", &h.Signature, true},
		{"Content-Digest", &h.Digest, false},
	})
	if err == nil && len(h.Authority) > maxSignatureHeader {
		err = fmt.Errorf("its Host header is longer than %d bytes", maxSignatureHeader)
	}
	if tcp, isTCP := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); isTCP {
		at := tcp.AddrPort()
		h.Local = netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port()).String()
	}
	return h.String(), err
}

// authority is the Host header as RFC 9421 wants it signed: in lower case, without the default port
// of the scheme.
func authority(host string, isTLS bool) string {
	port := ":80"
	if isTLS {
		port = ":443"
	}
	return strings.TrimSuffix(strings.ToLower(host), port)
}
