package sign

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"hash"
	"maps"
	"slices"
)

// Key is a secret or a public key, and the name of the key that it belongs to. A key that is being
// rotated has more than one of them.
type Key struct {
	Name   string
	Secret []byte
	Public ed25519.PublicKey // instead of a secret; ParsePublicKey has accepted it
}

// Credential returns what Revoke compares: the secret, or the text of the public key.
func (k Key) Credential() []byte {
	if k.Public != nil {
		return []byte(KeyID(k.Public))
	}
	return k.Secret
}

// keyring computes the MAC of a request under each of its keys. It is safe for concurrent use.
//
// The MACs are reused: with 100 keys, the two blocks of padded key that each new one would hash
// first are most of the work for a short body. They are not in a sync.Pool, which each collection
// of garbage empties.
type keyring struct {
	keys   []Key            // those with secrets
	public map[string]Key   // by KeyID
	free   chan []hash.Hash // one for each of keys
}

// maxFree is for how many requests at once the MACs are kept.
const maxFree = 4

func newKeyring(keys []Key) *keyring {
	k := &keyring{public: map[string]Key{}, free: make(chan []hash.Hash, maxFree)}
	for _, key := range keys {
		if key.Public != nil {
			k.public[KeyID(key.Public)] = key
		} else {
			k.keys = append(k.keys, key)
		}
	}
	return k
}

// all returns the keys of both kinds.
func (k *keyring) all() []Key {
	return slices.AppendSeq(slices.Clone(k.keys), maps.Values(k.public))
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

// dummyKey is what signatures of an unknown id are verified with.
var dummyKey = func() ed25519.PublicKey {
	public, _, _ := ed25519.GenerateKey(nil) // never fails
	return public
}()

// findPublic returns the name of the key with the id if its signature of the base holds. An unknown
// id takes as long as a wrong signature, unless there is no public key at all.
func (k *keyring) findPublic(id string, base, signature []byte) (name string, found bool) {
	if len(k.public) == 0 {
		return "", false
	}
	key, known := k.public[id]
	if !known {
		key.Public = dummyKey
	}
	holds := ed25519.Verify(key.Public, base, signature)
	return key.Name, known && holds
}
