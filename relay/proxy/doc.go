// Package proxy owns the PROXY protocol, version 2: the header by which a load balancer says whose connection or
// whose datagrams it passes on (https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt, below "the specification").
//
// It refuses version 1, whose length shows only at its end, headers of more than [MaxHeader] bytes, and senders that are
// not trusted: an address out of a header is as good as a real one, so whoever may write one may be anybody.
package proxy
