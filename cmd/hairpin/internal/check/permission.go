package check

import "net/netip"

// CreatePermission requests and what permissions do: RFC 8656 §9 and §10.
var permissionRows = group{
	{RFC: "8656", Section: "10.2", Level: Must, Requirement: "installs a permission for the IP address of XOR-PEER-ADDRESS",
		probe: func(x *exam) {
			x.peers()
			x.wants(x.allocated().request(createPermission, peer(x.anchors[0])), 0)
		}},
	{RFC: "8656", Section: "10.2", Level: Must, Requirement: "installs permissions for several XOR-PEER-ADDRESS of one request",
		probe: func(x *exam) {
			x.peers()
			x.wants(x.allocated().request(createPermission, peer(x.anchors[0]), peer(x.anchors[1])), 0)
		}},
	{RFC: "8656", Section: "10.2", Level: Must, Requirement: "rejects a CreatePermission request without XOR-PEER-ADDRESS with 400",
		probe: func(x *exam) { x.wants(x.allocated().request(createPermission), 400) }},
	{RFC: "8656", Section: "10.2", Level: Must, Requirement: "rejects an XOR-PEER-ADDRESS that is too short with 400",
		probe: func(x *exam) {
			x.wants(x.allocated().request(createPermission, raw(attrPeer, 0, familyIPv4, 1, 2)), 400)
		}},
	{RFC: "8656", Section: "10.2", Level: Must, Requirement: "rejects an XOR-PEER-ADDRESS of a family that does not exist with 400",
		probe: func(x *exam) {
			x.wants(x.allocated().request(createPermission, raw(attrPeer, 0, 7, 1, 2, 3, 4, 5, 6)), 400)
		}},
	{RFC: "8656", Section: "10.2", Level: Must, Requirement: "rejects a CreatePermission request with 400 if one of several XOR-PEER-ADDRESS is invalid",
		probe: func(x *exam) {
			x.peers()
			x.wants(x.allocated().request(createPermission, peer(x.anchors[0]), raw(attrPeer, 0, familyIPv4, 1, 2)), 400)
		}},
	{RFC: "8656", Section: "10.2", Level: Must, Requirement: "rejects a peer of another family than the relayed transport address with 443",
		probe: func(x *exam) { x.wants(x.allocated().request(createPermission, peer(x.otherFamily())), 443) }},
	{RFC: "8656", Section: "10.2", Level: Must, Requirement: "rejects a request with 443 if one of several peers is of another family",
		probe: func(x *exam) {
			x.peers()
			x.wants(x.allocated().request(createPermission, peer(x.anchors[0]), peer(x.otherFamily())), 443)
		}},
	{RFC: "8656", Section: "10.2", Level: Must, Requirement: "answers a peer that it does not allow with 403 (a multicast address: success or 403)",
		probe: func(x *exam) {
			group := netip.MustParseAddrPort("233.252.0.1:9") // RFC 6676's documentation prefix
			if x.onlyIPv6 {
				group = netip.MustParseAddrPort("[ff0e::db8:0:1]:9")
			}
			x.wants(x.allocated().request(createPermission, peer(group)), 0, 403)
		}},
	{RFC: "8656", Section: "10.2", Level: Must, Requirement: "ignores the port of XOR-PEER-ADDRESS: zero is as good as any",
		probe: func(x *exam) {
			x.peers()
			x.wants(x.allocated().request(createPermission, peer(netip.AddrPortFrom(x.anchors[0].Addr(), 0))), 0)
		}},
	{RFC: "8656", Section: "9", Level: Must, Requirement: "relays from a permitted peer whatever its port is",
		probe: func(x *exam) {
			c, f := x.pair()
			x.permits(c, netip.AddrPortFrom(f.address.Addr(), 9))
			x.arrives(func() { f.send(c.relayed, []byte("another port")) }, c.relays, []byte("another port"))
		}},
	{RFC: "8656", Section: "9", Level: Must, Requirement: "refreshes a permission that is there already",
		probe: func(x *exam) {
			x.peers()
			c := x.allocated()
			x.wants(c.request(createPermission, peer(x.anchors[0])), 0)
			x.wants(c.request(createPermission, peer(x.anchors[0])), 0)
		}},
	{RFC: "8656", Section: "9", Level: Must, Requirement: "discards silently what comes from a peer without a permission",
		probe: func(x *exam) {
			c, f := x.pair()
			f.send(c.relayed, x.payload("not permitted"))
			x.stopped(c.relays, x.payload("not permitted"))
			x.permits(c, f.address)
			x.arrives(func() { f.send(c.relayed, []byte("permitted")) }, c.relays, []byte("permitted"))
		}},
	{RFC: "8656", Section: "9", Level: Must, Requirement: "keeps the permissions of one allocation apart from those of another",
		probe: func(x *exam) {
			c, f := x.pair()
			other := x.allocated()
			f.welcomes(other)
			x.permits(c, f.address)
			f.send(other.relayed, x.payload("not permitted"))
			x.stopped(other.relays, x.payload("not permitted"))
		}},
	{RFC: "8656", Section: "10.2", Level: Must, Requirement: "installs no permission with a request that it rejects",
		probe: func(x *exam) {
			c, f := x.pair()
			x.refused(c.request(createPermission, peer(f.address), raw(attrPeer, 0, familyIPv4, 1, 2)))
			f.send(c.relayed, x.payload("not permitted"))
			x.stopped(c.relays, x.payload("not permitted"))
		}},
	{RFC: "8656", Section: "5", Level: Must, reach: overDatagrams, Requirement: "answers a retransmitted CreatePermission request with a success, too",
		probe: func(x *exam) {
			x.peers()
			c := x.allocated()
			request := c.sign(build(createPermission, peer(x.anchors[0])))
			x.wants(c.exchange(request), 0)
			x.wants(c.exchange(request), 0)
		}},
	{RFC: "8656", Section: "9", Level: Must, slow: true, Requirement: "lets a permission expire after 300 s and not before",
		probe: func(x *exam) {
			c, f := x.pair()
			x.permits(c, f.address)
			x.wait(290)
			f.welcomes(c)
			x.arrives(func() { f.send(c.relayed, []byte("permitted")) }, c.relays, []byte("permitted"))
			x.wait(20)
			f.welcomes(c)
			f.send(c.relayed, x.payload("not permitted any more"))
			x.stopped(c.relays, x.payload("not permitted any more"))
		}},
}

// otherFamily is a peer of the family that the usual allocation does not have.
func (s *server) otherFamily() netip.AddrPort {
	if s.onlyIPv6 {
		return netip.MustParseAddrPort("198.51.100.1:9")
	}
	return netip.MustParseAddrPort("[2001:db8::1]:9")
}
