/* Byte-pair encoding: see merges.h. */
#include "tokenizer/merges.h"

#include <stdlib.h>
#include <string.h>

enum { SHORT = 40 };
#define NO_RANK UINT32_MAX
#define NOWHERE UINT32_MAX

/* --- the table ------------------------------------------------------------------------------------ */

int sy_merges_init(struct sy_merges *m, int64_t n) {
    uint64_t n_slots = 16;
    while (n_slots < 2 * (uint64_t)n)
        n_slots *= 2;
    struct sy_merge *slot = malloc(n_slots * sizeof *slot);
    if (!slot)
        return 0;
    for (uint64_t i = 0; i < n_slots; i++)
        slot[i].into = -1;
    *m = (struct sy_merges){.slot = slot, .n_slots = n_slots};
    return 1;
}

void sy_merges_free(struct sy_merges *m) {
    free(m->slot);
    *m = (struct sy_merges){0};
}

static struct sy_merge *slot_of(const struct sy_merges *m, uint64_t pair) {
    uint64_t at = (pair * 0x9e3779b97f4a7c15u) >> 20;
    for (;; at++) {
        struct sy_merge *slot = &m->slot[at & (m->n_slots - 1)];
        if (slot->into < 0 || slot->pair == pair)
            return slot;
    }
}

static uint64_t pair_of(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

void sy_merges_put(struct sy_merges *m, int32_t left, int32_t right, uint32_t rank, int32_t into) {
    uint64_t pair = pair_of(left, right);
    struct sy_merge *slot = slot_of(m, pair);
    m->n += slot->into < 0;
    *slot = (struct sy_merge){pair, rank, into};
}

const struct sy_merge *sy_merges_find(const struct sy_merges *m, int32_t left, int32_t right) {
    const struct sy_merge *slot = slot_of(m, pair_of(left, right));
    return slot->into < 0 ? NULL : slot;
}

static uint32_t rank_of(const struct sy_merges *m, int32_t left, int32_t right) {
    const struct sy_merge *merge = sy_merges_find(m, left, right);
    return merge ? merge->rank : NO_RANK;
}

/* --- a word --------------------------------------------------------------------------------------- */

int sy_merging_reach(struct sy_merging *w, size_t n) {
    if (n <= w->capacity)
        return 1;
    if (n > UINT32_MAX / 4)
        return 0;
    size_t capacity = 2 * n + 64;
    struct sy_merging larger = {.capacity = capacity, .n = w->n};
    larger.id = malloc(capacity * sizeof *larger.id);
    larger.rank = malloc(3 * capacity * sizeof *larger.rank);
    larger.heap = malloc(3 * capacity * sizeof *larger.heap);
    if (!larger.id || !larger.rank || !larger.heap) {
        sy_merging_free(&larger);
        return 0;
    }
    larger.before = larger.rank + capacity;
    larger.after = larger.before + capacity;
    if (w->n)
        memcpy(larger.id, w->id, w->n * sizeof *w->id);
    sy_merging_free(w);
    *w = larger;
    return 1;
}

void sy_merging_free(struct sy_merging *w) {
    free(w->id);
    free(w->rank);
    free(w->heap);
    *w = (struct sy_merging){0};
}

/* Two arrays that close up: rank[i] is that of (id[i], id[i + 1]). */
static void merge_short(const struct sy_merges *m, struct sy_merging *w) {
    size_t n = w->n;
    for (size_t i = 0; i + 1 < n; i++)
        w->rank[i] = rank_of(m, w->id[i], w->id[i + 1]);
    while (n > 1) {
        size_t at = 0;
        for (size_t i = 1; i + 1 < n; i++)
            at = w->rank[i] < w->rank[at] ? i : at;
        if (w->rank[at] == NO_RANK)
            break;
        w->id[at] = sy_merges_find(m, w->id[at], w->id[at + 1])->into;
        n--;
        memmove(w->id + at + 1, w->id + at + 2, (n - at - 1) * sizeof *w->id);
        if (at + 1 < n) {
            memmove(w->rank + at + 1, w->rank + at + 2, (n - at - 2) * sizeof *w->rank);
            w->rank[at] = rank_of(m, w->id[at], w->id[at + 1]);
        }
        if (at > 0)
            w->rank[at - 1] = rank_of(m, w->id[at - 1], w->id[at]);
    }
    w->n = n;
}

static void sift_down(uint64_t *heap, size_t n, size_t at) {
    uint64_t x = heap[at];
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        child += child + 1 < n && heap[child + 1] < heap[child];
        if (heap[child] >= x)
            break;
        heap[at] = heap[child];
    }
    heap[at] = x;
}

static void push(uint64_t *heap, size_t *n, uint32_t rank, uint32_t place) {
    uint64_t x = (uint64_t)rank << 32 | place;
    size_t at = (*n)++;
    for (; at > 0 && heap[(at - 1) / 2] > x; at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = x;
}

/* The rank of `place` and its right neighbour, which is new: into the heap if there is one. */
static void rank_again(const struct sy_merges *m, struct sy_merging *w, uint32_t place, size_t *n_heap) {
    uint32_t next = w->after[place];
    w->rank[place] = next == NOWHERE ? NO_RANK : rank_of(m, w->id[place], w->id[next]);
    if (w->rank[place] != NO_RANK)
        push(w->heap, n_heap, w->rank[place], place);
}

/* A list with both neighbours; an entry of the heap that is not its place's rank any more is passed over.
 * A merge takes out one entry and puts in two at most, of n - 1 in all: the heap never has 3 n. */
static void merge_long(const struct sy_merges *m, struct sy_merging *w) {
    uint32_t n = (uint32_t)w->n;
    size_t n_heap = 0;
    for (uint32_t i = 0; i < n; i++) {
        w->before[i] = i ? i - 1 : NOWHERE;
        w->after[i] = i + 1 < n ? i + 1 : NOWHERE;
        w->rank[i] = i + 1 < n ? rank_of(m, w->id[i], w->id[i + 1]) : NO_RANK;
        if (w->rank[i] != NO_RANK)
            w->heap[n_heap++] = (uint64_t)w->rank[i] << 32 | i;
    }
    for (size_t i = n_heap / 2; i-- > 0;)
        sift_down(w->heap, n_heap, i);
    while (n_heap > 0) {
        uint32_t rank = (uint32_t)(w->heap[0] >> 32), at = (uint32_t)w->heap[0];
        w->heap[0] = w->heap[--n_heap];
        if (n_heap)
            sift_down(w->heap, n_heap, 0);
        if (w->rank[at] != rank)
            continue;
        uint32_t gone = w->after[at];
        w->id[at] = sy_merges_find(m, w->id[at], w->id[gone])->into;
        w->rank[gone] = NO_RANK;
        w->after[at] = w->after[gone];
        if (w->after[gone] != NOWHERE)
            w->before[w->after[gone]] = at;
        rank_again(m, w, at, &n_heap);
        if (w->before[at] != NOWHERE)
            rank_again(m, w, w->before[at], &n_heap);
    }
    size_t kept = 0;
    for (uint32_t i = 0; i != NOWHERE; i = w->after[i])
        w->id[kept++] = w->id[i];
    w->n = kept;
}

void sy_merge_word(const struct sy_merges *m, struct sy_merging *w) {
    if (w->n <= SHORT)
        merge_short(m, w);
    else
        merge_long(m, w);
}
