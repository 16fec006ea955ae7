/* Ops of a layer but products and routing: norm, rope, attention, pointwise, the embedding; moving bits. See
 * ops.h for what an op is. */
#ifndef SY_OPS_OP_LAYER_H
#define SY_OPS_OP_LAYER_H

#include "device/tensor.h"

/* --- norm: rows are (token, head); heads = 1 for a whole row -------------------------------------------- */

struct sy_rmsnorm_fwd { /* r = 1/sqrt(fma(V64(x x), fp32(1/d), eps)); y = BF((x r) g) */
    int64_t tokens, heads, d;
    float eps;
    struct sy_heads x; /* stored */
    const float *g;    /* [d] */
    struct sy_heads y; /* stored; may be x */
    float *r;          /* [tokens, heads] or NULL */
};

/* t = dy g; c = V64(t x); k = ((c r) r) fp32(1/d); dx = BF(r fma(-k, x, t)), with a residual BF(residual +
 * that) */
struct sy_rmsnorm_bwd {
    int64_t tokens, heads, d;
    struct sy_heads dy, x; /* stored */
    const float *g, *r;
    struct sy_heads dx;       /* stored; may be dy, or the residual */
    struct sy_heads residual; /* stored; data NULL: none */
};

/* --- rope: in place on heads of d values, pairs (2i, 2i+1) or halves (i, i + d/2) ----------------------- */

struct sy_rope { /* y0 = BF(fma(-x1, s, x0 c)), y1 = BF(fma(x1, c, x0 s)); backward: -s for s */
    int64_t tokens, heads, d;
    int halves, backward;
    const int32_t *position; /* [tokens] */
    const float *cos, *sin;  /* [positions, d/2] */
    struct sy_heads x;       /* stored */
};

/* --- attention: per sequence, head and query row, keys in blocks of 128 from the start of the sequence -- */

enum { SY_ATTENTION_BLOCK = 128, SY_HEAD_SLICES = 2 };

struct sy_head_slice { /* of the head dimension: nope, rope */
    int64_t d;
    struct sy_heads q, k; /* q [T, H, d], k [T, Hkv, d] (head stride 0: one shared key) */
    /* backward: stored; dk is [T, Hkv, d] also where k's head stride is 0: one BF a head */
    struct sy_heads dq, dk;
};

/* An allowed score of -Inf has p = +0; a NaN or +Inf, no finite one, or a sum of p that is 0 makes the
 * row's o and lse NaN. */
struct sy_attention {
    int64_t sequences, seq_len, heads, kv_heads, dv;
    int n_slices;
    struct sy_head_slice slice[SY_HEAD_SLICES];
    struct sy_heads v; /* [T, Hkv, dv] */
    float scale;       /* (head dimension)^-1/2 and yarn's factor: of dq and dk */
    float c;           /* fp32(scale log2 e), rounded once: of the scores */
    /* [T] index in its sequence of the first token of a token's document; NULL: 0 */
    const int32_t *doc_start;
    int64_t window; /* keys j with i - j < window; 0: all */
    /* Forward, of one sequence: the first query row that is computed; what o and lse hold before it is
     * nobody's then. */
    int64_t first;
    /* Forward, [n_texts]: instead of all of the above and below, these, each of one sequence, all of the same
     * widths; they write to different memory. The host's, read before the call returns. n_texts 0: none. */
    const struct sy_attention *texts;
    int n_texts;
    struct sy_heads o;        /* [T, H, dv] stored: written forward, read backward */
    float *lse;               /* [T, H] in log2: written forward, read backward */
    struct sy_heads d_o, d_v; /* backward: in, out (stored) */
};

/* --- pointwise ------------------------------------------------------------------------------------------ */

enum { SY_JOIN_TERMS = 4 };
struct sy_join { /* y = BF(((t0 + t1) + t2) + t3), fp32 sums in order; n = 1: a conversion */
    int64_t rows, d;
    int n;
    struct sy_mat term[SY_JOIN_TERMS]; /* stored or fp32 */
    struct sy_mat y;                   /* stored or fp32; may be a term */
};

/* y[t] = BF(sum over heads ascending of x[t, h], fp32, from +0): gradient of what all heads use. */
struct sy_head_sum {
    int64_t tokens, heads, d;
    struct sy_heads x; /* stored */
    struct sy_heads y; /* stored, its head stride is not used */
};

struct sy_sigmoid_gate { /* y = BF(SIG(l) y), l one fp32 logit a row */
    int64_t rows, d;
    const float *logit;
    struct sy_mat y; /* stored, in place */
};

/* ds = V64(dy y_in); dl = BF(ds (s (1 - s))); dy_in = BF(s dy); s = SIG(logit). */
struct sy_sigmoid_gate_bwd {
    int64_t rows, d;
    const float *logit;
    struct sy_mat y_in, dy; /* stored */
    struct sy_mat dy_in;    /* stored; may be dy */
    struct sy_mat dlogit;   /* [rows, 1] stored */
};

struct sy_embed_fwd { /* y[t] = w[id[t]] */
    int64_t tokens, d;
    const int32_t *ids;
    struct sy_mat w, y; /* stored */
};

/* out[index[i]] = fma(scale[i], src[i], out[index[i]]), fp32, i ascending for every element; scale NULL: out
 * + src, the same as scale 1. out overlaps nothing that is read. With top_k, index is a row's route:
 * out[index[i] / top_k]; a negative index is a row of padding. Gradient of the embedding: index the ids, src
 * dy, out the leaf. */
struct sy_scatter_add {
    int64_t n, d, out_rows;
    const int64_t *used;  /* [1] rows that there are, at most n; NULL: n */
    const int32_t *index; /* [n] row of out, or route */
    int64_t top_k;        /* 0: index is a row */
    const float *scale;   /* [n] or NULL */
    struct sy_mat src;    /* [n, d] stored or fp32, col = 1 */
    struct sy_mat out;    /* [out_rows, d] fp32, col = 1 */
};

/* y[index[i]] = y[index[i]] + x[index[i]], x[index[i]] = +0, i ascending; y NULL: clears x alone. A row named
 * twice is added once, as it is +0 the second time and no sum is ever -0. The embedding's folds and joins, on
 * the rows that were touched. */
struct sy_fold_rows {
    int64_t n, d;
    const int32_t *index; /* [n] */
    float *x, *y;         /* [rows, d] */
};

struct sy_fill { /* n words of 4 bytes become `word` */
    int64_t n;
    uint32_t word;
    void *data;
};

struct sy_copy { /* rows of `bytes` bytes, row strides in bytes; they do not overlap */
    int64_t rows, bytes, from_row, to_row;
    const void *from;
    void *to;
};

#endif
