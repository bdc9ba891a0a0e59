package wire

import (
	"bytes"
	"errors"
	"testing"
)

func TestClassify(t *testing.T) {
	for first := range 256 {
		want := KindOther
		switch {
		case first < 0x40:
			want = KindSTUN
		case first < 0x80:
			want = KindChannelData
		}
		if got := Classify([]byte{byte(first), 0xFF}); got != want {
			t.Errorf("first byte %#x: %d, want %d", first, got, want)
		}
	}
	if got := Classify(nil); got != KindOther {
		t.Errorf("nothing: %d, want %d", got, KindOther)
	}
}

func TestParseChannelData(t *testing.T) {
	for _, c := range []struct {
		name   string
		in     string
		number uint16
		data   string
		ok     bool
	}{
		{"empty datagram", "", 0, "", false},
		{"half a header", "\x40\x00\x00", 0, "", false},
		{"no data", "\x40\x00\x00\x00", 0x4000, "", true},
		{"whole", "\x40\x00\x00\x03abc", 0x4000, "abc", true},
		{"padded", "\x4F\xFF\x00\x03abc\x00", 0x4FFF, "abc", true},
		{"more than padding behind", "\x40\x01\x00\x01aXXXXXXX", 0x4001, "a", true},
		{"one byte short", "\x40\x00\x00\x04abc", 0, "", false},
		{"length far beyond", "\x40\x00\xFF\xFFabc", 0, "", false},
		{"below the range", "\x3F\xFF\x00\x03abc", 0, "", false},
		{"old range of RFC 5766", "\x7F\xFF\x00\x03abc", 0x7FFF, "abc", true},
		{"above any range", "\x80\x00\x00\x03abc", 0, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			number, data, ok := ParseChannelData([]byte(c.in))
			if number != c.number || string(data) != c.data || ok != c.ok {
				t.Errorf("got %#x %q %v, want %#x %q %v", number, data, ok, c.number, c.data, c.ok)
			}
			if len(data) != cap(data) {
				t.Errorf("data of %d bytes reaches %d bytes on", len(data), cap(data))
			}
		})
	}
}

func TestPutChannelHeader(t *testing.T) {
	for _, length := range []int{0, 1, 4, 200, 65535} {
		b := make([]byte, ChannelHeaderSize+length)
		PutChannelHeader(b, 0x4A5B, length)
		number, data, ok := ParseChannelData(b)
		if number != 0x4A5B || len(data) != length || !ok {
			t.Errorf("%d bytes came back as %#x, %d bytes, %v", length, number, len(data), ok)
		}
	}
}

func TestPadding(t *testing.T) {
	for n, want := range []int{0, 3, 2, 1, 0, 3, 2, 1, 0} {
		if got := Padding(n); got != want {
			t.Errorf("Padding(%d) = %d, want %d", n, got, want)
		}
	}
}

func TestFrameSize(t *testing.T) {
	for _, c := range []struct {
		name string
		in   string
		n    int
		err  error
	}{
		{"nothing yet", "", 0, nil},
		{"STUN, one byte", "\x00", 0, nil},
		{"STUN, three bytes", "\x00\x01\x00", 0, nil},
		{"STUN, length known", "\x00\x01\x00\x08", 28, nil},
		{"STUN, half the cookie", "\x00\x01\x00\x08\x21\x12", 28, nil},
		{"STUN, whole header", "\x00\x01\x00\x00\x21\x12\xA4\x42123456789012", 20, nil},
		{"STUN and more", "\x00\x01\x00\x00\x21\x12\xA4\x42123456789012GET", 20, nil},
		{"STUN, odd length", "\x00\x01\x00\x01", 0, ErrNotTURN},
		{"STUN, length 2 mod 4", "\x00\x01\x00\x02\x21\x12\xA4\x42", 0, ErrNotTURN},
		{"wrong first byte of the cookie", "\x00\x01\x00\x08\x20", 0, ErrNotTURN},
		{"wrong second byte of the cookie", "\x00\x01\x00\x08\x21\x00", 0, ErrNotTURN},
		{"wrong third byte of the cookie", "\x00\x01\x00\x08\x21\x12\x00", 0, ErrNotTURN},
		{"wrong last byte of the cookie", "\x00\x01\x00\x08\x21\x12\xA4\x43", 0, ErrNotTURN},
		{"request as long as allowed", "\x00\x01\x07\xEC", MaxMessage, nil},
		{"request too long", "\x00\x01\x07\xF0", 0, ErrTooLarge},
		{"response too long", "\x01\x01\x07\xF0", 0, ErrTooLarge},
		{"Binding indication too long", "\x00\x11\x07\xF0", 0, ErrTooLarge},
		{"Send indication, as long as can be", "\x00\x16\xFF\xFC", MaxFrame, nil},
		{"Data indication, as long as can be", "\x00\x17\xFF\xFC", MaxFrame, nil},
		{"ChannelData, one byte", "\x40", 0, nil},
		{"ChannelData, empty", "\x40\x00\x00\x00", 4, nil},
		{"ChannelData, 1 byte, padded", "\x40\x00\x00\x01", 8, nil},
		{"ChannelData, 4 bytes", "\x4F\xFF\x00\x04", 8, nil},
		{"ChannelData, 5 bytes, padded", "\x4F\xFF\x00\x05hello", 12, nil},
		{"ChannelData, as long as can be", "\x40\x00\xFF\xFF", 65540, nil},
		{"above any channel", "\x80", 0, ErrNotTURN},
		{"TLS ClientHello", "\x16\x03\x01\x02\x00\x01\x00\x01", 0, ErrNotTURN},
		{"SSH, which looks like channel 0x5353", "SSH-2.0", 18484, nil},
		{"0xFF", "\xFF", 0, ErrNotTURN},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := FrameSize([]byte(c.in))
			if n != c.n || !errors.Is(err, c.err) {
				t.Errorf("got %d, %v; want %d, %v", n, err, c.n, c.err)
			}
		})
	}
}

// Whatever arrives in whatever pieces, the frames that come out are those that went in.
func TestFrameSizeCutAtEveryByte(t *testing.T) {
	var frames [][]byte
	var stream []byte
	for _, b := range clientMessages(t) {
		b = append(b, make([]byte, Padding(len(b)))...)
		frames = append(frames, b)
		stream = append(stream, b...)
	}
	for cut := range len(stream) + 1 {
		var got [][]byte
		var buffer []byte
		for _, piece := range [][]byte{stream[:cut], stream[cut:]} {
			buffer = append(buffer, piece...)
			for {
				n, err := FrameSize(buffer)
				if err != nil {
					t.Fatalf("cut at %d: %v after %d frames", cut, err, len(got))
				}
				if n == 0 || n > len(buffer) {
					break
				}
				got = append(got, buffer[:n:n])
				buffer = buffer[n:]
			}
		}
		if len(buffer) > 0 || len(got) != len(frames) {
			t.Fatalf("cut at %d: %d frames and %d bytes over, want %d frames", cut, len(got), len(buffer), len(frames))
		}
		for i := range frames {
			if !bytes.Equal(got[i], frames[i]) {
				t.Fatalf("cut at %d: frame %d is %x, want %x", cut, i, got[i], frames[i])
			}
		}
	}
}

// Every prefix of a frame gives the same answer, or none yet.
func TestFrameSizePrefixes(t *testing.T) {
	for _, b := range clientMessages(t) {
		for cut := range len(b) + 1 {
			n, err := FrameSize(b[:cut])
			want := len(b) + Padding(len(b))
			if cut < 4 {
				want = 0
			}
			if n != want || err != nil {
				t.Fatalf("%d of %d bytes: %d, %v; want %d", cut, len(b), n, err, want)
			}
		}
	}
}

// sink keeps the compiler from dropping what is measured.
var sink int

func TestHotPathDoesNotAllocate(t *testing.T) {
	channelData := []byte("\x40\x00\x00\x05hello\x00\x00\x00")
	send4 := raw(typeSend, attr{AttrXORPeerAddress, xor(t, peer4)}, attr{AttrData, "hello"})
	send6 := fingerprinted(raw(typeSend, attr{AttrXORPeerAddress, xor(t, peer6)}, attr{AttrData, "hello"}))
	junk := []byte("\x16\x03\x01\x02\x00\x01\x00\x01")
	head := make([]byte, 64)
	var s Send
	for _, c := range []struct {
		name string
		run  func()
	}{
		{"Classify", func() { sink += int(Classify(channelData)) }},
		{"FrameSize", func() { n, _ := FrameSize(send6); sink += n }},
		{"FrameSize, refused", func() { _, err := FrameSize(junk); mustBe(t, err != nil) }},
		{"ParseChannelData", func() { _, data, _ := ParseChannelData(channelData); sink += len(data) }},
		{"PutChannelHeader", func() { PutChannelHeader(head, 0x4000, 5) }},
		{"ParseSend IPv4", func() { mustBe(t, ParseSend(send4, &s)) }},
		{"ParseSend IPv6 with FINGERPRINT", func() { mustBe(t, ParseSend(send6, &s)) }},
		{"PutDataHeader IPv4", func() { PutDataHeader(head, &tid, peer4, 5) }},
		{"PutDataHeader IPv6", func() { PutDataHeader(head, &tid, peer6, 5) }},
	} {
		if n := testing.AllocsPerRun(100, c.run); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

func mustBe(tb testing.TB, ok bool) {
	if !ok {
		tb.Fatal("refused")
	}
}

func BenchmarkClassify(b *testing.B) {
	in := []byte("\x40\x00\x00\x05hello")
	for b.Loop() {
		sink += int(Classify(in))
	}
}

func BenchmarkFrameSize(b *testing.B) {
	in := raw(0x0001)
	for b.Loop() {
		n, _ := FrameSize(in)
		sink += n
	}
}

func BenchmarkParseChannelData(b *testing.B) {
	in := make([]byte, 204)
	PutChannelHeader(in, 0x4000, 200)
	for b.Loop() {
		_, data, _ := ParseChannelData(in)
		sink += len(data)
	}
}

func BenchmarkPutChannelHeader(b *testing.B) {
	out := make([]byte, 4)
	for b.Loop() {
		PutChannelHeader(out, 0x4000, 200)
	}
}
