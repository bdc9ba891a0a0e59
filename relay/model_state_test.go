package relay

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// stateCorpus has TestStateCanFail write the stored corpus of FuzzState: for each row the fewest steps that show it.
var stateCorpus = flag.Bool("state-corpus", false, "write testdata/fuzz/FuzzState anew")

func keepState(t *testing.T, name string, steps []stateStep) {
	t.Helper()
	directory := filepath.Join("testdata", "fuzz", "FuzzState")
	if err := os.MkdirAll(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	name = strings.Trim(regexp.MustCompile("[^A-Za-z0-9]+").ReplaceAllString(name, "-"), "-")
	text := fmt.Sprintf("go test fuzz v1\n[]byte(%+q)\n", stateBytes(steps))
	if err := os.WriteFile(filepath.Join(directory, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// stateLimit bounds the steps of one sequence.
const stateLimit = 400

// randomState makes steps. The same seed makes the same.
func randomState(seed uint64, n int) []stateStep {
	source := rand.New(rand.NewPCG(seed, 20))
	steps := make([]stateStep, n)
	for i := range steps {
		r := source.Uint32()
		steps[i] = stateStep{byte(r), byte(r >> 8), byte(r >> 16), byte(r >> 24)}
	}
	return steps
}

// reportState fails with steps made short and told in words.
func reportState(t *testing.T, steps []stateStep, err error) {
	t.Helper()
	steps = shorter(stateRules, steps)
	var story strings.Builder
	again := runState(stateRules, steps, func(format string, arguments ...any) {
		story.WriteString("\n\t")
		story.WriteString(fmt.Sprintf(format, arguments...))
	})
	t.Fatalf("%v\n%d steps are enough, % x:%s\n%v", err, len(steps), stateBytes(steps), story.String(), again)
}

// FuzzState leads a server and the reference model through the same steps.
func FuzzState(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(stateBytes(randomState(seed, 100)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		steps := stateSteps(b, stateLimit)
		if err := runState(stateRules, steps, nil); err != nil {
			reportState(t, steps, err)
		}
	})
}

// The same with steps that are the same in every run, as many as fit into some time.
func TestState(t *testing.T) {
	steps := 0
	begun := time.Now()
	for seed := uint64(0); time.Since(begun) < 2*time.Second; seed++ {
		s := randomState(seed, 50+int(seed%5)*100)
		if err := runState(stateRules, s, nil); err != nil {
			reportState(t, s, err)
		}
		steps += len(s)
	}
	t.Logf("%d steps, %.0f a second", steps, float64(steps)/time.Since(begun).Seconds())
}

// A model that gets one rule wrong must come to differ from the server: what the steps don't reach, or the comparisons
// don't see, would show here.
func TestStateCanFail(t *testing.T) {
	for _, row := range []struct {
		wrong  string
		change func(*modelRules)
	}{
		{"an allocation lasts a nanosecond longer", func(r *modelRules) { r.defaultLifetime++ }},
		{"an allocation lasts a nanosecond less", func(r *modelRules) { r.defaultLifetime-- }},
		{"an allocation may last a second longer", func(r *modelRules) { r.maxLifetime += time.Second }},
		{"a permission lasts a nanosecond longer", func(r *modelRules) { r.permission++ }},
		{"a permission lasts a nanosecond less", func(r *modelRules) { r.permission-- }},
		{"a channel lasts a nanosecond longer", func(r *modelRules) { r.channel++ }},
		{"a channel lasts a nanosecond less", func(r *modelRules) { r.channel-- }},
		{"a channel never rests", func(r *modelRules) { r.channelRest = 0 }},
		{"a channel rests a nanosecond longer", func(r *modelRules) { r.channelRest++ }},
		{"a channel rests a nanosecond less", func(r *modelRules) { r.channelRest-- }},
		{"a reservation lasts a nanosecond longer", func(r *modelRules) { r.reservation++ }},
		{"a reservation lasts a nanosecond less", func(r *modelRules) { r.reservation-- }},
		{"a relayed transport address never rests", func(r *modelRules) { r.relayRest = 0 }},
		{"a relayed transport address rests a nanosecond longer", func(r *modelRules) { r.relayRest++ }},
		{"a relayed transport address rests a nanosecond less", func(r *modelRules) { r.relayRest-- }},
		{"a nonce lasts a millisecond longer", func(r *modelRules) { r.nonce += time.Millisecond }},
		{"a nonce lasts a millisecond less", func(r *modelRules) { r.nonce -= time.Millisecond }},
		{"a user may have one more", func(r *modelRules) { r.userQuota++ }},
		{"all may have one more", func(r *modelRules) { r.totalQuota++ }},
		{"a permission is for a port", fault(permitsByPort)},
		{"Send needs no permission", fault(sendsWithoutPermission)},
		{"the receiver needs no permission", fault(receivesWithoutPermission)},
		{"ChannelBind installs no permission", fault(channelPermitsNobody)},
		{"ChannelData needs a permission", fault(channelNeedsPermission)},
		{"any channel number stands for the first", fault(channelOfAnyNumber)},
		{"a number may be bound to a second peer", fault(conflictOfNumberForgotten)},
		{"a peer may be bound to a second number", fault(conflictOfPeerForgotten)},
		{"CreatePermission installs what it can", fault(permitsSomeOfMany)},
		{"any peer may be", fault(permitsForbidden)},
		{"an IPv4-mapped peer is that of IPv4", fault(permitsMapped)},
		{"a channel may lead to any port", fault(bindsAnyPort)},
		{"a token works twice", fault(tokenWorksTwice)},
		{"a token may stand beside EVEN-PORT", fault(tokenBesideEvenPort)},
		{"EVEN-PORT means any port", fault(evenPortIsAny)},
		{"EVEN-PORT with R needs no free port above", fault(noRoomAboveEvenPort)},
		{"a transaction is forgotten", fault(transactionForgotten)},
		{"another user's Allocate of the same transaction is a retransmission", fault(otherUserMaySendAgain)},
		{"an occupied five-tuple takes another allocation", fault(retransmissionMakesAnother)},
		{"another user's request does", fault(otherUserMayRefresh)},
		{"LIFETIME zero is the default", fault(zeroIsDefault)},
		{"Refresh keeps the lifetime", fault(refreshKeepsLifetime)},
		{"Refresh takes any family", fault(refreshOfOtherFamily)},
		{"the end of a connection ends its successor's allocation", fault(closeEndsSuccessor)},
		{"the end of a connection ends nothing", fault(closeEndsNobody)},
		{"five-tuples have no transport", fault(tupleWithoutTransport)},
		{"five-tuples have no server", fault(tupleWithoutServer)},
		{"a nonce is good for everybody", fault(nonceForEverybody)},
		{"the nonce is judged ahead of the password", fault(nonceBeforePassword)},
		{"an unknown attribute is ignored", fault(unknownAttributeIgnored)},
		{"a user's quota counts everybody's", fault(quotaOfAll)},
		{"a user's quota is never given back", fault(quotaNeverGivenBack)},
		{"a bound peer's data come as Data", fault(dataOnChannel)},
		{"data come from the peer's client", fault(dataFromPeersClient)},
		{"expired allocations receive", fault(deliversToExpired)},
		{"a client of UDP gets a TCP allocation", fault(tcpOverUDP)},
		{"a TCP allocation has channels", fault(tcpHasChannels)},
		{"a TCP allocation sends datagrams", fault(tcpSends)},
		{"both families or none", fault(bothOrNone)},
		{"Refresh of a family is of both", fault(refreshOfBoth)},
		{"a channel number may be bound in each family", fault(numberPerFamily)},
		{"a TCP allocation receives datagrams", fault(tcpReceives)},
	} {
		t.Run(row.wrong, func(t *testing.T) {
			t.Parallel()
			rules := stateRules
			row.change(&rules)
			taken := 0
			for seed := range uint64(2000) {
				steps := randomState(seed, 200)
				taken += len(steps)
				if err := runState(rules, steps, nil); err != nil {
					t.Logf("within %d steps: %v", taken, err)
					if *stateCorpus {
						keepState(t, row.wrong, shorter(rules, steps))
					}
					return
				}
			}
			t.Errorf("%d steps later nobody has noticed", taken)
		})
	}
}

func fault(f modelFault) func(*modelRules) { return func(r *modelRules) { r.fault = f } }
