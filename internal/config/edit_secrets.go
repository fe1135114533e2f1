package config

import (
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// The rows of [KEY.x] that are rotated.
const (
	rowSecret     = "SECRET"
	rowPublicKeys = "PUBLIC_KEYS"
)

// RotateNamedKey puts a secret before the one that a key has, and keeps every other byte. A key
// that has two is refused: the third would end the validity of one that may be in use.
func RotateNamedKey(name string, data []byte, key string, secret Key) ([]byte, error) {
	return rotate(name, data, key, rowSecret, string(secret))
}

// RotatePublicKey is RotateNamedKey for the public key of a key.
func RotatePublicKey(name string, data []byte, key, public string) ([]byte, error) {
	return rotate(name, data, key, rowPublicKeys, public)
}

func rotate(name string, data []byte, key, row, text string) ([]byte, error) {
	doc, at, err := locateRow(name, data, key, row)
	if err != nil {
		return nil, err
	}
	quoted := quoteText(text)
	switch len(at.items) {
	case 0:
		old := string(data[at.value.start:at.value.end])
		data = splice(data, at.value, "["+quoted+", "+old+"]")
	case 1:
		data = splice(data, span{at.items[0].start, at.items[0].start}, quoted+", ")
	default:
		return nil, doc.errorAtOffset(at.keyStart, fmt.Errorf("the key %s has two %s already; "+
			"hint: end that rotation first with --drop-old-secret %s", key, inWords(row), key))
	}
	return doc.verified(data, key)
}

func inWords(row string) string {
	if row == rowPublicKeys {
		return "public keys"
	}
	return "secrets"
}

// DropOldSecret removes the second of the two secrets of a key, and of its public keys if there are
// two, and keeps every other byte, but for what stands between them.
func DropOldSecret(name string, data []byte, key string) ([]byte, error) {
	doc, found, err := locateKey(name, data, key)
	if err != nil {
		return nil, err
	}
	if public := found.rows[rowPublicKeys]; len(public.items) == 2 {
		if data, err = dropSecond(doc, data, key, public); err != nil ||
			len(found.rows[rowSecret].items) < 2 {
			return data, err
		}
	}
	doc, at, err := locateRow(name, data, key, rowSecret)
	if err != nil {
		return nil, err
	}
	if len(at.items) < 2 {
		return nil, doc.errorAtOffset(at.keyStart, fmt.Errorf("the key %s has one secret, and no "+
			"old one; hint: begin a rotation with --rotate-key %s", key, key))
	}
	return dropSecond(doc, data, key, at)
}

func dropSecond(doc document, data []byte, key string, at secretLayout) ([]byte, error) {
	return doc.verified(splice(data, span{at.items[0].end, at.items[1].end}, ""), key)
}

// secretLayout is the position of SECRET or PUBLIC_KEYS in a table.
type secretLayout struct {
	keyStart int
	value    span
	items    []span // of an array of texts
	isText   bool
}

// locateRow is locateKey for a key whose SECRET or PUBLIC_KEYS can be edited.
func locateRow(name string, data []byte, key, row string) (document, secretLayout, error) {
	doc, found, err := locateKey(name, data, key)
	if err != nil {
		return doc, secretLayout{}, err
	}
	at, has := found.rows[row]
	if has && (at.isText || len(at.items) > 0) {
		return doc, at, nil
	}
	e, _ := doc.namedKey(key)
	isFile := false
	for _, inner := range doc.entries {
		if len(inner.path) > 2 && inner.path[0] == "KEY" && inner.path[1] == key &&
			strings.HasPrefix(inner.path[2], row) {
			e, isFile = inner, inner.path[2] == "SECRET_FILE"
		}
	}
	switch {
	case isFile:
		return doc, at, doc.errorAtOffset(e.keyStart, fmt.Errorf("the secret of the key %s is in "+
			"a file of its own, SECRET_FILE; hint: edit it by hand: one secret on each line, the "+
			"new one first", key))
	case !has && row == rowPublicKeys:
		return doc, at, doc.errorAtOffset(e.keyStart, fmt.Errorf("the key %s has no PUBLIC_KEYS; "+
			"hint: write that line below [KEY.%[1]s] by hand", key))
	case !has && found.rows[rowPublicKeys].keyStart > 0:
		return doc, at, doc.errorAtOffset(e.keyStart, fmt.Errorf("the key %s has no SECRET; "+
			"hint: begin a rotation of its public key with --rotate-key %[1]s --public-key "+
			"PUBLIC_KEY", key))
	}
	return doc, at, doc.errorAtOffset(e.keyStart, fmt.Errorf("%s of the key %s is not a text "+
		"or an array of texts, so it is left alone; hint: edit it by hand", row, key))
}

func locateValue(value *unstable.Node, keyStart int) secretLayout {
	at := secretLayout{keyStart: keyStart, isText: value.Kind == unstable.String}
	at.value = span{int(value.Raw.Offset), int(value.Raw.Offset + value.Raw.Length)}
	if value.Kind != unstable.Array {
		return at
	}
	for items := value.Children(); items.Next(); {
		if item := items.Node(); item.Kind != unstable.Comment {
			start := int(item.Raw.Offset)
			at.items = append(at.items, span{start, start + int(item.Raw.Length)})
		}
	}
	return at
}
