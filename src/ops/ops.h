/* Every op: one struct is its whole contract, with shapes and order of sums (docs/NUMERICS.md gives the formulas).
 *
 * An op is called through the table of a tier, `exec->ops->gemm(exec, &(struct sy_gemm){...}, 1)`. All tiers of a class give
 * the same bits. Ops never allocate and never fail: what can be wrong with data is counted in an output, what can be wrong
 * with a call is an assert. "stored" means exec->dtype: the type BF(x) of the class. Inputs are widened exactly, sums and
 * pointwise arithmetic are fp32, an output in the stored type is rounded once.
 *
 * T tokens, D width, F expert width, E experts, K experts per token, N = rows of all experts, V vocabulary, H heads,
 * B sequences of S tokens: T = B*S. In backward ops a prefix d marks a gradient.
 */
#ifndef SY_OPS_OPS_H
#define SY_OPS_OPS_H

#include "base/status.h"
#include "base/threads.h"
#include "device/tensor.h"

/* Numeric classes (NUMERICS 1). KB is the rows of one chain step. */
#define SY_CLASS_LIST(X)       \
    X(X86, x86, 2, SY_BF16)    \
    X(SM90, sm90, 16, SY_BF16) \
    X(FP32, fp32, 1, SY_F32)

enum sy_numeric_class {
#define X(name, text, kb, dtype) SY_NUMERIC_##name,
    SY_CLASS_LIST(X)
#undef X
        SY_N_CLASSES
};

struct sy_ops;

/* Where an op runs. One per rank; the pool is not shared with a concurrent caller. */
struct sy_exec {
    const struct sy_ops *ops;
    enum sy_numeric_class cls;
    enum sy_dtype dtype; /* stored type of cls */
    int kb;
    struct sy_pool *pool;
    char *scratch; /* scratch_bytes for each thread of the pool, 64-byte aligned */
    size_t scratch_bytes;
};

static inline void *sy_exec_scratch(const struct sy_exec *x, int thread) {
    return x->scratch + (size_t)thread * x->scratch_bytes;
}

/* --- gemm: c = [acc +] CHAIN over the parts in order, each part padded to KB by itself ------------------------ */

struct sy_gemm_part {
    struct sy_mat a; /* [m, k] stored */
    struct sy_mat b; /* [k, n] stored */
    int64_t k;
};

enum sy_gemm_out {
    SY_GEMM_STORE, /* c = chain + bias, rounded when c is stored */
    SY_GEMM_FOLD   /* c = c + chain, fp32 */
};

struct sy_gemm {
    int64_t m, n;
    const struct sy_gemm_part *parts;
    int n_parts;
    const float *bias; /* [n] or NULL; not with FOLD */
    const float *acc;  /* [m, n] rows acc_row apart: the chain goes on from here; NULL: from +0. May be an fp32 c of STORE */
    int64_t acc_row;
    enum sy_gemm_out out;
    struct sy_mat c; /* [m, n], col = 1; stored or fp32 */
};

/* --- norm: rows are (token, head); heads = 1 for a whole row -------------------------------------------------- */

struct sy_rmsnorm_fwd { /* r = 1/sqrt(fma(V64(x x), fp32(1/d), eps)); y = BF((x r) g) */
    int64_t tokens, heads, d;
    float eps;
    struct sy_heads x; /* stored */
    const float *g;    /* [d] */
    struct sy_heads y; /* stored; may be x */
    float *r;          /* [tokens, heads] or NULL */
};

struct sy_rmsnorm_bwd { /* t = dy g; c = V64(t x); k = ((c r) r) fp32(1/d); dx = BF(r fma(-k, x, t)) */
    int64_t tokens, heads, d;
    struct sy_heads dy, x; /* stored */
    const float *g, *r;
    struct sy_heads dx; /* stored; may be dy */
};

/* --- rope: in place on heads of d values, pairs (2i, 2i+1) or halves (i, i + d/2) ----------------------------- */

struct sy_rope { /* y0 = BF(fma(-x1, s, x0 c)), y1 = BF(fma(x1, c, x0 s)); backward: -s for s */
    int64_t tokens, heads, d;
    int halves, backward;
    const int32_t *position; /* [tokens] */
    const float *cos, *sin;  /* [positions, d/2] */
    struct sy_heads x;       /* stored */
};

/* --- attention: per sequence, head and query row, keys in blocks of 128 from the start of the sequence -------- */

enum { SY_ATTENTION_BLOCK = 128, SY_ATTENTION_PARTS = 2 };

struct sy_attention_part { /* a part of the head dimension: nope, rope */
    int64_t d;
    struct sy_heads q, k;   /* q [T, H, d], k [T, Hkv, d] (head stride 0: one shared key) */
    struct sy_heads dq, dk; /* backward: stored; dk is [T, Hkv, d] also where k's head stride is 0: one BF a head */
};

struct sy_attention {
    int64_t sequences, seq_len, heads, kv_heads, dv;
    int n_parts;
    struct sy_attention_part part[SY_ATTENTION_PARTS];
    struct sy_heads v;        /* [T, Hkv, dv] */
    float scale;              /* (head dimension)^-1/2 and yarn's factor: of dq and dk */
    float c;                  /* fp32(scale log2 e), rounded once: of the scores */
    const int32_t *doc_start; /* [T] index in its sequence of the first token of a token's document; NULL: 0 */
    int64_t window;           /* keys j with i - j < window; 0: all */
    struct sy_heads o;        /* [T, H, dv] stored: written forward, read backward */
    float *lse;               /* [T, H] in log2: written forward, read backward */
    struct sy_heads d_o, d_v; /* backward: in, out (stored) */
};

/* --- pointwise ------------------------------------------------------------------------------------------------ */

struct sy_swiglu_fwd { /* s = g SIG(g); h = BF(s u) */
    int64_t rows, f;
    struct sy_mat gu; /* [rows, 2f] stored: g | u */
    struct sy_mat h;  /* [rows, f] stored */
};

/* a = w a' (w given) or a'; du = BF(a s), dg = BF((a u)(SIG(g) fma(g, 1 - SIG(g), 1))).
 * With w: dw = B64 over f of a' h, hw = BF(w h). Without: hw = h. */
struct sy_swiglu_bwd {
    int64_t rows, f;
    struct sy_mat gu;  /* [rows, 2f] stored */
    struct sy_mat a;   /* [rows, f] fp32: gradient of h before the route's weight */
    const float *w;    /* [rows] or NULL */
    struct sy_mat dgu; /* [rows, 2f] stored */
    struct sy_mat hw;  /* [rows, f] stored: the rows of W2's weight gradient */
    float *dw;         /* [rows] or NULL */
};

enum { SY_JOIN_TERMS = 4 };
struct sy_join { /* y = BF(((t0 + t1) + t2) + t3), fp32 sums in order; n = 1: a conversion */
    int64_t rows, d;
    int n;
    struct sy_mat term[SY_JOIN_TERMS]; /* stored or fp32 */
    struct sy_mat y;                   /* stored or fp32; may be a term */
};

struct sy_head_sum { /* y[t] = BF(sum over heads ascending of x[t, h], fp32, from +0): gradient of what all heads use */
    int64_t tokens, heads, d;
    struct sy_heads x; /* stored */
    struct sy_heads y; /* stored, its head stride is not used */
};

struct sy_sigmoid_gate { /* y = BF(SIG(l) y), l one fp32 logit a row */
    int64_t rows, d;
    const float *logit;
    struct sy_mat y; /* stored, in place */
};

struct sy_sigmoid_gate_bwd { /* ds = V64(dy y_in); dl = BF(ds (s (1 - s))); dy_in = BF(s dy); s = SIG(logit) */
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

/* out[index[i]] = fma(scale[i], src[i], out[index[i]]), fp32, i ascending for every element; scale NULL: out + src, the same
 * as scale 1. out overlaps nothing that is read. Gradient of the embedding: index the ids, src dy, out the leaf. */
struct sy_scatter_add {
    int64_t n, d, out_rows;
    const int32_t *index; /* [n] row of out */
    const float *scale;   /* [n] or NULL */
    struct sy_mat src;    /* [n, d] stored or fp32, col = 1 */
    struct sy_mat out;    /* [out_rows, d] fp32, col = 1 */
};

/* --- routing -------------------------------------------------------------------------------------------------- */

enum sy_score_func { SY_ROUTER_SIGMOID, SY_ROUTER_SOFTMAX, SY_ROUTER_TOPK_SOFTMAX };

struct sy_router_fwd { /* scores, groups, top-k, weights (NUMERICS 3); equal scores: lower expert id first; -0 equals +0 */
    int64_t tokens, experts, top_k;
    enum sy_score_func score_func;
    int64_t groups, limited_groups; /* 0: none */
    int group_top2_sum;             /* group score: 1 sum of the two largest c, 0 the largest */
    int route_norm;
    float route_scale;
    int64_t forced_seq_len; /* > 0: forced balance, expert of route k of token i of its sequence = (i K + k) mod E */
    const int32_t *given;   /* [tokens, top_k] ascending ids chosen elsewhere: nothing else chooses; NULL: choose */
    int chosen_only;        /* sigmoid, forced or given: s of the chosen alone, +0 elsewhere (router_losses need all) */
    const float *logits;    /* [tokens, experts] */
    const float *bias;      /* [experts] or NULL: chooses, never weighs */
    float *s;               /* [tokens, experts] scores; topk_softmax: s[t, e] of the chosen, +0 elsewhere */
    int32_t *ids;           /* [tokens, top_k], ascending */
    float *w;               /* [tokens, top_k] */
    int64_t *bad_token;     /* lowest token with a NaN among its logits, or -1 */
};

struct sy_router_bwd { /* NUMERICS 3 "Router" */
    int64_t tokens, experts, top_k;
    enum sy_score_func score_func;
    int route_norm;
    float route_scale;
    const float *s;
    const int32_t *ids;
    const float *dw;       /* [tokens, top_k] */
    const float *aux;      /* [tokens, experts] added to dl before it is rounded (router_losses), or NULL */
    struct sy_mat dlogits; /* [tokens, experts] stored: BF(dl + aux) */
};

/* Per sequence of S tokens, and so the same in any batch cut between sequences (NUMERICS 3 "Router losses").
 * Balance: p = s / V64(s) (sigmoid), s (softmax), the softmax of all E logits (topk_softmax); f = fp32(count E / (K S));
 * P = R64(p) fp32(1/S), plain adds; loss V64(f P); g = fp32(balance f / S), t = V64(g p), dl = p (g - t);
 * sigmoid: dl = ((g - t) / n) (s (1 - s)).
 * z: lse = m + LOG(V64(EXP(l - m))); loss R64(lse lse) fp32(1/S); dl = dl + (fp32(2 z / S) lse) (e (1/Z)). */
struct sy_router_losses {
    int64_t sequences, seq_len, experts, top_k;
    enum sy_score_func score_func;
    float balance, z;    /* coefficient / sequences of the global batch; 0: this loss is not computed */
    const float *logits; /* [T, E] */
    const float *s;      /* [T, E] scores of router_fwd */
    const int32_t *ids;  /* [T, K] */
    float *dl;           /* [T, E] gradient of both losses at the logits: written, +0 without any */
    int64_t *loss;       /* [2] balance, z, without weights: += sum over sequences of rint(min(loss, 4096) 2^24) */
    int64_t *n_bad;      /* += sequences with a non-finite logit or loss; neither of their losses is added */
};

/* The k largest (or smallest) of each row; equal values (and -0, +0): lower index first. A row with a NaN is reported, its
 * ids are 0 .. k-1. A row lies in a thread's scratch: n at most scratch_bytes / 4. */
struct sy_topk {
    int64_t rows, n, k;
    int smallest, sorted; /* sorted: best first, else by ascending index */
    const float *x;       /* [rows, n] */
    float *values;        /* [rows, k] or NULL */
    int32_t *ids;         /* [rows, k] */
    int64_t *bad_row;     /* lowest row with a NaN, or -1 */
};

struct sy_topk_bwd { /* dx[r, ids[r, j]] = dvalues[r, j], +0 elsewhere */
    int64_t rows, n, k;
    const int32_t *ids;   /* [rows, k] distinct in a row */
    const float *dvalues; /* [rows, k] */
    float *dx;            /* [rows, n] */
};

/* A stable counting sort of the routes by (expert, sequence, token), no padding. */
struct sy_route_sort {
    int64_t sequences, seq_len, experts, top_k;
    const int32_t *ids; /* [T, K] ascending */
    int64_t *offset;    /* [E * sequences + 1]: first row of (expert, sequence); the last one is N */
    int32_t *row;       /* [T, K] row of a route */
    int32_t *route;     /* [N] route t*K + k of a row */
};

struct sy_permute { /* y[row] = x[t] (w NULL) or BF(w x[t]) */
    int64_t rows, top_k, d;
    const int32_t *route; /* [rows] */
    const float *w;       /* [T, K] or NULL */
    struct sy_mat x, y;   /* stored [T, d], [rows, d] */
};

/* y[t] = BF(sum over k ascending of fma(w, o[row(t,k)], y), + shared last). With groups = C > 0: each of C equal id ranges
 * summed so, BF each, the ranges added ascending in fp32. w NULL: weight 1. Also dispatch backward (shared NULL). */
struct sy_combine {
    int64_t tokens, top_k, d, experts, groups;
    const int32_t *ids, *row; /* [T, K] */
    const float *w;           /* [T, K] or NULL */
    struct sy_mat o;          /* [rows, d] stored */
    struct sy_mat shared;     /* [T, d] stored, or data NULL */
    struct sy_mat y;          /* [T, d] stored */
};

struct sy_gather_f32 { /* y[i] = x[index[i]] (scatter 0) or y[index[i]] = x[i] (scatter 1): one float a row */
    int64_t n;
    int scatter;
    const int32_t *index;
    const float *x;
    float *y;
};

struct sy_rowdot { /* y[r] = V64(a b), fp32 */
    int64_t rows, d;
    struct sy_mat a, b; /* stored */
    float *y;
};

/* --- loss ----------------------------------------------------------------------------------------------------- */

/* m = row max; e = EXP(x - m); Z = V64 over exactly V columns; loss = LOG(Z) - (x_t - m);
 * dlogit = BF((e (1/Z) - [i = t]) w). Label < 0: no loss, dlogit +0. A non-finite loss is counted, not summed. */
struct sy_cross_entropy {
    int64_t rows, vocab;
    const float *logits;   /* [rows, vocab] */
    const int32_t *labels; /* [rows] */
    float w;               /* fp32(1/N) */
    struct sy_mat dlogits; /* [rows, vocab] stored, or data NULL: loss alone */
    int64_t *loss;         /* += sum of rint(min(loss, 4096) 2^24) */
    int64_t *n_valid;      /* += rows with a label */
    int64_t *n_bad;        /* += non-finite losses */
};

/* --- sums over tokens and over lanes -------------------------------------------------------------------------- */

/* R64: out[j] += for each 64 rows of a sequence, ascending, one fma chain of a[row, j] * (x[row, j] * r[row]) from +0.
 * Rows are (token, head) of whole sequences; x.data NULL: the chain adds a. */
struct sy_row_sum {
    int64_t sequences, rows_per_sequence, heads, d; /* rows_per_sequence = tokens * heads */
    struct sy_heads a, x;                           /* stored */
    const float *r;                                 /* [rows] or NULL: 1 */
    float *out;                                     /* [d] */
};

struct sy_add_f32 { /* y = y + x */
    int64_t n;
    const float *x;
    float *y;
};

struct sy_square_sum { /* fp64 sums of squares of blocks of 1024 consecutive elements: 16 lanes, halved as in V64 */
    int64_t n;
    const float *x;
    double *out;    /* [(n + 1023) / 1024] */
    int64_t *n_bad; /* += non-finite elements */
};

/* --- update --------------------------------------------------------------------------------------------------- */

/* g = clip G; m = fma(b1, m, one_b1 g); v = fma(b2, v, (one_b2 g) g); below 2^-126 both are stored as +0;
 * q = (m c1)/(sqrt(v c2) + eps); w = fma(-lr, fma(wd, w, q), w). */
struct sy_adamw {
    int64_t n;
    float clip, b1, one_b1, b2, one_b2, c1, c2, eps, lr, wd;
    const float *g;
    float *m, *v, *w;
};

struct sy_cast { /* y = BF(x), n consecutive elements */
    int64_t n;
    const float *x;
    void *y; /* stored */
};

/* The one list of ops: op table, `switchyard info`, the tier comparison and the benchmark come from it. X(name, struct). */
#define SY_OPS_LIST(X)                       \
    X(rmsnorm_fwd, sy_rmsnorm_fwd)           \
    X(rmsnorm_bwd, sy_rmsnorm_bwd)           \
    X(rope, sy_rope)                         \
    X(attention_fwd, sy_attention)           \
    X(attention_bwd, sy_attention)           \
    X(swiglu_fwd, sy_swiglu_fwd)             \
    X(swiglu_bwd, sy_swiglu_bwd)             \
    X(join, sy_join)                         \
    X(head_sum, sy_head_sum)                 \
    X(sigmoid_gate, sy_sigmoid_gate)         \
    X(sigmoid_gate_bwd, sy_sigmoid_gate_bwd) \
    X(embed_fwd, sy_embed_fwd)               \
    X(scatter_add, sy_scatter_add)           \
    X(router_fwd, sy_router_fwd)             \
    X(router_bwd, sy_router_bwd)             \
    X(router_losses, sy_router_losses)       \
    X(topk, sy_topk)                         \
    X(topk_bwd, sy_topk_bwd)                 \
    X(route_sort, sy_route_sort)             \
    X(permute, sy_permute)                   \
    X(combine, sy_combine)                   \
    X(gather_f32, sy_gather_f32)             \
    X(rowdot, sy_rowdot)                     \
    X(cross_entropy, sy_cross_entropy)       \
    X(row_sum, sy_row_sum)                   \
    X(add_f32, sy_add_f32)                   \
    X(square_sum, sy_square_sum)             \
    X(adamw, sy_adamw)                       \
    X(cast, sy_cast)

struct sy_ops {
    const char *tier;
    void (*gemm)(const struct sy_exec *x, const struct sy_gemm *problems, int n_problems);
#define X(name, type) void (*name)(const struct sy_exec *x, const struct type *op);
    SY_OPS_LIST(X)
#undef X
};

/* --- tiers and execution -------------------------------------------------------------------------------------- */

/* The tiers of this build, weakest first: ref, avx2, avx512, avx512_bf16. */
int sy_ops_n_tiers(void);
const char *sy_ops_tier_name(int tier);
/* Local. NULL with a reason in *why (static) when the CPU cannot run the tier. */
const struct sy_ops *sy_ops_tier(int tier, const char **why);

/* Local. `tier` is a name or "auto" (the fastest that runs here). Errors: ERR_USAGE unknown, ERR_UNAVAILABLE. */
sy_status sy_ops_select(const char *tier, const struct sy_ops **out);

const char *sy_class_name(enum sy_numeric_class cls);
int sy_class_kb(enum sy_numeric_class cls);
enum sy_dtype sy_class_dtype(enum sy_numeric_class cls);

/* Local. Shape [rows, k] of what topk gives for [rows, n]. Errors: ERR_USAGE, naming k and n, or a count out of range. */
sy_status sy_topk_check(int64_t rows, int64_t n, int64_t k, int64_t *out_rows, int64_t *out_k);

/* Local. The rule of sharing memory of scatter_add: out must not overlap src, index or protect (any may be NULL or empty).
 * Errors: ERR_USAGE, naming both and their byte ranges. A caller whose out overlaps protect adds to a copy instead. */
sy_status sy_scatter_add_check(const void *out, size_t out_bytes, const void *src, size_t src_bytes, const void *index,
                               size_t index_bytes, const void *protect, size_t protect_bytes);
/* Local. The same rule as a question: whether out overlaps one of them. No error, no message. */
int sy_scatter_add_overlaps(const void *out, size_t out_bytes, const void *src, size_t src_bytes, const void *index,
                            size_t index_bytes, const void *protect, size_t protect_bytes);

/* Bytes of scratch that one thread needs for every op: rows up to max_row wide, head sizes (the padded sum of the parts, or
 * the value's) up to max_head, sequences of seq_len. */
size_t sy_ops_scratch_bytes(int64_t max_row, int64_t max_head, int64_t seq_len);

#endif
