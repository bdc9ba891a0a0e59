package allocation

import "time"

// Credential is what an allocation's client proves itself by where the server has no
// password of it: the session of an access token (RFC 7635 §9). It is immutable; a
// Refresh with another token replaces it.
type Credential struct {
	Name    string    // as USERNAME has it
	Key     []byte    // of message integrity
	Expires time.Time // wall clock
}
