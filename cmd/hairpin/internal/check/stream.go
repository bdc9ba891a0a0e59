package check

import (
	"bytes"
	"crypto/tls"
	"time"
)

// Connections: RFC 8489 §6.2.2 and §6.2.3, RFC 8656 §12.5.
var streamRows = group{
	{RFC: "8489", Section: "6.2.2", Level: Must, reach: overStreams, Requirement: "answers several requests that come over one connection at once",
		probe: func(x *exam) {
			c := x.dial()
			a, b := build(allocate), build(allocate)
			c.write(bytes.Join([][]byte{a, b}, nil))
			for _, request := range [][]byte{a, b} {
				if c.answerTo(request) == nil {
					x.fail("one of two requests is not answered %s", c.gone())
				}
			}
		}},
	{RFC: "8489", Section: "6.2.2", Level: Must, reach: overStreams, Requirement: "answers a request that comes byte by byte",
		probe: func(x *exam) {
			c := x.dial()
			request := build(allocate, text(attrSoftware, "slow"))
			for i := range request {
				c.write(request[i : i+1])
			}
			if c.answerTo(request) == nil {
				x.fail("no answer %s", c.gone())
			}
		}},
	{RFC: "8489", Section: "6.2.2", Level: Must, reach: overStreams, Requirement: "answers a request whose second half comes later",
		probe: func(x *exam) {
			c := x.dial()
			request := build(allocate, text(attrSoftware, "in two halves"))
			c.write(request[:headerSize+3])
			if c.await(time.Now().Add(x.quiet), func([]byte) bool { return true }) != nil {
				x.fail("answered before it was complete")
			}
			c.write(request[headerSize+3:])
			if c.answerTo(request) == nil {
				x.fail("no answer %s", c.gone())
			}
		}},
	{RFC: "8489", Section: "6.3.1.2", Level: Must, reach: overStreams, Requirement: "sends the response over the connection that the request came over",
		probe: func(x *exam) {
			c, d := x.dial(), x.dial()
			if c.challenge() == nil {
				x.fail("no answer %s", c.gone())
			}
			if d.await(time.Now().Add(x.quiet), func([]byte) bool { return true }) != nil {
				x.fail("something came over another connection")
			}
		}},
	{RFC: "8489", Section: "6.2.2", Level: Should, reach: overStreams, Requirement: "keeps a connection open when it has answered, and lets the client close it",
		probe: func(x *exam) {
			c := x.dial()
			c.exchange(build(binding))
			if c.closed(time.Now().Add(4 * x.quiet)) {
				x.fail("%s", c.gone())
			}
			x.saw("open")
		}},
	{RFC: "8489", Section: "6.2.2", Level: Should, reach: overStreams, Requirement: "keeps a connection open behind an error response",
		probe: func(x *exam) {
			c := x.dial()
			c.challenge()
			if c.closed(time.Now().Add(4*x.quiet)) || c.exchange(build(allocate)) == nil {
				x.fail("%s", c.gone())
			}
			x.saw("open")
		}},
	{RFC: "8656", Section: "12.5", Level: Must, reach: overStreams, Requirement: "takes ChannelData and requests over one connection in any order",
		probe: func(x *exam) {
			c, f := x.pair()
			x.bindsChannel(c, firstChannel, f.address)
			a, b := c.sign(build(refresh)), c.sign(build(refresh))
			c.write(bytes.Join([][]byte{
				c.frame(firstChannel, []byte("1")), a, c.frame(firstChannel, []byte("22")), c.frame(firstChannel, nil), b, c.frame(firstChannel, []byte("4444")),
			}, nil))
			for _, request := range [][]byte{a, b} {
				x.wants(c.answerTo(request), 0)
			}
			if r := f.receive(x.timeout); r == nil {
				x.fail("nothing arrived of four frames")
			}
		}},
	{RFC: "8656", Section: "12.6", Level: Must, reach: overStreams, Requirement: "takes ChannelData whose length is no multiple of four as padded",
		probe: func(x *exam) {
			c, f := x.pair()
			x.bindsChannel(c, firstChannel, f.address)
			first, second := []byte("one"), []byte("three")
			x.arrives(func() { c.write(append(c.frame(firstChannel, first), c.frame(firstChannel, second)...)) }, f.receive, second)
		}},
	{RFC: "8489", Section: "6.2.3", Level: Must, reach: overTLS, Requirement: "supports TLS 1.2 or a later version",
		probe: func(x *exam) {
			c := x.dial()
			if s, ok := c.conn.(*tls.Conn); !ok || s.ConnectionState().Version < tls.VersionTLS12 {
				x.fail("no")
			} else {
				x.saw("%s", tls.VersionName(s.ConnectionState().Version))
			}
		}},
}

// answerTo waits for the response to a request that was sent already.
func (c *client) answerTo(request []byte) *message {
	frame := c.await(time.Now().Add(c.server.timeout), func(b []byte) bool {
		return len(b) >= headerSize && b[0]&0xC0 == 0 && identity(b) == identity(request)
	})
	if frame == nil {
		return nil
	}
	m, _ := parse(frame)
	return m
}
