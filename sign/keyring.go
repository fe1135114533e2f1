package sign

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"hash"
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
// first are most of the work for a short body. They are not in a sync.Pool, which each collection
// of garbage empties.
type keyring struct {
	keys []Key
	free chan []hash.Hash // one for each key
}

// maxFree is for how many requests at once the MACs are kept.
const maxFree = 4

func newKeyring(keys []Key) *keyring {
	return &keyring{keys: keys, free: make(chan []hash.Hash, maxFree)}
}

func (k *keyring) borrow() []hash.Hash {
	select {
	case macs := <-k.free:
		return macs
	default:
	}
	macs := make([]hash.Hash, len(k.keys))
	for i, key := range k.keys {
		macs[i] = hmac.New(sha1.New, key.Secret)
	}
	return macs
}

func (k *keyring) giveBack(macs []hash.Hash) {
	select {
	case k.free <- macs:
	default:
	}
}

// find returns the name of the key under which claimed is the MAC of r. It always computes every
// MAC and compares in constant time: how long it takes must not show which key it was.
func (k *keyring) find(r Request, claimed []byte) (name string, found bool) {
	macs := k.borrow()
	defer k.giveBack(macs)
	var head bytes.Buffer
	r.writeHead(&head)
	var sum [sha1.Size]byte
	at := -1
	for i, mac := range macs {
		mac.Reset()
		mac.Write(head.Bytes())
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
