package message

// What an Identity may hold, in bytes.
const (
	MaxCertificate = 64 << 10
	MaxKey         = 16 << 10
	maxIdentity    = MaxCertificate + MaxKey + 4<<10
)

// Identity is the payload of Certified: the certificate with its chain and the private key, both PEM, and
// for each listening socket, in their order, whether it speaks TLS.
type Identity struct {
	Certificate, Key []byte
	Listeners        []bool
}

// Encode returns the payload's bytes.
func (i Identity) Encode() []byte {
	speak := make([]byte, len(i.Listeners))
	for n, tls := range i.Listeners {
		if tls {
			speak[n] = 1
		}
	}
	b := appendString(nil, string(speak))
	return appendString(appendString(b, string(i.Certificate)), string(i.Key))
}

// DecodeIdentity is the reverse of Identity.Encode.
func DecodeIdentity(payload []byte) (Identity, error) {
	d := decoder{rest: payload}
	speak := d.string()
	i := Identity{Certificate: []byte(d.string()), Key: []byte(d.string())}
	for _, tls := range []byte(speak) {
		if tls > 1 {
			d.failed = true
		}
		i.Listeners = append(i.Listeners, tls == 1)
	}
	if len(i.Certificate) > MaxCertificate || len(i.Key) > MaxKey {
		d.failed = true
	}
	return i, d.finish("Identity")
}
