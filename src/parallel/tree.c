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

/* --- nodes ---------------------------------------------------------------------------------------------- */

static struct sy_tree_node sibling_of(struct sy_tree_node n) {
    return (struct sy_tree_node){n.level, n.index ^ 1};
}
static struct sy_tree_node parent_of(struct sy_tree_node n) {
    return (struct sy_tree_node){n.level + 1, n.index / 2};
}
static int is_absent(int leaves, struct sy_tree_node n) { return ((int64_t)n.index << n.level) >= leaves; }

struct sy_tree_node sy_tree_root_of(int leaves) {
    return (struct sy_tree_node){sy_tree_levels(leaves), 0};
}

struct sy_tree_run sy_tree_lanes_of(int leaves, struct sy_tree_node n) {
    int64_t first = (int64_t)n.index << n.level, end = ((int64_t)n.index + 1) << n.level;
    return (struct sy_tree_run){(int)first, (int)((end < leaves ? end : leaves) - first)};
}

/* A node whose sibling is absent is its parent. */
static struct sy_tree_node lifted(int leaves, int levels, struct sy_tree_node n) {
    while (n.level < levels && is_absent(leaves, sibling_of(n)))
        n = parent_of(n);
    return n;
}

int sy_tree_maximal(int leaves, int first, int n_lanes, struct sy_tree_node out[SY_TREE_MAX_NODES]) {
    int n = 0, levels = sy_tree_levels(leaves), lane = first, end = first + n_lanes;
    while (lane < end) {
        struct sy_tree_node node = lifted(leaves, levels, (struct sy_tree_node){0, lane});
        for (;;) { /* as long as the parent begins and ends within the run */
            struct sy_tree_node up = parent_of(node);
            struct sy_tree_run r = sy_tree_lanes_of(leaves, up);
            if (node.level == levels || r.first != lane || r.first + r.n > end)
                break;
            node = lifted(leaves, levels, up);
        }
        assert(n < SY_TREE_MAX_NODES);
        out[n++] = node;
        lane += sy_tree_lanes_of(leaves, node).n;
    }
    return n;
}

/* --- how many buffers ----------------------------------------------------------------------------------- */

/* Most that a run needs: its lanes in progress, and the nodes of those that have finished. */
static int buffers_of_run(const struct sy_tree_shape *s, struct sy_tree_run run) {
    struct sy_tree_node nodes[SY_TREE_MAX_NODES];
    int most = 0;
    for (int done = 0; done <= run.n; done += s->width) {
        int left = run.n - done, n = left < s->width ? left : s->width;
        n += sy_tree_maximal(s->leaves, run.first, done, nodes);
        most = n > most ? n : most;
    }
    return most;
}

/* Runs share nothing before their nodes meet, which frees a buffer and takes none. */
sy_status sy_tree_buffers(const struct sy_tree_shape *s, int *n_buffers) {
    int n = 0;
    if (!s->run)
        n = buffers_of_run(s, (struct sy_tree_run){0, s->leaves});
    for (int i = 0; s->run && i < s->n_runs; i++)
        n += buffers_of_run(s, s->run[i]);
    if (n > SY_TREE_MAX_BUFFERS)
        SY_FAIL(SY_ERR_USAGE,
                "numerics.lanes = %d with numerics.expert_lanes = %d needs %d gradient buffers on one rank, "
                "at most %d "
                "are possible: use more ranks or a smaller numerics.expert_lanes",
                s->leaves, s->width, n, SY_TREE_MAX_BUFFERS);
    *n_buffers = n;
    return SY_OK;
}

/* --- memory --------------------------------------------------------------------------------------------- */

sy_status sy_tree_init(const struct sy_tree_shape *s, int n_items, const int64_t *sizes, struct sy_tree *t) {
    *t = (struct sy_tree){.leaves = s->leaves, .levels = sy_tree_levels(s->leaves), .n_items = n_items};
    SY_TRY(sy_tree_buffers(s, &t->n_buffers));
    size_t n = (size_t)n_items + 1;
    t->at = calloc(n, sizeof *t->at);
    t->size = calloc(n, sizeof *t->size);
    t->place = calloc(n * (size_t)t->n_buffers, sizeof *t->place);
    if (!t->at || !t->size || !t->place) {
        sy_tree_fini(t);
        SY_FAIL(SY_ERR_MEMORY, "no memory for the gradients' tree of %d items", n_items);
    }
    for (int i = 0; i < n_items; i++) {
        t->size[i] = sizes[i];
        t->at[i] = t->n;
        t->n += (sizes[i] + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    }
    return SY_OK;
}

void sy_tree_fini(struct sy_tree *t) {
    free(t->at);
    free(t->size);
    free(t->place);
    *t = (struct sy_tree){0};
}

void sy_tree_carve(struct sy_tree *t, struct sy_arena *a, const char *tag) {
    for (int i = 0; i < t->n_buffers; i++)
        t->buffer[i] = sy_take_f32(a, tag, t->n);
}

void sy_tree_begin(struct sy_tree *t) {
    memset(t->place, 0, (size_t)t->n_items * (size_t)t->n_buffers * sizeof *t->place);
}

/* --- a step --------------------------------------------------------------------------------------------- */

static struct sy_tree_place *places(const struct sy_tree *t, int item) {
    return t->place + (int64_t)item * t->n_buffers;
}
static float *at(const struct sy_tree *t, int buffer, int item) { return t->buffer[buffer] + t->at[item]; }

/* The buffer of a lane in progress, of a node that waits, or a free one; -1: there is none. */
static int find_lane(const struct sy_tree *t, int item, int lane) {
    const struct sy_tree_place *p = places(t, item);
    for (int b = 0; b < t->n_buffers; b++)
        if (p[b].is == SY_TREE_LANE && p[b].lane == lane)
            return b;
    return -1;
}
static int find_node(const struct sy_tree *t, int item, struct sy_tree_node n) {
    const struct sy_tree_place *p = places(t, item);
    for (int b = 0; b < t->n_buffers; b++)
        if (p[b].is == SY_TREE_WAITS && p[b].node.level == n.level && p[b].node.index == n.index)
            return b;
    return -1;
}
static int find_free(const struct sy_tree *t, int item) {
    const struct sy_tree_place *p = places(t, item);
    for (int b = 0; b < t->n_buffers; b++)
        if (p[b].is == SY_TREE_FREE)
            return b;
    return -1;
}

struct sy_tree_sum sy_tree_lane(struct sy_tree *t, int item, int lane, int alone) {
    struct sy_tree_node node = {0, lane};
    int b = find_lane(t, item, lane);
    if (b >= 0)
        return (struct sy_tree_sum){at(t, b, item), 0};
    int sibling = alone && !t->in_turn ? find_node(t, item, sibling_of(node)) : -1;
    b = sibling >= 0 ? sibling : find_free(t, item);
    assert(b >= 0);   /* more lanes in progress than the shape says */
    if (sibling >= 0) /* from now on the buffer is of both */
        node = parent_of(node);
    places(t, item)[b] = (struct sy_tree_place){SY_TREE_LANE, lane, node};
    return (struct sy_tree_sum){at(t, b, item), sibling < 0};
}

static void join(const struct sy_tree *t, int item, int to, int from, struct sy_tree_run lanes,
                 struct sy_tree_join *out) {
    *out = (struct sy_tree_join){at(t, to, item), at(t, from, item), lanes.first, lanes.n};
    places(t, item)[from].is = SY_TREE_FREE;
}

static int finish_in_turn(struct sy_tree *t, int item, int lane, int b, struct sy_tree_join *joins) {
    struct sy_tree_node root = {t->levels, 0};
    int sum = find_node(t, item, root);
    if (sum >= 0)
        join(t, item, sum, b, (struct sy_tree_run){lane, 1}, joins);
    else
        places(t, item)[b] = (struct sy_tree_place){.is = SY_TREE_WAITS, .node = root};
    return sum >= 0;
}

int sy_tree_finish(struct sy_tree *t, int item, int lane, struct sy_tree_join joins[SY_TREE_LEVELS]) {
    int b = find_lane(t, item, lane), n = 0, sibling;
    assert(b >= 0); /* every lane has a leaf, if it is one of zeros */
    if (t->in_turn)
        return finish_in_turn(t, item, lane, b, joins);
    struct sy_tree_node node = lifted(t->leaves, t->levels, places(t, item)[b].node);
    while ((sibling = find_node(t, item, sibling_of(node))) >= 0) {
        join(t, item, sibling, b, sy_tree_lanes_of(t->leaves, node), &joins[n++]);
        node = lifted(t->leaves, t->levels, parent_of(node));
        b = sibling;
    }
    places(t, item)[b] = (struct sy_tree_place){.is = SY_TREE_WAITS, .node = node};
    return n;
}

float *sy_tree_node(const struct sy_tree *t, int item, struct sy_tree_node node) {
    int b = find_node(t, item, node);
    return b >= 0 ? at(t, b, item) : NULL;
}

float *sy_tree_root(const struct sy_tree *t, int item) {
    return sy_tree_node(t, item, (struct sy_tree_node){t->levels, 0});
}
