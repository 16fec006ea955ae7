/* The most that this tier's arithmetic could do: the instruction that the class's products are made
 * of, in a loop that touches registers alone. As many chains run side by side as hide the
 * instruction's latency; nothing is loaded or stored.
 *
 *     x86     VDPBF16PS where the tier has it: two products and two sums a lane; else as fp32
 *     fp32    FMA: one product and one sum a lane
 *     amx     TDPBF16PS where the tier has it; else as fp32
 *     sm90    no peak, as it is emulated; nor has tier ref one, which calls fmaf
 */
#include "ops/ref/protos.h"

#if defined(__AMX_BF16__)
#include "ops/simd/tiles_amx.h"
#endif
#if defined(__AVX512F__)
#include <immintrin.h>
enum { LANES = 16, CHAINS = 16 };
typedef __m512 vec;
static inline vec all(float x) { return _mm512_set1_ps(x); }
static inline vec fused(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
enum { LANES = 8, CHAINS = 12 };
typedef __m256 vec;
static inline vec all(float x) { return _mm256_set1_ps(x); }
static inline vec fused(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
#else
#define NO_PEAK 1
#endif

#ifndef NO_PEAK

/* Volatile, so that the compiler neither foresees the chains nor leaves them out. */
static void begin_chains(vec *c, vec *a, vec *b) {
    volatile float one = 1.0f;
    *a = all(one * 0x1p-20f);
    *b = all(one * 0x1p-10f);
    for (int i = 0; i < CHAINS; i++)
        c[i] = all(one + (float)i);
}

static void end_chains(const vec *c) {
    for (int i = 0; i < CHAINS; i++) {
        float x[LANES];
        memcpy(x, &c[i], sizeof x);
        volatile float kept = x[0];
        (void)kept;
    }
}

static double fma_loop(int64_t rounds) {
    vec c[CHAINS], a, b;
    begin_chains(c, &a, &b);
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < CHAINS; i++)
            c[i] = fused(a, b, c[i]);
    end_chains(c);
    return 2.0 * LANES * CHAINS * (double)rounds;
}

#if defined(__AVX512BF16__)
static double dot_loop(int64_t rounds) {
    vec c[CHAINS], a, b;
    begin_chains(c, &a, &b);
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < CHAINS; i++)
            c[i] = _mm512_dpbf16_ps(c[i], (__m512bh)a, (__m512bh)b);
    end_chains(c);
    return 4.0 * LANES * CHAINS * (double)rounds;
}
#endif

#if defined(__AMX_BF16__)
static double tile_loop(int64_t rounds) {
    static const uint32_t some[TILE] = {0x3f803f80u};
    sy_amx_tiles(TILE_ROWS);
    _tile_loadd(4, some, 4 * TILE_WORDS);
    _tile_loadd(5, some, 4 * TILE_WORDS);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t r = 0; r < rounds; r++) {
        _tile_dpbf16ps(0, 4, 5);
        _tile_dpbf16ps(1, 4, 5);
        _tile_dpbf16ps(2, 4, 5);
        _tile_dpbf16ps(3, 4, 5);
    }
    return 4.0 * 4 * TILE * TILE_WORDS * (double)rounds;
}
#endif

struct sy_peak SY_FN(peak)(enum sy_numeric_class cls, int64_t rounds) {
    if (cls == SY_NUMERIC_SM90)
        return (struct sy_peak){NULL, 0};
#if defined(__AMX_BF16__)
    if (cls == SY_NUMERIC_AMX)
        return (struct sy_peak){"TDPBF16PS", tile_loop(rounds)};
#endif
#if defined(__AVX512BF16__)
    if (cls == SY_NUMERIC_X86)
        return (struct sy_peak){"VDPBF16PS", dot_loop(rounds)};
#endif
    return (struct sy_peak){"FMA", fma_loop(rounds)};
}

#else

struct sy_peak SY_FN(peak)(enum sy_numeric_class cls, int64_t rounds) {
    (void)cls;
    (void)rounds;
    return (struct sy_peak){NULL, 0};
}

#endif
