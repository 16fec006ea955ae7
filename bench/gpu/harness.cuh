// What the two programs share: memory, random operands by regime, comparison of bits, times.
#ifndef SY_BENCH_GPU_HARNESS_CUH
#define SY_BENCH_GPU_HARNESS_CUH

#include "host.cuh"

#include <algorithm>
#include <string.h>
#include <vector>

typedef uint16_t bf16;

static uint64_t harness_state = 1;
static inline uint64_t random_bits() {
    uint64_t z = (harness_state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

// --- memory --------------------------------------------------------------------------------------------

template <class T> T *device_new(size_t n) { // poisoned: NaN in bf16 and fp32
    T *p;
    SY_CUDA(cudaMalloc(&p, n * sizeof(T) + 256));
    SY_CUDA(cudaMemset(p, 0xff, n * sizeof(T)));
    return p;
}
template <class T> T *to_device(const std::vector<T> &v) {
    T *p = device_new<T>(v.size());
    SY_CUDA(cudaMemcpy(p, v.data(), v.size() * sizeof(T), cudaMemcpyHostToDevice));
    return p;
}
template <class T> std::vector<T> to_host(const T *p, size_t n) {
    std::vector<T> v(n);
    SY_CUDA(cudaMemcpy(v.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost));
    return v;
}

// --- operands ------------------------------------------------------------------------------------------

static const char *const regimes[] = {"ordinary",          "wide exponents", "subnormal operands",
                                      "subnormal results", "zeros and huge", "+0 and -0",
                                      "cancellation",      "overflow",       "Inf and NaN"};
enum { N_REGIMES = sizeof regimes / sizeof *regimes };

static inline bf16 operand_of(int regime) {
    uint64_t r = random_bits();
    int pick = (int)(r >> 40 & 0x7fff), e = 118 + pick % 10, m = (int)(r & 0x7f),
        sign = (int)(r >> 63) << 15;
    switch (regime) {
    case 1:
        e = 64 + pick % 126;
        break;
    case 2:
        e = pick % 3 ? pick % 3 : 110 + pick % 30;
        break;
    case 3:
        e = 56 + pick % 12;
        break;
    case 4:
        e = pick % 3 ? 150 + pick % 40 : 0;
        m = e ? m : 0;
        break;
    case 5:
        e = m = 0;
        break;
    case 6:
        e = 125 + pick % 3 * (pick % 7 ? 1 : 12);
        m &= 0x60;
        break;
    case 7:
        e = 185 + pick % 8;
        break;
    case 8:
        e = pick % 501 == 0 ? 255 : pick % 31 == 0 ? 0 : e;
        m = pick % 1503 ? (e == 255 || e == 0 ? 0 : m) : m;
        break;
    }
    return (bf16)(sign | e << 7 | m);
}
static inline std::vector<bf16> operands(size_t n, int regime) {
    std::vector<bf16> v(n);
    for (auto &x : v)
        x = operand_of(regime);
    return v;
}

// About normal, of the given deviation: for times, and for scores of a usual size.
__global__ static void fill_kernel(bf16 *p, size_t n, float deviation, uint64_t seed) {
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n;
         i += (size_t)gridDim.x * blockDim.x) {
        uint64_t z = (i + seed) * 0x9e3779b97f4a7c15ull;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        z ^= z >> 31;
        float sum = 0;
        for (int k = 0; k < 4; k++)
            sum += (float)(z >> 16 * k & 0xffff) * (1.0f / 65536.0f) - 0.5f;
        p[i] = (bf16)(ptx::bf16_pair(sum * 1.7320508f * deviation, 0) & 0xffff);
    }
}
static inline bf16 *device_random(size_t n, float deviation) {
    bf16 *p = device_new<bf16>(n);
    fill_kernel<<<2048, 256>>>(p, n, deviation, random_bits());
    SY_CUDA(cudaGetLastError());
    return p;
}

// --- comparison: equal bits, all NaN alike -------------------------------------------------------------

static inline bool same_bits(bf16 a, bf16 b) {
    return a == b || ((a & 0x7fff) > 0x7f80 && (b & 0x7fff) > 0x7f80);
}
static inline bool same_bits(float a, float b) {
    uint32_t x, y;
    memcpy(&x, &a, 4);
    memcpy(&y, &b, 4);
    return x == y || (a != a && b != b);
}
struct verdicts {
    long cases, outputs, wrong;
};
static verdicts verdict;
// Compares and counts; names the first difference. Returns how many differ.
template <class T>
long compare(const char *what, const std::vector<T> &gpu, const std::vector<T> &cpu, size_t columns) {
    long wrong = 0;
    for (size_t i = 0; i < cpu.size(); i++)
        if (!same_bits(gpu[i], cpu[i]) && wrong++ == 0) {
            uint32_t x = 0, y = 0;
            memcpy(&x, &gpu[i], sizeof(T));
            memcpy(&y, &cpu[i], sizeof(T));
            printf("  DIFFERS %s: first at row %zu column %zu: gpu %08x, cpu %08x\n", what, i / columns,
                   i % columns, x, y);
        }
    if (wrong)
        printf("  DIFFERS %s: %ld of %zu\n", what, wrong, cpu.size());
    verdict.cases++;
    verdict.outputs += (long)cpu.size();
    verdict.wrong += wrong;
    return wrong;
}

// --- times ---------------------------------------------------------------------------------------------

// Median milliseconds of one call: warm-up, then device events around each of n.
template <class F> float median_ms(F call, int n = 15, int warm_up = 4) {
    for (int i = 0; i < warm_up; i++)
        call();
    std::vector<cudaEvent_t> at(n + 1);
    for (auto &e : at)
        SY_CUDA(cudaEventCreate(&e));
    SY_CUDA(cudaEventRecord(at[0]));
    for (int i = 0; i < n; i++) {
        call();
        SY_CUDA(cudaEventRecord(at[i + 1]));
    }
    SY_CUDA(cudaDeviceSynchronize());
    std::vector<float> t(n);
    for (int i = 0; i < n; i++)
        SY_CUDA(cudaEventElapsedTime(&t[i], at[i], at[i + 1]));
    for (auto &e : at)
        cudaEventDestroy(e);
    std::sort(t.begin(), t.end());
    return t[n / 2];
}

static inline int multiprocessors() {
    cudaDeviceProp p;
    SY_CUDA(cudaGetDeviceProperties(&p, 0));
    if (p.major != 9) {
        fprintf(stderr, "%s is not a Hopper GPU (compute capability 9.0)\n", p.name);
        exit(77);
    }
    int driver = 0;
    cudaDriverGetVersion(&driver);
    printf("%s, %d multiprocessors, CUDA driver %d\n", p.name, p.multiProcessorCount, driver);
    return p.multiProcessorCount;
}

#endif
