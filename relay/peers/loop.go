package peers

// LoopOnly returns a Policy of the one rule loop: clients exchange packets with each other only.
func LoopOnly() *Policy {
	p, err := New(Options{})
	if err != nil {
		panic("peers: the zero Options are refused: " + err.Error())
	}
	return p
}
