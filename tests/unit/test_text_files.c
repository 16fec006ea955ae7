/* Files as text: which bytes are UTF-8, what a file is that is not, marks, replacement, and what a name
 * says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/utf8.h"
#include "data/documents.h"
#include "formats/kinds.h"
#include "formats/plain_text.h"
#include "folder.h"
#include "logged.h"

#define U "\xef\xbf\xbd" /* U+FFFD */

/* --- UTF-8 against a slow definition: encode every code point and look ---------------------------------- */

static size_t encode(unsigned c, char *s) {
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; c >>= 6)
        s[i] = (char)(0x80 | (c & 0x3f));
    s[0] = (char)(lead[n] | c);
    return n;
}

static void test_every_character(void **state) {
    (void)state;
    char s[8];
    for (unsigned c = 0; c < 0x120000; c++) {
        size_t n = encode(c, s);
        int valid = c < 0x110000 && !(c >= 0xd800 && c < 0xe000);
        if ((sy_utf8_span(s, n) == n) != valid)
            fail_msg("U+%X", c);
        if (valid && n > 1) {
            int is_cut = 0;
            assert_int_equal(sy_utf8_span(s, n - 1), 0);
            assert_int_equal(sy_utf8_broken(s, n - 1, &is_cut), n - 1);
            assert_int_equal(is_cut, 1);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(sy_utf8_start(s, i), 0);
        }
    }
    long two = 0,
         three = 0; /* no other sequence is a character: 2^11 - 2^7, 2^16 - 2^11 less the surrogates */
    for (unsigned a = 0x80; a < 0x100; a++)
        for (unsigned b = 0; b < 0x100; b++) {
            s[0] = (char)a, s[1] = (char)b;
            two += sy_utf8_span(s, 2) == 2;
            for (unsigned c = 0; c < 0x100; c++) {
                s[2] = (char)c;
                three += sy_utf8_span(s, 3) == 3 && sy_utf8_span(s, 2) == 0;
            }
        }
    assert_int_equal(two, 1920);
    assert_int_equal(three, 63488 - 2048);
}

/* Unicode 15, section 3.9: U+FFFD for each longest beginning of a character. */
static void test_clean(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"plain", "plain"},
        {"\xc0\xaf", U U},
        {"\xe0\x80\xbf|", U U U "|"},
        {"\xed\xa0\x80", U U U},
        {"\xf0\x90\x80|", U "|"},
        {"\xf0\x80\x80\x41", U U U "A"},
        {"\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", U U U U U "A" U U "B"},
        {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", U U U U "A"},
        {"a\xf5z\xe4\xb8", "a" U "z" U},
        {"twelve ASCII and \xe4", "twelve ASCII and " U},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[64];
        size_t n = sy_utf8_clean(cases[i][0], strlen(cases[i][0]), NULL);
        assert_int_equal(n, strlen(cases[i][1]));
        assert_int_equal(sy_utf8_clean(cases[i][0], strlen(cases[i][0]), out), n);
        assert_memory_equal(out, cases[i][1], n);
    }
}

/* --- plain text ----------------------------------------------------------------------------------------- */

/* Reads `bytes` as a text; what comes out to `out`, or the message. */
static sy_status read_text(const char *bytes, size_t n, int replace, char *out, size_t room, size_t *n_out) {
    struct sy_source *source = NULL;
    struct sy_plain_text *text = NULL;
    const char *piece = NULL;
    size_t got = 1;
    *n_out = 0;
    assert_int_equal(sy_source_open_memory("t", bytes, n, &source), SY_OK);
    assert_int_equal(sy_plain_text_open(source, replace, &text), SY_OK);
    sy_status status = SY_OK;
    while (got > 0 && status == SY_OK) {
        status = sy_plain_text_next(text, &piece, &got);
        if (status == SY_OK && got > 0) {
            assert_true(*n_out + got <= room);
            memcpy(out + *n_out, piece, got);
            *n_out += got;
        }
    }
    sy_plain_text_close(text);
    sy_source_close(source);
    return status;
}

/* refused: the message's beginning, or NULL when the text is fine; replaced: what replace makes of it.
 */
static void check_text(const char *bytes, size_t n, const char *refused, const char *replaced) {
    char out[256];
    size_t n_out;
    sy_status status = read_text(bytes, n, 0, out, sizeof out, &n_out);
    assert_int_equal(status, refused ? SY_ERR_DATA : SY_OK);
    if (refused && strncmp(sy_error_message(), refused, strlen(refused)) != 0)
        fail_msg("\"%s\" is not \"%s\"", sy_error_message(), refused);
    if (refused)
        assert_non_null(strstr(sy_error_message(), "data.encoding_errors=replace"));
    assert_int_equal(read_text(bytes, n, 1, out, sizeof out, &n_out), SY_OK);
    assert_int_equal(n_out, strlen(replaced));
    assert_memory_equal(out, replaced, n_out);
}
#define TEXT(bytes, refused, replaced) check_text(bytes, sizeof bytes - 1, refused, replaced)

static void test_plain_text(void **state) {
    (void)state;
    TEXT("", NULL, "");
    TEXT(" \n\t\r\n", NULL, " \n\t\r\n"); /* as it is */
    TEXT("one\r\ntwo\r\n", NULL, "one\r\ntwo\r\n");
    TEXT("\xef\xbb\xbfmark", NULL, "mark");
    TEXT("\xef\xbb\xbf", NULL, "");
    TEXT("\xef\xbb\xbf\xef\xbb\xbfx", NULL, "\xef\xbb\xbfx");
    TEXT("\xef\xbb", "t:1: ends inside a character (byte 0)", U);
    TEXT("caf\xc3\xa9", NULL, "caf\xc3\xa9");
    TEXT("a\ncaf\xe9 au lait", "t:2: byte 5 (0xe9) is not UTF-8: if this is Latin-1", "a\ncaf" U " au lait");
    TEXT("\xef\xbb\xbf\n\n\xff", "t:3: byte 5 (0xff) is not UTF-8", "\n\n" U);
    TEXT("cut \xe2\x82", "t:1: ends inside a character (byte 4)", "cut " U);
    TEXT("a\0b\nc\0", "t:1: byte 1 is 0", "a" U "b\nc" U);
    TEXT("\x1b[1mbold\x1b[0m\f", NULL, "\x1b[1mbold\x1b[0m\f");
}

/* A character across the border of two reads; a mistake far into the file. */
static void test_long_text(void **state) {
    (void)state;
    enum { N = 300000 };
    char *s = malloc(N + 8), *out = malloc(3 * N);
    assert_true(s && out);
    for (size_t shift = 0; shift < 4; shift++) {
        size_t n = 0, n_out;
        memset(s, 'x', shift);
        for (n = shift; n + 4 <= N; n += 4)
            memcpy(s + n, "\xf0\x9f\x98\x80", 4);
        assert_int_equal(read_text(s, n, 0, out, 3 * N, &n_out), SY_OK);
        assert_int_equal(n_out, n);
        assert_memory_equal(out, s, n);
        size_t at = shift + 4 * 50000;
        s[at + 2] = '\n'; /* cut in the middle: two bytes are one mistake, the fourth is another */
        assert_int_equal(read_text(s, n, 0, out, 3 * N, &n_out), SY_ERR_DATA);
        char want[64];
        snprintf(want, sizeof want, "t:1: byte %zu (0xf0) is not UTF-8", at);
        assert_int_equal(strncmp(sy_error_message(), want, strlen(want)), 0);
        assert_int_equal(read_text(s, n, 1, out, 3 * N, &n_out), SY_OK);
        assert_int_equal(n_out, n - 3 + 6);
        assert_memory_equal(out + at, U "\n" U "\xf0\x9f", 9);
    }
    size_t n_out; /* a second read that is shorter than the first: what the first left behind is not read
                     again */
    memset(s, 'x', 1 << 16);
    memcpy(s + (1 << 16),
           "a\xff"
           "b",
           3);
    assert_int_equal(read_text(s, (1 << 16) + 3, 1, out, 3 * N, &n_out), SY_OK);
    assert_int_equal(n_out, (1 << 16) + 5);
    assert_memory_equal(out + (1 << 16), "a" U "b", 5);
    free(s);
    free(out);
}

/* --- files ---------------------------------------------------------------------------------------------- */

static void put(const char *name, const char *bytes, size_t n) {
    FILE *f = fopen(path_of(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static sy_status load(const char *name, const char *format, int replace, struct sy_documents **d) {
    char path[256];
    snprintf(path, sizeof path, "%s", path_of(name));
    const char *const list[] = {path};
    struct sy_data_options o = {.dataset_paths = list,
                                .n_dataset_paths = 1,
                                .format = format,
                                .replace = replace,
                                .max_bad_lines = 100,
                                .log = &logger};
    *d = NULL;
    logged[0] = 0;
    return sy_documents_load(&o, d);
}

/* The file's documents, with '|' between. */
static void reads(const char *name, const char *format, int replace, const char *want) {
    char got[512] = "";
    size_t at = 0;
    struct sy_documents *d;
    if (load(name, format, replace, &d) != SY_OK)
        fail_msg("%s", sy_error_message());
    for (int64_t i = 0; i < d->n_documents; i++)
        at += (size_t)snprintf(got + at, sizeof got - at, "%s%.*s", i ? "|" : "", (int)d->document[i].bytes,
                               d->text + d->document[i].offset);
    assert_string_equal(got, want);
    sy_documents_destroy(d);
}

static void refuses(const char *name, const char *format, int replace, const char *message) {
    struct sy_documents *d;
    assert_int_equal(load(name, format, replace, &d), SY_ERR_DATA);
    if (!strstr(sy_error_message(), message) || !strstr(sy_error_message(), name))
        fail_msg("\"%s\" lacks \"%s\" or \"%s\"", sy_error_message(), message, name);
}

/* What is no text, by its first bytes, under any name, format and encoding_errors. */
static void test_other_kinds(void **state) {
    (void)state;
#define KIND(bytes, what) \
    { bytes, sizeof bytes - 1, what }
    static const struct {
        const char *bytes;
        size_t n;
        const char *what;
    } cases[] = {
        KIND("\xff\xfe"
             "h\0i\0",
             "UTF-16 text"),
        KIND("\xfe\xff\0h\0i", "UTF-16 text"),
        KIND("\xff\xfe\0\0h\0\0\0", "UTF-32 text"),
        KIND("\0\0\xfe\xff\0\0\0h", "UTF-32 text"),
        KIND("{\0\"\0t\0e\0x\0t\0\"\0:\0\"\0a\0\"\0}\0", "UTF-16 text without a mark"),
        KIND("\0O\0n\0c\0e\0 \0u\0p\0o\0n", "UTF-16 text without a mark"),
        KIND("\x1f\x04\x40\x04\x38\x04\x32\x04\x35\x04\x42\x04 \0\x1c\x04\x38\x04\x40\x04 "
             "\0x\0y\0z\0a\0b\0c\0d\0e\0f\0g\0h\0",
             "UTF-16 text without a mark"),
        KIND("O\0\0\0n\0\0\0c\0\0\0e\0\0\0", "UTF-32 text without a mark"),
        KIND("\0\0\0O\0\0\0n\0\0\0c\0\0\0e", "UTF-32 text without a mark"),
        KIND("\xfd"
             "7zXZ\0\0\4",
             "an xz file"),
        KIND("BZh91AY&SYabc", "a bzip2 file"),
        KIND("BZh5\x17\x72\x45\x38\x50\x90", "a bzip2 file"), /* an empty one */
        KIND("\x04\x22\x4d\x18", "an lz4 file"),
        KIND("PK\3\4\x14\0", "a zip archive"),
        KIND("7z\xbc\xaf\x27\x1c", "a 7z archive"),
        KIND("PAR1\x15\0\x15", "a Parquet file"),
        KIND("ARROW1\0\0", "an Arrow file"),
        KIND("SQLite format 3\0", "an SQLite database"),
        KIND("\x93NUMPY\1\0", "a NumPy array"),
        KIND("\x80\x04\x95", "a Python pickle"),
        KIND("%PDF-1.7\n", "a PDF"),
        KIND("\x89PNG\r\n\x1a\n\0\0", "a PNG picture"),
        KIND("\xff\xd8\xff\xe0", "a JPEG picture"),
        KIND("GIF89a\1\0\1\0\x80", "a GIF picture"),
        KIND("\x7f"
             "ELF\2\1\1",
             "a program (ELF)"),
        KIND("MZ\x90\0", "a program (Windows)"),
        KIND("\x18\0\0\0\0\0\0\0{\"a\":1}", "a safetensors file"),
        KIND("MMIDIDX\0\0", "an index of tokens"),
    };
    static const char *const names[] = {"x", "x.txt", "x.jsonl", "x.json"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t k = 0; k < 4; k++) {
            put(names[k], cases[i].bytes, cases[i].n);
            refuses(names[k], "auto", 0, cases[i].what);
            refuses(names[k], k % 2 ? "text" : "jsonl", 1, cases[i].what);
            assert_non_null(strstr(sy_error_message(), ", not UTF-8 text: "));
        }
    char tar[512] = "name";
    memcpy(tar + 257, "ustar", 6);
    put("x", tar, sizeof tar);
    refuses("x", "auto", 0, "a tar archive");
    static const char *const texts[] = {"GIF89a was a format.",
                                        "PAR1 is the first of four parts.",
                                        "MZ",
                                        "BZh",
                                        "RIFFs",
                                        "ID3 tags",
                                        "GGUF and ORC",
                                        "{\"a\":1}",
                                        "BZh9 is no magic number"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) { /* such names may begin a text */
        put("x", texts[i], strlen(texts[i]));
        reads("x", "auto", 0, texts[i]);
    }
    for (size_t k = 0; k < 4; k++)
        unlink(path_of(names[k]));
}

#define PUT(name, bytes) put(name, bytes, sizeof bytes - 1)

/* The rest: no kind that is known, but not UTF-8. */
static void test_encoding_errors(void **state) {
    (void)state;
    PUT("latin1.txt", "caf\xe9s");
    refuses("latin1.txt", "auto", 0, "latin1.txt:1: byte 3 (0xe9) is not UTF-8");
    reads("latin1.txt", "auto", 1, "caf" U "s");
    assert_non_null(strstr(logged, "latin1.txt: U+FFFD in 1 places that are not UTF-8"));
    PUT("cut.txt", "tail \xf0\x9f\x98");
    refuses("cut.txt", "text", 0, "cut.txt:1: ends inside a character (byte 5)");
    reads("cut.txt", "text", 1, "tail " U);
    PUT("cut.txt", "MZ tail \xf0\x9f\x98"); /* no reason to take it for a program */
    refuses("cut.txt", "text", 0, "cut.txt:1: ends inside a character (byte 8)");
    PUT("nul.txt", "a b c d e f g\0h i");
    refuses("nul.txt", "auto", 0, "nul.txt:1: byte 13 is 0");
    reads("nul.txt", "auto", 1, "a b c d e f g" U "h i");
    PUT("lines.jsonl", "{\"text\":\"a\"}\n{\"text\":\"\xe9\"}\n");
    reads("lines.jsonl", "auto", 0, "a"); /* a broken line, which is named */
    assert_non_null(strstr(logged, "lines.jsonl:2: "));
    reads("lines.jsonl", "auto", 1, "a|" U);
    PUT("mark.txt", SY_UTF8_BOM "a\r\n");
    reads("mark.txt", "auto", 0, "a\r\n");
    PUT("mark.jsonl", SY_UTF8_BOM "{\"text\":\"\\ufeff"
                                  "a\"}\r\n");
    reads("mark.jsonl", "auto", 0, "a");
    static const char *const gone[] = {"latin1.txt",  "cut.txt",  "nul.txt",
                                       "lines.jsonl", "mark.txt", "mark.jsonl"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        unlink(path_of(gone[i]));
}

static size_t gzip(const char *text, size_t n, char *to, size_t room) {
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (unsigned char *)(uintptr_t)text;
    z.avail_in = (unsigned)n;
    z.next_out = (unsigned char *)to;
    z.avail_out = (unsigned)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return room - z.avail_out;
}

/* The name without case, then the content; packing by content. */
static void test_formats(void **state) {
    (void)state;
    static const char lines[] = "{\"text\":\"one\"}\n{\"text\":\"two\"}\n";
    static const char object[] = "{\n  \"text\": \"one\"\n}\n",
                      array[] = "[{\"text\":\"one\"},{\"text\":\"two\"}]\n";
    static const char other[] = "{\"body\":\"one\"}\n";
    static const char *const named[] = {"a.jsonl", "a.JSONL", "a.JsonLines", "a.ndjson",
                                        "a.json",  "a.JSON",  "a.jsonl.gz",  "a.NDJSON.ZST"};
    static const char *const unnamed[] = {"a",    "a.txt", "6b86b273ff34", "a.data.gz",
                                          "a.gz", "json",  "a.jsonl.bak"};
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        int is_gz = strstr(named[i], ".gz") != NULL, is_zst = strstr(named[i], ".ZST") != NULL;
        char packed[256];
        const char *texts[] = {lines, object, array, other};
        static const char *const verdict[] = {NULL, "one JSON value over several lines", "a JSON array",
                                              "\"body\""};
        for (int k = 0; k < 4; k++) {
            size_t n = strlen(texts[k]);
            if (is_gz)
                n = gzip(texts[k], n, packed, sizeof packed);
            else if (is_zst)
                n = ZSTD_compress(packed, sizeof packed, texts[k], n, 1);
            put(named[i], is_gz || is_zst ? packed : texts[k], n);
            if (verdict[k])
                refuses(named[i], NULL, 0, verdict[k]);
            else
                reads(named[i], NULL, 0, "one|two");
            reads(named[i], "text", 0, texts[k]); /* what was asked for */
        }
        unlink(path_of(named[i]));
    }
    for (size_t i = 0; i < sizeof unnamed / sizeof *unnamed; i++) {
        int is_gz = strstr(unnamed[i], ".gz") != NULL;
        char packed[256];
        size_t n = is_gz ? gzip(lines, sizeof lines - 1, packed, sizeof packed) : sizeof lines - 1;
        put(unnamed[i], is_gz ? packed : lines, n);
        reads(unnamed[i], "auto", 0, "one|two");
        reads(unnamed[i], "text", 0, lines);
        n = is_gz ? gzip(other, sizeof other - 1, packed, sizeof packed) : sizeof other - 1;
        put(unnamed[i], is_gz ? packed : other, n);
        reads(unnamed[i], "auto", 0, other); /* no text under the key: nothing says that it is JSON Lines */
        refuses(unnamed[i], "jsonl", 0, "\"body\"");
        unlink(path_of(unnamed[i]));
    }
    char once[256], twice[256];
    size_t n = gzip(lines, sizeof lines - 1, once, sizeof once);
    n = gzip(once, n, twice, sizeof twice);
    put("a.jsonl.gz", twice, n);
    refuses("a.jsonl.gz", "auto", 0, "gzip inside of gzip or zstd");
    unlink(path_of("a.jsonl.gz"));
}

/* The first line may be longer than what is looked at. */
static void test_long_first_line(void **state) {
    (void)state;
    enum { N = 2 * SY_SOURCE_HEAD_BYTES };
    static const char begin[] = "{\"text\":\"", end[] = "\"}\n{\"text\":\"two\"}\n";
    char *bytes = malloc(N + 64);
    assert_non_null(bytes);
    for (int n = SY_SOURCE_HEAD_BYTES - 30; n < N; n += n < SY_SOURCE_HEAD_BYTES + 30 ? 1 : 30000) {
        struct sy_documents *d;
        memset(bytes, 'x', (size_t)n);
        memcpy(bytes, begin, sizeof begin - 1);
        memcpy(bytes + n, end, sizeof end - 1);
        put("long", bytes, (size_t)n + sizeof end - 1);
        assert_int_equal(load("long", "auto", 0, &d), SY_OK);
        assert_int_equal(d->n_documents, 2);
        assert_int_equal(d->document[0].bytes, n - (int)sizeof begin + 1);
        sy_documents_destroy(d);
    }
    unlink(path_of("long"));
    free(bytes);
}

/* A folder's file that is refused can be left out; suffixes take any case. */
static void test_in_a_folder(void **state) {
    (void)state;
    put("a.TXT", "text", 4);
    put("b.png", "\x89PNG\r\n\x1a\n", 8);
    const char *const list[] = {folder}, *const suffixes[] = {".txt"};
    struct sy_data_options o = {.dataset_paths = list, .n_dataset_paths = 1};
    struct sy_documents *d = NULL;
    assert_int_equal(sy_documents_load(&o, &d), SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "/b.png: a PNG picture, not UTF-8 text: "));
    assert_non_null(strstr(sy_error_message(), "(data.suffixes says which files of a folder are read)"));
    o.suffixes = suffixes;
    o.n_suffixes = 1;
    assert_int_equal(sy_documents_load(&o, &d), SY_OK);
    assert_int_equal(d->n_documents, 1);
    sy_documents_destroy(d);
    unlink(path_of("a.TXT"));
    unlink(path_of("b.png"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_character), cmocka_unit_test(test_clean),
        cmocka_unit_test(test_plain_text),      cmocka_unit_test(test_long_text),
        cmocka_unit_test(test_other_kinds),     cmocka_unit_test(test_formats),
        cmocka_unit_test(test_in_a_folder),     cmocka_unit_test(test_encoding_errors),
        cmocka_unit_test(test_long_first_line),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder) != 0;
}
