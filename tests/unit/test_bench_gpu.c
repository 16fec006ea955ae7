/* The benchmarks of a GPU's ops, at small sizes on a CPU with a GPU's segments: every op of the list has a
 * row or is refused by name; memory that fails, and a device that does, end in their status with a line, and
 * all memory is given back. */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>

#include <cmocka.h>

#include "commands/bench_gpu.h"
#include "formats/json.h"

static const struct sy_gpu_dense dense[] = {{32, 16, 32}};
static const struct sy_gpu_experts moe[] = {{"small", 24, 16, 16, 4, 2}};
static const struct sy_gpu_layer layer[] = {{"small", 32, 16, 4, 2, 1}, {"none shared", 32, 16, 8, 2, 0}};
static const struct sy_gpu_heads attention[] = {{1, 20, 2, 2, 16, 8, 1}, {1, 16, 2, 1, 16, 0, 0}};
static const struct sy_gpu_sizes small = {
    .copy_bytes = 4096,
    .product = 16,
    .logits = {8, 40, 32},
    .sequences = 2,
    .seq_len = 16,
    .d = 32,
    .heads = 2,
    .experts = 4,
    .top_k = 2,
    .vocab = 40,
    .loss_rows = 8,
    .parameters = 3000,
    .dense = dense,
    .moe = moe,
    .layer = layer,
    .attention = attention,
    .n_dense = 1,
    .n_moe = 1,
    .n_layers = 2,
    .n_attention = 2,
};

/* --- a device that counts, and fails where it is told to ------------------------------------------------ */

static int n_taken, n_given, n_waits, fail_take, fail_wait; /* the one that fails, from 1; 0: none */

/* Zeroed, but for the workspaces of attention. */
static void *take(const struct sy_device *d, enum sy_place place, size_t bytes) {
    (void)d, (void)place;
    void *p = ++n_taken == fail_take ? NULL : aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (p && bytes < 1 << 20)
        memset(p, 0, bytes);
    n_given += p == NULL;
    return p;
}

static void give(const struct sy_device *d, enum sy_place place, void *memory, size_t bytes) {
    (void)d, (void)place, (void)bytes;
    n_given++;
    free(memory);
}

static sy_status done(const struct sy_device *d) {
    if (++n_waits == fail_wait)
        SY_FAIL(SY_ERR_RUNTIME, "%s: an op failed", d->name);
    return SY_OK;
}

static char text[1 << 16];
static size_t n_text;

static void collect(void *user, const char *line, size_t n) {
    (void)user;
    assert_true(n_text + n < sizeof text);
    memcpy(text + n_text, line, n);
    text[n_text += n] = 0;
}

static int json = 1;

static sy_status run(const char *what, const char *const *ops, int n_ops) {
    static _Alignas(64) char scratch[8 << 20]; /* of a thread of the CPU, whose ops stand in */
    struct sy_device device = *sy_device_cpu();
    struct sy_io io = {.write = collect};
    struct sy_gpu_bench b = {.sizes = &small, .io = &io, .json = json, .ops = ops, .n_ops = n_ops};
    device.name = "cuda:9";
    device.segment = 16;
    device.alloc = take;
    device.free = give;
    device.wait = done;
    b.x = (struct sy_exec){.device = &device, .scratch = scratch, .scratch_bytes = sizeof scratch};
    sy_exec_set_class(&b.x, SY_NUMERIC_SM90);
    assert_int_equal(sy_ops_select("auto", &b.x.ops), SY_OK);
    n_taken = n_given = n_waits = 0;
    n_text = 0;
    text[0] = 0;
    sy_status status = sy_gpu_bench_run(&b, what);
    assert_int_equal(b.n_memory, 0);
    assert_int_equal(n_taken, n_given);
    return status;
}

/* --- rows ----------------------------------------------------------------------------------------------- */

static int rows_of(const char *op) {
    char key[80];
    int n = 0;
    snprintf(key, sizeof key, "\"op\":\"%s\"", op);
    for (const char *p = text; (p = strstr(p, key)); p++)
        n++;
    return n;
}

static void test_every_op(void **state) {
    static const char *const names[] = {
#define X(name, type) #name,
        SY_OPS_LIST(X)
#undef X
    };
    (void)state;
    int n_rows = 0;
    assert_int_equal(run("ops", NULL, 0), SY_OK);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int refused = sy_gpu_bench_check(names[i]) == SY_ERR_USAGE;
        if (refused)
            assert_non_null(strstr(sy_error_message(), "is not timed on a GPU: "));
        if ((rows_of(names[i]) > 0) == refused)
            fail_msg("%s: %d rows, %s", names[i], rows_of(names[i]), refused ? "refused" : "not refused");
        n_rows += rows_of(names[i]);
    }
    assert_true(n_rows > 40);
    assert_int_equal(sy_gpu_bench_check("attention"), SY_ERR_USAGE);
    assert_non_null(strstr(sy_error_message(), "there is no op of that name"));
}

/* Each line is JSON: the ceilings, then a time, an amount, a rate and a share that fit each other. */
static void check_line(const char *line, int first) {
    json_error_t e;
    json_t *j = json_loads(line, 0, &e);
    if (!j)
        fail_msg("%s: %s", e.text, line);
    if (first) {
        assert_string_equal(json_string_value(json_object_get(j, "bench")), "ceilings");
        assert_true(json_number_value(json_object_get(j, "copy_tb_s")) >= 0.0);
    } else {
        double flop = json_number_value(json_object_get(j, "flop")),
               bytes = json_number_value(json_object_get(j, "bytes")),
               us = json_number_value(json_object_get(j, "us")),
               rate = json_number_value(json_object_get(j, flop > 0 ? "tflops" : "tb_s"));
        assert_string_equal(json_string_value(json_object_get(j, "device")), "cuda:9");
        assert_true((flop > 0) != (bytes > 0) && us > 0.0);
        assert_true(json_number_value(json_object_get(j, "share")) >= 0.0);
        assert_true(rate * us * 1e6 <= (flop + bytes) * 1.01 + 1e3 * us); /* rates have three digits */
    }
    json_decref(j);
}

static void test_json(void **state) {
    static const char *const whats[] = {"ops", "gemm", "attention", "moe"};
    (void)state;
    for (int w = 0; w < 4; w++) {
        int n = 0;
        assert_int_equal(run(whats[w], NULL, 0), SY_OK);
        for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
            check_line(line, n++ == 0);
        assert_int_equal(n, w == 0 ? 1 + 35 + 13 + 4 : w == 1 ? 1 + 13 : 1 + 4);
    }
}

static void test_named(void **state) {
    static const char *const ops[] = {"norm", "attention_bwd"};
    (void)state;
    assert_int_equal(run("ops", ops, 2), SY_OK);
    assert_int_equal(rows_of("norm"), 1);
    assert_int_equal(rows_of("attention_bwd"), 2);
    assert_int_equal(rows_of("attention_fwd") + rows_of("rmsnorm_fwd") + rows_of("add_f32"), 0);
}

static void test_table(void **state) {
    static const char *const ops[] = {"linear_dx"};
    char op[20], what[40], unit[20];
    double us, rate, share;
    (void)state;
    json = 0;
    assert_int_equal(run("gemm", ops, 1), SY_OK);
    json = 1;
    const char *line = strchr(text, '\n') + 1;
    assert_int_equal(strncmp(text, "cuda:9, class sm90: share of copies of ", 39), 0);
    assert_int_equal(sscanf(line, "%19s %39[^>]", op, what), 2);
    assert_string_equal(op, "linear_dx");
    assert_int_equal(strncmp(what, "32 x 16 x 32 ", 13), 0);
    assert_int_equal(sscanf(line + 56, "%lf us %lf %19s %lf", &us, &rate, unit, &share), 4);
    assert_true(us > 0.0 && rate >= 0.0 && share > 0.0);
    assert_string_equal(unit, "TFLOP/s");
}

/* --- failures ------------------------------------------------------------------------------------------- */

static void test_failures(void **state) {
    (void)state;
    assert_int_equal(run("ops", NULL, 0), SY_OK);
    int takes = n_taken, waits = n_waits;
    assert_true(takes > 100 && waits > 100);
    for (fail_take = 1; fail_take <= takes; fail_take += 3) {
        assert_int_equal(run("ops", NULL, 0), SY_ERR_MEMORY);
        assert_non_null(strstr(sy_error_message(), "bench: cuda:9 has no memory for "));
    }
    fail_take = 0;
    for (fail_wait = 1; fail_wait <= waits; fail_wait += 7) {
        assert_int_equal(run("ops", NULL, 0), SY_ERR_RUNTIME);
        assert_string_equal(sy_error_message(), "cuda:9: an op failed");
        assert_int_equal(n_waits, fail_wait); /* nothing more was enqueued and waited for */
    }
    fail_wait = 0;
}

static void test_failures_of_layers(void **state) {
    (void)state;
    assert_int_equal(run("moe", NULL, 0), SY_OK);
    int takes = n_taken, waits = n_waits;
    assert_true(takes > 30 && waits > 10);
    for (fail_take = 1; fail_take <= takes; fail_take++)
        assert_int_equal(run("moe", NULL, 0), SY_ERR_MEMORY);
    fail_take = 0;
    for (fail_wait = 1; fail_wait <= waits; fail_wait++)
        assert_int_equal(run("moe", NULL, 0), SY_ERR_RUNTIME);
    fail_wait = 0;
}

/* `info` goes on where a GPU cannot be measured. */
static void test_not_measured(void **state) {
    static const char begin[] = "           not measured: run.device = cuda";
    struct sy_io io = {.write = collect};
    (void)state;
    n_text = 0;
    sy_gpu_print_ceilings(99, &io); /* no machine has so many */
    assert_int_equal(strncmp(text, begin, sizeof begin - 1), 0);
    assert_ptr_equal(strchr(text, '\n'), text + n_text - 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_op),     cmocka_unit_test(test_json),
        cmocka_unit_test(test_named),        cmocka_unit_test(test_table),
        cmocka_unit_test(test_failures),     cmocka_unit_test(test_failures_of_layers),
        cmocka_unit_test(test_not_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
