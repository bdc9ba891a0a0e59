// Package quality owns what a relay can see of the media that it carries: of which kind each packet is, and of each RTP
// stream how much of it arrived, in which order, how evenly and how fast. RTP headers are in the clear even where SRTP
// encrypts what follows (RFC 3711 §3.1), so nothing has to be opened for it.
//
// It refuses to change, keep or decrypt a packet, to call back, to log, to take the time, and to grow: whatever arrives,
// a Tracker holds MaxStreams streams and as many that ended.
//
//	payload ─► parse ─┬─ other kinds, RTCP ─► count             (kind.go, rtcp.go)
//	                  └─ RTP ─► Tracker ─┬─ known SSRC ─► stream ─┬─ sequence: loss, order, duplicates  (sequence.go)
//	                     (tracker.go)    └─ new ─► probation      └─ timing: gaps, jitter, bitrate      (timing.go)
//
// # What is seen, and what is not
//
// A relay sees packets where they reach it: the figures are those of the way from the sender to the relay. What is lost
// behind it only the receiver knows. Retransmissions, forward error correction and the layers of a simulcast have SSRCs
// of their own and are streams of their own; those that repair another are told by its timestamps (Stream.RepairOf). What
// is wrapped in RED is one stream with its own payload type, ULPFEC within it counted as packets of the media.
//
// # Held against the truth
//
// Calls of Chromium through lines that lose, repeat and delay by a known plan (TestBrowsersAgree of cmd/hairpin/internal/lab):
// packets lost, repeated and overtaken are the lines' to the packet, and the losses those of the receiver's getStats and
// RTCP reports; clock rates are exact. A way behind the relay changes nothing. What the two sides said on a busy host:
//
//	                                    lost: line  relay  receiver     jitter: relay  receiver     kbit/s: relay  line
//	clean                       audio            0      0         0            2.5 ms    3.0 ms               39    39
//	                            video            0      0         0            3.9 ms    4.2 ms              215   213
//	5 % lost before the relay   audio           54     54        54            3.4 ms    4.1 ms               35    35
//	                            video           49     49        49            5.2 ms    5.4 ms              244   236
//	0 to 40 ms late             audio            0      0         0           14.5 ms   15.2 ms               40    39
//	5 % lost behind the relay   audio            0      0        12            4.2 ms    5.0 ms               39    39
//	2 s of nothing              audio          100    100         0            4.5 ms    4.1 ms
//
// The last line is no fault of either: Chromium takes a large gap for a new beginning of which nothing is lost, the relay
// asks the timestamps.
//
// # Use
//
// An allocation has a Slot for each direction. The packet path calls Slot.Observe with each payload and its batch's
// moment; before the first RTP packet that costs a look at one pointer and makes nothing. What came before is in no
// Tracker: STUN's and DTLS's greetings are counted from the first RTP packet on. The same moment that the
// packets carry, nanoseconds of any monotonic clock, is what readers pass to Snapshot.
//
// # Goroutines and locks
//
// Packets of one Tracker usually come from one goroutine; those towards a client may come from several. A Tracker has a
// lock that is only ever tried: whoever finds it taken leaves the packet's header in the inbox (inbox.go) and goes on,
// and the next one to have the lock takes it out. So nobody on the packet path waits, neither for another packet nor for
// a reader, and a packet's figures are late rather than lost. Readers hold the lock for the copy of one stream at a time.
//
// # Size
//
// A stream takes 256 bytes, a Tracker 512 before its streams; an inbox of 288 is made when the lock is found taken for
// the first time. TestSizes holds them to that.
package quality
