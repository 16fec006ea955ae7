/* A tile of a product of class x86 by VDPBF16PS, the instruction whose steps define the class: a pair of rows
 * a time, the odd one first, subnormals flushed (NUMERICS 1). Same loops as ops/ref/product.c: blocks of KC
 * rows, an accumulator that is reloaded. Classes fp32 and sm90 are the tier avx512's.
 *
 * Packed, a word is a pair (rows 2p, 2p + 1) of one column, the even row in its low half:
 *
 *     a[MC, KC/2]               one row a row of the tile
 *     b[n/NR][k/2, NR]          panels of NR columns; of a block of KC rows, or of a whole operand, once
 */
#include <immintrin.h>

#include "ops/ref/products.h"
#include "ops/ref/protos.h"

enum { MR = 8, NR = 32, KC = 512, PAIRS = KC / 2 };

void sy_product_tile_avx512(const struct sy_exec *x, const struct product *p, const struct outputs *o,
                            void *scratch);
size_t sy_pack_bytes_avx512(const struct sy_exec *x, struct sy_mat m, int64_t k, int64_t n);
void sy_pack_avx512(const struct sy_exec *x, const struct sy_pack *op);

static uint32_t pair(uint16_t even, uint16_t odd) { return (uint32_t)even | (uint32_t)odd << 16; }

static uint32_t load_pair(const uint16_t *p) {
    uint32_t u;
    memcpy(&u, p, sizeof u);
    return u;
}

/* --- packing -------------------------------------------------------------------------------------------- */

/* 16 rows of 16 words become its columns: words, then pairs, then fours of words change places. */
static inline void transpose(__m512i r[16]) {
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

static inline __m512i pairs_of(const uint16_t *even, const uint16_t *odd) {
    __m512i lo = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)even));
    __m512i hi = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)odd));
    return _mm512_or_si512(lo, _mm512_slli_epi32(hi, 16));
}

/* Element (i, p) of a matrix, +0 past the last column. */
static uint16_t element(struct sy_mat a, int64_t i, int64_t p, int64_t k) {
    return p < k ? ((const uint16_t *)a.data)[i * a.row + p * a.col] : 0;
}

struct words { /* rows i0..i1-1, pairs p0..p1-1 */
    int64_t i0, i1, p0, p1;
};

/* dst[i, p] = these words of a, one by one. */
static void pack_words(struct sy_mat a, int64_t k, struct words w, uint32_t *dst) {
    for (int64_t i = w.i0; i < w.i1; i++)
        for (int64_t p = w.p0; p < w.p1; p++)
            dst[i * PAIRS + p] = pair(element(a, i, 2 * p, k), element(a, i, 2 * p + 1, k));
}

/* a[m, k]; an odd k is filled with a row of zeros. */
static void pack_a(struct sy_mat a, int64_t m, int64_t k, uint32_t *dst) {
    const uint16_t *s = a.data;
    int64_t pairs = (k + 1) / 2, whole = k / 32 * 16, rows = a.row == 1 ? m / 16 * 16 : 0;
    if (a.col == 1) {
        for (int64_t i = 0; i < m; i++)
            memcpy(dst + i * PAIRS, s + i * a.row, (size_t)(k / 2) * sizeof *dst);
        pack_words(a, k, (struct words){0, m, k / 2, pairs}, dst);
        return;
    }
    for (int64_t i = 0; i < rows; i += 16)
        for (int64_t p = 0; p < whole; p += 16) { /* rows of a are contiguous down a column */
            __m512i r[16];
            for (int q = 0; q < 16; q++)
                r[q] = pairs_of(s + 2 * (p + q) * a.col + i, s + (2 * (p + q) + 1) * a.col + i);
            transpose(r);
            for (int q = 0; q < 16; q++)
                _mm512_storeu_si512(dst + (i + q) * PAIRS + p, r[q]);
        }
    pack_words(a, k, (struct words){0, rows, whole, pairs}, dst);
    pack_words(a, k, (struct words){rows, m, 0, pairs}, dst);
}

/* A panel of n <= NR columns of b[k, n], rows contiguous. */
static void panel_by_rows(const uint16_t *s, int64_t row, int64_t k, int64_t n, uint32_t *dst) {
    static const uint16_t zeros[NR];
    for (int64_t p = 0; p < k; p += 2, dst += NR) {
        const uint16_t *r0 = s + p * row, *r1 = p + 1 < k ? r0 + row : zeros;
        if (n == NR) {
            _mm512_storeu_si512(dst, pairs_of(r0, r1));
            _mm512_storeu_si512(dst + 16, pairs_of(r0 + 16, r1 + 16));
        } else {
            for (int64_t j = 0; j < n; j++)
                dst[j] = pair(r0[j], r1[j]);
        }
    }
}

/* The same, columns contiguous: words are read as they are. */
static void panel_by_columns(struct sy_mat b, int64_t k, int64_t n, uint32_t *dst) {
    const uint16_t *s = b.data;
    int64_t whole = n == NR ? k / 32 * 16 : 0;
    for (int64_t j = 0; j < NR; j += 16)
        for (int64_t p = 0; p < whole; p += 16) {
            __m512i r[16];
            for (int q = 0; q < 16; q++)
                r[q] = _mm512_loadu_si512(s + (j + q) * b.col + 2 * p);
            transpose(r);
            for (int q = 0; q < 16; q++)
                _mm512_storeu_si512(dst + (p + q) * NR + j, r[q]);
        }
    for (int64_t p = whole; 2 * p < k; p++)
        for (int64_t j = 0; j < n; j++)
            dst[p * NR + j] = 2 * p + 1 < k ? load_pair(s + j * b.col + 2 * p) : s[j * b.col + 2 * p];
}

/* A panel of n <= NR columns of b[k, n], zeros behind them. */
static void panel(struct sy_mat b, int64_t k, int64_t n, uint32_t *dst) {
    const uint16_t *s = b.data;
    int64_t pairs = (k + 1) / 2;
    for (int64_t p = 0; p < pairs && n < NR; p++)
        memset(dst + p * NR + n, 0, (size_t)(NR - n) * sizeof *dst);
    if (b.col == 1) {
        panel_by_rows(s, b.row, k, n, dst);
    } else if (b.row == 1) {
        panel_by_columns(b, k, n, dst);
    } else {
        for (int64_t p = 0; p < k; p += 2)
            for (int64_t q = 0; q < n; q++)
                dst[p / 2 * NR + q] =
                    pair(s[p * b.row + q * b.col], p + 1 < k ? s[(p + 1) * b.row + q * b.col] : 0);
    }
}

static void pack_b(struct sy_mat b, int64_t k, int64_t n, uint32_t *dst) {
    for (int64_t j = 0; j < n; j += NR, dst += PAIRS * NR)
        panel(sy_mat_cols(b, j), k, least(n - j, NR), dst);
}

/* --- a right-hand side once and for all ----------------------------------------------------------------- */

static int64_t panel_words(int64_t k) { return (k + 1) / 2 * NR; }

size_t SY_FN(pack_bytes)(const struct sy_exec *x, struct sy_mat m, int64_t k, int64_t n) {
    if (x->cls != SY_NUMERIC_X86)
        return sy_pack_bytes_avx512(x, m, k, n);
    return (size_t)((n + NR - 1) / NR * panel_words(k)) * sizeof(uint32_t);
}

static void pack_part(void *arg, int thread, int n_threads) {
    const struct sy_pack *op = arg;
    int64_t panels = (op->n + NR - 1) / NR, lo, hi;
    sy_range(op->groups * panels, 1, thread, n_threads, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        int64_t g = i / panels, j = i % panels;
        uint32_t *to = (uint32_t *)((char *)op->packed + g * op->packed_step) + j * panel_words(op->k);
        panel(sy_mat_cols(operand_of(&op->b, g), j * NR), op->k, least(op->n - j * NR, NR), to);
    }
}

void SY_FN(pack)(const struct sy_exec *x, const struct sy_pack *op) {
    if (x->cls == SY_NUMERIC_X86)
        sy_pool_run(pool_for(x, op->groups * op->k * op->n), pack_part, (void *)(uintptr_t)op);
    else
        sy_pack_avx512(x, op);
}

/* --- a tile --------------------------------------------------------------------------------------------- */

/* acc[MR, NR] goes on over `pairs` words. */
static void micro(int64_t pairs, const uint32_t *a, const uint32_t *b, float *acc) {
    __m512 c[MR][2];
    for (int i = 0; i < MR; i++)
        for (int j = 0; j < 2; j++)
            c[i][j] = _mm512_loadu_ps(acc + i * NC + j * 16);
    for (int64_t p = 0; p < pairs; p++) {
        __m512bh b0 = (__m512bh)_mm512_loadu_si512(b + p * NR),
                 b1 = (__m512bh)_mm512_loadu_si512(b + p * NR + 16);
        for (int i = 0; i < MR; i++) {
            __m512bh ai = (__m512bh)_mm512_set1_epi32((int)a[i * PAIRS + p]);
            c[i][0] = _mm512_dpbf16_ps(c[i][0], ai, b0);
            c[i][1] = _mm512_dpbf16_ps(c[i][1], ai, b1);
        }
    }
    for (int i = 0; i < MR; i++)
        for (int j = 0; j < 2; j++)
            _mm512_storeu_ps(acc + i * NC + j * 16, c[i][j]);
}

struct buffers { /* of a thread */
    uint32_t *a, *b;
    float *acc;
};

/* Rows at .. at+k-1 of a slice: acc goes on. */
static void block(const struct k_slice *q, const struct outputs *o, int64_t at, const struct buffers *t) {
    int64_t k = least(q->k - at, KC), b_panel = PAIRS * NR;
    const uint32_t *right = t->b;
    pack_a(sy_mat_cols(sy_mat_rows(q->a, o->i), at), o->m, k, t->a);
    if (q->packed) {
        b_panel = panel_words(q->k);
        right = (const uint32_t *)q->packed + o->j / NR * b_panel + at / 2 * NR;
    } else {
        pack_b(sy_mat_cols(sy_mat_rows(q->b, at), o->j), k, o->n, t->b);
    }
    for (int64_t c = 0; c < o->n; c += NR, right += b_panel)
        for (int64_t r = 0; r < o->m; r += MR)
            micro((k + 1) / 2, t->a + r * PAIRS, right, t->acc + r * NC + c);
}

void SY_FN(product_tile)(const struct sy_exec *x, const struct product *p, const struct outputs *o,
                         void *scratch) {
    uint32_t *a = scratch, *b = a + MC * PAIRS;
    struct buffers t = {a, b, (float *)(b + PAIRS * NC)};
    if (x->cls != SY_NUMERIC_X86) {
        sy_product_tile_avx512(x, p, o, scratch);
        return;
    }
    assert(x->scratch_bytes >= (MC * PAIRS + PAIRS * NC + MC * NC) * sizeof(float) && p->c.col == 1);
    /* rows beyond m are computed and dropped */
    memset(a + o->m * PAIRS, 0, (size_t)((MC - o->m) * PAIRS) * sizeof *a);
    begin_tile(p, o, t.acc);
    for (int64_t q = 0; q < p->n_slices; q++) {
        struct k_slice s = p->slice(p, q);
        assert(s.a.dtype == SY_BF16 && s.b.dtype == SY_BF16);
        for (int64_t at = 0; at < s.k; at += KC)
            block(&s, o, at, &t);
    }
    finish_tile(x, p, o, t.acc);
}
