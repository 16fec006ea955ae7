/* Micro-tiles of the tier amx. Class amx by TDPBF16PS, the instruction whose steps define it: a block of 32
 * rows, even and odd ones in sums of their own, flushed (NUMERICS 1). The others are the tier avx512_bf16's.
 *
 * 16 x 64 outputs in four tiles of sums, which hide most of the instruction's latency of 52 cycles at one in
 * 16. A block of the right-hand side, 16 steps of a panel, is four tiles as it lies; of the left-hand side, 16
 * words of a row side by side, row after row:
 *
 *     left     [blocks][16 rows][16 words]
 */
#include "ops/simd/tiles_amx.h"
#include "ops/simd/words_avx512_bf16.h"

enum { LANES = TILE_ROWS, NR = 64, ROW_BYTES = 4 * TILE_WORDS, PANEL_BYTES = 4 * NR };

const struct product_kernel *sy_product_kernel_avx512_bf16(enum sy_numeric_class cls);

/* --- packing -------------------------------------------------------------------------------------------- */

/* Rows behind the last stay as they are: no tile reads them. */
static void pack_left(const struct lanes *l, uint32_t *dst) {
    for (int64_t p = 0; p < l->k_pad; p += 2 * TILE_WORDS, dst += TILE) {
        __m512i r[TILE_ROWS];
        if (l->v.row == 1) {
            for (int q = 0; q < TILE_WORDS; q++)
                r[q] = interleaved(l, p + 2 * q);
            transpose_16x16(r);
        } else if (l->v.col == 1) {
            for (int i = 0; i < l->n; i++)
                r[i] = words_of(l, i, p);
        } else {
            for (int i = 0; i < l->n; i++) {
                uint32_t word[TILE_WORDS];
                for (int q = 0; q < TILE_WORDS; q++)
                    word[q] = (uint32_t)element(l, i, p + 2 * q) | (uint32_t)element(l, i, p + 2 * q + 1)
                                                                       << 16;
                r[i] = _mm512_loadu_si512(word);
            }
        }
        for (int i = 0; i < l->n; i++)
            _mm512_storeu_si512(dst + i * TILE_WORDS, r[i]);
    }
}

static void pack(const struct lanes *l, uint32_t *dst, int64_t stride) {
    if (l->left)
        pack_left(l, dst);
    else
        pack_steps(l, dst, stride);
}

/* --- chains --------------------------------------------------------------------------------------------- */

static void load_sums(const float *from, int64_t row) {
    const int64_t bytes = row * (int64_t)sizeof *from;
    _tile_loadd(0, from, bytes);
    _tile_loadd(1, from + 16, bytes);
    _tile_loadd(2, from + 32, bytes);
    _tile_loadd(3, from + 48, bytes);
}

static void store_sums(float *to, int64_t row) {
    const int64_t bytes = row * (int64_t)sizeof *to;
    _tile_stored(0, to, bytes);
    _tile_stored(1, to + 16, bytes);
    _tile_stored(2, to + 32, bytes);
    _tile_stored(3, to + 48, bytes);
}

static void micro(int rows, const struct micro *t) {
    _Alignas(64) float sums[TILE_ROWS * NR];
    const uint32_t *a = t->a, *b = t->b;
    const char *next = t->next;
    sy_amx_tiles(rows);
    memory_is_read(t);
    if (t->from) {
        load_sums(t->from, t->from_row);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t p = t->steps; p > 0; p -= TILE_WORDS, a += TILE, b += TILE_WORDS * NR) {
        for (int q = 0; q < TILE_WORDS; q++, next += 64)
            _mm_prefetch(next, _MM_HINT_T1);
        _tile_loadd(4, a, ROW_BYTES);
        _tile_loadd(5, b, PANEL_BYTES);
        _tile_dpbf16ps(0, 4, 5);
        _tile_loadd(6, b + 16, PANEL_BYTES);
        _tile_dpbf16ps(1, 4, 6);
        _tile_loadd(7, b + 32, PANEL_BYTES);
        _tile_dpbf16ps(2, 4, 7);
        _tile_loadd(5, b + 48, PANEL_BYTES);
        _tile_dpbf16ps(3, 4, 5);
    }
    if (t->end == MICRO_CUT) {
        store_sums(t->to, t->to_row);
        return;
    }
    store_sums(sums, NR);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < NR / 16; j++)
            end(t, i, j, _mm512_add_ps(_mm512_load_ps(sums + i * NR + j * 16), _mm512_setzero_ps()));
}

static const struct product_kernel tiles = {.mr = TILE_ROWS,
                                            .nr = NR,
                                            .lanes = LANES,
                                            .per_word = 2,
                                            .panels = 1,
                                            .kc = {2048, 512},
                                            .stays = 1 << 17,
                                            .pack = pack,
                                            .micro = micro};

const struct product_kernel *SY_FN(product_kernel)(enum sy_numeric_class cls) {
    return cls == SY_NUMERIC_AMX ? &tiles : sy_product_kernel_avx512_bf16(cls);
}
