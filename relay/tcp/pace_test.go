package tcp

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// limited sets limits in bits/s; 0: none.
func limited(own, user int64) func(*allocation.Options) {
	return func(o *allocation.Options) { o.MaxBandwidth, o.UserBandwidth = own, user }
}

// How long bytes take under limits, to the millisecond, and that none of them is lost.
func TestPace(t *testing.T) {
	for _, c := range []struct {
		name      string
		own, user int64 // bits/s
		links     int   // at the same time
		bytes     int   // of each
		rate      int64 // bits/s of all together
	}{
		{"an allocation's limit", 8e6, 0, 1, 10_000_000, 8e6},
		{"a low one", 64e3, 0, 1, 80_000, 64e3},
		{"the user's", 0, 2e6, 1, 1_000_000, 2e6},
		{"the lower of two", 8e6, 2e6, 1, 1_000_000, 2e6},
		{"the user's, for all together", 8e6, 2e6, 5, 1_000_000, 2e6},
		{"each its own", 8e6, 0, 5, 1_000_000, 5 * 8e6},
	} {
		for _, back := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, back %v", c.name, back), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newServer(t, limited(c.own, c.user))
					sent := bytes.Repeat([]byte("0123456789"), c.bytes/10)
					done := make(chan time.Duration)
					began := time.Now()
					var all []*allocation.Allocation
					for range c.links {
						a, b, id, attempt := s.pair(t)
						all = append(all, a, b)
						_, from := s.bind(t, a, id)
						_, to := s.bind(t, b, attempt)
						if back {
							from, to = to, from
						}
						go func() {
							from.Write(sent)
							from.CloseWrite()
						}()
						go func() {
							got, err := io.ReadAll(to)
							if err != nil || !bytes.Equal(got, sent) {
								t.Errorf("%d bytes of %d came, or others: %v", len(got), len(sent), err)
							}
							done <- time.Since(began)
							to.CloseWrite()
						}()
					}
					var took time.Duration
					for range c.links {
						took = <-done
					}
					// What may come at once, of each limit, comes at once.
					count := time.Duration(c.links*c.bytes) * 8 * time.Second
					want := count/time.Duration(c.rate) - 125*time.Millisecond
					if took < want-50*time.Millisecond || took > want+50*time.Millisecond {
						t.Errorf("%d bytes took %v, want %v", c.links*c.bytes, took, want)
					}
					for _, a := range all {
						s.End(a)
					}
				})
			})
		}
	}
}

// Streams of a user get their turns one after the other.
func TestPaceIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, limited(0, 1e6))
		var readings []func() Reading
		var all []*allocation.Allocation
		for range 4 {
			a, b, id, attempt := s.pair(t)
			all = append(all, a, b)
			_, from := s.bind(t, a, id)
			_, to := s.bind(t, b, attempt)
			go from.Write(make([]byte, 1<<20))
			go io.Copy(io.Discard, to)
			readings = append(readings, func() Reading { return s.Of(a)[0] })
		}
		time.Sleep(8 * time.Second)
		for i, read := range readings {
			if got := read().Up; got < 240_000 || got > 270_000 { // a quarter of 8 Mbit, and what may come at once
				t.Errorf("stream %d got %d bytes", i, got)
			}
		}
		for _, a := range all {
			s.End(a)
		}
	})
}

// Who waits for bandwidth is awakened by the end of the allocation, whoever's turn it is, and so is who waits for that.
func TestPaceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, limited(0, 8))
		var all []*allocation.Allocation
		var ends []chan struct{}
		for range 3 {
			a, b, id, attempt := s.pair(t)
			all = append(all, a, b)
			here, from := s.bind(t, a, id)
			there, to := s.bind(t, b, attempt)
			ends = append(ends, here.done, there.done)
			go from.Write(make([]byte, 10_000))
			go io.Copy(io.Discard, to)
		}
		time.Sleep(time.Minute)
		for i := len(all) - 2; i >= 0; i -= 2 { // the last one to come has not had its turn
			s.End(all[i])
			for _, done := range ends[i : i+2] {
				if !isDone(done) {
					t.Errorf("a connection of allocation %d is left", i)
				}
			}
			s.End(all[i+1])
		}
		if s.Counts() != (Counts{}) {
			t.Errorf("%+v", s.Counts())
		}
	})
}
