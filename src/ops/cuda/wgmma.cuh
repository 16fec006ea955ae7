// wgmma by the number of accumulators: d[N / 2] is 64 x N of a warpgroup. Descriptors and fences: ptx.cuh.
//
//     wgmma_ss<B_MN, A_MN>(d, a, b, go_on)
//                                       a, b in shared memory: d = a b, or d + a b with go_on; 1: MN-major
//     wgmma_first(d, a, b)              both K-major in shared memory: d = a b; what d held is of no account,
//                                       so that its registers serve others until then
//     wgmma_rs(d, a, b)                 a in registers, b in shared memory and MN-major: d + a b
//     wgmma_wait_for<N>(d)              until at most N groups are open; d is read behind it: were it not
//                                       named, the compiler might read it before (C7514: all serialised)
#ifndef SY_OPS_CUDA_WGMMA_CUH
#define SY_OPS_CUDA_WGMMA_CUH

#include "ops/cuda/ptx.cuh"

#ifndef SY_ON_CPU // else tests/ops/ptx_on_cpu.h has them

namespace ptx {

#define SY_ACC8(d, i)                                                                           \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
        "+f"(d[i + 6]), "+f"(d[i + 7])
#define SY_ACC32(d, i) SY_ACC8(d, i), SY_ACC8(d, i + 8), SY_ACC8(d, i + 16), SY_ACC8(d, i + 24)
#define SY_ACC64(d, i) SY_ACC32(d, i), SY_ACC32(d, i + 32)
#define SY_NAMES_0_63                                                                                      \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, " \
    "%22, %23, "                                                                                           \
    "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, " \
    "%44, %45, "                                                                                           \
    "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define SY_NAMES_64_127                                                                                    \
    "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, " \
    "%84, %85, "                                                                                           \
    "%86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, " \
    "%105, "                                                                                               \
    "%106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, "     \
    "%122, %123, "                                                                                         \
    "%124, %125, %126, %127"
#define SY_WGMMA_24                                                          \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23"
#define SY_WGMMA_32                                                          \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define SY_WGMMA_96                                                                    \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "           \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
    "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
    "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define SY_WGMMA_64 SY_NAMES_0_63
#define SY_OUT8(d, i)                                                                           \
    "=f"(d[i]), "=f"(d[i + 1]), "=f"(d[i + 2]), "=f"(d[i + 3]), "=f"(d[i + 4]), "=f"(d[i + 5]), \
        "=f"(d[i + 6]), "=f"(d[i + 7])
#define SY_OUT24(d, i) SY_OUT8(d, i), SY_OUT8(d, i + 8), SY_OUT8(d, i + 16)
#define SY_OUT32(d, i) SY_OUT24(d, i), SY_OUT8(d, i + 24)
#define SY_ACC24(d, i) SY_ACC8(d, i), SY_ACC8(d, i + 8), SY_ACC8(d, i + 16)
#define SY_ACC96(d, i) SY_ACC64(d, i), SY_ACC32(d, i + 64)

template <int B_MN, int A_MN = 0> SY_DEV void wgmma_ss(float (&d)[24], uint64_t a, uint64_t b, int go_on) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %26, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n48k16.f32.bf16.bf16 {" SY_WGMMA_24
                 "}, %24, %25, p, 1, 1, %27, %28;\n}"
                 : SY_ACC24(d, 0)
                 : "l"(a), "l"(b), "r"(go_on), "n"(A_MN), "n"(B_MN));
}
template <int B_MN, int A_MN = 0> SY_DEV void wgmma_ss(float (&d)[32], uint64_t a, uint64_t b, int go_on) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" SY_WGMMA_32
                 "}, %32, %33, p, 1, 1, %35, %36;\n}"
                 : SY_ACC32(d, 0)
                 : "l"(a), "l"(b), "r"(go_on), "n"(A_MN), "n"(B_MN));
}
template <int B_MN, int A_MN = 0> SY_DEV void wgmma_ss(float (&d)[64], uint64_t a, uint64_t b, int go_on) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" SY_WGMMA_64
                 "}, %64, %65, p, 1, 1, %67, %68;\n}"
                 : SY_ACC64(d, 0)
                 : "l"(a), "l"(b), "r"(go_on), "n"(A_MN), "n"(B_MN));
}
template <int B_MN, int A_MN = 0> SY_DEV void wgmma_ss(float (&d)[96], uint64_t a, uint64_t b, int go_on) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %98, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 {" SY_WGMMA_96
                 "}, %96, %97, p, 1, 1, %99, %100;\n}"
                 : SY_ACC96(d, 0)
                 : "l"(a), "l"(b), "r"(go_on), "n"(A_MN), "n"(B_MN));
}
template <int B_MN, int A_MN = 0> SY_DEV void wgmma_ss(float (&d)[128], uint64_t a, uint64_t b, int go_on) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {" SY_NAMES_0_63 ", " SY_NAMES_64_127
                 "}, %128, %129, p, 1, 1, %131, %132;\n}"
                 : SY_ACC64(d, 0), SY_ACC64(d, 64)
                 : "l"(a), "l"(b), "r"(go_on), "n"(A_MN), "n"(B_MN));
}
SY_DEV void wgmma_first(float (&d)[24], uint64_t a, uint64_t b) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 0, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n48k16.f32.bf16.bf16 {" SY_WGMMA_24
                 "}, %24, %25, p, 1, 1, 0, 0;\n}"
                 : SY_OUT24(d, 0)
                 : "l"(a), "l"(b));
}
SY_DEV void wgmma_first(float (&d)[32], uint64_t a, uint64_t b) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 0, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" SY_WGMMA_32
                 "}, %32, %33, p, 1, 1, 0, 0;\n}"
                 : SY_OUT32(d, 0)
                 : "l"(a), "l"(b));
}
SY_DEV void wgmma_rs(float (&d)[32], const uint32_t *a, uint64_t b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" SY_WGMMA_32
                 "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 1;"
                 : SY_ACC32(d, 0)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
SY_DEV void wgmma_rs(float (&d)[64], const uint32_t *a, uint64_t b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" SY_WGMMA_64
                 "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 1;"
                 : SY_ACC64(d, 0)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
SY_DEV void wgmma_rs(float (&d)[96], const uint32_t *a, uint64_t b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 {" SY_WGMMA_96
                 "}, {%96, %97, %98, %99}, %100, 1, 1, 1, 1;"
                 : SY_ACC96(d, 0)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
template <int N> SY_DEV void wgmma_wait_for(float (&d)[24]) {
    asm volatile("wgmma.wait_group.sync.aligned %24;" : SY_ACC24(d, 0) : "n"(N) : "memory");
}
template <int N> SY_DEV void wgmma_wait_for(float (&d)[32]) {
    asm volatile("wgmma.wait_group.sync.aligned %32;" : SY_ACC32(d, 0) : "n"(N) : "memory");
}
template <int N> SY_DEV void wgmma_wait_for(float (&d)[64]) {
    asm volatile("wgmma.wait_group.sync.aligned %64;" : SY_ACC64(d, 0) : "n"(N) : "memory");
}
template <int N> SY_DEV void wgmma_wait_for(float (&d)[96]) {
    asm volatile("wgmma.wait_group.sync.aligned %96;" : SY_ACC96(d, 0) : "n"(N) : "memory");
}
template <int N> SY_DEV void wgmma_wait_for(float (&d)[128]) {
    asm volatile("wgmma.wait_group.sync.aligned %128;" : SY_ACC64(d, 0), SY_ACC64(d, 64) : "n"(N) : "memory");
}

} // namespace ptx

#endif

#endif
