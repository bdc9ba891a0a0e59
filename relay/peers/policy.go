package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/logging"
)

// Limits and defaults.
const (
	// DefaultInterval is how often names are looked up and the file is looked at
	// when Options.Interval is zero.
	DefaultInterval = 5 * time.Second
	// MaxInterval keeps lookups well within keepFailing.
	MaxInterval = 5 * time.Minute

	maxRules  = 1000 // those of the file included; each packet is compared with most of them
	maxNames  = 100  // of which are names
	maxFaults = 20   // that are reported at once
)

// Options configure a Policy. The zero value allows loop only.
type Options struct {
	Rules []Rule // from ParseRule. With no rule here and none in File, loop is the one rule
	File  string // more rules, one in a line; read again when it changes. Path, empty: none

	// Own returns the transport addresses of this server's own sockets, each address
	// of a wildcard spelt out, none with port 0: listeners, admin, ICE service. It is
	// called by New and whenever a set is made, with a lock held: it must not call
	// the Policy. nil: none.
	Own func() []netip.AddrPort
	// Lookup returns the addresses of a name. It must end when ctx does. nil:
	// net.DefaultResolver.
	Lookup   func(ctx context.Context, name string) ([]netip.Addr, error)
	Interval time.Duration         // 0: DefaultInterval; at most MaxInterval
	Log      logging.LeveledLogger // nil: silent
}

// Policy holds the rules in force. Make it with New.
type Policy struct {
	// Immutable after New.
	own      func() []netip.AddrPort
	lookup   func(ctx context.Context, name string) ([]netip.Addr, error)
	interval time.Duration
	log      logging.LeveledLogger

	current atomic.Pointer[Set]
	wake    chan struct{} // new names wait for Run; holds one

	mu        sync.Mutex // guards what follows
	file      string     // Options.File, or ReplaceFile's
	given     []Rule     // Options.Rules, or Replace's
	fromFile  []entry    // of the file's last content without a fault
	content   []byte     // of the file when it was taken over
	fault     string     // of the file, as it was logged; empty: none
	rules     []entry    // both, or loop
	names     map[string]*resolution
	addresses map[key][]ports // of names, handed to sets, never changed
}

// entry is a rule and where it stands.
type entry struct {
	rule  Rule
	index int // in Options.Rules
	line  int // in the file, from 1; 0: not there
}

// New checks the options, reads the file and makes a first set, in which names have
// no address yet. Its error joins all faults, of which each is a *Fault where it
// concerns a rule.
func New(o Options) (*Policy, error) {
	p := &Policy{
		file: o.File, own: o.Own, lookup: o.Lookup, interval: o.Interval, log: o.Log,
		wake: make(chan struct{}, 1), names: make(map[string]*resolution),
	}
	if p.own == nil {
		p.own = func() []netip.AddrPort { return nil }
	}
	if p.lookup == nil {
		p.lookup = func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		}
	}
	if p.interval == 0 {
		p.interval = DefaultInterval
	}
	if p.log == nil {
		p.log = logging.NewDefaultLeveledLoggerForScope("peers", logging.LogLevelDisabled, io.Discard)
	}
	var faults []error
	if p.interval < 0 || p.interval > MaxInterval {
		faults = append(faults, fmt.Errorf("peers: interval %v is negative or above %v; give a duration such as %v", o.Interval, MaxInterval, DefaultInterval))
	}
	p.given = slices.Clone(o.Rules)
	var lines []entry
	if p.file != "" {
		var err error
		p.content, lines, err = readRules(p.file)
		faults = append(faults, err)
	}
	faults = append(faults, p.adopt(p.given, lines))
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return p, nil
}

// Replace changes Options.Rules at run time; those of the file stay. It checks as
// New does and changes nothing when there is a fault. Names that are still there
// keep their addresses, new ones are looked up at once.
func (p *Policy) Replace(rules []Rule) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.adoptLocked(slices.Clone(rules), p.fromFile)
}

// ReplaceFile is Replace with another Options.File, or the same one, which is read at once; empty: none.
func (p *Policy) ReplaceFile(rules []Rule, file string) error {
	var content []byte
	var lines []entry
	if file != "" {
		var err error
		if content, lines, err = readRules(file); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.file
	p.file = file
	if err := p.adoptLocked(slices.Clone(rules), lines); err != nil {
		p.file = before
		return err
	}
	p.content, p.fault = content, ""
	return nil
}

func (p *Policy) adopt(given []Rule, lines []entry) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.adoptLocked(given, lines)
}

// adoptLocked puts rules in force if nothing is wrong with them.
func (p *Policy) adoptLocked(given []Rule, lines []entry) error {
	var rules []entry
	for i, r := range given {
		rules = append(rules, entry{rule: r, index: i})
	}
	rules = append(rules, lines...)
	if err := check(p.file, rules); err != nil {
		return err
	}
	if len(rules) == 0 {
		rules = []entry{{rule: Rule{kind: loop, ports: everyPort}}}
	}
	p.given, p.fromFile, p.rules = given, lines, rules
	before := p.names
	p.names = make(map[string]*resolution)
	for _, e := range rules {
		if e.rule.kind != name || p.names[e.rule.name] != nil {
			continue
		}
		if r := before[e.rule.name]; r != nil {
			p.names[e.rule.name] = r
			continue
		}
		p.names[e.rule.name] = new(resolution)
		select {
		case p.wake <- struct{}{}:
		default: // it will be woken
		}
	}
	p.gatherLocked()
	p.publishLocked()
	return nil
}

// publishLocked makes a set of what is known.
func (p *Policy) publishLocked() {
	p.current.Store(newSet(p.rules, p.own(), p.addresses))
}

// Renew makes the set anew, because Options.Own has more or less to tell.
func (p *Policy) Renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.publishLocked()
}

// Set returns the set in force. It costs one atomic load.
func (p *Policy) Set() *Set { return p.current.Load() }

// External says whether the rules may allow peers beyond the process, now or when
// the file changes: whether relayed transport addresses need sockets. Only Replace
// and ReplaceFile change it.
func (p *Policy) External() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return External(p.given, p.file)
}

// External is Policy.External for a policy of these rules and this file.
func External(rules []Rule, file string) bool {
	return file != "" || slices.ContainsFunc(rules, func(r Rule) bool { return r.kind != loop && !r.deny })
}

// RuleStatus is what a rule comes to at the moment.
type RuleStatus struct {
	Rule string
	Line int // in Options.File; 0: of Options.Rules or the default

	// Of a name:
	Addresses []netip.Addr // that it stands for now, sorted
	Answered  time.Time    // last answer that held addresses; zero: none yet
	Fault     string       // why lookups fail; empty: they don't
	Failing   time.Time    // since when they do; zero: they don't
}

// Status lists all rules in force, those of the file last.
func (p *Policy) Status() []RuleStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]RuleStatus, 0, len(p.rules))
	for _, e := range p.rules {
		status := RuleStatus{Rule: e.rule.String(), Line: e.line}
		if r := p.names[e.rule.name]; e.rule.kind == name && r != nil {
			status.Addresses, status.Answered = r.sorted(), r.answered
			status.Fault, status.Failing = r.fault, r.failing
		}
		all = append(all, status)
	}
	return all
}
