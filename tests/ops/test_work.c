/* What a call of an op is said to be (ops/work.h), on made-up calls of every op: it has operands and bytes,
 * never more bytes than all of the call's memory read and written once; of some ops a formula's.
 */
#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "ops/calls_make.h"
#include "ops/work.h"

enum { SEEDS = 60 };
static struct sy_arena arena;
static struct sy_exec x;

static int open_exec(void **state) {
    const char *why;
    (void)state;
    x = (struct sy_exec){
        .ops = sy_ops_tier(0, &why), .device = sy_device_cpu(), .scratch_bytes = sy_calls_scratch_bytes()};
    sy_exec_set_class(&x, SY_NUMERIC_X86);
    if (sy_arena_init(x.scratch_bytes + SY_ARENA_ALIGN, "test", &arena) != SY_OK)
        return -1;
    x.scratch = sy_arena_take(&arena, "scratch", x.scratch_bytes, 1);
    return 0;
}
static int close_exec(void **state) {
    (void)state;
    sy_arena_fini(&arena);
    return 0;
}

static void work_of(const struct sy_call *c, int reads, struct sy_op_work *w) {
    int op = 0;
#define X(name, type)  \
    if (op++ == c->op) \
        sy_work_##name(&x, &c->arg.name, reads, w);
    SY_OPS_LIST(X)
#undef X
}

/* The host plans with a share of the sequences' rows, or with none. */
static int is_guessed(const char *op) {
    return strcmp(op, "linear_dw") == 0 || strcmp(op, "move_segments") == 0;
}

/* A row that an index names twice counts twice. */
static int is_indexed(const char *op) {
    return strcmp(op, "fold_rows") == 0 || strcmp(op, "gather_f32") == 0;
}

static void one_call(int op, enum sy_call_size size, uint64_t seed) {
    struct sy_call *c;
    struct sy_op_work counted, bounds;
    char text[SY_WORK_TEXT];
    if (sy_call_create(&x, op, size, seed, &c) != SY_OK)
        fail_msg("%s", sy_error_message());
    sy_call_reset(&x, c);
    work_of(c, 1, &counted);
    work_of(c, 0, &bounds);
    const char *name = sy_calls_op(op);
    double memory = (double)c->arena.used;
    int items = counted.items > 1 ? (int)counted.items : 1; /* each may be of the same memory */
    if (counted.bytes > 2 * memory * items && !is_indexed(name))
        fail_msg("%s, seed %d: %.0f bytes, but its memory has %.0f: %s", name, (int)seed, counted.bytes,
                 memory, sy_work_text(&counted, text));
    if (size == SY_CALL_TYPICAL && (counted.n == 0 || counted.bytes <= 0))
        fail_msg("%s: no operands or bytes: %s", name, sy_work_text(&counted, text));
    if (counted.bytes > bounds.bytes && bounds.planned && !is_guessed(name))
        fail_msg("%s, seed %d: %.0f bytes, above the bound %.0f", name, (int)seed, counted.bytes,
                 bounds.bytes);
    if (!bounds.planned && (counted.bytes != bounds.bytes || counted.flops != bounds.flops))
        fail_msg("%s, seed %d: the host knew it all, and was told another thing", name, (int)seed);
    sy_call_destroy(c);
}

static void every_op(void **state) {
    (void)state;
    for (int op = 0; op < sy_calls_n_ops(); op++) {
        one_call(op, SY_CALL_TYPICAL, 1);
        for (uint64_t seed = 0; seed < SEEDS; seed++)
            one_call(op, SY_CALL_EDGE, seed);
    }
}

static char memory[4096];
static struct sy_mat mat(enum sy_dtype t, int64_t cols) { return sy_mat_of(memory, t, cols); }

static void formulas(void **state) {
    (void)state;
    struct sy_op_work w;
    char text[SY_WORK_TEXT];
    struct sy_linear linear = {.rows = sy_rows_dense(1, 6),
                               .k = 5,
                               .n = 4,
                               .x = mat(SY_BF16, 5),
                               .w = {.m = mat(SY_BF16, 4)},
                               .y = mat(SY_F32, 4)};
    sy_work_linear(&x, &linear, 0, &w);
    assert_string_equal(sy_work_text(&w, text), "x [6, 5], w [1, 5, 4], y [6, 4]");
    assert_true(w.bytes == 2 * 30 + 2 * 20 + 4 * 24 && w.flops == 2 * 6 * 5 * 4 && !w.planned);
    /* 3 queries see 1 + 2 + 3 keys, with a window of 2: 1 + 2 + 2; q k^T over 8, o over 4 columns */
    struct sy_heads h = {memory, SY_BF16, 8, 8};
    struct sy_attention a = {.sequences = 2,
                             .seq_len = 3,
                             .heads = 7,
                             .kv_heads = 1,
                             .dv = 4,
                             .n_slices = 1,
                             .slice = {{.d = 8, .q = h, .k = h}},
                             .v = h,
                             .o = h};
    sy_work_attention_fwd(&x, &a, 0, &w);
    assert_true(w.flops == 2.0 * 2 * 7 * 6 * (8 + 4));
    a.window = 2;
    sy_work_attention_fwd(&x, &a, 0, &w);
    assert_true(w.flops == 2.0 * 2 * 7 * 5 * (8 + 4));
    sy_work_attention_bwd(&x, &a, 0, &w);
    assert_true(w.flops == 2.0 * 2 * 7 * 5 * (3 * 8 + 2 * 4));
    /* two groups of three sequences, 10 rows of 16 that there may be; their middle sequences have 2 + 1 */
    int64_t offset[7] = {0, 3, 5, 6, 8, 9, 10};
    struct sy_dw dw = {.rows = {2, 3, 16, offset, NULL, NULL}, .n_segments = 3, .m = 5, .n = 4};
    float sums[1];
    dw.dy = mat(SY_BF16, 5);
    dw.x = mat(SY_BF16, 4);
    dw.c = sums;
    struct sy_linear_dw list = {&dw, 1};
    sy_work_linear_dw(&x, &list, 1, &w);
    assert_true(w.flops == 2.0 * 10 * 5 * 4 && w.bytes == 10 * 2 * (5 + 4) + 4 * 2 * 20 && !w.planned);
    sy_work_linear_dw(&x, &list, 0, &w);
    assert_true(w.flops == 2.0 * 16 * 5 * 4 && w.planned);
    dw.first = dw.n_segments = 1;
    dw.fold = 1;
    sy_work_linear_dw(&x, &list, 1, &w);
    assert_true(w.flops == 2.0 * 3 * 5 * 4 && w.bytes == 3 * 2 * (5 + 4) + 8 * 2 * 20);
    struct sy_adamw_item items[2] = {{.n = 10, .g = sums, .m = sums, .v = sums, .w = sums, .stored = memory},
                                     {.n = 5, .g = sums, .m = sums, .v = sums, .w = sums, .stored = sums}};
    sy_work_adamw(&x, &(struct sy_adamw){.item = items, .n_items = 2}, 0, &w);
    assert_string_equal(sy_work_text(&w, text), "g [10], m [10], v [10], w [10], stored [10] … of 2");
    assert_true(w.bytes == 10 * (4 + 24 + 2) + 5 * (4 + 24));
}

/* A text that does not fit is cut. */
static void long_text(void **state) {
    (void)state;
    struct sy_op_work w = {.n = SY_WORK_OPERANDS};
    char text[SY_WORK_TEXT];
    for (int i = 0; i < w.n; i++)
        w.operand[i] =
            (struct sy_op_work_operand){"an operand of a name", 1, 3, 4, {INT64_MAX, INT64_MAX, 1}};
    assert_int_equal(strlen(sy_work_text(&w, text)), SY_WORK_TEXT - 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_op), cmocka_unit_test(formulas),
                                       cmocka_unit_test(long_text)};
    return cmocka_run_group_tests(tests, open_exec, close_exec);
}
