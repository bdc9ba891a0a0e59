package peers

import "net/netip"

// neverAllowed are blocks that no wider rule and no name opens: behind them are the
// host itself, its neighbours' configuration and the keys of its cloud account. Only
// a rule whose own prefix lies within a block allows what it says of it. No two of
// them overlap, so a rule that lies within one speaks of no other.
var neverAllowed = []struct {
	block netip.Prefix
	what  string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"}, // Linux takes 0.0.0.0 for itself
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"}, // 169.254.169.254: metadata of most clouds
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("255.255.255.255/32"), "broadcast"},
	{netip.MustParsePrefix("100.100.100.200/32"), "metadata"}, // Alibaba Cloud
	{netip.MustParsePrefix("168.63.129.16/32"), "metadata"},   // Azure, the host's wire server
	{netip.MustParsePrefix("192.0.0.192/32"), "metadata"},     // Oracle Cloud

	{compatible, "unspecified, loopback or IPv4-compatible"}, // RFC 4291 §2.5.5.1; ParseRule takes :: and ::1 of it only
	{mapped, "IPv4-mapped"},                                  // RFC 4291 §2.5.5.2; ParseRule takes nothing of it
	{translated, "IPv4-translated"},
	{localTranslation, "local-use translation"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
	{netip.MustParsePrefix("fd00:ec2::254/128"), "metadata"}, // Amazon
	{netip.MustParsePrefix("fd20:ce::254/128"), "metadata"},  // Google
	{netip.MustParsePrefix("fd00:42::42/128"), "metadata"},   // Scaleway
}

// Blocks in which IPv4 addresses have a second spelling; the others are in embedded.
var (
	compatible       = netip.MustParsePrefix("::/96")
	unspecified6     = netip.MustParsePrefix("::/128")
	mapped           = netip.MustParsePrefix("::ffff:0:0/96")
	translated       = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765
	localTranslation = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
)

// neverBlocks is neverAllowed by family.
var neverBlocks = func() (blocks [2][]block) {
	for _, n := range neverAllowed {
		f := familyOf(n.block.Addr())
		blocks[f] = append(blocks[f], newBlock(n.block, everyPort))
	}
	return blocks
}()

// never says whether a lies in a block that has to be named.
func never(a netip.Addr) bool { return neverKey(keyOf(a), familyOf(a)) }

func neverKey(k key, f family) bool {
	for i := range neverBlocks[f] {
		if neverBlocks[f][i].holds(k) {
			return true
		}
	}
	return false
}

// explicit says whether p names, of what is never allowed, a part of its own.
func explicit(p netip.Prefix) bool {
	for _, n := range neverAllowed {
		if n.block.Bits() <= p.Bits() && n.block.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

// embedded finds the IPv4 addresses to which a translator or tunnel would take what
// is sent to an IPv6 address: none, one or two. A spelling never gets at what its
// IPv4 address doesn't.
func embedded(k key) (inside [2]key, n int) {
	switch {
	case k.hi>>48 == 0x2002: // 6to4, 2002::/16 (RFC 3056 §2)
		return [2]key{key4(uint32(k.hi >> 16))}, 1
	case k.hi>>32 == 0x2001_0000: // Teredo, 2001::/32 (RFC 4380 §4): the server, and the client with all bits inverted
		return [2]key{key4(uint32(k.hi)), key4(^uint32(k.lo))}, 2
	case k.hi == 0x0064_ff9b_0000_0000 && k.lo>>32 == 0, // NAT64, 64:ff9b::/96 (RFC 6052 §2.1)
		k.hi>>16 == 0x0064_ff9b_0001,         // localTranslation
		k.hi == 0 && k.lo>>32 == 0xffff_0000: // translated
		return [2]key{key4(uint32(k.lo))}, 1
	}
	return inside, 0
}
