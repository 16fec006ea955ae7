/* Accumulators that add up to a tree: see tree.h. */
#include "parallel/tree.h"

#include <assert.h>
#include <string.h>

static int ceil_log2(int n) {
    int l = 0;
    while ((1 << l) < n)
        l++;
    return l;
}

sy_status sy_tree_shape(int leaves, int width, int *n_buffers) {
    int waiting = 0; /* after n lanes one node waits for each 1 in n */
    for (int n = width; n < leaves; n += width)
        waiting = __builtin_popcount((unsigned)n) > waiting ? __builtin_popcount((unsigned)n) : waiting;
    int n = width + waiting;
    if (n > SY_TREE_MAX_BUFFERS)
        SY_FAIL(SY_ERR_USAGE,
                "numerics.lanes = %d with numerics.expert_lanes = %d needs %d gradient buffers on one rank, at most %d "
                "are possible: use more ranks or a smaller numerics.expert_lanes",
                leaves, width, n, SY_TREE_MAX_BUFFERS);
    *n_buffers = n;
    return SY_OK;
}

void sy_tree_take(struct sy_arena *a, const char *tag, int leaves, int width, int n_buffers, int n_params, int64_t first,
                  int64_t n, struct sy_tree *t) {
    *t = (struct sy_tree){.leaves = leaves,
                          .width = width,
                          .n_buffers = n_buffers,
                          .levels = ceil_log2(leaves),
                          .first = first,
                          .n = n,
                          .n_params = n_params};
    for (int i = 0; i < n_buffers; i++)
        t->buffer[i] = sy_arena_take(a, tag, (size_t)n, sizeof(float));
    t->param = sy_arena_take(a, tag, (size_t)n_params, sizeof *t->param);
    int8_t *lanes = sy_arena_take(a, tag, (size_t)n_params * (size_t)width, 1);
    for (int i = 0; a->base && !a->overflow && i < n_params; i++)
        t->param[i].lane = lanes + (size_t)i * (size_t)width;
}

void sy_tree_begin(struct sy_tree *t) {
    for (int i = 0; i < t->n_params; i++) {
        t->param[i].used = 0;
        memset(t->param[i].node, -1, sizeof t->param[i].node);
        memset(t->param[i].lane, -1, (size_t)t->width);
    }
}

static float *at(const struct sy_tree *t, int buffer, int64_t offset) { return t->buffer[buffer] + (offset - t->first); }

float *sy_tree_lane(struct sy_tree *t, int param, int lane, int64_t offset, int64_t n) {
    struct sy_tree_param *p = &t->param[param];
    int8_t *slot = &p->lane[lane % t->width];
    if (*slot < 0) {
        int b = 0;
        while (b < t->n_buffers && (p->used >> b & 1))
            b++;
        assert(b < t->n_buffers);
        p->used |= (uint64_t)1 << b;
        *slot = (int8_t)b;
        memset(at(t, b, offset), 0, (size_t)n * sizeof(float));
    }
    return at(t, *slot, offset);
}

void sy_tree_finish(struct sy_tree *t, const struct sy_exec *x, int param, int lane, int64_t offset, int64_t n) {
    struct sy_tree_param *p = &t->param[param];
    sy_tree_lane(t, param, lane, offset, n); /* a lane without any leaf is zero */
    int b = p->lane[lane % t->width], level = 0;
    p->lane[lane % t->width] = -1;
    if (t->in_turn && p->node[t->levels] < 0)
        level = t->levels;
    else if (t->in_turn) {
        x->ops->add_f32(x, &(struct sy_add_f32){.n = n, .x = at(t, b, offset), .y = at(t, p->node[t->levels], offset)});
        p->used &= ~((uint64_t)1 << b);
        return;
    }
    for (int64_t i = lane; level < t->levels; i /= 2, level++) {
        int64_t sibling = i ^ 1;
        if ((sibling << level) >= t->leaves)
            continue; /* absent: the node is its only child */
        if (p->node[level] < 0)
            break;
        int left = p->node[level];
        x->ops->add_f32(x, &(struct sy_add_f32){.n = n, .x = at(t, b, offset), .y = at(t, left, offset)});
        p->used &= ~((uint64_t)1 << b);
        p->node[level] = -1;
        b = left;
    }
    p->node[level] = (int8_t)b;
}

float *sy_tree_root(const struct sy_tree *t, int param, int64_t offset) {
    return at(t, t->param[param].node[t->levels], offset);
}
