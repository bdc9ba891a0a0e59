package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

const (
	outgoing     = 512 // messages that wait for a browser; beyond, it is given up
	sendTimeout  = 5 * time.Second
	pingInterval = 15 * time.Second
	pingTimeout  = 10 * time.Second
)

// session is one browser's WebSocket.
//
//	reader   the handler's goroutine: one message after the other, until the socket ends
//	writer   drains out, and pings; says goodbye when ctx ends, and ends it when the browser does not read
type session struct {
	conn *websocket.Conn
	out  chan message // filled by whoever has something to say, without waiting; never closed
	end  context.CancelCauseFunc

	// Guarded by hub.mu.
	name  string
	call  *call
	early []json.RawMessage // candidates from before the call
}

var (
	errTooSlow  = errors.New("the browser does not read")
	errUnwanted = errors.New("too many wrong messages")
)

// send never waits. A browser that does not read loses its session.
func (s *session) send(m message) {
	select {
	case s.out <- m:
	default:
		s.end(errTooSlow)
	}
}

// serve is the life of a WebSocket.
func (h *hub) serve(w http.ResponseWriter, r *http.Request) {
	if !h.enter() {
		http.Error(w, "this server is full; please try again later", http.StatusServiceUnavailable)
		return
	}
	defer h.leave()
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return // it has been answered
	}
	conn.SetReadLimit(maxRead)
	ctx, end := context.WithCancelCause(h.ctx)
	s := &session{conn: conn, out: make(chan message, outgoing), end: end}
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.write(ctx)
		s.close(context.Cause(ctx))
	}()
	err = h.read(ctx, s)
	h.unregister(s)
	end(err)
	<-written
}

// close says goodbye where somebody may hear it, and thereby ends the reader.
func (s *session) close(cause error) {
	switch {
	case errors.Is(cause, errTooSlow), errors.Is(cause, errUnwanted):
		s.conn.Close(websocket.StatusPolicyViolation, cause.Error())
	case errors.Is(cause, context.Canceled):
		s.conn.Close(websocket.StatusGoingAway, "the server is ending")
	default:
		s.conn.CloseNow() // it has ended by itself
	}
}

func (h *hub) read(ctx context.Context, s *session) error {
	unhurried := context.WithoutCancel(ctx) // a context that ends would tear the connection down without a goodbye
	wrong := 0
	for {
		_, text, err := s.conn.Read(unhurried)
		if err != nil {
			return err
		}
		m, err := parseMessage(text)
		if err == nil {
			err = h.handle(ctx, s, m)
		}
		if err != nil {
			s.send(problem(err.Error()))
			if wrong++; wrong >= maxFaults {
				return errUnwanted
			}
		}
	}
}

// write sends until ctx ends, and then what was said before.
func (s *session) write(ctx context.Context) {
	ping := time.NewTicker(pingInterval)
	defer ping.Stop()
	for {
		var err error
		select {
		case m := <-s.out:
			err = s.put(ctx, m)
		case <-ping.C:
			deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingTimeout)
			err = s.conn.Ping(deadline)
			cancel()
		case <-ctx.Done():
			for {
				select {
				case m := <-s.out:
					if s.put(ctx, m) != nil {
						return
					}
				default:
					return
				}
			}
		}
		if err != nil {
			s.end(errTooSlow)
			return
		}
	}
}

func (s *session) put(ctx context.Context, m message) error {
	text, err := json.Marshal(m)
	if err != nil {
		return nil // cannot be: what is raw in it came as valid JSON
	}
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendTimeout)
	defer cancel()
	return s.conn.Write(deadline, websocket.MessageText, text)
}
