package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/pion/stun/v2"
)

const (
	protocolUDP     = 17   // IANA protocol number in REQUESTED-TRANSPORT (RFC 8656 §18.8)
	familyIPv4      = 0x01 // REQUESTED-ADDRESS-FAMILY (RFC 8656 §18.6)
	familyIPv6      = 0x02
	firstChannel    = 0x4000 // RFC 8656 §12
	defaultLifetime = 600 * time.Second
	releaseTimeout  = time.Second // for the farewell only
)

// link is the agreement between a session and its one peer, immutable.
type link struct {
	peer    netip.AddrPort
	channel uint16 // 0: Send and Data indications
	// receive gets each payload from peer on the reader's goroutine; it must not keep data.
	receive func(data []byte, at time.Time)
}

// allocate makes the allocation (RFC 8656 §7.1). family is 0, 4 or 6.
func (s *session) allocate(ctx context.Context, family int) error {
	attributes := []stun.Setter{stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{protocolUDP, 0, 0, 0}}}
	switch family {
	case 4:
		attributes = append(attributes, stun.RawAttribute{Type: stun.AttrRequestedAddressFamily, Value: []byte{familyIPv4, 0, 0, 0}})
	case 6:
		attributes = append(attributes, stun.RawAttribute{Type: stun.AttrRequestedAddressFamily, Value: []byte{familyIPv6, 0, 0, 0}})
	}
	start := time.Now()
	response, err := s.request(ctx, "Allocate", stun.MethodAllocate, netip.AddrPort{}, attributes...)
	if err != nil {
		return err
	}
	s.allocation = time.Since(start)
	s.lifetime = defaultLifetime
	if v, err := response.Get(stun.AttrLifetime); err == nil && len(v) == 4 {
		s.lifetime = time.Duration(binary.BigEndian.Uint32(v)) * time.Second
	}
	s.mapped, _ = address(response, stun.AttrXORMappedAddress)
	var software stun.Software
	if software.GetFrom(response) == nil {
		s.software = printable(software)
	}
	relayed, ok := address(response, stun.AttrXORRelayedAddress)
	if !ok {
		return &Unreachable{Address: s.server.String(), Reason: "the Allocate success response has no usable XOR-RELAYED-ADDRESS"}
	}
	s.relayed = relayed
	return nil
}

// agree installs what lets peer's data in and ours out: a permission, and a
// channel unless l.channel is 0 (RFC 8656 §9 and §12). It is repeated to renew.
func (s *session) agree(ctx context.Context, l *link) error {
	peer := peerAttribute(l.peer)
	_, err := s.request(ctx, "CreatePermission", stun.MethodCreatePermission, l.peer, peer)
	if err == nil && l.channel != 0 {
		number := binary.BigEndian.AppendUint16(nil, l.channel)
		_, err = s.request(ctx, "ChannelBind", stun.MethodChannelBind, l.peer,
			stun.RawAttribute{Type: stun.AttrChannelNumber, Value: append(number, 0, 0)}, peer)
	}
	var refusal *Refusal
	if errors.As(err, &refusal) {
		refusal.Indications = l.channel == 0
	}
	if err == nil {
		s.link.Store(l)
	}
	return err
}

// refresh asks for another lifetime; zero deletes the allocation (RFC 8656 §8).
func (s *session) refresh(ctx context.Context, lifetime time.Duration) error {
	_, err := s.request(ctx, "Refresh", stun.MethodRefresh, netip.AddrPort{},
		stun.RawAttribute{Type: stun.AttrLifetime, Value: binary.BigEndian.AppendUint32(nil, uint32(lifetime/time.Second))})
	return err
}

// keepAlive renews allocation, permission and channel until ctx ends. A
// refusal or silence ends the session.
func (s *session) keepAlive(ctx context.Context, every time.Duration) {
	if half := s.lifetime / 2; half > 0 {
		every = min(every, half)
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.failed:
			return
		case <-ticker.C:
		}
		// A renewal under way is finished even when ctx ends: cutting it
		// short would end the session before its last packets are home.
		renewal := context.WithoutCancel(ctx)
		err := s.refresh(renewal, s.lifetime)
		if err == nil {
			err = s.agree(renewal, s.link.Load())
		}
		if err != nil {
			s.fail(fmt.Errorf("renewing the allocation: %w", err))
			return
		}
	}
}

// send carries one payload to the linked peer. Only one goroutine sends.
func (s *session) send(payload []byte) error {
	l := s.link.Load()
	if l.channel != 0 {
		s.frame = binary.BigEndian.AppendUint16(s.frame[:0], l.channel)
		s.frame = binary.BigEndian.AppendUint16(s.frame, uint16(len(payload)))
		s.frame = append(s.frame, payload...)
		for s.transport == TCP && len(s.frame)%4 != 0 { // RFC 8656 §12.5
			s.frame = append(s.frame, 0)
		}
	} else {
		msg, err := stun.Build(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication),
			peerAttribute(l.peer), stun.RawAttribute{Type: stun.AttrData, Value: payload})
		if err != nil {
			return fmt.Errorf("building a Send indication: %w", err)
		}
		s.frame = msg.Raw
	}
	if s.transport == TCP { // a datagram never waits for the receiver
		_ = s.conn.SetWriteDeadline(time.Now().Add(s.timeout))
	}
	_, err := s.conn.WriteTo(s.frame, s.serverAddr)
	if err != nil && s.transport == TCP {
		s.fail(err) // half a frame may be on its way: the stream is lost
	}
	return err
}

// receiveData takes ChannelData and Data indications; false is for everything
// else. Data of a stranger is swallowed.
func (s *session) receiveData(b []byte, at time.Time) bool {
	if len(b) < 4 {
		return true
	}
	l := s.link.Load()
	if b[0]>>6 == 1 { // RFC 8656 §12
		number, length := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if l != nil && number == l.channel && length <= len(b)-4 {
			l.receive(b[4:4+length], at)
		}
		return true
	}
	if !stun.IsMessage(b) || binary.BigEndian.Uint16(b) != stun.NewType(stun.MethodData, stun.ClassIndication).Value() {
		return false
	}
	msg := &stun.Message{Raw: b}
	if l == nil || msg.Decode() != nil {
		return true
	}
	data, err := msg.Get(stun.AttrData)
	if peer, ok := address(msg, stun.AttrXORPeerAddress); err == nil && ok && peer == l.peer {
		l.receive(data, at)
	}
	return true
}

// release gives the allocation back, if there is one, and ends the session.
func (s *session) release() {
	if s.relayed.IsValid() && s.reason() == nil {
		ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
		_ = s.refresh(ctx, 0) // a courtesy; the server forgets by itself otherwise
		cancel()
	}
	s.fail(errReleased)
	<-s.done
}

// setter makes a function a stun.Setter.
type setter func(*stun.Message) error

func (f setter) AddTo(m *stun.Message) error { return f(m) }

func peerAttribute(peer netip.AddrPort) stun.Setter {
	return setter(func(m *stun.Message) error {
		return stun.XORMappedAddress{IP: peer.Addr().AsSlice(), Port: int(peer.Port())}.AddToAs(m, stun.AttrXORPeerAddress)
	})
}

// address reads an XOR-encoded address; its length is checked here because
// stun/v2 panics on one that is too short.
func address(m *stun.Message, t stun.AttrType) (netip.AddrPort, bool) {
	v, err := m.Get(t)
	if err != nil || len(v) < 2 || !(v[1] == familyIPv4 && len(v) == 8 || v[1] == familyIPv6 && len(v) == 20) {
		return netip.AddrPort{}, false
	}
	var x stun.XORMappedAddress
	if x.GetFromAs(m, t) != nil {
		return netip.AddrPort{}, false
	}
	ip, ok := netip.AddrFromSlice(x.IP)
	return netip.AddrPortFrom(ip.Unmap(), uint16(x.Port)), ok
}
