/* Accumulators that add up to a tree: see tree.h. */
#include "parallel/tree.h"

#include <assert.h>
#include <stdlib.h>

enum { ALIGN_FLOATS = 16 };

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
                "numerics.lanes = %d with numerics.expert_lanes = %d needs %d gradient buffers on one rank, "
                "at most %d "
                "are possible: use more ranks or a smaller numerics.expert_lanes",
                leaves, width, n, SY_TREE_MAX_BUFFERS);
    *n_buffers = n;
    return SY_OK;
}

sy_status sy_tree_init(int leaves, int width, int n_items, const int64_t *sizes, struct sy_tree *t) {
    *t = (struct sy_tree){.leaves = leaves, .width = width, .levels = ceil_log2(leaves), .n_items = n_items};
    SY_TRY(sy_tree_shape(leaves, width, &t->n_buffers));
    size_t n = (size_t)n_items + 1;
    t->at = calloc(n, sizeof *t->at);
    t->size = calloc(n, sizeof *t->size);
    t->item = calloc(n, sizeof *t->item);
    t->lanes = calloc(n, (size_t)width);
    if (!t->at || !t->size || !t->item || !t->lanes) {
        sy_tree_fini(t);
        SY_FAIL(SY_ERR_MEMORY, "no memory for the gradients' tree of %d items", n_items);
    }
    for (int i = 0; i < n_items; i++) {
        t->item[i].lane = t->lanes + (size_t)i * (size_t)width;
        t->size[i] = sizes[i];
        t->at[i] = t->n;
        t->n += (sizes[i] + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    }
    return SY_OK;
}

void sy_tree_fini(struct sy_tree *t) {
    free(t->at);
    free(t->size);
    free(t->item);
    free(t->lanes);
    *t = (struct sy_tree){0};
}

void sy_tree_carve(struct sy_tree *t, struct sy_arena *a, const char *tag) {
    for (int i = 0; i < t->n_buffers; i++)
        t->buffer[i] = sy_take_f32(a, tag, t->n);
}

void sy_tree_begin(struct sy_tree *t) {
    for (int i = 0; i < t->n_items; i++) {
        struct sy_tree_item *p = &t->item[i];
        p->used = p->joined = 0;
        memset(p->node, -1, sizeof p->node);
        memset(p->lane, -1, (size_t)t->width);
    }
}

static float *at(const struct sy_tree *t, int buffer, int item) { return t->buffer[buffer] + t->at[item]; }

static int take_buffer(const struct sy_tree *t, struct sy_tree_item *p) {
    int b = 0;
    while (b < t->n_buffers && (p->used >> b & 1))
        b++;
    assert(b < t->n_buffers);
    p->used |= (uint64_t)1 << b;
    return b;
}

struct sy_tree_sum sy_tree_lane(struct sy_tree *t, int item, int lane, int alone) {
    struct sy_tree_item *p = &t->item[item];
    int8_t *slot = &p->lane[lane % t->width];
    int fresh = *slot < 0;
    if (fresh && alone && !t->in_turn && (lane & 1) && p->node[0] >= 0) {
        *slot = p->node[0];
        p->node[0] = -1;
        p->joined |= (uint64_t)1 << (lane % t->width);
        return (struct sy_tree_sum){at(t, *slot, item), 0};
    }
    if (fresh)
        *slot = (int8_t)take_buffer(t, p);
    return (struct sy_tree_sum){at(t, *slot, item), fresh};
}

static void join(const struct sy_tree *t, struct sy_tree_item *p, int item, int to, int from, int64_t first,
                 int64_t n, struct sy_tree_join *out) {
    *out = (struct sy_tree_join){at(t, to, item), at(t, from, item), first, n};
    p->used &= ~((uint64_t)1 << from);
}

static int finish_in_turn(const struct sy_tree *t, struct sy_tree_item *p, int item, int lane, int b,
                          struct sy_tree_join *joins) {
    if (p->node[t->levels] < 0) {
        p->node[t->levels] = (int8_t)b;
        return 0;
    }
    join(t, p, item, p->node[t->levels], b, lane, 1, joins);
    return 1;
}

int sy_tree_finish(struct sy_tree *t, int item, int lane, struct sy_tree_join joins[SY_TREE_LEVELS]) {
    struct sy_tree_item *p = &t->item[item];
    int slot = lane % t->width, b = p->lane[slot], n = 0, level = 0;
    assert(b >= 0); /* every lane has a leaf, if it is one of zeros */
    p->lane[slot] = -1;
    if (t->in_turn)
        return finish_in_turn(t, p, item, lane, b, joins);
    int64_t i = lane;
    if (p->joined >> slot & 1) { /* its sibling holds both already */
        p->joined &= ~((uint64_t)1 << slot);
        i /= 2;
        level = 1;
    }
    for (; level < t->levels; i /= 2, level++) {
        int64_t sibling = i ^ 1;
        if ((sibling << level) >= t->leaves)
            continue; /* absent: the node is its only child */
        if (p->node[level] < 0)
            break;
        int left = p->node[level];
        int64_t first = i << level, end = (i + 1) << level;
        join(t, p, item, left, b, first, (end < t->leaves ? end : t->leaves) - first, &joins[n++]);
        p->node[level] = -1;
        b = left;
    }
    p->node[level] = (int8_t)b;
    return n;
}

float *sy_tree_root(const struct sy_tree *t, int item) { return at(t, t->item[item].node[t->levels], item); }
