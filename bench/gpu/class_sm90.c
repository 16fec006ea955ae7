/* Class sm90 on the CPU for the comparisons: products and SwiGLU are the library's ops; attention is also
 * written out here, with the rule for non-finite scores that the kernel has. */
#include "class_sm90.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fmath.h"
#include "ops/ops.h"

enum { KEYS = SY_ATTENTION_BLOCK, MAX_SEQ = 8192 };

static struct sy_exec exec;

static void need(int ok, const char *what) {
    if (!ok) {
        fprintf(stderr, "class_sm90: %s failed\n", what);
        exit(1);
    }
}

static void *zeroed(size_t n, size_t size) {
    void *p = calloc(n ? n : 1, size);
    need(p != NULL, "memory");
    return p;
}

void class_open(int threads) {
    exec = (struct sy_exec){.device = sy_device_cpu()};
    sy_exec_set_class(&exec, SY_NUMERIC_SM90);
    need(sy_ops_select("auto", &exec.ops) == SY_OK, "a tier");
    need(sy_pool_create(threads, &exec.pool) == SY_OK, "threads");
    exec.scratch_bytes = (sy_ops_scratch_bytes(8192, 256, MAX_SEQ) + 63) / 64 * 64;
    exec.scratch = aligned_alloc(64, exec.scratch_bytes * (size_t)threads);
    need(exec.scratch != NULL, "memory");
}

void class_close(void) {
    sy_pool_destroy(exec.pool);
    free(exec.scratch);
}

static struct sy_mat mat(struct class_mat m) {
    return (struct sy_mat){(void *)m.data, SY_BF16, m.row, m.col};
}

/* c = CHAIN going on from acc (NULL: +0). */
static void chain(long m, long n, long k, struct class_mat a, struct class_mat b, const float *acc,
                  struct sy_mat c, enum sy_gemm_out out) {
    struct sy_gemm_part part = {mat(a), mat(b), k};
    struct sy_gemm g = {
        .m = m, .n = n, .parts = &part, .n_parts = 1, .acc = acc, .acc_row = c.row, .out = out, .c = c};
    exec.ops->gemm(&exec, &g, 1);
}

void class_gemm(long m, long n, long k, struct class_mat a, struct class_mat b, float *c32, int fold,
                uint16_t *c16) {
    struct sy_mat c = c32 ? sy_mat_of(c32, SY_F32, n) : sy_mat_of(c16, SY_BF16, n);
    chain(m, n, k, a, b, NULL, c, fold ? SY_GEMM_FOLD : SY_GEMM_STORE);
}

void class_swiglu(long rows, long f, const uint16_t *gu, uint16_t *h) {
    struct sy_swiglu_fwd op = {rows, f, sy_mat_of((void *)gu, SY_BF16, 2 * f), sy_mat_of(h, SY_BF16, f)};
    exec.ops->swiglu_fwd(&exec, &op);
}

static struct sy_heads heads_of(const uint16_t *p, long heads, long d) {
    return (struct sy_heads){(void *)p, SY_BF16, heads * d, d};
}

void class_attention_library(const struct class_attention *a) {
    struct sy_attention op = {.sequences = a->sequences,
                              .seq_len = a->seq_len,
                              .heads = a->heads,
                              .kv_heads = a->kv_heads,
                              .dv = a->dv,
                              .n_parts = 1,
                              .v = heads_of(a->v, a->kv_heads, a->dv),
                              .c = a->c,
                              .doc_start = a->doc_start,
                              .o = heads_of(a->o, a->heads, a->dv),
                              .lse = a->lse};
    op.part[0] = (struct sy_attention_part){
        .d = a->dk, .q = heads_of(a->q, a->heads, a->dk), .k = heads_of(a->k, a->kv_heads, a->dk)};
    exec.ops->attention_fwd(&exec, &op);
}

/* --- attention by rows ---------------------------------------------------------------------------- */

static float v64_of_block(const float *p) {
    float lane[64];
    for (int i = 0; i < 64; i++)
        lane[i] = p[i] + p[64 + i];
    for (int h = 32; h >= 1; h /= 2)
        for (int i = 0; i < h; i++)
            lane[i] += lane[i + h];
    return lane[0];
}

static uint16_t stored(float x) {
    uint32_t u = sy_f32_bits(x);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return 0x7fc0;
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

struct row {
    float m, z;
    int bad;
};

/* Keys lo..hi-1 of a block are allowed, s their scores; p gets BF of the row's 128. */
static void softmax_row(struct row *r, float c, const float *s, long lo, long hi, uint16_t *p, float *o,
                        long dv) {
    float top = -INFINITY, e[KEYS] = {0};
    memset(p, 0, KEYS * sizeof *p);
    for (long j = lo; j < hi; j++) {
        r->bad |= !(s[j] < INFINITY); /* NaN, +Inf */
        top = s[j] > top ? s[j] : top;
    }
    if (lo >= hi)
        return;
    float m = rintf(c * top);
    m = m > r->m ? m : r->m;
    if (m != r->m) {
        float alpha = sy_exp2_f32(r->m - m);
        r->z *= alpha;
        for (long i = 0; i < dv; i++)
            o[i] *= alpha;
    }
    r->m = m;
    for (long j = lo; j < hi; j++)
        e[j] = s[j] == -INFINITY ? 0.0f : sy_exp2_f32(fmaf(s[j], c, -m));
    r->z += v64_of_block(e);
    for (long j = 0; j < KEYS; j++)
        p[j] = stored(e[j]);
}

void class_attention_rule(const struct class_attention *a, long b, long h0, long h1) {
    long n = a->seq_len, t0 = b * n;
    float *s = zeroed((size_t)n * KEYS, 4), *o = zeroed((size_t)(n * a->dv), 4);
    uint16_t *p = zeroed((size_t)n * KEYS, 2);
    struct row *state = zeroed((size_t)n, sizeof *state);
    for (long h = h0; h < h1; h++) {
        long kv = h * a->kv_heads / a->heads;
        struct class_mat q = {a->q + t0 * a->heads * a->dk + h * a->dk, a->heads * a->dk, 1};
        struct class_mat k = {a->k + t0 * a->kv_heads * a->dk + kv * a->dk, 1, a->kv_heads * a->dk};
        struct class_mat v = {a->v + t0 * a->kv_heads * a->dv + kv * a->dv, a->kv_heads * a->dv, 1};
        memset(o, 0, (size_t)(n * a->dv) * 4);
        for (long i = 0; i < n; i++)
            state[i] = (struct row){-INFINITY, 0, 0};
        for (long j0 = 0; j0 < n; j0 += KEYS) { /* queries from j0 on see keys of this block */
            long keys = n - j0 < KEYS ? n - j0 : KEYS, rows = n - j0;
            struct class_mat qj = {q.data + j0 * q.row, q.row, 1}, kj = {k.data + j0 * k.col, 1, k.col};
            struct class_mat vj = {v.data + j0 * v.row, v.row, 1}, pj = {p, KEYS, 1};
            chain(rows, keys, a->dk, qj, kj, NULL, (struct sy_mat){s, SY_F32, KEYS, 1}, SY_GEMM_STORE);
            for (long i = j0; i < n; i++) {
                long lo = a->doc_start ? a->doc_start[t0 + i] - j0 : 0,
                     hi = i + 1 - j0 < keys ? i + 1 - j0 : keys, r = i - j0;
                softmax_row(&state[i], a->c, s + r * KEYS, lo > 0 ? lo : 0, hi, p + r * KEYS, o + i * a->dv,
                            a->dv);
            }
            chain(rows, a->dv, keys, pj, vj, o + j0 * a->dv, sy_mat_of(o + j0 * a->dv, SY_F32, a->dv),
                  SY_GEMM_STORE);
        }
        for (long i = 0; i < n; i++) {
            int bad = state[i].bad || !(state[i].z > 0.0f);
            uint16_t *out = a->o + ((t0 + i) * a->heads + h) * a->dv;
            float inverse = 1.0f / state[i].z;
            for (long d = 0; d < a->dv; d++)
                out[d] = bad ? 0x7fc0 : stored(o[i * a->dv + d] * inverse);
            a->lse[(t0 + i) * a->heads + h] = bad ? NAN : state[i].m + sy_log2_f32(state[i].z);
        }
    }
    free(s);
    free(o);
    free(p);
    free(state);
}
