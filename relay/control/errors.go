package control

import "fmt"

// code is what became of a request: a success, or one of the error codes that this
// server answers with. It is closed, so that each can be counted from zero.
type code uint8

const (
	success code = iota
	tryAlternate
	badRequest
	unauthenticated
	forbidden
	mobilityForbidden
	unknownAttribute
	allocationMismatch
	staleNonce
	addressFamilyNotSupported
	wrongCredentials
	unsupportedTransport
	peerFamilyMismatch
	connectionExists
	connectionFailed
	quotaReached
	serverError
	insufficientCapacity
	codes // how many there are
)

// codeTable holds numbers and reason phrases as RFC 8489 §14.8, RFC 8656 §19,
// RFC 6062 §6.3 and RFC 8016 §3.4 have them.
var codeTable = [codes]struct {
	number int
	reason string
}{
	success:                   {0, "Success"},
	tryAlternate:              {300, "Try Alternate"},
	badRequest:                {400, "Bad Request"},
	unauthenticated:           {401, "Unauthenticated"},
	forbidden:                 {403, "Forbidden"},
	mobilityForbidden:         {405, "Mobility Forbidden"},
	unknownAttribute:          {420, "Unknown Attribute"},
	allocationMismatch:        {437, "Allocation Mismatch"},
	staleNonce:                {438, "Stale Nonce"},
	addressFamilyNotSupported: {440, "Address Family not Supported"},
	wrongCredentials:          {441, "Wrong Credentials"},
	unsupportedTransport:      {442, "Unsupported Transport Protocol"},
	peerFamilyMismatch:        {443, "Peer Address Family Mismatch"},
	connectionExists:          {446, "Connection Already Exists"},
	connectionFailed:          {447, "Connection Timeout or Failure"},
	quotaReached:              {486, "Allocation Quota Reached"},
	serverError:               {500, "Server Error"},
	insufficientCapacity:      {508, "Insufficient Capacity"},
}

func (c code) number() int    { return codeTable[c].number }
func (c code) reason() string { return codeTable[c].reason }

// protocolError says why a request gets no success. The code and its reason phrase
// go to the client, the cause only to the log. Those below are shared and never
// change, so that refusing costs no memory.
type protocolError struct {
	code    code
	cause   string
	failure authFailure // notAFailure unless credentials were at fault
	err     error       // what another package said that was not expected, or nil
}

func (e *protocolError) Error() string {
	s := fmt.Sprintf("%d %s: %s", e.code.number(), e.code.reason(), e.cause)
	if e.err != nil {
		s += ": " + e.err.Error()
	}
	return s
}

// Any request.
var (
	errUnknownAttribute = &protocolError{code: unknownAttribute, cause: "comprehension-required attribute not understood"}
	errNoAllocation     = &protocolError{code: allocationMismatch, cause: "the five-tuple has no allocation"}
	errWrongUser        = &protocolError{code: wrongCredentials, cause: "the allocation is another user's", failure: failureWrongUser}
	errBadLifetime      = &protocolError{code: badRequest, cause: "LIFETIME is malformed"}
	errBadFamily        = &protocolError{code: badRequest, cause: "REQUESTED-ADDRESS-FAMILY is malformed"}
)

// Authentication.
var (
	errNoCredentials = &protocolError{code: unauthenticated, cause: "no MESSAGE-INTEGRITY, no MESSAGE-INTEGRITY-SHA256"}
	errIncomplete    = &protocolError{code: badRequest, cause: "message integrity without USERNAME or USERHASH, REALM or NONCE", failure: failureIncomplete}
	errAlgorithms    = &protocolError{code: badRequest, cause: "PASSWORD-ALGORITHM and PASSWORD-ALGORITHMS are not as offered", failure: failureAlgorithms}
	errAlgorithm     = &protocolError{code: unauthenticated, cause: "password algorithm is not accepted", failure: failureAlgorithm}
	errWrongRealm    = &protocolError{code: unauthenticated, cause: "REALM is not ours", failure: failureWrongRealm}
	errUnknownUser   = &protocolError{code: unauthenticated, cause: "user is not known", failure: failureUnknownUser}
	errWrongPassword = &protocolError{code: unauthenticated, cause: "password is wrong", failure: failureWrongPassword}
	errToken         = &protocolError{code: unauthenticated, cause: "ACCESS-TOKEN cannot be opened", failure: failureToken}
	errTokenExpired  = &protocolError{code: unauthenticated, cause: "ACCESS-TOKEN is not of this time", failure: failureTokenExpired}
	errExpired       = &protocolError{code: unauthenticated, cause: "credential has expired", failure: failureExpired}
	errStaleNonce    = &protocolError{code: staleNonce, cause: "nonce is old, or not ours for this client", failure: failureStaleNonce}
)

// Binding, for NAT behavior discovery.
var (
	errBadChangeRequest = &protocolError{code: badRequest, cause: "CHANGE-REQUEST is malformed"}
	errBadResponsePort  = &protocolError{code: badRequest, cause: "RESPONSE-PORT is malformed"}
	errPaddedPort       = &protocolError{code: badRequest, cause: "PADDING beside RESPONSE-PORT"}
)

// Allocate.
var (
	errInUse              = &protocolError{code: allocationMismatch, cause: "the five-tuple has an allocation already"}
	errNoTransport        = &protocolError{code: badRequest, cause: "REQUESTED-TRANSPORT is missing"}
	errBadTransport       = &protocolError{code: badRequest, cause: "REQUESTED-TRANSPORT is malformed"}
	errTransport          = &protocolError{code: unsupportedTransport, cause: "REQUESTED-TRANSPORT is neither UDP nor TCP"}
	errBadToken           = &protocolError{code: badRequest, cause: "RESERVATION-TOKEN is malformed"}
	errBadEvenPort        = &protocolError{code: badRequest, cause: "EVEN-PORT is malformed"}
	errBadAdditional      = &protocolError{code: badRequest, cause: "ADDITIONAL-ADDRESS-FAMILY is malformed or not IPv6"}
	errTokenWithMore      = &protocolError{code: badRequest, cause: "RESERVATION-TOKEN beside EVEN-PORT or an address family"}
	errTwoFamilies        = &protocolError{code: badRequest, cause: "REQUESTED-ADDRESS-FAMILY beside ADDITIONAL-ADDRESS-FAMILY"}
	errReserveDual        = &protocolError{code: badRequest, cause: "EVEN-PORT with R beside ADDITIONAL-ADDRESS-FAMILY"}
	errFamilyNotSupported = &protocolError{code: addressFamilyNotSupported, cause: "no relayed transport addresses of this family"}
	errUserQuota          = &protocolError{code: quotaReached, cause: "the user holds as many allocations as one may"}
	errNoReservation      = &protocolError{code: insufficientCapacity, cause: "RESERVATION-TOKEN names no reservation"}
	errTryAlternate       = &protocolError{code: tryAlternate, cause: "another server takes new allocations"}
	errDraining           = &protocolError{code: insufficientCapacity, cause: "no new allocations, and no other server of the client's family is known"}
	errRemoved            = &protocolError{code: insufficientCapacity, cause: "the listener is removed, and no other one of its kind is known"}
	errNoRelayedAddress   = &protocolError{code: insufficientCapacity, cause: "no relayed transport address is free"}
	errNoSocket           = &protocolError{code: insufficientCapacity, cause: "the host gives no socket for a relayed transport address"}
)

// Mobility.
var (
	errMobilityForbidden = &protocolError{code: mobilityForbidden, cause: "allocations may not move here"}
	errTicketAtAllocate  = &protocolError{code: badRequest, cause: "MOBILITY-TICKET of an Allocate is not empty"}
	errTicket            = &protocolError{code: badRequest, cause: "MOBILITY-TICKET is none of ours"}
	errTicketUsed        = &protocolError{code: badRequest, cause: "MOBILITY-TICKET was used"}
	errSamePlace         = &protocolError{code: badRequest, cause: "MOBILITY-TICKET is of the allocation of this five-tuple"}
	errTicketGone        = &protocolError{code: allocationMismatch, cause: "MOBILITY-TICKET is of an allocation that is over"}
)

// Refresh, CreatePermission and ChannelBind.
var (
	errRefreshedFamily  = &protocolError{code: peerFamilyMismatch, cause: "REQUESTED-ADDRESS-FAMILY is not the allocation's"}
	errNoPeer           = &protocolError{code: badRequest, cause: "XOR-PEER-ADDRESS is missing"}
	errBadPeer          = &protocolError{code: badRequest, cause: "XOR-PEER-ADDRESS is malformed"}
	errManyPeers        = &protocolError{code: badRequest, cause: "more than one XOR-PEER-ADDRESS"}
	errPeerFamily       = &protocolError{code: peerFamilyMismatch, cause: "XOR-PEER-ADDRESS is of another family than the relayed transport address"}
	errPeerForbidden    = &protocolError{code: forbidden, cause: "the server's rules don't allow this peer"}
	errTooManyPeers     = &protocolError{code: insufficientCapacity, cause: "the allocation holds as many peers as one may"}
	errNoChannelNumber  = &protocolError{code: badRequest, cause: "CHANNEL-NUMBER is missing"}
	errBadChannelNumber = &protocolError{code: badRequest, cause: "CHANNEL-NUMBER is malformed or out of range"}
	errChannelConflict  = &protocolError{code: badRequest, cause: "channel or peer is bound otherwise"}
)

// TCP allocations (RFC 6062 §5).
var (
	errNotOverTCP      = &protocolError{code: badRequest, cause: "what belongs to a TCP allocation comes over TCP or TLS only"}
	errDatagramOptions = &protocolError{code: badRequest, cause: "DONT-FRAGMENT, EVEN-PORT or RESERVATION-TOKEN for a TCP allocation"}
	errIsTCP           = &protocolError{code: forbidden, cause: "a TCP allocation has no channels"}
	errIsUDP           = &protocolError{code: forbidden, cause: "the allocation is not one of TCP"}
	errConnected       = &protocolError{code: connectionExists, cause: "there is a connection to this peer, or one is being made"}
	errNotConnected    = &protocolError{code: connectionFailed, cause: "the peer does not accept the connection"}
	errManyConnections = &protocolError{code: insufficientCapacity, cause: "the allocation has as many connections as one may"}
	errNoConnectionID  = &protocolError{code: badRequest, cause: "CONNECTION-ID is missing or malformed"}
	errNoConnection    = &protocolError{code: badRequest, cause: "CONNECTION-ID names no connection that waits"}
	errIsControl       = &protocolError{code: badRequest, cause: "a control connection cannot be a client data connection"}
)

// unexpected is the answer to an error that another package was not supposed to
// return: the request was valid, and the fault is ours (RFC 8489 §14.8).
func unexpected(err error) *protocolError {
	return &protocolError{code: serverError, cause: "unexpected", err: err}
}
