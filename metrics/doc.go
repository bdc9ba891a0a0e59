// Package metrics shows a running relay to whoever looks after it: metrics for Prometheus, health for an orchestrator,
// live allocations as JSON and as a page.
//
//	request ──► path (404) ──► method (405) ──► guard (401, 403) ──► answer
//	                                                 │
//	                        /metrics /healthz /readyz pass it always
//
// It owns nothing but the process's exposition: all numbers come from a Source and are read anew for each request. It changes
// nothing in the relay but that POST /drain has it drain, POST /reload read its settings again and POST /end ends an allocation,
// knows no secret but its own token, and has no goroutines but one that makes events while pages are open and one that keeps
// the last hour for those that are yet to come (live.go).
package metrics
