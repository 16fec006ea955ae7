/* Sums over ranks: see totals.h. */
#include "train/totals.h"

#include <stdlib.h>
#include <string.h>

struct named { /* what of a tally is not summed */
    int64_t bad_token, changed[3];
    int64_t overflow;
};

static int is_lower(int64_t token, int64_t than) {
    return token != SY_NO_TOKEN && (than == SY_NO_TOKEN || token < than);
}

/* Of all ranks the lowest tokens, the largest overflow. */
static void choose(const struct named *all, int n, struct named *lowest) {
    *lowest = all[0];
    for (int r = 1; r < n; r++) {
        if (is_lower(all[r].bad_token, lowest->bad_token))
            lowest->bad_token = all[r].bad_token;
        if (is_lower(all[r].changed[0], lowest->changed[0]))
            memcpy(lowest->changed, all[r].changed, sizeof lowest->changed);
        if (all[r].overflow > lowest->overflow)
            lowest->overflow = all[r].overflow;
    }
}

sy_status sy_tally_total(const struct sy_comm *c, sy_status mine, struct sy_tally *t) {
    struct named own = {t->bad_token, {t->changed[0], t->changed[1], t->changed[2]}, t->overflow};
    struct named *all = calloc((size_t)c->size, sizeof *all);
    _Static_assert(sizeof *t % sizeof(int64_t) == 0, "a tally is a list of int64_t");
    if (!all && mine == SY_OK)
        mine = sy_fail(SY_ERR_MEMORY, "no memory for the counts of %d ranks", c->size);
    sy_status status = c->ops->all_gather(c, mine, &own, sizeof own, all);
    if (status == SY_OK)
        status = c->ops->sum_i64(c, SY_OK, (int64_t *)t, (int64_t)(sizeof *t / sizeof(int64_t)));
    if (status == SY_OK && all) {
        choose(all, c->size, &own);
        t->bad_token = own.bad_token;
        memcpy(t->changed, own.changed, sizeof own.changed);
        t->overflow = own.overflow;
    }
    free(all);
    return status;
}
