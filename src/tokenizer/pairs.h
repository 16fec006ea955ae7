/* Pairs of neighbours in words: how often each occurs, in which words, and which is the most frequent. */
#ifndef SY_TOKENIZER_PAIRS_H
#define SY_TOKENIZER_PAIRS_H

#include "tokenizer/merges.h"

struct sy_pair {
    int32_t left, right;
    int64_t count;
    int32_t *word; /* in which it is, or was */
    int32_t n_words, capacity;
};

struct sy_pairs {
    struct sy_pair *pair;
    int32_t n, capacity;
    struct sy_merges index; /* rank: which pair */
    struct sy_queued {
        int64_t count;
        int32_t pair;
    } * heap;
    int64_t n_heap, heap_capacity;
    int failed; /* no memory */
};

/* Local. {0} is empty. Adds `count` occurrences, in `word`; a negative count takes them away. */
void sy_pairs_add(struct sy_pairs *p, int32_t left, int32_t right, int64_t count, int32_t word);

/* Local. Into the queue, with the count that it has now. */
void sy_pairs_queue(struct sy_pairs *p, int32_t pair);

/* Local. Takes the most frequent pair out of the queue (equal: the smaller left, then right); -1: none is
 * left that occurs. */
int32_t sy_pairs_next(struct sy_pairs *p);

void sy_pairs_free(struct sy_pairs *p);

#endif
