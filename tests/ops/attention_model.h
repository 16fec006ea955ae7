/* Attention forward and backward (NUMERICS 3) by a naive definition, one row at a time, on the scalar CHAIN
 * of chain_model.h; and how an op's outputs differ from it. Include it first.
 */
#ifndef TESTS_OPS_ATTENTION_MODEL_H
#define TESTS_OPS_ATTENTION_MODEL_H

#include "attention_call.h"

static inline float exp2_definition(float x) {
    if (x != x || x <= -127.0f)
        return 0.0f;
    x = x < 127.0f ? x : 127.0f;
    float u = x + 12582912.0f, f = x - (u - 12582912.0f), p = 0x1.5bba14p-10f;
    static const float c[] = {0x1.3cea88p-7f, 0x1.c6b752p-5f, 0x1.ebf9bcp-3f, 0x1.62e42ap-1f, 1.0f};
    for (int i = 0; i < 5; i++)
        p = fmaf(p, f, c[i]);
    return from_bits(bits_of(p) + (bits_of(u) << 23));
}

static inline float log2_definition(float z) {
    static const float c[] = {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f,
                              -1.6668057665e-1f, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f};
    int64_t i = (int32_t)(bits_of(z) - 0x3f3504f3u);
    int32_t e = (int32_t)(i >= 0 ? i / (1 << 23) : -((-i + (1 << 23) - 1) / (1 << 23)));
    float f = from_bits(bits_of(z) - ((uint32_t)e << 23)) - 1.0f, q = 7.0376836292e-2f;
    for (int j = 0; j < 8; j++)
        q = fmaf(q, f, c[j]);
    float y = fmaf(f * f, fmaf(f, q, -0.5f), f);
    return fmaf(y, 1.44269504f, (float)e);
}

static inline float halved(float *lane) {
    for (int h = 32; h >= 1; h /= 2)
        for (int j = 0; j < h; j++)
            lane[j] = lane[j] + lane[j + h];
    return lane[0];
}

static inline int64_t first_key(const struct sy_attention *op, int64_t b, int64_t i) {
    int64_t lo = op->doc_start ? op->doc_start[b * op->seq_len + i] : 0;
    return op->window && i - op->window + 1 > lo ? i - op->window + 1 : lo;
}

static inline int64_t kv_of(const struct sy_attention *op, int64_t h) { return h * op->kv_heads / op->heads; }

/* CHAIN over the parts of the head dimension. */
static inline float score(const struct call *c, int64_t tq, int64_t h, int64_t tk) {
    float acc = 0.0f;
    for (int p = 0; p < c->op.n_slices; p++) {
        const struct sy_head_slice *part = &c->op.slice[p];
        float q[D_MAX], k[D_MAX];
        for (int64_t i = 0; i < part->d; i++) {
            q[i] = value(part->q, tq, h, i);
            k[i] = value(part->k, tk, kv_of(&c->op, h), i);
        }
        acc = model_rows(c->cls, part->d, q, 1, k, 1, acc, RIGHT);
    }
    return no_minus_zero(acc);
}

struct answer {                          /* what the definition gives, in the layouts of the call */
    float *o, *lse, *dq[2], *dk[2], *dv; /* [T, H, dv], [T, H], [T, H, d], [T, Hkv, d], [T, Hkv, dv] */
};

enum blocks { BLOCKS_OF_128, BLOCKS_OF_64, BLOCKS_FROM_DOCUMENT };

static inline void row_forward(const struct call *c, int64_t b, int64_t h, int64_t i, enum blocks blocks,
                               struct answer *a) {
    const struct sy_attention *op = &c->op;
    int64_t t0 = b * op->seq_len, lo = first_key(op, b, i), size = blocks == BLOCKS_OF_64 ? 64 : 128,
            kv = kv_of(op, h);
    float scale = op->c, m = -INFINITY, z = 0, o[D_MAX] = {0};
    int bad = 0;
    for (int64_t j0 = blocks == BLOCKS_FROM_DOCUMENT ? lo : 0; j0 <= i; j0 += size) {
        float s[128], p[128] = {0}, v[128], lane[64] = {0}, top = -INFINITY;
        int64_t n = op->seq_len - j0 < size ? op->seq_len - j0 : size;
        int any = 0;
        for (int64_t j = 0; j < n; j++) {
            if (j0 + j < lo || j0 + j > i)
                continue;
            s[j] = score(c, t0 + i, h, t0 + j0 + j);
            bad |= is_nan(s[j]);
            if (s[j] > top)
                top = s[j];
            any = 1;
        }
        if (!any)
            continue;
        float next = rintf(scale * top);
        if (!(next > m))
            next = m;
        for (int64_t q = 0; q < op->dv && m != -INFINITY; q++)
            o[q] *= exp2_definition(m - next);
        z *= m != -INFINITY ? exp2_definition(m - next) : 1.0f;
        m = next;
        for (int64_t j = 0; j < n; j++)
            if (j0 + j >= lo && j0 + j <= i)
                p[j] = exp2_definition(fmaf(s[j], scale, -m));
        for (int64_t j = 0; j < size; j++)
            lane[j % 64] = lane[j % 64] + p[j];
        z = z + halved(lane);
        for (int64_t j = 0; j < n; j++)
            p[j] = model_bf(c->cls, p[j]);
        for (int64_t q = 0; q < op->dv; q++) {
            for (int64_t j = 0; j < n; j++)
                v[j] = value(op->v, t0 + j0 + j, kv, q);
            o[q] = no_minus_zero(model_rows(c->cls, n, p, 1, v, 1, o[q], RIGHT));
        }
    }
    float *row = a->o + ((t0 + i) * op->heads + h) * op->dv, inverse = 1.0f / z;
    for (int64_t q = 0; q < op->dv; q++)
        row[q] = bad || !(z > 0.0f) ? NAN : model_bf(c->cls, o[q] * inverse);
    a->lse[(t0 + i) * op->heads + h] = bad || !(z > 0.0f) ? NAN : m + log2_definition(z);
}

/* p and ds of all pairs of one sequence and head: [S, S], +0 where masked. */
static inline void pairs(const struct call *c, int64_t b, int64_t h, const struct answer *a, float *p,
                         float *ds) {
    const struct sy_attention *op = &c->op;
    int64_t n = op->seq_len, t0 = b * n;
    float scale = op->c;
    memset(p, 0, (size_t)(n * n) * 4);
    memset(ds, 0, (size_t)(n * n) * 4);
    for (int64_t i = 0; i < n; i++) {
        float lane[64] = {0}, g[D_MAX], v[D_MAX];
        for (int64_t q = 0; q < op->dv; q++) {
            g[q] = value(op->d_o, t0 + i, h, q);
            lane[q % 64] = fmaf(g[q], a->o[((t0 + i) * op->heads + h) * op->dv + q], lane[q % 64]);
        }
        float d = halved(lane), lse = a->lse[(t0 + i) * op->heads + h];
        for (int64_t j = first_key(op, b, i); j <= i; j++) {
            float e = exp2_definition(fmaf(score(c, t0 + i, h, t0 + j), scale, -lse));
            for (int64_t q = 0; q < op->dv; q++)
                v[q] = value(op->v, t0 + j, kv_of(op, h), q);
            float dp = no_minus_zero(model_rows(c->cls, op->dv, g, 1, v, 1, 0.0f, RIGHT));
            p[i * n + j] = model_bf(c->cls, e);
            ds[i * n + j] = model_bf(c->cls, e * (dp - d));
        }
    }
}

/* Goes on with acc[key, i] over this head's queries: rows from a block of every KB before the key on, the
 * earlier are zero. */
static inline void over_queries(const struct call *c, int64_t b, int64_t h, const float *p, struct sy_heads x,
                                int64_t d, float *acc) {
    int64_t n = c->op.seq_len, t0 = b * n;
    float column[S_MAX];
    for (int64_t i = 0; i < d; i++) {
        for (int64_t q = 0; q < n; q++)
            column[q] = value(x, t0 + q, h, i);
        for (int64_t j = 0; j < n; j++) {
            int64_t from = j / 32 * 32;
            acc[j * d + i] =
                model_rows(c->cls, n - from, p + from * n + j, n, column + from, 1, acc[j * d + i], RIGHT);
        }
    }
}

static inline void head_backward(const struct call *c, int64_t b, int64_t h, const float *p, const float *ds,
                                 float *dv, float **dk, struct answer *a) {
    const struct sy_attention *op = &c->op;
    int64_t n = op->seq_len, t0 = b * n;
    over_queries(c, b, h, p, op->d_o, op->dv, dv);
    for (int part = 0; part < op->n_slices; part++) {
        int64_t d = op->slice[part].d;
        over_queries(c, b, h, ds, op->slice[part].q, d, dk[part]);
        for (int64_t i = 0; i < d; i++) {
            float column[S_MAX];
            for (int64_t j = 0; j < n; j++)
                column[j] = value(op->slice[part].k, t0 + j, kv_of(op, h), i);
            for (int64_t q = 0; q < n; q++) {
                float acc = model_rows(c->cls, q + 1, ds + q * n, 1, column, 1, 0.0f, RIGHT);
                a->dq[part][((t0 + q) * op->heads + h) * d + i] =
                    model_bf(c->cls, no_minus_zero(acc) * op->scale);
            }
        }
    }
}

static inline void kv_backward(const struct call *c, int64_t b, int64_t kv, float *p, float *ds,
                               struct answer *a) {
    const struct sy_attention *op = &c->op;
    int64_t n = op->seq_len, t0 = b * n, group = op->heads / op->kv_heads;
    static float dv[S_MAX * D_MAX], dk0[S_MAX * D_MAX], dk1[S_MAX * D_MAX];
    float *dk[2] = {dk0, dk1};
    memset(dv, 0, sizeof dv);
    memset(dk0, 0, sizeof dk0);
    memset(dk1, 0, sizeof dk1);
    for (int64_t h = kv * group; h < (kv + 1) * group; h++) {
        pairs(c, b, h, a, p, ds);
        head_backward(c, b, h, p, ds, dv, dk, a);
    }
    for (int64_t j = 0; j < n; j++) {
        for (int64_t i = 0; i < op->dv; i++)
            a->dv[((t0 + j) * op->kv_heads + kv) * op->dv + i] =
                model_bf(c->cls, no_minus_zero(dv[j * op->dv + i]));
        for (int q = 0; q < op->n_slices; q++)
            for (int64_t i = 0; i < op->slice[q].d; i++)
                a->dk[q][((t0 + j) * op->kv_heads + kv) * op->slice[q].d + i] =
                    model_bf(c->cls, no_minus_zero(dk[q][j * op->slice[q].d + i]) * op->scale);
    }
}

static inline float *floats(int64_t n) {
    float *p = calloc((size_t)n + 1, 4);
    assert_non_null(p);
    return p;
}

static inline struct answer definition(const struct call *c, enum blocks blocks, int backward) {
    const struct sy_attention *op = &c->op;
    int64_t tokens = op->sequences * op->seq_len, n = op->seq_len;
    struct answer a = {.o = floats(tokens * op->heads * op->dv),
                       .lse = floats(tokens * op->heads),
                       .dv = floats(tokens * op->kv_heads * op->dv)};
    for (int p = 0; p < op->n_slices; p++) {
        a.dq[p] = floats(tokens * op->heads * op->slice[p].d);
        a.dk[p] = floats(tokens * op->kv_heads * op->slice[p].d);
    }
    for (int64_t b = 0; b < op->sequences; b++)
        for (int64_t h = 0; h < op->heads; h++)
            for (int64_t i = 0; i < n; i++)
                row_forward(c, b, h, i, blocks, &a);
    float *p = floats(n * n), *ds = floats(n * n);
    for (int64_t b = 0; b < op->sequences && backward; b++)
        for (int64_t kv = 0; kv < op->kv_heads; kv++)
            kv_backward(c, b, kv, p, ds, &a);
    free(p);
    free(ds);
    return a;
}

static inline void answer_free(struct answer *a) {
    free(a->o);
    free(a->lse);
    free(a->dv);
    for (int p = 0; p < 2; p++) {
        free(a->dq[p]);
        free(a->dk[p]);
    }
}

/* --- comparison ----------------------------------------------------------------------------------------- */

static inline int64_t unequal(const struct call *c, struct sy_heads got, const float *want, int64_t heads,
                              int64_t d, const char *what, const char *where) {
    int64_t n = 0;
    for (int64_t t = 0; t < c->op.sequences * c->op.seq_len; t++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < d; i++) {
                float w = want[(t * heads + h) * d + i], g = value(got, t, h, i);
                if (!same(w, g) && n++ == 0 && where)
                    print_error("%s: %s token %lld head %lld [%lld] is %08x (%g), must be %08x (%g)\n", where,
                                what, (long long)t, (long long)h, (long long)i, bits_of(g), (double)g,
                                bits_of(w), (double)w);
            }
    return n;
}

static inline int64_t differences(const struct call *c, const struct answer *a, int backward,
                                  const char *where) {
    const struct sy_attention *op = &c->op;
    struct sy_heads lse = {op->lse, SY_F32, op->heads, 1};
    int64_t n = unequal(c, op->o, a->o, op->heads, op->dv, "o", where);
    n += unequal(c, lse, a->lse, op->heads, 1, "lse", where);
    if (!backward)
        return n;
    n += unequal(c, op->d_v, a->dv, op->kv_heads, op->dv, "dv", where);
    for (int p = 0; p < op->n_slices; p++) {
        n += unequal(c, op->slice[p].dq, a->dq[p], op->heads, op->slice[p].d, p ? "dq rope" : "dq", where);
        n += unequal(c, op->slice[p].dk, a->dk[p], op->kv_heads, op->slice[p].d, p ? "dk rope" : "dk", where);
    }
    return n;
}

#endif
