package relay_test

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/pion/stun/v2"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/forward"
)

// counts flattens what of a Snapshot is not zero.
func counts(n relay.Snapshot) map[string]uint64 {
	all := map[string]uint64{"hairpin": n.Hairpin, "allocations": uint64(n.Allocations), "ended": n.Durations.Count}
	for _, l := range n.Listeners {
		all[l.Name+" live"] = uint64(l.Allocations)
		all[l.Name+" created"] = l.Created
		for d, c := range l.Traffic {
			all[fmt.Sprintf("%s %v packets", l.Name, forward.Direction(d))] = c.Packets
			all[fmt.Sprintf("%s %v bytes", l.Name, forward.Direction(d))] = c.Bytes
		}
	}
	for _, r := range n.Requests {
		all[fmt.Sprintf("%s %s %d", r.Method, r.Class, r.Code)] = r.Value
	}
	for kind, list := range map[string][]relay.Count{"dropped": n.Dropped, "auth": n.AuthFailures, "discarded": n.Discarded} {
		for _, c := range list {
			all[kind+" "+c.Name] = c.Value
		}
	}
	maps.DeleteFunc(all, func(_ string, v uint64) bool { return v == 0 })
	return all
}

// The counters tell what was sent: no packet more, none less, and each at its place.
func TestConformanceCounters(t *testing.T) {
	s := conforming(t, func(c *relay.Config) {
		c.Listeners = []relay.Listener{
			{Scheme: "udp", Address: "127.0.0.1:0", Name: "udp"}, {Scheme: "tcp", Address: "127.0.0.1:0", Name: "tcp"},
		}
	})
	a, b := s.call(t, overUDP), s.call(t, overTCP)
	want, gone := map[string]uint64{}, uint64(0) // gone - 1: one less
	expect := func(says string, more map[string]uint64) {
		t.Helper()
		for name, v := range more {
			want[name] += v
		}
		maps.DeleteFunc(want, func(_ string, v uint64) bool { return v == 0 })
		got := map[string]uint64{}
		// What the client has its answer to may still have to be counted.
		for end := time.Now().Add(patience); !maps.Equal(got, want) && time.Now().Before(end); runtime.Gosched() {
			got = counts(s.Snapshot())
		}
		for _, name := range slices.Sorted(maps.Keys(got)) {
			if got[name] != want[name] {
				t.Errorf("%s: %s is %d, want %d", says, name, got[name], want[name])
			}
			delete(want, name)
		}
		for name, v := range want {
			t.Errorf("%s: %s is 0, want %d", says, name, v)
		}
		want = got
	}
	expect("nothing", nil)

	a.allocate()
	b.allocate()
	expect("allocations", map[string]uint64{
		"allocations": 2, "udp live": 1, "udp created": 1, "tcp live": 1, "tcp created": 1,
		"allocate error 401": 2, "allocate success 0": 2,
	})
	a.permit(b.relayed)
	b.bind(0x4000, a.relayed)
	expect("peers", map[string]uint64{"create_permission success 0": 1, "channel_bind success 0": 1})

	for range 5 {
		a.sendTo(b.relayed, make([]byte, 10))
		b.wantChannel(0x4000, make([]byte, 10))
	}
	for range 3 {
		b.send(channelData(0x4000, make([]byte, 7), true))
		a.wantData(b.relayed, make([]byte, 7))
	}
	expect("traffic", map[string]uint64{
		"hairpin":               8,
		"udp client_in packets": 5, "udp client_in bytes": 50, "udp peer_out packets": 5, "udp peer_out bytes": 50,
		"tcp peer_in packets": 5, "tcp peer_in bytes": 50, "tcp client_out packets": 5, "tcp client_out bytes": 50,
		"tcp client_in packets": 3, "tcp client_in bytes": 21, "tcp peer_out packets": 3, "tcp peer_out bytes": 21,
		"udp peer_in packets": 3, "udp peer_in bytes": 21, "udp client_out packets": 3, "udp client_out bytes": 21,
	})
	s.Allocations(-1, func(i relay.AllocationInfo) bool {
		up, down := allocation.Count{Packets: 5, Bytes: 50}, allocation.Count{Packets: 3, Bytes: 21}
		if i.Relayed == b.relayed {
			up, down = down, up
		}
		if i.Counts.Up != up || i.Counts.Down != down || i.Counts.UpDropped.Packets+i.Counts.DownDropped.Packets != 0 {
			t.Errorf("%v: %+v", i.Relayed, i.Counts)
		}
		return true
	})

	// Each drop has a reason.
	c := s.call(t, overUDP)
	a.send(channelData(0x4444, []byte("12"), true))
	a.send([]byte{0xFF})
	a.send([]byte{0x40, 0, 0, 9})
	a.send(a.build(stun.NewType(stun.MethodSend, stun.ClassIndication)))
	c.send(channelData(0x4000, []byte("1"), true))
	c.sendTo(a.relayed, []byte("1"))
	expect("drops", map[string]uint64{
		"dropped no_channel": 1, "dropped not_turn": 1, "dropped malformed": 2, "dropped no_allocation": 2,
		"udp client_in packets": 1, "udp client_in bytes": 2,
	})
	c.allocate()
	c.sendTo(a.relayed, []byte("1"))
	c.permit(a.relayed)
	c.sendTo(a.relayed, []byte("1"))
	expect("drops for want of permission", map[string]uint64{
		"allocate error 401": 1, "allocate success 0": 1, "create_permission success 0": 1, "udp created": 1,
		"allocations": 1, "udp live": 1, "dropped no_permission": 1, "dropped peer_no_permission": 1,
		"udp client_in packets": 2, "udp client_in bytes": 2, "udp peer_out packets": 1, "udp peer_out bytes": 1, "udp peer_in packets": 1, "udp peer_in bytes": 1,
	})
	a.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
	c.sendTo(a.relayed, []byte("1"))
	expect("drops for want of a peer", map[string]uint64{
		"refresh success 0": 1, "ended": 1, "allocations": gone - 1, "udp live": gone - 1,
		"dropped no_peer": 1, "udp client_in packets": 1, "udp client_in bytes": 1,
	})

	// Requests by method and outcome, and the reasons for which credentials and messages are refused.
	c.with("alice", "wrong").request(stun.MethodRefresh)
	c.with("mallo", "wonder").request(stun.MethodRefresh)
	c.with("bob", "builder").request(stun.MethodRefresh)
	c.ask(c.unsigned(stun.MethodRefresh, stun.NewUsername("alice"), stun.MessageIntegrity("x"))).want(t, 400)
	c.ask(c.unsigned(stun.MethodRefresh, stun.NewUsername("alice"), stun.NewRealm("x"), stun.NewNonce(c.nonce), stun.MessageIntegrity("x"))).want(t, 401)
	b.nonce = c.nonce
	b.request(stun.MethodRefresh).want(t, 438)
	c.request(stun.MethodChannelBind).want(t, 400)
	c.request(stun.MethodCreatePermission, raw(0x7FFF)).want(t, 420)
	c.binding()
	c.send([]byte{0})
	c.send(c.unsigned(stun.MethodBinding, raw(stun.AttrFingerprint, 1, 2, 3, 4)))
	c.send(c.unsigned(stun.MethodSend))
	c.send(c.build(stun.NewType(stun.MethodBinding, stun.ClassSuccessResponse)))
	c.send(c.build(stun.NewType(stun.MethodBinding, stun.ClassIndication)))
	expect("refusals", map[string]uint64{
		"refresh error 401": 3, "refresh error 441": 1, "refresh error 400": 1, "refresh error 438": 1,
		"channel_bind error 400": 1, "create_permission error 420": 1, "binding success 0": 1,
		"auth wrong_password": 1, "auth unknown_user": 1, "auth wrong_user": 1, "auth incomplete": 1, "auth wrong_realm": 1, "auth stale_nonce": 1,
		"discarded malformed": 1, "discarded fingerprint": 1, "discarded method": 1, "discarded class": 1,
	})
	b.conn.Close()
	c.request(stun.MethodRefresh, lifetime(0)).want(t, 0)
	expect("the end", map[string]uint64{
		"allocations": gone - 2, "udp live": gone - 1, "tcp live": gone - 1, "ended": 2, "refresh success 0": 1,
	})
}
