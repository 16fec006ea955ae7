/* The TOML reader: every document of tests/data/toml, lines, messages, the shortest text of a double, cut
 * input.
 *
 * valid/X.toml must give the tagged JSON of valid/X.json; every document of invalid/ must be refused with its
 * name and a line.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "../cli/toml_tagged.h"

#define DATA "tests/data/toml/"

static char *read_file(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *bytes = malloc(1 << 16);
    assert_non_null(bytes);
    *n = fread(bytes, 1, 1 << 16, f);
    fclose(f);
    return bytes;
}

/* Floats are compared as numbers, everything else as text. */
static int same(const json_t *a, const json_t *b) {
    if (json_is_object(a) && json_is_object(b)) {
        const char *type = json_string_value(json_object_get(a, "type")), *key;
        if (type && !strcmp(type, "float") &&
            json_equal(json_object_get(a, "type"), json_object_get(b, "type"))) {
            double x = strtod(json_string_value(json_object_get(a, "value")), NULL);
            double y = strtod(json_string_value(json_object_get(b, "value")), NULL);
            return (isnan(x) && isnan(y)) || !memcmp(&x, &y, sizeof x);
        }
        json_t *value;
        if (json_object_size(a) != json_object_size(b))
            return 0;
        json_object_foreach((json_t *)a, key, value) if (!json_object_get(b, key) ||
                                                         !same(value, json_object_get(b, key))) return 0;
        return 1;
    }
    if (json_is_array(a) && json_is_array(b)) {
        if (json_array_size(a) != json_array_size(b))
            return 0;
        for (size_t i = 0; i < json_array_size(a); i++)
            if (!same(json_array_get(a, i), json_array_get(b, i)))
                return 0;
        return 1;
    }
    return json_equal(a, b);
}

/* Calls fn(path without ".toml") for each document of a folder; how many. */
static int each(const char *folder, void (*fn)(const char *stem)) {
    int n = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        char stem[512];
        size_t length = strlen(e->d_name);
        if (length < 6 || strcmp(e->d_name + length - 5, ".toml"))
            continue;
        snprintf(stem, sizeof stem, "%s/%.*s", folder, (int)length - 5, e->d_name);
        fn(stem);
        n++;
    }
    closedir(d);
    return n;
}

static void check_valid(const char *stem) {
    char path[600];
    size_t n, n_expected, n_text;
    struct sy_toml *doc;
    snprintf(path, sizeof path, "%s.toml", stem);
    char *bytes = read_file(path, &n);
    if (sy_toml_parse(path, bytes, n, &doc) != SY_OK)
        fail_msg("%s", sy_error_message());
    char *text = NULL;
    FILE *f = open_memstream(&text, &n_text);
    assert_non_null(f);
    tagged_value(f, sy_toml_root(doc));
    fclose(f);
    snprintf(path, sizeof path, "%s.json", stem);
    char *expected = read_file(path, &n_expected);
    json_t *a = json_loadb(text, n_text, JSON_ALLOW_NUL, NULL),
           *b = json_loadb(expected, n_expected, JSON_ALLOW_NUL, NULL);
    assert_non_null(a);
    assert_non_null(b);
    if (!same(a, b))
        fail_msg("%s: %s", stem, text);
    json_decref(a);
    json_decref(b);
    free(text);
    free(expected);
    free(bytes);
    sy_toml_destroy(doc);
}

static void check_invalid(const char *stem) {
    char path[600];
    size_t n;
    struct sy_toml *doc = NULL;
    snprintf(path, sizeof path, "%s.toml", stem);
    char *bytes = read_file(path, &n);
    if (sy_toml_parse(path, bytes, n, &doc) != SY_ERR_USAGE)
        fail_msg("%s was accepted", path);
    const char *m = sy_error_message();
    size_t p = strlen(path);
    if (strncmp(m, path, p) || m[p] != ':' || strspn(m + p + 1, "0123456789") < 1)
        fail_msg("no place in: %s", m);
    free(bytes);
}

static void test_valid(void **state) {
    (void)state;
    assert_true(each(DATA "valid", check_valid) >= 30);
}

static void test_invalid(void **state) {
    (void)state;
    assert_true(each(DATA "invalid", check_invalid) >= 60);
}

/* Every prefix of every document, from memory that ends there: an answer, never a read past the end. */
static void check_prefixes(const char *stem) {
    char path[600];
    size_t n;
    snprintf(path, sizeof path, "%s.toml", stem);
    char *bytes = read_file(path, &n);
    for (size_t cut = 0; cut <= n; cut++) {
        struct sy_toml *doc = NULL;
        char *copy = malloc(cut ? cut : 1);
        assert_non_null(copy);
        memcpy(copy, bytes, cut);
        if (sy_toml_parse("cut", copy, cut, &doc) == SY_OK)
            sy_toml_destroy(doc);
        free(copy);
    }
    free(bytes);
}

static void test_prefixes(void **state) {
    (void)state;
    each(DATA "valid", check_prefixes);
    each(DATA "invalid", check_prefixes);
}

static void expect_message(const char *text, const char *message) {
    struct sy_toml *doc = NULL;
    assert_int_equal(sy_toml_parse("f.toml", text, strlen(text), &doc), SY_ERR_USAGE);
    assert_string_equal(sy_error_message(), message);
}

static void test_messages(void **state) {
    (void)state;
    expect_message("a = 1\n\n[t]\nb = yes\n",
                   "f.toml:4: 'yes' is not a value that TOML knows; a string needs quotes");
    expect_message("a = \"\"\"\nx\ny\"\"\"\nb = 01",
                   "f.toml:4: '01' is not a number: leading zeros are not allowed");
    expect_message("a = [\n1,\n2\n", "f.toml:1: the array that begins here does not end");
    expect_message("a = 1\n#\na = 2", "f.toml:3: key 'a' is already there since line 1");
    expect_message("[x]\n\n[x]", "f.toml:3: table 'x' was already defined in line 1");
    expect_message("a = 1\r\nb = \"\\q\"",
                   "f.toml:2: unknown escape '\\q'; a backslash itself is written \\\\");
}

static void test_too_large(void **state) {
    (void)state;
    size_t n = (size_t)SY_TOML_MAX_BYTES + 1;
    struct sy_toml *doc = NULL;
    char *bytes = malloc(n);
    assert_non_null(bytes);
    memset(bytes, '\n', n);
    assert_int_equal(sy_toml_parse("big", bytes, n, &doc), SY_ERR_USAGE);
    assert_int_equal(sy_toml_parse("big", bytes, n - 1, &doc), SY_OK);
    sy_toml_destroy(doc);
    free(bytes);
}

static void test_lines(void **state) {
    (void)state;
    static const char text[] = "a = 1\n[t] # c\n\nx.y = [\n 1,\n 2,\n]\ns = '''\n\n'''\nz = 3\n";
    struct sy_toml *doc;
    assert_int_equal(sy_toml_parse("f", text, strlen(text), &doc), SY_OK);
    const struct sy_toml_value *t = sy_toml_get(sy_toml_root(doc), "t");
    assert_int_equal(t->line, 2);
    const struct sy_toml_value *y = sy_toml_get(sy_toml_get(t, "x"), "y");
    assert_int_equal(y->line, 4);
    assert_int_equal(y->as.array.n, 2);
    assert_int_equal(y->as.array.last->line, 6);
    assert_int_equal(t->as.table.last->line, 11);
    assert_null(sy_toml_get(t, "nothing"));
    assert_null(sy_toml_get(y, "y"));
    sy_toml_destroy(doc);
}

/* Twenty thousand keys in one table, each found once: the table of keys grows, and takes no square of the
 * time. */
static void test_many_keys(void **state) {
    (void)state;
    enum { KEYS = 20000 };
    size_t size;
    char *text = NULL;
    FILE *f = open_memstream(&text, &size);
    for (int i = 0; i < KEYS; i++)
        fprintf(f, "k%d = %d\n", i, i);
    fprintf(f, "k7 = 0\n");
    fclose(f);
    struct sy_toml *doc;
    assert_int_equal(sy_toml_parse("f", text, size, &doc), SY_ERR_USAGE);
    assert_string_equal(sy_error_message(), "f:20001: key 'k7' is already there since line 8");
    assert_int_equal(sy_toml_parse("f", text, size - 7, &doc), SY_OK);
    assert_int_equal(sy_toml_root(doc)->as.table.n, KEYS);
    sy_toml_destroy(doc);
    free(text);
}

static void expect_real(double x, const char *text) {
    char out[SY_TOML_REAL_BYTES];
    sy_toml_real_print(x, out);
    assert_string_equal(out, text);
}

static void test_real_print(void **state) {
    (void)state;
    expect_real(0.1, "0.1");
    expect_real(1, "1.0");
    expect_real(-0.0, "-0.0");
    expect_real(1e-8, "1e-8");
    expect_real(8e-4, "0.0008");
    expect_real(0.05, "0.05");
    expect_real(12.5, "12.5");
    expect_real(1e15, "1000000000000000.0");
    expect_real(1e22, "1e22");
    expect_real(-1.5e300, "-1.5e300");
    expect_real(5e-324, "5e-324");
    expect_real(0x1.fffffffffffffp1023, "1.7976931348623157e308");
    expect_real(INFINITY, "inf");
    expect_real(-INFINITY, "-inf");
    expect_real(NAN, "nan");
}

/* Any double reads back as itself, as a float. */
static void test_real_round_trip(void **state) {
    (void)state;
    uint64_t bits = 0x9e3779b97f4a7c15u;
    for (int i = 0; i < 20000; i++) {
        char out[SY_TOML_REAL_BYTES];
        struct sy_toml_value v;
        double x;
        bits = bits * 6364136223846793005u + 1442695040888963407u;
        memcpy(&x, &bits, sizeof x);
        if (i % 2)
            x = (double)(int64_t)(bits >> 40) / 1000;
        if (isnan(x))
            continue;
        sy_toml_real_print(x, out);
        assert_int_equal(sy_toml_scalar(out, strlen(out), &v), SY_OK);
        assert_int_equal(v.type, SY_TOML_REAL);
        assert_memory_equal(&v.as.real, &x, sizeof x);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),           cmocka_unit_test(test_invalid),
        cmocka_unit_test(test_prefixes),        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_too_large),       cmocka_unit_test(test_lines),
        cmocka_unit_test(test_many_keys),       cmocka_unit_test(test_real_print),
        cmocka_unit_test(test_real_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
