/* The order of documents in an epoch: a permutation that depends on (seed, epoch) alone (loader.h has
 * the formula). */
#ifndef SY_DATA_ORDER_H
#define SY_DATA_ORDER_H

#include <stdint.h>

struct sy_order_key {
    uint64_t key;
    int64_t index;
};

/* Local. order[0 … n-1] becomes a permutation of 0 … n-1. keys and scratch have room for n each; nothing
 * is allocated. */
void sy_order_shuffle(uint64_t seed, int64_t epoch, int64_t n, struct sy_order_key *keys,
                      struct sy_order_key *scratch, int64_t *order);

#endif
