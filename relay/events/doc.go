// Package events owns the event stream: one JSON line for each allocation's birth and death, for each refusal and for each
// move of a client, to a file, to standard output or to an HTTP server, for billing and support. Event is the schema.
//
// It refuses to be filled by who is refused or goes on moving: a source may have 5 refusals and 5 moves written a second,
// all together 100 of each.
//
// It refuses to make anybody wait: what a Writer has no room for is lost, counted, and told to the reader of the stream
// by a line of its own. It refuses to guess: lines keep their order, and a line that may have been delivered is sent
// again only to HTTP servers, which see its number.
//
//	Emit ─► queue ─► Run: encode, join what waits ─► sink: file, stdout, HTTP ─┬─► done
//	  └─ full: lost                                     ▲                      ├─ refused for good: lost
//	                                                    └──── wait, again ─────┴─ failed; lost after giveUp
//
// # Goroutines
//
// Any goroutine may call Emit, Reopen and Counts. Run's own goroutine encodes and writes; Run waits for it, but not
// longer than the grace: one that hangs in a write of a dead disk or pipe is left to the end of the process.
package events
