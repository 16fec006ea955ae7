/* What a plan gives a GPU's ops as workspace: room for whole units of attention backward, as many as fill the
 * GPU or as there are; the layout leaves no gap and lets nothing overlap. No GPU is asked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "device/cuda.h"
#include "ops/cuda/attention_workspace.h"
#include "ops/ops.h"

static struct sy_attention shape(int64_t sequences, int64_t seq_len, int64_t heads, int64_t kv_heads) {
    return (struct sy_attention){
        .sequences = sequences, .seq_len = seq_len, .heads = heads, .kv_heads = kv_heads};
}

static void whole_units(void **state) {
    (void)state;
    static const int64_t lengths[] = {1, 127, 128, 129, 1000, 4096, 8192, 32768};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (int64_t kv = 1; kv <= 32; kv *= 2) {
            struct sy_attention p = shape(4, lengths[i], 32, kv);
            int64_t unit = sy_ds_unit_bytes(&p), bytes = (int64_t)sy_ops_workspace_bytes(&p);
            int64_t tiles = sy_ds_tiles(&p), ds = bytes - sy_ds_all_terms_bytes(&p), held = ds / unit;
            int64_t queries = 32 / kv * ((tiles + 1) / 2);
            assert_true(held >= 1 && bytes >= SY_CUDA_WORKSPACE);
            assert_true(held >= 4 * kv || (held * tiles >= 2 * 132 && held * queries >= 2 * 132));
            assert_true(bytes == SY_CUDA_WORKSPACE || ds % unit == 0);
            assert_true(bytes == SY_CUDA_WORKSPACE || (held - 1) * tiles < 2 * 132 ||
                        (held - 1) * queries < 2 * 132);
        }
}

/* Rows of ds: those of key tile t are 2 boxes of the queries from its first on. */
static void tiles_side_by_side(void **state) {
    (void)state;
    struct sy_attention p = shape(1, 1000, 4, 2);
    int64_t n = sy_ds_tiles(&p), at = 0;
    assert_int_equal(n, 8);
    for (int64_t t = 0; t <= n; t++) {
        assert_int_equal(sy_ds_before(&p, t), at);
        at += 2 * (n - t) * 128 * 64 * 2;
    }
    assert_int_equal(sy_ds_terms_bytes(&p) % 1024, 0);
    assert_true(sy_ds_terms_bytes(&p) >= 3 * 4 * (1024 + 64));
    assert_int_equal(sy_ds_all_terms_bytes(&p), 4 * sy_ds_terms_bytes(&p));
    assert_int_equal(sy_ds_unit_bytes(&p), 2 * sy_ds_before(&p, n));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(whole_units), cmocka_unit_test(tiles_side_by_side)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
