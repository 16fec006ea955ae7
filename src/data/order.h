/* The order of documents in an epoch: a permutation that depends on (seed, epoch) alone (loader.h has
 * the formula). */
#ifndef SY_DATA_ORDER_H
#define SY_DATA_ORDER_H

#include "base/status.h"

/* Local. order[0 … n-1] becomes a permutation of 0 … n-1. Beside it memory for at most 2^22 keys is needed,
 * however large n is. Errors: ERR_MEMORY. */
sy_status sy_order_shuffle(uint64_t seed, int64_t epoch, int64_t n, int64_t *order);

#endif
