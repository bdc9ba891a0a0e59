// Package auth decides who may use the relay, and hands out credentials to those who may.
//
// It owns:
//   - static users and shared secrets, from options and from files that are re-read when they change (files.go, watch.go);
//   - the keys of the long-term credential mechanism, RFC 8489 §9.2.2, and its password algorithms (algorithm.go, user.go,
//     verify.go);
//   - access tokens of third-party authorization, RFC 7635, and the keys that open them (token.go, token_keys.go);
//   - ephemeral credentials as in the TURN REST API draft, draft-uberti-behave-turn-rest-00 (ephemeral.go);
//   - stateless nonces, RFC 8489 §9.2 (nonce.go);
//   - the ICE configuration that carries a credential to a browser (ice.go), and the HTTP service that hands it out
//     (ice_service.go, ice_request.go, rate.go).
//
// It refuses: to know a STUN message. A caller brings bytes and a function that checks a key against its message, and it
// is the caller that chooses the answer. It also refuses to print a secret: every type here that holds one hides it from
// fmt and slog, and no error or log line of this package quotes the content of a password, key or secret.
//
// The way of a request:
//
//	no integrity ──► Challenge ──► 401 with REALM, NONCE and PASSWORD-ALGORITHMS
//	integrity ─────► ReadNonce ─► algorithms not as offered? ─► 400
//	                    └────► Verify, VerifyToken ─► ErrUnknownUser, ErrWrongPassword, … ─► 401 (one answer for all)
//	                              └────► Identity ─► ErrStaleNonce of ReadNonce? ─► 438 with a new nonce
//	                                         └─────► Expired(now)? judged by the caller where it makes an allocation
//
// All of these may be called from any goroutine. They read one immutable snapshot through an atomic pointer and take no
// lock; Run, the only writer, replaces the snapshot as a whole.
package auth
