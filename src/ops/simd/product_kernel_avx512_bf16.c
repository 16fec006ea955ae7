/* Micro-tiles of the tier avx512_bf16. Class x86 by VDPBF16PS, the instruction whose steps define it: a pair
 * of rows a word, the odd one first, subnormals flushed (NUMERICS 1). The others are the tier avx512's.
 *
 * 14 x 32 outputs: 28 of the 32 registers are accumulators; from 6 rows on they hide the instruction's
 * latency of 6 cycles. Fewer rows than that are three at most by 4 panels, where they lie.
 * words_avx512_bf16.h has words and packing.
 */
#include "ops/simd/words_avx512_bf16.h"

enum { MR = 14, NR = 32, LANES = 16 };

const struct product_kernel *sy_product_kernel_avx512(enum sy_numeric_class cls);

/* --- chains --------------------------------------------------------------------------------------------- */

#define INLINE static inline __attribute__((always_inline))

struct operands {
    const uint32_t *a, *b;
    const char *next;
};

/* `steps` steps, and at each of them the line at `to` fetched, if any, then `apart` bytes behind it. */
INLINE void chains(const int rows, __m512 c[MR][2], struct operands *o, int64_t steps, const char *to,
                   int64_t apart) {
    for (; steps > 0; steps--, o->a += LANES, o->b += NR, o->next += 64) {
        __m512bh b0 = (__m512bh)_mm512_loadu_si512(o->b), b1 = (__m512bh)_mm512_loadu_si512(o->b + 16);
        _mm_prefetch(o->next, _MM_HINT_T1);
        if (to) {
            _mm_prefetch(to, _MM_HINT_T0);
            to += apart;
        }
        for (int i = 0; i < rows; i++) {
            __m512bh ai = (__m512bh)_mm512_set1_epi32((int)o->a[i]);
            c[i][0] = _mm512_dpbf16_ps(c[i][0], ai, b0);
            c[i][1] = _mm512_dpbf16_ps(c[i][1], ai, b1);
        }
    }
}

/* What is to be added to is fetched while the chains go on: a line a step, of every row the first, then the
 * second. */
INLINE void tile(const int rows, const struct micro *t) {
    __m512 c[MR][2];
    struct operands o = {t->a, t->b, t->next};
    int64_t apart = t->to_row * (int64_t)sizeof(float), left = t->steps;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < 2; j++)
            c[i][j] = t->from ? _mm512_loadu_ps(t->from + i * t->from_row + j * 16) : _mm512_setzero_ps();
    for (int j = 0; t->end == MICRO_FOLD && j < 2 && left >= rows; j++, left -= rows)
        chains(rows, c, &o, rows, (const char *)t->to + 64 * j, apart);
    chains(rows, c, &o, left, NULL, 0);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < 2; j++)
            end(t, i, j, t->end == MICRO_CUT ? c[i][j] : _mm512_add_ps(c[i][j], _mm512_setzero_ps()));
}

#define SY_ROWS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#define X(n) \
    static void tile_##n(const struct micro *t) { tile(n, t); }
SY_ROWS(X)
#undef X

static void micro(int rows, const struct micro *t) {
    static void (*const of[MR + 1])(const struct micro *) = {NULL,
#define X(n) tile_##n,
                                                             SY_ROWS(X)
#undef X
    };
    of[rows](t);
}

/* --- few rows ------------------------------------------------------------------------------------------- */

static inline int word_at(const uint16_t *stored) {
    int w;
    memcpy(&w, stored, sizeof w);
    return w;
}

static inline __attribute__((always_inline)) void few_chains(const int rows, const int panels,
                                                             const struct few *t) {
    __m512 c[FEW_ROWS][2 * FEW_PANELS];
    const uint16_t *a = t->a.data;
    const uint32_t *b = t->b;
    int64_t panel = t->steps * NR;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < 2 * panels; j++)
            c[i][j] = _mm512_setzero_ps();
    for (int64_t p = 0; p < t->steps; p++, b += NR)
        for (int j = 0; j < 2 * panels; j++) {
            __m512bh bj = (__m512bh)_mm512_loadu_si512(b + j / 2 * panel + j % 2 * 16);
            for (int i = 0; i < rows; i++)
                c[i][j] = _mm512_dpbf16_ps(
                    c[i][j], (__m512bh)_mm512_set1_epi32(word_at(a + i * t->a.row + 2 * p)), bj);
        }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < 2 * panels; j++)
            _mm512_storeu_ps(t->to + i * t->to_row + 16 * j, _mm512_add_ps(c[i][j], _mm512_setzero_ps()));
}

#define FEW(rows)                                             \
    static void few_##rows(int panels, const struct few *t) { \
        if (panels == FEW_PANELS)                             \
            few_chains(rows, FEW_PANELS, t);                  \
        else                                                  \
            few_chains(rows, 1, t);                           \
    }
FEW(1)
FEW(2)
FEW(3)
#undef FEW

static void few(int rows, int panels, const struct few *t) {
    static void (*const of[FEW_ROWS + 1])(int, const struct few *) = {NULL, few_1, few_2, few_3};
    of[rows](panels, t);
}

static const struct product_kernel pairs = {.mr = MR,
                                            .nr = NR,
                                            .lanes = LANES,
                                            .per_word = 2,
                                            .panels = 1,
                                            .kc = {2048, 512},
                                            .stays = 1 << 17,
                                            .pack = pack_steps,
                                            .micro = micro,
                                            .few = few};

const struct product_kernel *SY_FN(product_kernel)(enum sy_numeric_class cls) {
    return cls == SY_NUMERIC_X86 ? &pairs : sy_product_kernel_avx512(cls);
}
