package events

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/pion/logging"
)

const (
	defaultQueue = 8192 // events; some seconds of the most set-ups that a server makes
	batchBytes   = 256 << 10
	firstWait    = 250 * time.Millisecond // after a failed write, doubled up to lastWait
	lastWait     = 10 * time.Second
	giveUp       = time.Minute     // after that a batch is lost, so that the queue behind it is not
	grace        = 5 * time.Second // to write what waits when Run's context ends
)

// Options say where events go.
type Options struct {
	Target   string                // "stdout", an http or https URL, or a file's path
	Stdout   io.Writer             // what "stdout" means; nil: the process's
	Instance string                // tells this server and its run from others in the same stream
	Queue    int                   // events that may wait; 0: 8192
	Log      logging.LeveledLogger // of a target that fails: when that begins and when it ends
}

// Writer writes events. Its methods may be called by any goroutine, Run once.
type Writer struct {
	queue    chan *Event
	reopen   chan struct{}
	log      logging.LeveledLogger
	instance string

	written atomic.Uint64
	full    atomic.Uint64 // lost before the queue
	failed  atomic.Uint64 // lost behind it
	ended   atomic.Bool

	// Immutable.
	began           time.Time
	refusals, moves *restraint

	// Owned by Run's goroutine.
	sink    sink
	buffer  bytes.Buffer
	number  uint64 // of the last event
	extra   int    // lines of the buffer that are no event of Emit's
	torn    bool   // the target's last line is not whole
	told    uint64 // lost events that the stream's reader knows of
	telling uint64 // that the buffer tells of
	failing bool
}

// Counts are a Writer's, in events since it was made.
type Counts struct {
	Written uint64 // lines that the sink has
	Full    uint64 // lost because the queue was full
	Failed  uint64 // lost because the sink did not take them
	// Refusals and moves that are missing because their source, or all, had too many.
	ExcessRefusals, ExcessMoves uint64
	Waiting                     int // in the queue
}

// New opens the target. Its error says what is wrong with it.
func New(o Options) (*Writer, error) {
	if o.Queue < 0 {
		return nil, fmt.Errorf("a queue of %d events: it takes 1 or more, 0 means %d", o.Queue, defaultQueue)
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	s, err := newSink(o.Target, o.Stdout)
	if err != nil {
		return nil, err
	}
	return newWriter(&o, s), nil
}

func newWriter(o *Options, s sink) *Writer {
	n := o.Queue
	if n == 0 {
		n = defaultQueue
	}
	return &Writer{
		queue: make(chan *Event, n), reopen: make(chan struct{}, 1), log: o.Log, instance: o.Instance, sink: s, began: time.Now(),
		refusals: newRestraint(), moves: newRestraint(),
	}
}

// Emit hands an event over, which must not be changed afterwards. It never waits; false means that the event is lost, which
// is counted. Refusals and moves are held to a rate each, and find no room in the second half of the queue: clients decide
// how many there are, and must neither fill a disk nor push out what is billed.
func (w *Writer) Emit(e *Event) bool {
	var held *restraint
	switch e.Type {
	case Refusal:
		held = w.refusals
	case Move:
		held = w.moves
	}
	if held != nil && !held.admit(e, int64(time.Since(w.began))) {
		return false
	}
	if held != nil && len(w.queue) >= cap(w.queue)/2+cap(w.queue)%2 || w.ended.Load() {
		w.full.Add(1)
		return false
	}
	select {
	case w.queue <- e:
		return true
	default:
		w.full.Add(1)
		return false
	}
}

// Reopen opens a file anew, after whoever rotates files has moved it away. Other targets have nothing to open. It does
// not wait; a failure is logged and leaves the file in use that is.
func (w *Writer) Reopen() {
	select {
	case w.reopen <- struct{}{}:
	default: // will be done already
	}
}

// Counts reads the counters.
func (w *Writer) Counts() Counts {
	return Counts{Written: w.written.Load(), Full: w.full.Load(), Failed: w.failed.Load(), Waiting: len(w.queue),
		ExcessRefusals: w.refusals.excess.Load(), ExcessMoves: w.moves.excess.Load()}
}

// Run writes until ctx ends, then what waits, for five seconds at most, and closes the target. Its error says how many
// events were left.
func (w *Writer) Run(ctx context.Context) error {
	hard, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- w.pump(ctx, hard) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
	}
	cancel()
	timer.Reset(time.Second) // a request ends with hard; a write that hangs in the kernel does not
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("events: the target takes nothing, %d are left", len(w.queue))
	}
}

// pump writes until stop ends, and then what waits until hard ends.
func (w *Writer) pump(stop, hard context.Context) error {
	for w.fill(stop) {
		w.deliver(hard)
	}
	w.ended.Store(true)
	for hard.Err() == nil && w.take() {
		w.deliver(hard)
	}
	err := w.sink.close()
	if left := len(w.queue); left > 0 {
		w.failed.Add(uint64(left))
		err = errors.Join(err, fmt.Errorf("events: the target takes nothing, %d are left", left))
	}
	return err
}

// fill waits for an event and encodes it with all that came with it; false means that stop ended.
func (w *Writer) fill(stop context.Context) bool {
	for {
		select {
		case <-stop.Done():
			return false
		case <-w.reopen:
			w.open()
		case e := <-w.queue:
			w.begin()
			w.encode(e)
			w.takeMore()
			return true
		}
	}
}

// take encodes what waits; false means that nothing does.
func (w *Writer) take() bool {
	w.begin()
	w.takeMore()
	return w.buffer.Len() > 0 && !(w.torn && w.buffer.Len() == 1)
}

func (w *Writer) takeMore() {
	for w.buffer.Len() < batchBytes {
		select {
		case e := <-w.queue:
			w.encode(e)
		default:
			return
		}
	}
}

// begin begins a batch, with a line about what is missing before it.
func (w *Writer) begin() {
	w.buffer.Reset()
	w.extra = 0
	if w.torn {
		w.buffer.WriteByte('\n')
		w.extra++
	}
	w.telling = w.full.Load() + w.failed.Load() + w.refusals.excess.Load() + w.moves.excess.Load()
	if missing := w.telling - w.told; missing > 0 {
		w.encode(&Event{Type: Lost, Time: time.Now(), Missing: missing})
		w.extra++
	}
}

func (w *Writer) encode(e *Event) {
	numbered := *e
	w.number++
	numbered.Instance, numbered.Number = w.instance, w.number
	line, err := json.Marshal(&numbered)
	if err != nil { // a float that is no number
		w.failed.Add(1)
		return
	}
	w.buffer.Write(harmless(line))
	w.buffer.WriteByte('\n')
}

// deliver has the sink take the batch, or gives it up.
func (w *Writer) deliver(hard context.Context) {
	batch, taken := w.buffer.Bytes(), 0
	began, wait := time.Now(), firstWait
	for {
		n, err := w.sink.write(hard, batch[taken:])
		taken += n
		if taken == len(batch) {
			w.report(nil)
			break
		}
		w.report(err)
		if errors.Is(err, errRefused) || time.Since(began) >= giveUp || !w.pause(hard, wait) {
			break
		}
		if w.reopened() {
			taken = bytes.LastIndexByte(batch[:taken], '\n') + 1 // a line is whole in one of the files
		}
		wait = min(2*wait, lastWait)
	}
	w.torn = taken > 0 && batch[taken-1] != '\n' || taken == 0 && w.torn
	done := bytes.Count(batch[:taken], []byte{'\n'})
	if done >= w.extra {
		w.told = w.telling
	}
	lines := bytes.Count(batch, []byte{'\n'}) - w.extra
	done = max(0, done-w.extra)
	w.written.Add(uint64(done))
	w.failed.Add(uint64(lines - done))
}

// pause waits before another attempt, or for Reopen; false means that there is none.
func (w *Writer) pause(hard context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-hard.Done():
		return false
	case <-w.reopen:
		w.Reopen() // for reopened
		return true
	case <-timer.C:
		return true
	}
}

func (w *Writer) reopened() bool {
	select {
	case <-w.reopen:
		return w.open()
	default:
		return false
	}
}

func (w *Writer) open() bool {
	if err := w.sink.reopen(); err != nil {
		w.log.Errorf("%v", err)
		return false
	}
	return true
}

// report logs when a sink begins and ends to fail.
func (w *Writer) report(err error) {
	switch failing := err != nil; {
	case failing && !w.failing:
		w.log.Errorf("events are not delivered: %v", err)
	case !failing && w.failing:
		w.log.Infof("events are delivered again; %d were lost so far", w.full.Load()+w.failed.Load())
	}
	w.failing = err != nil
}
