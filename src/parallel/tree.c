/* Accumulators that add up to a tree: see tree.h. */
#include "parallel/tree.h"

#include <assert.h>
#include <stdlib.h>

enum { ALIGN_FLOATS = 16 };

int sy_tree_levels(int leaves) {
    int l = 0;
    while ((1 << l) < leaves)
        l++;
    return l;
}

/* Leaves of a node that are there: first .. first + n - 1. */
struct span {
    int64_t first, n;
};
static struct span span_of(int leaves, struct sy_tree_node q) {
    int64_t first = (int64_t)q.index << q.level, end = (int64_t)(q.index + 1) << q.level;
    return (struct span){first, (end < leaves ? end : leaves) - first};
}

static struct sy_tree_node parent_of(struct sy_tree_node q) {
    return (struct sy_tree_node){q.level + 1, q.index / 2};
}

int sy_tree_maximal(int leaves, int first, int n, struct sy_tree_node out[SY_TREE_MAX_NODES]) {
    int count = 0, levels = sy_tree_levels(leaves);
    for (int64_t at = first; at < first + n;) {
        struct sy_tree_node q = {0, (int)at};
        while (q.level < levels) {
            struct span s = span_of(leaves, parent_of(q));
            if (s.first < first || s.first + s.n > first + n)
                break;
            q = parent_of(q);
        }
        struct span s = span_of(leaves, q);
        out[count++] = q;
        at = s.first + s.n;
    }
    return count;
}

sy_status sy_tree_shape(const struct sy_tree_range *r, int *n_buffers) {
    struct sy_tree_node nodes[SY_TREE_MAX_NODES];
    int waiting = 0;
    for (int n = r->width; n < r->n; n += r->width) {
        int now = sy_tree_maximal(r->leaves, r->first, n, nodes);
        waiting = now > waiting ? now : waiting;
    }
    int n = r->width + waiting;
    if (n > SY_TREE_MAX_BUFFERS)
        SY_FAIL(SY_ERR_USAGE,
                "numerics.lanes = %d with numerics.expert_lanes = %d needs %d gradient buffers on one rank, "
                "at most %d "
                "are possible: use more ranks or a smaller numerics.expert_lanes",
                r->leaves, r->width, n, SY_TREE_MAX_BUFFERS);
    *n_buffers = n;
    return SY_OK;
}

sy_status sy_tree_init(const struct sy_tree_range *r, int n_items, const int64_t *sizes, struct sy_tree *t) {
    *t = (struct sy_tree){.range = *r, .levels = sy_tree_levels(r->leaves), .n_items = n_items};
    SY_TRY(sy_tree_shape(r, &t->n_buffers));
    size_t n = (size_t)n_items + 1;
    t->at = calloc(n, sizeof *t->at);
    t->size = calloc(n, sizeof *t->size);
    t->item = calloc(n, sizeof *t->item);
    t->lanes = calloc(n, (size_t)r->width);
    t->nodes = calloc(n * (size_t)t->n_buffers, sizeof *t->nodes);
    if (!t->at || !t->size || !t->item || !t->lanes || !t->nodes) {
        sy_tree_fini(t);
        SY_FAIL(SY_ERR_MEMORY, "no memory for the gradients' tree of %d items", n_items);
    }
    for (int i = 0; i < n_items; i++) {
        t->item[i].lane = t->lanes + (size_t)i * (size_t)r->width;
        t->item[i].node = t->nodes + (size_t)i * (size_t)t->n_buffers;
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
    free(t->nodes);
    *t = (struct sy_tree){0};
}

void sy_tree_carve(struct sy_tree *t, struct sy_arena *a, const char *tag) {
    for (int i = 0; i < t->n_buffers; i++)
        t->buffer[i] = sy_take_f32(a, tag, t->n);
}

static const struct sy_tree_node none = {-1, 0};

void sy_tree_begin(struct sy_tree *t) {
    for (int i = 0; i < t->n_items; i++) {
        struct sy_tree_item *p = &t->item[i];
        p->used = p->joined = 0;
        p->finished = 0;
        for (int b = 0; b < t->n_buffers; b++)
            p->node[b] = none;
        memset(p->lane, -1, (size_t)t->range.width);
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

/* The buffer that holds a node, or -1. */
static int find(const struct sy_tree *t, const struct sy_tree_item *p, struct sy_tree_node q) {
    for (int b = 0; b < t->n_buffers; b++)
        if (p->node[b].level == q.level && p->node[b].index == q.index)
            return b;
    return -1;
}

static int slot_of(const struct sy_tree *t, int lane) { return (lane - t->range.first) % t->range.width; }

struct sy_tree_sum sy_tree_lane(struct sy_tree *t, int item, int lane, int alone) {
    struct sy_tree_item *p = &t->item[item];
    int slot = slot_of(t, lane), fresh = p->lane[slot] < 0;
    int sibling =
        fresh && alone && !t->in_turn && (lane & 1) ? find(t, p, (struct sy_tree_node){0, lane - 1}) : -1;
    if (sibling >= 0) {
        p->lane[slot] = (int8_t)sibling;
        p->node[sibling] = none;
        p->joined |= (uint64_t)1 << slot;
        return (struct sy_tree_sum){at(t, sibling, item), 0};
    }
    if (fresh)
        p->lane[slot] = (int8_t)take_buffer(t, p);
    return (struct sy_tree_sum){at(t, p->lane[slot], item), fresh};
}

static struct sy_tree_join join(const struct sy_tree *t, struct sy_tree_item *p, int item, int to, int from,
                                struct span lanes) {
    p->used &= ~((uint64_t)1 << from);
    p->node[to] = none;
    return (struct sy_tree_join){at(t, to, item), at(t, from, item), lanes.first, lanes.n};
}

static int finish_in_turn(const struct sy_tree *t, struct sy_tree_item *p, int item, int lane, int b,
                          struct sy_tree_join *joins) {
    struct sy_tree_node root = {t->levels, 0};
    int sum = find(t, p, root);
    if (sum >= 0)
        joins[0] = join(t, p, item, sum, b, (struct span){lane, 1});
    p->node[sum >= 0 ? sum : b] = root;
    return sum >= 0;
}

int sy_tree_finish(struct sy_tree *t, int item, int lane, struct sy_tree_join joins[SY_TREE_LEVELS]) {
    struct sy_tree_item *p = &t->item[item];
    int slot = slot_of(t, lane), b = p->lane[slot], n = 0;
    struct sy_tree_node q = {0, lane};
    assert(b >= 0); /* every lane has a leaf, if it is one of zeros */
    p->lane[slot] = -1;
    p->finished++;
    if (t->in_turn)
        return finish_in_turn(t, p, item, lane, b, joins);
    if (p->joined >> slot & 1) { /* its sibling holds both already */
        p->joined &= ~((uint64_t)1 << slot);
        q = parent_of(q);
    }
    for (; q.level < t->levels; q = parent_of(q)) {
        struct sy_tree_node sibling = {q.level, q.index ^ 1};
        if (span_of(t->range.leaves, sibling).n <= 0)
            continue; /* absent: the node is its only child */
        int waits = find(t, p, sibling);
        if (waits < 0)
            break;
        joins[n++] = join(t, p, item, waits, b, span_of(t->range.leaves, q));
        b = waits;
    }
    p->node[b] = q;
    return n;
}

float *sy_tree_sum_of(const struct sy_tree *t, int item, struct sy_tree_node node) {
    int b = find(t, &t->item[item], node);
    assert(b >= 0);
    return at(t, b, item);
}

float *sy_tree_root(const struct sy_tree *t, int item) {
    return sy_tree_sum_of(t, item, (struct sy_tree_node){t->levels, 0});
}
