/* Gradients of experts: whose sequences an owner's rows are of, leaf by leaf. See gradient_sums.h. */
#include <assert.h>

#include "parallel/gradient_sums.h"

/* Both weights of all experts: W1 | W3 of each, then W2 of each, from the item's beginning on. */
static void expert_problems(const struct sy_sink_experts *e, const struct sy_param *p,
                            const struct sy_leaf_target *t, int64_t first, int64_t n, struct sy_dw out[2]) {
    int64_t d = p->cols, f = p->rows / 2; /* of W1 | W3 */
    int64_t groups = e->rows.groups, w13 = 2 * f * d, w2 = d * f, behind = groups * w13;
    struct sy_dw q = {.rows = e->rows, .first = first, .n_segments = n, .fold = t->fold};
    out[0] = out[1] = q;
    out[0].m = 2 * f;
    out[0].n = d;
    out[0].dy = e->dgu;
    out[0].x = e->x;
    out[0].acc = t->acc;
    out[0].c = t->out;
    out[0].acc_step = out[0].c_step = w13;
    out[1].m = d;
    out[1].n = f;
    out[1].dy = e->dy;
    out[1].x = e->h;
    out[1].acc = t->acc ? t->acc + behind : NULL;
    out[1].c = t->out + behind;
    out[1].acc_step = out[1].c_step = w2;
}

static void run_experts(struct sy_gradients *g, const struct sy_sink_experts *e,
                        const struct sy_leaf_target *t, int64_t first, int64_t n) {
    const struct sy_param *w13 = sy_gradient_param(g, g->o.params->layer[e->layer].first_expert);
    struct sy_dw problem[2];
    expert_problems(e, w13, t, first, n, problem);
    g->o.exec->ops->linear_dw(g->o.exec, &(struct sy_linear_dw){problem, 2});
}

/* Planted: a leaf's sequences backwards, one by one through the leaf buffer. */
static void shuffled(struct sy_gradients *g, const struct sy_sink_experts *e, const struct sy_leaf_target *t,
                     const struct sy_leaf_piece *p, float *leaf) {
    for (int64_t i = p->n - 1; i >= 0; i--) {
        struct sy_leaf_target one = {i == p->n - 1 ? t->acc : leaf, i == 0 ? t->out : leaf,
                                     i == 0 && t->fold};
        run_experts(g, e, &one, p->from + i, 1);
    }
}

struct cursor { /* through the sequences of a call, source after source */
    const struct sy_sink_source *source;
    int n_sources;
    int i;
    int64_t in_source, segment;
};

/* The piece of an experts' leaf that begins there, and the cursor behind it; n 0: there is no more. A leaf's
 * sequences stand in the order of its lanes, whichever ranks they are of. */
static struct sy_leaf_piece next_piece(const struct sy_gradients *g, struct cursor *c) {
    const struct sy_walk *w0 = &g->o.walk;
    struct sy_leaf_piece p = {.from = c->segment};
    int64_t round = 0, next = 0;
    for (; c->i < c->n_sources; c->i++, c->in_source = 0)
        for (; c->in_source < c->source[c->i].n; c->in_source++, c->segment++) {
            const struct sy_sink_source *s = &c->source[c->i];
            struct sy_walk_place at = sy_walk_place(&g->walks[s->rank], s->first + c->in_source);
            int group = (int)at.lane / w0->expert_lanes;
            int64_t in_leaf = at.lane % w0->expert_lanes * w0->cell + at.w;
            if (p.ends || (p.n > 0 && (group != p.lane || at.round != round)))
                return p;
            if (p.n == 0) {
                p.lane = group;
                p.rank = s->rank;
                p.begins = in_leaf == 0;
                p.round = round = at.round;
                next = in_leaf;
            }
            assert(in_leaf == next);
            next++;
            p.n++;
            p.ends = next == g->experts.cell;
            p.last = p.ends && round == w0->rounds - 1;
        }
    return p;
}

void sy_gradient_experts(void *self, const struct sy_span *at, const struct sy_sink_experts *e) {
    struct sy_gradients *g = self;
    struct sy_sink_source own = {0, at->first, at->n};
    struct cursor c = {e->source ? e->source : &own, e->source ? e->n_sources : 1, 0, 0, 0};
    int item = g->item[g->o.params->layer[e->layer].first_expert];
    if (e->rows.groups == 0) /* more ranks than experts */
        return;
    for (struct sy_leaf_piece p = next_piece(g, &c); p.n > 0; p = next_piece(g, &c)) {
        float *leaf = g->experts.leaf;
        leaf = leaf ? leaf + p.rank * g->experts.tree.n + g->experts.tree.at[item] : NULL;
        struct sy_leaf_target t = sy_leaf_target(g, &g->experts, item, &p, leaf);
        if (g->shuffle_lanes)
            shuffled(g, e, &t, &p, leaf);
        else
            run_experts(g, e, &t, p.from, p.n);
        sy_leaf_show(g, &g->experts, item, &p, t.out);
        sy_leaf_add_up(g, sy_leaf_finish(g, &g->experts, item, &p, 0));
    }
    assert(c.segment == e->rows.sequences);
}
