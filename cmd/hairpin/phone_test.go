package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v2"
)

// phone is a client with one UDP socket, made by hand where a test has to see what an answer holds.
type phone struct {
	conn    *net.UDPConn
	nonce   string
	relayed netip.AddrPort
}

const phoneUser, phonePassword, phoneRealm = "alice", "wonderland", "hairpin"

var phoneKey = stun.NewLongTermIntegrity(phoneUser, phoneRealm, phonePassword)

// ask sends a request, signed once there is a nonce, and returns its answer.
func (p *phone) ask(method stun.Method, setters ...stun.Setter) (*stun.Message, error) {
	all := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, setters...)
	if p.nonce != "" {
		all = append(all, stun.NewUsername(phoneUser), stun.NewRealm(phoneRealm), stun.NewNonce(p.nonce), phoneKey)
	}
	m, err := stun.Build(append(all, stun.Fingerprint)...)
	if err != nil {
		return nil, err
	}
	if _, err := p.conn.Write(m.Raw); err != nil {
		return nil, err
	}
	raw, err := p.read()
	if err != nil {
		return nil, fmt.Errorf("no answer to %s: %w", m.Type, err)
	}
	answer := &stun.Message{Raw: raw}
	if err := answer.Decode(); err != nil || answer.TransactionID != m.TransactionID {
		return nil, fmt.Errorf("%x is no answer to %s: %v", raw, m.Type, err)
	}
	if p.nonce != "" {
		if err := phoneKey.Check(answer); err != nil {
			return nil, fmt.Errorf("the answer to %s is not signed: %w", m.Type, err)
		}
	}
	return answer, nil
}

func (p *phone) read() ([]byte, error) {
	p.conn.SetReadDeadline(time.Now().Add(patience / 3))
	b := make([]byte, 1500)
	n, err := p.conn.Read(b)
	return b[:n], err
}

// turnedAway is the error of a phone that a server sends elsewhere.
type turnedAway struct{ to netip.AddrPort }

func (t *turnedAway) Error() string { return "300, try " + t.to.String() }

// newPhone allocates on a server.
func newPhone(server string) (*phone, error) {
	to, err := net.ResolveUDPAddr("udp", server)
	if err != nil {
		return nil, err
	}
	conn, err := net.DialUDP("udp", nil, to)
	if err != nil {
		return nil, err
	}
	p := &phone{conn: conn}
	if err := p.allocate(); err != nil {
		conn.Close()
		return nil, err
	}
	return p, nil
}

func (p *phone) allocate() error {
	transport := stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{17, 0, 0, 0}}
	answer, err := p.ask(stun.MethodAllocate, transport)
	if err != nil {
		return err
	}
	var nonce stun.Nonce
	if err := nonce.GetFrom(answer); err != nil {
		return err
	}
	p.nonce = nonce.String()
	if answer, err = p.ask(stun.MethodAllocate, transport); err != nil {
		return err
	}
	var code stun.ErrorCodeAttribute
	if code.GetFrom(answer) == nil {
		v, err := answer.Get(stun.AttrAlternateServer) // RFC 8489 §14.15, by hand
		if code.Code != stun.CodeTryAlternate || err != nil || len(v) != 8 || v[1] != 1 {
			return errors.New(code.String())
		}
		return &turnedAway{netip.AddrPortFrom(netip.AddrFrom4([4]byte(v[4:])), binary.BigEndian.Uint16(v[2:]))}
	}
	var relayed stun.XORMappedAddress
	if err := relayed.GetFromAs(answer, stun.AttrXORRelayedAddress); err != nil {
		return err
	}
	p.relayed = netip.MustParseAddrPort(relayed.String())
	return nil
}

func (p *phone) bind(number uint16, to netip.AddrPort) error {
	return p.want(stun.MethodChannelBind,
		stun.RawAttribute{Type: stun.AttrChannelNumber, Value: []byte{byte(number >> 8), byte(number), 0, 0}},
		xorPeer{IP: to.Addr().AsSlice(), Port: int(to.Port())})
}

type xorPeer stun.XORMappedAddress

func (x xorPeer) AddTo(m *stun.Message) error {
	return stun.XORMappedAddress(x).AddToAs(m, stun.AttrXORPeerAddress)
}

func (p *phone) hangUp() error {
	return p.want(stun.MethodRefresh, stun.RawAttribute{Type: stun.AttrLifetime, Value: make([]byte, 4)})
}

func (p *phone) want(method stun.Method, setters ...stun.Setter) error {
	answer, err := p.ask(method, setters...)
	if err == nil && answer.Type.Class != stun.ClassSuccessResponse {
		var code stun.ErrorCodeAttribute
		_ = code.GetFrom(answer) // else it is told as 0
		err = fmt.Errorf("%d: %s", code.Code, answer)
	}
	return err
}

// call is two phones that talk over their relays.
type call struct {
	a, b           *phone
	sent, received int // packets, both directions
}

// newCall dials a server, and follows where that sends it.
func newCall(server string) (*call, error) {
	a, err := newPhone(server)
	if away := (*turnedAway)(nil); errors.As(err, &away) {
		server = away.to.String()
		a, err = newPhone(server)
	}
	if err != nil {
		return nil, err
	}
	b, err := newPhone(server)
	if err != nil {
		return nil, err
	}
	return &call{a: a, b: b}, errors.Join(a.bind(0x4000, b.relayed), b.bind(0x4000, a.relayed))
}

// talk sends a packet there and one back.
func (c *call) talk() error {
	for _, way := range [][2]*phone{{c.a, c.b}, {c.b, c.a}} {
		c.sent++
		want := fmt.Sprintf("%08d", c.sent)
		if _, err := way[0].conn.Write(append([]byte{0x40, 0, 0, 8}, want...)); err != nil {
			return err
		}
		got, err := way[1].read()
		if err != nil || len(got) < 4 || string(got[4:]) != want {
			return fmt.Errorf("packet %s: %x %w", want, got, err)
		}
		c.received++
	}
	return nil
}

func (c *call) end() error {
	defer c.a.conn.Close()
	defer c.b.conn.Close()
	return errors.Join(c.a.hangUp(), c.b.hangUp())
}

// server is a relay in a process of its own.
type server struct {
	*process
	at, admin string
}

// startServer runs a relay at an address and port, which alice may use.
func startServer(t *testing.T, at, admin string, more ...string) *server {
	t.Helper()
	args := append([]string{"serve", "--listen", "udp://" + at, "--admin", admin, "--user", phoneUser + ":" + phonePassword}, more...)
	s := &server{startProcess(t, "hairpin", args...), at, admin}
	untilListening(t, admin[strings.LastIndexByte(admin, ':')+1:])
	if code := s.ready(t); code != http.StatusOK { // by then it minds signals
		t.Fatalf("/readyz answers %d", code)
	}
	return s
}

// freeServer runs a relay on free ports.
func freeServer(t *testing.T, more ...string) *server {
	t.Helper()
	ports := freePorts(t, 2)
	return startServer(t, "127.0.0.1:"+ports[0], "127.0.0.1:"+ports[1], more...)
}

// ready asks /readyz.
func (s *server) ready(t *testing.T) int {
	t.Helper()
	code, _ := get(t, "http://"+s.admin+"/readyz")
	return code
}

// untilNotReady waits until a signal has reached the server.
func (s *server) untilNotReady(t *testing.T) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(patience); s.ready(t) != http.StatusServiceUnavailable; <-again.C {
		if time.Now().After(deadline) {
			t.Fatal("/readyz stays good")
		}
	}
}

// ended waits for the process to end by itself and returns its exit code.
func (s *server) ended(t *testing.T) int {
	t.Helper()
	s.readAll()
	s.Wait()
	return s.ProcessState.ExitCode()
}

// sibling runs another command while the server lives, as a process of its own: the package for flags has global ones.
func sibling(t *testing.T, args ...string) <-chan outcome {
	t.Helper()
	clearEnvironment(t)
	var stdout, stderr strings.Builder
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), asProgram+"=hairpin")
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	result := make(chan outcome, 1)
	go func() {
		_ = c.Wait() // its exit code tells
		result <- outcome{c.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	}()
	return result
}
