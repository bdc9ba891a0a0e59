package load

// Limit is what kept the figures from being higher.
type Limit string

// The limits.
const (
	LimitServer    Limit = "server"    // its processors, or its busiest thread, as far as others left them to it
	LimitGenerator Limit = "generator" // this process: the server could have done more
	LimitWindow    Limit = "window"    // neither: so much in flight does not keep them busy
	LimitRate      Limit = "rate"      // neither: no more was asked for
	LimitUnknown   Limit = "unknown"   // the server is not observed, and this process was not the limit
)

// From where on a processor is at its limit. The rest goes to whoever else has something to do on this machine.
const (
	serverFull    = 0.90
	generatorFull = 0.95
)

// limit judges by how busy the two were.
func (r *Result) limit() Limit {
	rated := r.Options.Mode == Relay && r.Options.Rate > 0
	late := rated && float64(r.Packets.Skipped) > 0.001*float64(r.Packets.Sent)
	busy := r.Generator.Busy > generatorFull
	switch {
	case r.Server != nil && (r.Server.Load+r.Server.Waited >= serverFull || r.Server.wanted >= serverFull):
		return LimitServer
	case busy || late:
		return LimitGenerator
	case rated:
		return LimitRate
	case r.Server != nil:
		return LimitWindow
	}
	return LimitUnknown
}
