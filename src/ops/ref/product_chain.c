/* A micro-tile by chain.h, for classes and tiers that have no kernel of their own: a word is a value widened
 * to fp32. chain.h takes the left-hand side by rows, so they are turned back. */
#include "ops/ref/chain.h"
#include "ops/ref/product_kernel.h"

enum { LANES = 8, KC = 256 };

static float element(struct sy_mat v, int64_t i, int64_t p) {
    int64_t at = i * v.row + p * v.col;
    return v.dtype == SY_F32 ? ((const float *)v.data)[at] : f32_of(((const uint16_t *)v.data)[at]);
}

static void pack(const struct lanes *l, uint32_t *dst, int64_t stride) {
    for (int64_t p = 0; p < l->k_pad; p++)
        for (int64_t i = 0; i < LANES; i++)
            dst[p * stride + i] = i < l->n && p < l->k ? sy_f32_bits(element(l->v, i, p)) : 0;
}

static void micro(int rows, const struct micro *t) {
    float a[CHAIN_MR * KC], acc[CHAIN_MR * CHAIN_NR] = {0}, *b = (float *)(uintptr_t)t->b;
    for (int i = 0; i < rows && t->from; i++)
        memcpy(acc + i * CHAIN_NR, t->from + i * t->from_row, CHAIN_NR * sizeof *acc);
    for (int64_t at = 0; at < t->steps; at += KC) {
        int64_t k = t->steps - at < KC ? t->steps - at : KC;
        for (int64_t p = 0; p < k; p++)
            for (int i = 0; i < CHAIN_MR; i++)
                a[i * KC + p] = sy_f32_from_bits(t->a[(at + p) * LANES + i]);
        chain_tile(t->cls, &(struct chain_args){CHAIN_MR, CHAIN_NR, k, a, KC, b + at * CHAIN_NR, CHAIN_NR,
                                                acc, CHAIN_NR});
    }
    for (int i = 0; i < rows; i++)
        micro_store(t, CHAIN_NR, i, acc + i * CHAIN_NR);
}

const struct product_kernel SY_FN(product_chain) = {.mr = CHAIN_MR,
                                                    .nr = CHAIN_NR,
                                                    .lanes = LANES,
                                                    .per_word = 1,
                                                    .kc = {KC, KC},
                                                    .stays = 16 << 10,
                                                    .pack = pack,
                                                    .micro = micro};
