/* A page over HTTP: see serve.h. */
#include "report/serve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

enum { HEAD_BYTES = 256, BACKLOG = 128 };

struct client {
    int fd; /* -1: nobody */
    double since;
    size_t got, n, sent; /* of the request; of the answer, 0: not yet made */
    char *request, *answer;
};

struct sy_serve {
    struct sy_serve_options o;
    int wake; /* readable: the end */
    pthread_t thread;
    char *memory;
    struct client client[SY_SERVE_CLIENTS];
};

/* --- listening ------------------------------------------------------------------------------------------ */

static socklen_t parse(const char *address, int port, struct sockaddr_storage *out) {
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, address, &v4.sin_addr) == 1) {
        memcpy(out, &v4, sizeof v4);
        return sizeof v4;
    }
    if (inet_pton(AF_INET6, address, &v6.sin6_addr) == 1) {
        memcpy(out, &v6, sizeof v6);
        return sizeof v6;
    }
    return 0;
}

sy_status sy_serve_listen(const char *address, int port, const char *key_address, const char *key_port,
                          int *out) {
    struct sockaddr_storage at = {0};
    socklen_t n = parse(address, port, &at);
    int one = 1;
    if (n == 0)
        SY_FAIL(SY_ERR_USAGE, "%s = \"%.100s\": must be an address such as 127.0.0.1, ::1 or 0.0.0.0",
                key_address, address);
    int fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one,
                   sizeof one); /* one that ended a moment ago is no one */
    if (fd >= 0 && bind(fd, (struct sockaddr *)&at, n) == 0 && listen(fd, BACKLOG) == 0) {
        *out = fd;
        return SY_OK;
    }
    int why = errno;
    if (fd >= 0)
        close(fd);
    SY_FAIL(SY_ERR_RUNTIME, "%s = %d: %s:%d %s: choose another port, or 0 for none", key_port, port, address,
            port, why == EADDRINUSE ? "is in use, by another run or program" : strerror(why));
}

/* --- a client ------------------------------------------------------------------------------------------- */

static void drop(struct client *c) {
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static size_t refuse(const struct client *c, const char *status, const char *more) {
    return (size_t)snprintf(c->answer, HEAD_BYTES,
                            "HTTP/1.1 %s\r\nContent-Length: 0\r\n%sConnection: close\r\n\r\n", status, more);
}

/* The page behind its head, which says how long it is. */
static size_t page(const struct sy_serve *s, const struct client *c, int body) {
    char head[HEAD_BYTES];
    size_t n = s->o.page(s->o.self, c->answer + HEAD_BYTES, s->o.page_bytes);
    int h =
        snprintf(head, sizeof head,
                 "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
                 s->o.type, n);
    memcpy(c->answer, head, (size_t)h);
    if (!body)
        return (size_t)h;
    memmove(c->answer + h, c->answer + HEAD_BYTES, n);
    return (size_t)h + n;
}

static int starts(const struct client *c, const char *text) {
    size_t n = strlen(text);
    return c->got >= n && memcmp(c->request, text, n) == 0;
}

/* The first line says it all: "GET /metrics HTTP/1.1", perhaps with a question mark and what follows. */
static size_t answer(const struct sy_serve *s, const struct client *c) {
    int get = starts(c, "GET "), head = starts(c, "HEAD ");
    const char *path = c->request + (get ? 4 : 5), *end = c->request + c->got;
    size_t n = 0;
    if (!get && !head)
        return refuse(c, "405 Method Not Allowed", "Allow: GET, HEAD\r\n");
    while (path + n < end && !strchr(" ?\r\n", path[n]) && path[n])
        n++;
    if ((n == 1 && path[0] == '/') || (n == 8 && memcmp(path, "/metrics", 8) == 0))
        return page(s, c, get);
    return refuse(c, "404 Not Found", "");
}

static int is_whole(const struct client *c) {
    return memmem(c->request, c->got, "\r\n\r\n", 4) || memmem(c->request, c->got, "\n\n", 2);
}

static void read_some(const struct sy_serve *s, struct client *c) {
    ssize_t n = recv(c->fd, c->request + c->got, SY_SERVE_REQUEST - c->got, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        drop(c);
        return;
    }
    c->got += (size_t)n;
    if (is_whole(c))
        c->n = answer(s, c);
    else if (c->got == SY_SERVE_REQUEST)
        c->n = refuse(c, "431 Request Header Fields Too Large", "");
}

static void send_some(struct client *c) {
    ssize_t n = send(c->fd, c->answer + c->sent, c->n - c->sent, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        c->sent += (size_t)n;
    if (n < 0 || c->sent == c->n)
        drop(c);
}

/* --- the thread ----------------------------------------------------------------------------------------- */

/* 0: nobody waits. */
static int take(struct sy_serve *s) {
    struct client *c = &s->client[0];
    int fd = accept4(s->o.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return 0;
    for (int i = 0; i < SY_SERVE_CLIENTS && c->fd >= 0; i++)
        if (s->client[i].fd < 0 || s->client[i].since < c->since)
            c = &s->client[i];
    drop(c);
    *c = (struct client){.fd = fd, .since = sy_clock(), .request = c->request, .answer = c->answer};
    return 1;
}

/* ms until the first client's time is over; those whose is over are dropped. */
static int time_left(struct sy_serve *s) {
    double now = sy_clock(), least = -1;
    for (int i = 0; i < SY_SERVE_CLIENTS; i++) {
        struct client *c = &s->client[i];
        if (c->fd >= 0 && now - c->since >= s->o.seconds)
            drop(c);
        if (c->fd >= 0 && (least < 0 || c->since + s->o.seconds - now < least))
            least = c->since + s->o.seconds - now;
    }
    return least < 0 ? -1 : (int)(1e3 * least) + 1;
}

static void *work(void *arg) {
    struct sy_serve *s = arg;
    pthread_setschedparam(pthread_self(), SCHED_IDLE,
                          &(struct sched_param){0}); /* refused: as other threads */
    for (;;) {
        struct pollfd p[2 + SY_SERVE_CLIENTS] = {{s->wake, POLLIN, 0}, {s->o.listener, POLLIN, 0}};
        int ms = time_left(s);
        for (int i = 0; i < SY_SERVE_CLIENTS; i++)
            p[2 + i] = (struct pollfd){s->client[i].fd, s->client[i].n ? POLLOUT : POLLIN, 0};
        if (poll(p, 2 + SY_SERVE_CLIENTS, ms) < 0 && errno != EINTR)
            return NULL;
        if (p[0].revents)
            return NULL;
        for (int i = 0; i < SY_SERVE_CLIENTS; i++) {
            struct client *c = &s->client[i];
            if (c->fd < 0 || !p[2 + i].revents)
                continue;
            if (c->n)
                send_some(c);
            else
                read_some(s, c);
        }
        for (int i = 0; p[1].revents && i < SY_SERVE_CLIENTS && take(s);)
            i++;
    }
}

/* Signals are for the threads that were there before. */
static int start_thread(struct sy_serve *s) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&s->thread, NULL, work, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return !failed;
}

static void destroy(struct sy_serve *s) {
    for (int i = 0; i < SY_SERVE_CLIENTS; i++)
        drop(&s->client[i]);
    if (s->wake >= 0)
        close(s->wake);
    close(s->o.listener);
    free(s->memory);
    free(s);
}

sy_status sy_serve_begin(const struct sy_serve_options *o, struct sy_serve **out) {
    size_t each = SY_SERVE_REQUEST + HEAD_BYTES + o->page_bytes;
    struct sy_serve *s = calloc(1, sizeof *s);
    if (s)
        s->memory = calloc(SY_SERVE_CLIENTS, each);
    if (!s || !s->memory) {
        free(s);
        close(o->listener);
        SY_FAIL(SY_ERR_MEMORY, "no memory for a server of pages of %zu bytes", o->page_bytes);
    }
    s->o = *o;
    for (int i = 0; i < SY_SERVE_CLIENTS; i++)
        s->client[i] = (struct client){.fd = -1,
                                       .request = s->memory + (size_t)i * each,
                                       .answer = s->memory + (size_t)i * each + SY_SERVE_REQUEST};
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->wake < 0 || !start_thread(s)) {
        destroy(s);
        SY_FAIL(SY_ERR_RUNTIME, "a thread that serves could not be started");
    }
    *out = s;
    return SY_OK;
}

void sy_serve_end(struct sy_serve *s) {
    uint64_t one = 1;
    if (!s)
        return;
    pthread_setschedparam(s->thread, SCHED_OTHER, &(struct sched_param){0}); /* now it is waited for */
    while (write(s->wake, &one, sizeof one) < 0 && errno == EINTR)
        ;
    pthread_join(s->thread, NULL);
    destroy(s);
}
