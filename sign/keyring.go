package sign

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"hash"
	"sync"
)

// Key is a secret and the name of the key that it belongs to. A key that is being rotated has more
// than one secret.
type Key struct {
	Name   string
	Secret []byte
}

// keyring computes the MAC of a request under each of its keys. It is safe for concurrent use.
//
// The MACs are reused: with 100 keys, the two blocks of padded key that each new one would hash
// first are most of the work for a short body.
type keyring struct {
	keys []Key
	macs sync.Pool // of *[]hash.Hash, one for each key
}

func newKeyring(keys []Key) *keyring {
	k := &keyring{keys: keys}
	k.macs.New = func() any {
		macs := make([]hash.Hash, len(keys))
		for i, key := range keys {
			macs[i] = hmac.New(sha1.New, key.Secret)
		}
		return &macs
	}
	return k
}

// find returns the name of the key under which claimed is the MAC of r. It always computes every
// MAC and compares in constant time: how long it takes must not show which key it was.
func (k *keyring) find(r Request, claimed []byte) (name string, found bool) {
	macs := k.macs.Get().(*[]hash.Hash)
	defer k.macs.Put(macs)
	var sum [sha1.Size]byte
	at := -1
	for i, mac := range *macs {
		mac.Reset()
		r.writeHead(mac)
		mac.Write(r.Body)
		at = subtle.ConstantTimeSelect(
			subtle.ConstantTimeCompare(mac.Sum(sum[:0]), claimed), i, at)
	}
	if at < 0 {
		return "", false
	}
	return k.keys[at].Name, true
}

// isSigned reports whether claimed is the MAC of r under a secret of the key with the name.
func (k *keyring) isSigned(name string, r Request, claimed []byte) (signed bool) {
	for _, key := range k.keys {
		if key.Name == name && hmac.Equal(r.mac(key.Secret), claimed) {
			signed = true
		}
	}
	return signed
}
