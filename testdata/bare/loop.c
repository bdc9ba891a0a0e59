// The floor that "make bench-rivals" measures relays against: recvmmsg, two bytes
// changed, sendmmsg, and nothing else on the way of a packet. It answers just
// enough of TURN, to anybody and without looking, that the load generator can set
// up its clients. Loopback only; never a server for anything else.
//
//	cc -O2 -o loop loop.c && ./loop PORT
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 64, SIZE = 2048, SLOTS = 1 << 16 };

struct client {
	uint64_t key; // address and port; 0: free
	struct sockaddr_in address;
	struct client *peer;
	uint16_t channel; // its own number for its peer, in network order
};

static struct client clients[SLOTS];
static struct client *by_number[SLOTS];
static int count;

static struct client *find(const struct sockaddr_in *from) {
	uint64_t key = (uint64_t)from->sin_addr.s_addr << 16 | from->sin_port;
	for (uint32_t i = (key * 0x9E3779B97F4A7C15ull) >> 48;; i = (i + 1) % SLOTS) {
		if (clients[i].key == key)
			return &clients[i];
		if (clients[i].key == 0) {
			if (count == SLOTS / 2)
				exit(1);
			clients[i].key = key;
			clients[i].address = *from;
			by_number[count++] = &clients[i];
			return &clients[i];
		}
	}
}

static int number_of(const struct client *c) {
	for (int i = 0; i < count; i++)
		if (by_number[i] == c)
			return i;
	return -1;
}

static int put(uint8_t *b, int n, uint16_t type, const void *value, uint16_t length) {
	uint16_t head[2] = {htons(type), htons(length)};
	memcpy(b + n, head, 4);
	memcpy(b + n + 4, value, length);
	return n + 4 + length;
}

// answer turns a request into its success response, in place.
static int answer(uint8_t *b, int n, struct client *from) {
	uint8_t cookie[4] = {0x21, 0x12, 0xA4, 0x42};
	if (n < 20 || memcmp(b + 4, cookie, 4))
		return 0;
	for (int at = 20; b[1] == 0x09 && at + 4 <= n;) { // ChannelBind
		uint16_t type = b[at] << 8 | b[at + 1], length = b[at + 2] << 8 | b[at + 3];
		if (type == 0x000C)
			memcpy(&from->channel, b + at + 4, 2);
		if (type == 0x0012) { // XOR-PEER-ADDRESS: the port is the peer's number
			uint16_t peer = (b[at + 6] << 8 | b[at + 7]) ^ 0x2112;
			from->peer = by_number[peer % SLOTS];
		}
		at += 4 + (length + 3) / 4 * 4;
	}
	n = 20;
	if (b[1] == 0x03) { // Allocate: the relayed port is the client's number
		uint16_t port = number_of(from) ^ 0x2112;
		uint8_t relayed[8] = {0, 1, port >> 8, port, 127 ^ 0x21, 0x12, 0xA4, 1 ^ 0x42};
		uint8_t lifetime[4] = {0, 0, 2, 88};
		n = put(b, n, 0x0016, relayed, 8);
		n = put(b, n, 0x0020, relayed, 8);
		n = put(b, n, 0x000D, lifetime, 4);
	}
	b[0] |= 1; // success response
	b[2] = (n - 20) >> 8;
	b[3] = n - 20;
	return n;
}

int main(int argc, char **argv) {
	static uint8_t slab[BATCH][SIZE];
	static struct sockaddr_in names[BATCH];
	static struct iovec in[BATCH], out[BATCH];
	static struct mmsghdr received[BATCH], sent[BATCH];
	int fd = socket(AF_INET, SOCK_DGRAM, 0), buffer = 2 << 20;
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 3478)};
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
	if (bind(fd, (struct sockaddr *)&at, sizeof at)) {
		perror("bind");
		return 1;
	}
	for (int i = 0; i < BATCH; i++) {
		in[i] = (struct iovec){slab[i], SIZE};
		received[i].msg_hdr = (struct msghdr){.msg_name = &names[i], .msg_iov = &in[i], .msg_iovlen = 1};
		sent[i].msg_hdr = (struct msghdr){.msg_iov = &out[i], .msg_iovlen = 1, .msg_namelen = sizeof at};
	}
	for (;;) {
		for (int i = 0; i < BATCH; i++)
			received[i].msg_hdr.msg_namelen = sizeof names[i];
		int n = recvmmsg(fd, received, BATCH, MSG_WAITFORONE, 0), m = 0;
		for (int i = 0; i < n; i++) {
			struct client *from = find(&names[i]), *to = from;
			int length = received[i].msg_len;
			if (slab[i][0] & 0xC0) {
				to = from->peer;
				if (!to)
					continue;
				memcpy(slab[i], &to->channel, 2);
			} else if (!(length = answer(slab[i], length, from))) {
				continue;
			}
			out[m] = (struct iovec){slab[i], length};
			sent[m++].msg_hdr.msg_name = &to->address;
		}
		for (int done = 0; done < m;) {
			int k = sendmmsg(fd, sent + done, m - done, 0);
			done += k > 0 ? k : 1;
		}
	}
}
