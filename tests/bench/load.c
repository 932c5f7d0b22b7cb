/*
 * The load of the benchmark: streamers and many listeners, as RFC 6455 clients in one thread.
 *
 *     cc -O2 -Wall -Wextra -o load load.c
 *     ./load --port 8000 --streamer /ws/streamer/x/ --listener /ws/listener/x/ --listeners 500
 *
 * It knows no scenarios, only these options, which scenarios.py puts together:
 *
 *     --port N[,N...]    of the servers at 127.0.0.1. The streamers of several streams are spread
 *                        over them, and so are the listeners of one stream: the first of these is
 *                        at the port after its streamer's
 *     --streamer PATH    publish here; without it nothing is published
 *     --listener PATH    listen here
 *     --streams N        streams (1), each with a streamer; a # in the paths is the number of the
 *                        stream, from 000 to 999
 *     --listeners N      opened before anything is measured; the streams have them in turn
 *     --deaf N           further listeners that never read a byte after their handshake
 *     --joins N          listeners that join the live stream while it measures, which ends when
 *                        each of them has had its first publication
 *     --concurrency N    handshakes under way at once (64)
 *     --size N           bytes of a publication (128), at least 8
 *     --binary           binary frames instead of text
 *     --window N         publish while a stream's listeners have, on average, fewer than N to come
 *     --rate R           publish R times a second, on each stream
 *     --nap US           microseconds of sleep whenever all that came has been taken
 *     --idle S, --warmup S, --seconds S, --drain S
 *                        without publications at first; before, while and (at most) after it
 *                        measures
 *     --origin, --cookie, --protocol        values of the handshake's headers; a # in the cookie
 *                                           is the listener's number, from 000 to 999
 *
 * A publication begins with its number, eight digits, counted from 0 on its stream. Every
 * listener is held to it: what never came is lost, what came again is doubled, what came late is
 * reordered.
 *
 * It prints one JSON object per line: {"phase":"open"} when all connections stand, whereupon it
 * waits for a line on its standard input; then {"phase":"idle"}, {"phase":"warmup"},
 * {"phase":"measure"}, {"phase":"measured"}, and the result. It exits with 1 and a line on standard error when the scenario could not be run.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NUMBER_LENGTH 8               /* digits of a publication's number */
#define CARRY 1024                    /* the longest handshake reply or control frame kept */
#define READ_SIZE (256 * 1024)        /* bytes taken from a socket at a time */
#define OUTBOX_SIZE (64 * 1024 * 1024) /* bytes, for all streams together */
#define EVENTS 64                     /* a short batch, so that the streamer has its turn often */
#define SENT_AT (1 << 20)             /* publications whose time of sending is remembered */
#define SOURCES 16                    /* client addresses, 127.0.0.1 and up: ports and limits */
#define PORTS 16                      /* of servers, at the most */
#define OPEN_PATIENCE 120.0           /* seconds for all handshakes together */

/* RFC 6455, section 1.3: the sample nonce and its answer. */
#define NONCE "dGhlIHNhbXBsZSBub25jZQ=="
#define ANSWER "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

enum opcode { CONTINUATION = 0x0, TEXT = 0x1, BINARY = 0x2, CLOSE = 0x8, PING = 0x9, PONG = 0xA };
enum role { STREAMER, LISTENER, DEAF };
enum state { CONNECTING, HANDSHAKE, OPEN, GONE };

/* What one streamer feeds. */
struct stream {
    struct client *streamer;
    int64_t sent;           /* publications, all together */
    int64_t progress;       /* the sum of `expected` over the listeners that read */
    int64_t reading;        /* how many these are */
    double *sent_at;        /* when, of the last SENT_AT publications */
    uint8_t *outbox;        /* frames of the streamer, from out_begin to out_end */
    size_t out_begin, out_end;
    bool waiting;           /* until the streamer's socket takes more */
};

struct client {
    int fd;
    enum role role;
    enum state state;
    struct stream *stream;
    int64_t expected;      /* number of the next publication; -1 before the first of a joiner */
    uint64_t seen;         /* bit i: the publication `expected - 1 - i` has come */
    uint64_t lost;
    bool inside;           /* a payload is under way: */
    bool final;            /*   the last frame of its message */
    bool counted;          /*   a message with a number */
    int64_t number;        /*   its number */
    uint64_t rest;         /*   bytes of it still to come */
    size_t carried;        /* bytes in `carry`: a handshake reply or a frame's start, not whole */
    uint8_t carry[CARRY];
};

static struct {
    int ports[PORTS], port_count, streams, listeners, deaf, joins, concurrency, size, window, nap;
    double rate, idle, warmup, seconds, drain;
    const char *streamer, *listener, *origin, *cookie, *protocol;
    bool binary;
} option = {.streams = 1, .concurrency = 64, .size = 128, .warmup = 1, .seconds = 5, .drain = 10};

static struct {
    int64_t deliveries, doubled, reordered, strange;
    int opened, refused, closed, close_code;
    int unheard;            /* joiners that stand and wait for their first publication */
} count;

static int epoll;
static bool measuring;
static int under_way;       /* handshakes */
static double paced_from;
static struct stream *streams;
static struct client *clients;
static int client_count;
static float *latencies;    /* milliseconds */
static size_t latency_count, latency_room;
static uint8_t inbox[CARRY + READ_SIZE];

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec
        + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* -- What arrives ---------------------------------------------------------------------------- */

static void note_latency(double milliseconds)
{
    if (latency_count == latency_room) {
        latency_room = latency_room ? 2 * latency_room : 1 << 16;
        latencies = realloc(latencies, latency_room * sizeof *latencies);
        if (!latencies)
            fail("no memory for the latencies");
    }
    latencies[latency_count++] = milliseconds;
}

/* A publication came before the one that was expected: for the second time, or too late? */
static void look_back(struct client *c, int64_t number)
{
    int64_t back = c->expected - 1 - number;
    uint64_t bit = back < 64 ? 1ULL << back : 0;
    if (bit && !(c->seen & bit)) {
        c->seen |= bit;
        c->lost--;
        count.reordered++;
    } else {
        count.doubled++;
    }
}

static void step_to(struct client *c, int64_t number)
{
    int64_t step = number + 1 - c->expected;
    c->lost += step - 1;
    c->seen = step < 64 ? c->seen << step | 1 : 1;
    c->expected += step;
    c->stream->progress += step;
}

static void deliver(struct client *c, double arrived)
{
    struct stream *stream = c->stream;
    if (!c->counted || c->number < 0 || c->number >= stream->sent) {
        count.strange++;
        return;
    }
    if (measuring) {
        count.deliveries++;
        if (option.rate)
            note_latency((arrived - stream->sent_at[c->number % SENT_AT]) * 1e3);
    }
    if (c->expected < 0) {
        c->expected = c->number;
        stream->progress += c->number;
        stream->reading++;
        count.unheard--;
    }
    if (c->number >= c->expected)
        step_to(c, c->number);
    else
        look_back(c, c->number);
}

static int64_t number_of(const uint8_t *digits)
{
    int64_t number = 0;
    for (int i = 0; i < NUMBER_LENGTH; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return -1;
        number = number * 10 + digits[i] - '0';
    }
    return number;
}

static void leave(struct client *c, int code)
{
    if (c->role == STREAMER)
        fail("the server closed a streamer (code %d) after %ld publications", code,
             c->stream->sent);
    if (c->state == OPEN) {
        count.closed++;
        count.close_code = code;
        if (c->role == LISTENER && c->expected >= 0) {
            c->stream->progress -= c->expected;
            c->stream->reading--;
        } else if (c->role == LISTENER) {
            count.unheard--;
        }
    } else {
        under_way--;
        count.refused++;
    }
    c->state = GONE;
    close(c->fd);
}

/* Answers with a masked frame; the key is zero, the payload as it came. */
static void pong(struct client *c, const uint8_t *payload, size_t length)
{
    uint8_t frame[6 + 125] = {0x80 | PONG, 0x80 | length};
    memcpy(frame + 6, payload, length);
    send(c->fd, frame, 6 + length, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void control(struct client *c, int opcode, const uint8_t *payload, size_t length)
{
    if (opcode == PING)
        pong(c, payload, length);
    if (opcode == CLOSE)
        leave(c, length >= 2 ? payload[0] << 8 | payload[1] : 1005);
}

/* The length of the header at `data`, 0 when it is not whole yet; the payload's in `payload`. */
static size_t read_header(const uint8_t *data, size_t length, uint64_t *payload)
{
    if (length < 2)
        return 0;
    *payload = data[1] & 0x7f;
    size_t width = *payload == 126 ? 2 : *payload == 127 ? 8 : 0;
    if (length < 2 + width)
        return 0;
    if (width)
        *payload = 0;
    for (size_t i = 0; i < width; i++)
        *payload = *payload << 8 | data[2 + i];
    return 2 + width;
}

/* Goes on with the payload that is under way; returns how many of these bytes were its own. */
static size_t take_payload(struct client *c, size_t length, double arrived)
{
    size_t own = c->rest < length ? c->rest : length;
    c->rest -= own;
    if (c->rest == 0) {
        c->inside = false;
        if (c->final && c->role != STREAMER)
            deliver(c, arrived);
    }
    return own;
}

/*
 * Begins the frame at `data` and returns how many bytes that took: its header and, of a
 * publication, the number; a control frame is taken whole. 0 when more bytes are needed.
 */
static size_t take_start(struct client *c, const uint8_t *data, size_t length)
{
    uint64_t payload;
    size_t header = read_header(data, length, &payload);
    if (!header)
        return 0;
    int opcode = data[0] & 0x0f;
    size_t wanted = payload < NUMBER_LENGTH ? payload : NUMBER_LENGTH;
    if (opcode >= CLOSE)
        wanted = payload;
    if (opcode == CONTINUATION)
        wanted = 0;
    if (wanted > 125)
        fail("a control frame of %lu bytes", (unsigned long)payload);
    if (length < header + wanted)
        return 0;
    if (opcode >= CLOSE) {
        control(c, opcode, data + header, wanted);
        return header + wanted;
    }
    if (opcode != CONTINUATION) {
        c->counted = wanted == NUMBER_LENGTH;
        c->number = c->counted ? number_of(data + header) : -1;
    }
    c->final = data[0] & 0x80;
    c->inside = true;
    c->rest = payload - wanted;
    return header + wanted;
}

/* Takes all it can of `data`; returns how many bytes these were. The rest is a frame's start. */
static size_t take_frames(struct client *c, const uint8_t *data, size_t length, double arrived)
{
    size_t at = 0;
    while (c->state == OPEN) {
        if (c->inside) {
            at += take_payload(c, length - at, arrived);
            if (c->inside)
                return at;
        }
        size_t taken = take_start(c, data + at, length - at);
        if (!taken)
            return at;
        at += taken;
    }
    return length;
}

static void watch(struct client *c, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll, operation, c->fd, &event))
        fail("epoll_ctl: %s", strerror(errno));
}

/* Takes the reply to a handshake; returns its length, or 0 when it is not whole or refused. */
static size_t take_reply(struct client *c, uint8_t *data, size_t length)
{
    data[length] = 0;
    char *end = strstr((char *)data, "\r\n\r\n");
    if (!end)
        return 0;
    *end = 0;
    if (strncmp((char *)data, "HTTP/1.1 101", 12) || !strstr((char *)data, ANSWER)) {
        if (!count.refused)
            fprintf(stderr, "refused: %.*s\n", (int)strcspn((char *)data, "\r"), data);
        leave(c, 0);
        return 0;
    }
    c->state = OPEN;
    under_way--;
    count.opened++;
    if (c->role == LISTENER && c->expected >= 0)
        c->stream->reading++;
    else if (c->role == LISTENER)
        count.unheard++;
    else if (c->role == DEAF)
        watch(c, EPOLL_CTL_DEL, 0);
    return end + 4 - (char *)data;
}

static void receive(struct client *c)
{
    memcpy(inbox, c->carry, c->carried);
    ssize_t got = recv(c->fd, inbox + c->carried, READ_SIZE - 1, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        leave(c, 1006);
        return;
    }
    size_t length = c->carried + got, at = 0;
    if (c->state == HANDSHAKE)
        at = take_reply(c, inbox, length);
    if (c->state == OPEN)
        at += take_frames(c, inbox + at, length - at, now());
    if (c->state == GONE)
        return;
    c->carried = length - at;
    if (c->carried >= CARRY)
        fail("a handshake reply of more than %d bytes", CARRY);
    memcpy(c->carry, inbox + at, c->carried);
}

/* -- What is sent ---------------------------------------------------------------------------- */

static size_t outbox_size;             /* of a stream */
static uint8_t *frame;                 /* a publication, masked, all but its number */
static size_t frame_length, number_at;
static const uint8_t key[4] = {0x5a, 0xc3, 0x17, 0x88};

static void make_frame(void)
{
    size_t size = option.size, width = size < 126 ? 0 : size < 65536 ? 2 : 8;
    number_at = 2 + width + 4;
    frame_length = number_at + size;
    frame = malloc(frame_length);
    if (!frame)
        fail("no memory for a frame");
    frame[0] = 0x80 | (option.binary ? BINARY : TEXT);
    frame[1] = 0x80 | (width == 0 ? size : width == 2 ? 126 : 127);
    for (size_t i = 0; i < width; i++)
        frame[2 + i] = size >> 8 * (width - 1 - i);
    memcpy(frame + 2 + width, key, 4);
    for (size_t i = 0; i < size; i++)
        frame[number_at + i] = 'x' ^ key[i % 4];
}

static void make_streams(void)
{
    outbox_size = OUTBOX_SIZE / option.streams;
    streams = calloc(option.streams, sizeof *streams);
    for (int i = 0; streams && i < option.streams; i++) {
        streams[i].sent_at = malloc(SENT_AT * sizeof *streams[i].sent_at);
        streams[i].outbox = malloc(outbox_size);
        if (!streams[i].sent_at || !streams[i].outbox)
            fail("no memory for %d streams", option.streams);
    }
    if (!streams)
        fail("no memory for %d streams", option.streams);
}

static void publish(struct stream *s)
{
    if (s->out_end + frame_length > outbox_size) {
        memmove(s->outbox, s->outbox + s->out_begin, s->out_end - s->out_begin);
        s->out_end -= s->out_begin;
        s->out_begin = 0;
    }
    uint8_t *place = s->outbox + s->out_end;
    memcpy(place, frame, frame_length);
    int64_t number = s->sent;
    for (int i = NUMBER_LENGTH - 1; i >= 0; i--, number /= 10)
        place[number_at + i] = ('0' + number % 10) ^ key[i % 4];
    s->out_end += frame_length;
    s->sent_at[s->sent++ % SENT_AT] = now();
}

static bool may_publish(struct stream *s, double moment)
{
    if (s->out_end - s->out_begin + frame_length > outbox_size)
        return false;
    if (option.window && s->sent * s->reading - s->progress >= option.window * s->reading)
        return false;
    return !option.rate || s->sent < (moment - paced_from) * option.rate;
}

static void flush_outbox(struct stream *s)
{
    while (s->out_begin < s->out_end) {
        ssize_t sent = send(s->streamer->fd, s->outbox + s->out_begin, s->out_end - s->out_begin,
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN)
            break;
        if (sent < 0)
            leave(s->streamer, 1006);
        s->out_begin += sent;
    }
    if (s->out_begin == s->out_end)
        s->out_begin = s->out_end = 0;
    if (s->waiting != (s->out_end > 0)) {
        s->waiting = s->out_end > 0;
        watch(s->streamer, EPOLL_CTL_MOD, EPOLLIN | (s->waiting ? EPOLLOUT : 0));
    }
}

/* Puts `text` into `place`, with three digits of `number` instead of its #. */
static void fill_in(char *place, int room, const char *text, int number)
{
    int head = strcspn(text, "#"), length = text[head]
        ? snprintf(place, room, "%.*s%03d%s", head, text, number % 1000, text + head + 1)
        : snprintf(place, room, "%s", text);
    if (length >= room)
        fail("a path or the cookie is too long");
}

static void send_request(struct client *c)
{
    static int next; /* the cookie is of somebody else each time */
    char request[4096], path[1024], cookie[1024] = "";
    fill_in(path, sizeof path, c->role == STREAMER ? option.streamer : option.listener,
            c->stream - streams);
    if (option.cookie)
        fill_in(cookie, sizeof cookie, option.cookie, next++);
    /* All servers are one site, whose address is the first one's: so the origin fits. */
    int length = snprintf(request, sizeof request,
        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " NONCE "\r\n%s%s%s%s%s%s%s%s%s\r\n",
        path, option.ports[0],
        option.origin ? "Origin: " : "", option.origin ? option.origin : "",
        option.origin ? "\r\n" : "",
        option.cookie ? "Cookie: " : "", cookie, option.cookie ? "\r\n" : "",
        option.protocol ? "Sec-WebSocket-Protocol: " : "", option.protocol ? option.protocol : "",
        option.protocol ? "\r\n" : "");
    if (length >= (int)sizeof request)
        fail("the handshake's headers are too long");
    if (send(c->fd, request, length, MSG_DONTWAIT | MSG_NOSIGNAL) != length) {
        leave(c, 0);
        return;
    }
    c->state = HANDSHAKE;
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

/* -- Connections ----------------------------------------------------------------------------- */

static struct sockaddr_in address(int last_byte, int port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + last_byte),
    };
}

/* Opens the client of this number among those of its role. */
static void begin(enum role role, int number, bool live)
{
    int stream = number % option.streams, round = number / option.streams;
    int port = option.ports[(stream + (role != STREAMER) + round) % option.port_count];
    struct client *c = &clients[client_count];
    int one = 1, source = 1 + client_count++ % SOURCES;
    *c = (struct client){.role = role, .expected = live ? -1 : 0, .stream = &streams[stream]};
    if (role == STREAMER)
        c->stream->streamer = c;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        fail("socket: %s", strerror(errno));
    struct sockaddr_in from = address(source, 0), to = address(1, port);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from))
        fail("bind: %s", strerror(errno));
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS)
        fail("connect: %s", strerror(errno));
    under_way++;
    watch(c, EPOLL_CTL_ADD, EPOLLOUT);
}

static void handle(struct epoll_event *event)
{
    struct client *c = event->data.ptr;
    if (c->state == CONNECTING && event->events & (EPOLLERR | EPOLLHUP))
        leave(c, 1006);
    else if (c->state == CONNECTING)
        send_request(c);
    else if (c->state != GONE && event->events & (EPOLLIN | EPOLLERR | EPOLLHUP))
        receive(c);
}

/*
 * A server on the same machine pays in each send() for waking a client that waits for it; one
 * whose clients are elsewhere does not. So a load that is to find out how fast a server can be
 * does not wait: it sleeps a little and then takes what is there.
 */
static void nap(void)
{
    struct timespec time = {.tv_nsec = option.nap * 1000L};
    nanosleep(&time, NULL);
}

/* One turn: publish what may be published, then take what came, at the latest at `until`. */
static void turn(bool publishing, double until)
{
    static bool more;
    struct epoll_event events[EVENTS];
    double moment = now(), next = until;
    for (struct stream *s = streams; s < streams + option.streams; s++) {
        while (publishing && may_publish(s, moment))
            publish(s);
        if (s->streamer && s->streamer->state == OPEN)
            flush_outbox(s);
        if (publishing && option.rate) {
            double due = paced_from + s->sent / option.rate;
            if (due > moment && due < next)
                next = due;
        }
    }
    bool naps = publishing && option.nap;
    if (naps && !more)
        nap();
    int wait = next > moment && !naps ? (int)((next - moment) * 1e3) + 1 : 0;
    int n = epoll_wait(epoll, events, EVENTS, wait);
    more = n == EVENTS;
    for (int i = 0; i < n; i++)
        handle(&events[i]);
}

/*
 * Opens `wanted` more clients, at most `concurrency` at once. On a `live` stream, which goes on
 * meanwhile, that ends when each has heard its first publication.
 */
static void open_clients(enum role role, int wanted, bool live)
{
    double until = now() + OPEN_PATIENCE;
    int opened_before = count.opened;
    for (int begun = 0; begun < wanted || under_way || count.unheard;) {
        for (; begun < wanted && under_way < option.concurrency; begun++)
            begin(role, begun, live);
        turn(live, until);
        if (now() > until)
            fail("after %g s %d of %d connections stood", OPEN_PATIENCE,
                 count.opened - opened_before, wanted);
    }
}

static void open_all(void)
{
    if (option.streamer)
        open_clients(STREAMER, option.streams, false);
    open_clients(DEAF, option.deaf, false);
    open_clients(LISTENER, option.listeners, false);
    if (count.refused || count.closed)
        fail("%d connections were refused, %d closed (code %d)", count.refused, count.closed,
             count.close_code);
}

/* -- The run --------------------------------------------------------------------------------- */

static void run(double seconds, bool publishing)
{
    for (double until = now() + seconds; now() < until;)
        turn(publishing, until);
}

static bool all_arrived(void)
{
    for (int i = 0; i < option.streams; i++)
        if (streams[i].progress < streams[i].sent * streams[i].reading)
            return false;
    return true;
}

static void drain(void)
{
    double until = now() + option.drain;
    while (now() < until && !all_arrived())
        turn(false, now() + 0.01);
}

static int64_t sent(void)
{
    int64_t sum = 0;
    for (int i = 0; i < option.streams; i++)
        sum += streams[i].sent;
    return sum;
}

static int64_t lost(void)
{
    int64_t sum = 0;
    for (int i = 0; i < client_count; i++) {
        struct client *c = &clients[i];
        if (c->role == LISTENER && c->state == OPEN && c->expected >= 0)
            sum += c->lost + c->stream->sent - c->expected;
    }
    return sum;
}

static void phase(const char *name)
{
    printf("{\"phase\":\"%s\"}\n", name);
    fflush(stdout);
}

static int compare(const void *a, const void *b)
{
    float left = *(const float *)a, right = *(const float *)b;
    return (left > right) - (left < right);
}

static double latency(double share)
{
    return latency_count ? latencies[(size_t)((latency_count - 1) * share)] : 0;
}

/* Measures the scenario and prints its result. */
static void measure(void)
{
    phase("idle");
    run(option.idle, false);
    phase("warmup");
    paced_from = now();
    run(option.warmup, option.streamer);
    phase("measure");
    int64_t sent_before = sent();
    int opened_before = count.opened;
    double from = now(), cpu_from = cpu_seconds();
    measuring = true;
    if (option.joins)
        open_clients(LISTENER, option.joins, true);
    else
        run(option.seconds, option.streamer);
    measuring = false;
    double seconds = now() - from, cpu = cpu_seconds() - cpu_from;
    int64_t publications = sent() - sent_before;
    int joined = count.opened - opened_before;
    phase("measured");
    drain();
    if (latency_count)
        qsort(latencies, latency_count, sizeof *latencies, compare);
    printf("{\"seconds\":%.4f,\"cpu\":%.3f,\"publications\":%ld,\"deliveries\":%ld,\"joins\":%d,"
           "\"p50\":%.3f,\"p99\":%.3f,\"max\":%.3f,\"lost\":%ld,\"doubled\":%ld,"
           "\"reordered\":%ld,\"strange\":%ld,\"refused\":%d,\"closed\":%d,\"close_code\":%d}\n",
           seconds, seconds > 0 ? cpu / seconds : 0, publications, count.deliveries, joined,
           latency(0.5), latency(0.99), latency(1), lost(), count.doubled, count.reordered,
           count.strange, count.refused, count.closed, count.close_code);
}

static void read_ports(char *text)
{
    for (char *part = strtok(text, ","); part; part = strtok(NULL, ",")) {
        if (option.port_count == PORTS)
            fail("more than %d ports", PORTS);
        option.ports[option.port_count++] = atoi(part);
    }
}

static void read_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"port", 1, 0, 'p'}, {"streamer", 1, 0, 's'}, {"listener", 1, 0, 'l'},
        {"listeners", 1, 0, 'n'}, {"streams", 1, 0, 'm'}, {"deaf", 1, 0, 'd'}, {"joins", 1, 0, 'j'},
        {"concurrency", 1, 0, 'c'}, {"size", 1, 0, 'z'}, {"binary", 0, 0, 'b'},
        {"window", 1, 0, 'w'}, {"rate", 1, 0, 'r'}, {"nap", 1, 0, 'a'}, {"idle", 1, 0, 'i'},
        {"warmup", 1, 0, 'u'},
        {"seconds", 1, 0, 't'}, {"drain", 1, 0, 'e'}, {"origin", 1, 0, 'o'},
        {"cookie", 1, 0, 'k'}, {"protocol", 1, 0, 'q'}, {0, 0, 0, 0},
    };
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (c) {
        case 'p': read_ports(optarg); break;
        case 's': option.streamer = optarg; break;
        case 'l': option.listener = optarg; break;
        case 'm': option.streams = atoi(optarg); break;
        case 'n': option.listeners = atoi(optarg); break;
        case 'd': option.deaf = atoi(optarg); break;
        case 'j': option.joins = atoi(optarg); break;
        case 'c': option.concurrency = atoi(optarg); break;
        case 'z': option.size = atoi(optarg); break;
        case 'b': option.binary = true; break;
        case 'w': option.window = atoi(optarg); break;
        case 'r': option.rate = atof(optarg); break;
        case 'a': option.nap = atoi(optarg); break;
        case 'i': option.idle = atof(optarg); break;
        case 'u': option.warmup = atof(optarg); break;
        case 't': option.seconds = atof(optarg); break;
        case 'e': option.drain = atof(optarg); break;
        case 'o': option.origin = optarg; break;
        case 'k': option.cookie = optarg; break;
        case 'q': option.protocol = optarg; break;
        default: exit(2);
        }
    }
    if (!option.port_count || !option.listener || option.size < NUMBER_LENGTH)
        fail("--port and --listener are needed; --size is at least %d", NUMBER_LENGTH);
    if (option.streams < 1)
        fail("--streams is at least 1");
    if (option.streamer && !option.window && !option.rate)
        fail("a streamer needs a --window or a --rate");
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    int total = option.streams + option.deaf + option.listeners + option.joins;
    struct rlimit files = {total + 64, total + 64};
    if (setrlimit(RLIMIT_NOFILE, &files))
        fail("setrlimit to %d open files: %s", total + 64, strerror(errno));
    clients = calloc(total, sizeof *clients);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!clients || epoll < 0)
        fail("no memory for %d clients", total);
    make_frame();
    make_streams();
    open_all();
    phase("open");
    char line[16];
    if (fgets(line, sizeof line, stdin))
        measure();
    return 0;
}
