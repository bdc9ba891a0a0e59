package main

import (
	"errors"
	"fmt"

	"github.com/hairpin-turn/hairpin/relay/peers"
)

func parsePeers(s *Settings, v value) error {
	rule, err := peers.ParseRule(v.text)
	if fault := (*peers.Fault)(nil); errors.As(err, &fault) {
		return wrong(fault.What, fault.Remedy)
	}
	s.Peers = append(s.Peers, rule)
	return err
}

// checkPeers lets package peers judge the rules together and those of the file.
func (s *Settings) checkPeers() faults {
	policy, err := peers.New(peers.Options{Rules: s.Peers, File: s.PeersFile})
	if err == nil {
		s.Loop = policy.Set().Loop()
		return nil
	}
	var found faults
	for _, single := range unjoin(err) {
		found = append(found, s.peersFault(single))
	}
	return found
}

func (s *Settings) peersFault(err error) fault {
	var rule *peers.Fault
	switch {
	case !errors.As(err, &rule):
		return fault{s.originOf("peers"), err.Error(), "correct the rules that are named here first"}
	case rule.File == "":
		return fault{s.given["peers"][rule.Index].origin.String(), rule.What, rule.Remedy}
	case rule.Line == 0:
		return fault{s.originOf("peers-file"), fmt.Sprintf("%q %s", rule.File, rule.What), rule.Remedy}
	}
	return fault{fmt.Sprintf("%s:%d", rule.File, rule.Line), rule.What, rule.Remedy}
}
