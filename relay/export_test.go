package relay

// ForgetRest has the numbers of closed listeners used again at once.
func (s *Server) ForgetRest() {
	s.reload.Lock()
	defer s.reload.Unlock()
	s.resting = nil
}

// Numbers is how many numbers of listeners there are.
func (s *Server) Numbers() int { return len(s.bound.Load().sockets) }
