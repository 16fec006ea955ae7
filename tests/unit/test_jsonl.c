/* JSON Lines: plain, gzip and zstd give the same texts; broken lines are counted, named and bounded; damaged streams fail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>
#include <zlib.h>
#include <zstd.h>

#include "formats/jsonl.h"
#include "formats/jsonl_source.h"

static char last_warning[512];
static int n_warnings;

static void note(void *user, enum sy_log_level level, const char *line) {
    (void)user;
    assert_int_equal(level, SY_LOG_WARN);
    snprintf(last_warning, sizeof last_warning, "%s", line);
    n_warnings++;
}

static const struct sy_log logger = {note, NULL};

static struct sy_jsonl *open_text(const char *text, size_t bytes, const struct sy_jsonl_options *options) {
    struct sy_jsonl *jsonl = NULL;
    assert_int_equal(sy_jsonl_open_memory("m.jsonl", text, bytes, options, &jsonl), SY_OK);
    n_warnings = 0;
    return jsonl;
}

static void next_is(struct sy_jsonl *jsonl, const char *want, int64_t line) {
    const char *text = NULL;
    size_t bytes = 0;
    assert_int_equal(sy_jsonl_next(jsonl, &text, &bytes), SY_OK);
    if (!want) {
        assert_null(text);
        return;
    }
    assert_non_null(text);
    assert_string_equal(text, want);
    assert_int_equal(bytes, strlen(want));
    assert_int_equal(sy_jsonl_line(jsonl), line);
}

static void test_lines(void **state) {
    (void)state;
    struct sy_jsonl_options options = {0};
    static const char text[] = "\xef\xbb\xbf{\"text\":\"one\"}\r\n\n   \t\n{\"id\":123456789012345678901,\"text\":\"\"}\n"
                               "{\"text\":\"last, no newline \\u00e4\"}";
    struct sy_jsonl *jsonl = open_text(text, sizeof text - 1, &options);
    next_is(jsonl, "one", 1);
    next_is(jsonl, "", 4);
    next_is(jsonl, "last, no newline \xc3\xa4", 5);
    next_is(jsonl, NULL, 0);
    next_is(jsonl, NULL, 0);
    assert_int_equal(sy_source_stored_bytes(sy_jsonl_source(jsonl)), sizeof text - 1);
    sy_jsonl_close(jsonl);
    jsonl = open_text("", 0, &options);
    next_is(jsonl, NULL, 0);
    sy_jsonl_close(jsonl);
    const char *with_nul = "{\"text\":\"a\\u0000b\"}";
    jsonl = open_text(with_nul, strlen(with_nul), &options);
    const char *got = NULL;
    size_t bytes = 0;
    assert_int_equal(sy_jsonl_next(jsonl, &got, &bytes), SY_OK);
    assert_int_equal(bytes, 3);
    assert_memory_equal(got, "a\0b", 3);
    sy_jsonl_close(jsonl);
}

/* One broken line between two good ones: named, counted, skipped; fatal when none is tolerated. */
static void breaks(const char *line, const char *why) {
    char text[1024], want[256];
    snprintf(text, sizeof text, "{\"body\":\"a\"}\n%s\n{\"body\":\"b\"}\n", line);
    int64_t n = 0;
    struct sy_jsonl_options options = {
        .text_key = "body", .max_bad_lines = 1, .n_bad_lines = &n, .log = &logger, .max_line_bytes = 300};
    struct sy_jsonl *jsonl = open_text(text, strlen(text), &options);
    next_is(jsonl, "a", 1);
    next_is(jsonl, "b", 3);
    next_is(jsonl, NULL, 0);
    assert_int_equal(n, 1);
    assert_int_equal(n_warnings, 1);
    snprintf(want, sizeof want, "m.jsonl:2: %s", why);
    if (strncmp(last_warning, want, strlen(want)) != 0)
        fail_msg("\"%s\" is not \"%s\"", last_warning, want);
    sy_jsonl_close(jsonl);
    jsonl = open_text(text, strlen(text), &options); /* n is 1 already: the next one is too many */
    next_is(jsonl, "a", 1);
    const char *got = NULL;
    size_t bytes = 0;
    assert_int_equal(sy_jsonl_next(jsonl, &got, &bytes), SY_ERR_DATA);
    assert_int_equal(strncmp(sy_error_message(), want, strlen(want)), 0);
    assert_non_null(strstr(sy_error_message(), "broken line 2, data.max_bad_lines is 1"));
    sy_jsonl_close(jsonl);
}

static void test_broken(void **state) {
    (void)state;
    breaks("{\"body\":\"x\"", "column ");
    breaks("[\"body\"]", "not a JSON object");
    breaks("\"body\"", "column ");
    breaks("{\"text\":\"x\"}", "no key \"body\"");
    breaks("{\"body\":3}", "key \"body\" is not a string");
    breaks("{\"body\":null}", "key \"body\" is not a string");
    breaks("{\"body\":\"x\",\"body\":\"y\"}", "column ");
    breaks("{\"body\":\"\xff\"}", "column ");
    breaks("{\"body\":\"x\"} {\"body\":\"y\"}", "column ");
    char line[400];
    memset(line, '[', 70);
    line[70] = 0;
    breaks(line, "nested more than 64");
    memset(line, 'x', 301);
    line[301] = 0;
    breaks(line, "longer than 300 bytes");
}

/* Texts of increasing length, 600 lines, over several read blocks. */
static size_t big_text(char *to, size_t room) {
    size_t n = 0;
    for (int i = 0; i < 600; i++) {
        n += (size_t)snprintf(to + n, room - n, "{\"text\":\"%d:", i);
        memset(to + n, 'a' + i % 26, (size_t)i);
        n += (size_t)i;
        n += (size_t)snprintf(to + n, room - n, "\"}\n");
    }
    return n;
}

static void check_big(struct sy_jsonl *jsonl) {
    const char *text = NULL;
    size_t bytes = 0;
    for (int i = 0; i < 600; i++) {
        assert_int_equal(sy_jsonl_next(jsonl, &text, &bytes), SY_OK);
        assert_non_null(text);
        assert_int_equal(atoi(text), i);
        assert_int_equal(bytes, (size_t)i + 1 + (i > 9) + (i > 99) + 1);
    }
    next_is(jsonl, NULL, 0);
}

static size_t gzip(const char *text, size_t bytes, char *to, size_t room) {
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (unsigned char *)(uintptr_t)text;
    z.avail_in = (unsigned)bytes;
    z.next_out = (unsigned char *)to;
    z.avail_out = (unsigned)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t n = room - z.avail_out;
    deflateEnd(&z);
    return n;
}

/* Every cut inside a stream is an error, not a short data set. */
static void check_cuts(const char *packed, size_t n, size_t first, size_t whole) {
    struct sy_jsonl_options options = {0};
    for (size_t cut = first; cut < n; cut += 1 + (n - cut) / 40) {
        if (cut == whole)
            continue;
        struct sy_jsonl *jsonl = open_text(packed, cut, &options);
        const char *text = "";
        size_t bytes = 0;
        sy_status status = SY_OK;
        while (status == SY_OK && text)
            status = sy_jsonl_next(jsonl, &text, &bytes);
        assert_int_equal(status, SY_ERR_DATA);
        assert_non_null(strstr(sy_error_message(), "cut off"));
        sy_jsonl_close(jsonl);
    }
}

static void check_file(const char *suffix, const char *packed, size_t n) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/sy_jsonl_XXXXXX%s", suffix);
    int fd = mkstemps(path, (int)strlen(suffix));
    assert_true(fd >= 0);
    assert_int_equal(write(fd, packed, n), n);
    close(fd);
    struct sy_jsonl_options options = {0};
    struct sy_jsonl *jsonl = NULL;
    assert_int_equal(sy_jsonl_open(path, &options, &jsonl), SY_OK);
    check_big(jsonl);
    XXH128_hash_t hash = XXH3_128bits(packed, n);
    char want[33], got[33];
    snprintf(want, sizeof want, "%016llx%016llx", (unsigned long long)hash.high64, (unsigned long long)hash.low64);
    sy_source_stored_hash(sy_jsonl_source(jsonl), got);
    assert_string_equal(got, want);
    assert_int_equal(sy_source_stored_bytes(sy_jsonl_source(jsonl)), n);
    sy_jsonl_close(jsonl);
    unlink(path);
    assert_int_equal(sy_jsonl_open(path, &options, &jsonl), SY_ERR_IO);
}

static void test_compressed(void **state) {
    (void)state;
    enum { ROOM = 1 << 19 };
    char *text = malloc(ROOM), *packed = malloc(ROOM);
    assert_true(text && packed);
    size_t n = big_text(text, ROOM), half = n / 2;
    check_file(".jsonl", text, n);
    size_t first = gzip(text, half, packed, ROOM); /* two members, cut inside a line */
    size_t both = first + gzip(text + half, n - half, packed + first, ROOM - first);
    check_file(".jsonl.gz", packed, both);
    check_cuts(packed, both, 2, first);
    packed[both - 6] ^= 1; /* the checksum */
    struct sy_jsonl_options options = {0};
    struct sy_jsonl *jsonl = open_text(packed, both, &options);
    const char *got = "";
    size_t bytes = 0;
    sy_status status = SY_OK;
    while (status == SY_OK && got)
        status = sy_jsonl_next(jsonl, &got, &bytes);
    assert_int_equal(status, SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "damaged gzip stream"));
    sy_jsonl_close(jsonl);
    first = ZSTD_compress(packed, ROOM, text, half, 3);
    both = first + ZSTD_compress(packed + first, ROOM - first, text + half, n - half, 3);
    check_file(".jsonl.zst", packed, both);
    check_cuts(packed, both, 4, first);
    free(text);
    free(packed);
}

static void test_wrong_suffix(void **state) {
    (void)state;
    char path[] = "/tmp/sy_jsonl_XXXXXX.gz";
    int fd = mkstemps(path, 3);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "{\"text\":\"a\"}", 12), 12);
    close(fd);
    struct sy_jsonl_options options = {.max_bad_lines = 100};
    struct sy_jsonl *jsonl = NULL;
    const char *text = NULL;
    size_t bytes = 0;
    assert_int_equal(sy_jsonl_open(path, &options, &jsonl), SY_OK);
    assert_int_equal(sy_jsonl_next(jsonl, &text, &bytes), SY_ERR_DATA);
    sy_jsonl_close(jsonl);
    unlink(path);
}

/* jansson's allocations fail once, at the n-th call: never a broken line, never another text. */
static long allocations_left = -1;

static void *failing_malloc(size_t bytes) {
    return allocations_left >= 0 && allocations_left-- == 0 ? NULL : malloc(bytes);
}

static void test_memory_runs_out(void **state) {
    (void)state;
    static const char line[] =
        "{\"id\":[1,2,{\"a\":0.5}],\"text\":\"a text that is longer than the first buffer of a string, "
        "so that it has to grow while it is read, more than once, with \\u00e4 in it\"}";
    int64_t n_bad = 0;
    struct sy_jsonl_options options = {.max_bad_lines = 9, .n_bad_lines = &n_bad};
    int failures = 0;
    for (long n = 0;; n++) {
        struct sy_jsonl *jsonl = open_text(line, strlen(line), &options);
        const char *text = NULL;
        size_t bytes = 0;
        allocations_left = n;
        sy_status status = sy_jsonl_next(jsonl, &text, &bytes);
        int failed = allocations_left < 0;
        allocations_left = -1;
        assert_int_equal(n_bad, 0);
        assert_int_equal(status, failed ? SY_ERR_MEMORY : SY_OK);
        if (!failed)
            assert_non_null(strstr(text, "grow while it is read, more than once, with \xc3\xa4 in it"));
        sy_jsonl_close(jsonl);
        failures += failed;
        if (!failed)
            break;
    }
    assert_true(failures > 10);
}

int main(void) {
    json_set_alloc_funcs(failing_malloc, free); /* before the library first uses jansson */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),        cmocka_unit_test(test_broken),          cmocka_unit_test(test_compressed),
        cmocka_unit_test(test_wrong_suffix), cmocka_unit_test(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
