package tcp

import (
	"time"

	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// pace is what the bytes from one end of a link to the other have to keep: the limits of bandwidth of those to whom the
// ends belong, and of their users. Its zero value is none.
type pace struct {
	link  *link
	paces []allocation.Pace
	piece int // bytes that are read at a time
}

func (l *link) pace(from, to *end) *pace {
	p := &pace{link: l, piece: copyBytes}
	if from.group != nil {
		p.paces = append(p.paces, from.group.allocation.Paces(true)...)
	}
	if to.group != nil {
		p.paces = append(p.paces, to.group.allocation.Paces(false)...)
	}
	for _, one := range p.paces {
		p.piece = one.Piece(p.piece)
	}
	return p
}

// pass writes bytes from one end to the other, as fast as it may, and counts them.
func (p *pace) pass(from, to *end, b []byte) error {
	for len(b) > 0 {
		piece := b[:min(len(b), p.piece)]
		if err := p.await(len(piece)); err != nil {
			return err
		}
		n, err := to.conn.Write(piece)
		p.link.count(from, to, n)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// await returns once so many bytes may go on; an error: the link is over. No more than one turn is held at a time.
func (p *pace) await(bytes int) error {
	for _, one := range p.paces {
		select {
		case one.Turn() <- struct{}{}:
		case <-p.link.closed:
			return errOver
		}
		err := p.admit(one, bytes)
		<-one.Turn()
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *pace) admit(one allocation.Pace, bytes int) error {
	for {
		wait := one.Admit(bytes, p.link.connections.options.Now())
		if wait == 0 {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-p.link.closed:
			timer.Stop()
			return errOver
		}
	}
}
