/* The tier amx where there is no AMX: its kernel, its driver and its attention, compiled anew with tile
 * instructions in software (amx_on_cpu.h), TDPBF16PS by FMA. The made-up calls of
 * ops/calls.h in every class, each compared with the reference; a tile instruction with another order is
 * seen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "amx_on_cpu.h"
#include "made_calls.h"
#include "ops/simd/tiles_amx.h"

enum { EDGES = 8, THREADS = 3, TILES = 8 };

/* --- tiles ---------------------------------------------------------------------------------------------- */

struct tile {
    int rows, words;
    uint32_t at[TILE_ROWS][TILE_WORDS];
};
static _Thread_local struct tile tiles[TILES];
static int one_chain;

void soft_config(const void *config) {
    const uint8_t *c = config;
    assert_int_equal(c[0], 1);
    for (int i = 1; i < 16; i++)
        assert_int_equal(c[i], 0);
    for (int i = 0; i < 16; i++) {
        int bytes = c[16 + 2 * i] | c[17 + 2 * i] << 8, rows = c[48 + i];
        assert_true(i < TILES ? bytes <= 64 && bytes % 4 == 0 && rows <= TILE_ROWS : bytes == 0 && rows == 0);
        if (i < TILES)
            tiles[i] = (struct tile){rows, bytes / 4, {{0}}};
    }
}

void soft_zero(int tile) {
    assert_true(tiles[tile].rows > 0);
    memset(tiles[tile].at, 0, sizeof tiles[tile].at);
}

void soft_load(int tile, const void *from, long row_bytes) {
    struct tile *t = &tiles[tile];
    soft_zero(tile);
    for (int i = 0; i < t->rows; i++)
        memcpy(t->at[i], (const char *)from + i * row_bytes, (size_t)t->words * 4);
}

void soft_store(int tile, void *to, long row_bytes) {
    const struct tile *t = &tiles[tile];
    assert_true(t->rows > 0);
    for (int i = 0; i < t->rows; i++)
        memcpy((char *)to + i * row_bytes, t->at[i], (size_t)t->words * 4);
}

/* A row of sums: even and odd products in chains of their own, c + (even + odd), under FTZ and DAZ as MXCSR
 * has them (test_chain.c compares these with integers). one_chain: another order. */
__attribute__((target("avx512f"), noinline)) static void dot_row(const uint32_t *a, const struct tile *b,
                                                                 uint32_t *c) {
    const __m512i high = _mm512_set1_epi32((int)0xffff0000u);
    __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for (int p = 0; p < b->rows; p++) {
        __m512i x = _mm512_set1_epi32((int)a[p]), y = _mm512_loadu_si512(b->at[p]);
        __m512 *odd = &sum[one_chain ? 0 : 1];
        sum[0] = _mm512_fmadd_ps((__m512)_mm512_slli_epi32(x, 16), (__m512)_mm512_slli_epi32(y, 16), sum[0]);
        *odd = _mm512_fmadd_ps((__m512)_mm512_and_si512(x, high), (__m512)_mm512_and_si512(y, high), *odd);
    }
    _mm512_storeu_ps(c, _mm512_add_ps(_mm512_loadu_ps(c), _mm512_add_ps(sum[0], sum[1])));
}

void soft_dot(int sums, int left, int right) {
    struct tile *c = &tiles[sums], *a = &tiles[left], *b = &tiles[right];
    assert_true(sums != left && sums != right && left != right && c->rows > 0);
    assert_true(a->rows == c->rows && b->words == c->words && a->words == b->rows);
    unsigned csr = _mm_getcsr();
    _mm_setcsr(csr | 0x8040u); /* FTZ, DAZ */
    memory_is_read(c);
    for (int i = 0; i < c->rows; i++)
        dot_row(a->at[i], b, c->at[i]);
    memory_is_read(c);
    _mm_setcsr(csr);
}

/* --- the tier ------------------------------------------------------------------------------------------- */

#define OURS(X)                    \
    X(linear, sy_linear)           \
    X(linear_dx, sy_linear_dx)     \
    X(linear_dw, sy_linear_dw)     \
    X(pack, sy_pack)               \
    X(attention_fwd, sy_attention) \
    X(attention_bwd, sy_attention)
size_t sy_pack_bytes_amx_on_cpu(const struct sy_exec *x, struct sy_mat m, int64_t k, int64_t n);
struct sy_peak sy_peak_amx_on_cpu(enum sy_numeric_class cls, int64_t rounds);
#define X(name, type) void sy_##name##_amx_on_cpu(const struct sy_exec *x, const struct type *op);
OURS(X)
#undef X

/* NULL where the tier that it stands on does not run. */
static const struct sy_ops *tier(void) {
    static struct sy_ops table;
    const struct sy_ops *weaker;
    if (sy_ops_select("avx512_bf16", &weaker) != SY_OK)
        return NULL;
    table = *weaker;
    table.tier = "amx on a CPU";
    table.pack_bytes = sy_pack_bytes_amx_on_cpu;
    table.peak = sy_peak_amx_on_cpu;
#define X(name, type) table.name = sy_##name##_amx_on_cpu;
    OURS(X)
#undef X
    return &table;
}

static int is_ours(const char *op) {
#define X(name, type) || strcmp(op, #name) == 0
    return 0 OURS(X);
#undef X
}

/* Of `calls` edge calls of each op and `typical` ones: those that differ. */
static int differing(const struct sy_ops *ops, enum sy_numeric_class cls, int calls, int typical, int say) {
    const char *why;
    struct sy_exec ref = exec_open(sy_ops_tier(0, &why), sy_device_cpu(), cls, 1),
                   x = exec_open(ops, sy_device_cpu(), cls, THREADS);
    int n = 0;
    for (int op = 0; op < sy_calls_n_ops(); op++)
        for (int i = 0; is_ours(sy_calls_op(op)) && i < calls + typical; i++) {
            enum sy_call_size size = i < calls ? SY_CALL_EDGE : SY_CALL_TYPICAL;
            char text[200];
            struct sy_call *want = done(&ref, op, size, (uint64_t)i), *got = done(&x, op, size, (uint64_t)i);
            if (sy_call_differs(got, want, text, sizeof text)) {
                n++;
                if (say)
                    print_error("%s: class %s, call %d\n", text, sy_class_name(cls), i);
            }
            sy_call_destroy(want);
            sy_call_destroy(got);
        }
    exec_close(&ref);
    exec_close(&x);
    return n;
}

static void every_call_is_the_reference(void **state) {
    (void)state;
    const struct sy_ops *ops = tier();
    if (!ops)
        skip();
    for (int cls = 0; cls < SY_N_CLASSES; cls++)
        assert_int_equal(differing(ops, (enum sy_numeric_class)cls, cls == SY_NUMERIC_AMX ? EDGES : 2,
                                   cls == SY_NUMERIC_AMX, 1),
                         0);
}

static void another_order_is_seen(void **state) {
    (void)state;
    const struct sy_ops *ops = tier();
    if (!ops)
        skip();
    one_chain = 1;
    assert_true(differing(ops, SY_NUMERIC_AMX, 2, 0, 0) > 4);
    assert_int_equal(differing(ops, SY_NUMERIC_X86, 2, 0, 1), 0);
    one_chain = 0;
}

static void the_peak_counts_what_it_does(void **state) {
    (void)state;
    if (!tier())
        skip();
    struct sy_peak p = sy_peak_amx_on_cpu(SY_NUMERIC_AMX, 3);
    assert_string_equal(p.instruction, "TDPBF16PS");
    assert_true(p.flops == 3 * 4 * 2.0 * 16 * 16 * 32); /* four products of 16 x 16 x 32 a round */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_call_is_the_reference),
                                       cmocka_unit_test(another_order_is_seen),
                                       cmocka_unit_test(the_peak_counts_what_it_does)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
