package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// tooLong is one character more than an attribute may have.
var tooLong = strings.Repeat("x", maxText+1)

// Each wrong value of a flag is answered with exactly its line.
func TestWrongValue(t *testing.T) {
	for _, test := range []struct{ flag, text, answer string }{
		{"listen", ":3478", `":3478" is not a URL; write udp://HOST:PORT or tcp://HOST:PORT`},
		{"listen", "http://:80", `"http://:80" has an unknown scheme; write udp://, tcp://, tls://, tcp+tls:// or dtls://`},
		{"listen", "UDP://:3478", `"UDP://:3478" has an unknown scheme; write udp://, tcp://, tls://, tcp+tls:// or dtls://`},
		{"listen", "tls://", `"tls://" has no port; write tls://HOST:PORT, such as tls://:5349`},
		{"listen", "tcp://:3478?proxy=v1", `"tcp://:3478?proxy=v1": "proxy=v1" after the question mark is not known; write ?proxy=v2 or nothing`},
		{"listen", "dtls://:5349?proxy=v2", `"dtls://:5349?proxy=v2": PROXY headers are not taken ahead of DTLS; leave ?proxy=v2 out, or write udp://, tcp://, tls:// or tcp+tls://`},
		{"tls-cert", "", `is empty; name a file or leave it out`},
		{"proxy-trusted", "balancer", `"balancer" is neither a prefix nor an address; write one, such as 10.0.0.0/24 or 2001:db8::5`},
		{"proxy-trusted", "10.0.0.1/24", `"10.0.0.1/24" has bits set behind its length; write 10.0.0.0/24, or the address alone`},
		{"proxy-trusted", "::/0", `"::/0" would let anybody write any address; name the load balancers`},
		{"listen", "udp://", `"udp://" has no port; write udp://HOST:PORT, such as udp://:3478`},
		{"listen", "udp://192.0.2.1", `"udp://192.0.2.1" has no port; write udp://192.0.2.1:3478`},
		{"listen", "udp://::1", `"udp://::1" has no port; write udp://[::1]:3478`},
		{"listen", "udp://fe80::x:3478", `"udp://fe80::x:3478" has no port; put an IPv6 address in brackets, such as udp://[::1]:3478`},
		{"listen", "udp://[::1]3478", `"udp://[::1]3478" has no port; put an IPv6 address in brackets, such as udp://[::1]:3478`},
		{"listen", "udp://:0", `"udp://:0": "0" is not a port; write a number from 1 to 65535`},
		{"listen", "udp://:65536", `"udp://:65536": "65536" is not a port; write a number from 1 to 65535`},
		{"listen", "udp://:3478/", `"udp://:3478/": "3478/" is not a port; write a number from 1 to 65535`},
		{"listen", "udp://localhost:3478", `"udp://localhost:3478": "localhost" is not an IP address, and names are not looked up; write an IP address of this host, or udp://:3478 for all of them`},
		{"listen", "udp://[::ffff:192.0.2.1]:3478", `"::ffff:192.0.2.1" is an IPv4 address in IPv6 clothes; write 192.0.2.1`},
		{"listen", "udp://[192.0.2.1]:3478", `"udp://[192.0.2.1]:3478" has an IPv4 address in brackets; write udp://192.0.2.1:3478`},
		{"listen", "udp://224.0.0.1:3478", `"udp://224.0.0.1:3478": 224.0.0.1 is a multicast address; write an IP address of this host`},
		{"public-address", "turn.example.org", `"turn.example.org" is not an IP address; write one, such as 192.0.2.1 or 2001:db8::1`},
		{"public-address", "0.0.0.0", `clients cannot connect to "0.0.0.0"; write the address of one host`},
		{"public-address", "ff02::1", `clients cannot connect to "ff02::1"; write the address of one host`},
		{"public-address", "2001:db8::1%eth0", `"2001:db8::1%eth0" has a zone, which belongs to link-local addresses only; write 2001:db8::1`},
		{"relay-address", "10.0.0", `"10.0.0" is not an IP address; write one, such as 192.0.2.1 or 2001:db8::1`},
		{"relay-address", "10.0.0.1=x", `"x" is not an IP address; write one, such as 192.0.2.1 or 2001:db8::1`},
		{"relay-address", "10.0.0.1=::1", `"10.0.0.1" and "::1" are of different IP versions; write the address of this host that a 1:1 NAT translates into the first one`},
		{"relay-address", "10.0.0.1=0.0.0.0", `"0.0.0.0" is no address of a host; write the address of this host that a 1:1 NAT translates into the first one`},
		{"relay-address", "10.0.0.0/24=10.1.0.1", `"10.0.0.0/24" is not an IP address; write one, such as 192.0.2.1 or 2001:db8::1`},
		{"relay-address", "10.0.0.1/24", `"10.0.0.1/24" has bits set behind its length; write 10.0.0.0/24, or the address alone`},
		{"relay-address", "10.0.0.0/33", `"10.0.0.0/33" is not a prefix; write one, such as 192.0.2.0/24 or 2001:db8::/64`},
		{"relay-address", "0.0.0.0/0", `"0.0.0.0/0" holds unspecified addresses; write a unicast address or prefix`},
		{"relay-address", "::", `"::" holds unspecified addresses; write a unicast address or prefix`},
		{"relay-address", "239.1.0.0/16", `"239.1.0.0/16" holds multicast addresses; write a unicast address or prefix`},
		{"relay-address", "255.255.255.255", `"255.255.255.255" holds broadcast addresses; write a unicast address or prefix`},
		{"relay-address", "fe80::1%eth0", `"fe80::1%eth0" has a zone; write an address that means the same everywhere`},
		{"relay-ports", "50000", `"50000" is not a range of ports; write MIN-MAX, such as 49152-65535`},
		{"relay-ports", "60000-50000", `"60000-50000" begins above its end; write 50000-60000`},
		{"relay-ports", "1023-2000", `"1023-2000" holds well-known ports, which a relay should not hand out (RFC 8656 §7.2); begin at 1024 or above`},
		{"relay-ports", "50000-65536", `"50000-65536" is not a range of ports; write MIN-MAX with ports from 1024 to 65535, such as 49152-65535`},
		{"relay-cooldown", "0s", `"0s" is too short; write 1s or more, such as 30s`},
		{"peers", "10.0.0.1/8", `"10.0.0.1/8" has bits set behind its length; write 10.0.0.0/8, or the address alone`},
		{"peers", "relay.example:80", `"relay.example" is a name, not an address; write dns:relay.example:80`},
		{"peers", "all", `"all" is not a rule; write loop, CIDR, CIDR:PORTS, !CIDR, !CIDR:PORTS, dns:NAME or dns:NAME:PORTS`},
		{"peers-file", "", `is empty; name a file or leave it out`},
		{"peers-file", "/dev/zero", `"/dev/zero" cannot be used: it is not a regular file; name a file that can be read, with one rule in a line`},
		{"realm", "", `is empty; write a name such as example.org`},
		{"realm", `a"b`, `"a\"b" contains a quotation mark or a backslash; write it without`},
		{"realm", "a\nb", `"a\nb" contains a control character; write it without`},
		{"realm", tooLong, `has 128 characters; write 127 or fewer (RFC 8489)`},
		{"user", "alice", `there is no ':'; write NAME:PASSWORD or NAME:0xHEX`},
		{"user", ":swordfish", `the user name is empty; write NAME:PASSWORD`},
		{"user", "alice:", `user "alice": the password is empty; write NAME:PASSWORD or NAME:0xHEX; commas part the users in the environment`},
		{"users-file", "", `is empty; name a file or leave it out`},
		{"secret", "", `is empty; write a long random text or leave it out`},
		{"secret", "swordfish\n", `begins or ends with white space; remove it; often it is a line end from a file`},
		{"secret", "sword\tfish", `contains a control character; write it without`},
		{"password-algorithms", "sha1", `"sha1" is not a password algorithm; write sha256,md5 or md5,sha256 or sha256 or md5`},
		{"password-algorithms", "md5,md5", `"md5" is given twice; write sha256,md5 or md5,sha256 or sha256 or md5`},
		{"password-algorithms", "", `"" is not a password algorithm; write sha256,md5 or md5,sha256 or sha256 or md5`},
		{"oauth-keys-file", "/does/not/exist", `cannot use "/does/not/exist": no such file or directory; correct it`},
		{"oauth-server-name", "", `is empty; write a name or leave it out`},
		{"oauth-server-name", tooLong, `has 128 characters; write 127 or fewer (RFC 8489)`},
		{"nonce-secret", "\xff", `is not UTF-8; write it in UTF-8, for example as base64`},
		{"nonce-lifetime", "60", `"60" is not a duration; write a number with its unit, such as 1h`},
		{"nonce-lifetime", "-1h", `"-1h" is too short; write 1s or more, such as 1h`},
		{"user-quota", "-1", `"-1" is not a number from 0 to 2147483647; write one in decimal digits`},
		{"total-quota", "1e3", `"1e3" is not a number from 0 to 2147483647; write one in decimal digits`},
		{"nat-discovery-address", "203.0.113.11:0", `"0" is not a port; write a number from 1 to 65535`},
		{"nat-discovery-address", "nat.example", `"nat.example" is not an IP address; write one, such as 192.0.2.1 or 2001:db8::1`},
		{"nat-discovery-address", "203.0.113.11", `no udp listener has an IPv4 address of its own; give one, such as --listen udp://192.0.2.1:3478`},
		{"redirect-at", "-1", `"-1" is not a number from 0 to 2147483647; write one in decimal digits`},
		{"unauthenticated-rate", "1k", `"1k" is not a number from 0 to 2147483647; write one in decimal digits`},
		{"unauthenticated-bytes", "64KiB", `"64KiB" is not a number from 0 to 2147483647; write one in decimal digits`},
		{"failed-logins", "-1", `"-1" is not a number from 0 to 2147483647; write one in decimal digits`},
		{"max-bandwidth", "2", `"2" is not a bandwidth; write a number with its unit, such as 500kbit/s, 2Mbit/s or 1.5Gbit/s, or 0 for no limit`},
		{"max-bandwidth", "2MB/s", `"2MB/s" is not a bandwidth; write a number with its unit, such as 500kbit/s, 2Mbit/s or 1.5Gbit/s, or 0 for no limit`},
		{"max-bandwidth", "-2Mbit/s", `"-2Mbit/s" is not a bandwidth; write a number with its unit, such as 500kbit/s, 2Mbit/s or 1.5Gbit/s, or 0 for no limit`},
		{"user-bandwidth", "1/3Mbit/s", `"1/3Mbit/s" is not a bandwidth; write a number with its unit, such as 500kbit/s, 2Mbit/s or 1.5Gbit/s, or 0 for no limit`},
		{"user-bandwidth", "1.5bit/s", `"1.5bit/s" is not a whole number of bits; write a number with its unit, such as 500kbit/s, 2Mbit/s or 1.5Gbit/s, or 0 for no limit`},
		{"user-bandwidth", "101Gbit/s", `"101Gbit/s" is not between 1bit/s and 100Gbit/s; write a number with its unit, such as 500kbit/s, 2Mbit/s or 1.5Gbit/s, or 0 for no limit`},
		{"enforce-expiry", "yes", `"yes" is neither on nor off; write true or false`},
		{"admin", "9478", `"9478" is not IP:PORT; write for example 127.0.0.1:9478, [::1]:9478, :9478 or off`},
		{"admin", "::1:9478", `"::1:9478" is not IP:PORT; write for example 127.0.0.1:9478, [::1]:9478, :9478 or off`},
		{"admin", "localhost:9478", `"localhost:9478" names a host; write its IP address, such as 127.0.0.1:9478`},
		{"admin", "127.0.0.1:x", `"x" is not a port; write a number from 1 to 65535`},
		{"admin-token", "sword fish", `contains white space or characters outside ASCII; write printable ASCII, for example base64`},
		{"config", "/dev/zero", `cannot read "/dev/zero": it has more than 16 MiB; name a YAML file that can be read`},
		{"admin-token-file", "/dev/zero", `cannot read "/dev/zero": it has more than 16 MiB; name a file that holds the token`},
		{"admin-token-file", "/does/not/exist", `cannot read "/does/not/exist": no such file or directory; name a file that holds the token`},
		{"metrics-allocations", "many", `"many" is not a number from 0 to 2147483647; write one in decimal digits`},
		{"listen", "udp://:3478#", `"udp://:3478#": "#" is not a label; write #NAME, #GATEWAY/NAME or #NAMESPACE/GATEWAY/NAME in printable ASCII`},
		{"listen", "udp://:3478#a/b/c/d", `"udp://:3478#a/b/c/d": "#a/b/c/d" is not a label; write #NAME, #GATEWAY/NAME or #NAMESPACE/GATEWAY/NAME in printable ASCII`},
		{"ice", "8088", `"8088" is not IP:PORT; write for example 127.0.0.1:8088, [::1]:8088, :8088 or off`},
		{"ice", "localhost:8088", `"localhost:8088" names a host; write its IP address, such as 127.0.0.1:8088`},
		{"ice-url", "https://turn.example", `"https://turn.example" is not a TURN URL; write turn:HOST:PORT?transport=udp or …=tcp`},
		{"ice-key", "sword fish", `contains white space or characters outside ASCII; write printable ASCII, for example base64`},
		{"ice-allow-origin", "app.example", `"app.example" is not an origin; write https://HOST or https://HOST:PORT in small letters and without a path, or *`},
		{"ice-allow-origin", "https://app.example/", `"https://app.example/" is not an origin; write https://HOST or https://HOST:PORT in small letters and without a path, or *`},
		{"ice-max-ttl", "0s", `"0s" is too short; write 1s or more, such as 24h`},
		{"ice-rate", "fast", `"fast" is not a number from 0 to 2147483647; write one in decimal digits`},
		{"software", tooLong, `has 128 characters; write 127 or fewer (RFC 8489)`},
		{"workers", "-1", `"-1" is not a number from 0 to 2147483647; write one in decimal digits`},
		{"events", "ftp://u:swordfish@a/", `is no URL that lines can be posted to; write https://HOST:PORT/PATH, the path of a file, or stdout`},
		{"offload", "gro,tso", `"tso" is not an offload; write gro,gso or gro or gso or off`},
		{"offload", "gso,off", `"off" is not an offload; write gro,gso or gro or gso or off`},
		{"offload", "gro,gro", `"gro" is given twice; write gro,gso or gro or gso or off`},
		{"drain-timeout", "-1s", `"-1s" is too short; write 0s or more, such as 1h`},
		{"alternate-server", "", `"" is not an IP address; write one, such as 192.0.2.1 or [2001:db8::1]:3478, or dns:NAME`},
		{"alternate-server", "192.0.2.1:0", `"192.0.2.1:0": "0" is not a port; write a number from 1 to 65535`},
		{"alternate-server", "192.0.2.256", `"192.0.2.256" is not an IP address; write one, such as 192.0.2.1 or [2001:db8::1]:3478, or dns:NAME`},
		{"alternate-server", "[192.0.2.1]:3478", `"[192.0.2.1]:3478" is not an IP address; write one, such as 192.0.2.1 or [2001:db8::1]:3478, or dns:NAME`},
		{"alternate-server", "[2001:db8::1", `"[2001:db8::1" is not an IP address; write one, such as 192.0.2.1 or [2001:db8::1]:3478, or dns:NAME`},
		{"alternate-server", "relay.example:3478", `"relay.example:3478" is not an IP address; write dns:relay.example:3478 to have it looked up`},
		{"alternate-server", "dns:192.0.2.1:99", `"dns:192.0.2.1:99": 192.0.2.1 is no name; write 192.0.2.1:99`},
		{"alternate-server", "dns:", `"dns:": the name is empty; write dns:NAME or dns:NAME:PORT, such as dns:relays.example.org`},
		{"alternate-server", "dns:re lay", `"dns:re lay": the name holds other characters than letters, digits, - and _ (names in other scripts are written in their xn-- form); write dns:NAME or dns:NAME:PORT, such as dns:relays.example.org`},
		{"alternate-server", "dns:relay:99999", `"dns:relay:99999": "99999" is not a port; write a number from 1 to 65535`},
		{"alternate-server", "0.0.0.0", `clients cannot connect to "0.0.0.0"; write the address of one host`},
		{"alternate-server", "fe80::1%eth0", `clients cannot connect to "fe80::1%eth0"; write the address of one host`},
		{"alternate-server", "::ffff:192.0.2.1", `"::ffff:192.0.2.1" is an IPv4 address in IPv6 clothes; write 192.0.2.1`},
		{"log-level", "verbose", `"verbose" is not a level; write trace, debug, info, warn or error`},
		{"log-format", "xml", `"xml" is not a format; write text or json`},
		{"config", "/does/not/exist", `cannot read "/does/not/exist": no such file or directory; name a YAML file that can be read`},
	} {
		t.Run(test.flag+" "+test.text, func(t *testing.T) {
			got := hairpin(t, "serve", "--"+test.flag+"="+test.text)
			got.want(t, exitUsage, "", "--"+test.flag+": "+test.answer+"\n")
			if strings.Contains(got.stderr, "swordfish") {
				t.Error("the answer tells the secret")
			}
		})
	}
}

func manyAlternates(n int) string {
	var line strings.Builder
	for i := range n {
		fmt.Fprintf(&line, " --alternate-server 10.0.0.%d", i+1)
	}
	return line.String()
}

// What is wrong with several values that are good one by one.
func TestWrongCombination(t *testing.T) {
	for _, test := range []struct {
		name, line, answer string
	}{
		{"twice", "--realm a --realm b", `--realm: is given more than once; give it once`},
		{"same listener", "--listen udp://:1 --listen udp://:1", `--listen: "udp://:1" is given twice; remove one`},
		{"same listener spelt otherwise", "--listen udp://[::1]:1 --listen udp://[0:0::1]:1", `--listen: "udp://[::1]:1" is given twice; remove one`},
		{"any and one", "--listen tcp://:1 --listen tcp://192.0.2.1:1", `--listen: "tcp://192.0.2.1:1" overlaps "tcp://:1"; remove one, or change its port`},
		{"any and IPv6 wildcard", "--listen tcp://[::]:1 --listen tcp://:1", `--listen: "tcp://:1" overlaps "tcp://[::]:1"; remove one, or change its port`},
		{"IPv4 wildcard and one", "--listen udp://192.0.2.1:1 --listen udp://0.0.0.0:1", `--listen: "udp://0.0.0.0:1" overlaps "udp://192.0.2.1:1"; remove one, or change its port`},
		{"admin on a listener", "--listen tcp://:9000 --admin 127.0.0.1:9000", `--admin: "tcp://:9000" and the admin address 127.0.0.1:9000 overlap; change the port of one of them`},
		{"listener on the default admin", "--listen tcp://:9478", `--listen: "tcp://:9478" and the admin address 127.0.0.1:9478 overlap; change the port of one of them`},
		{"ICE service on a listener", "--listen tcp://:9000 --ice 127.0.0.1:9000", `--ice: "tcp://:9000" and the ICE address 127.0.0.1:9000 overlap; change the port of one of them`},
		{"ICE service on the admin address", "--ice 127.0.0.1:9478", `--ice: "tcp://127.0.0.1:9478" and the ICE address 127.0.0.1:9478 overlap; change the port of one of them`},
		{"passwords for everybody", "--user a:b --ice :8088", `--ice: would hand out the passwords of static users to whoever can connect to [::]:8088; give a secret for ephemeral credentials, an --ice-key, or a loopback address`},
		{"URL twice", "--ice-url turn:a --ice-url turn:a", `--ice-url: "turn:a" is given twice; remove one`},
		{"none beside a listener", "--listen none --listen udp://:1 --ice 127.0.0.1:1 --secret s --public-address 192.0.2.1", `--listen: is none and something beside it; write one of them`},
		{"nothing at all", "--listen none --secret s", `--listen: is none, and there is no ICE service either; give --ice IP:PORT, or a listener`},
		{"nowhere to go", "--listen none --ice 127.0.0.1:1 --secret s", `--listen: is none, so nobody knows where to send clients; give --ice-url, or --public-address for port 3478 there`},
		{"nothing to hand out", "--listen none --ice 127.0.0.1:1 --ice-url turn:a", `--listen: is none, and there are no credentials to hand out; give the secret that the relays have`},
		{"two of one version", "--public-address 192.0.2.1 --public-address 192.0.2.2", `--public-address: 192.0.2.2 is a second address of its IP version, after 192.0.2.1; give at most one IPv4 and one IPv6 address`},
		{"overlapping prefixes", "--relay-address 192.0.2.0/24 --relay-address 192.0.2.7", `--relay-address: "192.0.2.7" overlaps 192.0.2.0/24; remove one`},
		{"peer rule twice", "--peers loop --peers loop", `--peers: "loop" is given twice; remove one`},
		{"peers allowed and denied", "--peers 10.1.0.0/16 --peers !10.0.0.0/8", `--peers: "!10.0.0.0/8" denies all that "10.1.0.0/16" allows; remove one, or deny a part of it`},
		{"peers denied only", "--peers !10.0.0.0/8", `--peers: "!10.0.0.0/8" and all other rules deny, so that clients could reach nobody; add loop, or a rule that allows something`},
		{"alternate server twice", "--alternate-server [192.0.2.1 --alternate-server 192.0.2.1 --alternate-server 192.0.2.1:3478", `--alternate-server: "[192.0.2.1" is not an IP address; write one, such as 192.0.2.1 or [2001:db8::1]:3478, or dns:NAME
--alternate-server: "192.0.2.1:3478" is given twice; remove one`},
		{"too many alternate servers", manyAlternates(65), `--alternate-server: "10.0.0.65" is one too many: there may be 64; write dns:NAME with a name that stands for all`},
		{"user twice", "--user a:1 --user a:2", `--user: user "a" is given twice; remove one`},
		{"secret twice", "--secret a --secret a", `--secret: is given twice; remove one`},
		{"two tokens", "--admin-token a --admin-token-file /dev/null", `--admin-token-file: is given together with admin-token; give one of them`},
		{"empty token file", "--admin-token-file /dev/null", `--admin-token-file: the token in "/dev/null" is empty; write a random text or leave it out`},
	} {
		t.Run(test.name, func(t *testing.T) {
			hairpin(t, append([]string{"serve"}, strings.Fields(test.line)...)...).want(t, exitUsage, "", test.answer+"\n")
		})
	}
}

// What goes together though it looks alike.
func TestGoodCombination(t *testing.T) {
	for _, line := range []string{
		"--listen udp://:1 --listen tcp://:1 --listen udp://:2",
		"--listen udp://0.0.0.0:1 --listen udp://[::]:1",
		"--listen udp://192.0.2.1:1 --listen udp://192.0.2.2:1 --listen udp://[2001:db8::1]:1",
		"--listen udp://[fe80::1%eth0]:1",
		"--listen udp://:9478",
		"--listen tcp://:9478 --admin off",
		"--listen tcp://192.0.2.1:9478",
		"--public-address 192.0.2.1 --public-address 2001:db8::1",
		"--relay-address 127.0.0.1 --relay-address ::1 --relay-address 2001:db8::/64",
		"--relay-ports 1024-65535",
		"--user a:b:c --user b:0x000102030405060708090a0b0c0d0e0f --secret x --secret y",
		"--admin :9478",
		"--admin [::1]:9478 --admin-token x",
		"--realm föhn --software hairpin --log-level trace --log-format json",
		"--peers loop --drain-timeout 0s",
		"--peers loop --peers 10.0.0.0/8:5000-6000 --peers [2001:db8::/32]:80 --peers dns:relays --peers !10.1.0.0/16",
		"--alternate-server 192.0.2.1 --alternate-server 192.0.2.1:3479 --alternate-server 2001:db8::1 --alternate-server [2001:db8::2] --alternate-server [2001:db8::3]:9",
		"--alternate-server dns:relays --alternate-server dns:relays.hairpin.svc.cluster.local.:3479 --alternate-server dns:_turn.x-1",
		manyAlternates(64),
		"--ice :8088 --secret s",
		"--ice :8088 --user a:b --ice-key k --ice-key l",
		"--ice 127.0.0.1:8088 --user a:b --ice-allow-origin * --ice-allow-origin http://localhost:8443 --ice-rate 0",
		"--listen none --ice 127.0.0.1:8088 --secret s --ice-url turns:turn.example#far/away/relay",
		"--listen udp://:1#ns/gw/name --listen tcp://:1#name",
	} {
		t.Run(line, func(t *testing.T) {
			got := hairpin(t, append([]string{"config", "print"}, strings.Fields(line)...)...)
			if got.code != exitGood || got.stderr != "" {
				t.Errorf("%d: %s", got.code, got.stderr)
			}
		})
	}
}

// The rules of peers-file and of the settings are judged together, in both ways to start.
func TestPeersFile(t *testing.T) {
	for _, test := range []struct{ content, settings, answer string }{
		{"loop\n10.0.0.0/8 # office\n", "", ""},
		{"", "", ""},
		{"!10.1.0.0/16\n", "peers: [loop, '10.0.0.0/8']\n", ""},
		{"loop\nnonsense\n10.0.0.1/8", "", "peers:2: \"nonsense\" is not a rule; write loop, CIDR, CIDR:PORTS, !CIDR, !CIDR:PORTS, dns:NAME or dns:NAME:PORTS\n" +
			"peers:3: \"10.0.0.1/8\" has bits set behind its length; write 10.0.0.0/8, or the address alone\n"},
		{"\n10.1.0.0/16", "peers:\n  - '!10.0.0.0/8'\n  - loop\n", "peers:2: \"10.1.0.0/16\" is wholly denied by \"!10.0.0.0/8\"; remove one, or deny a part of it\n"},
		{"loop", "peers:\n  - 10.0.0.0/8\n  - 10.0.0.0/8\n", "hairpin.yaml:4: peers: \"10.0.0.0/8\" is given twice; remove one\n"},
	} {
		writeFile(t, "peers-file: peers\n"+test.settings)
		write(t, "peers", test.content)
		code := exitGood
		if test.answer != "" {
			code = exitUsage
		}
		if got := hairpin(t, "config", "check", "hairpin.yaml"); got.code != code || got.stderr != test.answer {
			t.Errorf("%q: %d, %s", test.content, got.code, got.stderr)
		}
		if got := hairpin(t, "config", "print", "--config", "hairpin.yaml"); got.code != code || got.stderr != test.answer {
			t.Errorf("%q: %d, %s", test.content, got.code, got.stderr)
		}
	}
}

// writeFile puts a settings file into a directory of its own and makes that the working directory.
func writeFile(t *testing.T, content string) {
	t.Helper()
	t.Chdir(t.TempDir())
	write(t, "hairpin.yaml", content)
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWrongFile(t *testing.T) {
	for _, test := range []struct{ name, content, answer string }{
		{"unknown key", "realm: x\nlissten: udp://:1\n", "hairpin.yaml:2: lissten: is not a known key; did you mean listen?\n"},
		{"unknown key, nothing near", "no-auth: true\n", "hairpin.yaml:1: no-auth: is not a known key; \"hairpin config reference\" lists them\n"},
		{"config in itself", "config: x\n", "hairpin.yaml:1: config: is not a known key; give it as a flag or in the environment\n"},
		{"wrong value in a list", "listen:\n  - udp://:1\n  - sctp://:1\n", "hairpin.yaml:3: listen: \"sctp://:1\" has an unknown scheme; write udp://, tcp://, tls://, tcp+tls:// or dtls://\n"},
		{"wrong number", "\n\nworkers: lots\n", "hairpin.yaml:3: workers: \"lots\" is not a number from 0 to 2147483647; write one in decimal digits\n"},
		{"key twice", "realm: a\nrealm: b\n", "hairpin.yaml:2: realm: is given a second time, first in line 1; give it once\n"},
		{"no value", "realm:\n", "hairpin.yaml:1: realm: has no value; give one or leave the key out\n"},
		{"empty list", "listen: []\n", "hairpin.yaml:1: listen: is an empty list; give a value or leave the key out\n"},
		{"list for one", "realm: [a]\n", "hairpin.yaml:1: realm: is a list; give one value\n"},
		{"structure", "user:\n  - alice: swordfish\n", "hairpin.yaml:2: user: is a structure, not a text; put the value in quotes, on the key's line\n"},
		{"structure for one", "realm: {a: b}\n", "hairpin.yaml:1: realm: is a structure, not a text; put the value in quotes, on the key's line\n"},
		{"not a mapping", "- realm\n", "hairpin.yaml:1: file: is not a list of settings; write lines of the form \"KEY: VALUE\"\n"},
		{"second document", "realm: a\n---\nrealm: b\n", "hairpin.yaml:2: ---: begins a second document; keep all settings in one\n"},
		{"no YAML", "realm: a\n  b: c\n", "hairpin.yaml:2: is not YAML: mapping values are not allowed in this context; put values with special characters in quotes\n"},
		{"across keys", "listen: [\"udp://:1\", \"udp://192.0.2.1:1\"]\nadmin-token: a\nadmin-token-file: b\n",
			"hairpin.yaml:1: listen: \"udp://192.0.2.1:1\" overlaps \"udp://:1\"; remove one, or change its port\n" +
				"hairpin.yaml:3: admin-token-file: is given together with admin-token; give one of them\n"},
		{"all together", "lissten: x\nrealm: \"\"\nuser: bob\nlog-level: loud\n",
			"hairpin.yaml:1: lissten: is not a known key; did you mean listen?\n" +
				"hairpin.yaml:2: realm: is empty; write a name such as example.org\n" +
				"hairpin.yaml:3: user: there is no ':'; write NAME:PASSWORD or NAME:0xHEX\n" +
				"hairpin.yaml:4: log-level: \"loud\" is not a level; write trace, debug, info, warn or error\n"},
		{"users file that is not there", "users-file: missing\n",
			"hairpin.yaml:1: users-file: cannot use \"missing\": no such file or directory; name a file that can be read, with one entry in a line\n"},
		{"empty users file", "users-file: empty\n",
			"hairpin.yaml:1: users-file: holds no credentials; write at least one line, or leave the file out and one user is made\n"},
		{"wrong line in a users file", "users-file: wrong\n",
			"wrong:2: there is no ':'; write NAME:PASSWORD or NAME:0xHEX\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			writeFile(t, test.content)
			write(t, "empty", "# nobody\n")
			write(t, "wrong", "alice:swordfish\nswordfish\n")
			hairpin(t, "config", "check", "hairpin.yaml").want(t, exitUsage, "", test.answer)
			hairpinHere("serve", "--config", "hairpin.yaml").want(t, exitUsage, "", test.answer)
		})
	}
}

func TestGoodFile(t *testing.T) {
	const noCredentials = "hairpin.yaml: good; it holds no credentials, so serve makes one user at start unless flags or the environment give some\n"
	for _, test := range []struct{ name, content, answer string }{
		{"empty", "", noCredentials},
		{"comments only", "# nothing\n", noCredentials},
		{"one value for a list", "listen: udp://:1\nuser: a:b\n", "hairpin.yaml: good\n"},
		{"numbers as texts", "secret: 0123\nrealm: 1.50\n", "hairpin.yaml: good\n"},
		{"anchors", "realm: &r x\nsecret: [*r]\n", "hairpin.yaml: good\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			writeFile(t, test.content)
			hairpin(t, "config", "check", "hairpin.yaml").want(t, exitGood, test.answer, "")
		})
	}
}

// config check reads the file by itself.
func TestCheckIgnoresEnvironment(t *testing.T) {
	writeFile(t, "secret: x\n")
	clearEnvironment(t)
	t.Setenv("HAIRPIN_LISTEN", "nonsense")
	hairpinHere("config", "check", "hairpin.yaml").want(t, exitGood, "hairpin.yaml: good\n", "")
}

// Flag > environment > file > default, and config print says which it was.
func TestPrecedence(t *testing.T) {
	writeFile(t, "realm: file\nlisten: [udp://:1, tcp://:1]\nuser: 'alice:swordfish'\nworkers: 7\n")
	for _, test := range []struct {
		name  string
		env   map[string]string
		flags string
		want  []string
	}{
		{"default", nil, "", []string{"realm: hairpin # default", "listen: # default\n  - udp://:3478\n  - tcp://:3478", "workers: 0 # default"}},
		{"file", nil, "--config hairpin.yaml", []string{"realm: file # hairpin.yaml:1", "listen: # hairpin.yaml:2\n  - udp://:1\n  - tcp://:1", "workers: 7 # hairpin.yaml:4"}},
		{"file named by the environment", map[string]string{"HAIRPIN_CONFIG": "hairpin.yaml"}, "", []string{"realm: file # hairpin.yaml:1"}},
		{"environment before file", map[string]string{"HAIRPIN_REALM": "env", "HAIRPIN_LISTEN": "udp://:2,udp://:3"}, "--config hairpin.yaml",
			[]string{"realm: env # HAIRPIN_REALM", "listen: # HAIRPIN_LISTEN\n  - udp://:2\n  - udp://:3\n", "workers: 7 # hairpin.yaml:4"}},
		{"flag before environment", map[string]string{"HAIRPIN_REALM": "env", "HAIRPIN_LISTEN": "nonsense"}, "--config hairpin.yaml --realm flag --listen udp://:4",
			[]string{"realm: flag # --realm", "listen: # --listen\n  - udp://:4\n"}},
		{"empty variable", map[string]string{"HAIRPIN_REALM": ""}, "--config hairpin.yaml", []string{"realm: file # hairpin.yaml:1"}},
		{"switch", map[string]string{"HAIRPIN_ENFORCE_EXPIRY": "true"}, "", []string{"enforce-expiry: true # HAIRPIN_ENFORCE_EXPIRY"}},
		{"switch against the environment", map[string]string{"HAIRPIN_ENFORCE_EXPIRY": "true"}, "--enforce-expiry=false", []string{"enforce-expiry: false # --enforce-expiry"}},
		{"secrets", map[string]string{"HAIRPIN_SECRET": "swordfish,swordfish2"}, "--config hairpin.yaml --admin-token swordfish --nonce-secret swordfish", []string{
			"user: # hairpin.yaml:3\n  - alice:(hidden)\n", "secret: # HAIRPIN_SECRET\n  - (hidden)\n  - (hidden)\n",
			"admin-token: (hidden) # --admin-token", "nonce-secret: (hidden) # --nonce-secret"}},
		{"secrets of a URL", map[string]string{"HAIRPIN_EVENTS": "https://me:swordfish@collector.example.org:8443/swordfish?key=swordfish"}, "", []string{
			"events: https://collector.example.org:8443/(hidden) # HAIRPIN_EVENTS"}},
		{"a URL without a secret", map[string]string{"HAIRPIN_EVENTS": "http://collector.example.org/"}, "", []string{"events: http://collector.example.org/ # HAIRPIN_EVENTS"}},
		{"a file of events", nil, "--events /var/log/events.jsonl", []string{"events: /var/log/events.jsonl # --events"}},
		{"variables that Kubernetes sets", map[string]string{"HAIRPIN_PORT": "tcp://10.0.0.1:3478", "HAIRPIN_SERVICE_HOST": "10.0.0.1"}, "", []string{"realm: hairpin # default"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			clearEnvironment(t)
			for name, text := range test.env {
				t.Setenv(name, text)
			}
			got := hairpinHere(append([]string{"config", "print"}, strings.Fields(test.flags)...)...)
			if got.code != exitGood {
				t.Fatalf("exit code %d: %s", got.code, got.stderr)
			}
			for _, want := range test.want {
				if !strings.Contains(got.stdout, want) {
					t.Errorf("no %q in\n%s", want, got.stdout)
				}
			}
			if strings.Contains(got.stdout, "swordfish") {
				t.Errorf("a secret in\n%s", got.stdout)
			}
		})
	}
}

// A wrong variable is named as the user knows it.
func TestWrongEnvironment(t *testing.T) {
	clearEnvironment(t)
	t.Setenv("HAIRPIN_RELAY_PORTS", "5-1")
	t.Setenv("HAIRPIN_USER", "alice:pass,word")
	hairpinHere("serve").want(t, exitUsage, "",
		"HAIRPIN_RELAY_PORTS: \"5-1\" begins above its end; write 1-5\n"+
			"HAIRPIN_USER: there is no ':'; write NAME:PASSWORD or NAME:0xHEX\n")
}

// What config print prints is a file that config check finds good: the way from flags to a file.
func TestPrintedSettingsAreAFile(t *testing.T) {
	t.Chdir(t.TempDir())
	odd := []string{"config", "print", "--realm", "yes: #1", "--software", "- [a]", "--relay-address", "2001:db8::/64", "--workers", "3"}
	printed := hairpin(t, odd...)
	write(t, "printed.yaml", printed.stdout)
	again := hairpin(t, "config", "print", "--config", "printed.yaml")
	strip := func(s string) string {
		var lines []string
		for line := range strings.Lines(s) {
			if at := strings.LastIndex(line, " # "); at > 0 {
				line = line[:at] + "\n"
			}
			lines = append(lines, line)
		}
		return strings.Join(lines, "")
	}
	if strip(printed.stdout) != strip(again.stdout) || again.code != exitGood {
		t.Errorf("%s\nbecame\n%s%s", printed.stdout, again.stdout, again.stderr)
	}
}

// The table is whole: every row has what help and reference need.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for i := range settingsTable {
		s := &settingsTable[i]
		switch {
		case seen[s.name]:
			t.Errorf("%s is there twice", s.name)
		case s.parse == nil:
			t.Errorf("%s has no parser", s.name)
		case !s.later && s.usage == "":
			t.Errorf("%s is not explained", s.name)
		case !s.later && !s.onlyOutside && len(s.initial) == 0 && len(s.example) == 0:
			t.Errorf("%s has neither default nor example", s.name)
		case s.name == "port" || strings.HasPrefix(s.name, "service-") || strings.HasPrefix(s.name, "port-"):
			t.Errorf("%s takes a variable of Kubernetes", s.name)
		}
		seen[s.name] = true
	}
}
