package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v2"
)

// answer is what a scripted server says to a request; the zero value is success.
type answer struct {
	code      int // -1: an error response without ERROR-CODE
	alternate bool
	relayed   []byte // raw XOR-RELAYED-ADDRESS of a success; nil: a good one
}

// scripted runs a UDP server that decides by method, whether credentials came, and how often this was asked before.
func scripted(t *testing.T, script func(m stun.Method, authenticated bool, before int) answer) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-done })
	go func() {
		defer close(done)
		type asked struct {
			method        stun.Method
			authenticated bool
		}
		count, seen := map[asked]int{}, map[[stun.TransactionIDSize]byte]bool{}
		b := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			m := &stun.Message{Raw: b[:n:n]}
			if !stun.IsMessage(b[:n]) || m.Decode() != nil || m.Type.Class != stun.ClassRequest || seen[m.TransactionID] {
				continue
			}
			seen[m.TransactionID] = true // a retransmission would count twice
			key := asked{m.Type.Method, m.Contains(stun.AttrMessageIntegrity)}
			if response := script(key.method, key.authenticated, count[key]).build(m); response != nil {
				_, _ = conn.WriteTo(response.Raw, from)
			}
			count[key]++
		}
	}()
	return netip.MustParseAddrPort(conn.LocalAddr().String())
}

func (a answer) build(m *stun.Message) *stun.Message {
	class := stun.ClassSuccessResponse
	if a.code != 0 {
		class = stun.ClassErrorResponse
	}
	setters := []stun.Setter{&stun.Message{TransactionID: m.TransactionID}, stun.NewType(m.Type.Method, class)}
	switch {
	case a.code > 0:
		setters = append(setters, stun.ErrorCodeAttribute{Code: stun.ErrorCode(a.code), Reason: []byte("so\x1b[31m")}, stun.NewRealm("r"), stun.NewNonce("n"))
		if a.alternate {
			setters = append(setters, &stun.AlternateServer{IP: net.IPv4(192, 0, 2, 1), Port: 99})
		}
	case a.code == 0 && m.Type.Method == stun.MethodAllocate && a.relayed != nil:
		setters = append(setters, stun.RawAttribute{Type: stun.AttrXORRelayedAddress, Value: a.relayed})
	case a.code == 0 && m.Type.Method == stun.MethodAllocate:
		setters = append(setters, setter(func(m *stun.Message) error {
			return stun.XORMappedAddress{IP: net.IPv4(192, 0, 2, 7), Port: 5}.AddToAs(m, stun.AttrXORRelayedAddress)
		}))
	}
	response, err := stun.Build(setters...)
	if err != nil {
		panic(err)
	}
	return response
}

func TestRefusals(t *testing.T) {
	const allocate, permission, channel = stun.MethodAllocate, stun.MethodCreatePermission, stun.MethodChannelBind
	for _, c := range []struct {
		name     string
		user     string
		method   stun.Method // that is refused
		answer   answer
		request  string
		remedies string // words that must be in the remedy
	}{
		{"no credentials", "", allocate, answer{code: 401}, "Allocate", `realm "r"; --user`},
		{"wrong credentials", "u", allocate, answer{code: 401}, "Allocate", `password is wrong; realm "r"`},
		{"wrong credentials as pion says it", "u", allocate, answer{code: 400}, "Allocate", "password"},
		{"forbidden", "u", allocate, answer{code: 403}, "Allocate", "policy"},
		{"mismatch", "u", allocate, answer{code: 437}, "Allocate", "old allocation"},
		{"always stale", "u", allocate, answer{code: 438}, "Allocate", "stale"},
		{"family", "u", allocate, answer{code: 440}, "Allocate", "--family"},
		{"other user", "u", permission, answer{code: 441}, "CreatePermission", "another user"},
		{"no UDP", "u", allocate, answer{code: 442}, "Allocate", "UDP"},
		{"quota", "u", allocate, answer{code: 486}, "Allocate", "two"},
		{"full", "u", allocate, answer{code: 508}, "Allocate", "left"},
		{"elsewhere", "u", allocate, answer{code: 300, alternate: true}, "Allocate", "turn:192.0.2.1:99?transport=udp"},
		{"elsewhere, unsaid", "u", allocate, answer{code: 300}, "Allocate", "elsewhere"},
		{"unheard of", "u", allocate, answer{code: 599}, "Allocate", "log"},
		{"peer forbidden", "u", permission, answer{code: 403}, "CreatePermission", "--allow-loopback-peers; --peers"},
		{"peer refused without a code", "u", permission, answer{code: -1}, "CreatePermission", "--allow-loopback-peers"},
		{"peer of another family", "u", permission, answer{code: 443}, "CreatePermission", "--family"},
		{"no channels", "u", channel, answer{code: 400}, "ChannelBind", "--indications"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := scripted(t, func(m stun.Method, authenticated bool, _ int) answer {
				if m == allocate && !authenticated {
					return answer{code: 401}
				}
				if m == c.method {
					return c.answer
				}
				return answer{}
			})
			o := quick(server, UDP)
			if o.User, o.Password = c.user, "p"; c.user == "" {
				o.Password = ""
			}
			result, err := Run(t.Context(), o)
			var r *Refusal
			if !errors.As(err, &r) || result != nil {
				t.Fatalf("%v, %v; want a refusal", result, err)
			}
			if r.Code != max(c.answer.code, 0) || r.Request != c.request || r.Credentials != (c.user != "") || r.Peer.IsValid() != (c.method != allocate) {
				t.Errorf("%+v", r)
			}
			for _, want := range strings.Split(c.remedies, "; ") {
				if !strings.Contains(r.Remedy(), want) {
					t.Errorf("remedy %q does not mention %q", r.Remedy(), want)
				}
			}
			if text := r.Error() + r.Remedy(); strings.ContainsAny(text, "\x1b\n") {
				t.Errorf("control characters in %q", text)
			}
		})
	}
}

// A stale nonce is no refusal: the request is repeated with the fresh one.
func TestStaleNonce(t *testing.T) {
	server := scripted(t, func(m stun.Method, authenticated bool, before int) answer {
		switch {
		case !authenticated:
			return answer{code: 401}
		case before%2 == 0: // each side's first
			return answer{code: 438}
		}
		return answer{}
	})
	o := quick(server, UDP)
	o.Count, o.Timeout = 3, 300*time.Millisecond // for packets that this server never relays
	r := mustRun(t, t.Context(), o)
	if want := (Counts{Sent: 3, Lost: 3, LostOutward: 3}); r.Counts != want {
		t.Errorf("counts %+v, want %+v", r.Counts, want)
	}
}

func TestWithoutCredentials(t *testing.T) {
	server := scripted(t, func(stun.Method, bool, int) answer { return answer{} })
	o := quick(server, UDP)
	o.User, o.Password, o.Count, o.Timeout = "", "", 1, 300*time.Millisecond
	if r := mustRun(t, t.Context(), o); r.User != "" || len(r.Allocations) != 2 {
		t.Errorf("%+v", r)
	}
}

func TestUnreachable(t *testing.T) {
	silentUDP, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silentUDP.Close() })
	closed, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	// tcp runs a server that does this to each connection and then closes it.
	tcp := func(serve func(net.Conn)) string {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() { // ends with the listener
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				serve(c)
				_ = c.Close()
			}
		}()
		return l.Addr().String()
	}
	readOnce := func(c net.Conn) { _, _ = c.Read(make([]byte, 2048)) }

	badAllocate := func(relayed []byte) string {
		return scripted(t, func(stun.Method, bool, int) answer { return answer{relayed: relayed} }).String()
	}
	for _, c := range []struct {
		name, address string
		transport     Transport
		reason        string
		patient       bool // the reason must come without waiting for the timeout
	}{
		{"UDP port closed", closed.LocalAddr().String(), UDP, "connection refused", true},
		{"TCP port closed", closed.LocalAddr().String(), TCP, "connection refused", true},
		{"UDP silent", silentUDP.LocalAddr().String(), UDP, "no answer over udp within 300ms", false},
		{"TCP silent", tcp(func(c net.Conn) { readOnce(c); readOnce(c) }), TCP, "no answer over tcp within 300ms", false},
		{"TCP closes", tcp(readOnce), TCP, "closed the connection", true},
		{"TCP is something else", tcp(func(c net.Conn) { readOnce(c); _, _ = c.Write([]byte("220 mail.example.org ESMTP\r\n")); readOnce(c) }), TCP, "not a valid TURN frame", true},
		{"no relayed address", badAllocate([]byte{}), UDP, "XOR-RELAYED-ADDRESS", true},
		{"stunted relayed address", badAllocate([]byte{0, 1, 0, 1}), UDP, "XOR-RELAYED-ADDRESS", true},
		{"relayed address of no family", badAllocate([]byte{0, 3, 0, 1, 1, 1, 1, 1}), UDP, "XOR-RELAYED-ADDRESS", true},
		{"no such name", "hairpin.invalid:3478", UDP, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := quick(netip.AddrPort{}, c.transport)
			host, _, _ := net.SplitHostPort(c.address)
			o.Server.Host = host
			if a, err := netip.ParseAddrPort(c.address); err == nil {
				o.Server.Port = a.Port()
			}
			if o.Timeout = 300 * time.Millisecond; c.patient {
				o.Timeout = maxTimeout
			}
			start := time.Now()
			_, err := Run(t.Context(), o)
			var u *Unreachable
			if !errors.As(err, &u) || !strings.Contains(u.Reason, c.reason) {
				t.Errorf("%v; want unreachable because of %q", err, c.reason)
			}
			if limit := 5 * time.Second; time.Since(start) > limit {
				t.Errorf("took longer than %v", limit)
			}
		})
	}
}

// Ctrl-C while the server is silent does not wait for the timeout.
func TestInterruptedWhileSilent(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := scripted(t, func(stun.Method, bool, int) answer {
		cancel()
		return answer{code: 401, relayed: nil}
	})
	o := quick(server, UDP)
	o.Timeout = maxTimeout
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("%v; want %v", err, context.Canceled)
	}
}
