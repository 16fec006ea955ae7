/* Experts over ranks: dispatch, experts and combine over comm/threads must have the bits of one process, forward and backward.
 *
 * Each rank has a contiguous part of the sequences (some have none); routes are random, heavy-tailed, or all to one expert;
 * E is often not a multiple of the ranks. Compared with == against EP 1: y, dx, the routes' dw, and each expert's dW13, dW2
 * (one chain over its rows, each sequence's segment padded to KB).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "moe/exchange.h"
#include "moe/experts.h"

enum { S = 9, B = 7, T = B * S, K = 3, D = 20, F = 12, MAX_E = 13 };
enum routing { RANDOM, HEAVY, ONE_TAKES_ALL, FORCED, N_ROUTINGS };

struct problem { /* the whole batch, and what one process computes from it */
    enum sy_numeric_class cls;
    int experts;
    int plant; /* negative controls: 1 ranks in descending order, 2 a sequence's rows reversed */
    int64_t sequences_of[8];
    int32_t ids[T * K];
    float w[T * K];
    uint32_t x[T * D], dy[T * D], w13[MAX_E * 2 * F * D], w2[MAX_E * D * F];
};

struct answer {
    uint32_t y[T * D], dx[T * D];
    float dw[T * K], dw13[MAX_E * 2 * F * D], dw2[MAX_E * D * F];
};

static double unit(uint64_t key, uint64_t i) { return (double)(sy_mix64(key + i * 0x9e3779b97f4a7c15u) >> 40) * 0x1p-23 - 1.0; }

static void fill(enum sy_dtype t, uint32_t *to, int64_t n, uint64_t key, double scale) {
    for (int64_t i = 0; i < n; i++) {
        float v = (float)(unit(key, (uint64_t)i) * scale);
        if (t == SY_F32) {
            memcpy(to + i, &v, 4);
        } else {
            uint32_t bits;
            memcpy(&bits, &v, 4);
            ((uint16_t *)to)[i] = (uint16_t)(bits >> 16);
        }
    }
}

static int expert_of(enum routing r, int e, uint64_t h, int64_t t, int k) {
    if (r == FORCED)
        return (int)((t % S * K + k) % e);
    if (r == ONE_TAKES_ALL && k == 0)
        return 0;
    int v = (int)(h % (uint64_t)e);
    return r == HEAVY ? v * v / e : v;
}

static void make_routes(struct problem *p, enum routing r) {
    for (int64_t t = 0; t < T; t++) {
        int n = 0;
        for (uint64_t try = 0; n < K; try++) {
            int e = expert_of(try < 100 ? r : RANDOM, p->experts, sy_mix64((uint64_t)t * 977 + try), t, n), seen = 0;
            for (int i = 0; i < n; i++)
                seen |= p->ids[t * K + i] == e;
            if (!seen)
                p->ids[t * K + n++] = e;
        }
        for (int i = 0; i < K; i++)
            for (int j = i + 1; j < K; j++)
                if (p->ids[t * K + j] < p->ids[t * K + i]) {
                    int32_t swap = p->ids[t * K + i];
                    p->ids[t * K + i] = p->ids[t * K + j];
                    p->ids[t * K + j] = swap;
                }
        for (int i = 0; i < K; i++)
            p->w[t * K + i] = (float)(unit(7, (uint64_t)(t * K + i)) + 1.01);
    }
}

/* --- one rank ------------------------------------------------------------------------------------------------------------- */

static void *room(size_t n, size_t size) {
    void *p = calloc(n ? n : 1, size);
    if (!p)
        abort();
    return p;
}

struct job {
    const struct problem *p;
    struct answer *out;
};

/* dW of one expert: CHAIN over its rows, a part a sequence. */
static void weight_gradient(const struct sy_exec *x, const struct sy_dispatch *r, int64_t e, struct sy_mat dy, int64_t rows,
                            struct sy_mat in, int64_t cols, float *dw) {
    struct sy_gemm_part parts[B];
    int n = 0;
    for (int64_t b = 0; b < r->sequences; b++) {
        int64_t lo = r->offset[e * r->sequences + b], hi = r->offset[e * r->sequences + b + 1];
        if (hi > lo)
            parts[n++] = (struct sy_gemm_part){sy_mat_t(sy_mat_rows(dy, lo)), sy_mat_rows(in, lo), hi - lo};
    }
    x->ops->gemm(x, &(struct sy_gemm){.m = rows, .n = cols, .parts = parts, .n_parts = n, .c = sy_mat_of(dw, SY_F32, cols)}, 1);
}

static sy_status rank_main(const struct sy_comm *comm, void *arg) {
    const struct job *job = arg;
    const struct problem *p = job->p;
    const char *why;
    struct sy_exec x = {.ops = sy_ops_tier(sy_ops_n_tiers() > 1 ? 1 : 0, &why), .cls = p->cls, .dtype = sy_class_dtype(p->cls),
                        .kb = sy_class_kb(p->cls)};
    if (!x.ops)
        x.ops = sy_ops_tier(0, &why);
    x.scratch_bytes = sy_ops_scratch_bytes(64, 64, 64);
    x.scratch = aligned_alloc(64, x.scratch_bytes);
    size_t es = sy_dtype_bytes(x.dtype);
    int64_t first = 0, n_seq = p->sequences_of[comm->rank], e_count = p->experts;
    for (int r = 0; r < comm->rank; r++)
        first += p->sequences_of[r];
    int64_t t0 = first * S, tokens = n_seq * S, routes = tokens * K, most = (int64_t)comm->size * B * S * K;
    struct sy_arena measure = sy_arena_measure(), arena;
    struct sy_dispatch d;
    struct sy_exchange ex;
    sy_dispatch_take(&measure, B, S, e_count, K, &d);
    sy_exchange_take(&measure, comm, e_count, B, S, K, D * 4, &ex);
    if (!x.scratch || sy_arena_init(measure.used, "test", &arena) != SY_OK)
        abort();
    sy_dispatch_take(&arena, B, S, e_count, K, &d);
    sy_exchange_take(&arena, comm, e_count, B, S, K, D * 4, &ex);
    sy_dispatch_sort(&x, &d, n_seq, p->ids + t0 * K);
    sy_exchange_plan(&ex, &d);

    struct sy_mat in = sy_mat_of(sy_at((void *)(uintptr_t)p->x, x.dtype, t0 * D), x.dtype, D);
    struct sy_mat dy = sy_mat_of(sy_at((void *)(uintptr_t)p->dy, x.dtype, t0 * D), x.dtype, D);
    struct sy_mat rows = sy_mat_of(room((size_t)(routes * D), es), x.dtype, D);
    struct sy_mat xr = sy_mat_of(room((size_t)(most * D), es), x.dtype, D), dyr = sy_mat_of(room((size_t)(most * D), es), x.dtype, D);
    struct sy_mat gu = sy_mat_of(room((size_t)(most * 2 * F), es), x.dtype, 2 * F), h = sy_mat_of(room((size_t)(most * F), es), x.dtype, F);
    struct sy_mat o = sy_mat_of(room((size_t)(most * D), es), x.dtype, D), a = sy_mat_of(room((size_t)(most * F), 4), SY_F32, F);
    struct sy_mat dgu = sy_mat_of(room((size_t)(most * 2 * F), es), x.dtype, 2 * F);
    float *row_w = room((size_t)routes, 4), *wr = room((size_t)most, 4), *dwr = room((size_t)most, 4), *row_dw = room((size_t)routes, 4);
    struct sy_gemm *problems = room((size_t)e_count, sizeof *problems);
    struct sy_gemm_part *parts = room((size_t)(2 * e_count), sizeof *parts);
    struct sy_expert_weights weights = {
        sy_mat_of(sy_at((void *)(uintptr_t)p->w13, x.dtype, ex.first_expert * 2 * F * D), x.dtype, D),
        sy_mat_of(sy_at((void *)(uintptr_t)p->w2, x.dtype, ex.first_expert * D * F), x.dtype, F), 2 * F * D, D * F, D, F};
    struct sy_dispatch *r = &ex.received;

    sy_dispatch_rows(&x, &d, D, NULL, in, rows);
    sy_exchange_dispatch(&ex, (int64_t)(D * es), rows.data, xr.data);
    if (p->plant && r->rows > 1) { /* a wrong order of rows: two rows of the first expert that has two, swapped */
        for (int64_t e = 0; e < r->experts; e++) {
            int64_t lo = sy_dispatch_first(r, e), hi = sy_dispatch_first(r, e + 1);
            if (hi - lo < 2)
                continue;
            char tmp[D * 4];
            memcpy(tmp, sy_at(xr.data, x.dtype, lo * D), D * es);
            memcpy(sy_at(xr.data, x.dtype, lo * D), sy_at(xr.data, x.dtype, (hi - 1) * D), D * es);
            memcpy(sy_at(xr.data, x.dtype, (hi - 1) * D), tmp, D * es);
            break;
        }
    }
    sy_dispatch_rows(&x, &d, D, NULL, dy, rows);
    sy_exchange_dispatch(&ex, (int64_t)(D * es), rows.data, dyr.data);
    sy_dispatch_to_rows(&x, &d, p->w + t0 * K, row_w);
    sy_exchange_dispatch(&ex, 4, row_w, wr);
    sy_experts_fwd(&x, r, &weights, problems, parts, xr, gu, h, o);
    sy_exchange_combine(&ex, (int64_t)(D * es), o.data, rows.data);
    sy_dispatch_combine(&x, &d, D, p->w + t0 * K, rows, (struct sy_mat){0},
                        sy_mat_of(sy_at(job->out->y, x.dtype, t0 * D), x.dtype, D));
    sy_experts_bwd(&x, r, &weights, problems, parts, dyr, gu, wr, a, dgu, h, dwr, o);
    for (int64_t e = 0; e < r->experts; e++) {
        int64_t global = ex.first_expert + e;
        if (sy_dispatch_first(r, e) == sy_dispatch_first(r, e + 1))
            continue;
        weight_gradient(&x, r, e, dgu, 2 * F, xr, D, job->out->dw13 + global * 2 * F * D);
        weight_gradient(&x, r, e, dyr, D, h, F, job->out->dw2 + global * D * F);
    }
    sy_exchange_combine(&ex, (int64_t)(D * es), o.data, rows.data);
    sy_dispatch_combine(&x, &d, D, NULL, rows, (struct sy_mat){0},
                        sy_mat_of(sy_at(job->out->dx, x.dtype, t0 * D), x.dtype, D));
    sy_exchange_combine(&ex, 4, dwr, row_dw);
    sy_dispatch_to_routes(&x, &d, row_dw, job->out->dw + t0 * K);

    void *all[] = {rows.data, xr.data, dyr.data, gu.data, h.data, o.data, a.data, dgu.data, row_w, wr, dwr, row_dw, problems, parts,
                   x.scratch};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    sy_arena_fini(&arena);
    return SY_OK;
}

/* --- tests ---------------------------------------------------------------------------------------------------------------- */

static struct problem *make(enum sy_numeric_class cls, int experts, enum routing routing) {
    struct problem *p = room(1, sizeof *p);
    enum sy_dtype t = sy_class_dtype(cls);
    p->cls = cls;
    p->experts = experts;
    make_routes(p, routing);
    fill(t, p->x, T * D, 1, 1.0);
    fill(t, p->dy, T * D, 2, 1.0);
    fill(t, p->w13, MAX_E * 2 * F * D, 3, 0.5);
    fill(t, p->w2, MAX_E * D * F, 4, 0.5);
    return p;
}

/* How the 7 sequences lie on the ranks: even, or uneven with empty ranks. */
static void lay(struct problem *p, int ranks, int uneven) {
    memset(p->sequences_of, 0, sizeof p->sequences_of);
    for (int b = 0; b < B; b++)
        p->sequences_of[uneven ? b * b * ranks / (B * B) : b * ranks / B]++;
}

static int same(const struct answer *a, const struct answer *b) { return memcmp(a, b, sizeof *a) == 0; }

static void run(struct problem *p, int ranks, int uneven, struct answer *out) {
    struct job job = {p, out};
    memset(out, 0, sizeof *out);
    lay(p, ranks, uneven);
    assert_int_equal(sy_comm_threads_run(ranks, rank_main, &job), SY_OK);
}

static void every_ep_has_the_bits_of_one_process(void **state) {
    (void)state;
    static const int experts[] = {4, 5, 8, 13};
    struct answer *one = room(1, sizeof *one), *many = room(1, sizeof *many);
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        for (int i = 0; i < 4; i++)
            for (int routing = 0; routing < N_ROUTINGS; routing++) {
                struct problem *p = make((enum sy_numeric_class)cls, experts[i], (enum routing)routing);
                run(p, 1, 0, one);
                for (int ranks = 2; ranks <= 8; ranks++)
                    for (int uneven = 0; uneven < 2; uneven++) {
                        run(p, ranks, uneven, many);
                        if (!same(one, many))
                            fail_msg("class %s, %d experts, routing %d: EP %d (uneven %d) differs from one process",
                                     sy_class_name((enum sy_numeric_class)cls), experts[i], routing, ranks, uneven);
                    }
                free(p);
            }
    free(one);
    free(many);
}

static void a_wrong_order_of_rows_shows(void **state) {
    (void)state;
    struct answer *one = room(1, sizeof *one), *bad = room(1, sizeof *bad);
    struct problem *p = make(SY_NUMERIC_X86, 8, RANDOM);
    run(p, 1, 0, one);
    p->plant = 1;
    run(p, 4, 0, bad);
    assert_false(same(one, bad));
    free(p);
    free(one);
    free(bad);
}

static void shares_cover_the_experts(void **state) {
    (void)state;
    for (int64_t e = 1; e < 40; e++)
        for (int size = 1; size <= 9; size++) {
            int64_t next = 0, first, n, most = 0, least = e;
            for (int r = 0; r < size; r++) {
                sy_exchange_share(e, r, size, &first, &n);
                assert_int_equal(first, next);
                next += n;
                most = n > most ? n : most;
                least = n < least ? n : least;
            }
            assert_int_equal(next, e);
            assert_true(most - least <= 1);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_ep_has_the_bits_of_one_process),
                                       cmocka_unit_test(a_wrong_order_of_rows_shows), cmocka_unit_test(shares_cover_the_experts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
