// Package wire knows what TURN looks like as bytes: STUN messages, ChannelData, and where one frame ends in a stream.
//
// It owns formats only. It reads no socket, keeps no table, knows no user and decides no answer; whatever it is given is
// untrusted, and it never writes to what it reads.
//
// A datagram, or a frame cut from a stream by [FrameSize], goes one of two ways:
//
//	          ┌─ ChannelData ── ParseChannelData ── PutChannelHeader ─┐
//	Classify ─┤                                                       ├─ relayed; nothing is allocated
//	          └─ STUN ─┬ IsSend ─── ParseSend ───── PutDataHeader ────┘
//	                   └ the rest ─ Message.Decode ─ … ─ Reply.Finish ── answered by relay/control
//
// The upper way is written by hand. The lower one stands on pion/stun, of which this package is the only importer, and
// adds what a server that faces the Internet needs on top of it:
//
//   - the two leading zero bits, the cookie, the exact length, and every attribute with its padding inside (RFC 8489 §5, §14);
//   - FINGERPRINT, where there is one, is the last attribute and right (RFC 8489 §14.7);
//   - what follows MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256 does not exist, these two and FINGERPRINT excepted
//     (RFC 8489 §9);
//   - of equal attributes the first counts (RFC 8489 §14); only XOR-PEER-ADDRESS is a list, and only in
//     CreatePermission (RFC 8656 §10.2);
//   - comprehension-required attributes that this server does not know are reported (RFC 8489 §6.3).
//
// An attribute that is known but has no meaning in the message at hand is ignored (RFC 8489 §6.3). [Attr.Known] tells which
// comprehension-required attributes count as known, and why some that have an RFC do not.
package wire
