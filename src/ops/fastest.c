/* Which of some tiers multiplies fastest here: the same product of a class in turn, on the calling thread.
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

enum { N = 256, TURNS = 20, FEW = 4, MOST = 8 };
static const double TURN = 1e-3, BEHIND = 1.5; /* seconds; times the best */

/* Shortest of the products of a turn. */
static double turn(const struct sy_exec *x, const struct sy_linear *op, double best) {
    double start = sy_clock(), begin = start, now;
    do {
        x->ops->linear(x, op);
        now = sy_clock();
        best = now - begin < best ? now - begin : best;
        begin = now;
    } while (now - start < TURN);
    return best;
}

static int race(const struct sy_ops *const *ops, int n, struct sy_exec *x, const struct sy_linear *op) {
    double time[MOST];
    int first = 0, running = n;
    for (int i = 0; i < n; i++)
        time[i] = 1e30;
    for (int t = 0; t < TURNS && running > 1; t++) {
        for (int i = 0; i < n; i++) {
            if (t >= FEW && time[i] > BEHIND * time[first])
                continue;
            x->ops = ops[i];
            time[i] = turn(x, op, time[i]);
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

sy_status sy_ops_fastest(const struct sy_ops *const *ops, int n, enum sy_numeric_class cls, int *out) {
    struct sy_exec x = {.device = sy_device_cpu()};
    struct sy_arena a;
    n = n < MOST ? n : MOST;
    *out = 0;
    if (n < 2)
        return SY_OK;
    sy_exec_set_class(&x, cls);
    x.scratch_bytes = sy_ops_scratch_bytes(N, 64, 64);
    SY_TRY(sy_arena_init(3 * N * N * sizeof(float) + x.scratch_bytes + 4096, "choosing a tier", &a));
    struct sy_mat p = take(&a, &x, x.dtype), q = take(&a, &x, x.dtype), c = take(&a, &x, SY_F32);
    x.scratch = sy_arena_take(&a, "choosing a tier", x.scratch_bytes, 1);
    sy_status status = sy_arena_check(&a, "choosing a tier");
    if (status == SY_OK)
        *out =
            race(ops, n, &x,
                 &(struct sy_linear){
                     .rows = sy_rows_dense(1, N), .k = N, .n = N, .x = p, .w = {.m = sy_mat_t(q)}, .y = c});
    sy_arena_fini(&a);
    return status;
}
