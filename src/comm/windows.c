/* Ranks of `threads` that write into each other's memory: all of it is theirs, what is needed is when. See
 * comm.h.
 *
 * A writer raises flags when all its bytes are written; who waits sees the flag and so the bytes. Nobody
 * spins: the writer wakes those whose flags it raised, and a wait ends as every other does.
 */
#include "comm/team.h"

static sy_status write_begin(const struct sy_comm *c) {
    struct sy_team *t = c->state;
    sy_team_lock(t);
    sy_status status = sy_team_alive(c);
    if (status == SY_OK)
        sy_team_move_begin(t);
    sy_team_unlock(t);
    return status;
}

static void write_end(const struct sy_comm *c, sy_comm_flag *const *flag, uint64_t value) {
    struct sy_team *t = c->state;
    for (int r = 0; r < c->size; r++)
        atomic_store_explicit(flag[r], value, memory_order_release);
    sy_team_lock(t);
    sy_team_wake_all(t);
    sy_team_move_end(t);
    sy_team_unlock(t);
}

struct flags {
    const sy_comm_flag *flag;
    uint64_t value;
};

static int is_missing(const struct sy_comm *c, int rank, const void *arg) {
    const struct flags *f = arg;
    (void)c;
    return atomic_load_explicit(&f->flag[rank], memory_order_acquire) < f->value;
}

static int all_raised(const struct sy_comm *c, void *arg) {
    for (int r = 0; r < c->size; r++)
        if (is_missing(c, r, arg))
            return 0;
    return 1;
}

static sy_status wait_flags(const struct sy_comm *c, const sy_comm_flag *flag, uint64_t value) {
    struct sy_team *t = c->state;
    struct flags f = {flag, value};
    sy_team_lock(t);
    sy_status status = sy_team_wait(c, &(struct sy_need){"window", all_raised, is_missing, &f});
    sy_team_unlock(t);
    return status;
}

const struct sy_comm_windows sy_threads_windows = {write_begin, write_end, wait_flags};
