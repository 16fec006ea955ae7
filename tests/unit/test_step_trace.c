/* The gaps in a GPU's work of one step, and its trace: made-up works, by hand. */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>

#include <cmocka.h>

#include "commands/bench_model_trace.h"
#include "formats/json.h"

/* ns; the first and the last are of other steps. */
static struct sy_cuda_work work[] = {
    {"gemm::kernel<0, 0>(gemm::maps, gemm::args)", 100, 900},
    {"copy", 1000, 3000},
    {"gemm::kernel<1, 3>(gemm::maps, gemm::args)", 3200, 20000},
    {"fill", 4000, 5000},                              /* inside the one before: no gap behind it */
    {"adamw_all(sy_adamw_item const*)", 25001, 40000}, /* 5.001 us after the product */
    {"copy", 45000, 46000},                            /* 5.000 us: not longer than 5 */
    {"copy", 60000, 61000},
};
static const struct sy_cuda_works works = {work, sizeof work / sizeof *work, 0};

static void test_gaps(void **state) {
    (void)state;
    struct sy_step_gaps g = sy_step_gaps(&works, 1000, 60000);
    assert_int_equal(g.n, 5);
    assert_true(g.step_us == 45.0);
    assert_true(g.idle_us > 10.2009 && g.idle_us < 10.2011);
    assert_true(g.longest_us == 5.001);
    assert_int_equal(g.above, 1);
    assert_string_equal(g.before, "gemm::kernel<1, 3>");
    assert_string_equal(g.after, "adamw_all");
}

static void test_nothing(void **state) {
    (void)state;
    struct sy_step_gaps g = sy_step_gaps(&works, 70000, 80000);
    assert_int_equal(g.n, 0);
    assert_true(g.step_us == 0.0 && g.idle_us == 0.0);
    assert_string_equal(g.before, "");
}

static void test_file(void **state) {
    char path[] = "/tmp/switchyard-trace-XXXXXX";
    json_error_t e;
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(sy_step_trace_write(path, &works, 1000, 60000), SY_OK);
    json_t *j = json_load_file(path, 0, &e), *events = json_object_get(j, "traceEvents");
    assert_int_equal(json_array_size(events), 1 + 5);
    json_t *second = json_array_get(events, 2);
    assert_string_equal(json_string_value(json_object_get(second, "name")), work[2].name);
    assert_true(json_number_value(json_object_get(second, "ts")) == 2.2);
    assert_true(json_number_value(json_object_get(second, "dur")) == 16.8);
    json_decref(j);
    remove(path);
    assert_int_equal(sy_step_trace_write("/nowhere/x", &works, 0, 1), SY_ERR_IO);
    assert_non_null(strstr(sy_error_message(), "/nowhere/x: cannot be written"));
    assert_int_equal(sy_step_trace_write("/dev/full", &works, 0, 60000), SY_ERR_IO);
}

static char text[1000];
static void collect(void *user, const char *line, size_t n) {
    (void)user;
    size_t has = strlen(text);
    snprintf(text + has, sizeof text - has, "%.*s", (int)n, line);
}

static void test_text(void **state) {
    struct sy_io io = {.write = collect};
    struct sy_step_gaps g = sy_step_gaps(&works, 1000, 60000);
    (void)state;
    sy_step_gaps_print(&g, 0, &io);
    assert_non_null(strstr(text, "5 kernels, copies and fills in 0.0"));
    assert_non_null(strstr(text, "longest gap 5.00 us, 1 above 5 (gemm::kernel<1, 3> -> adamw_all)"));
    sy_step_gaps_print(&g, 1, &io);
    assert_non_null(strstr(text, "\"longest_gap_us\":5.00,\"gaps_above_5_us\":1}"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gaps), cmocka_unit_test(test_nothing),
                                       cmocka_unit_test(test_file), cmocka_unit_test(test_text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
