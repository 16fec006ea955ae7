/* Byte-pair encoding: the pair of neighbours with the lowest rank becomes one token, the leftmost first,
 * until no pair of neighbours has a rank.       (Sennrich, Haddow, Birch 2016)
 *
 * Short words look for the lowest rank each time; longer ones have a heap of (rank, place).
 */
#ifndef SY_TOKENIZER_MERGES_H
#define SY_TOKENIZER_MERGES_H

#include <stddef.h>
#include <stdint.h>

struct sy_merge {
    uint64_t pair; /* left << 32 | right */
    uint32_t rank;
    int32_t into; /* -1: a free slot */
};

struct sy_merges {
    struct sy_merge *slot; /* a power of two of them */
    uint64_t n_slots;
    int64_t n;
};

/* Local. Room for n pairs; 0 without memory. */
int sy_merges_init(struct sy_merges *m, int64_t n);
void sy_merges_free(struct sy_merges *m);

/* Local. A pair's rank and token; one that is there already gets the new ones. */
void sy_merges_put(struct sy_merges *m, int32_t left, int32_t right, uint32_t rank, int32_t into);

/* Local. NULL: the pair has no rank. */
const struct sy_merge *sy_merges_find(const struct sy_merges *m, int32_t left, int32_t right);

/* What a word is merged in; {0} at first. */
struct sy_merging {
    int32_t *id; /* the word's tokens, by place */
    uint32_t *rank, *before, *after;
    uint64_t *heap;
    size_t n, capacity;
};

/* Local. Room for n tokens in `id`; 0 without memory, and nothing is lost. */
int sy_merging_reach(struct sy_merging *w, size_t n);
void sy_merging_free(struct sy_merging *w);

/* Local. Merges id[0 … n-1]; n becomes smaller. */
void sy_merge_word(const struct sy_merges *m, struct sy_merging *w);

#endif
