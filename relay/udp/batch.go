package udp

import (
	"errors"
	"net/netip"
)

// Datagram is one received datagram, or several of one sender that the kernel delivered as one.
type Datagram struct {
	// Bytes are the caller's to read and modify until the next Receive on the Batch; a Queue may refer to them until it is
	// flushed, which must come first. At least 8 bytes of capacity follow them, which may be written as well.
	Bytes []byte

	// Segment is the size of each datagram within Bytes, of which only the last may be shorter. It equals len(Bytes) as
	// long as the kernel isn't asked to join datagrams (UDP_GRO).
	Segment int

	Source    netip.AddrPort // never a mapped address; with a zone, the interface's index, only if link-local
	Local     netip.Addr     // the address it came to, without a zone; invalid without Options.PacketInfo
	Interface uint32         // index of the interface it came by; 0 without Options.PacketInfo
	Truncated bool           // it was larger than the Batch's buffers, and the rest is lost (Windows: all of it, unnoticed)
}

const (
	tailroom = 8  // bytes of capacity behind each datagram: padding of a frame, or a byte that tells an oversize datagram
	stride   = 64 // buffers begin on cache lines of their own, as neighbours may be in the hands of the network card's core
)

// Batch is a slab of buffers and what was received into them. It belongs to one goroutine: Receive hands its bytes to the
// caller, the next Receive takes them back. It may be used with several Conns in turn.
type Batch struct {
	// immutable
	slab       []byte
	size, step int // bytes that a datagram may have; distance of two buffers

	// owned by the goroutine that receives
	n       int // datagrams of the last Receive
	fast    *receiver
	decoded []Datagram // the last Receive's when it took the portable path, else nil
	single  [1]Datagram
	control []byte // scratch of the portable path
}

// NewBatch makes room for so many datagrams of at most size bytes each. It panics unless both are positive.
func NewBatch(messages, size int) *Batch {
	if messages <= 0 || size <= 0 {
		panic("udp: a batch needs at least one buffer of one byte")
	}
	step := (size + tailroom + stride - 1) &^ (stride - 1)
	b := &Batch{slab: make([]byte, messages*step), size: size, step: step, control: make([]byte, controlSize)}
	b.fast = newReceiver(b, messages)
	return b
}

// Receive waits until there is at least one datagram and takes what is there, as far as the Batch has buffers. It returns
// net.ErrClosed after Close; any other error says that the socket failed over and over. There is no heap allocation, except
// that naming the zone of a link-local sender may take one.
func (c *Conn) Receive(b *Batch) error {
	b.n, b.decoded = 0, nil
	if c.portable {
		return c.receivePortable(b)
	}
	return c.receiveFast(b)
}

// Take adds up to most datagrams to the Batch that are there already, as far as it has buffers, and returns how many; it
// doesn't wait. Those that the Batch held stay valid. It returns net.ErrClosed after Close, and errors.ErrUnsupported on
// the portable path.
func (c *Conn) Take(b *Batch, most int) (int, error) {
	if c.portable {
		return 0, errors.ErrUnsupported
	}
	b.decoded = nil
	return c.takeFast(b, most)
}

// Reset forgets what was taken.
func (b *Batch) Reset() { b.n = 0 }

// Full says whether there is no buffer left for Take.
func (b *Batch) Full() bool { return b.n*b.step == len(b.slab) }

// Len tells how many datagrams the last Receive brought.
func (b *Batch) Len() int { return b.n }

// Datagram gives the datagram i of the last Receive; 0 ≤ i < Len.
func (b *Batch) Datagram(i int) Datagram {
	if b.decoded != nil {
		return b.decoded[i]
	}
	return b.datagramFast(i)
}

// buffer is the room of datagram i with its tail.
func (b *Batch) buffer(i int) []byte {
	return b.slab[i*b.step : (i+1)*b.step : (i+1)*b.step]
}
