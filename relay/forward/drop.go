package forward

// Drop says why a packet was dropped. The enum is closed: each reason is a metric
// series from the start.
type Drop uint8

// The reasons, in the order in which a packet can meet them.
const (
	DropNotTURN          Drop = iota // neither STUN nor ChannelData
	DropTruncated                    // datagram larger than any relayed one may be
	DropMalformed                    // a header that lies about what follows it
	DropNoAllocation                 // the five-tuple has no allocation
	DropNoChannel                    // the channel number isn't bound
	DropNoPermission                 // the client has no permission for this peer
	DropPeerNotAllowed               // the server's rules don't let clients exchange packets with this peer
	DropNoPeer                       // nobody has this relayed transport address
	DropPeerNoPermission             // the peer's client has no permission for the sender
	DropBandwidth                    // an allocation, or its user, uses its bandwidth up
	DropTooLarge                     // payload doesn't fit behind the header that it needs
	DropQueueFull                    // the peer's client reads its connection too slowly
	DropSendFailed                   // the kernel refused the datagram
	drops
)

var dropNames = [drops]string{
	DropNotTURN:          "not_turn",
	DropTruncated:        "truncated",
	DropMalformed:        "malformed",
	DropNoAllocation:     "no_allocation",
	DropNoChannel:        "no_channel",
	DropNoPermission:     "no_permission",
	DropPeerNotAllowed:   "peer_not_allowed",
	DropNoPeer:           "no_peer",
	DropPeerNoPermission: "peer_no_permission",
	DropBandwidth:        "bandwidth",
	DropTooLarge:         "too_large",
	DropQueueFull:        "queue_full",
	DropSendFailed:       "send_failed",
}

// String returns the reason as the metrics spell it.
func (d Drop) String() string { return dropNames[d] }

// Drop counts packets that the caller dropped before they belonged to anybody.
func (f *Forwarder) Drop(why Drop, packets int) { f.counts.dropped[why] += uint64(packets) }
