package main

import (
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/hairpin-turn/hairpin/auth"
	"github.com/hairpin-turn/hairpin/relay"
	"github.com/hairpin-turn/hairpin/relay/allocation"
	"github.com/hairpin-turn/hairpin/relay/control"
	"github.com/hairpin-turn/hairpin/relay/peers"
	"github.com/hairpin-turn/hairpin/relay/quality"
	"github.com/hairpin-turn/hairpin/relay/udp"
)

// Settings are what a server runs with, typed and checked. They are only ever made by loadSettings and never changed
// afterwards.
type Settings struct {
	Config string

	Listen        []listener
	ListenNone    bool // Listen is empty on purpose: only credentials are handed out
	TLSCert       []string
	TLSKey        []string // in the order of TLSCert
	ProxyTrusted  []netip.Prefix
	PublicAddress []netip.Addr
	RelayAddress  []netip.Prefix
	RelayBind     map[netip.Addr]netip.Addr // what of this host stands for a relay address behind a NAT
	RelayPorts    allocation.PortRange
	RelayCooldown time.Duration

	Peers     []peers.Rule // empty: loop, or the file's
	PeersFile string
	Loop      bool // some rule is loop

	Realm         string
	Users         []auth.User
	UsersFile     string
	Secrets       []string
	SecretsFile   string
	EnforceExpiry bool
	Algorithms    []auth.Algorithm // by preference
	TokenKeysFile string
	ServerName    string // of access tokens; empty: the realm
	NonceSecret   string
	NonceLifetime time.Duration

	Mobility bool // allocations may move to another address of their client

	UserQuota, TotalQuota       int   // allocations; 0 = no limit
	MaxBandwidth, UserBandwidth int64 // bits/s in each direction; 0 = no limit
	Limits                      control.Limits

	Admin              netip.AddrPort // invalid: off; unspecified address: all interfaces
	AdminToken         string
	AdminTokenFile     string
	MetricsAllocations int

	ICE             netip.AddrPort // as Admin
	ICEURLs         []auth.ICEListener
	ICEKeys         []string
	ICEAllowOrigins []string
	ICEMaxTTL       time.Duration
	ICERate         int // requests per second and source; 0 = no limit

	Software     string
	Workers      int // 0 = one per CPU
	Offload      udp.Offload
	DrainTimeout time.Duration
	Alternates   []relay.Alternate
	RedirectAt   int // allocations; 0 = when there is no room

	NATDiscovery netip.AddrPort // invalid: off

	Quality quality.Mode
	Events  string // target; empty: none

	LogLevel  slog.Level
	LogFormat string

	given map[string][]value // where each setting came from, by name
}

// A setting is one row of the table that flags, environment, file, --help and the reference file are all made from.
type setting struct {
	name        string // of the flag and the file key; the environment variable is HAIRPIN_NAME
	placeholder string // what stands for a value in help; empty for a switch
	initial     []string
	initialText string // says what happens without a value where initial cannot
	repeated    bool
	secret      bool // never printed
	onlyOutside bool // not a key of the file
	later       bool // promised by the interface, not available yet: known, refused, not listed
	usage       string
	example     []string // for the reference file, where there is no initial value
	parse       func(*Settings, value) error
}

// env is the name of the environment variable.
//
// Kubernetes puts HAIRPIN_PORT, HAIRPIN_SERVICE_HOST and their like into every container beside a Service named
// "hairpin": no setting may be called port or service-…, and unknown HAIRPIN_ variables are no fault.
func (s *setting) env() string {
	return "HAIRPIN_" + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}

// settingsTable has every setting in the order of help and of the reference file.
var settingsTable = []setting{
	{
		name: "config", placeholder: "FILE", onlyOutside: true,
		usage: "YAML file with the settings below; \"hairpin config reference\" prints one",
		parse: func(s *Settings, v value) error { return parseText(&s.Config, v) },
	},
	{
		name: "listen", placeholder: "URL", repeated: true, initial: []string{"udp://:3478", "tcp://:3478"},
		usage: "address that clients connect to: udp://, tcp://, tls://, dtls:// or tcp+tls://HOST:PORT, the last one both on one port. " +
			"HOST is an IP address of this host; without it, all of them. ?proxy=v2 behind the port, not of dtls://, demands PROXY headers " +
			"from --proxy-trusted: ahead of each connection, and of each datagram or the first one of a flow. #NAME, #GATEWAY/NAME or #NAMESPACE/GATEWAY/NAME behind it is what requests to the ICE service " +
			"select it by. none = no relay, only --ice",
		parse: parseListener,
	},
	{
		name: "tls-cert", placeholder: "FILE", repeated: true,
		usage: "certificate of tls, dtls and tcp+tls listeners with its chain, PEM; read again when it changes. Of several, clients get " +
			"the one for the name that they ask for, else the first",
		example: []string{"/etc/hairpin/cert.pem"},
		parse:   func(s *Settings, v value) error { return parseFileNames(&s.TLSCert, v) },
	},
	{
		name: "tls-key", placeholder: "FILE", repeated: true, initialText: "the certificate's file",
		usage:   "private key of the certificate, PEM, not encrypted",
		example: []string{"/etc/hairpin/key.pem"},
		parse:   func(s *Settings, v value) error { return parseFileNames(&s.TLSKey, v) },
	},
	{
		name: "proxy-trusted", placeholder: "CIDR", repeated: true,
		usage:   "load balancers that may say for whom they connect, or send, on listeners with ?proxy=v2; everybody else is refused there",
		example: []string{"10.0.0.0/24"},
		parse:   parseProxyTrusted,
	},
	{
		name: "public-address", placeholder: "IP", repeated: true, initialText: "the listener's address, else the host's first global address",
		usage:   "address that clients are told to connect to, when it differs from the listener's (NAT, load balancer)",
		example: []string{"203.0.113.10"},
		parse:   parsePublicAddress,
	},
	{
		name: "relay-address", placeholder: "IP-or-PREFIX", repeated: true, initialText: "the public address",
		usage: "relayed transport addresses that are handed out, IPv4 and IPv6. With a prefix each allocation gets an address of its own. " +
			"With --peers loop nothing is bound to them, so they need not exist on this host. Else sockets are: where it doesn't have " +
			"the relay address (1:1 NAT), to the address of the listener with that public address, else to its first global one; or to OWN with IP=OWN",
		example: []string{"203.0.113.10", "198.51.100.7=10.0.0.5", "2001:db8:0:1::/64"},
		parse:   parseRelayAddress,
	},
	{
		name: "relay-ports", placeholder: "MIN-MAX", initial: []string{"49152-65535"},
		usage: "ports of the relayed transport addresses",
		parse: parseRelayPorts,
	},
	{
		name: "relay-cooldown", placeholder: "DURATION", initial: []string{"30s"},
		usage: "how long a relayed transport address rests before another client may get it",
		parse: func(s *Settings, v value) error { return parseDuration(&s.RelayCooldown, v, time.Second, "30s") },
	},
	{
		name: "peers", placeholder: "RULE", repeated: true, initialText: "loop, or the rules of peers-file",
		usage: "whom clients may exchange packets with: loop = relayed transport addresses of this server; CIDR or CIDR:PORTS " +
			"(10.0.0.0/8:5000-6000, [2001:db8::/32]:5000-6000) = these peers; dns:NAME or dns:NAME:PORTS = the addresses that NAME " +
			"has; !CIDR or !CIDR:PORTS = denied even where another rule allows it. Loopback, link-local, metadata and multicast " +
			"addresses and this server's own sockets are allowed only where a rule names just them",
		example: []string{"loop", "10.0.0.0/8:5000-6000", "dns:relays.example.org"},
		parse:   parsePeers,
	},
	{
		name: "peers-file", placeholder: "FILE",
		usage:   "rules as in peers, one in a line; read again when it changes. They are in force beside those of peers",
		example: []string{"/etc/hairpin/peers"},
		parse:   func(s *Settings, v value) error { return parseFileName(&s.PeersFile, v) },
	},
	{
		name: "realm", placeholder: "REALM", initial: []string{"hairpin"},
		usage: "realm of the long-term credentials; HA1 keys depend on it",
		parse: parseRealm,
	},
	{
		name: "user", placeholder: "NAME:PASSWORD", repeated: true, secret: true,
		usage: "static credentials; NAME:0xHEX gives the HA1 key in place of the password. Without any credentials one user is " +
			"made and printed at start",
		example: []string{"alice:correct-horse-battery-staple"},
		parse:   parseUser,
	},
	{
		name: "users-file", placeholder: "FILE",
		usage:   "static credentials, one NAME:PASSWORD or NAME:0xHEX in a line; read again when it changes",
		example: []string{"/etc/hairpin/users"},
		parse:   func(s *Settings, v value) error { return parseFileName(&s.UsersFile, v) },
	},
	{
		name: "secret", placeholder: "SECRET", repeated: true, secret: true,
		usage:   "secret of the ephemeral credentials; all are accepted, the first one signs",
		example: []string{"a-long-random-text"},
		parse:   parseSecret,
	},
	{
		name: "secrets-file", placeholder: "FILE",
		usage:   "secrets of the ephemeral credentials, one in a line; read again when it changes",
		example: []string{"/etc/hairpin/secrets"},
		parse:   func(s *Settings, v value) error { return parseFileName(&s.SecretsFile, v) },
	},
	{
		name: "enforce-expiry", initial: []string{"false"},
		usage: "end an allocation when its ephemeral credentials expire; otherwise a call that began in time goes on",
		parse: func(s *Settings, v value) error { return parseSwitch(&s.EnforceExpiry, v) },
	},
	{
		name: "password-algorithms", placeholder: "LIST", initial: []string{"sha256,md5"},
		usage: "how passwords may be hashed, the preferred way first. md5 alone speaks RFC 5389 only; sha256 alone refuses clients that " +
			"know MD5 only, which are most. Where a user is configured by an MD5 key, SHA-256 is offered to nobody",
		parse: parseAlgorithms,
	},
	{
		name: "oauth-keys-file", placeholder: "FILE",
		usage: "long-term keys of the authorization servers whose access tokens are accepted (RFC 7635), JSON: " +
			`{"keys": [{"kid": …, "key": base64 of 32 bytes}, …]}; read again when it changes`,
		example: []string{"/etc/hairpin/oauth-keys.json"},
		parse:   func(s *Settings, v value) error { return parseFileName(&s.TokenKeysFile, v) },
	},
	{
		name: "oauth-server-name", placeholder: "NAME", initialText: "the realm",
		usage:   "name that access tokens for this server are made with",
		example: []string{"turn.example.org"},
		parse:   parseServerName,
	},
	{
		name: "nonce-secret", placeholder: "SECRET", secret: true, initialText: "random at each start",
		usage:   "what nonces are signed with; servers that share it accept each other's",
		example: []string{"another-long-random-text"},
		parse:   func(s *Settings, v value) error { return parseSecretText(&s.NonceSecret, v) },
	},
	{
		name: "nonce-lifetime", placeholder: "DURATION", initial: []string{"1h"},
		usage: "how long a nonce is good for before a client has to take a new one",
		parse: func(s *Settings, v value) error { return parseDuration(&s.NonceLifetime, v, time.Second, "1h") },
	},
	{
		name: "mobility", initial: []string{"true"},
		usage: "let a client that asks for it take its allocation along to another address or connection (RFC 8016). That takes its " +
			"credentials and a sealed ticket that works once",
		parse: func(s *Settings, v value) error { return parseSwitch(&s.Mobility, v) },
	},
	{
		name: "user-quota", placeholder: "N", initial: []string{"0"},
		usage: "allocations that one user may have at a time; 0 = no limit. All ephemeral credentials of one id are one user",
		parse: func(s *Settings, v value) error { return parseCount(&s.UserQuota, v) },
	},
	{
		name: "total-quota", placeholder: "N", initial: []string{"0"},
		usage: "allocations that all users together may have at a time; 0 = no limit",
		parse: func(s *Settings, v value) error { return parseCount(&s.TotalQuota, v) },
	},
	{
		name: "max-bandwidth", placeholder: "RATE", initial: []string{"0"},
		usage: "application data that one allocation may relay in each direction, such as 2Mbit/s; a quarter of a second's worth may come " +
			"at once, packets beyond are dropped, and connections of TCP allocations (RFC 6062) read no faster; 0 = no limit",
		parse: func(s *Settings, v value) error { return parseBandwidth(&s.MaxBandwidth, v) },
	},
	{
		name: "user-bandwidth", placeholder: "RATE", initial: []string{"0"},
		usage: "the same for all allocations of one user together, users as for user-quota; 0 = no limit",
		parse: func(s *Settings, v value) error { return parseBandwidth(&s.UserBandwidth, v) },
	},
	{
		name: "unauthenticated-rate", placeholder: "N", initial: []string{"5000"},
		usage: "requests per second that a source (an IPv4 address, an IPv6 /64) may make where it has no allocation, ten seconds' worth of them " +
			"at once; 0 = no limit. The default is a few percent of a CPU, and enough for many thousands behind one address",
		parse: func(s *Settings, v value) error { return parseCount(&s.Limits.Rate, v) },
	},
	{
		name: "unauthenticated-bytes", placeholder: "N", initial: []string{"65536"},
		usage: "bytes per second that a network (/24, /48) may get beyond those that it sent, as long as nobody there has logged in, ten " +
			"seconds' worth of them at once; so nobody can use the server to fill another's line. 0 = no limit. The default is 500 new calls per second",
		parse: func(s *Settings, v value) error { return parseCount(&s.Limits.Bytes, v) },
	},
	{
		name: "failed-logins", placeholder: "N", initial: []string{"300"},
		usage: "wrong user names, passwords and tokens per minute that a source may show, a minute's worth of them at once; then its logins are " +
			"not answered, while its allocations go on; 0 = no limit",
		parse: func(s *Settings, v value) error { return parseCount(&s.Limits.FailedLogins, v) },
	},
	{
		name: "admin", placeholder: "ADDR", initial: []string{"127.0.0.1:9478"},
		usage: "IP:PORT for /metrics, /healthz, /readyz, /allocations and the status page, or off, which is the default with --listen none. " +
			"Off loopback and without a token it serves the first three only",
		parse: func(s *Settings, v value) error { return parseHTTPAddress(&s.Admin, v, "127.0.0.1:9478") },
	},
	{
		name: "admin-token", placeholder: "TOKEN", secret: true,
		usage:   "what a client of the admin address sends as \"Authorization: Bearer TOKEN\"",
		example: []string{"a-random-token"},
		parse:   parseAdminToken,
	},
	{
		name: "admin-token-file", placeholder: "FILE",
		usage:   "file that holds the token",
		example: []string{"/etc/hairpin/admin-token"},
		parse:   func(s *Settings, v value) error { return parseFileName(&s.AdminTokenFile, v) },
	},
	{
		name: "metrics-allocations", placeholder: "N", initial: []string{"1000"},
		usage: "how many allocations have metrics of their own; 0 = none",
		parse: func(s *Settings, v value) error { return parseCount(&s.MetricsAllocations, v) },
	},
	{
		name: "ice", placeholder: "ADDR", initial: []string{"off"},
		usage: "IP:PORT for the ICE credential service, GET /ice?service=turn&username=U&ttl=S, or off. Its credentials are ephemeral where " +
			"there is a secret; passwords of static users are handed out on loopback or for an API key only",
		parse: func(s *Settings, v value) error { return parseHTTPAddress(&s.ICE, v, "127.0.0.1:8088") },
	},
	{
		name: "ice-url", placeholder: "URL", repeated: true, initialText: "those of the listeners; with --listen none, of port 3478 at the public addresses",
		usage:   "what the ICE service sends clients to: turn:HOST:PORT?transport=udp, or turns:, with #NAME as in listen",
		example: []string{"turn:turn.example.org:3478?transport=udp", "turns:turn.example.org:443?transport=tcp#fallback"},
		parse:   parseICEURL,
	},
	{
		name: "ice-key", placeholder: "KEY", repeated: true, secret: true,
		usage:   "what a client of the ICE service sends as \"Authorization: Bearer KEY\" or key=KEY; without one, whoever can connect is answered",
		example: []string{"a-random-key"},
		parse:   parseICEKey,
	},
	{
		name: "ice-allow-origin", placeholder: "ORIGIN", repeated: true,
		usage:   "whose pages may read the answers of the ICE service (CORS): https://HOST[:PORT], or * for all",
		example: []string{"https://app.example.org"},
		parse:   parseOrigin,
	},
	{
		name: "ice-max-ttl", placeholder: "DURATION", initial: []string{"24h"},
		usage: "the longest life of a credential from the ICE service, whatever a request asks for",
		parse: func(s *Settings, v value) error { return parseDuration(&s.ICEMaxTTL, v, time.Second, "24h") },
	},
	{
		name: "ice-rate", placeholder: "N", initial: []string{"100"},
		usage: "requests per second to the ICE service that one source may make without the key, ten seconds' worth of them at once; 0 = no limit",
		parse: func(s *Settings, v value) error { return parseCount(&s.ICERate, v) },
	},
	{
		name: "quality", placeholder: "MODE", initial: []string{"full"},
		usage: "whose RTP streams are looked at for loss, jitter and stalls, as far as a relay sees them: off, sampled (one allocation in 16) or full",
		parse: parseQuality,
	},
	{
		name: "events", placeholder: "TARGET", initialText: "none",
		usage: "where one line of JSON goes for each allocation's birth and death, each move of a client (RFC 8016) and each refused request: a file's path, stdout, or an " +
			"http:// or https:// URL that lines are posted to. What the target takes too slowly is lost and counted",
		secret:  true,
		example: []string{"/var/log/hairpin/events.jsonl"},
		parse:   parseEvents,
	},
	{
		name: "software", placeholder: "TEXT", initial: []string{"hairpin"},
		usage: "SOFTWARE attribute of the answers, which RFC 8489 asks for; without a version, which helps attackers most. off = none",
		parse: parseSoftware,
	},
	{
		name: "workers", placeholder: "N", initial: []string{"0"},
		usage: "receive loops of each UDP listener; 0 = one per CPU",
		parse: func(s *Settings, v value) error { return parseCount(&s.Workers, v) },
	},
	{
		name: "offload", placeholder: "LIST", initial: []string{"gro,gso"},
		usage: "how datagrams are batched with the kernel, where it can: gro takes several of one client as one, gso sends several " +
			"to one client as one; gro,gso, gro, gso or off",
		parse: parseOffload,
	},
	{
		name: "drain-timeout", placeholder: "DURATION", initial: []string{"1h"},
		usage: "how long allocations may go on after SIGTERM, hairpin drain or POST /drain, while new ones are refused or sent to an alternate server. " +
			"The server ends when the last one has, and at the latest then; 0 = at once",
		parse: func(s *Settings, v value) error { return parseDuration(&s.DrainTimeout, v, 0, "1h") },
	},
	{
		name: "alternate-server", placeholder: "IP[:PORT]|dns:NAME[:PORT]", repeated: true,
		usage: "another relay with the same credentials, to which new clients are sent (300, ALTERNATE-SERVER) while this one drains, when it has " +
			"no room, and from redirect-at allocations on; one of them by chance; the port is 3478 unless given. Names are looked up every 10 seconds. Whatever leads back to this server is left out, " +
			"so all relays may have the same list. Without any, new allocations are refused (508)",
		example: []string{"192.0.2.11", "[2001:db8::11]:3478", "dns:relays.example.org"},
		parse:   parseAlternate,
	},
	{
		name: "redirect-at", placeholder: "N", initial: []string{"0"},
		usage: "allocations from which on new clients are sent to an alternate server, where there is one of their IP version; 0 = when " +
			"total-quota is reached, or no relayed address is free",
		parse: func(s *Settings, v value) error { return parseCount(&s.RedirectAt, v) },
	},
	{
		name: "nat-discovery-address", placeholder: "IP[:PORT]",
		usage: "a second address of this host, and a port other than the listener's (3479 unless given), for NAT behavior discovery (RFC 5780) " +
			"beside those of the first udp:// listener with an IP address of that version. All four combinations answer Binding requests",
		example: []string{"203.0.113.11"},
		parse:   parseNATDiscovery,
	},
	{
		name: "log-level", placeholder: "LEVEL", initial: []string{"info"},
		usage: "trace, debug, info, warn or error",
		parse: parseLogLevel,
	},
	{
		name: "log-format", placeholder: "FORMAT", initial: []string{"text"},
		usage: "text or json, to standard error",
		parse: parseLogFormat,
	},
}

// settingNamed finds a row of the table.
func settingNamed(name string) *setting {
	for i := range settingsTable {
		if settingsTable[i].name == name {
			return &settingsTable[i]
		}
	}
	return nil
}
