package probe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/pion/turn/v3"
	"golang.org/x/text/secure/precis"
)

// How long stragglers are waited for after the last packet.
const (
	minSettle       = 500 * time.Millisecond
	settleTrips     = 3           // longest round trips seen so far
	settleInterrupt = time.Second // at most, when the user is waiting
)

// Run probes the server as o, which must be valid, says.
//
// When ctx ends before the first packet, its error is returned; later the
// result so far is. Other errors are *Unreachable, *Refusal, or a fault of
// this machine.
func Run(ctx context.Context, o Options) (*Result, error) {
	creds, err := o.mint(time.Now())
	if err != nil {
		return nil, err
	}
	a, err := o.reach(ctx, creds)
	if err != nil {
		return nil, err
	}
	defer a.release()

	r := &Result{URI: o.Server, Server: a.server, Software: a.software, Channels: !o.Indications, Size: o.Size, Interval: o.Interval}
	r.Allocations = append(r.Allocations, a.describe())
	a.mu.Lock()
	if r.Realm = printable([]byte(a.realm)); a.key != nil {
		r.User = creds.username
	}
	a.mu.Unlock()

	var b *session
	peer := netip.AddrPort{}
	if o.Echo != "" {
		if peer, err = resolveEcho(ctx, o.Echo, a.relayed.Addr().Is4(), o.Timeout); err != nil {
			return nil, err
		}
		r.Echo = peer
	} else {
		transport := o.PeerTransport
		if transport == "" {
			transport = o.Server.Transport
		}
		if b, err = o.open(ctx, "B", transport, a.server, creds); err != nil {
			return nil, err
		}
		defer b.release()
		if err = b.allocate(ctx, o.Family); err != nil {
			return nil, err
		}
		peer = b.relayed
		r.Allocations = append(r.Allocations, b.describe())
	}
	if err := o.measure(ctx, r, a, b, peer); err != nil {
		return nil, err
	}
	return r, nil
}

func (s *session) describe() Allocation {
	return Allocation{Name: s.name, Transport: s.transport, Local: s.local(), Mapped: s.mapped, Relayed: s.relayed, Took: s.allocation}
}

// mint prepares the credentials; from a secret they are made as the TURN REST
// API draft (draft-uberti-behave-turn-rest-00 §2.2) says.
func (o Options) mint(now time.Time) (c credentials, err error) {
	c = credentials{username: o.User, password: o.Password, realm: o.Realm}
	if o.Secret != "" {
		c.ephemeral = true
		life := credentialLife + time.Duration(o.Count)*o.Interval
		if o.User == "" {
			c.username, c.password, err = turn.GenerateLongTermCredentials(o.Secret, life)
		} else {
			c.username, c.password, err = turn.GenerateLongTermTURNRESTCredentials(o.Secret, o.User, life)
		}
	}
	if err == nil && c.username != "" {
		c.username, err = precis.OpaqueString.String(c.username)
	}
	if err == nil && c.password != "" {
		c.password, err = precis.OpaqueString.String(c.password)
	}
	if err != nil {
		return c, fmt.Errorf("credentials: %w", err)
	}
	return c, nil
}

// Credentials are the user name and password that a client with these options presents, empty where there are none.
func (o Options) Credentials(now time.Time) (user, password string, err error) {
	c, err := o.mint(now)
	return c.username, c.password, err
}

// reach resolves the server's name and makes the first allocation at the
// first of its addresses that answers.
func (o Options) reach(ctx context.Context, creds credentials) (*session, error) {
	addresses, err := resolve(ctx, o.Server.Host, o.Timeout)
	if err != nil {
		return nil, err
	}
	for i, ip := range addresses {
		var s *session
		if s, err = o.open(ctx, "A", o.Server.Transport, netip.AddrPortFrom(ip, o.Server.Port), creds); err == nil {
			if err = s.allocate(ctx, o.Family); err == nil {
				return s, nil
			}
			s.release()
		}
		if !errors.As(err, new(*Unreachable)) || ctx.Err() != nil || i == len(addresses)-1 {
			break
		}
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return nil, err
}

func resolve(ctx context.Context, host string, timeout time.Duration) ([]netip.Addr, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupNetIP(limited, "ip", host)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, unreachable(host, err)
	}
	for i := range addresses {
		addresses[i] = addresses[i].Unmap()
	}
	return addresses, nil
}

func resolveEcho(ctx context.Context, hostPort string, ipv4 bool, timeout time.Duration) (netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(hostPort)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("echo peer: %w", err)
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("echo peer: %w", err)
	}
	addresses, err := resolve(ctx, host, timeout)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for _, ip := range addresses {
		if ip.Is4() == ipv4 {
			return netip.AddrPortFrom(ip, uint16(port)), nil
		}
	}
	return netip.AddrPort{}, &Unreachable{Address: hostPort, Reason: "the echo peer has no address of the relayed address's family; set --family to the peer's"}
}

// measure links both sides, sends the packets and waits for the last ones.
// b is nil with an echo peer.
func (o Options) measure(ctx context.Context, r *Result, a, b *session, peer netip.AddrPort) error {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	t := newTally(binary.BigEndian.Uint64(random[:]), o.Size)
	var channel uint16
	if !o.Indications {
		channel = firstChannel
	}

	broken := a.failed // with one side only
	if b != nil {
		broken = b.failed
		back := &link{peer: a.relayed, channel: channel, receive: func(data []byte, _ time.Time) {
			if t.reaches(data) {
				_ = b.send(data) // what this loses is counted as lost
			}
		}}
		if err := b.agree(ctx, back); err != nil {
			return err
		}
	}
	var start time.Time
	begun := make(chan struct{}) // orders start before its first reader
	out := &link{peer: peer, channel: channel, receive: func(data []byte, at time.Time) {
		select {
		case <-begun:
			t.returns(data, at.Sub(start))
		default: // a stranger's
		}
	}}
	if err := a.agree(ctx, out); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}

	every := o.keepAlive
	if every == 0 {
		every = keepAliveInterval
	}
	renew, stop := context.WithCancel(ctx)
	var renewals sync.WaitGroup
	defer renewals.Wait()
	defer stop()
	for _, s := range []*session{a, b} {
		if s != nil {
			renewals.Go(func() { s.keepAlive(renew, every) })
		}
	}

	start = time.Now()
	close(begun)
	payload := make([]byte, o.Size)
	timer := time.NewTimer(0)
	defer timer.Stop()
	due := start
sending:
	for range o.Count {
		timer.Reset(time.Until(due))
		select {
		case <-timer.C:
		case <-ctx.Done():
			r.Interrupted = true
			break sending
		case <-a.failed:
			break sending
		case <-broken:
			break sending
		}
		t.leaves(payload, time.Since(start))
		_ = a.send(payload) // what this loses is counted as lost
		// A late packet moves those behind it: catching up would send a burst, and measure that.
		if now := time.Now(); due.Add(o.Interval).Before(now) {
			due = now
		} else {
			due = due.Add(o.Interval)
		}
	}

	received, longest := t.seal()
	patience := o.Timeout
	if received > 0 {
		patience = min(patience, max(minSettle, settleTrips*longest))
	}
	if r.Interrupted {
		patience = min(patience, settleInterrupt)
	}
	timer.Reset(patience)
	select {
	case <-t.complete:
	case <-timer.C:
	case <-a.failed:
	case <-broken:
	}
	r.Elapsed = time.Since(start)
	r.Counts, r.RoundTrip = t.sum()
	for _, s := range []*session{a, b} {
		if s == nil {
			continue
		}
		if reason := s.reason(); reason != nil {
			r.Broken = fmt.Sprintf("allocation %s ended early: %s", s.name, unreachable(s.server.String(), reason).Reason)
		}
	}
	return nil
}
