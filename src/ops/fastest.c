/* Which of some tiers is the fastest here: the same product and attention of a class in turn, on the calling
 * thread, of which attention has a fifth of the FLOPs, as in a step of dsv3-debug: a processor's products
 * may be as fast in two tiers whose attention is not.
 *
 * A tier's time is its shortest, as what else the machine does only adds. One that is clearly behind after a
 * turn is out; when two go on to the end they are as good as equal, and either may be taken: all have the
 * same bits.
 */
#include "base/arena.h"
#include "base/clock.h"
#include "base/fmath.h"
#include "device/carve.h"
#include "ops/ops.h"

enum { N = 256, HEADS = 4, SEQ = 64, TURNS = 20, FEW = 4, MOST = 8 };
static const double TURN = 1e-3, BEHIND = 1.5; /* seconds; times the best */

struct work {
    struct sy_linear product;
    struct sy_attention attention;
};

/* The shortest of a turn. */
static double turn(const struct sy_exec *x, const struct work *w, double best) {
    double start = sy_clock(), begin = start, now;
    do {
        x->ops->linear(x, &w->product);
        x->ops->attention_fwd(x, &w->attention);
        now = sy_clock();
        best = now - begin < best ? now - begin : best;
        begin = now;
    } while (now - start < TURN);
    return best;
}

static int race(const struct sy_ops *const *ops, int n, struct sy_exec *x, const struct work *w) {
    double time[MOST];
    int first = 0, running = n;
    for (int i = 0; i < n; i++)
        time[i] = 1e30;
    for (int t = 0; t < TURNS && running > 1; t++) {
        for (int i = 0; i < n; i++) {
            if (t >= FEW && time[i] > BEHIND * time[first])
                continue;
            x->ops = ops[i];
            time[i] = turn(x, w, time[i]);
        }
        for (int i = 0; i < n; i++)
            first = time[i] < time[first] ? i : first;
        running = 0;
        for (int i = 0; i < n; i++)
            running += t + 1 < FEW || time[i] <= BEHIND * time[first];
    }
    return first;
}

static struct sy_mat take(struct sy_arena *a, struct sy_exec *x, enum sy_dtype t) {
    struct sy_mat m = sy_take_mat(a, "choosing a tier", N, N, t);
    if (t == x->dtype && m.data)
        for (int64_t i = 0; i < N * N; i++)
            ((uint16_t *)m.data)[i] = (uint16_t)(sy_f32_bits(1.0f + (float)(i % 251) * 0x1p-7f) >> 16);
    return m;
}

/* p q^T, and attention of p as queries and values to q: N tokens of HEADS heads. */
static struct work work_of(struct sy_mat p, struct sy_mat q, struct sy_mat c, float *lse) {
    int64_t d = N / HEADS;
    struct sy_heads queries = {p.data, p.dtype, N, d}, keys = {q.data, q.dtype, N, d},
                    o = {c.data, p.dtype, N, d};
    return (struct work){
        {.rows = sy_rows_dense(1, N), .k = N, .n = N, .x = p, .w = {.m = sy_mat_t(q)}, .y = c},
        {.sequences = N / SEQ,
         .seq_len = SEQ,
         .heads = HEADS,
         .kv_heads = HEADS,
         .dv = d,
         .n_slices = 1,
         .slice = {{.d = d, .q = queries, .k = keys}},
         .v = queries,
         .scale = 0.0625f,
         .c = 0.0078125f,
         .o = o,
         .lse = lse}};
}

sy_status sy_ops_fastest(const struct sy_ops *const *ops, int n, enum sy_numeric_class cls, int *out) {
    struct sy_exec x = {.device = sy_device_cpu()};
    struct sy_arena a;
    n = n < MOST ? n : MOST;
    *out = 0;
    if (n < 2)
        return SY_OK;
    sy_exec_set_class(&x, cls);
    x.scratch_bytes = sy_ops_scratch_bytes(N, N / HEADS, SEQ);
    SY_TRY(sy_arena_init(4 * N * N * sizeof(float) + x.scratch_bytes + 4096, "choosing a tier", &a));
    struct sy_mat p = take(&a, &x, x.dtype), q = take(&a, &x, x.dtype), c = take(&a, &x, SY_F32);
    x.scratch = sy_arena_take(&a, "choosing a tier", x.scratch_bytes, 1);
    float *lse = sy_take_f32(&a, "choosing a tier", (int64_t)N * HEADS);
    sy_status status = sy_arena_check(&a, "choosing a tier");
    if (status == SY_OK) {
        struct work w = work_of(p, q, c, lse);
        *out = race(ops, n, &x, &w);
    }
    sy_arena_fini(&a);
    return status;
}
