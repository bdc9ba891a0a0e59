package udp

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// release is a version of Linux: 7.1.4 is {7, 1, 4}.
type release [3]int

// kernelFault is a range of releases, both ends included, in which UDP_SEGMENT does harm that a sender can't see. What it
// can see, a refusal, needs no entry here: 6.6.44 and its siblings of August 2024 refuse a short last segment on some
// devices (EINVAL), and devices without checksum offload refuse every one (EIO); such messages are split and sent again.
type kernelFault struct {
	first, last release
	what        string
}

// kernelFaults was last looked at on 2026-11-21. Distributions carry fixes and faults to other numbers; --offload is for
// those.
var kernelFaults = []kernelFault{
	{release{7, 0, 0}, release{7, 1, 4}, "mangles headers and checksums on some devices when all segments have the same length " +
		"(reported in May 2026, fixed in 7.1.5)"},
}

// segmentFault says what is wrong with UDP_SEGMENT in this kernel; empty: nothing known.
func segmentFault() string {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return ""
	}
	return faultOf(unix.ByteSliceToString(name.Release[:]))
}

func faultOf(text string) string {
	at, ok := parseRelease(text)
	if !ok {
		return ""
	}
	for _, f := range kernelFaults {
		if !at.before(f.first) && !f.last.before(at) {
			return fmt.Sprintf("Linux %s %s", text, f.what)
		}
	}
	return ""
}

// parseRelease reads the numbers at the head of "6.1.0-13-amd64"; missing ones are 0.
func parseRelease(text string) (r release, ok bool) {
	numbers, _, _ := strings.Cut(text, "-")
	for i, part := range strings.SplitN(numbers, ".", 3) {
		digits := part
		if end := strings.IndexFunc(part, func(c rune) bool { return c < '0' || c > '9' }); end >= 0 {
			digits = part[:end]
		}
		n, err := strconv.Atoi(digits)
		if err != nil {
			return r, i > 0
		}
		r[i] = n
	}
	return r, true
}

func (r release) before(s release) bool {
	for i := range r {
		if r[i] != s[i] {
			return r[i] < s[i]
		}
	}
	return false
}
