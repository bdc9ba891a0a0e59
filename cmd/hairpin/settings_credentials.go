package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hairpin-turn/hairpin/auth"
)

func parseAlgorithms(s *Settings, v value) error {
	const remedy = "write sha256,md5 or md5,sha256 or sha256 or md5"
	var list []auth.Algorithm
	for name := range strings.SplitSeq(v.text, ",") {
		algorithm, ok := map[string]auth.Algorithm{"md5": auth.MD5, "sha256": auth.SHA256}[name]
		switch {
		case !ok:
			return wrong(fmt.Sprintf("%q is not a password algorithm", name), remedy)
		case slices.Contains(list, algorithm):
			return wrong(fmt.Sprintf("%q is given twice", name), remedy)
		}
		list = append(list, algorithm)
	}
	s.Algorithms = list
	return nil
}

func parseServerName(s *Settings, v value) error {
	if v.text == "" {
		return wrong("is empty", "write a name or leave it out")
	}
	if err := checkText(v.text); err != nil {
		return err
	}
	s.ServerName = v.text
	return nil
}
