/* Load for WebSocket servers: many calls, paced on an absolute schedule (open loop).
 *
 * load HOST PORT PATH CALLS SECONDS WARMUP BYTES MODE WIRE OPENING
 *
 * MODE  echo       one masked binary message of BYTES bytes per call and 20 ms, each call at its own phase
 *       saturated  the next one as soon as the last came back
 *       duplex     as echo, but what comes back is a stream of the server's own, and is held against its grid
 *       bargein    as duplex, and each call presses a key once a second; the server is to clear its playout
 *       idle       nothing at all
 *
 * WIRE is plain or tls. OPENING is a text sent first. A frame carries the time at which it was due (nanoseconds of CLOCK_MONOTONIC) and its
 * number, in both directions, so that whoever is late shows it, the generator too: its own lateness is its slip.
 * A line "steady" on standard output marks the end of the warm-up, a line "over" the end of what is measured; what was
 * due by then has a while more to come. Then comes the result, one JSON object.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
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

#include "wire.h"

#define PERIOD 20000000ull
#define BUFFER 131072
#define BUCKETS 200000 /* of 10 microseconds: up to two seconds */
#define LATE 5000000ull
#define GATHER_FROM 400 /* Calls from which the generator, too, looks at its sockets on a tick: it must stay cheap. */
#define TICK 250000ull
#define PATIENCE 30 /* Seconds for all calls to open; a server that takes longer is overloaded. */
#define EARLY 100000ull

enum mode { ECHO, SATURATED, DUPLEX, BARGEIN, IDLE };
static const char *const modes[] = {"echo", "saturated", "duplex", "bargein", "idle"};

struct call {
    struct wire wire;
    uint64_t due;
    uint64_t sent, received;
    uint64_t grid, in_window; /* duplex: a moment of the server's grid; frames due while it was measured */
    uint64_t pressed, flushed, audio_at; /* bargein: when the key was due, when the clear came, and the last old frame */
    uint64_t generation;                 /* bargein: how many clears the server had called for when it made a frame */
    size_t have;
    unsigned char *in;
};

static uint32_t latency[BUCKETS], slip[BUCKETS], tail[BUCKETS];
static uint64_t out_of_order, broken, sent_total, received_total, late, early, episode_from, episode_to, longest;
static uint64_t steady_from = UINT64_MAX, steady_to;
static enum mode mode;
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

static void count(uint32_t *buckets, uint64_t ns) {
    uint64_t bucket = ns / 10000;
    buckets[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
}

static int is_measured(uint64_t due) { return due >= steady_from && due < steady_to; }

static void print_histogram(const char *name, const uint32_t *buckets) {
    const char *comma = "";
    printf(",\"%s\":[", name);
    for (int i = 0; i < BUCKETS; i++)
        if (buckets[i]) printf("%s[%d,%u]", comma, i, buckets[i]), comma = ",";
    printf("]");
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
    uint64_t mask = random_state * 0x100000001ull, word;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        memcpy(&word, payload + i, 8);
        word ^= mask;
        memcpy(out + head + 4 + i, &word, 8);
    }
    for (; i < size; i++) out[head + 4 + i] = payload[i] ^ out[head + (i & 3)];
    ssize_t n = wire_write(&c->wire, out, head + 4 + size);
    if (n != (ssize_t)(head + 4 + size)) broken++;
}

static void send_audio(struct call *c, uint64_t due, size_t size) {
    static unsigned char payload[BUFFER];
    memcpy(payload, &due, 8);
    memcpy(payload + 8, &c->sent, 8);
    send_frame(c, 2, payload, size);
    c->sent++;
    if (is_measured(due)) {
        if (mode != BARGEIN) sent_total++;
        count(slip, now_ns() - due);
    }
}

/* Frames later than LATE that follow each other within a frame's time are one episode: a stall, and its recovery. */
static void note_late(uint64_t due, uint64_t now) {
    late++;
    if (now > episode_to + PERIOD) episode_from = due;
    if (due < episode_from) episode_from = due;
    episode_to = now;
    if (episode_to - episode_from > longest) longest = episode_to - episode_from;
}

static void take_audio(struct call *c, const unsigned char *payload, size_t size, uint64_t now) {
    uint64_t due, sequence;
    memcpy(&due, payload, 8);
    memcpy(&sequence, payload + 8, 8);
    if (mode == BARGEIN) {
        /* The first frame after a clear carries the moment at which the server called for it. */
        if (!due) {
            if (sequence <= c->generation) c->audio_at = now;
        } else if (c->flushed) {
            if (is_measured(c->pressed)) {
                received_total++;
                count(latency, c->flushed > due ? c->flushed - due : 0);
                count(tail, c->audio_at > due ? c->audio_at - due : 0);
            }
            c->flushed = 0, c->generation = sequence;
        }
        return;
    }
    if (sequence != c->received) out_of_order++;
    c->received = sequence + 1;
    c->grid = due;
    if (is_measured(due)) {
        uint64_t lateness = now > due ? now - due : 0;
        received_total++, c->in_window++;
        count(latency, lateness);
        if (lateness > LATE) note_late(due, now);
        if (now + EARLY < due) early++;
    }
    if (mode == SATURATED) send_audio(c, now, size);
}

static void take_text(struct call *c, const unsigned char *text, size_t length, uint64_t now) {
    static const char status[] = "STATUS channel_id:1 queue_length:1 xon_level:800 xoff_level:900 "
                                 "queue_full:false bulk_media:false media_paused:false";
    if (length == 10 && !memcmp(text, "GET_STATUS", 10))
        send_frame(c, 1, (const unsigned char *)status, sizeof status - 1);
    else if (length == 11 && !memcmp(text, "FLUSH_MEDIA", 11))
        c->flushed = now;
}

static int read_call(struct call *c, size_t size) {
    ssize_t n = wire_read(&c->wire, c->in + c->have, BUFFER - c->have);
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
        } else if (length == 127)
            return 0;
        if (c->have - at < head + length) break;
        int opcode = f[0] & 15;
        if (opcode == 8) return 0;
        if (opcode == 2 && length >= 16) {
            /* Several frames in one message, as a server sends them ahead: only the first is stamped. */
            take_audio(c, f + head, size, now);
        } else if (opcode == 1)
            take_text(c, f + head, length, now);
        at += head + length;
    }
    memmove(c->in, c->in + at, c->have - at);
    c->have -= at;
    return 1;
}

static void open_call(struct call *c, const char *host, int port, const char *path, int is_tls) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    char head[2048];
    int one = 1;
    inet_pton(AF_INET, host, &address.sin_addr);
    int fd = c->wire.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (is_tls && !wire_secure(&c->wire, 0)) die("TLS");
    int n = snprintf(head, sizeof head,
                     "GET %s HTTP/1.1\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Host: %s:%d\r\nSec-WebSocket-Protocol: media\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                     path, host, port);
    if (wire_write(&c->wire, head, n) != n) die("send");
    size_t have = 0;
    while (have < sizeof head - 1) {
        ssize_t got = wire_read(&c->wire, head + have, 1);
        if (got <= 0) die("handshake");
        have += got;
        if (have >= 4 && !memcmp(head + have - 4, "\r\n\r\n", 4)) break;
    }
    if (strncmp(head, "HTTP/1.1 101", 12)) {
        fprintf(stderr, "load: the server answered %.40s\n", head);
        exit(1);
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    c->in = malloc(BUFFER);
}

static void press_key(struct call *c) {
    static const char key[] = "DTMF_END channel_id:1 digit:1";
    send_frame(c, 1, (const unsigned char *)key, sizeof key - 1);
    c->pressed = c->due;
    if (is_measured(c->due)) sent_total++;
}

/* How many frames of the server's streams were due and never came. */
static uint64_t missing(const struct call *all, int calls) {
    uint64_t sum = 0;
    for (int i = 0; i < calls; i++) {
        const struct call *c = &all[i];
        uint64_t first = steady_from + (c->grid % PERIOD + PERIOD - steady_from % PERIOD) % PERIOD;
        uint64_t due = first < steady_to ? (steady_to - first + PERIOD - 1) / PERIOD : 0;
        sum += due > c->in_window ? due - c->in_window : 0;
    }
    return sum;
}

static double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void say(const char *what) {
    puts(what);
    fflush(stdout);
}

static void arm(int timer, uint64_t wake, uint64_t interval) {
    struct itimerspec spec = {.it_value = {.tv_sec = wake / 1000000000ull, .tv_nsec = wake % 1000000000ull},
                              .it_interval = {.tv_nsec = interval}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void serve_ready(int poll, int timer, size_t size, int patience) {
    struct epoll_event ready[1024];
    int n = epoll_wait(poll, ready, 1024, patience);
    for (int i = 0; i < n; i++) {
        struct call *c = ready[i].data.ptr;
        uint64_t ticks;
        if (!c) {
            if (read(timer, &ticks, 8) < 0) continue;
        } else if (!read_call(c, size)) {
            broken++;
            epoll_ctl(poll, EPOLL_CTL_DEL, c->wire.fd, NULL);
        }
    }
}

/* What was due has half a second more to come; less, where no more than a look is taken. */
static uint64_t drain_for(uint64_t measured) { return measured < 2000000000ull ? measured / 4 : 500000000ull; }

/* Run until the end; return the processor time used between the warm-up and the end of what is measured. */
static double run(struct call *all, int calls, int poll, double seconds, double warmup, size_t size) {
    int timer, next = 0;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    int is_steady = 0, sends = mode == ECHO || mode == DUPLEX || mode == BARGEIN, gathers = sends && calls >= GATHER_FROM;
    uint64_t start = now_ns() + 50000000ull, steady = start + (uint64_t)(warmup * 1e9), armed = 0;
    uint64_t end = steady + (uint64_t)(seconds * 1e9), drain = end + (mode == SATURATED ? 0 : drain_for(end - steady));
    double used = 0;
    steady_from = steady, steady_to = end;
    timer = timerfd_create(CLOCK_MONOTONIC, gathers ? 0 : TFD_NONBLOCK);
    if (!gathers) epoll_ctl(poll, EPOLL_CTL_ADD, timer, &event);
    if (gathers) arm(timer, start, TICK);
    for (int i = 0; i < calls; i++) {
        all[i].due = start + PERIOD * i / calls;
        if (mode == SATURATED) send_audio(&all[i], now_ns(), size);
    }
    for (uint64_t now = now_ns(); now < drain; now = now_ns()) {
        if (!is_steady && now >= steady) {
            is_steady = 1;
            used = cpu_seconds();
            say("steady");
        }
        if (is_steady == 1 && now >= end) {
            is_steady = 2;
            used = cpu_seconds() - used;
            say("over");
        }
        while (sends && now >= all[next].due && all[next].due < end) {
            send_audio(&all[next], all[next].due, size);
            if (mode == BARGEIN && (all[next].sent + (uint64_t)next * 50 / calls) % 50 == 0) press_key(&all[next]);
            all[next].due += PERIOD;
            next = (next + 1) % calls;
        }
        uint64_t wake = sends && all[next].due < end ? all[next].due : now + 10000000ull;
        if (!is_steady && wake > steady) wake = steady;
        if (now < end && wake > end) wake = end;
        if (wake > drain) wake = drain;
        if (!gathers && wake != armed) arm(timer, armed = wake, 0);
        uint64_t ticks;
        /* A blocking timer: the tick is waited for first, and then everything is looked at that has come meanwhile. */
        if (gathers && read(timer, &ticks, 8) < 0) continue;
        serve_ready(poll, timer, size, gathers ? 0 : 100);
    }
    if (is_steady < 2) used = cpu_seconds() - used, say("over");
    return used;
}

/* Open all calls; those that are open are read meanwhile, lest their streams pile up. */
static struct call *open_all(char **argv, int calls, int poll, size_t size) {
    struct call *all = calloc(calls, sizeof *all);
    struct epoll_event event = {.events = EPOLLIN};
    int is_tls = !strcmp(argv[9], "tls");
    alarm(PATIENCE);
    if (is_tls) tls_begin(NULL);
    for (int i = 0; i < calls; i++) {
        open_call(&all[i], argv[1], atoi(argv[2]), argv[3], is_tls);
        if (*argv[10]) send_frame(&all[i], 1, (const unsigned char *)argv[10], strlen(argv[10]));
        event.data.ptr = &all[i];
        epoll_ctl(poll, EPOLL_CTL_ADD, all[i].wire.fd, &event);
        serve_ready(poll, -1, size, 0);
    }
    return all;
}

int main(int argc, char **argv) {
    if (argc != 11) return 2;
    int calls = atoi(argv[4]), poll = epoll_create1(EPOLL_CLOEXEC), known = 0;
    size_t size = atoi(argv[7]);
    double seconds = atof(argv[5]), warmup = atof(argv[6]);
    for (int i = 0; i <= IDLE; i++)
        if (!strcmp(argv[8], modes[i])) mode = i, known = 1;
    if (!known || calls < 1 || size < 16) return 2;
    signal(SIGPIPE, SIG_IGN);
    struct call *all = open_all(argv, calls, poll, size);
    alarm((unsigned)(seconds + warmup) + PATIENCE);
    double used = run(all, calls, poll, seconds, warmup, size);
    uint64_t never = mode == DUPLEX ? missing(all, calls) : 0;
    printf("{\"sent\":%llu,\"received\":%llu,\"missing\":%llu,\"out_of_order\":%llu,\"broken\":%llu,"
           "\"late\":%llu,\"early\":%llu,\"longest_episode\":%.3f,\"generator_cpu\":%.3f",
           (unsigned long long)sent_total, (unsigned long long)received_total, (unsigned long long)never,
           (unsigned long long)out_of_order, (unsigned long long)broken, (unsigned long long)late, (unsigned long long)early,
           longest / 1e6, used);
    print_histogram("latency", latency);
    print_histogram("slip", slip);
    print_histogram("tail", tail);
    printf("}\n");
    return 0;
}
