package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/pion/logging"

	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/secure"
)

func parseProxyTrusted(s *Settings, v value) error {
	prefix, err := netip.ParsePrefix(v.text)
	if err != nil {
		a, addressErr := parseAddress(v.text)
		if addressErr != nil || a.Zone() != "" {
			return wrong(fmt.Sprintf("%q is neither a prefix nor an address", v.text), "write one, such as 10.0.0.0/24 or 2001:db8::5")
		}
		prefix = netip.PrefixFrom(a, a.BitLen())
	}
	switch {
	case prefix.Addr().Is4In6():
		return wrong(fmt.Sprintf("%q is an IPv4 prefix in IPv6 clothes", v.text), "write it as IPv4")
	case prefix != prefix.Masked():
		return wrong(fmt.Sprintf("%q has bits set behind its length", v.text), "write "+prefix.Masked().String()+", or the address alone")
	case prefix.Bits() == 0:
		return wrong(fmt.Sprintf("%q would let anybody write any address", v.text), "name the load balancers")
	}
	s.ProxyTrusted = append(s.ProxyTrusted, prefix)
	return nil
}

// checkSecure finds what listeners lack or name in vain, and reads the certificates. It is for whoever is going to serve:
// who only makes credentials out of the same settings need not be able to read the server's key.
func (s *Settings) checkSecure() faults {
	var found faults
	for _, l := range s.Listen {
		if relay.NeedsCertificate(l.scheme) && len(s.TLSCert) == 0 {
			found = append(found, fault{l.from.String(), fmt.Sprintf("%q needs a certificate", l), "give --tls-cert FILE and --tls-key FILE, or remove the listener"})
		}
		if l.proxy && len(s.ProxyTrusted) == 0 {
			found = append(found, fault{l.from.String(), fmt.Sprintf("%q would refuse everybody: nobody is trusted to send PROXY headers", l), "give --proxy-trusted CIDR, the addresses of the load balancers"})
		}
	}
	if certs, keys := len(s.TLSCert), len(s.TLSKey); certs > 0 && keys > 0 && certs != keys {
		return append(found, fault{s.originOf("tls-key"), fmt.Sprintf("there are %d of tls-cert and %d of tls-key", certs, keys),
			"give one tls-key for each tls-cert in the same order, or none where the key is in the certificate's file"})
	}
	return append(found, s.checkCertificates()...)
}

func (s *Settings) certificates() []secure.Pair {
	var pairs []secure.Pair
	for i, file := range s.TLSCert {
		key := file // which may hold both
		if len(s.TLSKey) > 0 {
			key = s.TLSKey[i]
		}
		pairs = append(pairs, secure.Pair{Certificate: file, Key: key})
	}
	return pairs
}

func (s *Settings) checkCertificates() faults {
	if len(s.certificates()) == 0 {
		return nil
	}
	silent := logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}
	_, err := secure.Load(s.certificates(), silent.NewLogger(""))
	if err == nil {
		return nil
	}
	var found faults
	for _, single := range unjoin(err) {
		place, what := "tls-cert", single.Error()
		if f, ok := errors.AsType[*secure.FileError](single); ok {
			what = fmt.Sprintf("cannot use %q: %s", f.File, f.Err)
			if slices.Contains(s.TLSKey, f.File) && !slices.Contains(s.TLSCert, f.File) {
				place = "tls-key"
			}
		}
		found = append(found, fault{s.originOf(place), what, "name the PEM files of a certificate chain (--tls-cert) and of its private key (--tls-key)"})
	}
	return found
}
