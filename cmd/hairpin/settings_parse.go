package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay/events"
	"github.com/hairpin-turn/hairpin/relay/quality"
)

// Parsers turn one text into its typed value, or say what is wrong with it. None corrects anything.

// maxText is how long a realm or a SOFTWARE text may be: "fewer than 128 characters" (RFC 8489 §14.9, §14.14).
const maxText = 127

func parseText(to *string, v value) error {
	*to = v.text
	return nil
}

func parseFileName(to *string, v value) error {
	if v.text == "" {
		return wrong("is empty", "name a file or leave it out")
	}
	*to = v.text
	return nil
}

func parseFileNames(to *[]string, v value) error {
	var name string
	if err := parseFileName(&name, v); err != nil {
		return err
	}
	*to = append(*to, name)
	return nil
}

func parseSwitch(to *bool, v value) error {
	on, err := strconv.ParseBool(v.text)
	if err != nil {
		return wrong(fmt.Sprintf("%q is neither on nor off", v.text), "write true or false")
	}
	*to = on
	return nil
}

func parseCount(to *int, v value) error {
	n, err := strconv.ParseInt(v.text, 10, 32)
	if err != nil || n < 0 {
		return wrong(fmt.Sprintf("%q is not a number from 0 to 2147483647", v.text), "write one in decimal digits")
	}
	*to = int(n)
	return nil
}

func parseDuration(to *time.Duration, v value, least time.Duration, example string) error {
	d, err := time.ParseDuration(v.text)
	if err != nil {
		return wrong(fmt.Sprintf("%q is not a duration", v.text), "write a number with its unit, such as "+example)
	}
	if d < least {
		return wrong(fmt.Sprintf("%q is too short", v.text), fmt.Sprintf("write %s or more, such as %s", least, example))
	}
	*to = d
	return nil
}

// parseAddress reads an IP address that is spelt in the one way that this program uses for it.
func parseAddress(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return a, wrong(fmt.Sprintf("%q is not an IP address", text), "write one, such as 192.0.2.1 or 2001:db8::1")
	case a.Is4In6():
		return a, wrong(fmt.Sprintf("%q is an IPv4 address in IPv6 clothes", text), "write "+a.Unmap().String())
	case a.Zone() != "" && !a.IsLinkLocalUnicast():
		return a, wrong(fmt.Sprintf("%q has a zone, which belongs to link-local addresses only", text), "write "+a.WithZone("").String())
	}
	return a, nil
}

func parsePort(text string) (uint16, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, wrong(fmt.Sprintf("%q is not a port", text), "write a number from 1 to 65535")
	}
	return uint16(port), nil
}

func parsePublicAddress(s *Settings, v value) error {
	a, err := parseAddress(v.text)
	if err != nil {
		return err
	}
	if a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return wrong(fmt.Sprintf("clients cannot connect to %q", v.text), "write the address of one host")
	}
	for _, other := range s.PublicAddress {
		if a.Is4() == other.Is4() {
			return wrong(fmt.Sprintf("%s is a second address of its IP version, after %s", a, other), "give at most one IPv4 and one IPv6 address")
		}
	}
	s.PublicAddress = append(s.PublicAddress, a)
	return nil
}

// neverRelayed are blocks that no relayed transport address can lie in, because no peer can be there.
var neverRelayed = []struct {
	block netip.Prefix
	what  string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("255.255.255.255/32"), "broadcast"},
	{netip.MustParsePrefix("::/128"), "unspecified"},
	{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4-mapped"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

// parseRelayAddress reads an address, a prefix, or ADDRESS=OWN: an address that a 1:1 NAT translates, and that of this
// host which it stands for.
func parseRelayAddress(s *Settings, v value) error {
	if public, own, mapped := strings.Cut(v.text, "="); mapped {
		return parseMappedRelayAddress(s, public, own)
	}
	return addRelayAddress(s, v)
}

func parseMappedRelayAddress(s *Settings, public, own string) error {
	behind, err := parseAddress(own)
	if err != nil {
		return err
	}
	address, err := parseAddress(public)
	switch {
	case err != nil:
		return err
	case address.Is4() != behind.Is4():
		return wrong(fmt.Sprintf("%q and %q are of different IP versions", public, own), "write the address of this host that a 1:1 NAT translates into the first one")
	case behind.IsUnspecified() || behind.IsMulticast():
		return wrong(fmt.Sprintf("%q is no address of a host", own), "write the address of this host that a 1:1 NAT translates into the first one")
	}
	if err := addRelayAddress(s, value{text: public}); err != nil {
		return err
	}
	if s.RelayBind == nil {
		s.RelayBind = make(map[netip.Addr]netip.Addr)
	}
	s.RelayBind[address] = behind
	return nil
}

func addRelayAddress(s *Settings, v value) error {
	var prefix netip.Prefix
	if strings.Contains(v.text, "/") {
		p, err := netip.ParsePrefix(v.text)
		if err != nil {
			return wrong(fmt.Sprintf("%q is not a prefix", v.text), "write one, such as 192.0.2.0/24 or 2001:db8::/64")
		}
		if p != p.Masked() {
			return wrong(fmt.Sprintf("%q has bits set behind its length", v.text), "write "+p.Masked().String()+", or the address alone")
		}
		prefix = p
	} else {
		a, err := parseAddress(v.text)
		if err != nil {
			return err
		}
		if a.Zone() != "" {
			return wrong(fmt.Sprintf("%q has a zone", v.text), "write an address that means the same everywhere")
		}
		prefix = netip.PrefixFrom(a, a.BitLen())
	}
	for _, never := range neverRelayed {
		if prefix.Overlaps(never.block) {
			return wrong(fmt.Sprintf("%q holds %s addresses", v.text, never.what), "write a unicast address or prefix")
		}
	}
	for _, other := range s.RelayAddress {
		if prefix.Overlaps(other) {
			return wrong(fmt.Sprintf("%q overlaps %s", v.text, spellPrefix(other)), "remove one")
		}
	}
	s.RelayAddress = append(s.RelayAddress, prefix)
	return nil
}

// spellPrefix writes a prefix as it is given: a single address without its length.
func spellPrefix(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func parseRelayPorts(s *Settings, v value) error {
	low, high, isRange := strings.Cut(v.text, "-")
	if !isRange {
		return wrong(fmt.Sprintf("%q is not a range of ports", v.text), "write MIN-MAX, such as 49152-65535")
	}
	minimum, errMin := parsePort(strings.TrimSpace(low))
	maximum, errMax := parsePort(strings.TrimSpace(high))
	switch {
	case errMin != nil || errMax != nil:
		return wrong(fmt.Sprintf("%q is not a range of ports", v.text), "write MIN-MAX with ports from 1024 to 65535, such as 49152-65535")
	case minimum > maximum:
		return wrong(fmt.Sprintf("%q begins above its end", v.text), fmt.Sprintf("write %d-%d", maximum, minimum))
	case minimum < 1024:
		return wrong(fmt.Sprintf("%q holds well-known ports, which a relay should not hand out (RFC 8656 §7.2)", v.text), "begin at 1024 or above")
	}
	s.RelayPorts.Min, s.RelayPorts.Max = minimum, maximum
	return nil
}

func parseRealm(s *Settings, v value) error {
	switch {
	case strings.TrimSpace(v.text) == "":
		return wrong("is empty", "write a name such as example.org")
	case strings.ContainsAny(v.text, `"\`):
		return wrong(fmt.Sprintf("%q contains a quotation mark or a backslash", v.text), "write it without")
	}
	if err := checkText(v.text); err != nil {
		return err
	}
	s.Realm = v.text
	return nil
}

func parseSoftware(s *Settings, v value) error {
	if err := checkText(v.text); err != nil {
		return err
	}
	if s.Software = v.text; v.text == "off" {
		s.Software = ""
	}
	return nil
}

// checkText judges a text that goes into an attribute.
func checkText(text string) error {
	switch {
	case !utf8.ValidString(text):
		return wrong(fmt.Sprintf("%q is not UTF-8", text), "write it in UTF-8")
	case strings.ContainsFunc(text, unicode.IsControl):
		return wrong(fmt.Sprintf("%q contains a control character", text), "write it without")
	case utf8.RuneCountInString(text) > maxText:
		return wrong(fmt.Sprintf("has %d characters", utf8.RuneCountInString(text)), fmt.Sprintf("write %d or fewer (RFC 8489)", maxText))
	}
	return nil
}

func parseUser(s *Settings, v value) error {
	u, err := auth.ParseUser(v.text)
	if err != nil {
		return explained(err, "write NAME:PASSWORD or NAME:0xHEX; commas part the users in the environment")
	}
	for _, other := range s.Users {
		if other.Name == u.Name {
			return wrong(fmt.Sprintf("user %q is given twice", u.Name), "remove one")
		}
	}
	s.Users = append(s.Users, u)
	return nil
}

// explained splits an error of package auth, which quotes no secret, into what is wrong and what would be right.
func explained(err error, otherwise string) error {
	text := strings.TrimPrefix(err.Error(), "auth: ")
	what, remedy, found := strings.Cut(text, "; ")
	if strings.Count(what, "(") > strings.Count(what, ")") { // this one parts what stands in brackets
		what, found = text, false
	}
	if !found {
		remedy = otherwise
	}
	return wrong(what, remedy)
}

func parseSecret(s *Settings, v value) error {
	var secret string
	if err := parseSecretText(&secret, v); err != nil {
		return err
	}
	if slices.Contains(s.Secrets, secret) {
		return wrong("is given twice", "remove one")
	}
	s.Secrets = append(s.Secrets, secret)
	return nil
}

// parseSecretText never quotes what it reads.
func parseSecretText(to *string, v value) error {
	switch {
	case v.text == "":
		return wrong("is empty", "write a long random text or leave it out")
	case !utf8.ValidString(v.text):
		return wrong("is not UTF-8", "write it in UTF-8, for example as base64")
	case v.text != strings.TrimSpace(v.text):
		return wrong("begins or ends with white space", "remove it; often it is a line end from a file")
	case strings.ContainsFunc(v.text, unicode.IsControl):
		return wrong("contains a control character", "write it without")
	}
	*to = v.text
	return nil
}

// parseHTTPAddress reads IP:PORT or off, which leaves the address invalid.
func parseHTTPAddress(to *netip.AddrPort, v value, example string) error {
	if v.text == "off" {
		return nil
	}
	host, port, err := splitHostPort(v.text)
	if err != nil {
		_, examplePort, _ := splitHostPort(example)
		return wrong(fmt.Sprintf("%q is not IP:PORT", v.text), fmt.Sprintf("write for example %s, [::1]:%s, :%[2]s or off", example, examplePort))
	}
	number, err := parsePort(port)
	if err != nil {
		return err
	}
	address := netip.IPv6Unspecified() // which net.Listen opens for both families
	if host != "" {
		if _, err := netip.ParseAddr(host); err != nil {
			return wrong(fmt.Sprintf("%q names a host", v.text), "write its IP address, such as "+example)
		}
		if address, err = parseAddress(host); err != nil {
			return err
		}
	}
	*to = netip.AddrPortFrom(address, number)
	return nil
}

func parseAdminToken(s *Settings, v value) error { return checkToken(&s.AdminToken, v.text) }

// checkToken takes what can stand in an Authorization header. It never quotes what it reads.
func checkToken(to *string, text string) error {
	if text == "" {
		return wrong("is empty", "write a random text or leave it out")
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return wrong("contains white space or characters outside ASCII", "write printable ASCII, for example base64")
	}
	*to = text
	return nil
}

func parseOffload(s *Settings, v value) error {
	const remedy = "write gro,gso or gro or gso or off"
	if v.text == "off" {
		return nil
	}
	for name := range strings.SplitSeq(v.text, ",") {
		on := map[string]*bool{"gro": &s.Offload.GRO, "gso": &s.Offload.GSO}[name]
		switch {
		case on == nil:
			return wrong(fmt.Sprintf("%q is not an offload", name), remedy)
		case *on:
			return wrong(fmt.Sprintf("%q is given twice", name), remedy)
		}
		*on = true
	}
	return nil
}

func parseLogLevel(s *Settings, v value) error {
	var names []string
	for _, l := range logLevels {
		if l.name == v.text {
			s.LogLevel = l.level
			return nil
		}
		names = append(names, l.name)
	}
	return wrong(fmt.Sprintf("%q is not a level", v.text), "write "+oneOf(names))
}

func parseLogFormat(s *Settings, v value) error {
	if !slices.Contains(logFormats, v.text) {
		return wrong(fmt.Sprintf("%q is not a format", v.text), "write "+oneOf(logFormats))
	}
	s.LogFormat = v.text
	return nil
}

func oneOf(names []string) string {
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

var errNoPort = errors.New("no port")

// splitHostPort parts HOST:PORT with an IPv6 HOST in brackets. The host comes back without them, and may be empty.
func splitHostPort(text string) (host, port string, err error) {
	if strings.HasPrefix(text, "[") {
		end := strings.Index(text, "]")
		if end < 0 || !strings.HasPrefix(text[end+1:], ":") {
			return "", "", errNoPort
		}
		return text[1:end], text[end+2:], nil
	}
	host, port, found := strings.Cut(text, ":")
	if !found || strings.Contains(port, ":") {
		return "", "", errNoPort
	}
	return host, port, nil
}

func parseQuality(s *Settings, v value) error {
	mode, err := quality.ParseMode(v.text)
	if err != nil {
		return wrong(fmt.Sprintf("%q is no mode", v.text), "write off, sampled or full")
	}
	s.Quality = mode
	return nil
}

func parseEvents(s *Settings, v value) error {
	if err := parseFileName(&s.Events, v); err != nil {
		return err
	}
	if events.Check(s.Events) != nil { // nothing of it: it may hold a password
		return wrong("is no URL that lines can be posted to", "write https://HOST:PORT/PATH, the path of a file, or stdout")
	}
	return nil
}
