/* safetensors: every rule has a file that breaks it; the writer's bytes are fixed; every truncation and
 * trailing byte is found; write errors are named and leave no file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "formats/safetensors.h"
#include "folder.h"

enum { ROOM = 4096 };

/* A file in `to`: header text and n_data bytes 0, 1, 2 …; returns its size. */
static size_t make(char *to, const char *header, size_t n_data) {
    uint64_t length = strlen(header);
    memcpy(to, &length, 8);
    memcpy(to + 8, header, length);
    for (size_t i = 0; i < n_data; i++)
        to[8 + length + i] = (char)i;
    return 8 + length + n_data;
}

static void refuses(const char *header, size_t n_data, const char *message) {
    char buffer[ROOM];
    size_t n = make(buffer, header, n_data);
    struct sy_safetensors *file = NULL;
    if (sy_safetensors_parse("t", buffer, n, &file) != SY_ERR_DATA)
        fail_msg("accepted: %s", header);
    assert_null(file);
    if (!strstr(sy_error_message(), message))
        fail_msg("\"%s\" lacks \"%s\"", sy_error_message(), message);
}

#define T(name, dtype, shape, begin, end) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" begin "," end "]}"

static void test_rules(void **state) {
    (void)state;
    refuses("", 0, "does not begin with '{'");
    refuses(" {}", 0, "does not begin with '{'");
    refuses("{", 0, "t:1:");
    refuses("{}x", 0, "t:1:");
    refuses("{\"\xff\":1}", 0, "t:1:");
    refuses("{}", 1, "1 bytes after the last tensor");
    refuses("{" T("a", "F32", "1", "0", "4") "," T("a", "F32", "1", "4", "8") "}", 8, "duplicate");
    refuses("{" T("a", "F33", "1", "0", "4") "}", 4, "dtype \"F33\"");
    refuses("{" T("a", "F32", "1", "0", "5") "}", 5, "dtype x shape is 4 bytes");
    refuses("{" T("a", "F32", "1", "0", "4") "}", 3, "outside the 3 bytes");
    refuses("{" T("a", "F32", "1", "4", "0") "}", 4, "outside");
    refuses("{" T("a", "F32", "1", "-4", "0") "}", 4, "outside");
    refuses("{" T("a", "F32", "1", "0", "4") "}", 5, "1 bytes after");
    refuses("{" T("a", "F32", "1", "1", "5") "}", 5, "a hole");
    refuses("{" T("a", "F32", "1", "0", "4") "," T("b", "F32", "1", "5", "9") "}", 9, "a hole");
    refuses("{" T("a", "F32", "1", "0", "4") "," T("b", "F32", "1", "2", "6") "}", 6, "an overlap");
    refuses("{" T("a", "F32", "1", "0", "4") "," T("b", "F32", "1", "0", "4") "}", 4, "an overlap");
#define ELEVEN "1,1,1,1,1,1,1,1,1,1,1"
    refuses("{" T("a", "F32", ELEVEN "," ELEVEN "," ELEVEN, "0", "4") "}", 4, "33 dims");
    refuses("{" T("a", "F4", "3", "0", "2") "}", 2, "ends within a byte");
    refuses("{" T("a", "F6_E2M3", "2", "0", "2") "}", 2, "ends within a byte");
    refuses("{" T("a", "F4", "4", "0", "4") "}", 4, "dtype x shape is 2 bytes");
    refuses("{" T("a", "F32", "-1", "0", "4") "}", 4, "not an integer >= 0");
    refuses("{" T("a", "F32", "1.0", "0", "4") "}", 4, "not an integer >= 0");
    refuses("{" T("a", "F32", "4294967296,4294967296", "0", "0") "}", 0, "overflows");
    refuses("{" T("a", "F64", "4611686018427387904", "0", "0") "}", 0, "overflows");
    refuses("{" T("a", "F32", "1", "0", "4.0") "}", 4, "two integers");
    refuses("{\"a\":3}", 0, "not an object");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4],\"x\":1}}", 4, "keys other than");
    refuses("{\"a\":{\"shape\":[],\"data_offsets\":[0,4]}}", 4, "no string \"dtype\"");
    refuses("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "no array \"shape\"");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[]}}", 4, "data_offsets");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4,4]}}", 4, "data_offsets");
    refuses("{\"__metadata__\":{\"a\":1}}", 0, "not a string");
    refuses("{\"__metadata__\":[]}", 0, "not an object");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[[[]]],\"data_offsets\":[0,4]}}", 4, "nested");
}

static void test_lengths(void **state) {
    (void)state;
    char buffer[16] = {0};
    struct sy_safetensors *file = NULL;
    for (size_t n = 0; n < 8; n++)
        assert_int_equal(sy_safetensors_parse("t", buffer, n, &file), SY_ERR_DATA);
    uint64_t length = SY_SAFETENSORS_MAX_HEADER + 1;
    memcpy(buffer, &length, 8);
    assert_int_equal(sy_safetensors_parse("t", buffer, 16, &file), SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "100000001"));
    length = UINT64_MAX;
    memcpy(buffer, &length, 8);
    assert_int_equal(sy_safetensors_parse("t", buffer, 16, &file), SY_ERR_DATA);
    length = 9;
    memcpy(buffer, &length, 8);
    assert_int_equal(sy_safetensors_parse("t", buffer, 16, &file), SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "header of 9 bytes in a file of 16"));
}

static void test_read(void **state) {
    (void)state;
    char buffer[ROOM];
    size_t n = make(buffer,
                    "{" T("b", "BF16", "2,3", "4", "16") ",\"__metadata__\":{\"format\":\"pt\"}," T(
                        "z", "I64", "0", "4", "4") "," T("a", "F32", "", "0", "4") "}  ",
                    16);
    struct sy_safetensors *file = NULL;
    assert_int_equal(sy_safetensors_parse("t", buffer, n, &file), SY_OK);
    assert_int_equal(sy_safetensors_count(file), 3);
    assert_string_equal(sy_safetensors_at(file, 0)->name, "a");
    assert_string_equal(sy_safetensors_at(file, 1)->name, "z");
    assert_null(sy_safetensors_at(file, 3));
    const struct sy_safetensors_tensor *b = sy_safetensors_find(file, "b");
    assert_ptr_equal(b, sy_safetensors_at(file, 2));
    assert_null(sy_safetensors_find(file, "c"));
    assert_int_equal(b->dtype, SY_SAFETENSORS_BF16);
    assert_int_equal(b->n_dims, 2);
    assert_int_equal(b->dims[1], 3);
    assert_int_equal(b->n_elements, 6);
    assert_int_equal(b->bytes, 12);
    assert_int_equal(((const char *)b->data)[0], 4);
    assert_int_equal(sy_safetensors_find(file, "a")->n_elements, 1);
    assert_int_equal(sy_safetensors_find(file, "z")->n_elements, 0);
    assert_int_equal(sy_safetensors_metadata_count(file), 1);
    assert_string_equal(sy_safetensors_metadata_at(file, 0).value, "pt");
    char two[2];
    assert_int_equal(sy_safetensors_read(file, b, 10, 2, two), SY_OK);
    assert_int_equal(two[1], 15);
    assert_int_equal(sy_safetensors_read(file, b, 11, 2, two), SY_ERR_USAGE);
    assert_int_equal(sy_safetensors_read(file, b, -1, 2, two), SY_ERR_USAGE);
    sy_safetensors_close(file);
}

/* Every dtype that the format has, with its size, and as many dims as anyone has. */
static void test_dtypes_and_dims(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int bits;
    } all[] = {{"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
               {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
               {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
               {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
               {"I64", 64},        {"U64", 64}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char header[256], buffer[ROOM], shape[64];
        struct sy_safetensors *file = NULL;
        int bytes = 4 * all[i].bits / 8;
        snprintf(header, sizeof header, "{" T("a", "%s", "1,2,1,1,1,1,1,1,2", "0", "%d") "}", all[i].name,
                 bytes);
        if (sy_safetensors_parse("t", buffer, make(buffer, header, (size_t)bytes), &file) != SY_OK)
            fail_msg("%s: %s", all[i].name, sy_error_message());
        const struct sy_safetensors_tensor *t = sy_safetensors_at(file, 0);
        assert_string_equal(sy_safetensors_dtype_name(t->dtype), all[i].name);
        assert_true(t->bytes == bytes && t->n_elements == 4 && t->n_dims == 9);
        assert_int_equal(sy_safetensors_dtype_bytes(t->dtype), all[i].bits / 8);
        sy_safetensors_shape(t, shape, sizeof shape);
        assert_string_equal(shape, "[1, 2, 1, 1, 1, 1, 1, 1, 2]");
        sy_safetensors_shape(t, shape, 12); /* cut */
        assert_string_equal(shape, "[1, 2, 1, 1");
        sy_safetensors_shape(t, shape, 1);
        assert_string_equal(shape, "");
        sy_safetensors_close(file);
    }
}

/* The file that the writer tests make: 8 + 144 + 20 bytes. */
static sy_status write_sample(const char *path, size_t piece, struct sy_safetensors_written *written) {
    struct sy_safetensors_writer *w = NULL;
    int64_t dims[2] = {2, 2};
    char data[20];
    for (int i = 0; i < 20; i++)
        data[i] = (char)(i + 1);
    sy_status status = sy_safetensors_writer_open(path, &w);
    if (status != SY_OK)
        return status;
    if ((status = sy_safetensors_writer_metadata(w, "format", "pt")) != SY_OK ||
        (status = sy_safetensors_writer_declare(w, "a\"\xc3\xa4", SY_SAFETENSORS_F32, 2, dims)) != SY_OK ||
        (status = sy_safetensors_writer_declare(w, "b", SY_SAFETENSORS_F32, 0, NULL)) != SY_OK) {
        sy_safetensors_writer_abandon(w);
        return status;
    }
    for (size_t at = 0; at < sizeof data && status == SY_OK; at += piece)
        status =
            sy_safetensors_writer_write(w, data + at, sizeof data - at < piece ? sizeof data - at : piece);
    if (status != SY_OK) {
        sy_safetensors_writer_abandon(w);
        return status;
    }
    return sy_safetensors_writer_finish(w, 1, written);
}

static size_t slurp(const char *path, char *to) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(to, 1, ROOM, f);
    fclose(f);
    return n;
}

static void test_writer_bytes(void **state) {
    (void)state;
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"a\\\"\xc3\xa4\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[16,20]}}";
    char got[ROOM], again[ROOM];
    struct sy_safetensors_written written;
    assert_int_equal(write_sample(path_of("w1"), 20, &written), SY_OK);
    size_t n = slurp(path_of("w1"), got);
    uint64_t length;
    memcpy(&length, got, 8);
    assert_int_equal(length % 8, 0);
    assert_true(length >= strlen(header) && length < strlen(header) + 8);
    assert_memory_equal(got + 8, header, strlen(header));
    for (size_t i = strlen(header); i < length; i++)
        assert_int_equal(got[8 + i], ' ');
    assert_int_equal(n, 8 + length + 20);
    assert_int_equal(written.bytes, n);
    assert_int_equal(got[n - 1], 20);
    XXH128_hash_t hash = XXH3_128bits(got, 8 + length);
    char hex[33];
    snprintf(hex, sizeof hex, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
    assert_string_equal(hex, written.header_hash);
    for (size_t piece = 1; piece < 20; piece += 3) { /* the same bytes in any pieces */
        assert_int_equal(write_sample(path_of("w2"), piece, &written), SY_OK);
        assert_int_equal(slurp(path_of("w2"), again), n);
        assert_memory_equal(got, again, n);
        assert_string_equal(hex, written.header_hash);
        unlink(path_of("w2"));
    }
    struct sy_safetensors *file = NULL;
    assert_int_equal(sy_safetensors_open(path_of("w1"), &file), SY_OK);
    assert_null(sy_safetensors_at(file, 0)->data);
    char b[4];
    assert_int_equal(sy_safetensors_read(file, sy_safetensors_find(file, "b"), 0, 4, b), SY_OK);
    assert_int_equal(b[3], 20);
    assert_int_equal(truncate(path_of("w1"), (off_t)n - 2),
                     0); /* shrinks while open: an error, not a signal */
    assert_int_equal(sy_safetensors_read(file, sy_safetensors_find(file, "b"), 0, 4, b), SY_ERR_DATA);
    sy_safetensors_close(file);
    unlink(path_of("w1"));
}

static void test_every_truncation(void **state) {
    (void)state;
    char whole[ROOM];
    struct sy_safetensors_written written;
    assert_int_equal(write_sample(path_of("w"), 20, &written), SY_OK);
    size_t n = slurp(path_of("w"), whole);
    struct sy_safetensors *file = NULL;
    for (size_t i = n; i-- > 0;) {
        assert_int_equal(truncate(path_of("w"), (off_t)i), 0);
        assert_int_equal(sy_safetensors_open(path_of("w"), &file), SY_ERR_DATA);
        assert_int_equal(sy_safetensors_parse("t", whole, i, &file), SY_ERR_DATA);
    }
    assert_int_equal(sy_safetensors_parse("t", whole, n + 1, &file), SY_ERR_DATA);
    assert_int_equal(sy_safetensors_parse("t", whole, n, &file), SY_OK);
    sy_safetensors_close(file);
    unlink(path_of("w"));
    assert_int_equal(sy_safetensors_open(path_of("w"), &file), SY_ERR_IO);
    assert_int_equal(sy_safetensors_open(folder, &file), SY_ERR_IO);
}

static void test_writer_usage(void **state) {
    (void)state;
    struct sy_safetensors_writer *w = NULL;
    int64_t dims[2] = {1, INT64_MAX / 2};
    assert_int_equal(sy_safetensors_writer_open(path_of("u"), &w), SY_OK);
    struct sy_safetensors_writer *second = NULL;
    assert_int_equal(sy_safetensors_writer_open(path_of("u"), &second), SY_ERR_IO); /* exists */
    assert_int_equal(sy_safetensors_writer_declare(w, "b", SY_SAFETENSORS_U8, 1, dims), SY_OK);
    assert_int_equal(sy_safetensors_writer_declare(w, "b", SY_SAFETENSORS_U8, 1, dims), SY_ERR_USAGE);
    assert_int_equal(sy_safetensors_writer_declare(w, "a", SY_SAFETENSORS_U8, 1, dims), SY_ERR_USAGE);
    assert_int_equal(sy_safetensors_writer_declare(w, "__metadata__", SY_SAFETENSORS_U8, 1, dims),
                     SY_ERR_USAGE);
    assert_int_equal(sy_safetensors_writer_declare(w, "c", SY_SAFETENSORS_F64, 2, dims), SY_ERR_USAGE);
    assert_int_equal(
        sy_safetensors_writer_declare(w, "c", SY_SAFETENSORS_F64, SY_SAFETENSORS_MAX_DIMS + 1, dims),
        SY_ERR_USAGE);
    int64_t three = 3;
    assert_int_equal(sy_safetensors_writer_declare(w, "c", SY_SAFETENSORS_F4, 1, &three), SY_ERR_USAGE);
    assert_int_equal(sy_safetensors_writer_write(w, "xy", 2), SY_ERR_USAGE); /* one was declared */
    assert_non_null(strstr(sy_error_message(), "2 bytes written where 1 are left"));
    assert_int_equal(sy_safetensors_writer_declare(w, "d", SY_SAFETENSORS_U8, 1, dims),
                     SY_ERR_USAGE); /* header is out */
    assert_int_equal(sy_safetensors_writer_finish(w, 0, NULL), SY_ERR_USAGE);
    assert_int_not_equal(access(path_of("u"), F_OK), 0);
    assert_int_equal(sy_safetensors_writer_open(path_of("u"), &w), SY_OK);
    assert_int_equal(sy_safetensors_writer_declare(w, "\xff", SY_SAFETENSORS_U8, 1, dims), SY_ERR_USAGE);
    sy_safetensors_writer_abandon(w);
    assert_int_not_equal(access(path_of("u"), F_OK), 0);
    struct sy_safetensors_written written; /* an empty file is legal */
    assert_int_equal(sy_safetensors_writer_open(path_of("e"), &w), SY_OK);
    assert_int_equal(sy_safetensors_writer_finish(w, 0, &written), SY_OK);
    assert_int_equal(written.bytes, 16);
    struct sy_safetensors *file = NULL;
    assert_int_equal(sy_safetensors_open(path_of("e"), &file), SY_OK);
    assert_int_equal(sy_safetensors_count(file), 0);
    sy_safetensors_close(file);
    unlink(path_of("e"));
}

static void test_write_errors(void **state) {
    (void)state;
    struct sy_safetensors_written written;
    assert_int_equal(write_sample("/nonexistent/x", 20, &written), SY_ERR_IO);
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t limit = 0; limit < 160; limit += 7) { /* EFBIG after a short write, at many places */
        small = old;
        small.rlim_cur = limit;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        sy_status status = write_sample(path_of("full"), 5, &written);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(status, SY_ERR_IO);
        assert_non_null(strstr(sy_error_message(), "/full: cannot write "));
        assert_int_not_equal(access(path_of("full"), F_OK), 0);
    }
    signal(SIGXFSZ, SIG_DFL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_dtypes_and_dims),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_writer_bytes),
        cmocka_unit_test(test_writer_usage),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_write_errors),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder) != 0;
}
