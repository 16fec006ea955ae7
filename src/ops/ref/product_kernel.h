/* A tier's micro-tile: mr x nr outputs whose accumulators stay in registers over a block of k.
 *
 * Operands are packed by lanes. A lane is a row of the left-hand side or a column of the right-hand one; a
 * word holds `per_word` rows of k of one lane, a step is the same word of all lanes:
 *
 *     left     [steps][lanes]     a micro-tile's rows, mr <= lanes
 *     right    [steps][nr]        a panel, nr a multiple of lanes
 *
 * Rows of k of a slice are filled up with +0 to a multiple of KB, a step of the chain, by the slice itself.
 * A kernel packs rows in the order in which it takes them, and the words of a left-hand side's block of KB
 * rows in any.
 */
#ifndef SY_OPS_REF_PRODUCT_KERNEL_H
#define SY_OPS_REF_PRODUCT_KERNEL_H

#include "ops/ref/tier.h"

enum micro_end {
    MICRO_CUT,    /* to = the accumulators */
    MICRO_END,    /* to = acc + 0.0f */
    MICRO_STREAM, /* the same, past the caches where the tier can: nobody reads it soon */
    MICRO_FOLD,   /* to = to + (acc + 0.0f) */
    MICRO_ROUND   /* to, bf16, = BF(acc + 0.0f) */
};

struct micro {
    enum sy_numeric_class cls;
    int64_t steps;
    const uint32_t *a, *b; /* [steps][lanes], [steps][nr] */
    const float *from;     /* accumulators [rows, nr], rows from_row apart; NULL: +0 */
    int64_t from_row;
    enum micro_end end;
    void *to; /* fp32 [rows, nr], rows to_row apart; may be `from` */
    int64_t to_row;
    const char *next; /* 64 bytes a step that are read soon */
};

/* Rows of stored values as they lie, by panels side by side: each word of the right-hand side is read once,
 * and enough chains are under way to hide an instruction's latency where there are few rows. */
enum { FEW_ROWS = 3, FEW_PANELS = 4 };
struct few {
    int64_t steps;
    struct sy_mat a;   /* [rows, steps per_word], col = 1 */
    const uint32_t *b; /* [panels][steps][nr] */
    float *to;         /* [rows, panels nr], = acc + 0.0f, rows to_row apart */
    int64_t to_row;
};

struct lanes { /* rows 0 .. k-1 of lanes 0 .. n-1 of v [n, k]; +0 up to k_pad and behind the last lane */
    enum sy_numeric_class cls;
    struct sy_mat v;
    int64_t n, k, k_pad;
    int left; /* of the left-hand side */
};

struct product_kernel {
    int mr, nr, lanes, per_word;
    int panels;    /* reads packed right-hand sides as panels; else they are rows [k, n] as stored */
    int64_t kc[2]; /* rows of k of a block where rows stay in cache, where columns do */
    int64_t stays; /* words of the side that stays in cache */
    void (*pack)(const struct lanes *l, uint32_t *dst, int64_t stride); /* dst[step * stride + lane] */
    void (*micro)(int rows, const struct micro *t);                     /* of 1 .. mr rows */
    /* Of 1 .. FEW_ROWS rows, 1 or FEW_PANELS panels; NULL: they are rows as others. */
    void (*few)(int rows, int panels, const struct few *t);
};

/* This tier's kernel of a class. */
const struct product_kernel *SY_FN(product_kernel)(enum sy_numeric_class cls);
/* By chain.h, in any tier: what has no kernel of its own. */
extern const struct product_kernel SY_FN(product_chain);

/* Row i of the outputs at its end, for kernels that do not end it in registers. */
static inline void micro_store(const struct micro *t, int64_t n, int64_t i, const float *acc) {
    float *to = (float *)t->to + i * t->to_row;
    uint16_t *rounded = (uint16_t *)t->to + i * t->to_row;
    for (int64_t j = 0; j < n && t->end == MICRO_ROUND; j++)
        rounded[j] = bf16_of(acc[j] + 0.0f, sy_class_flushes(t->cls));
    for (int64_t j = 0; j < n && t->end != MICRO_ROUND; j++)
        to[j] = t->end == MICRO_CUT ? acc[j] : t->end == MICRO_FOLD ? to[j] + (acc[j] + 0.0f) : acc[j] + 0.0f;
}

static inline int64_t up_to(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

#endif
