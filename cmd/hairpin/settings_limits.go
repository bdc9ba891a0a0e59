package main

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/hairpin-turn/hairpin/relay/allocation"
)

// bandwidthUnits are what a bandwidth may be written in; the longer ones first, as each ends with the last.
var bandwidthUnits = []struct {
	name string
	bits int64
}{{"Gbit/s", 1e9}, {"Mbit/s", 1e6}, {"kbit/s", 1e3}, {"bit/s", 1}}

// parseBandwidth reads a number with its unit, or 0.
func parseBandwidth(to *int64, v value) error {
	*to = 0
	if v.text == "0" {
		return nil
	}
	const remedy = "write a number with its unit, such as 500kbit/s, 2Mbit/s or 1.5Gbit/s, or 0 for no limit"
	for _, unit := range bandwidthUnits {
		number, found := strings.CutSuffix(v.text, unit.name)
		if !found {
			continue
		}
		number = strings.TrimSuffix(number, " ")
		n, ok := new(big.Rat).SetString(number)
		if !ok || strings.Trim(number, "0123456789.") != "" {
			break
		}
		n.Mul(n, new(big.Rat).SetInt64(unit.bits))
		switch {
		case !n.IsInt():
			return wrong(fmt.Sprintf("%q is not a whole number of bits", v.text), remedy)
		case n.Sign() == 0, n.Cmp(new(big.Rat).SetInt64(allocation.MaxBandwidth)) > 0:
			return wrong(fmt.Sprintf("%q is not between 1bit/s and 100Gbit/s", v.text), remedy)
		}
		*to = n.Num().Int64()
		return nil
	}
	return wrong(fmt.Sprintf("%q is not a bandwidth", v.text), remedy)
}
