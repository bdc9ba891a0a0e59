package stream

import (
	"net"
	"sync"

	"github.com/hairpin-turn/hairpin/relay/wire"
)

// Read buffers come in sizes, so that the rest of a partial frame holds little more than itself while the
// connection waits. The largest takes any frame whole, and a lot of small ones in one read.
var bufferSizes = [...]int{2 << 10, 16 << 10, largestBuffer}

const largestBuffer = 68 << 10

var _ [largestBuffer - wire.MaxFrame]struct{} // a partial frame leaves room for a read, or this doesn't compile

const largest = len(bufferSizes) - 1

type buffer struct {
	size int // index into bufferSizes
	data []byte
}

var buffers [len(bufferSizes)]sync.Pool // of *buffer

func getBuffer(size int) *buffer {
	if b, ok := buffers[size].Get().(*buffer); ok {
		return b
	}

	return &buffer{size: size, data: make([]byte, bufferSizes[size])}
}

func (b *buffer) put() { buffers[b.size].Put(b) }

// sizeFor is the smallest buffer size that holds n bytes.
func sizeFor(n int) int {
	for size, bytes := range bufferSizes {
		if n <= bytes {
			return size
		}
	}

	return largest
}

// input is the unparsed end of a stream. Owned by the reader.
//
//	         ┌───────── bytes ─────────┬── room ──┐
//	buffer:  │ frame │ frame │ partial │          │      no buffer at all while there are no bytes and no read
type input struct {
	buffer *buffer // borrowed; nil when nothing is held
	have   int     // bytes in it
	filled bool    // the last readFrom had no room left: more is waiting
}

func (in *input) bytes() []byte {
	if in.buffer == nil {
		return nil
	}

	return in.buffer.data[:in.have]
}

func (in *input) room() []byte { return in.buffer.data[in.have:] }

// resize moves what is held from offset on to the front of a buffer of this size.
func (in *input) resize(size, from int) {
	held := in.bytes()[from:]
	in.have = len(held)

	if in.buffer != nil && in.buffer.size == size {
		copy(in.buffer.data, held)

		return
	}

	b := getBuffer(size)
	copy(b.data, held)
	in.release()
	in.buffer = b
}

// widen makes room for a read: for the rest of any frame, and at least for one byte.
func (in *input) widen() { in.resize(largest, 0) }

// consume drops n bytes from the front and keeps no more buffer than the rest needs.
func (in *input) consume(n int) {
	if n == in.have {
		in.have = 0
		in.release()

		return
	}

	in.resize(sizeFor(in.have-n), n)
}

// release gives the buffer back.
func (in *input) release() {
	if in.buffer != nil {
		in.buffer.put()
		in.buffer = nil
	}
}

// readFrom reads once from a connection that can only be waited for with a buffer in hand: a small one, until
// it is seen to run full.
func (in *input) readFrom(nc net.Conn) (int, error) {
	size := sizeFor(in.have + 1)
	if in.filled {
		size = largest
	}
	in.resize(size, 0)

	n, err := nc.Read(in.room())
	in.filled = n == len(in.room())
	in.have += n

	return n, err
}
