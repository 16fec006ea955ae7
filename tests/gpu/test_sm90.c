/* Class sm90 against a Hopper GPU: the reference's chain and the GPU's mma.sync and wgmma must give the same
 * bits.
 *
 * Needs an H100 or H200 and nvcc, so it is no part of `make test`: `make gpu-test`. Regimes of operands and
 * accumulators: ordinary, wide exponents, subnormals, zeros beside huge values, signed zeros, cancellation,
 * overflow, Inf and NaN; chains of one step and of many; cut and reloaded. A control computes the blocks of
 * 16 in reverse order and must differ. Exit 0 when all agree, 1 when not, 77 without a GPU.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "ops/ops.h"

const char *gpu_product(int use_wgmma, const uint16_t *a, const uint16_t *b, float *c, int m, int n, int k);
const char *gpu_name(void);

enum { M = 128, N = 128, MAX_K = 4096 };

static const char *const regimes[] = {
    "ordinary",          "wide exponents", "subnormal operands", "subnormal results", "subnormal sums",
    "zeros beside huge", "signed zeros",   "cancellation",       "overflow",          "Inf and NaN"};
enum { N_REGIMES = sizeof regimes / sizeof *regimes };

static uint64_t state;
static uint64_t next(void) { return sy_mix64(state += 0x9e3779b97f4a7c15u); }

static float from_bits(uint32_t sign, int exponent, uint32_t mantissa) {
    uint32_t u = sign << 31 | (uint32_t)exponent << 23 | (mantissa & 0x7fffff);
    float f;
    memcpy(&f, &u, 4);
    return f;
}

/* A value with a biased exponent in lo..hi. */
static float value(int lo, int hi) {
    uint64_t r = next();
    return from_bits((uint32_t)(r >> 60) & 1, lo + (int)(r >> 32 & 0xffff) % (hi - lo + 1), (uint32_t)r);
}

static uint16_t operand(int regime) {
    uint64_t r = next();
    float f = 0;
    uint32_t u;
    switch (regime) {
    case 0:
        f = value(120, 130);
        break;
    case 1:
        f = value(64, 190);
        break;
    case 2:
        f = r % 3 ? value(0, 1) : value(120, 130);
        break;
    case 3:
        f = value(58, 66);
        break;
    case 4:
        f = value(0, 128);
        break;
    case 5:
        f = r % 4 ? 0.0f * value(120, 121) : value(180, 189);
        break;
    case 6:
        f = r % 3 ? 0.0f * value(120, 121) : value(100, 120);
        break;
    case 7:
        f = value(127, 127);
        break;
    case 8:
        f = value(186, 191);
        break;
    default:
        f = r % 40 == 0 ? from_bits(r >> 63, 255, r & 1 ? 0 : 0x400000) : value(100, 140);
    }
    memcpy(&u, &f, 4);
    return (uint16_t)(u >> 16);
}

static float accumulator(int regime) {
    uint64_t r = next();
    switch (regime) {
    case 0:
        return r % 2 ? value(118, 134) : 0.0f;
    case 2:
    case 3:
    case 4:
        return r % 2 ? value(0, 3) : -0.0f;
    case 5:
        return value(100, 250);
    case 6:
        return r % 2 ? -0.0f : 0.0f;
    case 7:
        return value(127, 131);
    case 8:
        return value(250, 254);
    case 9:
        return r % 50 == 0 ? from_bits(r >> 63, 255, r & 1) : value(100, 140);
    default:
        return value(1, 254);
    }
}

static uint16_t a[M * MAX_K], b[N * MAX_K];
static float start[M * N], cpu[M * N], gpu[M * N];

/* Steps k0 .. k1 of the chain; backwards: the control. */
static void reference(const struct sy_exec *x, int k, int k0, int k1, int backwards, float *c) {
    for (int p = 0; p < k1 - k0; p += backwards ? 16 : k1 - k0) {
        int at = backwards ? k1 - 16 - p : k0;
        struct sy_mat ma = sy_mat_of(a, SY_BF16, k), mb = sy_mat_of(b, SY_BF16, k);
        int64_t rows = backwards ? 16 : k1 - k0; /* of a chain that goes on in c */
        struct sy_dw chain = {
            .rows = sy_rows_dense(1, rows), .n_segments = 1, .m = M, .n = N, .acc = c, .c = c};
        chain.dy = sy_mat_t(sy_mat_cols(ma, at));
        chain.x = sy_mat_t(sy_mat_cols(mb, at));
        x->ops->linear_dw(x, &(struct sy_linear_dw){&chain, 1});
    }
}

static int64_t mismatches(const float *p, const float *q) {
    int64_t n = 0;
    for (int i = 0; i < M * N; i++)
        n += memcmp(&p[i], &q[i], 4) != 0 && !(p[i] != p[i] && q[i] != q[i]);
    return n;
}

int main(void) {
    static const int lengths[] = {16, 64, 256, MAX_K};
    const char *name = gpu_name(), *why;
    struct sy_exec x = {.device = sy_device_cpu(), .cls = SY_NUMERIC_SM90, .dtype = SY_BF16, .kb = 16};
    if (!name) {
        printf("no GPU\n");
        return 77;
    }
    if (sy_ops_select("auto", &x.ops) != SY_OK || sy_pool_create(0, &x.pool) != SY_OK)
        return 1;
    x.scratch_bytes = sy_ops_scratch_bytes(MAX_K, 64, 64);
    x.scratch = aligned_alloc(64, (x.scratch_bytes + 63) / 64 * 64 * (size_t)sy_pool_size(x.pool));
    if (!x.scratch)
        return 1;
    printf("%s, tier %s\n%-20s %6s %10s %10s %10s %10s\n", name, x.ops->tier, "operands", "K", "outputs",
           "mma.sync", "wgmma", "control");
    int64_t bad = 0, control = 0;
    for (int regime = 0; regime < N_REGIMES; regime++)
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            int k = lengths[l], rounds = k > 1000 ? 1 : 12;
            int64_t differ[2] = {0, 0}, reversed = 0;
            for (int round = 0; round < rounds; round++) {
                state = (uint64_t)(regime * 1000 + k + round * 7919);
                for (int i = 0; i < M * k; i++) {
                    a[i] = operand(regime);
                    b[i] = operand(regime);
                }
                for (int i = 0; i < M * N; i++)
                    start[i] = round % 3 ? accumulator(regime) : 0.0f;
                int cut = k > 16 ? k / 32 * 16 : k; /* the chain goes on from a stored accumulator */
                memcpy(cpu, start, sizeof cpu);
                reference(&x, k, 0, cut, 0, cpu);
                if (cut < k)
                    reference(&x, k, cut, k, 0, cpu);
                for (int w = 0; w < 2; w++) {
                    memcpy(gpu, start, sizeof gpu);
                    if ((why = gpu_product(w, a, b, gpu, M, N, k))) {
                        printf("the GPU failed: %s\n", why);
                        return 1;
                    }
                    differ[w] += mismatches(cpu, gpu);
                }
                memcpy(cpu, start, sizeof cpu);
                reference(&x, k, 0, k, 1, cpu);
                reversed += mismatches(cpu, gpu);
            }
            printf("%-20s %6d %10d %10lld %10lld %10lld\n", regimes[regime], k, rounds * M * N,
                   (long long)differ[0], (long long)differ[1], (long long)reversed);
            bad += differ[0] + differ[1];
            control += k > 16 ? reversed : 0;
        }
    printf("%lld differences; the control, blocks in reverse order, has %lld\n", (long long)bad,
           (long long)control);
    return bad != 0 || control == 0;
}
