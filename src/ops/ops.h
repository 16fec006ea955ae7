/* Every op: one struct is its whole contract, with shapes and order of sums (docs/NUMERICS.md gives the formulas).
 *
 * An op is called through the table of an exec, `exec->ops->linear(exec, &(struct sy_linear){...})`. All tiers of a class give
 * the same bits. An op is *enqueued*: later ops of the same exec may read what it writes, the host only after sy_exec_wait;
 * on a CPU it is done when the call returns. The views of an op point into the exec's memory, its struct and lists of
 * problems are the host's and are read before the call returns. The host knows bounds (struct sy_rows), never counts.
 *
 * Ops never allocate and never fail: what can be wrong with data is counted in an output, what can be wrong with a call is
 * an assert. "stored" means exec->dtype: the type BF(x) of the class. Inputs are widened exactly, sums and pointwise
 * arithmetic are fp32, an output in the stored type is rounded once.
 *
 * T tokens, D width, F expert width, E experts, K experts per token, N = rows of all experts, V vocabulary, H heads,
 * B sequences of S tokens: T = B*S. In backward ops a prefix d marks a gradient.
 */
#ifndef SY_OPS_OPS_H
#define SY_OPS_OPS_H

#include "base/exact_sum.h"
#include "base/status.h"
#include "base/threads.h"
#include "device/memory.h"

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
    const struct sy_device *device; /* whose memory the views are of */
    struct sy_pool *pool;
    char *scratch; /* scratch_bytes for each thread of the pool, 64-byte aligned */
    size_t scratch_bytes;
};

/* Local. What was enqueued is done; then the host may read. Errors: ERR_RUNTIME of the device. */
static inline sy_status sy_exec_wait(const struct sy_exec *x) { return x->device->wait(x->device); }

static inline void *sy_exec_scratch(const struct sy_exec *x, int thread) {
    return x->scratch + (size_t)thread * x->scratch_bytes;
}

/* --- what a step counts, and what becomes of it ----------------------------------------------------------------- */

/* Per-step numbers, in the exec's memory, copied there before the step's first op. */
struct sy_scalars {
    float w; /* fp32(1/N): the weight of a label's loss */
    float lr, b1, one_b1, b2, one_b2, c1, c2, eps, wd;
    double max_norm;
};

/* What a step's ops count, in the exec's memory: integers alone, so that no order of adding shows and ranks may add them. A
 * token is named by ((sequence of the step's batch * S + token) * layers + layer): the lowest is the first. */
enum { SY_NO_TOKEN = -1 };
struct sy_tally {
    int64_t loss;           /* 2^-24 nats over valid labels */
    int64_t n_valid, n_bad; /* labels; those whose loss is not finite */
    int64_t router_loss[2]; /* balance and z-loss over layers and sequences, without coefficients, 2^-24 */
    int64_t n_bad_router;   /* sequences, summed over layers, where one of these is not finite */
    int64_t bad_token;      /* the lowest with a NaN among its router's logits, or SY_NO_TOKEN */
    int64_t changed[3];     /* the lowest whose recompute took other routes, or SY_NO_TOKEN; its expert, and now */
    int64_t batched;        /* passes without gradients whose experts all had equally many rows */
    int64_t n_bad_gradient; /* gradient elements that are not finite */
    struct sy_exact_sum norm; /* sums of squares of the gradient's blocks */
};
static const struct sy_tally sy_tally_empty = {.bad_token = SY_NO_TOKEN, .changed = {SY_NO_TOKEN}};

struct sy_verdict { /* of a step, in the exec's memory: the op judge makes it, adamw and expert_bias obey it */
    double norm;
    float clip;
    int32_t apply;
    uint64_t digest[2]; /* of the weights after the step: adamw and digest add to it */
};

/* --- rows: what the host knows of a batch's rows are bounds, never counts -------------------------------------- */

/* A tile of the rows of one group: rows first .. first + SY_TILE_ROWS - 1, or to the end of the group. */
enum { SY_TILE_ROWS = 64 };
struct sy_tile {
    int64_t group, first;
};

/* Rows of groups x sequences segments, group by group. Dense: offset NULL, one group, max_rows rows in equal segments.
 * Grouped (routed rows): offset and tiles are written by route_sort or route_forced and read by ops alone. */
struct sy_rows {
    int64_t groups, sequences;
    int64_t max_rows, max_tiles; /* bounds; dense: max_rows is exact */
    const int64_t *offset;       /* [groups * sequences + 1] first row of (group, sequence); the last: rows in all */
    const struct sy_tile *tile;  /* [max_tiles] */
    const int64_t *n_tiles;      /* [1] */
};

static inline struct sy_rows sy_rows_dense(int64_t sequences, int64_t rows) {
    return (struct sy_rows){.groups = 1, .sequences = sequences, .max_rows = rows};
}

/* --- products ------------------------------------------------------------------------------------------------- */

/* The right-hand side [k, n] of a product: group g's is m, g * step elements on. packed: the same in the tier's own order
 * (op pack), g * packed_step bytes on; NULL: read from m. */
struct sy_operand {
    struct sy_mat m;
    int64_t step;
    const void *packed;
    int64_t packed_step;
};

struct sy_pack { /* packed = m in the order that this tier's products read; sy_ops.pack_bytes(x, m, k, n) bytes a group */
    int64_t groups, k, n;
    struct sy_operand b; /* packed is not read */
    void *packed;
    int64_t packed_step;
};

enum sy_epilogue {
    SY_EPILOGUE_NONE,
    SY_EPILOGUE_SWIGLU,     /* linear: y = g | u, s = g SIG(g), h = BF(s u) */
    SY_EPILOGUE_SWIGLU_BACK /* linear_dx: below */
};

struct sy_linear { /* y = BF(CHAIN over k of (x, w of the row's group) + bias) */
    struct sy_rows rows;
    int64_t k, n;
    struct sy_mat x; /* [rows, k] stored */
    struct sy_operand w;
    const float *bias; /* [n] or NULL */
    struct sy_mat y;   /* [rows, n] stored or fp32 */
    enum sy_epilogue epilogue;
    struct sy_mat h;        /* SWIGLU: [rows, n / 2] stored */
    struct sy_mat residual; /* data NULL: none; else y = BF(residual + BF(chain + bias)); [rows, n] stored; may be y */
};

enum { SY_DX_MAPS = 4 };
struct sy_dx_map { /* one map of the input, y = x w^T: dy [rows, k] stored, w [k, n]; k: the map's outputs */
    struct sy_mat dy;
    struct sy_operand w;
    int64_t k;
};

/* dx = BF(one CHAIN over the outputs of the maps, in order, each padded to KB by itself). SWIGLU_BACK: the chain a' stays
 * fp32 in `a` and is the gradient of h, f = n wide, before the route's weight: a = w a' (w given) or a'; du = BF(a s),
 * dg = BF((a u)(SIG(g) fma(g, 1 - SIG(g), 1))). With w: dw = B64 over f of a' h, hw = BF(w h). Without: hw = h. */
struct sy_linear_dx {
    struct sy_rows rows;
    int64_t n;
    int n_maps;
    struct sy_dx_map map[SY_DX_MAPS];
    struct sy_mat dx; /* [rows, n] stored or fp32; not with SWIGLU_BACK */
    enum sy_epilogue epilogue;
    struct sy_mat gu;  /* [rows, 2f] stored: g | u */
    struct sy_mat a;   /* [rows, f] fp32 workspace */
    const float *w;    /* [rows] or NULL */
    struct sy_mat dgu; /* [rows, 2f] stored */
    struct sy_mat hw;  /* [rows, f] stored: the rows of W2's weight gradient */
    float *dw;         /* [rows] or NULL */
};

/* A leaf, or a piece of one, of a weight's gradient: CHAIN over segments first .. first + n - 1 of each group's rows of
 * (dy, x), each segment padded to KB by itself. Problems of one call write to different memory. */
struct sy_dw {
    struct sy_rows rows;
    int64_t first, n_segments;
    int64_t m, n;      /* outputs, inputs of the map */
    struct sy_mat dy;  /* [rows, m] stored */
    struct sy_mat x;   /* [rows, n] stored */
    const float *acc;  /* [groups, m, n], acc_step apart: the chain goes on from here; NULL: from +0. May be c unless fold */
    int64_t acc_step;
    float *c; /* [groups, m, n], c_step apart: c = chain, +0 where a group has no rows; fold: c = c + chain */
    int64_t c_step;
    int fold;
};
struct sy_linear_dw {
    const struct sy_dw *problem;
    int n_problems;
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

enum { SY_ATTENTION_BLOCK = 128, SY_HEAD_SLICES = 2 };

struct sy_head_slice { /* of the head dimension: nope, rope */
    int64_t d;
    struct sy_heads q, k;   /* q [T, H, d], k [T, Hkv, d] (head stride 0: one shared key) */
    struct sy_heads dq, dk; /* backward: stored; dk is [T, Hkv, d] also where k's head stride is 0: one BF a head */
};

struct sy_attention {
    int64_t sequences, seq_len, heads, kv_heads, dv;
    int n_slices;
    struct sy_head_slice slice[SY_HEAD_SLICES];
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
 * as scale 1. out overlaps nothing that is read. With top_k, index is a row's route: out[index[i] / top_k]; a negative index
 * is a row of padding. Gradient of the embedding: index the ids, src dy, out the leaf. */
struct sy_scatter_add {
    int64_t n, d, out_rows;
    const int64_t *used;  /* [1] rows that there are, at most n; NULL: n */
    const int32_t *index; /* [n] row of out, or route */
    int64_t top_k;        /* 0: index is a row */
    const float *scale;   /* [n] or NULL */
    struct sy_mat src;    /* [n, d] stored or fp32, col = 1 */
    struct sy_mat out;    /* [out_rows, d] fp32, col = 1 */
};

/* y[index[i]] = y[index[i]] + x[index[i]], x[index[i]] = +0, i ascending; y NULL: clears x alone. A row named twice is added
 * once, as it is +0 the second time and no sum is ever -0. The embedding's folds and joins, on the rows that were touched. */
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

/* --- routing -------------------------------------------------------------------------------------------------- */

enum sy_score_func { SY_ROUTER_SIGMOID, SY_ROUTER_SOFTMAX, SY_ROUTER_TOPK_SOFTMAX };

struct sy_router_fwd { /* scores, groups, top-k, weights (NUMERICS 3); equal scores: lower expert id first; -0 equals +0 */
    int64_t tokens, experts, top_k;
    enum sy_score_func score_func;
    int64_t groups, limited_groups; /* 0: none */
    int group_top2_sum;             /* group score: 1 sum of the two largest c, 0 the largest */
    int route_norm;
    float route_scale;
    int64_t seq_len;
    int forced;             /* forced balance, expert of route k of token i of its sequence = (i K + k) mod E */
    const int32_t *given;   /* [tokens, top_k] ascending ids chosen elsewhere: nothing else chooses; NULL: choose */
    int chosen_only;        /* sigmoid, forced or given: s of the chosen alone, +0 elsewhere (router_losses need all) */
    const float *logits;    /* [tokens, experts] */
    const float *bias;      /* [experts] or NULL: chooses, never weighs */
    float *s;               /* [tokens, experts] scores; topk_softmax: s[t, e] of the chosen, +0 elsewhere */
    int32_t *ids;           /* [tokens, top_k], ascending */
    float *w;               /* [tokens, top_k] */
    const int32_t *place;   /* [tokens / seq_len] sequence of the step's batch; NULL: 0, 1, ... */
    int64_t layer, layers;
    int64_t *bad_token;     /* becomes the lowest with a NaN among its logits, if that is lower (struct sy_tally) */
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
    int64_t *loss;       /* [2] balance, z, without weights: += sum over sequences of rint(min(loss, 4096) 2^24); or NULL */
    int64_t *n_bad;      /* += sequences with a non-finite logit or loss; neither of their losses is added; NULL with loss */
};

/* Forward's routes against recompute's: *changed becomes the lowest token that differs, if that is lower (struct sy_tally). */
struct sy_routes_equal {
    int64_t tokens, seq_len, top_k;
    const int32_t *was_ids, *ids; /* [T, K] */
    const float *was_w, *w;
    const int32_t *place; /* as in router_fwd */
    int64_t layer, layers;
    int64_t *changed; /* [3] token, the expert that it was, and is */
};

struct sy_count_routes { /* counts[e] += routes to e; *equal += 1 if all experts have as many, and some */
    int64_t tokens, experts, top_k;
    const int32_t *ids;
    int64_t *counts; /* [experts] or NULL */
    int64_t *equal;  /* or NULL */
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

/* A stable counting sort of the routes by (expert, sequence, token). Segments start at multiples of device->segment; the
 * rows between are padding: route -1, rows of +0. */
struct sy_route_sort {
    int64_t sequences, seq_len, experts, top_k;
    const int32_t *ids;   /* [T, K] ascending */
    int64_t *offset;      /* [E * sequences + 1]: first row of (expert, sequence); the last one: rows in all */
    int64_t *count;       /* [E * sequences] routes of each; or NULL */
    int32_t *row;         /* [T, K] row of a route */
    int32_t *route;       /* [rows] route t*K + k of a row, or -1 */
    struct sy_tile *tile; /* tiles of the rows, in order */
    int64_t *n_tiles;
};

/* The same for the ids of forced balance where E divides S K: position e (S K / E) + j of a sequence holds route j E + e. */
struct sy_route_forced {
    struct sy_route_sort sort;
};

/* Rows between the order of a message and that of an owner: segment i moves rows[i] rows, at[0][i] in `from` to at[1][i] in
 * `to`; of `to` up to to_rows, what no segment covers becomes +0 if clear. */
struct sy_move_segments {
    int64_t segments, row_bytes;
    const int64_t *rows, *from_at, *to_at; /* [segments] */
    const void *from;
    void *to;
    int64_t clear_rows; /* of `to`, cleared first; 0: none */
};

struct sy_permute { /* y[row] = x[t] (w NULL) or BF(w x[t]); +0 in rows of padding */
    struct sy_rows rows;
    int64_t top_k, d;
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

struct sy_gather_f32 { /* y[i] = x[index[i]], +0 where index[i] is negative: one float a row */
    int64_t n;
    const int64_t *used; /* [1] or NULL: as in scatter_add */
    const int32_t *index;
    const float *x;
    float *y;
};

struct sy_rowdot { /* y[r] = V64(a b), fp32 */
    struct sy_rows rows;
    int64_t d;
    struct sy_mat a, b; /* stored */
    float *y;           /* [rows] */
};

/* m = row max; e = EXP(x - m); Z = V64 over exactly V columns; loss = LOG(Z) - (x_t - m);
 * dlogit = BF((e (1/Z) - [i = t]) w). Label < 0: no loss, dlogit +0. A non-finite loss is counted, not summed. */
struct sy_cross_entropy {
    int64_t rows, vocab;
    const float *logits;   /* [rows, vocab] */
    const int32_t *labels; /* [rows] */
    const float *w;        /* [1] fp32(1/N); not read without dlogits */
    struct sy_mat dlogits; /* [rows, vocab] stored, or data NULL: loss alone */
    struct sy_tally *tally; /* loss += sum of rint(min(loss, 4096) 2^24), n_valid += labels, n_bad += non-finite losses */
};

/* --- sums over tokens and over lanes -------------------------------------------------------------------------- */

/* R64: [acc +] for each 64 rows of a sequence, ascending, one fma chain of a[row, j] * (x[row, j] * r[row]) from +0. Rows are
 * (token, head) of whole sequences; x.data NULL: the chain adds a. */
struct sy_row_sum {
    int64_t sequences, rows_per_sequence, heads, d; /* rows_per_sequence = tokens * heads */
    struct sy_heads a, x;                           /* stored */
    const float *r;                                 /* [rows] or NULL: 1 */
    const float *acc;                               /* [d] or NULL: from +0; may be out unless fold */
    float *out;                                     /* [d] = the sum; fold: = out + the sum */
    int fold;
};

struct sy_add_item { /* y = y + x */
    int64_t n;
    const float *x;
    float *y;
};
struct sy_add_f32 {
    const struct sy_add_item *item;
    int n_items;
};

/* The gradient's norm: of each item fp64 sums of squares of blocks of 1024 consecutive elements, 16 lanes, halved as in V64;
 * added exactly. */
struct sy_norm_item {
    int64_t n;
    const float *x;
};
struct sy_norm {
    const struct sy_norm_item *item;
    int n_items;
    struct sy_tally *tally; /* norm += the blocks; n_bad_gradient += elements that are not finite */
};

/* --- update --------------------------------------------------------------------------------------------------- */

/* norm = sqrt of the exact sum, rounded once; clip = fp32(min(1, max_norm/(norm + 1e-6))); apply = 1 if everything that the
 * tally counted is finite, and the norm; digest = 0. */
struct sy_judge {
    const struct sy_tally *tally;
    const struct sy_scalars *scalars;
    struct sy_verdict *verdict;
};

/* g = clip G; m = fma(b1, m, one_b1 g); v = fma(b2, v, (one_b2 g) g); below 2^-126 both are stored as +0;
 * q = (m c1)/(sqrt(v c2) + eps); w = fma(-lr, fma(wd, w, q), w); stored = BF(w). Not applied: nothing changes. In any case the
 * digest of w, elements first .. first + n - 1 of the tensor `id`, is added (NUMERICS 6). */
struct sy_adamw_item {
    int64_t n;
    uint64_t id, first;
    const float *g;
    float *m, *v, *w;
    void *stored; /* [n], or w itself in class fp32 */
};
struct sy_adamw {
    const struct sy_adamw_item *item;
    int n_items;
    const struct sy_scalars *scalars;
    struct sy_verdict *verdict;
};

/* Of each row of counts [layers, E], if the verdict applies: bias[e] = bias[e] + fp32(coeff d_e), or centred fp32(coeff (d_e
 * E - sum d) / E), fp64, left to right; d_e = sign(routes - counts[e] E). routes: of all tokens, T K. */
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

struct sy_cast { /* y = BF(x), n consecutive elements */
    int64_t n;
    const float *x;
    void *y; /* stored */
};

/* Initial values of elements first .. first + n - 1 of a tensor (NUMERICS 2): sd > 0: normal numbers of the key, drawn again
 * beyond cut > 0; else `constant`. */
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

/* The one list of ops: op table, `switchyard info`, the tier comparison and the benchmark come from it. X(name, struct). */
#define SY_OPS_LIST(X)                       \
    X(linear, sy_linear)                     \
    X(linear_dx, sy_linear_dx)               \
    X(linear_dw, sy_linear_dw)               \
    X(pack, sy_pack)                         \
    X(fill, sy_fill)                         \
    X(copy, sy_copy)                         \
    X(rmsnorm_fwd, sy_rmsnorm_fwd)           \
    X(rmsnorm_bwd, sy_rmsnorm_bwd)           \
    X(rope, sy_rope)                         \
    X(attention_fwd, sy_attention)           \
    X(attention_bwd, sy_attention)           \
    X(join, sy_join)                         \
    X(head_sum, sy_head_sum)                 \
    X(sigmoid_gate, sy_sigmoid_gate)         \
    X(sigmoid_gate_bwd, sy_sigmoid_gate_bwd) \
    X(embed_fwd, sy_embed_fwd)               \
    X(scatter_add, sy_scatter_add)           \
    X(fold_rows, sy_fold_rows)               \
    X(router_fwd, sy_router_fwd)             \
    X(router_bwd, sy_router_bwd)             \
    X(router_losses, sy_router_losses)       \
    X(routes_equal, sy_routes_equal)         \
    X(count_routes, sy_count_routes)         \
    X(topk, sy_topk)                         \
    X(topk_bwd, sy_topk_bwd)                 \
    X(route_sort, sy_route_sort)             \
    X(route_forced, sy_route_forced)         \
    X(move_segments, sy_move_segments)       \
    X(permute, sy_permute)                   \
    X(combine, sy_combine)                   \
    X(gather_f32, sy_gather_f32)             \
    X(rowdot, sy_rowdot)                     \
    X(cross_entropy, sy_cross_entropy)       \
    X(row_sum, sy_row_sum)                   \
    X(add_f32, sy_add_f32)                   \
    X(norm, sy_norm)                         \
    X(judge, sy_judge)                       \
    X(adamw, sy_adamw)                       \
    X(expert_bias, sy_expert_bias)           \
    X(digest, sy_digest_of)                  \
    X(cast, sy_cast)                         \
    X(init, sy_init_values)

/* What a loop of one instruction in registers did. NULL, 0: there is none, as class sm90 is emulated and tier ref calls fmaf. */
struct sy_peak {
    const char *instruction; /* static */
    double flops;
};

struct sy_ops {
    const char *tier;
    const struct sy_ops *inner; /* of a table around another one (ops/wrapped.h) */
    /* Bytes of one group's packed right-hand side m [k, n]; 0: this tier reads m as fast as it is. */
    size_t (*pack_bytes)(const struct sy_exec *x, struct sy_mat m, int64_t k, int64_t n);
    struct sy_peak (*peak)(enum sy_numeric_class cls, int64_t rounds); /* on the calling thread: FLOPs done */
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

/* Local. `tier` is a name or "auto": the fastest that runs here, measured for some milliseconds, once a process. Errors:
 * ERR_USAGE unknown, ERR_UNAVAILABLE, ERR_MEMORY. */
sy_status sy_ops_select(const char *tier, const struct sy_ops **out);

/* Local. The index of the table among n whose product of class x86 is the fastest on the calling thread. Errors: ERR_MEMORY. */
sy_status sy_ops_fastest(const struct sy_ops *const *ops, int n, int *out);

/* Local. FLOP/s of the instruction that products of x's class and tier are made of, in a loop that touches registers alone,
 * on all threads of x's pool: what no product can pass. Takes some milliseconds, once a process. */
struct sy_peak sy_ops_peak(const struct sy_exec *x);

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
