/* Collectives of `threads` in which all ranks meet:   show what you have | meeting | move | meeting.
 *
 * The first meeting agrees on a status; if it is not OK, all go. After the second anyone's memory may
 * change again. What is moved lies in the others' memory, where each rank reads (or, in a sum, reads and
 * writes) what falls to it.
 */
#include <assert.h>
#include <string.h>

#include "comm/team.h"

static int has_met(const struct sy_comm *c, void *number) {
    const struct sy_team *t = c->state;
    return t->meeting != *(const uint64_t *)number;
}

static int has_not_come(const struct sy_comm *c, int rank, const void *number) {
    const struct sy_team *t = c->state;
    return t->member[rank].met != *(const uint64_t *)number;
}

/* The mutex is held before and after, and from the last rank's coming until this one is back. */
static sy_status meet(const struct sy_comm *c, const char *operation, sy_status mine) {
    struct sy_team *t = c->state;
    uint64_t number = t->meeting;
    struct sy_fault *fault = &t->fault[number % 2];
    SY_TRY(sy_team_alive(c));
    if (t->here == 0)
        fault->status = SY_OK;
    sy_fault_add(fault, c->rank, mine, sy_error_message());
    t->member[c->rank].met = number;
    if (++t->here == t->size) {
        t->here = 0;
        t->meeting++;
        sy_team_wake_all(t);
    } else {
        SY_TRY(sy_team_wait(c, &(struct sy_need){operation, has_met, has_not_come, &number}));
    }
    return sy_fault_status(c, fault);
}

/* data: what the others see of this rank in member[rank].data while they move; move NULL: nothing is. */
static sy_status collective(const struct sy_comm *c, const char *operation, sy_status mine, void *data,
                            void (*move)(const struct sy_comm *c, const struct sy_member *all, void *arg),
                            void *arg) {
    struct sy_team *t = c->state;
    sy_team_lock(t);
    sy_status status = sy_team_alive(c);
    if (status == SY_OK) {
        t->member[c->rank].data = data;
        status = meet(c, operation, mine);
    }
    if (status == SY_OK && move && sy_team_move_begin(t)) {
        sy_team_unlock(t);
        move(c, t->member, arg);
        sy_team_lock(t);
        sy_team_move_end(t);
    }
    if (status == SY_OK && move)
        status = meet(c, operation, SY_OK);
    sy_team_unlock(t);
    return status;
}

sy_status sy_threads_agree(const struct sy_comm *c, sy_status mine) {
    return collective(c, "agree", mine, NULL, NULL, NULL);
}

/* --- all_gather, broadcast ------------------------------------------------------------------------ */

struct block {
    int root;
    size_t bytes;
    char *recv;
};

static void gather(const struct sy_comm *c, const struct sy_member *all, void *arg) {
    const struct block *b = arg;
    for (int r = 0; b->bytes && r < c->size; r++)
        memcpy(b->recv + (size_t)r * b->bytes, all[r].data, b->bytes);
}

sy_status sy_threads_all_gather(const struct sy_comm *c, sy_status mine, const void *send, size_t bytes,
                                void *recv) {
    return collective(c, "all_gather", mine, (void *)(uintptr_t)send, gather,
                      &(struct block){.bytes = bytes, .recv = recv});
}

static void take_root(const struct sy_comm *c, const struct sy_member *all, void *arg) {
    const struct block *b = arg;
    if (c->rank != b->root && b->bytes)
        memcpy(b->recv, all[b->root].data, b->bytes);
}

sy_status sy_threads_broadcast(const struct sy_comm *c, sy_status mine, int root, void *data, size_t bytes) {
    assert(root >= 0 && root < c->size);
    return collective(c, "broadcast", mine, data, take_root,
                      &(struct block){.root = root, .bytes = bytes, .recv = data});
}

/* --- sum ------------------------------------------------------------------------------------------ */

/* Each rank sums a range of the elements, out of all ranks' memory and into it. */
static void sum_range(const struct sy_comm *c, const struct sy_member *all, void *arg) {
    enum { PIECE = 256 };
    int64_t n = *(const int64_t *)arg, each = n / c->size, more = n % c->size;
    int64_t first = c->rank * each + (c->rank < more ? c->rank : more), end = first + each + (c->rank < more);
    for (; first < end; first += PIECE) {
        int64_t count = end - first < PIECE ? end - first : PIECE;
        uint64_t sum[PIECE] = {0};
        for (int r = 0; r < c->size; r++)
            for (int64_t i = 0; i < count; i++)
                sum[i] += (uint64_t)((const int64_t *)all[r].data)[first + i];
        for (int r = 0; r < c->size; r++)
            memcpy((int64_t *)all[r].data + first, sum, (size_t)count * sizeof *sum);
    }
}

sy_status sy_threads_sum_i64(const struct sy_comm *c, sy_status mine, int64_t *v, int64_t n) {
    return collective(c, "sum_i64", mine, v, sum_range, &n);
}
