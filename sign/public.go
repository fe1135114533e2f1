package sign

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"math/big"
	"slices"
)

// KeyID returns the text of a public key: in PUBLIC_KEYS, and as keyid in requests.
func KeyID(key ed25519.PublicKey) string { return base64.StdEncoding.EncodeToString(key) }

// ParsePublicKey reverses KeyID. It refuses what is no key that a program would make: another
// length, another text for the same bytes, bytes that are no point of the curve or another text of
// one, and the points of small order, with which one signature holds for many messages.
func ParsePublicKey(text string) (ed25519.PublicKey, error) {
	key, ok := decodeBytes(text, ed25519.PublicKeySize)
	switch {
	case !ok:
		return nil, errors.New("must be the base64 of 32 bytes, 44 characters that end with =, " +
			"as `dataflux-func-sidecar keys new` prints it")
	case !isPoint(key):
		return nil, errors.New("is no Ed25519 public key: no point of the curve has these bytes")
	case isWeak(key):
		return nil, errors.New("is a point of small order, with which anybody can sign: make " +
			"another key")
	}
	return key, nil
}

// The field of edwards25519 and its constant d (RFC 8032, section 5.1).
var (
	fieldPrime = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	curveD     = func() *big.Int {
		d := new(big.Int).ModInverse(big.NewInt(121666), fieldPrime)
		return d.Mod(d.Mul(d, big.NewInt(-121665)), fieldPrime)
	}()
)

// isPoint reports whether key is the canonical encoding of a point: y below the prime, and
// x² = (y²-1) / (dy²+1) for some x, which is not 0 with the sign bit set.
func isPoint(key []byte) bool {
	y, odd := decodeY(key)
	if y.Cmp(fieldPrime) >= 0 {
		return false
	}
	square := new(big.Int).Mul(y, y)
	u := new(big.Int).Sub(square, big.NewInt(1))
	u.Mod(u, fieldPrime)
	if u.Sign() == 0 {
		return !odd
	}
	v := square.Mul(square, curveD)
	v.Mod(v.Add(v, big.NewInt(1)), fieldPrime)
	// u/v and uv are squares or not together, and v is never 0.
	return big.Jacobi(u.Mul(u, v), fieldPrime) == 1
}

func decodeY(key []byte) (y *big.Int, odd bool) {
	bytes := slices.Clone(key)
	odd = bytes[len(bytes)-1]&0x80 != 0
	bytes[len(bytes)-1] &= 0x7f
	slices.Reverse(bytes) // little-endian
	return new(big.Int).SetBytes(bytes), odd
}

// smallOrder has the y of the eight points whose order divides 8: 0, 1, -1, and the two of order 8.
var smallOrder = func() []*big.Int {
	y8, _ := new(big.Int).SetString(
		"7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7", 16)
	minus := func(y *big.Int) *big.Int { return new(big.Int).Sub(fieldPrime, y) }
	one := big.NewInt(1)
	return []*big.Int{new(big.Int), one, minus(one), y8, minus(y8)}
}()

func isWeak(key []byte) bool {
	y, _ := decodeY(key)
	return slices.ContainsFunc(smallOrder, func(other *big.Int) bool { return y.Cmp(other) == 0 })
}
