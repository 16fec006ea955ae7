/* The planted bug ties_higher: see plant_ties.h. */
#include "train/plant_ties.h"

#include <stdlib.h>

static float choice(const struct sy_router_fwd *op, int64_t t, int64_t e) {
    const float *from = op->score_func == SY_ROUTER_TOPK_SOFTMAX ? op->logits : op->s;
    return from[t * op->experts + e] + (op->bias ? op->bias[e] : 0.0f);
}

/* Groups are chosen as they are: of a tie in one of them, the higher ids. */
static int64_t group_of(const struct sy_router_fwd *op, int64_t e) {
    return op->groups > 0 ? e / (op->experts / op->groups) : 0;
}

static int is_chosen(const struct sy_router_fwd *op, const int32_t *ids, int64_t e) {
    for (int64_t i = 0; i < op->top_k; i++)
        if (ids[i] == e)
            return 1;
    return 0;
}

/* One more that the worst of the chosen ties with, and that has a higher id, in its place; 0: there is none.
 * ids stay ascending. */
static int move_up(const struct sy_router_fwd *op, int64_t t, int32_t *ids) {
    int64_t worst = 0;
    for (int64_t i = 1; i < op->top_k; i++)
        if (choice(op, t, ids[i]) < choice(op, t, ids[worst]))
            worst = i;
    for (int64_t e = op->experts - 1; e > ids[worst]; e--) {
        if (is_chosen(op, ids, e) || choice(op, t, e) != choice(op, t, ids[worst]) ||
            group_of(op, e) != group_of(op, ids[worst]))
            continue;
        for (; worst + 1 < op->top_k && ids[worst + 1] < e; worst++)
            ids[worst] = ids[worst + 1];
        ids[worst] = (int32_t)e;
        return 1;
    }
    return 0;
}

static const struct sy_ops *right_ops(const char *tier) {
    const char *why;
    for (int i = 0; i < sy_ops_n_tiers(); i++)
        if (strcmp(sy_ops_tier_name(i), tier) == 0)
            return sy_ops_tier(i, &why);
    return NULL;
}

/* As it should be; then with the ids that a tie would have given. Without memory nothing is planted, and
 * verify says that nothing was caught. */
static void router_fwd(const struct sy_exec *x, const struct sy_router_fwd *op) {
    const struct sy_ops *right = right_ops(x->ops->tier);
    struct sy_router_fwd again = *op;
    size_t n = (size_t)(op->tokens * op->top_k);
    int32_t *ids = malloc(n * sizeof *ids + 1);
    right->router_fwd(x, op);
    if (ids && !op->given && !op->forced) {
        memcpy(ids, op->ids, n * sizeof *ids);
        for (int64_t t = 0; t < op->tokens; t++)
            while (move_up(op, t, ids + t * op->top_k)) {
            }
        again.given = ids;
        right->router_fwd(x, &again);
    }
    free(ids);
}

void sy_plant_ties(struct sy_exec *x, struct sy_ops *table) {
    *table = *x->ops;
    table->router_fwd = router_fwd;
    x->ops = table;
}
