package quality

// Kind is what a packet is, told by its first byte (RFC 7983 §7), RTCP from RTP by its second (RFC 5761 §4).
type Kind uint8

// The kinds. The zero value is KindOther.
const (
	KindOther     Kind = iota // none of the below, and empty payloads
	KindSTUN                  // connectivity checks of ICE
	KindZRTP                  // key agreement in the media's path
	KindDTLS                  // key agreement, data channels
	KindChannel               // a channel of another TURN server, within ours
	KindRTP                   // media
	KindRTCP                  // reports about media
	KindMalformed             // looks like RTP or RTCP and is not
	Kinds                     // how many there are
)

// String returns the kind as metrics spell it.
func (k Kind) String() string {
	if k >= Kinds {
		return "unknown"
	}
	return [Kinds]string{"other", "stun", "zrtp", "dtls", "turn_channel", "rtp", "rtcp", "malformed"}[k]
}

// Counts counts packets by Kind. Each packet is in one of them.
type Counts [Kinds]uint64

// Classify tells of which kind a packet is by its first two bytes. KindRTP and KindRTCP are promises, not verdicts: whether
// the rest of the header holds them is Observe's to say. KindMalformed is never returned.
func Classify(payload []byte) Kind {
	if len(payload) == 0 {
		return KindOther
	}
	switch b := payload[0]; {
	case b >= 128 && b <= 191:
		if len(payload) > 1 && isRTCP(payload[1]) {
			return KindRTCP
		}
		return KindRTP
	case b <= 3:
		return KindSTUN
	case b >= 16 && b <= 19:
		return KindZRTP
	case b >= 20 && b <= 63:
		return KindDTLS
	case b >= 64 && b <= 79:
		return KindChannel
	}
	return KindOther
}

// isRTCP tells the packet types of RTCP from payload types of RTP with their marker bit: 64 to 95 are not to be used for
// RTP that shares a port with RTCP (RFC 5761 §4).
func isRTCP(second byte) bool { return second >= 192 && second <= 223 }
