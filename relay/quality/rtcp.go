package quality

import (
	"encoding/binary"
	"sync/atomic"
)

// RTCPType is a type of RTCP packet that is counted on its own.
type RTCPType uint8

// The types.
const (
	RTCPOther             RTCPType = iota // all that are not below
	RTCPSenderReport                      // SR, 200
	RTCPReceiverReport                    // RR, 201
	RTCPSourceDescription                 // SDES, 202
	RTCPGoodbye                           // BYE, 203
	RTCPApplication                       // APP, 204
	RTCPTransportFeedback                 // RTPFB, 205: NACK, congestion control
	RTCPPayloadFeedback                   // PSFB, 206: PLI, FIR
	RTCPExtendedReport                    // XR, 207
	RTCPTypes                             // how many there are
)

// String returns the type as metrics spell it.
func (t RTCPType) String() string {
	if t >= RTCPTypes {
		return "unknown"
	}
	return [RTCPTypes]string{"other", "sr", "rr", "sdes", "bye", "app", "rtpfb", "psfb", "xr"}[t]
}

// RTCPCounts counts RTCP packets by RTCPType. Of an encrypted compound only the first is to be seen.
type RTCPCounts [RTCPTypes]uint64

const (
	rtcpHeader = 8  // with the sender's SSRC, in bytes: what SRTCP leaves in the clear (RFC 3711 §3.4)
	maxInRTCP  = 32 // packets of one compound that are counted; more is no report of anybody's
)

func rtcpType(b byte) RTCPType {
	if b < 200 || b > 207 {
		return RTCPOther
	}
	return RTCPType(b-200) + RTCPSenderReport
}

// countRTCP adds the packets of a compound to counts. False means that it is malformed: shorter than a header, or its
// first packet longer than the whole (RFC 3550 §A.2).
//
// The first header is always in the clear. What follows is counted if packet follows packet up to the exact end, which
// SRTCP's ciphertext and trailer don't do.
func countRTCP(b []byte, counts *[RTCPTypes]atomic.Uint64) bool {
	if len(b) < rtcpHeader || rtcpLength(b) > len(b) {
		return false
	}
	counts[rtcpType(b[1])].Add(1)
	var later [maxInRTCP]RTCPType
	n := 0
	for rest := b[rtcpLength(b):]; len(rest) > 0; n++ {
		if len(rest) < 4 || rest[0]>>6 != 2 || !isRTCP(rest[1]) || rtcpLength(rest) > len(rest) || n == len(later) {
			return true // encrypted, or nothing that can be told
		}
		later[n] = rtcpType(rest[1])
		rest = rest[rtcpLength(rest):]
	}
	for _, t := range later[:n] {
		counts[t].Add(1)
	}
	return true
}

// rtcpLength returns what the length field of a packet's header says, in bytes (RFC 3550 §6.4.1).
func rtcpLength(b []byte) int { return 4 + 4*int(binary.BigEndian.Uint16(b[2:])) }
