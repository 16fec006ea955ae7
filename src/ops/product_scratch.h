/* What a product takes of a thread's scratch, in words of 4 bytes: the side that stays in a second-level cache, a
 * micro-tile's rows, sums between blocks of k. See ops/ref/product.c. */
#ifndef SY_OPS_PRODUCT_SCRATCH_H
#define SY_OPS_PRODUCT_SCRATCH_H

enum {
    SY_PRODUCT_STAYS = 1 << 17,
    SY_PRODUCT_MOVES = 1 << 14,
    SY_PRODUCT_SUMS = 1 << 18,
    SY_PRODUCT_WORDS = SY_PRODUCT_STAYS + SY_PRODUCT_MOVES + SY_PRODUCT_SUMS
};

#endif
