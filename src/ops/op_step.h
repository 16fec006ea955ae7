/* What a step counts, the loss, sums over tokens and lanes, the verdict and the update. See ops.h for what an
 * op is. */
#ifndef SY_OPS_OP_STEP_H
#define SY_OPS_OP_STEP_H

#include "base/exact_sum.h"
#include "device/tensor.h"

/* --- what a step counts, and what becomes of it --------------------------------------------------------- */

/* Per-step numbers, in the exec's memory, copied there before the step's first op. */
struct sy_scalars {
    float w; /* fp32(1/N): the weight of a label's loss */
    float lr, b1, one_b1, b2, one_b2, c1, c2, eps, wd;
    double max_norm;
};

/* What a step's ops count, in the exec's memory: integers alone, so that no order of adding shows and ranks
 * may add them (of tokens the lowest is taken, of overflow the largest). A token is named by ((sequence
 * of the step's batch * S + token) * layers + layer): the lowest is the first. */
enum { SY_NO_TOKEN = -1 };
struct sy_tally {
    int64_t loss;           /* 2^-24 nats over valid labels */
    int64_t n_valid, n_bad; /* labels; those whose loss is not finite */
    int64_t router_loss[2]; /* balance and z-loss over layers and sequences, without coefficients, 2^-24 */
    int64_t n_bad_router;   /* sequences, summed over layers, where one of these is not finite */
    int64_t bad_token;      /* the lowest with a NaN among its router's logits, or SY_NO_TOKEN */
    /* the lowest whose recompute took other routes, or SY_NO_TOKEN; its expert, and now */
    int64_t changed[3];
    int64_t batched;        /* passes without gradients whose experts all had equally many rows */
    int64_t n_bad_gradient; /* gradient elements that are not finite */
    int64_t
        overflow; /* rows that the experts of a rank got where fewer are planned, the first time; 0: never */
    struct sy_exact_sum norm; /* sums of squares of the gradient's blocks */
};
static const struct sy_tally sy_tally_empty = {.bad_token = SY_NO_TOKEN, .changed = {SY_NO_TOKEN}};

/* Of a step, in the exec's memory: the op judge makes it, adamw and expert_bias obey it. */
struct sy_verdict {
    double norm;
    float clip;
    int32_t apply;
    uint64_t digest[2]; /* of the weights after the step: adamw and digest add to it */
};

/* By blocks of 128 columns, c = log2 e: M_b = rint(c max x), Z_b = V64 of EXP2(fma(x, c, -M_b)); M = max M_b,
 * Z = V64 over b of Z_b EXP2(M_b - M); e = EXP2(fma(x, c, -M)); dlogit = BF((e (1/Z) - [i = t]) w);
 * loss = max(+0, (LOG2(Z) - (x_t c - M)) ln 2), in fp64 from LOG2(Z) on, with c still the fp32 number.
 * Label < 0: no loss, dlogit +0. A logit of -Inf has e = +0; a row with a NaN, with a Z that is not above 0
 * and finite, or with a non-finite loss is counted, not summed. */
struct sy_cross_entropy {
    int64_t rows, vocab;
    const float *logits;   /* [rows, vocab] */
    const int32_t *labels; /* [rows] */
    const float *w;        /* [1] fp32(1/N); not read without dlogits */
    struct sy_mat dlogits; /* [rows, vocab] stored, or data NULL: loss alone */
    /* loss += sum of rint(min(loss, 4096) 2^24), n_valid += labels, n_bad += non-finite losses */
    struct sy_tally *tally;
};

/* --- sums over tokens and over lanes -------------------------------------------------------------------- */

/* R64: [acc +] for each 64 rows of a sequence, ascending, one fma chain of a[row, j] * (x[row, j] * r[row])
 * from +0. Rows are (token, head) of whole sequences; x.data NULL: the chain adds a. Items write to different
 * memory. */
struct sy_row_sum_item {
    int64_t sequences, rows_per_sequence, heads, d; /* rows_per_sequence = tokens * heads */
    struct sy_heads a, x;                           /* stored */
    const float *r;                                 /* [rows] or NULL: 1 */
    const float *acc;                               /* [d] or NULL: from +0; may be out unless fold */
    float *out;                                     /* [d] = the sum; fold: = out + the sum */
    int fold;
};
struct sy_row_sum {
    const struct sy_row_sum_item *item;
    int n_items;
};

/* y = y + x, item after item: one may go on from what an earlier one wrote, from its first element on
 * and with the same n. */
struct sy_add_item {
    int64_t n;
    const float *x;
    float *y;
};
struct sy_add_f32 {
    const struct sy_add_item *item;
    int n_items;
};

/* The gradient's norm: of each item fp64 sums of squares of blocks of 1024 consecutive elements, 16 lanes,
 * halved as in V64; added exactly. */
struct sy_norm_item {
    int64_t n;
    const float *x;
};
struct sy_norm {
    const struct sy_norm_item *item;
    int n_items;
    struct sy_tally *tally; /* norm += the blocks; n_bad_gradient += elements that are not finite */
};

/* --- update --------------------------------------------------------------------------------------------- */

/* norm = sqrt of the exact sum, rounded once; clip = fp32(min(1, max_norm/(norm + 1e-6))); apply = 1 if
 * everything that the tally counted is finite, and the norm, and nothing overflowed; digest = 0. */
struct sy_judge {
    const struct sy_tally *tally;
    const struct sy_scalars *scalars;
    struct sy_verdict *verdict;
};

/* g = clip G; m = fma(b1, m, one_b1 g); v = fma(b2, v, (one_b2 g) g); below 2^-126 both are stored as +0;
 * q = (m c1)/(sqrt(v c2) + eps); w = fma(-lr, fma(wd, w, q), w); stored = BF(w). Not applied: nothing
 * changes. In any case the digest of w, elements first .. first + n - 1 of the tensor `id`, is added
 * (NUMERICS 6). */
struct sy_adamw_item {
    int64_t n;
    uint64_t id, first;
    const float *g; /* not read where it is frozen */
    float *m, *v, *w;
    void *stored; /* [n]; w itself: this tensor is not stored, as a vector */
    int frozen;   /* nothing of it changes */
    /* grouped: fp32(lr lr_factor) for lr, wd for the scalars' */
    int grouped;
    float lr_factor, wd;
};
struct sy_adamw {
    const struct sy_adamw_item *item;
    int n_items;
    const struct sy_scalars *scalars;
    struct sy_verdict *verdict;
};

/* Of each row of counts [layers, E], if the verdict applies: bias[e] = bias[e] + fp32(coeff d_e), or centred
 * fp32(coeff (d_e E - sum d) / E), fp64, left to right; d_e = sign(routes - counts[e] E). routes: of all
 * tokens, T K. */
struct sy_expert_bias {
    int64_t experts, routes;
    int n_layers;
    const int64_t *const *counts; /* [n_layers] of [E] */
    float *const *bias;           /* [n_layers] of [E] */
    double coeff;
    int center;
    const struct sy_verdict *verdict; /* NULL: applies */
};

struct sy_digest_item {
    int64_t n;
    uint64_t id, first;
    const float *x;
};
struct sy_digest_of { /* sum[2] += the additive digest of the items (base/digest.h) */
    const struct sy_digest_item *item;
    int n_items;
    uint64_t *sum;
};

struct sy_cast_item { /* y = BF(x), n consecutive elements; items write to different memory */
    int64_t n;
    const float *x;
    void *y; /* stored */
};
struct sy_cast {
    const struct sy_cast_item *item;
    int n_items;
};

/* Initial values of elements first .. first + n - 1 of a tensor (NUMERICS 2): sd > 0: normal numbers of the
 * key, drawn again beyond cut > 0; else `constant`. */
struct sy_init_item {
    int64_t n, first;
    uint64_t key;
    double sd, cut;
    float constant;
    float *out;
};
struct sy_init_values {
    const struct sy_init_item *item;
    int n_items;
};

#endif
