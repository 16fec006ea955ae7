/* Nodes of many ranks to a root: see joining.h. */
#include "parallel/joining.h"

#include <assert.h>
#include <stdlib.h>

/* A node climbs while its sibling is absent, or waits on the stack. */
static void join_all(struct sy_joining *j, int leaves) {
    int stack[SY_TREE_MAX_NODES], n = 0, levels = sy_tree_levels(leaves);
    struct sy_tree_node place[SY_TREE_MAX_NODES];
    for (int i = 0; i < j->first[j->size]; i++) {
        struct sy_tree_node q = j->node[i];
        int at = i;
        for (; q.level < levels; q = (struct sy_tree_node){q.level + 1, q.index / 2}) {
            int sibling = q.index ^ 1;
            if ((int64_t)sibling << q.level >= leaves)
                continue;
            if (n == 0 || place[n - 1].level != q.level || place[n - 1].index != sibling)
                break;
            j->to[j->n_joins] = stack[--n];
            j->from[j->n_joins++] = at;
            at = stack[n];
        }
        assert(n < SY_TREE_MAX_NODES);
        place[n] = q;
        stack[n++] = at;
    }
    assert(n == 1);
    j->root = stack[0];
}

sy_status sy_joining_init(const struct sy_share *of, int size, int rank, int leaves, struct sy_joining *out) {
    struct sy_tree_node nodes[SY_TREE_MAX_NODES];
    struct sy_joining j = {.size = size, .rank = rank, .first = calloc((size_t)size + 1, sizeof *j.first)};
    for (int r = 0; j.first && r < size; r++)
        j.first[r + 1] = j.first[r] + sy_tree_maximal(leaves, (int)of[r].first, (int)of[r].n, nodes);
    size_t n = j.first ? (size_t)j.first[size] : 0;
    j.node = calloc(n + 1, sizeof *j.node);
    j.to = calloc(n + 1, sizeof *j.to);
    j.from = calloc(n + 1, sizeof *j.from);
    if (!j.first || !j.node || !j.to || !j.from) {
        sy_joining_fini(&j);
        SY_FAIL(SY_ERR_MEMORY, "no memory for the gradients' nodes of %d ranks", size);
    }
    for (int r = 0; r < size; r++) {
        int count = sy_tree_maximal(leaves, (int)of[r].first, (int)of[r].n, nodes);
        for (int i = 0; i < count; i++)
            j.node[j.first[r] + i] = nodes[i];
    }
    join_all(&j, leaves);
    *out = j;
    return SY_OK;
}

void sy_joining_in_turn(struct sy_joining *j) {
    for (int i = 0; i < j->n_joins; i++) {
        j->to[i] = 0;
        j->from[i] = i + 1;
    }
    j->root = 0;
}

void sy_joining_fini(struct sy_joining *j) {
    free(j->first);
    free(j->node);
    free(j->to);
    free(j->from);
    *j = (struct sy_joining){0};
}
