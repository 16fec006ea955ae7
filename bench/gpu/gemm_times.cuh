// gemm_sm90 time: each shape's whole output against chains of mma.sync on the GPU, then the clock.
#ifndef SY_BENCH_GPU_GEMM_TIMES_CUH
#define SY_BENCH_GPU_GEMM_TIMES_CUH

#include "gemm_problems.cuh"

struct operand_view { // element (i, k) of group g at p + g*group + i*row + k*step
    const bf16 *p;
    long group, row, step;
};

// A warp per 16 x 8 outputs: rows of a in segments (ends on multiples of 16) or, by_k, segments of k.
__global__ void reference_kernel(operand_view a, operand_view b, const int *offsets, int groups, int by_k,
                                 int m, int n, int k, const bf16 *c16, const float *c32, long c_row,
                                 unsigned long long *wrong) {
    int lane = threadIdx.x % 32, tile = blockIdx.y * 8 + threadIdx.x / 32, row = blockIdx.x * 16,
        column = tile * 8, g = 0;
    if (column >= n)
        return;
    int k0 = 0, k1 = k;
    if (by_k) {
        g = blockIdx.z;
        k0 = offsets[g];
        k1 = offsets[g + 1];
        c32 += (size_t)g * m * n;
    } else {
        while (g + 1 < groups && row >= offsets[g + 1])
            g++;
    }
    float d[4] = {0, 0, 0, 0};
    const bf16 *pa = a.p, *pb = b.p + g * b.group;
    for (int p = k0; p < k1; p += 16) {
        uint32_t fa[4], fb[2];
        for (int i = 0; i < 4; i++) {
            int r = row + lane / 4 + i % 2 * 8, q = p + lane % 4 * 2 + i / 2 * 8;
            uint32_t lo = r < m && q < k1 ? pa[r * a.row + q * a.step] : 0,
                     hi = r < m && q + 1 < k1 ? pa[r * a.row + (q + 1) * a.step] : 0;
            fa[i] = lo | hi << 16;
        }
        for (int i = 0; i < 2; i++) {
            int q = p + lane % 4 * 2 + i * 8;
            long at = (long)(column + lane / 4) * b.row;
            uint32_t lo = q < k1 ? pb[at + q * b.step] : 0, hi = q + 1 < k1 ? pb[at + (q + 1) * b.step] : 0;
            fb[i] = lo | hi << 16;
        }
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
                     "{%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    }
    unsigned bad = 0;
    for (int i = 0; i < 4; i++) {
        long r = row + lane / 4 + i / 2 * 8, q = column + lane % 4 * 2 + i % 2;
        if (r < m)
            bad += c32 ? __float_as_uint(c32[r * n + q]) != __float_as_uint(d[i])
                       : c16[r * c_row + q] != (bf16)(ptx::bf16_pair(d[i], 0) & 0xffff);
    }
    if (bad)
        atomicAdd(wrong, bad);
}

// h of the stored g and u, by the plain formula.
__global__ void reference_h(const bf16 *gu, const bf16 *h, long rows, int f, unsigned long long *wrong) {
    unsigned bad = 0;
    for (long i = blockIdx.x * (long)blockDim.x + threadIdx.x; i < rows * f;
         i += (long)gridDim.x * blockDim.x) {
        float g = ptx::bf16_low(gu[i / f * 2 * f + i % f]),
              u = ptx::bf16_low(gu[i / f * 2 * f + f + i % f]);
        float s =
            __fmul_rn(g, __fdiv_rn(1.0f, __fadd_rn(1.0f, ptx::exp2_whole(__fmul_rn(-g, 1.44269504f)))));
        bad += h[i] != (bf16)(ptx::bf16_pair(__fmul_rn(s, u), 0) & 0xffff);
    }
    if (bad)
        atomicAdd(wrong, (unsigned long long)bad);
}

static unsigned long long *wrong_count() {
    unsigned long long *w;
    SY_CUDA(cudaMalloc(&w, 8));
    SY_CUDA(cudaMemset(w, 0, 8));
    return w;
}
static unsigned long long take(unsigned long long *w) {
    unsigned long long v;
    SY_CUDA(cudaGetLastError());
    SY_CUDA(cudaMemcpy(&v, w, 8, cudaMemcpyDeviceToHost));
    SY_CUDA(cudaFree(w));
    verdict.wrong += (long)v;
    return v;
}

static void report(const char *name, double flops, float ms, unsigned long long wrong) {
    printf("TIME %-34s %8.4f ms %7.1f TFLOP/s  bits: %llu differ\n", name, ms, flops / ms * 1e-9, wrong);
    fflush(stdout);
}

static void check_columns(const problem &q, operand_view a, operand_view b, const int *off, const bf16 *y,
                          long y_row, unsigned long long *w) {
    reference_kernel<<<dim3((q.rows() + 15) / 16, (q.n + 63) / 64), 256>>>(
        a, b, off, q.groups(), 0, q.rows(), q.n, q.k, y, NULL, y_row, w);
}

static void time_linear(const char *name, const problem &q, int nn, long rows) {
    bf16 *x = device_random((size_t)q.rows() * q.k, 1),
         *w = device_random((size_t)q.groups() * q.n * q.k, 0.02f);
    bf16 *y = device_new<bf16>((size_t)q.rows() * q.n);
    int *off = to_device(q.offsets);
    linear<NT> nt(q, x, w, y, off);
    linear<NN> other(q, x, w, y, off);
    auto call = [&] { nn ? other.run() : nt.run(); };
    call();
    unsigned long long *bad = wrong_count();
    check_columns(q, {x, 0, q.k, 1}, {w, (long)q.n * q.k, nn ? 1 : q.k, nn ? q.n : 1}, off, y, q.n, bad);
    unsigned long long differ = take(bad);
    report(name, 2.0 * rows * q.n * q.k, median_ms(call), differ);
    for (void *p : {(void *)x, (void *)w, (void *)y, (void *)off})
        SY_CUDA(cudaFree(p));
}

static void time_gated(const char *name, const problem &q, long rows) {
    size_t f = q.n;
    bf16 *x = device_random((size_t)q.rows() * q.k, 1), *w1 = device_random(q.groups() * f * q.k, 0.02f);
    bf16 *w3 = device_random(q.groups() * f * q.k, 0.02f), *gu = device_new<bf16>(q.rows() * 2 * f);
    bf16 *h = device_new<bf16>(q.rows() * f);
    int *off = to_device(q.offsets);
    gated op(q, x, w1, w3, gu, h, off);
    op.run();
    unsigned long long *bad = wrong_count();
    check_columns(q, {x, 0, q.k, 1}, {w1, (long)f * q.k, q.k, 1}, off, gu, 2 * f, bad);
    check_columns(q, {x, 0, q.k, 1}, {w3, (long)f * q.k, q.k, 1}, off, gu + f, 2 * f, bad);
    reference_h<<<1024, 256>>>(gu, h, q.rows(), q.n, bad);
    unsigned long long differ = take(bad);
    report(name, 4.0 * rows * f * q.k, median_ms([&] { op.run(); }), differ);
    for (void *p : {(void *)x, (void *)w1, (void *)w3, (void *)gu, (void *)h, (void *)off})
        SY_CUDA(cudaFree(p));
}

static void time_weight_gradient(const char *name, const problem &q, long rows, int fold) {
    bf16 *dy = device_random((size_t)q.rows() * q.m, 0.1f), *x = device_random((size_t)q.rows() * q.n, 1);
    float *dw = device_new<float>((size_t)q.groups() * q.m * q.n);
    int *off = to_device(q.offsets);
    weight_gradient op(q, dy, x, dw, off);
    op.run(0);
    unsigned long long *bad = wrong_count();
    reference_kernel<<<dim3((q.m + 15) / 16, (q.n + 63) / 64, q.groups()), 256>>>(
        {dy, 0, 1, q.m}, {x, 0, 1, q.n}, off, q.groups(), 1, q.m, q.n, 0, NULL, dw, 0, bad);
    unsigned long long differ = take(bad);
    report(name, 2.0 * rows * q.m * q.n, median_ms([&] { op.run(fold); }), differ);
    for (void *p : {(void *)dy, (void *)x, (void *)dw, (void *)off})
        SY_CUDA(cudaFree(p));
}

// Rows of each expert when every token chooses `top` of `experts` at random; segments end on multiples of
// 16.
static std::vector<int> random_routing(int tokens, int experts, int top) {
    std::vector<int> count(experts), offsets(experts + 1);
    for (int t = 0; t < tokens; t++) {
        std::vector<char> chosen(experts);
        for (int i = 0; i < top;) {
            int e = (int)(random_bits() >> 20) % experts;
            e = e < 0 ? -e : e;
            if (!chosen[e]) {
                chosen[e] = 1;
                count[e]++;
                i++;
            }
        }
    }
    for (int e = 0; e < experts; e++)
        offsets[e + 1] = offsets[e] + (count[e] + 15) / 16 * 16;
    return offsets;
}

static void time_experts(const char *name, int tokens, int d, int f, int experts, int top) {
    std::vector<int> off = random_routing(tokens, experts, top);
    long rows = (long)tokens * top;
    char what[80];
    snprintf(what, sizeof what, "%s up+SwiGLU", name);
    time_gated(what, {off, 0, f, d}, rows);
    snprintf(what, sizeof what, "%s down", name);
    time_linear(what, {off, 0, d, f}, 0, rows);
    snprintf(what, sizeof what, "%s dx of down", name);
    time_linear(what, {off, 0, f, d}, 1, rows);
    snprintf(what, sizeof what, "%s dx of up", name);
    time_linear(what, {off, 0, d, 2 * f}, 1, rows);
    snprintf(what, sizeof what, "%s dW up, leaf", name);
    time_weight_gradient(what, {off, 2 * f, d, 0}, rows, 0);
    snprintf(what, sizeof what, "%s dW down, leaf", name);
    time_weight_gradient(what, {off, d, f, 0}, rows, 0);
    snprintf(what, sizeof what, "%s dW up, fold", name);
    time_weight_gradient(what, {off, 2 * f, d, 0}, rows, 1);
    snprintf(what, sizeof what, "%s dW down, fold", name);
    time_weight_gradient(what, {off, d, f, 0}, rows, 1);
}

static int times() {
    time_linear("dense 8192 x 8192 x 8192", {{0, 8192}, 0, 8192, 8192}, 0, 8192);
    time_linear("dense 16384 x 2048 x 2048", {{0, 16384}, 0, 2048, 2048}, 0, 16384);
    time_linear("dense 16384 x 10944 x 2048", {{0, 16384}, 0, 10944, 2048}, 0, 16384);
    time_linear("dense dx 16384 x 2048 x 2048", {{0, 16384}, 0, 2048, 2048}, 1, 16384);
    time_weight_gradient("dense dW 2048 x 2048, 16384 rows", {{0, 16384}, 2048, 2048, 0}, 16384, 0);
    time_experts("dsv3-16b", 16384, 2048, 1408, 64, 6);
    time_experts("qwen3-30b", 16384, 2048, 768, 128, 8);
    return verdict.wrong != 0;
}

#endif
