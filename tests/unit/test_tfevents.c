/* TensorBoard's event files: the bytes of a record, what a file keeps when it is opened for an earlier step, and
 * what is no event file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "formats/tfevents.h"

static char path[256];

static size_t bytes_of(unsigned char *out, size_t capacity) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(out, 1, capacity, f);
    fclose(f);
    return n;
}

static void write_steps(int64_t after, int64_t first, int64_t last) {
    struct sy_tfevents t;
    assert_int_equal(sy_tfevents_open(path, after, &t), SY_OK);
    for (int64_t s = first; s <= last; s++) {
        sy_tfevents_scalar(&t, "loss", 1.0 / (double)s);
        assert_int_equal(sy_tfevents_write(&t, s, 5), SY_OK);
    }
    sy_tfevents_close(&t);
}

/* length, its checksum, message, its checksum: as TensorFlow writes them. */
static void bytes_of_records(void **state) {
    (void)state;
    static const unsigned char version[] = "\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22\x09\0\0\0\0\0\0\0\0\x1a\x0d"
                                           "brain.Event:2";
    unsigned char s[512];
    unlink(path);
    write_steps(0, 3, 3);
    size_t n = bytes_of(s, sizeof s);
    assert_memory_equal(s, version, 12 + 24);
    const unsigned char *m = s + 12 + 24 + 4 + 12; /* the second message */
    static const unsigned char event[] =
        "\x09\0\0\0\0\0\0\x14\x40\x10\x03\x2a\x0d\x0a\x0b\x0a\x04loss\x15\xab\xaa\xaa\x3e";
    assert_memory_equal(m, event, sizeof event - 1);
    assert_int_equal(n, 12 + 24 + 4 + 12 + sizeof event - 1 + 4);
}

static void later_steps_are_cut_off(void **state) {
    (void)state;
    unsigned char whole[4096], cut[4096];
    unlink(path);
    write_steps(0, 1, 9);
    size_t n = bytes_of(whole, sizeof whole);
    for (int torn = 0; torn < 3; torn++) {
        unlink(path);
        write_steps(0, 1, 9);
        if (torn == 1)
            assert_int_equal(truncate(path, (off_t)n - 3), 0);
        if (torn == 2) { /* a byte of the seventh message */
            FILE *f = fopen(path, "r+b");
            fseek(f, (long)(n - 2 * ((n - 40) / 9) - 10), SEEK_SET);
            fputc('x', f);
            fclose(f);
        }
        write_steps(4, 5, 9);
        assert_int_equal(bytes_of(cut, sizeof cut), n);
        assert_memory_equal(cut, whole, n);
    }
    write_steps(9, 1, 0);
    assert_int_equal(bytes_of(cut, sizeof cut), n);
    unlink(path);
    write_steps(0, 1, 9);
    assert_int_equal(truncate(path, (off_t)n - 3), 0);
    write_steps(9, 9, 9); /* what is torn goes, whatever its step */
    assert_int_equal(bytes_of(cut, sizeof cut), n);
    assert_memory_equal(cut, whole, n);
}

static void other_files_are_left_alone(void **state) {
    (void)state;
    struct sy_tfevents t;
    unsigned char s[64];
    FILE *f = fopen(path, "wb");
    fputs("a letter that somebody wrote", f);
    fclose(f);
    assert_int_equal(sy_tfevents_open(path, 5, &t), SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "no event file of TensorBoard"));
    assert_int_equal(bytes_of(s, sizeof s), 28);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(bytes_of_records),
                                       cmocka_unit_test(later_steps_are_cut_off),
                                       cmocka_unit_test(other_files_are_left_alone)};
    snprintf(path, sizeof path, "/tmp/switchyard-tfevents-%ld", (long)getpid());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
