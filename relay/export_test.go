package relay

// ForgetRest has the numbers of closed listeners used again at once.
func (s *Server) ForgetRest() {
	s.reload.Lock()
	defer s.reload.Unlock()
	s.resting = nil
}

// Numbers is how many numbers of listeners there are.
func (s *Server) Numbers() int { return len(s.bound.Load().sockets) }

// Runs says whether all of Run's goroutines have begun.
func (s *Server) Runs() bool {
	s.changing.Lock() // Run holds it while it starts the last ones
	defer s.changing.Unlock()
	return s.runs
}
