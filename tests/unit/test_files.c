/* Files whole: signals, short counts and failures at every call of a read or a write. This program's pread
 * and pwrite stand before the C library's: a script says what each call does.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/files.h"

enum { N = 10, AT = 3 };

/* A letter a call: "i" a signal, "1" one byte, "0" none, "e" an error, "." as many as are asked for; then
 * all are ".". */
static const char *script = "";
static int calls;

static int plays(ssize_t *n, size_t *bytes) {
    char what = *script ? *script++ : '.';
    calls++;
    if (what == '1')
        *bytes = 1;
    if (what == '.' || what == '1')
        return 0;
    *n = what == '0' ? 0 : -1;
    if (*n)
        errno = what == 'i' ? EINTR : EIO;
    return 1;
}

ssize_t pread(int fd, void *to, size_t bytes, off_t at) {
    ssize_t n;
    return plays(&n, &bytes) ? n : syscall(SYS_pread64, fd, to, bytes, at);
}

ssize_t pwrite(int fd, const void *from, size_t bytes, off_t at) {
    ssize_t n;
    return plays(&n, &bytes) ? n : syscall(SYS_pwrite64, fd, from, bytes, at);
}

static const struct {
    const char *script;
    int result, done, calls;
} cases[] = {
    {"", 1, N, 1},           {"i", 1, N, 2},      {"1", 1, N, 2},   {"i1ii1", 1, N, 6},
    {"111111111", 1, N, 10}, {"0", 0, 0, 1},      {"e", -1, 0, 1},  {"1i0", 0, 1, 3},
    {"11e", -1, 2, 3},       {"i1i1i0", 0, 2, 6}, {"ie", -1, 0, 2},
};

static int new_file(const char *bytes) {
    int fd = memfd_create("file", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, strlen(bytes)), strlen(bytes));
    return fd;
}

static void test_read(void **state) {
    (void)state;
    int fd = new_file("...abcdefghij");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char got[N + 1] = {0}, want[N + 1] = {0};
        int64_t at = AT;
        script = cases[i].script;
        calls = errno = 0;
        assert_int_equal(sy_file_read(fd, &at, got, N), cases[i].result);
        assert_int_equal(errno == EIO, cases[i].result < 0);
        assert_int_equal(at, AT + cases[i].done);
        assert_int_equal(calls, cases[i].calls);
        memcpy(want, "abcdefghij", (size_t)cases[i].done);
        assert_string_equal(got, want);
    }
    close(fd);
}

static void test_write(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char got[AT + N + 1] = {0}, want[AT + N + 1] = "...----------";
        int fd = new_file("...----------");
        int64_t at = AT;
        script = cases[i].script;
        calls = errno = 0;
        assert_int_equal(sy_file_write(fd, &at, "abcdefghij", N), cases[i].result);
        assert_int_equal(errno == EIO, cases[i].result < 0);
        assert_int_equal(at, AT + cases[i].done);
        assert_int_equal(calls, cases[i].calls);
        memcpy(want + AT, "abcdefghij", (size_t)cases[i].done);
        assert_int_equal(syscall(SYS_pread64, fd, got, AT + N, 0), AT + N);
        assert_string_equal(got, want);
        close(fd);
    }
}

static void test_none(void **state) {
    (void)state;
    int64_t at = AT;
    calls = 0;
    assert_int_equal(sy_file_read(-1, &at, NULL, 0), 1);
    assert_int_equal(sy_file_write(-1, &at, NULL, 0), 1);
    assert_int_equal(at, AT);
    assert_int_equal(calls, 0);
}

static void test_need(void **state) {
    (void)state;
    static const struct {
        const char *script;
        sy_status status;
        const char *message;
    } needs[] = {
        {"i1", SY_OK, ""},
        {"1i1e", SY_ERR_IO, "a/file: cannot read at byte 5: Input/output error"},
        {"e", SY_ERR_IO, "a/file: cannot read at byte 3: Input/output error"},
        {"1110", SY_ERR_DATA, "a/file: ends at byte 6, 7 bytes early"},
    };
    int fd = new_file("...abcdefghij");
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++) {
        char got[N + 1] = {0};
        script = needs[i].script;
        assert_int_equal(sy_file_need("a/file", fd, AT, got, N), needs[i].status);
        if (needs[i].status == SY_OK)
            assert_string_equal(got, "abcdefghij");
        else
            assert_string_equal(sy_error_message(), needs[i].message);
    }
    char more[N + 2];
    assert_int_equal(sy_file_need("a/file", fd, AT, more, sizeof more), SY_ERR_DATA);
    assert_string_equal(sy_error_message(), "a/file: ends at byte 13, 2 bytes early");
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_read), cmocka_unit_test(test_write),
                                       cmocka_unit_test(test_none), cmocka_unit_test(test_need)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
