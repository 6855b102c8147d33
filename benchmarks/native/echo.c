/* The floor: a WebSocket server in one epoll loop, with nothing around it.
 *
 * echo PORT echo HABIT [PEM]      sends every binary message back
 * echo PORT duplex HABIT [PEM]    hears, and sends a stream of its own: a stamped frame per 20 ms and call
 *
 * HABIT is react, or gather: then it looks at its sockets and its streams every 2 ms, and not as each is ready.
 * With a PEM file of a key and its certificate it speaks TLS.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "wire.h"

#define BUFFER 65536
#define PERIOD 20000000ull
#define TICK 2000000ull

struct peer {
    struct wire wire;
    int is_open;
    size_t have;
    uint64_t due, sent;
    struct peer *before, *after; /* the ring of streams, by due time */
    unsigned char in[BUFFER];
};

static int is_duplex;
static struct peer ring = {.before = &ring, .after = &ring};

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void unlink_peer(struct peer *p) {
    if (p->before) p->before->after = p->after, p->after->before = p->before;
    p->before = p->after = NULL;
}

/* Put a stream where it belongs by its due time: nearly always at the end. */
static void link_peer(struct peer *p) {
    struct peer *place = ring.before;
    while (place != &ring && place->due > p->due) place = place->before;
    p->before = place, p->after = place->after;
    place->after->before = p, place->after = p;
}

/* Send every frame that is due; return when the next one is. */
static uint64_t send_due(uint64_t now) {
    static unsigned char frame[324] = {0x82, 126, 1, 64};
    struct peer *p;
    while ((p = ring.after) != &ring && p->due <= now) {
        memcpy(frame + 4, &p->due, 8);
        memcpy(frame + 12, &p->sent, 8);
        p->sent++, p->due += PERIOD;
        unlink_peer(p);
        /* A stream that cannot be sent any more ends; its socket tells the rest. */
        if (wire_write(&p->wire, frame, sizeof frame) == sizeof frame) link_peer(p);
    }
    return ring.after == &ring ? 0 : ring.after->due;
}

/* SHA-1, only to answer the handshake. */
static uint32_t rotate(uint32_t x, int n) { return x << n | x >> (32 - n); }
static void sha1(const unsigned char *data, size_t size, unsigned char out[20]) {
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0}, w[80];
    unsigned char block[128] = {0};
    size_t blocks = size + 9 > 64 ? 2 : 1;
    memcpy(block, data, size);
    block[size] = 0x80;
    for (int i = 0; i < 8; i++) block[blocks * 64 - 1 - i] = (uint64_t)size * 8 >> 8 * i;
    for (size_t b = 0; b < blocks; b++) {
        for (int i = 0; i < 16; i++) {
            unsigned char *p = block + b * 64 + i * 4;
            w[i] = (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
        }
        for (int i = 16; i < 80; i++) w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        uint32_t a = h[0], c1 = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 80; i++) {
            uint32_t f = i < 20 ? (c1 & c) | (~c1 & d) : i < 40 ? c1 ^ c ^ d : i < 60 ? (c1 & c) | (c1 & d) | (c & d) : c1 ^ c ^ d;
            uint32_t k = i < 20 ? 0x5A827999 : i < 40 ? 0x6ED9EBA1 : i < 60 ? 0x8F1BBCDC : 0xCA62C1D6;
            uint32_t t = rotate(a, 5) + f + e + k + w[i];
            e = d, d = c, c = rotate(c1, 30), c1 = a, a = t;
        }
        h[0] += a, h[1] += c1, h[2] += c, h[3] += d, h[4] += e;
    }
    for (int i = 0; i < 20; i++) out[i] = h[i / 4] >> (24 - 8 * (i % 4));
}

static void base64(const unsigned char *in, size_t n, char *out) {
    static const char table[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = in[i] << 16 | (i + 1 < n ? in[i + 1] << 8 : 0) | (i + 2 < n ? in[i + 2] : 0);
        *out++ = table[v >> 18], *out++ = table[v >> 12 & 63];
        *out++ = i + 1 < n ? table[v >> 6 & 63] : '=', *out++ = i + 2 < n ? table[v & 63] : '=';
    }
    *out = 0;
}

static int shake(struct peer *p) {
    char *end = memmem(p->in, p->have, "\r\n\r\n", 4), *key, text[128], accept[32], answer[256];
    unsigned char digest[20];
    if (!end) return 1;
    p->in[p->have] = 0;
    key = strcasestr((char *)p->in, "sec-websocket-key:");
    if (!key) return 0;
    key += 18;
    while (*key == ' ') key++;
    int n = snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    sha1((unsigned char *)text, n, digest);
    base64(digest, 20, accept);
    n = snprintf(answer, sizeof answer,
                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: media\r\n\r\n", accept);
    if (wire_write(&p->wire, answer, n) != n) return 0;
    size_t used = end + 4 - (char *)p->in;
    memmove(p->in, p->in + used, p->have - used);
    p->have -= used;
    p->is_open = 1;
    if (is_duplex) {
        p->due = now_ns();
        link_peer(p);
    }
    return 1;
}

static void unmask(unsigned char *payload, size_t length, const unsigned char *mask) {
    uint32_t key, word;
    size_t i = 0;
    memcpy(&key, mask, 4);
    for (; i + 4 <= length; i += 4) {
        memcpy(&word, payload + i, 4);
        word ^= key;
        memcpy(payload + i, &word, 4);
    }
    for (; i < length; i++) payload[i] ^= ((unsigned char *)&key)[i & 3];
}

/* Send a message back: its head, shorter without a mask, goes where the old one was. */
static int answer(struct peer *p, unsigned char *payload, size_t length) {
    unsigned char *out = payload - (length < 126 ? 2 : 4);
    out[0] = 0x82;
    if (length < 126) out[1] = length;
    else out[1] = 126, out[2] = length >> 8, out[3] = length & 255;
    ssize_t size = payload - out + length;
    return wire_write(&p->wire, out, size) == size;
}

static int serve(struct peer *p) {
    ssize_t n = wire_read(&p->wire, p->in + p->have, BUFFER - 1 - p->have);
    if (n <= 0) return n < 0 && errno == EAGAIN;
    p->have += n;
    if (!p->is_open && (!shake(p) || !p->is_open)) return p->is_open || n > 0;
    size_t at = 0;
    while (p->have - at >= 6) {
        unsigned char *f = p->in + at, *mask, *payload;
        size_t length = f[1] & 127, head = 6;
        if (length == 126) {
            if (p->have - at < 8) break;
            length = (size_t)f[2] << 8 | f[3];
            head = 8;
        } else if (length == 127) return 0;
        if (p->have - at < head + length) break;
        mask = f + head - 4, payload = f + head;
        int opcode = f[0] & 15;
        if (opcode == 8) return 0;
        if (opcode == 2) {
            unmask(payload, length, mask);
            if (!is_duplex && !answer(p, payload, length)) return 0;
        }
        at += head + length;
    }
    memmove(p->in, p->in + at, p->have - at);
    p->have -= at;
    return 1;
}

static int begin(const char *port) {
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons(atoi(port));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) {
        perror("echo");
        exit(1);
    }
    signal(SIGPIPE, SIG_IGN);
    return listener;
}

static void admit(int listener, int poll, int is_tls) {
    int one = 1;
    struct peer *p = calloc(1, sizeof *p);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = p};
    p->wire.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    setsockopt(p->wire.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (is_tls) wire_secure(&p->wire, 1);
    epoll_ctl(poll, EPOLL_CTL_ADD, p->wire.fd, &event);
}

static void arm(int timer, uint64_t at, uint64_t interval) {
    struct itimerspec spec = {.it_value = {.tv_sec = at / 1000000000ull, .tv_nsec = at % 1000000000ull},
                              .it_interval = {.tv_nsec = interval}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void serve_ready(int poll, int timer, int listener, int is_tls, int patience) {
    struct epoll_event ready[1024];
    uint64_t ticks;
    int n = epoll_wait(poll, ready, 1024, patience);
    for (int i = 0; i < n; i++) {
        struct peer *p = ready[i].data.ptr;
        if (!p) {
            admit(listener, poll, is_tls);
        } else if (p == &ring) {
            if (read(timer, &ticks, 8) < 0) continue;
        } else if (!serve(p)) {
            unlink_peer(p);
            wire_close(&p->wire);
            free(p);
        }
    }
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    int is_tls = argc > 4, gathers = !strcmp(argv[3], "gather");
    if (is_tls) tls_begin(argv[4]);
    is_duplex = !strcmp(argv[2], "duplex");
    int listener = begin(argv[1]), poll = epoll_create1(0);
    int timer = timerfd_create(CLOCK_MONOTONIC, gathers ? 0 : TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    event.data.ptr = &ring;
    if (gathers) arm(timer, now_ns(), TICK);
    else epoll_ctl(poll, EPOLL_CTL_ADD, timer, &event);
    for (uint64_t armed = 0, ticks;;) {
        uint64_t next = send_due(now_ns());
        if (!gathers && next && next != armed) arm(timer, armed = next, 0);
        if (gathers && read(timer, &ticks, 8) < 0) return 1;
        serve_ready(poll, timer, listener, is_tls, gathers ? 0 : -1);
    }
}
