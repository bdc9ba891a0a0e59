package forward

// Flush sends what the batch queued and publishes its counts. It is called at the
// end of each batch, never on a timer: batching adds no latency.
func (f *Forwarder) Flush() {
	f.Forget()
	f.send()
	f.stats.publish(&f.counts)
}

// send empties the queues; all headers and received bytes are free then.
func (f *Forwarder) send() {
	for i := range f.queues {
		f.flushQueue(i)
	}
	f.flushOutside()
	f.flushStreams()
	f.used = 0
}

func (f *Forwarder) flushQueue(listener int) {
	q := f.queues[listener]
	if q == nil || q.Len() == 0 {
		return
	}
	queued := q.Len()
	// What the kernel refused is counted; why is of no use to anybody here: the
	// client is gone, its network is, or the socket buffer is full.
	sent, _ := f.conns[listener].Flush(q)
	f.Drop(DropSendFailed, queued-sent)
}

func (f *Forwarder) flushStreams() {
	for i, s := range f.streams {
		s.Flush()
		f.streams[i] = nil
	}
	f.streams = f.streams[:0]
}
