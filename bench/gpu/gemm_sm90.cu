// gemm_sm90.cuh: bits against class sm90 on the CPU, and times.
//
//   gemm_sm90 check   small shapes in every layout, epilogue and regime of operands: == to the library's
//                     ops on the CPU; a chain with its blocks in reverse order must differ
//   gemm_sm90 time    the shapes of README.md; each one's whole output is first compared on the GPU with
//                     chains of mma.sync
#include "class_sm90.h"
#include "gemm_problems.cuh"
#include "gemm_times.cuh"

// --- check: against the CPU ----------------------------------------------------------------------------

static void check_linear(const problem &q, int nn, int regime) {
    auto x = operands((size_t)q.rows() * q.k, regime), w = operands((size_t)q.groups() * q.n * q.k, regime);
    std::vector<bf16> y((size_t)q.rows() * q.n);
    for (int g = 0; g < q.groups(); g++) {
        int r0 = q.offsets[g], r1 = q.offsets[g + 1];
        const bf16 *wg = w.data() + (size_t)g * q.n * q.k;
        class_mat b = nn ? class_mat{wg, q.n, 1} : class_mat{wg, 1, q.k};
        class_gemm(r1 - r0, q.n, q.k, {x.data() + (size_t)r0 * q.k, q.k, 1}, b, NULL, 0,
                   y.data() + (size_t)r0 * q.n);
    }
    bf16 *dx = to_device(x), *dw = to_device(w), *dy = device_new<bf16>(y.size());
    int *off = to_device(q.offsets);
    if (nn)
        linear<NN>(q, dx, dw, dy, off).run();
    else
        linear<NT>(q, dx, dw, dy, off).run();
    SY_CUDA(cudaDeviceSynchronize());
    char what[160];
    snprintf(what, sizeof what, "%s rows %d n %d k %d groups %d, %s", nn ? "dx" : "linear", q.rows(), q.n,
             q.k, q.groups(), regimes[regime]);
    compare(what, to_host(dy, y.size()), y, q.n);
    for (void *p : {(void *)dx, (void *)dw, (void *)dy, (void *)off})
        SY_CUDA(cudaFree(p));
}

static void check_gated(const problem &q, int regime) {
    size_t f = q.n, rows = q.rows();
    auto x = operands(rows * q.k, regime), w1 = operands(q.groups() * f * q.k, regime),
         w3 = operands(w1.size(), regime);
    std::vector<bf16> gu(rows * 2 * f), h(rows * f), part(rows * f);
    for (int g = 0; g < q.groups(); g++)
        for (int side = 0; side < 2; side++) {
            int r0 = q.offsets[g], r1 = q.offsets[g + 1];
            const bf16 *w = (side ? w3 : w1).data() + (size_t)g * f * q.k;
            class_gemm(r1 - r0, f, q.k, {x.data() + (size_t)r0 * q.k, q.k, 1}, {w, 1, q.k}, NULL, 0,
                       part.data());
            for (int r = r0; r < r1; r++)
                memcpy(&gu[r * 2 * f + side * f], &part[(r - r0) * f], f * 2);
        }
    class_swiglu(rows, f, gu.data(), h.data());
    bf16 *dx = to_device(x), *d1 = to_device(w1), *d3 = to_device(w3), *dgu = device_new<bf16>(gu.size());
    bf16 *dh = device_new<bf16>(h.size());
    int *off = to_device(q.offsets);
    gated(q, dx, d1, d3, dgu, dh, off).run();
    SY_CUDA(cudaDeviceSynchronize());
    char what[160];
    snprintf(what, sizeof what, "gated rows %d f %d k %d groups %d, %s", q.rows(), q.n, q.k, q.groups(),
             regimes[regime]);
    compare(what, to_host(dgu, gu.size()), gu, 2 * f);
    compare(what, to_host(dh, h.size()), h, f);
    for (void *p : {(void *)dx, (void *)d1, (void *)d3, (void *)dgu, (void *)dh, (void *)off})
        SY_CUDA(cudaFree(p));
}

static void check_weight_gradient(const problem &q, int regime, int fold) {
    auto dy = operands((size_t)q.rows() * q.m, regime), x = operands((size_t)q.rows() * q.n, regime);
    std::vector<float> dw((size_t)q.groups() * q.m * q.n);
    for (auto &v : dw) {
        uint32_t u = (uint32_t)operand_of(regime) << 16 | (uint32_t)(random_bits() & 0xffff);
        memcpy(&v, &u, 4);
    }
    float *gw = to_device(dw);
    for (int g = 0; g < q.groups(); g++) {
        int r0 = q.offsets[g], r1 = q.offsets[g + 1];
        class_gemm(q.m, q.n, r1 - r0, {dy.data() + (size_t)r0 * q.m, 1, q.m},
                   {x.data() + (size_t)r0 * q.n, q.n, 1}, dw.data() + (size_t)g * q.m * q.n, fold, NULL);
    }
    bf16 *gy = to_device(dy), *gx = to_device(x);
    int *off = to_device(q.offsets);
    weight_gradient(q, gy, gx, gw, off).run(fold);
    SY_CUDA(cudaDeviceSynchronize());
    char what[160];
    snprintf(what, sizeof what, "dw %s rows %d m %d n %d groups %d, %s", fold ? "fold" : "leaf", q.rows(),
             q.m, q.n, q.groups(), regimes[regime]);
    compare(what, to_host(gw, dw.size()), dw, q.n);
    for (void *p : {(void *)gy, (void *)gx, (void *)gw, (void *)off})
        SY_CUDA(cudaFree(p));
}

// The CPU's chain with its blocks of 16 in reverse order: the comparison must see it.
static void check_control() {
    problem q = {{0, 512}, 128, 256, 0};
    int k = q.rows();
    auto dy = operands((size_t)k * q.m, 0), x = operands((size_t)k * q.n, 0), dyr = dy, xr = x;
    for (int i = 0; i < k; i++) {
        int to = k - 16 - i / 16 * 16 + i % 16;
        memcpy(&dyr[(size_t)to * q.m], &dy[(size_t)i * q.m], q.m * sizeof(bf16));
        memcpy(&xr[(size_t)to * q.n], &x[(size_t)i * q.n], q.n * sizeof(bf16));
    }
    std::vector<float> reversed((size_t)q.m * q.n);
    class_gemm(q.m, q.n, k, {dyr.data(), 1, q.m}, {xr.data(), q.n, 1}, reversed.data(), 0, NULL);
    bf16 *gy = to_device(dy), *gx = to_device(x);
    float *gw = device_new<float>(reversed.size());
    int *off = to_device(q.offsets);
    weight_gradient(q, gy, gx, gw, off).run(0);
    std::vector<float> dw = to_host(gw, reversed.size());
    for (void *p : {(void *)gy, (void *)gx, (void *)gw, (void *)off})
        SY_CUDA(cudaFree(p));
    long differ = 0;
    for (size_t i = 0; i < dw.size(); i++)
        differ += !same_bits(dw[i], reversed[i]);
    printf("control, blocks of k in reverse order: %ld of %zu outputs differ%s\n", differ, dw.size(),
           differ ? "" : ": the comparison sees nothing");
    verdict.wrong += differ == 0;
}

// ptx::reciprocal against 1/d, every fraction, of small and of the largest exponents.
__global__ void reciprocal_kernel(unsigned long long *wrong) {
    for (uint32_t f = blockIdx.x * blockDim.x + threadIdx.x; f < 1u << 23; f += gridDim.x * blockDim.x)
        for (int e = 127; e < 253; e += e < 130 || e > 248 ? 1 : 13) {
            float d = __uint_as_float((uint32_t)e << 23 | f);
            if (ptx::reciprocal(d) != __fdiv_rn(1.0f, d))
                atomicAdd(wrong, 1ull);
        }
}
static void check_reciprocal() {
    unsigned long long *w, v;
    SY_CUDA(cudaMalloc(&w, 8));
    SY_CUDA(cudaMemset(w, 0, 8));
    reciprocal_kernel<<<1024, 256>>>(w);
    SY_CUDA(cudaMemcpy(&v, w, 8, cudaMemcpyDeviceToHost));
    SY_CUDA(cudaFree(w));
    printf("reciprocal, all fractions: %llu differ from 1/d\n", v);
    verdict.wrong += (long)v;
}

static int check() {
    const problem dense[] = {{{0, 128}, 0, 256, 64},    {{0, 16}, 0, 8, 16},      {{0, 7}, 0, 24, 40},
                             {{0, 200}, 0, 264, 136},   {{0, 384}, 0, 520, 1000}, {{0, 2304}, 0, 520, 72},
                             {{0, 130}, 0, 1032, 4096}, {{0, 640}, 0, 136, 8},    {{0, 250}, 0, 2816, 256}};
    const problem grouped = {{0, 16, 16, 288, 416, 672, 672, 1312, 1328, 1536}, 0, 392, 200};
    for (int regime = 0; regime < N_REGIMES; regime++) {
        for (const problem &q : dense) {
            if (regime && (size_t)q.rows() * q.n * q.k > 60000000)
                continue;
            check_linear(q, 0, regime);
            check_linear(q, 1, regime);
            if (q.rows() < 1000)
                check_gated(q, regime);
        }
        check_linear(grouped, 0, regime);
        check_linear(grouped, 1, regime);
        check_gated(grouped, regime);
        check_weight_gradient({grouped.offsets, 200, 264, 0}, regime, 0);
        check_weight_gradient({grouped.offsets, 328, 520, 0}, regime, 1);
        check_weight_gradient({{0, 1008}, 64, 1304, 0}, regime, 0);
    }
    check_control();
    check_reciprocal();
    printf("gemm check: %ld cases, %ld outputs, %ld differ from class sm90 on the CPU\n", verdict.cases,
           verdict.outputs, verdict.wrong);
    return verdict.wrong != 0;
}

int main(int argc, char **argv) {
    if (argc != 2 || (strcmp(argv[1], "check") && strcmp(argv[1], "time"))) {
        fprintf(stderr, "usage: gemm_sm90 check|time\n");
        return 2;
    }
    sms = multiprocessors();
    if (!strcmp(argv[1], "time"))
        return times();
    class_open(12);
    int r = check();
    class_close();
    return r;
}
