package peers

import (
	"encoding/binary"
	"math"
	"net/netip"
)

// key is an address as two numbers, so that it can be compared with a prefix in a
// few instructions. An IPv4 address has the key of its IPv4-mapped spelling
// (RFC 4291 §2.5.5.2); the spelling itself gets no key, it is refused before.
type key struct{ hi, lo uint64 }

func keyOf(a netip.Addr) key {
	x := a.As16()
	return key{binary.BigEndian.Uint64(x[:8]), binary.BigEndian.Uint64(x[8:])}
}

func key4(a uint32) key { return key{0, 0xffff<<32 | uint64(a)} }

type family uint8

const (
	ipv4 family = iota
	ipv6
)

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return ipv4
	}
	return ipv6
}

// block is a prefix with ports, of one family.
type block struct {
	first, mask key
	ports       ports
	explicit    bool // names a part of what is never allowed
}

func newBlock(p netip.Prefix, at ports) block {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	mask := key{hi: math.MaxUint64, lo: math.MaxUint64}
	if bits <= 64 {
		mask = key{hi: ^(uint64(math.MaxUint64) >> bits)}
	} else {
		mask.lo = ^(uint64(math.MaxUint64) >> (bits - 64))
	}
	return block{first: keyOf(p.Masked().Addr()), mask: mask, ports: at}
}

func (b *block) holds(k key) bool {
	return (k.hi^b.first.hi)&b.mask.hi|(k.lo^b.first.lo)&b.mask.lo == 0
}
