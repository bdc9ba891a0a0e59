package rate

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const burst = 10 * time.Second

func TestLimit(t *testing.T) {
	l := New[string](2, burst)
	now := int64(1 << 60) // as Unix time is
	for i := range 20 {
		if l.Exhausted("a", 1, now) {
			t.Fatalf("exhausted after %d", i)
		}
		if wait := l.Admit("a", 1, now); wait != 0 {
			t.Fatalf("request %d has to wait %v", i, wait)
		}
	}
	if !l.Exhausted("a", 1, now) || l.Exhausted("b", 1, now) {
		t.Error("a is not exhausted, or b is")
	}
	if wait := l.Admit("a", 1, now); wait != time.Second/2 {
		t.Errorf("beyond the burst: %v", wait)
	}
	if wait := l.Admit("b", 3, now); wait != 0 {
		t.Errorf("another source: %v", wait)
	}
	now += int64(time.Second / 2)
	if wait := l.Admit("a", 1, now); wait != 0 {
		t.Errorf("after the wait: %v", wait)
	}
	if wait := l.Admit("a", 4, now); wait != 2*time.Second {
		t.Errorf("four at once: %v", wait)
	}
}

func TestLimitOff(t *testing.T) {
	l := New[string](0, burst)
	if l != nil || l.Admit("a", 1<<30, 0) != 0 || l.Exhausted("a", 1, 0) {
		t.Error("a limit of 0 limits")
	}
}

// Many at once get what one would, but for a request each.
func TestLimitTogether(t *testing.T) {
	l := New[string](100, burst)
	var admitted atomic.Int64
	var running sync.WaitGroup
	const goroutines = 8
	for range goroutines {
		running.Go(func() {
			for range 1000 {
				if l.Admit("a", 1, 0) == 0 {
					admitted.Add(1)
				}
			}
		})
	}
	running.Wait()
	if n := admitted.Load(); n < 1000 || n > 1000+goroutines {
		t.Errorf("admitted %d of 8000, want 1000", n)
	}
}

// Sources that are over their rate take few others along.
func TestLimitSpares(t *testing.T) {
	l := New[int](1, burst)
	for source := range 1000 {
		for l.Admit(source, 1, 0) == 0 {
		}
	}
	refused := 0
	for source := range 10_000 {
		if l.Exhausted(1000+source, 1, 0) {
			refused++
		}
	}
	if refused > 100 { // 36 are to be expected
		t.Errorf("1,000 greedy sources took %d of 10,000 others along", refused)
	}
}

func TestLimitDoesNotAllocate(t *testing.T) {
	l := New[netip.Prefix](1000, burst)
	ip := netip.MustParseAddr("2001:db8::7")
	if n := testing.AllocsPerRun(100, func() {
		l.Admit(Source(ip), 1, 0)
		l.Exhausted(Source(ip), 1, 0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSource(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.1":        "192.0.2.1/32",
		"::ffff:192.0.2.1": "192.0.2.1/32",
		"2001:db8::1":      "2001:db8::/64",
		"fe80::1%eth0":     "fe80::/64",
	} {
		if got := Source(netip.MustParseAddr(ip)).String(); got != want {
			t.Errorf("%s: %s, want %s", ip, got, want)
		}
	}
}

func BenchmarkAdmit(b *testing.B) {
	l := New[netip.Prefix](1000, burst)
	source := Source(netip.MustParseAddr("192.0.2.1"))
	b.ReportAllocs()
	for b.Loop() {
		l.Admit(source, 1, 0)
	}
}
