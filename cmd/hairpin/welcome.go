package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"math/big"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay"
)

// What a user is made of when nobody configured credentials: 24 characters of 62 are 142 bits.
const (
	madeName       = "hairpin"
	passwordLength = 24
	passwordLetter = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// makeUser makes the user of a first start. It lives as long as the process.
func makeUser() *auth.User {
	password := make([]byte, passwordLength)
	letters := big.NewInt(int64(len(passwordLetter)))
	for i := range password {
		n, err := rand.Int(rand.Reader, letters)
		if err != nil {
			panic(err) // crypto/rand ends the program by itself before it ever fails
		}
		password[i] = passwordLetter[n.Int64()]
	}
	return &auth.User{Name: madeName, Password: string(password)}
}

// welcome prints, once, all that somebody needs who has just started a server without any setting.
func welcome(w io.Writer, u auth.User, server *relay.Server) {
	listeners := server.ListenerInfos()
	fmt.Fprintf(w, "No credentials are configured, so one user was made. It ends with this process.\n\n")
	fmt.Fprintf(w, "  user      %s\n  password  %s\n\n", u.Name, u.Password)

	fmt.Fprintf(w, "For new RTCPeerConnection(…):\n\n")
	config := auth.ICEConfig{ICEServers: []auth.ICEServer{{URLs: server.ICEURLs(), Username: u.Name, Credential: u.Password}}}
	if err := printJSON(w, config); err != nil {
		return // nobody reads
	}

	fmt.Fprintf(w, "\nTo try it from another terminal:\n\n  %s\n\n", probeLine(programPath(), u, server))

	for _, l := range listeners {
		fmt.Fprintf(w, "  listening  %s  clients connect to %s\n", l.Name, l.Public)
	}
	fmt.Fprintf(w, "  relaying   between clients of this server only, relayed addresses: %s\n\n", spellPrefixes(server.RelayPrefixes()))
}

// probeLine is a command that works when it is pasted into a shell on this host.
func probeLine(program string, u auth.User, server *relay.Server) string {
	line := []string{quote(program), "probe", "--user", quote(u.Name), "--password", quote(u.Password)}
	if !slices.ContainsFunc(server.RelayPrefixes(), func(p netip.Prefix) bool { return p.Addr().Is4() }) {
		line = append(line, "--family", "6") // IPv4 is what a client gets that asks for none (RFC 8656 §7.2)
	}
	listeners := server.ListenerInfos()
	first := listeners[0]
	if plain := slices.IndexFunc(listeners, func(l relay.ListenerInfo) bool { return !relay.NeedsCertificate(l.Scheme) }); plain >= 0 {
		first = listeners[plain]
	} else if relay.ICETransports(first.Scheme)[0].Secure {
		line = append(line, "--insecure") // the certificate need not name an address that this host knows
	}
	line = append(line, quote(turnURL(fromHere(first), first.Scheme)))
	return strings.Join(line, " ")
}

// fromHere is an address at which this host itself reaches a listener: the public one, unless that belongs to a NAT or
// load balancer, which need not let its own hosts in.
func fromHere(l relay.ListenerInfo) netip.AddrPort {
	bound := l.Address.Addr()
	switch {
	case !bound.IsUnspecified():
		return l.Address
	case slices.Contains(relay.HostAddresses(), l.Public.Addr()):
		return l.Public
	case bound.Is4():
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), l.Address.Port())
	}
	return netip.AddrPortFrom(netip.IPv6Loopback(), l.Address.Port())
}

// programPath is how to call this program from anywhere: by its name when the shell finds it so, else by its path.
func programPath() string {
	own, err := os.Executable()
	if err != nil {
		own = os.Args[0]
	}
	name := filepath.Base(os.Args[0])
	if found, err := exec.LookPath(name); err == nil && sameFile(found, own) {
		return name
	}
	if absolute, err := filepath.Abs(os.Args[0]); err == nil && sameFile(absolute, own) {
		return absolute // as it was called, symbolic links and all
	}
	return own
}

func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// quote makes a word safe to paste into a shell. "?" and "[" are patterns there.
func quote(word string) string {
	const plain = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz%+,-./:=@_"
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

func spellPrefixes(prefixes []netip.Prefix) string {
	texts := make([]string, len(prefixes))
	for i, p := range prefixes {
		texts[i] = spellPrefix(p)
	}
	return strings.Join(texts, ", ")
}
