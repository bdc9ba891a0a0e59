package allocation

import (
	"math"
	"strings"
)

// An account is whom quotas and bandwidth count: one person, whatever is written around the name in each credential.
// It is a part of the user name, which the allocation has, so one byte says all: how much to cut off, from the
// beginning where it is positive, else from the end.

// cutOf returns what to cut off a request's user to get its account; 0 where that is neither the beginning nor the end.
func cutOf(r *Request) int8 {
	n := len(r.User) - len(r.Account)
	switch {
	case r.Account == "" || n <= 0 || n > math.MaxInt8:
		return 0
	case strings.HasSuffix(r.User, r.Account):
		return int8(n)
	case strings.HasPrefix(r.User, r.Account):
		return -int8(n)
	}
	return 0
}

func accountOf(user string, cut int8) string {
	if cut < 0 {
		return user[:len(user)+int(cut)]
	}
	return user[cut:]
}

func (a *Allocation) account() string { return accountOf(a.User, a.cut) }
