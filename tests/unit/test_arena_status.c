/* Arenas: a measuring run tells what the real one uses; what does not fit is told.
 * Status: one line, cut, clean, one for each thread.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#if SY_ARENA_GUARD
#include <sanitizer/asan_interface.h>
#endif

/* Under ASan a size that no machine has is refused by malloc, as without it. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }

/* --- arena ---------------------------------------------------------------------------------------------- */

static void plan(struct sy_arena *a, char *out[4]) {
    out[0] = sy_arena_take(a, "weights", 1000, 4);
    out[1] = sy_arena_take(a, "moments", 3, 8);
    out[2] = sy_arena_take(a, "weights", 1, 1);
    out[3] = sy_arena_take(a, "flags", 65, 1);
}

static void measure_equals_use(void **state) {
    (void)state;
    struct sy_arena measured = sy_arena_measure(), real;
    char *p[4];
    plan(&measured, p);
    for (int i = 0; i < 4; i++)
        assert_null(p[i]);
    assert_int_equal(measured.used, 4032 + 64 + 64 + 128 + 4 * SY_ARENA_GUARD);
    assert_int_equal(sy_arena_check(&measured, "plan"), SY_OK);
    assert_int_equal(sy_arena_init(measured.used, "test", &real), SY_OK);
    plan(&real, p);
    assert_int_equal(sy_arena_check(&real, "real"), SY_OK);
    assert_int_equal(real.used, measured.used);
    assert_int_equal(real.used, real.size);
    for (int i = 0; i < 4; i++) {
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % 64, 0);
        assert_true(i == 0 || p[i] >= p[i - 1] + 64);
    }
    static const size_t size[] = {4000, 24, 1, 65}; /* as in plan() */
    for (int b = 0; b < 4; b++)
        for (size_t i = 0; i < size[b]; i++)
            assert_int_equal(p[b][i], 0);
#if SY_ARENA_GUARD
    for (int b = 0; b < 4; b++) /* the byte behind each block is watched */
        assert_true(__asan_address_is_poisoned(p[b] + size[b]) &&
                    !__asan_address_is_poisoned(p[b] + size[b] - 1));
#endif
    memset(p[0], 1, 4000); /* ASan: all of it is ours */
    memset(p[3], 1, 65);
    assert_int_equal(real.n_tags, 3);
    assert_int_equal(measured.n_tags, 3);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(real.tags[i].name, measured.tags[i].name);
        assert_int_equal(real.tags[i].bytes, measured.tags[i].bytes);
    }
    assert_string_equal(real.tags[0].name, "weights");
    assert_int_equal(real.tags[0].bytes, 4032 + 64);
    assert_int_equal(real.guards, 4 * SY_ARENA_GUARD);
    sy_arena_fini(&real);
    assert_null(real.base);
}

static void what_does_not_fit_is_told(void **state) {
    (void)state;
    struct sy_arena a;
    assert_int_equal(sy_arena_init(256 + 2 * SY_ARENA_GUARD, "step", &a), SY_OK);
    assert_non_null(sy_arena_take(&a, "x", 192, 1));
    assert_null(sy_arena_take(&a, "x", 65, 1));
    assert_int_equal(a.used, 192 + SY_ARENA_GUARD);
    assert_int_equal(sy_arena_check(&a, "the step"), SY_ERR_RUNTIME);
    assert_non_null(strstr(sy_error_message(), "the step"));
    assert_non_null(strstr(sy_error_message(), SY_ARENA_GUARD ? "384" : "256"));
    assert_non_null(sy_arena_take(&a, "x", 64, 1)); /* what fits is still given, but the fault stays */
    assert_int_equal(sy_arena_check(&a, "the step"), SY_ERR_RUNTIME);
    sy_arena_fini(&a);
}

static void sizes_that_overflow(void **state) {
    (void)state;
    static const size_t n[][2] = {{SIZE_MAX, 1},         {SIZE_MAX, SIZE_MAX},  {SIZE_MAX / 2 + 1, 2},
                                  {2, SIZE_MAX / 2 + 1}, {SIZE_MAX / 4 + 1, 4}, {SIZE_MAX - 62, 1}};
    for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
        struct sy_arena measured = sy_arena_measure(), real;
        assert_null(sy_arena_take(&measured, "x", n[i][0], n[i][1]));
        assert_int_equal(sy_arena_check(&measured, "plan"), SY_ERR_RUNTIME);
        assert_int_equal(sy_arena_init(64, "x", &real), SY_OK);
        assert_null(sy_arena_take(&real, "x", n[i][0], n[i][1]));
        assert_int_equal(sy_arena_check(&real, "real"), SY_ERR_RUNTIME);
        assert_int_equal(real.used, 0);
        sy_arena_fini(&real);
    }
    struct sy_arena twice = sy_arena_measure(); /* the sum overflows, not the size */
    sy_arena_take(&twice, "x", SIZE_MAX / 2, 1);
    assert_int_equal(sy_arena_check(&twice, "plan"), SY_OK);
    sy_arena_take(&twice, "x", SIZE_MAX / 2, 1);
    sy_arena_take(&twice, "x", SIZE_MAX / 2, 1);
    assert_int_equal(sy_arena_check(&twice, "plan"), SY_ERR_RUNTIME);
    struct sy_arena never = {0};
    assert_int_equal(sy_arena_init(SIZE_MAX, "never", &never), SY_ERR_MEMORY);
    assert_int_equal(sy_arena_init(SIZE_MAX - 64, "never", &never), SY_ERR_MEMORY);
    assert_non_null(strstr(sy_error_message(), "never"));
    assert_null(never.base);
}

static struct {
    const void *owner;
    void *memory;
    size_t bytes;
    int n;
} released;

static void release(const void *owner, void *memory, size_t bytes) {
    released.owner = owner;
    released.memory = memory;
    released.bytes = bytes;
    released.n++;
    free(memory);
}

/* Memory that somebody else took: carved as any other, given back to whom it belongs, once. */
static void over_memory_of_others(void **state) {
    (void)state;
    int owner;
    for (size_t bytes = 64 + SY_ARENA_GUARD; bytes < 5 << 20; bytes *= 5) {
        void *memory = aligned_alloc(SY_ARENA_ALIGN, (bytes + 63) / 64 * 64);
        struct sy_arena a = sy_arena_over(memory, bytes, release, &owner);
        assert_true(a.base == memory && a.size == bytes);
        assert_true(sy_arena_take(&a, "x", 1, 1) == memory);
        released.n = 0;
        sy_arena_fini(&a);
        assert_true(released.n == 1 && released.owner == &owner && released.memory == memory &&
                    released.bytes == bytes);
        sy_arena_fini(&a);
        assert_int_equal(released.n, 1);
    }
}

static void empty_and_exact(void **state) {
    (void)state;
    struct sy_arena a;
    assert_int_equal(sy_arena_init(0, "empty", &a), SY_OK);
    sy_arena_fini(&a);
    assert_int_equal(sy_arena_init(192 + 3 * SY_ARENA_GUARD, "exact", &a), SY_OK);
    sy_arena_take(&a, "x", 64, 1);
    assert_non_null(sy_arena_take(&a, "z", 0, 4));
    assert_non_null(sy_arena_take(&a, "y", 16, 8));
    assert_int_equal(a.used, 192 + 3 * SY_ARENA_GUARD);
    assert_int_equal(sy_arena_check(&a, "exact"), SY_OK);
    sy_arena_fini(&a);
}

static void many_tags_stay_inside(void **state) {
    (void)state;
    static char names[60][4];
    struct sy_arena a = sy_arena_measure();
    for (int i = 0; i < 60; i++) {
        names[i][0] = (char)('a' + i % 26);
        names[i][1] = (char)('a' + i / 26);
        sy_arena_take(&a, names[i], 64, 1);
    }
    assert_int_equal(a.n_tags, SY_ARENA_TAGS);
    size_t tagged = 0; /* no byte vanishes: the last tag has what is left */
    for (int i = 0; i < a.n_tags; i++)
        tagged += a.tags[i].bytes;
    assert_int_equal(tagged, 60 * 64);
    assert_string_equal(a.tags[SY_ARENA_TAGS - 1].name, "everything else");
    assert_int_equal(a.used, 60 * (64 + SY_ARENA_GUARD));
}

/* --- status --------------------------------------------------------------------------------------------- */

static sy_status fails(int n) { SY_FAIL(SY_ERR_DATA, "file %s: %d is above %d", "x", n, 3); }

static sy_status forwards(int n) {
    if (n > 3)
        SY_TRY(fails(n));
    return SY_OK;
}

static void message_and_status(void **state) {
    (void)state;
    sy_fail(SY_ERR_IO, "%s", "");
    assert_string_equal(sy_error_message(), "");
    assert_int_equal(forwards(2), SY_OK);
    assert_string_equal(sy_error_message(), "");
    assert_int_equal(forwards(4), SY_ERR_DATA);
    assert_string_equal(sy_error_message(), "file x: 4 is above 3");
    assert_int_equal(forwards(1), SY_OK); /* a success keeps the last message */
    assert_string_equal(sy_error_message(), "file x: 4 is above 3");
}

static void context_goes_before(void **state) {
    (void)state;
    fails(9);
    assert_int_equal(sy_fail_context(SY_ERR_IO, "line %d", 12), SY_ERR_IO);
    assert_string_equal(sy_error_message(), "line 12: file x: 9 is above 3");
    assert_int_equal(sy_fail(SY_ERR_IO, "again: %s", sy_error_message()),
                     SY_ERR_IO); /* its own message as an argument */
    assert_string_equal(sy_error_message(), "again: line 12: file x: 9 is above 3");
    assert_int_equal(sy_fail_context(SY_ERR_IO, "%s", sy_error_message()), SY_ERR_IO);
    assert_string_equal(sy_error_message(),
                        "again: line 12: file x: 9 is above 3: again: line 12: file x: 9 is above 3");
}

static void control_characters(void **state) {
    (void)state;
    char all[40];
    int n = 0;
    for (int c = 1; c < 0x20; c++)
        all[n++] = (char)c;
    all[n++] = 0x7f;
    all[n] = 0;
    sy_fail(SY_ERR_DATA, "a%sb\n\x1b[31m", all);
    const char *m = sy_error_message();
    assert_int_equal(strlen(m), 2 + 32 + 6);
    for (const char *p = m; *p; p++)
        assert_true((unsigned char)*p >= 0x20 && *p != 0x7f);
    assert_int_equal(m[0], 'a');
    assert_int_equal(m[1], '?');
    sy_fail_context(SY_ERR_DATA, "two\nlines");
    assert_int_equal(strncmp(sy_error_message(), "two?lines: a?", 13), 0);
    sy_fail(SY_ERR_DATA, "%s", "gr\xc3\xbc\xc3\x9f"); /* UTF-8 stays */
    assert_string_equal(sy_error_message(), "gr\xc3\xbc\xc3\x9f");
}

static void long_messages_are_cut(void **state) {
    (void)state;
    static char text[6000];
    memset(text, 'm', sizeof text - 1);
    sy_fail(SY_ERR_DATA, "%s", text);
    assert_int_equal(strlen(sy_error_message()), 2047);
    sy_fail_context(SY_ERR_DATA, "where");
    assert_int_equal(strlen(sy_error_message()), 2047);
    assert_int_equal(strncmp(sy_error_message(), "where: mmm", 10), 0);
    for (int i = 0; i < 5; i++)
        sy_fail_context(SY_ERR_DATA, "%s", text);
    assert_true(strlen(sy_error_message()) <= 2047);
}

static void *other_thread(void *arg) {
    int *empty = arg;
    *empty = sy_error_message()[0] == 0;
    sy_fail(SY_ERR_IO, "of the other thread");
    return NULL;
}

static void each_thread_its_own(void **state) {
    (void)state;
    pthread_t t;
    int empty = 0;
    sy_fail(SY_ERR_DATA, "mine");
    assert_int_equal(pthread_create(&t, NULL, other_thread, &empty), 0);
    pthread_join(t, NULL);
    assert_true(empty);
    assert_string_equal(sy_error_message(), "mine");
}

static void exit_codes(void **state) {
    (void)state;
    assert_int_equal(sy_status_exit_code(SY_OK), 0);
    assert_int_equal(sy_status_exit_code(SY_ERR_RUNTIME), 1);
    assert_int_equal(sy_status_exit_code(SY_ERR_USAGE), 2);
    assert_int_equal(sy_status_exit_code(SY_ERR_DATA), 3);
    assert_int_equal(sy_status_exit_code(SY_ERR_NONFINITE), 4);
    assert_int_equal(sy_status_exit_code(SY_ERR_PEER), 5);
    assert_int_equal(sy_status_exit_code(SY_STOPPED), 130);
    assert_int_equal(sy_status_exit_code((sy_status)999), 1);
    assert_int_equal(sy_status_exit_code((sy_status)-1), 1);
    assert_string_equal(sy_version(), SY_VERSION);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measure_equals_use),  cmocka_unit_test(what_does_not_fit_is_told),
        cmocka_unit_test(sizes_that_overflow), cmocka_unit_test(over_memory_of_others),
        cmocka_unit_test(empty_and_exact),     cmocka_unit_test(many_tags_stay_inside),
        cmocka_unit_test(message_and_status),  cmocka_unit_test(context_goes_before),
        cmocka_unit_test(control_characters),  cmocka_unit_test(long_messages_are_cut),
        cmocka_unit_test(each_thread_its_own), cmocka_unit_test(exit_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
