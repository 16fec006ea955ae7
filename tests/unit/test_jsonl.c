/* JSON Lines: plain, gzip and zstd give the same texts; broken lines are counted, named and bounded;
 * damaged streams fail.
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
#include "formats/jsonl_plain.h"
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

static struct sy_source *source; /* of the one that is open */

static struct sy_jsonl *open_text(const char *text, size_t bytes, const struct sy_jsonl_options *options) {
    struct sy_jsonl *jsonl = NULL;
    assert_int_equal(sy_source_open_memory("m.jsonl", text, bytes, &source), SY_OK);
    assert_int_equal(sy_jsonl_open(source, options, &jsonl), SY_OK);
    n_warnings = 0;
    return jsonl;
}

static void shut(struct sy_jsonl *jsonl) {
    sy_jsonl_close(jsonl);
    sy_source_close(source);
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
    static const char text[] =
        "\xef\xbb\xbf{\"text\":\"one\"}\r\n\n   \t\n{\"id\":123456789012345678901,\"text\":\"\"}\n"
        "{\"text\":\"last, no newline \\u00e4\"}";
    struct sy_jsonl *jsonl = open_text(text, sizeof text - 1, &options);
    next_is(jsonl, "one", 1);
    next_is(jsonl, "", 4);
    next_is(jsonl, "last, no newline \xc3\xa4", 5);
    next_is(jsonl, NULL, 0);
    next_is(jsonl, NULL, 0);
    assert_int_equal(sy_source_stored_bytes(source), sizeof text - 1);
    shut(jsonl);
    jsonl = open_text("", 0, &options);
    next_is(jsonl, NULL, 0);
    shut(jsonl);
    const char *with_nul = "{\"text\":\"a\\u0000b\"}";
    jsonl = open_text(with_nul, strlen(with_nul), &options);
    const char *got = NULL;
    size_t bytes = 0;
    assert_int_equal(sy_jsonl_next(jsonl, &got, &bytes), SY_OK);
    assert_int_equal(bytes, 3);
    assert_memory_equal(got, "a\0b", 3);
    shut(jsonl);
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
    shut(jsonl);
    jsonl = open_text(text, strlen(text), &options); /* n is 1 already: the next one is too many */
    next_is(jsonl, "a", 1);
    const char *got = NULL;
    size_t bytes = 0;
    assert_int_equal(sy_jsonl_next(jsonl, &got, &bytes), SY_ERR_DATA);
    assert_int_equal(strncmp(sy_error_message(), want, strlen(want)), 0);
    assert_non_null(strstr(sy_error_message(), "broken line 2, data.max_bad_lines is 1"));
    shut(jsonl);
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
        shut(jsonl);
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
    assert_int_equal(sy_source_open(path, &source), SY_OK);
    assert_int_equal(sy_jsonl_open(source, &options, &jsonl), SY_OK);
    check_big(jsonl);
    XXH128_hash_t hash = XXH3_128bits(packed, n);
    char want[33], got[33];
    snprintf(want, sizeof want, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
    sy_source_stored_hash(source, got);
    assert_string_equal(got, want);
    assert_int_equal(sy_source_stored_bytes(source), n);
    shut(jsonl);
    unlink(path);
    assert_int_equal(sy_source_open(path, &source), SY_ERR_IO);
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
    shut(jsonl);
    first = ZSTD_compress(packed, ROOM, text, half, 3);
    both = first + ZSTD_compress(packed + first, ROOM - first, text + half, n - half, 3);
    check_file(".jsonl.zst", packed, both);
    check_cuts(packed, both, 4, first);
    free(text);
    free(packed);
}

/* The first bytes say what a file is. A name that says otherwise is refused, one that says nothing is
 * fine. */
static void check_name(const char *suffix, const char *bytes, size_t n, sy_status want, const char *text) {
    char path[64], got[16];
    size_t n_got = 0;
    snprintf(path, sizeof path, "/tmp/sy_jsonl_XXXXXX%s", suffix);
    int fd = mkstemps(path, (int)strlen(suffix));
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), n);
    close(fd);
    assert_int_equal(sy_source_open(path, &source), want);
    unlink(path);
    if (want != SY_OK) {
        assert_non_null(strstr(sy_error_message(), ", as its name says: give it the name of what it is"));
        return;
    }
    assert_int_equal(sy_source_read(source, got, sizeof got, &n_got), SY_OK);
    assert_int_equal(n_got, strlen(text));
    assert_memory_equal(got, text, n_got);
    sy_source_close(source);
}

static void test_names(void **state) {
    (void)state;
    char gz[64], zst[64], skip[80] = "\x50\x2a\x4d\x18\x02\0\0\0hi"; /* a frame to skip comes first */
    size_t n_gz = gzip("text", 4, gz, sizeof gz), n_zst = ZSTD_compress(zst, sizeof zst, "text", 4, 1);
    memcpy(skip + 10, zst, n_zst);
    static const char *const gz_names[] = {".gz", ".GZ", "", ".txt"};
    static const char *const zst_names[] = {".zst", ".Zst", "", ".txt"};
    for (int i = 0; i < 4; i++) {
        check_name(gz_names[i], gz, n_gz, SY_OK, "text");
        check_name(zst_names[i], zst, n_zst, SY_OK, "text");
        check_name(zst_names[i], skip, 10 + n_zst, SY_OK, "text");
        check_name(gz_names[i], "text", 4, i < 2 ? SY_ERR_DATA : SY_OK, "text");
        check_name(zst_names[i], "text", 4, i < 2 ? SY_ERR_DATA : SY_OK, "text");
        check_name(gz_names[i], "", 0, SY_OK, "");
    }
    check_name(".gz", "t", 1, SY_ERR_DATA, "");
    check_name(".zst", gz, n_gz, SY_ERR_DATA, "");
    check_name(".gz", zst, n_zst, SY_ERR_DATA, "");
}

/* What was peeked at is read again, once. */
static void test_peek(void **state) {
    (void)state;
    enum { N = 3 * SY_SOURCE_HEAD_BYTES / 2 };
    char *bytes = malloc(N), *got = malloc(N + 1);
    assert_true(bytes && got);
    for (int i = 0; i < N; i++)
        bytes[i] = (char)(i * 7 % 251);
    for (size_t n = 0; n <= N; n += N / 3) {
        const char *head = NULL;
        size_t n_head = 0, at = 0, piece = 1;
        assert_int_equal(sy_source_open_memory("m", bytes, n, &source), SY_OK);
        for (int twice = 0; twice < 2; twice++) {
            assert_int_equal(sy_source_peek(source, &head, &n_head), SY_OK);
            assert_int_equal(n_head, n < SY_SOURCE_HEAD_BYTES ? n : SY_SOURCE_HEAD_BYTES);
            assert_memory_equal(head, bytes, n_head);
        }
        for (; piece > 0; at += piece)
            assert_int_equal(sy_source_read(source, got + at, at % 3 ? 1000 : 1, &piece), SY_OK);
        assert_int_equal(at, n);
        assert_memory_equal(got, bytes, n);
        assert_int_equal(sy_source_stored_bytes(source), n);
        sy_source_close(source);
    }
    free(bytes);
    free(got);
}

/* A mark at the beginning of any line and of any text is dropped, one elsewhere stays. */
static void test_marks(void **state) {
    (void)state;
    struct sy_jsonl_options options = {0};
    static const char text[] = "\xef\xbb\xbf{\"text\":\"a\"}\n\xef\xbb\xbf{\"text\":\"\xef\xbb\xbf"
                               "b\"}\n"
                               "{\"text\":\"\\ufeffc\\ufeff\"}\n\xef\xbb\xbf\n{\"text\":\"\\ufeff\\ufeff\"}\n"
                               "{\"text\":\"\\ufeff\"}\n";
    struct sy_jsonl *jsonl = open_text(text, sizeof text - 1, &options);
    next_is(jsonl, "a", 1);
    next_is(jsonl, "b", 2);
    next_is(jsonl, "c\xef\xbb\xbf", 3);
    next_is(jsonl, "\xef\xbb\xbf", 5);
    next_is(jsonl, "", 6);
    next_is(jsonl, NULL, 0);
    shut(jsonl);
}

/* data.encoding_errors = replace, in a line: bytes that are not UTF-8, and halves of surrogate pairs. */
static void test_replace(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"caf\xe9", "caf\xef\xbf\xbd"},
        {"\xff\xff", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xe2\x82|", "\xef\xbf\xbd|"},
        {"\\ud83d\\ude00", "\xf0\x9f\x98\x80"},
        {"\\ud83d", "\xef\xbf\xbd"},
        {"\\uDE00x", "\xef\xbf\xbdx"},
        {"\\ud83d\\u0041", "\xef\xbf\xbd"
                           "A"},
        {"\\ud83d\\ud83d\\ude00", "\xef\xbf\xbd\xf0\x9f\x98\x80"},
        {"\\\\ud83d", "\\ud83d"}, /* an escaped backslash, then letters */
        {"\\ud7ff\\ue000", "\xed\x9f\xbf\xee\x80\x80"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[128];
        int n = snprintf(line, sizeof line, "{\"text\":\"%s\"}\n{\"text\":\"next\"}", cases[i][0]);
        struct sy_jsonl_options options = {.replace = 1};
        struct sy_jsonl *jsonl = open_text(line, (size_t)n, &options);
        next_is(jsonl, cases[i][1], 1);
        next_is(jsonl, "next", 2);
        shut(jsonl);
    }
}

/* All of the first lines fail: what is there instead, and what to do. */
static void stops(const char *text, int64_t max_bad_lines, const char *const *wants) {
    struct sy_jsonl_options options = {.max_bad_lines = max_bad_lines, .log = &logger};
    struct sy_jsonl *jsonl = open_text(text, strlen(text), &options);
    const char *got = "";
    size_t bytes = 0;
    sy_status status = SY_OK;
    while (status == SY_OK && got)
        status = sy_jsonl_next(jsonl, &got, &bytes);
    shut(jsonl);
    if (!wants) {
        assert_int_equal(status, SY_OK);
        return;
    }
    assert_int_equal(status, SY_ERR_DATA);
    assert_true(n_warnings < 5);
    for (; *wants; wants++)
        if (!strstr(sy_error_message(), *wants))
            fail_msg("\"%s\" lacks \"%s\"", sy_error_message(), *wants);
}
#define STOPS(text, ...) stops(text, 100, (const char *const[]){__VA_ARGS__, NULL})

#define FIVE(line) line "\n" line "\n" line "\n" line "\n" line "\n"
#define GOOD "{\"text\":\"x\"}\n"

static void test_first_lines(void **state) {
    (void)state;
    STOPS(FIVE("{\"id\":1,\"content\":\"a long text\",\"url\":\"b\"}") GOOD,
          "m.jsonl: no text under \"text\" (data.text_key) in the first 5 lines; keys there: \"id\", "
          "\"content\", \"url\"; "
          "if the text is in \"content\": --data.text_key=content");
    STOPS("{\"a\":\"1\"}\n{\"b\":\"22\"}\n{\"a\":\"333\"}\n{\"c\":4}\n\n[]\n" GOOD, "in the first 5 lines",
          "keys there: \"a\", \"b\", \"c\"", "--data.text_key=a");
    STOPS("{\"text\":[1],\"n\":2}\n", "in its one line",
          "keys there: \"text\", \"n\"; none of them holds a string");
    STOPS("{\"text\": \"\\ud800\"}\n", "m.jsonl:1: column ", "this is the file's one line: mend it");
    STOPS("{}\n{}\n", "in the first 2 lines; keys there: none; none of them");
    STOPS("[{\"text\":\"a\"},\n{\"text\":\"b\"}]\n",
          "m.jsonl: not JSON Lines but a JSON array (data.format): jq -c '.[]'");
    STOPS("\n  [\n  {\n  \"text\": \"a\"\n  }\n]\n", "a JSON array");
    STOPS("{\n  \"text\": \"a\",\n  \"b\": 1\n}\n", "m.jsonl:1: column ",
          "no JSON object in the first 4 lines, so this is one JSON value over several lines",
          "jq -c . FILE");
    STOPS("Once upon\na time\nthere\nwere\nlines\nand more\n", "m.jsonl:1: column ",
          "no JSON object in the first 5 lines: if this is plain text: --data.format=text");
    STOPS("\n\nOnce\n", "m.jsonl:3: ", "no JSON object in its one line");
    stops("a\nb\nc\nd\n" GOOD, 4, NULL); /* the fifth is good: four are broken, as many as are tolerated */
    stops(GOOD FIVE("x") FIVE("y"), 10, NULL);
    stops("a\nb\nc\nd\n" GOOD, 3,
          (const char *const[]){"m.jsonl:4: ", "broken line 4, data.max_bad_lines is 3", NULL});
    stops(FIVE("x"), 0, (const char *const[]){"m.jsonl:1: ", "broken line 1, data.max_bad_lines is 0", NULL});
}

static void recognizes(const char *head, size_t n, int whole, const char *key, int want) {
    int yes = -1;
    assert_int_equal(sy_jsonl_recognize(head, n, whole, key, &yes), SY_OK);
    if (yes != want)
        fail_msg("%.*s: %d", (int)n, head, yes);
}

static void test_recognize(void **state) {
    (void)state;
    static const struct {
        const char *head, *key;
        int whole, want;
    } cases[] = {
        {"{\"text\":\"a\"}", NULL, 1, 1},
        {"{\"text\":\"a\"}\nwhatever", NULL, 0, 1},
        {"\xef\xbb\xbf\n \r\n{\"text\":\"\"}", NULL, 1, 1},
        {"{\"text\":\"a\"}\r\n", NULL, 1, 1},
        {"{\"text\":\"a\"}", "body", 1, 0},
        {"{\"body\":\"a\"}", "body", 1, 1},
        {"{\"text\":3}\n", NULL, 0, 0},
        {"{\"text\":\"a\"", NULL, 1, 0},
        {"{\"text\":\"a", NULL, 0, 1},
        {"  { \"", NULL, 0, 1},
        {"a\"quoted", NULL, 0, 0},
        {"[\"", NULL, 0, 0},
        {"{", NULL, 0, 0},
        {"{ x", NULL, 0, 0},
        {"", NULL, 1, 0},
        {"\n\n", NULL, 1, 0},
        {"[{\"text\":\"a\"}]", NULL, 1, 0},
        {"Once {\"text\":\"a\"}", NULL, 1, 0},
        {"{\n\"text\":\"a\"}", NULL, 1, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        recognizes(cases[i].head, strlen(cases[i].head), cases[i].whole, cases[i].key, cases[i].want);
    char deep[200];
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"text\":", 8);
    recognizes(deep, sizeof deep, 1, NULL, 0);
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
        shut(jsonl);
        failures += failed;
        if (!failed)
            break;
    }
    assert_true(failures > 10);
}

/* What is taken without jansson is what jansson makes of it, and a line that is not taken is unchanged. 1:
 * taken. */
static int plain_as_jansson(const char *line, size_t n) {
    char copy[256];
    const char *text = NULL;
    size_t bytes = 0;
    assert_true(n < sizeof copy);
    memcpy(copy, line, n);
    if (!sy_jsonl_plain(copy, n, "text", &text, &bytes)) {
        assert_memory_equal(copy, line, n);
        return 0;
    }
    json_error_t error;
    json_t *value = json_loadb(line, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    const json_t *want = json_object_get(value, "text");
    if (!json_is_string(want) || json_string_length(want) != bytes ||
        memcmp(json_string_value(want), text, bytes) != 0)
        fail_msg("%.*s: taken as \"%.*s\"", (int)n, line, (int)bytes, text);
    json_decref(value);
    return 1;
}

static void test_plain(void **state) {
    (void)state;
    static const char *const taken[] = {
        "{\"text\":\"\"}", "{\"text\":\"a\"}", " {\t\"text\" : \"a \\n\\t\\\"\\\\ \\/\\b\\f\\r z\" } \r",
        "{\"text\":\"\xc3\xa4\xf0\x9f\x8c\x99 \x7f\"}", "{\"text\":\"{\\\"text\\\":1}\"}"};
    static const char *const not_taken[] = {"",
                                            "{",
                                            "{\"text\":\"a\"",
                                            "{\"text\":\"a",
                                            "{\"text\":\"a\\",
                                            "{\"text\":\"a\"}}",
                                            "{\"text\":\"a\"} 1",
                                            "{\"text\":\"a\",}",
                                            "{\"text\":1}",
                                            "{\"texts\":\"a\"}",
                                            "{\"tex\":\"a\"}",
                                            "{\"text\":\"\\u0041\"}",
                                            "{\"text\":\"\\x\"}",
                                            "{\"text\":\"a\tb\"}",
                                            "{\"text\":\"\xc3\"}",
                                            "{\"text\":\"a\",\"b\":1}"};
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        assert_int_equal(plain_as_jansson(taken[i], strlen(taken[i])), 1);
    for (size_t i = 0; i < sizeof not_taken / sizeof *not_taken; i++)
        assert_int_equal(plain_as_jansson(not_taken[i], strlen(not_taken[i])), 0);
    assert_int_equal(plain_as_jansson("{\"text\":\"a\0b\"}", 14), 0);
    uint32_t random = 1;
    int n_taken = 0;
    for (int i = 0; i < 100000; i++) { /* a byte or two changed */
        char line[256];
        const char *from = taken[1 + i % 4];
        size_t n = strlen(from);
        memcpy(line, from, n);
        for (int k = 0; k <= i % 2; k++) {
            random = random * 1664525u + 1013904223u;
            line[(random >> 8) % n] =
                (char)(i % 3 ? "\\\"{}:u0n \xc3"[(random >> 20) % 10] : (int)(random >> 24));
        }
        n_taken += plain_as_jansson(line, n);
    }
    assert_true(n_taken > 5000 && n_taken < 90000);
}

int main(void) {
    json_set_alloc_funcs(failing_malloc, free); /* before the library first uses jansson */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),      cmocka_unit_test(test_broken),
        cmocka_unit_test(test_compressed), cmocka_unit_test(test_names),
        cmocka_unit_test(test_peek),       cmocka_unit_test(test_marks),
        cmocka_unit_test(test_replace),    cmocka_unit_test(test_first_lines),
        cmocka_unit_test(test_recognize),  cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
