//go:build !linux

package udp

import "time"

var begin = time.Now()

// processor is the wall's time where the thread's isn't to be had.
func processor() time.Duration { return time.Since(begin) }
