/* All-to-alls in flight: see flights.h. */
#include "comm/flights.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = SY_COMM_MAX_REQUESTS };

struct flight {      /* a rank's side of one exchange */
    uint64_t number; /* the last that it began in this slot; 0 none yet */
    const char *send;
    const int64_t *send_at;
    char *recv;
    const int64_t *recv_at;
    int left;               /* parts in and out that are not there yet; 0: the rank's buffers are its own again */
    unsigned char *taken;   /* [size] part of that rank to this one is there or on its way */
    pthread_cond_t changed; /* all have begun, or left became 0: this rank may sleep on it */
};

struct slot {
    pthread_mutex_t mutex;
    int begun;             /* ranks that have begun its newest exchange; all have: 0. Nobody is two exchanges ahead. */
    struct flight *flight; /* [size] */
};

struct sy_flights {
    int size;
    struct slot slot[SLOTS];
    uint64_t *newest; /* [size] number of a rank's last begin; each rank its own */
    struct flight *flight;
    unsigned char *taken;
};

struct sy_flights *sy_flights_create(int size) {
    size_t n = (size_t)size;
    struct sy_flights *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->newest = calloc(n, sizeof *f->newest);
    f->flight = calloc(n * SLOTS, sizeof *f->flight);
    f->taken = calloc(n * n, SLOTS);
    if (!f->newest || !f->flight || !f->taken) {
        sy_flights_destroy(f);
        return NULL;
    }
    for (size_t i = 0; i < n * SLOTS; i++) {
        f->flight[i].taken = f->taken + i * n;
        pthread_cond_init(&f->flight[i].changed, NULL);
    }
    for (size_t s = 0; s < SLOTS; s++) {
        f->slot[s].flight = f->flight + s * n;
        pthread_mutex_init(&f->slot[s].mutex, NULL);
    }
    f->size = size; /* complete */
    return f;
}

void sy_flights_destroy(struct sy_flights *f) {
    if (!f)
        return;
    for (int s = 0; s < SLOTS && f->size; s++) {
        pthread_mutex_destroy(&f->slot[s].mutex);
        for (int r = 0; r < f->size; r++)
            pthread_cond_destroy(&f->slot[s].flight[r].changed);
    }
    free(f->newest);
    free(f->flight);
    free(f->taken);
    free(f);
}

/* Moves one part if both ends are posted and nobody has taken it; returns whether. The lock is held before and after, not
 * while bytes move: neither end changes its posts as long as this part is left. */
static int carry(struct slot *s, uint64_t number, int from, int to) {
    struct flight *source = &s->flight[from], *target = &s->flight[to];
    if (source->number != number || target->number != number || target->taken[from])
        return 0;
    target->taken[from] = 1;
    int64_t first = source->send_at[to], bytes = source->send_at[to + 1] - first;
    if (bytes > 0) {
        const char *send = source->send + first;
        char *recv = target->recv + target->recv_at[from];
        pthread_mutex_unlock(&s->mutex);
        memcpy(recv, send, (size_t)bytes);
        pthread_mutex_lock(&s->mutex);
    }
    if (--source->left == 0)
        pthread_cond_signal(&source->changed);
    if (--target->left == 0) /* from == to: twice the same */
        pthread_cond_signal(&target->changed);
    return 1;
}

/* One round over the others: first what this rank gets, then what it gives. Not all start at the same rank. */
static int carry_all(const struct sy_flights *f, struct slot *s, uint64_t number, int rank) {
    int carried = 0;
    for (int i = 0; i < f->size; i++)
        carried += carry(s, number, (rank + i) % f->size, rank);
    for (int i = 1; i < f->size; i++)
        carried += carry(s, number, rank, (rank + i) % f->size);
    return carried;
}

/* Until all parts of this rank's request are there. The lock is held before and after. A round that carried nothing never
 * let the lock go, so that no change was missed when it goes to sleep. It is not woken by every begin, only by the last:
 * a part whose other end was posted in between is moved then, unless the other end has moved it. */
static void finish(const struct sy_flights *f, struct slot *s, uint64_t number, int rank) {
    struct flight *mine = &s->flight[rank];
    while (mine->number == number && mine->left > 0)
        if (!carry_all(f, s, number, rank))
            pthread_cond_wait(&mine->changed, &s->mutex);
}

void sy_flights_begin(struct sy_flights *f, int rank, const void *send, const int64_t *send_at, void *recv,
                      const int64_t *recv_at, struct sy_comm_request *request) {
    uint64_t number = ++f->newest[rank];
    struct slot *s = &f->slot[number % SLOTS];
    struct flight *mine = &s->flight[rank];
    pthread_mutex_lock(&s->mutex);
    finish(f, s, mine->number, rank); /* the one SLOTS before; its wait() then has nothing left to do */
    mine->number = number;
    mine->send = send;
    mine->send_at = send_at;
    mine->recv = recv;
    mine->recv_at = recv_at;
    mine->left = 2 * f->size;
    memset(mine->taken, 0, (size_t)f->size);
    if (++s->begun == f->size) {
        s->begun = 0;
        for (int r = 0; r < f->size; r++)
            pthread_cond_signal(&s->flight[r].changed);
    }
    pthread_mutex_unlock(&s->mutex);
    request->number = number;
}

void sy_flights_wait(struct sy_flights *f, int rank, struct sy_comm_request *request) {
    uint64_t number = request->number;
    if (number == 0)
        return;
    struct slot *s = &f->slot[number % SLOTS];
    pthread_mutex_lock(&s->mutex);
    finish(f, s, number, rank);
    pthread_mutex_unlock(&s->mutex);
    request->number = 0;
}

int sy_flights_open(struct sy_flights *f, int rank) {
    int open = 0;
    for (int i = 0; i < SLOTS; i++) {
        struct slot *s = &f->slot[i];
        pthread_mutex_lock(&s->mutex);
        open += s->flight[rank].left > 0;
        pthread_mutex_unlock(&s->mutex);
    }
    return open;
}
