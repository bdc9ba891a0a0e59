package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// header builds a header by hand: version and command, family and transport, and what follows.
func header(command, family byte, parts ...[]byte) []byte {
	rest := slices.Concat(parts...)
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), command, family)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(rest))), rest...)
}

var (
	addresses4 = []byte{192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 0x0d, 0x96} // 192.0.2.7:12345 to 198.51.100.1:3478
	addresses6 = slices.Concat(
		netip.MustParseAddr("2001:db8::7").AsSlice(), netip.MustParseAddr("2001:db8::1").AsSlice(), []byte{0x30, 0x39, 0x0d, 0x96})
	mapped = slices.Concat(
		netip.MustParseAddr("::ffff:192.0.2.7").AsSlice(), netip.MustParseAddr("::ffff:198.51.100.1").AsSlice(), []byte{0x30, 0x39, 0x0d, 0x96})
)

// summed appends a checksum to a header, reckoned as the specification says.
func summed(command, family byte, addresses []byte, change uint32) []byte {
	b := header(command, family, addresses, []byte{3, 0, 4, 0, 0, 0, 0})
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint32(b[len(b)-4:], sum^change)
	return b
}

func TestParse(t *testing.T) {
	client4, server4 := netip.MustParseAddrPort("192.0.2.7:12345"), netip.MustParseAddrPort("198.51.100.1:3478")
	client6, server6 := netip.MustParseAddrPort("[2001:db8::7]:12345"), netip.MustParseAddrPort("[2001:db8::1]:3478")
	tests := []struct {
		name   string
		header []byte
		want   Header
		fault  string // part of the error; empty: none
	}{
		{"TCP over IPv4", header(0x21, 0x11, addresses4), Header{Source: client4, Destination: server4}, ""},
		{"TCP over IPv6", header(0x21, 0x21, addresses6), Header{Source: client6, Destination: server6}, ""},
		{"mapped addresses", header(0x21, 0x21, mapped), Header{Source: client4, Destination: server4}, ""},
		{"an attribute", header(0x21, 0x11, addresses4, []byte{4, 0, 2, 1, 2}), Header{Source: client4, Destination: server4}, ""},
		{"a checksum", summed(0x21, 0x11, addresses4, 0), Header{Source: client4, Destination: server4}, ""},
		{"local", header(0x20, 0), Header{Local: true}, ""},
		{"local with addresses", header(0x20, 0x11, addresses4), Header{Local: true}, ""},

		{"a wrong checksum", summed(0x21, 0x11, addresses4, 1), Header{}, "wrong checksum"},
		{"a short checksum", header(0x21, 0x11, addresses4, []byte{3, 0, 2, 1, 2}), Header{}, "checksum of 2 bytes"},
		{"version 1", []byte("PROXY TCP4 192.0.2.7 198.51.100.1 12345 3478\r\n"), Header{}, "signature of version 2"},
		{"version 3", header(0x31, 0x11, addresses4), Header{}, "version 3"},
		{"an unknown command", header(0x22, 0x11, addresses4), Header{}, "command 2"},
		{"no addresses", header(0x21, 0x00), Header{}, "no addresses"},
		{"UDP", header(0x21, 0x12, addresses4), Header{}, "no addresses of a TCP connection"},
		{"unix", header(0x21, 0x31, make([]byte, 216)), Header{}, "no addresses"},
		{"short addresses", header(0x21, 0x11, addresses4[:11]), Header{}, "no addresses"},
		{"IPv4 addresses as IPv6", header(0x21, 0x21, addresses4), Header{}, "no addresses"},
		{"port 0", header(0x21, 0x11, addresses4[:8], []byte{0, 0, 1, 1}), Header{}, "nobody's address"},
		{"unspecified", header(0x21, 0x11, make([]byte, 8), []byte{1, 1, 1, 1}), Header{}, "nobody's address"},
		{"an attribute's head cut", header(0x21, 0x11, addresses4, []byte{4, 0}), Header{}, "behind its last attribute"},
		{"an attribute cut", header(0x21, 0x11, addresses4, []byte{4, 0, 2, 1}), Header{}, "longer than the header"},
		{"too long", header(0x21, 0x11, make([]byte, MaxHeader)), Header{}, "more than 2048"},
		{"nothing", nil, Header{}, "0 bytes"},
		{"bytes behind it", append(header(0x21, 0x11, addresses4), 0), Header{}, "say that they are"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := Parse(test.header)
			switch {
			case test.fault == "" && (err != nil || got != test.want):
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			case test.fault != "" && (!errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), test.fault)):
				t.Errorf("got %+v, %v, want a fault with %q", got, err, test.fault)
			}
		})
	}
}

// Read leaves what follows the header in the stream, however that is cut.
func TestRead(t *testing.T) {
	stream := append(header(0x21, 0x11, addresses4, []byte{4, 0, 2, 1, 2}), "the rest"...)
	for name, r := range map[string]io.Reader{"whole": bytes.NewReader(stream), "byte by byte": iotest.OneByteReader(bytes.NewReader(stream))} {
		h, err := Read(r)
		rest, _ := io.ReadAll(r)
		if err != nil || h.Source.String() != "192.0.2.7:12345" || string(rest) != "the rest" {
			t.Errorf("%s: %+v, %v, then %q", name, h, err, rest)
		}
	}
	for cut := range len(stream) - len("the rest") {
		if h, err := Read(bytes.NewReader(stream[:cut])); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %+v, %v", cut, h, err)
		}
	}
	long := bytes.NewReader(header(0x21, 0x11, make([]byte, 65535)))
	if h, err := Read(long); !errors.Is(err, ErrMalformed) || long.Len() != 65535 {
		t.Errorf("too long: %+v, %v, %d bytes left", h, err, long.Len())
	}
}

// A datagram's header is its front; the rest is the client's.
func TestCut(t *testing.T) {
	client4, server4 := netip.MustParseAddrPort("192.0.2.7:12345"), netip.MustParseAddrPort("198.51.100.1:3478")
	client6, server6 := netip.MustParseAddrPort("[2001:db8::7]:12345"), netip.MustParseAddrPort("[2001:db8::1]:3478")
	binding := "\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl"
	long := header(0x21, 0x12, addresses4, []byte{4, 0xff, 0xf0}, make([]byte, 0xfff0))
	for _, test := range []struct {
		name     string
		datagram string
		want     Header
		payload  string
		found    bool
		fault    string // part of the error; empty: none
	}{
		{"UDP over IPv4", string(header(0x21, 0x12, addresses4)) + binding, Header{Source: client4, Destination: server4}, binding, true, ""},
		{"UDP over IPv6", string(header(0x21, 0x22, addresses6)) + binding, Header{Source: client6, Destination: server6}, binding, true, ""},
		{"mapped addresses", string(header(0x21, 0x22, mapped)) + binding, Header{Source: client4, Destination: server4}, binding, true, ""},
		{"an attribute", string(header(0x21, 0x12, addresses4, []byte{4, 0, 2, 1, 2})) + binding, Header{Source: client4, Destination: server4}, binding, true, ""},
		{"a checksum", string(summed(0x21, 0x12, addresses4, 0)) + binding, Header{Source: client4, Destination: server4}, binding, true, ""},
		{"local", string(header(0x20, 0)) + binding, Header{Local: true}, binding, true, ""},
		{"nothing behind it", string(header(0x21, 0x12, addresses4)), Header{Source: client4, Destination: server4}, "", true, ""},
		{"none", binding, Header{}, binding, false, ""},
		{"an empty datagram", "", Header{}, "", false, ""},
		{"half a signature", signature[:11], Header{}, signature[:11], false, ""},
		{"version 1", "PROXY UDP4 …", Header{}, "PROXY UDP4 …", false, ""},

		{"TCP", string(header(0x21, 0x11, addresses4)) + binding, Header{}, "", true, "no addresses of a UDP flow"},
		{"unix", string(header(0x21, 0x32, make([]byte, 216))), Header{}, "", true, "no addresses of a UDP flow"},
		{"a wrong checksum", string(summed(0x21, 0x12, addresses4, 1)) + binding, Header{}, "", true, "wrong checksum"},
		{"the signature alone", signature, Header{}, "", true, "12 bytes"},
		{"cut", string(header(0x21, 0x12, addresses4)[:27]), Header{}, "", true, "28 bytes in a datagram of 27"},
		{"too long", string(long), Header{}, "", true, "more than 2048"},
		{"version 3", string(header(0x31, 0x12, addresses4)), Header{}, "", true, "version 3"},
		{"port 0", string(header(0x21, 0x12, addresses4[:8], []byte{0, 0, 1, 1})), Header{}, "", true, "nobody's address"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, payload, found, err := Cut([]byte(test.datagram))
			switch {
			case found != test.found:
				t.Errorf("found is %v", found)
			case test.fault == "" && (err != nil || got != test.want || string(payload) != test.payload):
				t.Errorf("got %+v, %q, %v, want %+v, %q", got, payload, err, test.want, test.payload)
			case test.fault != "" && (!errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), test.fault)):
				t.Errorf("got %+v, %v, want a fault with %q", got, err, test.fault)
			}
		})
	}
	b := append(header(0x21, 0x12, addresses4), binding...)
	if n := testing.AllocsPerRun(100, func() { Cut(b) }); n != 0 {
		t.Errorf("%v heap allocations", n)
	}
}

func TestTrusted(t *testing.T) {
	trusted := Trusted{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64")}
	for address, want := range map[string]bool{
		"192.0.2.1": true, "::ffff:192.0.2.1": true, "192.0.3.1": false, "2001:db8::1": true, "2001:db8:0:1::1": false,
	} {
		if got := trusted.Contains(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	if (Trusted)(nil).Contains(netip.MustParseAddr("127.0.0.1")) {
		t.Error("nobody is trusted unless somebody is named")
	}
}

// FuzzParse: what is taken has sensible addresses, and Read agrees with Parse.
func FuzzParse(f *testing.F) {
	f.Add(header(0x21, 0x11, addresses4))
	f.Add(header(0x21, 0x21, addresses6, []byte{4, 0, 2, 1, 2}))
	f.Add(summed(0x21, 0x11, addresses4, 0))
	f.Add(header(0x20, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := Parse(b)
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("a fault without a kind: %v", err)
		}
		read, readErr := Read(bytes.NewReader(b))
		if err == nil && (readErr != nil || read != h) {
			t.Fatalf("Parse %+v, Read %+v, %v", h, read, readErr)
		}
		if err == nil && !h.Local && (!h.Source.IsValid() || h.Source.Addr().Is4In6() || h.Source.Port() == 0) {
			t.Fatalf("%+v", h)
		}
	})
}

// FuzzCut: what is taken has sensible addresses, what is cut off is what Parse would take for TCP, and nothing gets lost.
func FuzzCut(f *testing.F) {
	for _, seed := range [][]byte{
		header(0x21, 0x12, addresses4), header(0x21, 0x22, addresses6, []byte{4, 0, 2, 1, 2}), summed(0x21, 0x12, addresses4, 0), header(0x20, 0),
	} {
		f.Add(seed)
		f.Add(append(seed, "the payload"...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, payload, found, err := Cut(b)
		switch {
		case err != nil:
			if !found || !errors.Is(err, ErrMalformed) {
				t.Fatalf("a fault without a kind: %v, found is %v", err, found)
			}
		case !found:
			if !bytes.Equal(payload, b) || bytes.HasPrefix(b, []byte(signature)) {
				t.Fatalf("no header, and payload %q of %q", payload, b)
			}
		default:
			head := b[:len(b)-len(payload)]
			if !bytes.HasSuffix(b, payload) || !h.Local && (!h.Source.IsValid() || h.Source.Addr().Is4In6() || h.Source.Port() == 0) {
				t.Fatalf("%+v, payload %q of %q", h, payload, b)
			}
			if head[13]&0x0F == byte(datagram) && !h.Local && !bytes.Contains(head, []byte{typeCRC32C, 0, checksumLength}) {
				head = slices.Clone(head)
				head[13] ^= byte(datagram | stream)
				if again, err := Parse(head); err != nil || again != h {
					t.Fatalf("Cut %+v, Parse %+v, %v", h, again, err)
				}
			}
		}
	})
}
