// gemm_sm90.cuh: bits against class sm90 on the CPU, and times.
//
//   gemm_sm90 check      small shapes in every layout, epilogue and regime of operands, == to the library's ops on the CPU;
//                        a chain with its blocks in reverse order must differ
//   gemm_sm90 time       the shapes of README.md; each one's whole output is first compared on the GPU with mma.sync chains
#include "class_sm90.h"
#include "gemm_sm90.cuh"
#include "harness.cuh"

using namespace gemm_sm90;

struct problem { // rows: of all groups, padded; m, n: TN's outputs; NT and NN: n outputs, k inputs
    std::vector<int> offsets;
    int m, n, k;
    int groups() const { return (int)offsets.size() - 1; }
    int rows() const { return offsets.back(); }
};

static int sms;

static args args_of(const problem &q, int layout, int epi, const int *offsets, float *c) {
    args p = {};
    p.groups = q.groups();
    p.offsets = offsets;
    p.m_tiles = (q.m + BM - 1) / BM;
    p.n_tiles = epi == SWIGLU ? (q.n + BN / 2 - 1) / (BN / 2) : (q.n + BN - 1) / BN;
    p.k_blocks = (q.k + BK - 1) / BK;
    p.m = q.m;
    p.n = q.n;
    p.c = c;
    if (p.groups > MAX_GROUPS) {
        fprintf(stderr, "%d groups: at most %d\n", p.groups, MAX_GROUPS);
        exit(1);
    }
    (void)layout;
    return p;
}

// x [rows, k] and w [E, n, k] (NT), w [E, k, n] (NN): y [rows, n].
template <int LAYOUT> struct linear {
    problem q;
    maps m;
    args p;
    linear(const problem &problem_, const bf16 *x, const bf16 *w, bf16 *y, const int *offsets) : q(problem_) {
        int e = q.groups();
        m.a = operand(x, 0, q.k, q.rows(), q.k, 1, (long)q.k * q.rows());
        m.b[0] = m.b[1] = LAYOUT == NT ? operand(w, 0, q.k, q.n, q.k, e, (long)q.n * q.k)
                                       : operand(w, 1, q.n, q.k, q.n, e, (long)q.n * q.k);
        m.c[0] = m.c[1] = m.c[2] = result(y, q.n, q.rows(), q.n);
        p = args_of(q, LAYOUT, STORE, offsets, NULL);
    }
    void run() { launch<LAYOUT, STORE>(m, p, sms, 0); }
};

// x [rows, k], w1 and w3 [E, f, k]: gu [rows, 2 f], h [rows, f].
struct gated {
    maps m;
    args p;
    gated(const problem &q, const bf16 *x, const bf16 *w1, const bf16 *w3, bf16 *gu, bf16 *h, const int *offsets) {
        int e = q.groups();
        m.a = operand(x, 0, q.k, q.rows(), q.k, 1, (long)q.k * q.rows());
        m.b[0] = operand(w1, 0, q.k, q.n, q.k, e, (long)q.n * q.k);
        m.b[1] = operand(w3, 0, q.k, q.n, q.k, e, (long)q.n * q.k);
        m.c[0] = result(gu, q.n, q.rows(), 2 * q.n);
        m.c[1] = result(gu + q.n, q.n, q.rows(), 2 * q.n);
        m.c[2] = result(h, q.n, q.rows(), q.n);
        p = args_of(q, NT, SWIGLU, offsets, NULL);
    }
    void run() { launch<NT, SWIGLU>(m, p, sms, 0); }
};

// dy [rows, m], x [rows, n]: dw [E, m, n] fp32.
struct weight_gradient {
    maps m;
    args p;
    weight_gradient(const problem &q, const bf16 *dy, const bf16 *x, float *dw, const int *offsets) {
        m.a = operand(dy, 1, q.m, q.rows(), q.m, 1, (long)q.m * q.rows());
        m.b[0] = m.b[1] = operand(x, 1, q.n, q.rows(), q.n, 1, (long)q.n * q.rows());
        m.c[0] = m.c[1] = m.c[2] = m.a;
        p = args_of(q, TN, LEAF, offsets, dw);
    }
    void run(int fold) {
        if (fold)
            launch<TN, FOLD>(m, p, sms, 0);
        else
            launch<TN, LEAF>(m, p, sms, 0);
    }
};

// --- check: against the CPU ------------------------------------------------------------------------------------------------

static void check_linear(const problem &q, int nn, int regime) {
    auto x = operands((size_t)q.rows() * q.k, regime), w = operands((size_t)q.groups() * q.n * q.k, regime);
    std::vector<bf16> y((size_t)q.rows() * q.n);
    for (int g = 0; g < q.groups(); g++) {
        int r0 = q.offsets[g], r1 = q.offsets[g + 1];
        const bf16 *wg = w.data() + (size_t)g * q.n * q.k;
        class_mat b = nn ? class_mat{wg, q.n, 1} : class_mat{wg, 1, q.k};
        class_gemm(r1 - r0, q.n, q.k, {x.data() + (size_t)r0 * q.k, q.k, 1}, b, NULL, 0, y.data() + (size_t)r0 * q.n);
    }
    bf16 *dx = to_device(x), *dw = to_device(w), *dy = device_new<bf16>(y.size());
    int *off = to_device(q.offsets);
    if (nn)
        linear<NN>(q, dx, dw, dy, off).run();
    else
        linear<NT>(q, dx, dw, dy, off).run();
    SY_CUDA(cudaDeviceSynchronize());
    char what[160];
    snprintf(what, sizeof what, "%s rows %d n %d k %d groups %d, %s", nn ? "dx" : "linear", q.rows(), q.n, q.k, q.groups(),
             regimes[regime]);
    compare(what, to_host(dy, y.size()), y, q.n);
    for (void *p : {(void *)dx, (void *)dw, (void *)dy, (void *)off})
        SY_CUDA(cudaFree(p));
}

static void check_gated(const problem &q, int regime) {
    size_t f = q.n, rows = q.rows();
    auto x = operands(rows * q.k, regime), w1 = operands(q.groups() * f * q.k, regime), w3 = operands(w1.size(), regime);
    std::vector<bf16> gu(rows * 2 * f), h(rows * f), part(rows * f);
    for (int g = 0; g < q.groups(); g++)
        for (int side = 0; side < 2; side++) {
            int r0 = q.offsets[g], r1 = q.offsets[g + 1];
            const bf16 *w = (side ? w3 : w1).data() + (size_t)g * f * q.k;
            class_gemm(r1 - r0, f, q.k, {x.data() + (size_t)r0 * q.k, q.k, 1}, {w, 1, q.k}, NULL, 0, part.data());
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
    snprintf(what, sizeof what, "gated rows %d f %d k %d groups %d, %s", q.rows(), q.n, q.k, q.groups(), regimes[regime]);
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
        class_gemm(q.m, q.n, r1 - r0, {dy.data() + (size_t)r0 * q.m, 1, q.m}, {x.data() + (size_t)r0 * q.n, q.n, 1},
                   dw.data() + (size_t)g * q.m * q.n, fold, NULL);
    }
    bf16 *gy = to_device(dy), *gx = to_device(x);
    int *off = to_device(q.offsets);
    weight_gradient(q, gy, gx, gw, off).run(fold);
    SY_CUDA(cudaDeviceSynchronize());
    char what[160];
    snprintf(what, sizeof what, "dw %s rows %d m %d n %d groups %d, %s", fold ? "fold" : "leaf", q.rows(), q.m, q.n, q.groups(),
             regimes[regime]);
    compare(what, to_host(gw, dw.size()), dw, q.n);
    for (void *p : {(void *)gy, (void *)gx, (void *)gw, (void *)off})
        SY_CUDA(cudaFree(p));
}

// The CPU's chain with its blocks of 16 in reverse order: the comparison must see it.
static void check_control() {
    problem q = {{0, 128}, 0, 256, 512};
    auto x = operands((size_t)128 * q.k, 0), w = operands((size_t)q.n * q.k, 0), xr = x, wr = w;
    for (int k = 0; k < q.k; k++) {
        int to = q.k - 16 - k / 16 * 16 + k % 16;
        for (int r = 0; r < 128; r++)
            xr[r * q.k + to] = x[r * q.k + k];
        for (int r = 0; r < q.n; r++)
            wr[r * q.k + to] = w[r * q.k + k];
    }
    std::vector<bf16> y((size_t)128 * q.n), z(y.size());
    class_gemm(128, q.n, q.k, {xr.data(), q.k, 1}, {wr.data(), 1, q.k}, NULL, 0, z.data());
    bf16 *dx = to_device(x), *dw = to_device(w), *dy = device_new<bf16>(y.size());
    int *off = to_device(q.offsets);
    linear<NT>(q, dx, dw, dy, off).run();
    y = to_host(dy, y.size());
    long differ = 0;
    for (size_t i = 0; i < y.size(); i++)
        differ += !same_bits(y[i], z[i]);
    printf("control, blocks of k in reverse order: %ld of %zu outputs differ%s\n", differ, y.size(),
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
    const problem dense[] = {{{0, 128}, 0, 256, 64},    {{0, 16}, 0, 8, 16},       {{0, 7}, 0, 24, 40},
                             {{0, 200}, 0, 264, 136},   {{0, 384}, 0, 520, 1000},  {{0, 2304}, 0, 520, 72},
                             {{0, 130}, 0, 1032, 4096}, {{0, 640}, 0, 136, 8},     {{0, 250}, 0, 2816, 256}};
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
    printf("gemm check: %ld cases, %ld outputs, %ld differ from class sm90 on the CPU\n", verdict.cases, verdict.outputs,
           verdict.wrong);
    return verdict.wrong != 0;
}

// --- time: whole outputs against mma.sync chains, then the clock -----------------------------------------------------------------

struct operand_view { // element (i, k) of group g at p + g*group + i*row + k*step
    const bf16 *p;
    long group, row, step;
};

// A warp per 16 x 8 outputs: rows of a in segments (ends on multiples of 16) or, by_k, segments of k.
__global__ void reference_kernel(operand_view a, operand_view b, const int *offsets, int groups, int by_k, int m, int n, int k,
                                 const bf16 *c16, const float *c32, long c_row, unsigned long long *wrong) {
    int lane = threadIdx.x % 32, tile = blockIdx.y * 8 + threadIdx.x / 32, row = blockIdx.x * 16, column = tile * 8, g = 0;
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
    const bf16 *pa = a.p + (by_k ? 0 : 0) * a.group, *pb = b.p + g * b.group;
    for (int p = k0; p < k1; p += 16) {
        uint32_t fa[4], fb[2];
        for (int i = 0; i < 4; i++) {
            int r = row + lane / 4 + i % 2 * 8, q = p + lane % 4 * 2 + i / 2 * 8;
            uint32_t lo = r < m && q < k1 ? pa[r * a.row + q * a.step] : 0, hi = r < m && q + 1 < k1 ? pa[r * a.row + (q + 1) * a.step] : 0;
            fa[i] = lo | hi << 16;
        }
        for (int i = 0; i < 2; i++) {
            int q = p + lane % 4 * 2 + i * 8;
            long at = (long)(column + lane / 4) * b.row;
            uint32_t lo = q < k1 ? pb[at + q * b.step] : 0, hi = q + 1 < k1 ? pb[at + (q + 1) * b.step] : 0;
            fb[i] = lo | hi << 16;
        }
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
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
    for (long i = blockIdx.x * (long)blockDim.x + threadIdx.x; i < rows * f; i += (long)gridDim.x * blockDim.x) {
        float g = ptx::bf16_low(gu[i / f * 2 * f + i % f]), u = ptx::bf16_low(gu[i / f * 2 * f + f + i % f]);
        float s = __fmul_rn(g, __fdiv_rn(1.0f, __fadd_rn(1.0f, ptx::exp2_whole(__fmul_rn(-g, 1.44269504f)))));
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

static void check_columns(const problem &q, operand_view a, operand_view b, const int *off, const bf16 *y, long y_row,
                          unsigned long long *w) {
    reference_kernel<<<dim3((q.rows() + 15) / 16, (q.n + 63) / 64), 256>>>(a, b, off, q.groups(), 0, q.rows(), q.n, q.k, y, NULL,
                                                                           y_row, w);
}

static void time_linear(const char *name, const problem &q, int nn, long rows) {
    bf16 *x = device_random((size_t)q.rows() * q.k, 1), *w = device_random((size_t)q.groups() * q.n * q.k, 0.02f);
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

// Rows of each expert when every token chooses `top` of `experts` at random; segments end on multiples of 16.
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
