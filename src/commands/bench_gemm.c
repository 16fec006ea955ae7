/* switchyard bench gemm: the three products, dense and grouped, in every class and tier, beside the
 * register-only peak of the same moment.
 *
 *     forward    y [rows, n] = x [rows, k] W^T     W [n, k] of the row's group, packed once before
 *     inputs     dx [rows, k] = dy [rows, n] W
 *     weights    dW [n, k] = dy^T x                fp32, of each group
 *
 * A round is the peak's loop, the product for at least 20 ms, the loop again; what is said are medians of the
 * rounds, of the share of the peak too. Bytes are those of the operands and of the result, each once.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/fmath.h"
#include "commands/bench.h"
#include "model/layer.h"
#include "train/io.h"

enum { ROUNDS = 9 };
static const double SHORTEST = 0.02; /* seconds of the product in a round */

struct shape {
    const char *name;
    int64_t groups, rows, k, n; /* rows of a group; uneven: on average, from none to twice as many */
    int uneven;
};
static const struct shape shapes[] = {
    {"dense", 1, 1024, 1024, 1024, 0},
    {"experts", 64, 128, 1024, 1408, 0},
    {"small experts", 64, 32, 512, 256, 0},
    {"uneven experts", 64, 96, 512, 512, 1},
};
static const struct shape slow[] = {{"dense", 1, 128, 128, 128, 0}}; /* emulated, or fmaf calls */

enum { FORWARD, INPUTS, WEIGHTS, PRODUCTS };
static const char *const product_name[PRODUCTS] = {"forward", "inputs", "weights"};

struct operands {
    struct sy_rows rows;
    struct sy_mat x, y, w, sums; /* sums: dW */
    void *forward, *inputs;      /* W^T and W, packed */
    int64_t forward_bytes, inputs_bytes;
};

/* --- operands ------------------------------------------------------------------------------------------- */

static int64_t rows_of(const struct shape *s, int64_t g) {
    return s->uneven ? 2 * s->rows * g / (s->groups - 1) : s->rows;
}

static int64_t all_rows(const struct shape *s) {
    int64_t n = 0;
    for (int64_t g = 0; g < s->groups; g++)
        n += rows_of(s, g);
    return n;
}

static void take_rows(const struct shape *s, struct sy_arena *a, struct sy_rows *r) {
    int64_t rows = all_rows(s), n = 0, at = 0;
    *r = sy_rows_dense(1, rows);
    if (s->groups == 1)
        return;
    int64_t *offset = sy_arena_take(a, "bench", (size_t)s->groups + 1, sizeof *offset);
    int64_t *n_tiles = sy_arena_take(a, "bench", 1, sizeof *n_tiles);
    struct sy_tile *tile = sy_arena_take(a, "bench", (size_t)(rows / SY_TILE_ROWS + s->groups), sizeof *tile);
    *r = (struct sy_rows){s->groups, 1, rows, offset, tile, n_tiles};
    if (!offset)
        return;
    for (int64_t g = 0; g < s->groups; g++) {
        for (int64_t i = 0; i < rows_of(s, g); i += SY_TILE_ROWS)
            tile[n++] = (struct sy_tile){g, at + i};
        at += rows_of(s, g);
        offset[g + 1] = at;
    }
    *n_tiles = n;
}

static void fill(struct sy_mat m, int64_t n) {
    for (int64_t i = 0; m.data && i < n; i++) {
        float f = (float)((i * 2654435761u >> 8) % 2001) * 0x1p-10f - 1.0f;
        if (m.dtype == SY_F32)
            ((float *)m.data)[i] = f;
        else
            ((uint16_t *)m.data)[i] = (uint16_t)(sy_f32_bits(f) >> 16);
    }
}

static void take(const struct sy_exec *x, const struct shape *s, struct sy_arena *a, struct operands *o) {
    int64_t rows = all_rows(s), all = s->groups * s->n;
    take_rows(s, a, &o->rows);
    o->x = sy_take_mat(a, "bench", rows, s->k, x->dtype);
    o->y = sy_take_mat(a, "bench", rows, s->n, x->dtype);
    o->w = sy_take_mat(a, "bench", all, s->k, x->dtype);
    o->sums = sy_take_mat(a, "bench", all, s->k, SY_F32);
    o->forward_bytes = (int64_t)x->ops->pack_bytes(x, sy_mat_t(o->w), s->k, s->n);
    o->inputs_bytes = (int64_t)x->ops->pack_bytes(x, o->w, s->n, s->k);
    o->forward = sy_arena_take(a, "bench", (size_t)(s->groups * o->forward_bytes), 1);
    o->inputs = sy_arena_take(a, "bench", (size_t)(s->groups * o->inputs_bytes), 1);
    fill(o->x, rows * s->k);
    fill(o->y, rows * s->n);
    fill(o->w, all * s->k);
}

static struct sy_operand right(const struct shape *s, const struct operands *o, int which) {
    struct sy_operand w = {.m = which == FORWARD ? sy_mat_t(o->w) : o->w, .step = s->n * s->k};
    w.packed_step = which == FORWARD ? o->forward_bytes : o->inputs_bytes;
    w.packed = w.packed_step ? which == FORWARD ? o->forward : o->inputs : NULL;
    return w;
}

static void pack(const struct sy_exec *x, const struct shape *s, const struct operands *o) {
    for (int which = FORWARD; which <= INPUTS; which++) {
        struct sy_operand w = right(s, o, which);
        void *packed = (void *)(uintptr_t)w.packed;
        w.packed = NULL;
        if (packed)
            x->ops->pack(x, &(struct sy_pack){s->groups, which == FORWARD ? s->k : s->n,
                                              which == FORWARD ? s->n : s->k, w, packed, w.packed_step});
    }
}

/* --- time ----------------------------------------------------------------------------------------------- */

static void call(const struct sy_exec *x, const struct shape *s, const struct operands *o, int which) {
    if (which == FORWARD)
        x->ops->linear(
            x, &(struct sy_linear){
                   .rows = o->rows, .k = s->k, .n = s->n, .x = o->x, .w = right(s, o, which), .y = o->y});
    else if (which == INPUTS)
        x->ops->linear_dx(x, &(struct sy_linear_dx){.rows = o->rows,
                                                    .n = s->k,
                                                    .n_maps = 1,
                                                    .map = {{o->y, right(s, o, which), s->n}},
                                                    .dx = o->x});
    else
        x->ops->linear_dw(x, &(struct sy_linear_dw){&(struct sy_dw){.rows = o->rows,
                                                                    .n_segments = 1,
                                                                    .m = s->n,
                                                                    .n = s->k,
                                                                    .dy = o->y,
                                                                    .x = o->x,
                                                                    .c = o->sums.data,
                                                                    .c_step = s->n * s->k},
                                                    1});
}

struct result {
    double ms, gflops, gbps, peak, share;
};

static struct result measure(const struct sy_exec *x, const struct shape *s, const struct operands *o,
                             int which) {
    double seconds[ROUNDS], peaks[ROUNDS], shares[ROUNDS];
    double rows = (double)all_rows(s), n = (double)s->n, k = (double)s->k, flops = 2 * rows * n * k;
    double stored = (double)sy_dtype_bytes(x->dtype), groups = (double)s->groups;
    double bytes = rows * (n + k) * stored + groups * n * k * (which == WEIGHTS ? 4 : stored);
    call(x, s, o, which);
    for (int i = 0; i < ROUNDS; i++) {
        double before = sy_bench_peak(x), begin = sy_clock(), took;
        int times = 0;
        do {
            call(x, s, o, which);
            times++;
            took = sy_clock() - begin;
        } while (took < SHORTEST);
        double after = sy_bench_peak(x);
        seconds[i] = took / times;
        peaks[i] = before > after ? before : after;
        shares[i] = peaks[i] > 0 ? flops / seconds[i] / peaks[i] : 0;
    }
    double t = sy_bench_median(ROUNDS, seconds);
    return (struct result){1e3 * t, 1e-9 * flops / t, 1e-9 * bytes / t, 1e-9 * sy_bench_median(ROUNDS, peaks),
                           sy_bench_median(ROUNDS, shares)};
}

static void print(const struct sy_io *io, int json, const struct sy_exec *x, const struct shape *s, int which,
                  const struct result *r) {
    if (json)
        sy_io_printf(io,
                     "{\"bench\":\"gemm\",\"class\":\"%s\",\"tier\":\"%s\",\"threads\":%d,\"shape\":\"%s\","
                     "\"groups\":%lld,\"rows\":%lld,\"k\":%lld,\"n\":%lld,\"product\":\"%s\",\"ms\":%.4f,"
                     "\"gflops\":%.1f,\"gbytes_s\":%.1f,\"peak_gflops\":%.1f,\"share\":%.3f}\n",
                     sy_class_name(x->cls), x->ops->tier, sy_pool_size(x->pool), s->name,
                     (long long)s->groups, (long long)all_rows(s), (long long)s->k, (long long)s->n,
                     product_name[which], r->ms, r->gflops, r->gbps, r->peak, r->share);
    else
        sy_io_printf(io,
                     "gemm  %-5s %-11s %-14s %2lld x %4lld rows, %4lld x %4lld  %-7s %8.1f GFLOP/s %6.1f GB/s"
                     "  peak %6.1f  %4.0f %%\n",
                     sy_class_name(x->cls), x->ops->tier, s->name, (long long)s->groups, (long long)s->rows,
                     (long long)s->k, (long long)s->n, product_name[which], r->gflops, r->gbps, r->peak,
                     1e2 * r->share);
}

static sy_status one_shape(const struct sy_exec *x, const struct shape *s, int json, const struct sy_io *io) {
    struct operands o;
    struct sy_arena need = sy_arena_measure(), a;
    take(x, s, &need, &o);
    SY_TRY(sy_arena_init(need.used + SY_ARENA_ALIGN, "bench gemm", &a));
    take(x, s, &a, &o);
    pack(x, s, &o);
    for (int which = 0; which < PRODUCTS; which++) {
        struct result r = measure(x, s, &o, which);
        print(io, json, x, s, which, &r);
    }
    sy_arena_fini(&a);
    return SY_OK;
}

static sy_status one_tier(const struct sy_exec *x, int json, const struct sy_io *io) {
    int is_slow = !x->ops->peak(x->cls, 1).instruction;
    const struct shape *list = is_slow ? slow : shapes;
    int n = (int)(is_slow ? sizeof slow / sizeof *slow : sizeof shapes / sizeof *shapes);
    for (int i = 0; i < n; i++)
        SY_TRY(one_shape(x, &list[i], json, io));
    return SY_OK;
}

sy_status sy_bench_gemm(struct sy_exec *x, const struct sy_bench_options *o, const struct sy_io *io) {
    for (int cls = 0; cls < SY_N_CLASSES; cls++) {
        sy_exec_set_class(x, (enum sy_numeric_class)cls);
        for (int tier = 0; tier < sy_ops_n_tiers(); tier++) {
            const char *why;
            if (sy_bench_takes(o, cls, tier) && (x->ops = sy_ops_tier(tier, &why)))
                SY_TRY(one_tier(x, o->json, io));
        }
    }
    return SY_OK;
}
