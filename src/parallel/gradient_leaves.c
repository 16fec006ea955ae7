/* Pieces of leaves: where their sums go, and what the end of a lane makes possible. See gradient_sums.h. */
#include <assert.h>

#include "ops/trace.h"
#include "parallel/gradient_sums.h"

struct sy_leaf_target sy_leaf_target(struct sy_gradients *g, struct sy_gradient_sum *s, int item,
                                     const struct sy_leaf_piece *p, float *leaf) {
    g->work.cut += (!p->begins + !p->ends) * s->tree.size[item];
    if (!p->ends) {
        assert(leaf);
        return (struct sy_leaf_target){p->begins ? NULL : leaf, leaf, 0};
    }
    struct sy_tree_sum sum = sy_tree_lane(&s->tree, item, p->lane, g->o.walk.rounds == 1);
    g->work.folded += !sum.fresh * s->tree.size[item];
    return (struct sy_leaf_target){p->begins ? NULL : leaf, sum.sum, !sum.fresh};
}

void sy_leaf_add_up(struct sy_gradients *g, int n) {
    if (n > 0)
        g->o.exec->ops->add_f32(g->o.exec, &(struct sy_add_f32){g->add, n});
}

/* Shows a sum to whoever looks: of one lane when a leaf has been added, of a node when it is formed. */
static void show(const struct sy_gradients *g, const struct sy_gradient_sum *s, int item,
                 const struct sy_tree_join *of, int64_t round) {
    const struct sy_trace *t = g->o.exec->trace;
    int param = 0;
    if (!t)
        return;
    while (g->item[param] != item ||
           (sy_gradient_param(g, param)->kind == SY_PARAM_EXPERT) != (s == &g->experts))
        param++;
    t->sum(t->self, &(struct sy_trace_sum){param, of->first, of->n_lanes, round, s->tree.size[item], of->to});
}

/* What a join has made: the node above the lanes that were added, past those without a sibling. */
static struct sy_tree_join made_by(const struct sy_gradient_sum *s, const struct sy_tree_join *j) {
    int64_t size = 1, first, end;
    while (size < j->n_lanes)
        size *= 2;
    do {
        size *= 2;
        first = j->first / size * size;
        end = sy_gradient_least(first + size, s->tree.leaves);
    } while (end - first == j->n_lanes);
    return (struct sy_tree_join){j->to, NULL, first, end - first};
}

void sy_leaf_show(const struct sy_gradients *g, const struct sy_gradient_sum *s, int item,
                  const struct sy_leaf_piece *p, float *out) {
    if (p->ends)
        show(g, s, item, &(struct sy_tree_join){out, NULL, p->lane, 1}, p->round);
}

/* Adds up what the end of a lane makes possible; returns the number of items now in g->add. */
int sy_leaf_finish(struct sy_gradients *g, struct sy_gradient_sum *s, int item, const struct sy_leaf_piece *p,
                   int n) {
    struct sy_tree_join joins[SY_TREE_LEVELS];
    if (!p->last)
        return n;
    int n_joins = sy_tree_finish(&s->tree, item, p->lane, joins);
    for (int i = 0; i < n_joins; i++) {
        g->add[n++] = (struct sy_add_item){s->tree.size[item], joins[i].from, joins[i].to};
        if (!g->o.exec->trace)
            continue;
        sy_leaf_add_up(g, n); /* one after another, to be looked at */
        n = 0;
        struct sy_tree_join node = made_by(s, &joins[i]);
        show(g, s, item, &node, g->o.walk.rounds - 1);
    }
    return n;
}
