package load

import (
	"math/rand/v2"
	"testing"
)

func TestFlow(t *testing.T) {
	for _, test := range []struct {
		name     string
		sent     uint64
		arrive   []uint64
		want     []arrival
		inFlight int
	}{
		{"in order", 3, []uint64{0, 1, 2}, []arrival{inOrder, inOrder, inOrder}, 0},
		{"twice", 2, []uint64{0, 0, 1, 0, 1}, []arrival{inOrder, duplicate, inOrder, duplicate, duplicate}, 0},
		{"swapped", 3, []uint64{1, 0, 0, 2}, []arrival{inOrder, reordered, duplicate, inOrder}, 0},
		{"a gap", 10, []uint64{0, 5}, []arrival{inOrder, inOrder}, 4},
		{"made up", 1, []uint64{1, 1 << 60, 0}, []arrival{unsent, unsent, inOrder}, 0},
		{"too old to tell", 5000, []uint64{0, 4000, 4000 - history + 1, 4000 - history, 1}, []arrival{inOrder, inOrder, reordered, duplicate, duplicate}, 999},
		{"a ring further", history + 2, []uint64{0, history, history + 1, 1, 2}, []arrival{inOrder, inOrder, inOrder, duplicate, reordered}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := flow{next: test.sent}
			for i, sequence := range test.arrive {
				if got := f.arrive(sequence); got != test.want[i] {
					t.Errorf("%d, the arrival number %d, is %d, want %d", sequence, i, got, test.want[i])
				}
			}
			if f.inFlight() != test.inFlight {
				t.Errorf("%d in flight, want %d", f.inFlight(), test.inFlight)
			}
		})
	}
}

// The ring of bits says the same as a memory of everything.
func TestFlowAgainstModel(t *testing.T) {
	source := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		f := flow{next: 1 << 40}
		seen, newest := map[uint64]bool{}, uint64(0)
		for range 5000 {
			sequence := uint64(max(0, int64(newest)+source.Int64N(2*history)-history-history/2))
			want := inOrder
			switch {
			case sequence >= newest:
				newest = sequence + 1
			case seen[sequence] || newest-sequence > history:
				want = duplicate
			default:
				want = reordered
			}
			seen[sequence] = true
			if got := f.arrive(sequence); got != want {
				t.Fatalf("%d with newest %d is %d, want %d", sequence, newest, got, want)
			}
		}
	}
}
