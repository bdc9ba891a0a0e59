package wire

import (
	"fmt"

	"github.com/pion/stun/v2"
)

// Method is the 12-bit method of a STUN message (RFC 8489 §5).
type Method uint16

const (
	MethodBinding           Method = 0x001 // RFC 8489 §18.2
	MethodAllocate          Method = 0x003 // this and the next: RFC 8656 §17
	MethodRefresh           Method = 0x004
	MethodSend              Method = 0x006
	MethodData              Method = 0x007
	MethodCreatePermission  Method = 0x008
	MethodChannelBind       Method = 0x009
	MethodConnect           Method = 0x00A // this and the next two: RFC 6062 §6.1
	MethodConnectionBind    Method = 0x00B
	MethodConnectionAttempt Method = 0x00C
)

// String is a word of a closed set, fit for a metric's label: every method without a name of its own is "other".
func (m Method) String() string {
	switch m {
	case MethodBinding:
		return "binding"
	case MethodAllocate:
		return "allocate"
	case MethodRefresh:
		return "refresh"
	case MethodSend:
		return "send"
	case MethodData:
		return "data"
	case MethodCreatePermission:
		return "create_permission"
	case MethodChannelBind:
		return "channel_bind"
	case MethodConnect:
		return "connect"
	case MethodConnectionBind:
		return "connection_bind"
	case MethodConnectionAttempt:
		return "connection_attempt"
	}
	return "other"
}

// Class is the 2-bit class of a STUN message (RFC 8489 §5). The zero value is ClassRequest.
type Class uint8

const (
	ClassRequest    = Class(stun.ClassRequest)
	ClassIndication = Class(stun.ClassIndication)
	ClassSuccess    = Class(stun.ClassSuccessResponse)
	ClassError      = Class(stun.ClassErrorResponse)
)

func (c Class) String() string {
	return [4]string{"request", "indication", "success", "error"}[c&3]
}

// The message types that are recognised without decoding: method and class interleaved (RFC 8489 §5).
const (
	typeSend = 0x0016
	typeData = 0x0017
)

// Attr is an attribute's type (RFC 8489 §14). Below 0x8000 a receiver must understand it, from there on it may ignore
// it.
type Attr uint16

// Comprehension-required attributes.
const (
	AttrMappedAddress          Attr = 0x0001 // RFC 8489 §14.1
	AttrChangeRequest          Attr = 0x0003 // RFC 5780 §7.2
	AttrUsername               Attr = 0x0006 // RFC 8489 §14.3
	AttrMessageIntegrity       Attr = 0x0008 // RFC 8489 §14.5
	AttrErrorCode              Attr = 0x0009 // RFC 8489 §14.8
	AttrUnknownAttributes      Attr = 0x000A // RFC 8489 §14.13
	AttrChannelNumber          Attr = 0x000C // RFC 8656 §18.1
	AttrLifetime               Attr = 0x000D // RFC 8656 §18.2
	AttrXORPeerAddress         Attr = 0x0012 // RFC 8656 §18.3
	AttrData                   Attr = 0x0013 // RFC 8656 §18.4
	AttrRealm                  Attr = 0x0014 // RFC 8489 §14.9
	AttrNonce                  Attr = 0x0015 // RFC 8489 §14.10
	AttrXORRelayedAddress      Attr = 0x0016 // RFC 8656 §18.5
	AttrRequestedAddressFamily Attr = 0x0017 // RFC 8656 §18.6
	AttrEvenPort               Attr = 0x0018 // RFC 8656 §18.7
	AttrRequestedTransport     Attr = 0x0019 // RFC 8656 §18.8
	AttrDontFragment           Attr = 0x001A // RFC 8656 §18.9
	AttrAccessToken            Attr = 0x001B // RFC 7635 §6.2
	AttrMessageIntegritySHA256 Attr = 0x001C // RFC 8489 §14.6
	AttrPasswordAlgorithm      Attr = 0x001D // RFC 8489 §14.12
	AttrUserhash               Attr = 0x001E // RFC 8489 §14.4
	AttrXORMappedAddress       Attr = 0x0020 // RFC 8489 §14.2
	AttrReservationToken       Attr = 0x0022 // RFC 8656 §18.10
	AttrPriority               Attr = 0x0024 // RFC 8445 §16.1
	AttrUseCandidate           Attr = 0x0025 // RFC 8445 §16.1
	AttrPadding                Attr = 0x0026 // RFC 5780 §7.6
	AttrResponsePort           Attr = 0x0027 // RFC 5780 §7.5
	AttrConnectionID           Attr = 0x002A // RFC 6062 §6.2.1
)

// Comprehension-optional attributes.
const (
	AttrAdditionalAddressFamily Attr = 0x8000 // RFC 8656 §18.11
	AttrAddressErrorCode        Attr = 0x8001 // RFC 8656 §18.12
	AttrPasswordAlgorithms      Attr = 0x8002 // RFC 8489 §14.11
	AttrAlternateDomain         Attr = 0x8003 // RFC 8489 §14.16
	AttrICMP                    Attr = 0x8004 // RFC 8656 §18.13
	AttrSoftware                Attr = 0x8022 // RFC 8489 §14.14
	AttrAlternateServer         Attr = 0x8023 // RFC 8489 §14.15
	AttrFingerprint             Attr = 0x8028 // RFC 8489 §14.7
	AttrICEControlled           Attr = 0x8029 // RFC 8445 §16.1
	AttrICEControlling          Attr = 0x802A // RFC 8445 §16.1
	AttrResponseOrigin          Attr = 0x802B // RFC 5780 §7.3
	AttrOtherAddress            Attr = 0x802C // RFC 5780 §7.4
	AttrThirdPartyAuthorization Attr = 0x802E // RFC 7635 §6.1
	AttrMobilityTicket          Attr = 0x8030 // RFC 8016 §3.3
)

// What coturn, client and server, has written for ADDITIONAL-ADDRESS-FAMILY and ADDRESS-ERROR-CODE since before they had
// numbers of their own (up to 4.6 at least). They are assigned to nothing else.
const (
	AttrCoturnAdditionalFamily Attr = 0x8032
	AttrCoturnAddressErrorCode Attr = 0x8033
)

// Required tells whether a receiver must understand the attribute (RFC 8489 §14).
func (a Attr) Required() bool { return a < 0x8000 }

// Known tells whether the attribute may stand in a message to this server. Comprehension-optional attributes always
// may.
//
// Not known, and therefore 420 in a request (RFC 8489 §6.3.1), are PRIORITY and USE-CANDIDATE, which belong to ICE checks
// between peers, and the attributes of RFC 3489 and 5780. Those of the credential mechanisms are known whether or
// not this server offers what they belong to: a client that uses them in vain is to see its credentials refused, which
// tells it to come again with others, not 420, which tells it to give up.
func (a Attr) Known() bool {
	switch a {
	case AttrMappedAddress, AttrUsername, AttrMessageIntegrity, AttrErrorCode, AttrUnknownAttributes,
		AttrChannelNumber, AttrLifetime, AttrXORPeerAddress, AttrData, AttrRealm, AttrNonce,
		AttrXORRelayedAddress, AttrRequestedAddressFamily, AttrEvenPort, AttrRequestedTransport,
		AttrDontFragment, AttrAccessToken, AttrMessageIntegritySHA256, AttrPasswordAlgorithm, AttrUserhash,
		AttrXORMappedAddress, AttrReservationToken, AttrConnectionID:
		return true
	}
	return !a.Required()
}

var attrNames = map[Attr]string{
	AttrMappedAddress:           "MAPPED-ADDRESS",
	AttrUsername:                "USERNAME",
	AttrMessageIntegrity:        "MESSAGE-INTEGRITY",
	AttrErrorCode:               "ERROR-CODE",
	AttrUnknownAttributes:       "UNKNOWN-ATTRIBUTES",
	AttrChannelNumber:           "CHANNEL-NUMBER",
	AttrLifetime:                "LIFETIME",
	AttrXORPeerAddress:          "XOR-PEER-ADDRESS",
	AttrData:                    "DATA",
	AttrRealm:                   "REALM",
	AttrNonce:                   "NONCE",
	AttrXORRelayedAddress:       "XOR-RELAYED-ADDRESS",
	AttrRequestedAddressFamily:  "REQUESTED-ADDRESS-FAMILY",
	AttrEvenPort:                "EVEN-PORT",
	AttrRequestedTransport:      "REQUESTED-TRANSPORT",
	AttrDontFragment:            "DONT-FRAGMENT",
	AttrAccessToken:             "ACCESS-TOKEN",
	AttrMessageIntegritySHA256:  "MESSAGE-INTEGRITY-SHA256",
	AttrPasswordAlgorithm:       "PASSWORD-ALGORITHM",
	AttrUserhash:                "USERHASH",
	AttrXORMappedAddress:        "XOR-MAPPED-ADDRESS",
	AttrReservationToken:        "RESERVATION-TOKEN",
	AttrPriority:                "PRIORITY",
	AttrUseCandidate:            "USE-CANDIDATE",
	AttrConnectionID:            "CONNECTION-ID",
	AttrAdditionalAddressFamily: "ADDITIONAL-ADDRESS-FAMILY",
	AttrAddressErrorCode:        "ADDRESS-ERROR-CODE",
	AttrPasswordAlgorithms:      "PASSWORD-ALGORITHMS",
	AttrAlternateDomain:         "ALTERNATE-DOMAIN",
	AttrICMP:                    "ICMP",
	AttrSoftware:                "SOFTWARE",
	AttrAlternateServer:         "ALTERNATE-SERVER",
	AttrFingerprint:             "FINGERPRINT",
	AttrICEControlled:           "ICE-CONTROLLED",
	AttrICEControlling:          "ICE-CONTROLLING",
	AttrChangeRequest:           "CHANGE-REQUEST",
	AttrPadding:                 "PADDING",
	AttrResponsePort:            "RESPONSE-PORT",
	AttrResponseOrigin:          "RESPONSE-ORIGIN",
	AttrOtherAddress:            "OTHER-ADDRESS",
	AttrThirdPartyAuthorization: "THIRD-PARTY-AUTHORIZATION",
	AttrMobilityTicket:          "MOBILITY-TICKET",
}

// String is the RFC's name, or the number in hexadecimal.
func (a Attr) String() string {
	if s, ok := attrNames[a]; ok {
		return s
	}
	return fmt.Sprintf("0x%04X", uint16(a))
}
