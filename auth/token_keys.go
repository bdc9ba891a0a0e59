package auth

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	// maxKID is the longest key identifier in bytes; it is logged and a part of user names.
	maxKID = 128

	// maxSpan is the longest that a key's times are counted in: the year 9999 as maxExpiry has it.
	maxSpan = maxExpiry
)

// tokenKeySizes are the algorithms that tokens may be encrypted with, by their names in JSON Web Algorithms, and the bytes
// of their keys.
var tokenKeySizes = map[string]int{"A256GCM": 32, "A128GCM": 16, "": 32}

// tokenKey is a long-term key that an authorization server encrypts access tokens with.
type tokenKey struct {
	kid         string
	aead        cipher.AEAD
	from, until time.Time // zero: no bound
}

func (k *tokenKey) valid(now time.Time) bool {
	return (k.from.IsZero() || !now.Before(k.from)) && (k.until.IsZero() || now.Before(k.until))
}

// tokenKeyEntry is a key as it stands in the file.
type tokenKeyEntry struct {
	KID       string `json:"kid"`
	Key       string `json:"key"`       // base64 of 32 bytes, for A128GCM 16
	Alg       string `json:"alg"`       // A256GCM, also when it is missing, or A128GCM
	Timestamp int64  `json:"timestamp"` // Unix time in seconds from which on it is valid; 0 or missing: always was
	Lifetime  int64  `json:"lifetime"`  // seconds that it is valid for from then on; 0 or missing: for ever
}

// parseTokenKeys reads a file of long-term keys: {"keys": [{"kid": …, "key": …, "timestamp": …, "lifetime": …}, …]}.
func parseTokenKeys(path string, content []byte) (map[string]*tokenKey, error) {
	var file struct {
		Keys []tokenKeyEntry `json:"keys"`
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		at := decoder.InputOffset()
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			at = syntax.Offset
		}
		return nil, &FileError{path, lineAt(content, at), jsonFault(err)}
	}
	if decoder.More() {
		return nil, &FileError{path, lineAt(content, decoder.InputOffset()), errors.New("something follows the object; remove it")}
	}
	keys := make(map[string]*tokenKey, len(file.Keys))
	var faults []error
	for i, entry := range file.Keys {
		k, err := entry.tokenKey()
		if err == nil && keys[k.kid] != nil {
			err = fmt.Errorf("kid %q is given twice; remove one", k.kid)
		}
		if err == nil {
			keys[k.kid] = k
		} else if len(faults) < maxFaults {
			faults = append(faults, &FileError{path, 0, fmt.Errorf("key %d: %w", i+1, err)})
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return keys, nil
}

func (e *tokenKeyEntry) tokenKey() (*tokenKey, error) {
	kid, err := opaque(e.KID)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the kid %w", err)
	case len(kid) > maxKID:
		return nil, fmt.Errorf("the kid has %d bytes, at most %d are allowed", len(kid), maxKID)
	case strings.Contains(kid, ":"):
		return nil, fmt.Errorf("kid %q contains a ':', which only ephemeral names do", kid)
	case tokenKeySizes[e.Alg] == 0:
		return nil, fmt.Errorf("kid %q: the alg is not known; write A256GCM or A128GCM", kid)
	case e.Timestamp < 0 || e.Timestamp > maxSpan || e.Lifetime < 0 || e.Lifetime > maxSpan:
		return nil, fmt.Errorf("kid %q: timestamp or lifetime is out of range; write seconds", kid)
	case e.Timestamp == 0 && e.Lifetime != 0:
		return nil, fmt.Errorf("kid %q: a lifetime without a timestamp; write when it begins", kid)
	}
	raw, err := base64.StdEncoding.DecodeString(e.Key)
	if size := tokenKeySizes[e.Alg]; err != nil || len(raw) != size {
		return nil, fmt.Errorf("kid %q: the key is not base64 of %d bytes", kid, size)
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, fmt.Errorf("kid %q: %w", kid, err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("kid %q: %w", kid, err)
	}
	k := &tokenKey{kid: kid, aead: aead}
	if e.Timestamp > 0 {
		k.from = time.Unix(e.Timestamp, 0)
	}
	if e.Lifetime > 0 {
		k.until = time.Unix(e.Timestamp+e.Lifetime, 0)
	}
	return k, nil
}

// jsonFault says what is wrong without quoting a value, which may be a key.
func jsonFault(err error) error {
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &typ) && typ.Field != "":
		return fmt.Errorf("%s has a value of the wrong type; write kid, key and alg as texts, timestamp and lifetime as numbers", typ.Field)
	case strings.HasPrefix(err.Error(), "json: unknown field"):
		return fmt.Errorf("%s; write kid, key, alg, timestamp and lifetime", strings.TrimPrefix(err.Error(), "json: "))
	}
	return errors.New(`this is not JSON; write {"keys": [{"kid": "…", "key": "…"}]}`)
}

// lineAt is the line of an offset, from 1.
func lineAt(content []byte, offset int64) int {
	return 1 + bytes.Count(content[:min(int(offset), len(content))], []byte("\n"))
}
