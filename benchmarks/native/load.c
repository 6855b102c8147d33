/* Load for echo servers: many WebSocket calls, paced on an absolute schedule (open loop).
 *
 * load HOST PORT PATH CALLS SECONDS WARMUP BYTES PACED OPENING
 *
 * Every call sends one masked binary message of BYTES bytes per 20 ms when PACED is 1, at its own phase; when PACED
 * is 0 it sends the next one as soon as the last came back; when PACED is 2 it sends nothing at all. OPENING is a text
 * sent first. A frame carries the time at which it was due, so that a late generator shows as latency, not as ease.
 * A line "steady" on standard output marks the end of the warm-up; then comes the result, one JSON object.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define PERIOD 20000000ull
#define BUFFER 131072
#define BUCKETS 200000 /* of 10 microseconds: up to two seconds */

struct call {
    int fd;
    uint64_t due;
    uint64_t sent, received;
    size_t have;
    unsigned char *in;
};

static uint32_t latency[BUCKETS], slip[BUCKETS];
static uint64_t latency_count, slip_count, out_of_order, broken, sent_total, received_total;
static int is_steady;
static uint64_t steady_from;
static uint32_t random_state = 2463534242u;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void count(uint32_t *buckets, uint64_t *total, uint64_t ns) {
    uint64_t bucket = ns / 10000;
    buckets[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
    (*total)++;
}

static double percentile(const uint32_t *buckets, uint64_t total, double share) {
    uint64_t want = (uint64_t)(total * share), seen = 0;
    for (int i = 0; i < BUCKETS; i++) {
        seen += buckets[i];
        if (seen > want) return (i + 0.5) / 100.0;
    }
    return total ? BUCKETS / 100.0 : 0;
}

static void send_frame(struct call *c, int opcode, const unsigned char *payload, size_t size) {
    static unsigned char out[BUFFER];
    size_t head;
    random_state ^= random_state << 13, random_state ^= random_state >> 17, random_state ^= random_state << 5;
    out[0] = 0x80 | opcode;
    if (size < 126) {
        out[1] = 0x80 | size;
        head = 2;
    } else {
        out[1] = 0x80 | 126;
        out[2] = size >> 8;
        out[3] = size & 255;
        head = 4;
    }
    memcpy(out + head, &random_state, 4);
    for (size_t i = 0; i < size; i++) out[head + 4 + i] = payload[i] ^ out[head + (i & 3)];
    ssize_t n = send(c->fd, out, head + 4 + size, MSG_NOSIGNAL);
    if (n != (ssize_t)(head + 4 + size)) broken++;
}

static void send_audio(struct call *c, uint64_t due, size_t size) {
    static unsigned char payload[BUFFER];
    memcpy(payload, &due, 8);
    memcpy(payload + 8, &c->sent, 8);
    send_frame(c, 2, payload, size);
    c->sent++;
    if (is_steady && due >= steady_from) {
        sent_total++;
        count(slip, &slip_count, now_ns() - due);
    }
}

static int read_call(struct call *c, int paced, size_t size) {
    ssize_t n = recv(c->fd, c->in + c->have, BUFFER - c->have, 0);
    if (n <= 0) return n < 0 && (errno == EAGAIN || errno == EINTR);
    c->have += n;
    size_t at = 0;
    uint64_t now = now_ns();
    while (c->have - at >= 2) {
        unsigned char *f = c->in + at;
        size_t head = 2, length = f[1] & 127;
        if (length == 126) {
            if (c->have - at < 4) break;
            length = (size_t)f[2] << 8 | f[3];
            head = 4;
        } else if (length == 127) {
            broken++;
            return 0;
        }
        if (c->have - at < head + length) break;
        int opcode = f[0] & 15;
        if (opcode == 2 && length >= 16) {
            uint64_t due, sequence;
            memcpy(&due, f + head, 8);
            memcpy(&sequence, f + head + 8, 8);
            if (sequence != c->received) out_of_order++;
            c->received = sequence + 1;
            if (is_steady && due >= steady_from) {
                received_total++;
                count(latency, &latency_count, now > due ? now - due : 0);
            }
            if (paced == 0) send_audio(c, now, size);
        } else if (opcode == 1 && length == 10 && !memcmp(f + head, "GET_STATUS", 10)) {
            static const char status[] = "STATUS channel_id:1 queue_length:1 xon_level:800 xoff_level:900 "
                                         "queue_full:false bulk_media:false media_paused:false";
            send_frame(c, 1, (const unsigned char *)status, sizeof status - 1);
        } else if (opcode == 8) {
            broken++;
            return 0;
        }
        at += head + length;
    }
    memmove(c->in, c->in + at, c->have - at);
    c->have -= at;
    return 1;
}

static void open_call(struct call *c, const char *host, int port, const char *path, const char *opening) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    char head[2048];
    int one = 1;
    inet_pton(AF_INET, host, &address.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int n = snprintf(head, sizeof head,
                     "GET %s HTTP/1.1\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Host: %s:%d\r\nSec-WebSocket-Protocol: media\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                     path, host, port);
    if (send(c->fd, head, n, MSG_NOSIGNAL) != n) die("send");
    size_t have = 0;
    while (have < sizeof head - 1) {
        ssize_t got = recv(c->fd, head + have, 1, 0);
        if (got <= 0) die("handshake");
        have += got;
        if (have >= 4 && !memcmp(head + have - 4, "\r\n\r\n", 4)) break;
    }
    if (strncmp(head, "HTTP/1.1 101", 12)) {
        fprintf(stderr, "load: the server answered %.40s\n", head);
        exit(1);
    }
    if (*opening) send_frame(c, 1, (const unsigned char *)opening, strlen(opening));
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    c->in = malloc(BUFFER);
}

int main(int argc, char **argv) {
    if (argc != 10) return 2;
    int port = atoi(argv[2]), calls = atoi(argv[4]), paced = atoi(argv[8]);
    double seconds = atof(argv[5]), warmup = atof(argv[6]);
    size_t size = atoi(argv[7]);
    struct call *all = calloc(calls, sizeof *all);
    int poll = epoll_create1(EPOLL_CLOEXEC), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, ready[1024];
    epoll_ctl(poll, EPOLL_CTL_ADD, timer, &event);
    for (int i = 0; i < calls; i++) {
        open_call(&all[i], argv[1], port, argv[3], argv[9]);
        event.data.ptr = &all[i];
        epoll_ctl(poll, EPOLL_CTL_ADD, all[i].fd, &event);
    }
    uint64_t start = now_ns() + 50000000ull, steady = start + (uint64_t)(warmup * 1e9);
    uint64_t end = steady + (uint64_t)(seconds * 1e9), drain = end + 500000000ull;
    for (int i = 0; i < calls; i++) all[i].due = start + PERIOD * i / calls;
    if (paced == 0)
        for (int i = 0; i < calls; i++) send_audio(&all[i], now_ns(), size);
    int next = 0, said_steady = 0;
    for (;;) {
        uint64_t now = now_ns();
        if (!said_steady && now >= steady) {
            said_steady = is_steady = 1;
            steady_from = steady;
            printf("steady\n");
            fflush(stdout);
        }
        if (now >= end && is_steady) {
            if (paced == 0) break;
            is_steady = 2;
        }
        if (now >= drain) break;
        while (paced == 1 && now >= all[next].due && all[next].due < end) {
            send_audio(&all[next], all[next].due, size);
            all[next].due += PERIOD;
            next = (next + 1) % calls;
        }
        uint64_t wake = paced == 1 && all[next].due < end ? all[next].due : now + 10000000ull;
        if (wake > drain) wake = drain;
        struct itimerspec spec = {.it_value = {.tv_sec = wake / 1000000000ull, .tv_nsec = wake % 1000000000ull}};
        timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, NULL);
        int n = epoll_wait(poll, ready, 1024, 100);
        for (int i = 0; i < n; i++) {
            struct call *c = ready[i].data.ptr;
            uint64_t ticks;
            if (!c) {
                if (read(timer, &ticks, 8) < 0) continue;
            } else if (!read_call(c, paced, size)) {
                broken++;
                epoll_ctl(poll, EPOLL_CTL_DEL, c->fd, NULL);
            }
        }
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    printf("{\"sent\":%llu,\"received\":%llu,\"out_of_order\":%llu,\"broken\":%llu,\"generator_cpu\":%.3f",
           (unsigned long long)sent_total, (unsigned long long)received_total, (unsigned long long)out_of_order,
           (unsigned long long)broken, cpu);
    const double shares[] = {0.5, 0.9, 0.99, 0.999, 1.0};
    const char *names[] = {"p50", "p90", "p99", "p999", "max"};
    for (int i = 0; i < 5; i++) {
        double share = shares[i] < 1 ? shares[i] : 1 - 0.5 / (latency_count + 1.0);
        printf(",\"latency_%s\":%.3f", names[i], percentile(latency, latency_count, share));
        share = shares[i] < 1 ? shares[i] : 1 - 0.5 / (slip_count + 1.0);
        printf(",\"slip_%s\":%.3f", names[i], percentile(slip, slip_count, share));
    }
    printf("}\n");
    return 0;
}
