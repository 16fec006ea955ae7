/* Products larger than the blocks that a tier computes them in (ops/ref/product.c): k over several blocks,
 * more segments than a block has pieces, more rows and columns than stay in cache, sums that pass the caches.
 * Every tier on 1 to 3 threads against the reference, bit for bit; what the reference does is the matter of
 * test_products.c and test_products_dw.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "execs.h"
#include "only.h"
#include "ops/ops.h"

enum { THREADS = 3, MOST = 1 << 21 };

static uint64_t state = 1;
static uint32_t bits(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32);
}

/* Values of both signs and many exponents, a subnormal and a zero now and then. */
static void fill(enum sy_dtype t, void *p, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t u = bits(), e = 112 + u % 24, v = (u & 0x80000000u) | e << 23 | (bits() & 0x7fffffu);
        v = u % 61 == 0 ? v & 0x807fffffu : u % 67 == 0 ? 0 : v;
        if (t == SY_F32)
            memcpy((float *)p + i, &v, sizeof v);
        else
            ((uint16_t *)p)[i] = (uint16_t)(v >> 16);
    }
}

static struct sy_exec exec_open(int tier, enum sy_numeric_class cls, int threads) {
    const char *why;
    return exec_with(sy_ops_tier(tier, &why), sy_device_cpu(), cls, threads,
                     sy_ops_scratch_bytes(1024, 64, 64));
}

static void *memory(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 64) / 64 * 64);
    assert_non_null(p);
    return p;
}

/* One product: operands that all tiers share, an output of each. */
struct trial {
    int64_t k[2], m, n; /* depth of one or two maps */
    int packed[2], residual, segments, fold, acc, in_place;
    char *a, *b, *out, *start;
};

static struct sy_operand right(const struct sy_exec *x, const struct trial *t, int map, void **memo) {
    int64_t first = map ? t->k[0] * t->n : 0;
    struct sy_mat m = {sy_at(t->b, x->dtype, first), x->dtype, 1, t->k[map]}; /* [k, n], columns contiguous */
    size_t bytes = t->packed[map] ? x->ops->pack_bytes(x, m, t->k[map], t->n) : 0;
    struct sy_operand o = {.m = m};
    *memo = NULL;
    if (!bytes)
        return o;
    *memo = memory(bytes);
    x->ops->pack(x, &(struct sy_pack){1, t->k[map], t->n, o, *memo, (int64_t)bytes});
    o.packed = *memo;
    o.packed_step = (int64_t)bytes;
    return o;
}

static void run_maps(const struct sy_exec *x, const struct trial *t) {
    void *memo[2] = {NULL, NULL};
    int64_t k = t->k[0] + t->k[1];
    struct sy_mat a = sy_mat_of(t->a, x->dtype, k),
                  c = sy_mat_of(t->out, t->residual ? x->dtype : SY_F32, t->n);
    if (t->k[1] == 0) {
        x->ops->linear(x, &(struct sy_linear){.rows = sy_rows_dense(1, t->m),
                                              .k = k,
                                              .n = t->n,
                                              .x = a,
                                              .w = right(x, t, 0, &memo[0]),
                                              .y = c,
                                              .residual = t->residual ? c : (struct sy_mat){0}});
    } else {
        x->ops->linear_dx(
            x, &(struct sy_linear_dx){.rows = sy_rows_dense(1, t->m),
                                      .n = t->n,
                                      .n_maps = 2,
                                      .map = {{a, right(x, t, 0, &memo[0]), t->k[0]},
                                              {sy_mat_cols(a, t->k[0]), right(x, t, 1, &memo[1]), t->k[1]}},
                                      .dx = c});
    }
    free(memo[0]);
    free(memo[1]);
}

static void run_dw(const struct sy_exec *x, const struct trial *t) {
    float *c = (float *)t->out;
    struct sy_dw q = {.rows = sy_rows_dense(t->segments, t->k[0]),
                      .n_segments = t->segments,
                      .m = t->m,
                      .n = t->n,
                      .dy = sy_mat_of(t->a, x->dtype, t->m),
                      .x = sy_mat_of(t->b, x->dtype, t->n),
                      .acc = t->in_place ? c
                             : t->acc    ? (float *)t->start
                                         : NULL,
                      .c = c,
                      .fold = t->fold};
    x->ops->linear_dw(x, &(struct sy_linear_dw){&q, 1});
}

static void everywhere(struct trial t, const char *what) {
    size_t bytes = (size_t)(t.m * t.n) * 4;
    char *want = memory(bytes);
    t.a = memory(MOST * 4);
    t.b = memory(MOST * 4);
    t.out = memory(bytes);
    t.start = memory(bytes);
    assert_true(t.m * (t.k[0] + t.k[1]) <= MOST && t.n * (t.k[0] + t.k[1]) <= MOST);
    for (int cls = 0; cls < SY_N_CLASSES; cls++) {
        if (cls == SY_NUMERIC_SM90 || !is_of_run(-1, cls))
            continue; /* sm90 has the reference's kernel in every tier */
        struct sy_exec ref = exec_open(0, (enum sy_numeric_class)cls, 2);
        fill(ref.dtype, t.a, MOST);
        fill(ref.dtype, t.b, MOST);
        fill(t.residual ? ref.dtype : SY_F32, t.start, t.m * t.n);
        for (int tier = 0; tier < sy_ops_n_tiers(); tier++) {
            struct sy_exec x = exec_open(tier, (enum sy_numeric_class)cls, 1 + tier % THREADS);
            memcpy(t.out, t.start, bytes);
            x.ops = tier == 0 || is_of_run(tier, cls) ? x.ops : NULL;
            if (x.ops)
                (t.segments ? run_dw : run_maps)(&x, &t);
            if (tier == 0)
                memcpy(want, t.out, bytes);
            else if (x.ops && memcmp(want, t.out, bytes))
                fail_msg("%s: tier %s, class %s differs from the reference", what, x.ops->tier,
                         sy_class_name(x.cls));
            exec_close(&x);
        }
        exec_close(&ref);
    }
    free(t.a);
    free(t.b);
    free(t.out);
    free(t.start);
    free(want);
}

static void depths(void **unused) {
    (void)unused;
    static const int64_t k[] = {1023, 1025, 2047, 2048, 2049, 4097};
    for (size_t i = 0; i < sizeof k / sizeof *k; i++) {
        int64_t n = i % 2 ? 64 : 45;
        everywhere((struct trial){.k = {k[i]}, .m = 29, .n = n}, "depth");
        everywhere((struct trial){.k = {k[i]}, .m = 17, .n = n, .packed = {1}, .residual = 1},
                   "depth, packed");
        everywhere((struct trial){.k = {k[i], 700}, .m = 15, .n = n, .packed = {1, 1}}, "two maps");
        everywhere((struct trial){.k = {k[i], 33}, .m = 15, .n = n, .packed = {i % 2, 1 - i % 2}},
                   "one packed");
    }
}

static void many_rows_and_columns(void **unused) {
    (void)unused;
    everywhere((struct trial){.k = {600}, .m = 700, .n = 70, .packed = {1}}, "rows that do not stay");
    everywhere((struct trial){.k = {2100}, .m = 330, .n = 35, .packed = {1}}, "rows and depth, packed");
    everywhere((struct trial){.k = {2100}, .m = 330, .n = 35}, "rows and depth");
    everywhere((struct trial){.k = {2100}, .m = 15, .n = 700, .packed = {1}}, "columns and depth, packed");
    everywhere((struct trial){.k = {2100}, .m = 15, .n = 700}, "columns and depth");
    everywhere((struct trial){.k = {1000}, .m = 3, .n = 1500, .packed = {1}}, "columns for all threads");
}

static void gradients(void **unused) {
    (void)unused;
    for (int i = 0; i < 5; i++) {
        struct trial t = {
            .segments = 1, .acc = i == 1 || i == 3, .fold = i == 2 || i == 3, .in_place = i == 4};
        struct trial deep = t, pieces = t, large = t;
        deep.k[0] = 2301 * (deep.segments = 1 + i);
        deep.m = 45;
        deep.n = i % 2 ? 64 : 70;
        everywhere(deep, "deep gradient");
        pieces.k[0] = 3 * (pieces.segments = 150);
        pieces.m = 31;
        pieces.n = 65;
        everywhere(pieces, "a gradient of many segments");
        large.k[0] = 9;
        large.m = 640;
        large.n = i % 2 ? 640 : 641;
        everywhere(large, "a gradient past the caches");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(depths),
        cmocka_unit_test(many_rows_and_columns),
        cmocka_unit_test(gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
