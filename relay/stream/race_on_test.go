//go:build race

package stream

// raceDetector: sync.Pool drops items at random under it, so allocations can't be counted.
const raceDetector = true
