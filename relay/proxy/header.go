package proxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
)

// Protocol constants, from section 2.2 of the specification.
const (
	signature  = "\r\n\r\n\x00\r\nQUIT\n"
	prefixSize = 16 // bytes: signature, version and command, family and transport, length of what follows

	version      = 0x20
	commandLocal = 0x0
	commandProxy = 0x1

	over4 = 0x10 // family; the transport is in the lower half
	over6 = 0x20

	size4 = 2*4 + 2*2  // bytes of two IPv4 addresses and two ports
	size6 = 2*16 + 2*2 // bytes of two IPv6 addresses and two ports

	typeCRC32C     = 0x03
	attributeHead  = 3 // bytes: type and length
	checksumLength = 4
)

// transport is what a header says that the client speaks.
type transport byte

const (
	stream   transport = 0x01
	datagram transport = 0x02
)

func (t transport) String() string {
	if t == stream {
		return "TCP connection"
	}
	return "UDP flow"
}

// MaxHeader is a tuning constant: the longest header that is read, in bytes. Addresses take 36 of them; the rest is for
// what balancers add, of which the names in a client's certificate are the longest.
const MaxHeader = 2048

// ErrMalformed is wrapped by every fault of a header.
var ErrMalformed = errors.New("proxy: malformed header")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// Header is what a header says.
type Header struct {
	// Local says that the connection or datagram is the balancer's own, such as a health check: its real addresses are the
	// right ones, and the two below are not set.
	Local bool
	// Source is the client's address and Destination the one that the client connected to; IPv4 is never mapped.
	Source, Destination netip.AddrPort
}

// Read takes the header off the front of a stream, and not one byte more. Its error is the stream's, or wraps
// ErrMalformed.
func Read(r io.Reader) (Header, error) {
	var buffer [MaxHeader]byte
	if _, err := io.ReadFull(r, buffer[:prefixSize]); err != nil {
		return Header{}, err
	}
	size, err := sizeOf(buffer[:prefixSize])
	if err != nil {
		return Header{}, err
	}
	if _, err := io.ReadFull(r, buffer[prefixSize:size]); err != nil {
		return Header{}, err
	}
	return Parse(buffer[:size])
}

// sizeOf judges the fixed part and tells the size of the whole header in bytes.
func sizeOf(prefix []byte) (int, error) {
	if string(prefix[:len(signature)]) != signature {
		return 0, malformed("it does not begin with the signature of version 2")
	}
	if prefix[12]&0xF0 != version {
		return 0, malformed("version %d", prefix[12]>>4)
	}
	size := prefixSize + int(binary.BigEndian.Uint16(prefix[14:]))
	if size > MaxHeader {
		return 0, malformed("%d bytes, more than %d", size, MaxHeader)
	}
	return size, nil
}

// Cut takes the header off the front of a datagram: one of a UDP flow, or a local one. found is false where there is none,
// not even a bad one; then payload is the whole datagram. No TURN message looks like a header: ChannelData has another first
// byte, and STUN another magic cookie. Its error wraps ErrMalformed.
func Cut(b []byte) (h Header, payload []byte, found bool, err error) {
	if len(b) < len(signature) || string(b[:len(signature)]) != signature {
		return Header{}, b, false, nil
	}
	if len(b) < prefixSize {
		return Header{}, nil, true, malformed("%d bytes", len(b))
	}
	size, err := sizeOf(b[:prefixSize])
	if err == nil && size > len(b) {
		err = malformed("%d bytes in a datagram of %d", size, len(b))
	}
	if err != nil {
		return Header{}, nil, true, err
	}
	h, err = parse(b[:size], datagram)
	return h, b[size:], true, err
}

// Parse reads the header of a TCP connection, or a local one, that fills b exactly. It keeps no reference to b.
func Parse(b []byte) (Header, error) { return parse(b, stream) }

func parse(b []byte, over transport) (Header, error) {
	if len(b) < prefixSize {
		return Header{}, malformed("%d bytes", len(b))
	}
	size, err := sizeOf(b)
	if err != nil {
		return Header{}, err
	}
	if size != len(b) {
		return Header{}, malformed("%d bytes that say that they are %d", len(b), size)
	}
	switch b[12] & 0x0F {
	case commandLocal:
		return Header{Local: true}, nil // "must discard the protocol block including the family"
	case commandProxy:
	default:
		return Header{}, malformed("command %d", b[12]&0x0F)
	}
	var h Header
	addresses := size4
	switch rest := b[prefixSize:]; {
	case b[13] == over4|byte(over) && len(rest) >= size4:
		h.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(rest[0:])), binary.BigEndian.Uint16(rest[8:]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte(rest[4:])), binary.BigEndian.Uint16(rest[10:]))
	case b[13] == over6|byte(over) && len(rest) >= size6:
		addresses = size6
		h.Source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(rest[0:])).Unmap(), binary.BigEndian.Uint16(rest[32:]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom16([16]byte(rest[16:])).Unmap(), binary.BigEndian.Uint16(rest[34:]))
	default:
		return Header{}, malformed("family and transport %#x with %d bytes are no addresses of a %s", b[13], len(rest), over)
	}
	if a := h.Source.Addr(); a.IsUnspecified() || a.IsMulticast() || h.Source.Port() == 0 {
		return Header{}, malformed("%s is nobody's address", h.Source)
	}
	return h, checkAttributes(b, prefixSize+addresses)
}

// checkAttributes walks what follows the addresses, of which only the checksum means
// something here: it covers the whole header with its own value as zeros.
func checkAttributes(b []byte, at int) error {
	for at < len(b) {
		if len(b)-at < attributeHead {
			return malformed("%d bytes behind its last attribute", len(b)-at)
		}
		value := at + attributeHead
		end := value + int(binary.BigEndian.Uint16(b[at+1:]))
		if end > len(b) {
			return malformed("an attribute that is longer than the header")
		}
		if b[at] == typeCRC32C {
			if end-value != checksumLength {
				return malformed("a checksum of %d bytes", end-value)
			}
			table := crc32.MakeTable(crc32.Castagnoli)
			sum := crc32.Update(0, table, b[:value])
			sum = crc32.Update(sum, table, make([]byte, checksumLength))
			if sum = crc32.Update(sum, table, b[end:]); sum != binary.BigEndian.Uint32(b[value:]) {
				return malformed("a wrong checksum")
			}
		}
		at = end
	}
	return nil
}
