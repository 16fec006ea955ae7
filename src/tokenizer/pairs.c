/* Pairs of neighbours: see pairs.h. */
#include "tokenizer/pairs.h"

#include <stdlib.h>

/* Room for one more of `size` bytes; 0 without memory. */
static void *reach(void *array, int64_t n, int64_t *capacity, size_t size) {
    if (n < *capacity)
        return array;
    int64_t larger = 2 * n + 16;
    void *out = realloc(array, (size_t)larger * size);
    if (out)
        *capacity = larger;
    return out;
}

static int reach_index(struct sy_pairs *p) {
    if (p->index.n_slots > 2 * (uint64_t)p->n + 2)
        return 1;
    struct sy_merges larger = {0};
    if (!sy_merges_init(&larger, 2 * (int64_t)p->n + 1024))
        return 0;
    for (int32_t i = 0; i < p->n; i++)
        sy_merges_put(&larger, p->pair[i].left, p->pair[i].right, (uint32_t)i, 0);
    sy_merges_free(&p->index);
    p->index = larger;
    return 1;
}

static struct sy_pair *find(struct sy_pairs *p, int32_t left, int32_t right) {
    int64_t capacity = p->capacity;
    if (p->failed || !reach_index(p)) {
        p->failed = 1;
        return NULL;
    }
    const struct sy_merge *known = sy_merges_find(&p->index, left, right);
    if (known)
        return &p->pair[known->rank];
    void *larger = p->n < INT32_MAX / 4 ? reach(p->pair, p->n, &capacity, sizeof *p->pair) : NULL;
    if (!larger) {
        p->failed = 1;
        return NULL;
    }
    p->pair = larger;
    p->capacity = (int32_t)capacity;
    sy_merges_put(&p->index, left, right, (uint32_t)p->n, 0);
    p->pair[p->n] = (struct sy_pair){.left = left, .right = right};
    return &p->pair[p->n++];
}

void sy_pairs_add(struct sy_pairs *p, int32_t left, int32_t right, int64_t count, int32_t word) {
    struct sy_pair *pair = find(p, left, right);
    if (!pair)
        return;
    pair->count += count;
    if (count < 0 || (pair->n_words > 0 && pair->word[pair->n_words - 1] == word))
        return;
    int64_t capacity = pair->capacity;
    void *larger = reach(pair->word, pair->n_words, &capacity, sizeof *pair->word);
    if (!larger) {
        p->failed = 1;
        return;
    }
    pair->word = larger;
    pair->capacity = (int32_t)capacity;
    pair->word[pair->n_words++] = word;
}

/* Whether a comes out of the queue before b. */
static int is_before(const struct sy_pairs *p, struct sy_queued a, struct sy_queued b) {
    const struct sy_pair *x = &p->pair[a.pair], *y = &p->pair[b.pair];
    if (a.count != b.count)
        return a.count > b.count;
    return x->left != y->left ? x->left < y->left : x->right < y->right;
}

void sy_pairs_queue(struct sy_pairs *p, int32_t pair) {
    struct sy_queued x = {p->pair[pair].count, pair};
    void *larger = reach(p->heap, p->n_heap, &p->heap_capacity, sizeof *p->heap);
    if (!larger) {
        p->failed = 1;
        return;
    }
    p->heap = larger;
    int64_t at = p->n_heap++;
    for (; at > 0 && is_before(p, x, p->heap[(at - 1) / 2]); at = (at - 1) / 2)
        p->heap[at] = p->heap[(at - 1) / 2];
    p->heap[at] = x;
}

static struct sy_queued take_first(struct sy_pairs *p) {
    struct sy_queued first = p->heap[0], x = p->heap[--p->n_heap];
    int64_t at = 0;
    for (int64_t child; (child = 2 * at + 1) < p->n_heap; at = child) {
        child += child + 1 < p->n_heap && is_before(p, p->heap[child + 1], p->heap[child]);
        if (!is_before(p, p->heap[child], x))
            break;
        p->heap[at] = p->heap[child];
    }
    p->heap[at] = x;
    return first;
}

/* One whose count has changed since it was queued goes back to its place. */
int32_t sy_pairs_next(struct sy_pairs *p) {
    while (p->n_heap > 0 && !p->failed) {
        struct sy_queued first = take_first(p);
        int64_t count = p->pair[first.pair].count;
        if (count == first.count && count > 0)
            return first.pair;
        if (count > 0)
            sy_pairs_queue(p, first.pair);
    }
    return -1;
}

void sy_pairs_free(struct sy_pairs *p) {
    for (int32_t i = 0; i < p->n; i++)
        free(p->pair[i].word);
    free(p->pair);
    free(p->heap);
    sy_merges_free(&p->index);
    *p = (struct sy_pairs){0};
}
