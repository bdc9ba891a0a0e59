//go:build !linux

package udp

import "errors"

// HasPoller says whether this system has Poller. Elsewhere one goroutine has to Receive on each Conn.
const HasPoller = false

// Poller is Linux' only.
type Poller struct{}

// NewPoller returns errors.ErrUnsupported.
func NewPoller() (*Poller, error) { return nil, errors.ErrUnsupported }

// Add returns errors.ErrUnsupported.
func (p *Poller) Add(*Conn, uint32) error { return errors.ErrUnsupported }

// Remove does nothing.
func (p *Poller) Remove(*Conn) {}

// Wait returns errors.ErrUnsupported.
func (p *Poller) Wait() (int, error) { return 0, errors.ErrUnsupported }

// Ready has nothing to tell.
func (p *Poller) Ready(int) (token uint32, failed bool) { return 0, false }

// Close does nothing.
func (p *Poller) Close() {}

// ICMP tells nothing: there is no common way to ask.
func (c *Conn) ICMP(*ICMP) bool { return false }

// SetDontFragment changes nothing: RFC 8656 §14 allows the system's own setting where DF can't be set.
func (c *Conn) SetDontFragment(bool) error { return nil }

func (c *Conn) takeFast(*Batch, int) (int, error) { return 0, errors.ErrUnsupported }
