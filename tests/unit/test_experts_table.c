/* switchyard inspect --experts on metrics written by hand: buckets to the digit, dead experts, rows that are
 * left out, lines of older versions, torn and damaged ones; and the counters' table and line.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/json.h"
#include "train/counters_print.h"
#include "commands/experts_load.h"
#include "train/metrics.h"

static char room[64], file[128];
static char *printed;
static size_t n_printed;

static void collect(void *user, const char *text, size_t n) {
    (void)user;
    char *larger = realloc(printed, n_printed + n + 1);
    assert_non_null(larger);
    printed = larger;
    memcpy(printed + n_printed, text, n);
    n_printed += n;
    printed[n_printed] = 0;
}

static sy_status show_from(const char *path, struct sy_experts_options o) {
    struct sy_io io = {.write = collect};
    n_printed = 0;
    collect(NULL, "", 0);
    return sy_inspect_experts(path, &o, &io);
}

static sy_status show(struct sy_experts_options o) { return show_from(room, o); }

static void write_text(const char *text) {
    FILE *f = fopen(file, "wb");
    assert_non_null(f);
    assert_int_equal(fputs(text, f) >= 0, 1);
    assert_int_equal(fclose(f), 0);
}

static void has(const char *text) {
    if (!strstr(printed, text))
        fail_msg("'%s' is not in:\n%s", text, printed);
}

static void has_not(const char *text) {
    if (strstr(printed, text))
        fail_msg("'%s' is in:\n%s", text, printed);
}

/* The message of a failure has all of these words. */
static void fails(sy_status status, sy_status should, const char *a, const char *b) {
    if (status != should || !strstr(sy_error_message(), a) || !strstr(sy_error_message(), b))
        fail_msg("status %d, not %d, or no '%s' and '%s' in: %s", (int)status, (int)should, a, b,
                 sy_error_message());
}

/* No line is wider than 80 columns; a byte that continues a UTF-8 character has none. */
static void narrow(void) {
    int columns = 0;
    for (const char *s = printed; *s; s++) {
        columns = *s == '\n' ? 0 : columns + ((*s & 0xc0) != 0x80);
        if (columns > 80)
            fail_msg("wider than 80 columns:\n%s", printed);
    }
}

static const struct sy_experts_options all = {.layer = -1};

#define LINE(step, counts) \
    "{\"kind\":\"train\",\"step\":" #step ",\"moe\":[{\"layer\":1,\"load\":[" counts "]}]}\n"

/* 10 steps in 8 buckets: step s is in bucket floor((s - 1) 8 / 10), so 1-2, 3, 4, 5, 6-7, 8, 9, 10. */
static const char ten[] = LINE(1, "10,20,0") LINE(2, "20,10,0") LINE(3, "30,0,0") LINE(4, "15,15,0")
    LINE(5, "10,20,0") LINE(6, "1,29,0") "{\"kind\":\"eval\",\"step\":6,\"loss\":5.5}\n" LINE(7, "2,28,0")
        LINE(8, "30,0,0") LINE(9, "12,18,0") LINE(10, "15,15,0");

static void test_buckets(void **unused) {
    (void)unused;
    write_text(ten);
    if (show(all) != SY_OK)
        fail_msg("%s", sy_error_message());
    narrow();
    has("steps 1-10\n");
    has("\n     steps     1     3     4     5     6     8     9    10\n");
    has("\n        to     2     3     4     5     7     8     9    10    all  bar to 200%\n");
    /* Sums: 145, 155, 0, mean 100. Buckets: 30/60, 30/30, 15/30, 10/30, 3/60, 30/30, 12/30, 15/30, times
     * 3. */
    has("\n         0   150   300   150   100    15   300   120   150    145  #########\n");
    has("\n         1   150     0   150   200   285     0   180   150    155  #########\n");
    has("\n         2     0     0     0     0     0     0     0     0      0  dead\n");
    /* cv: sqrt((45^2 + 55^2 + 100^2) / 3) / 100 = 0.70828; entropy: 0.69259 / log 3; cv of a step: 10.06 /
     * 10. */
    has("\n    1         10      0     155  0.71  0.6304     1        0       30    1.01\n");
    has_not("note");
    assert_int_equal(show_from(file, all), SY_OK);
    has("    145  #########\n");
    assert_int_equal(show((struct sy_experts_options){.layer = -1, .utf8 = 1}), SY_OK);
    narrow();
    has("    145  ████████▊\n"); /* 12 * 145 / 200 = 8.7: 70 eighths */
}

static void test_json(void **unused) {
    (void)unused;
    struct sy_experts_load load;
    write_text(ten);
    assert_int_equal(show((struct sy_experts_options){.layer = 1, .json = 1}), SY_OK);
    json_t *root = NULL;
    if (sy_json_parse("printed", printed, n_printed, 0, &root) != SY_OK)
        fail_msg("%s", sy_error_message());
    json_decref(root);
    has("{\"first_step\":1,\"last_step\":10,\"steps\":10,\"steps_without_load\":0,\"torn\":false,\"layers\":["
        "{\"layer\":1,"
        "\"experts\":3,\"steps\":10,\"load_min\":0,\"load_max\":155,");
    has("\"load\":[145,155,0],\"buckets\":[{\"first_step\":1,\"last_step\":2,\"steps\":2,\"load\":[30,30,0]},"
        "{\"first_step\":3,\"last_step\":3,\"steps\":1,\"load\":[30,0,0]},");
    has("{\"first_step\":6,\"last_step\":7,\"steps\":2,\"load\":[3,57,0]}");
    /* Every number of steps: buckets are a partition, none differs from another by more than one step. */
    for (int64_t n = 1; n < 40; n++) {
        load = (struct sy_experts_load){.first = 7, .last = 6 + n, .n_buckets = n < 8 ? (int)n : 8};
        assert_int_equal(sy_experts_bucket_first(&load, 0), 7);
        assert_int_equal(sy_experts_bucket_first(&load, load.n_buckets), 7 + n);
        for (int b = 0; b < load.n_buckets; b++) {
            int64_t steps = sy_experts_bucket_first(&load, b + 1) - sy_experts_bucket_first(&load, b);
            assert_in_range(steps, n / load.n_buckets, (n + load.n_buckets - 1) / load.n_buckets);
        }
    }
}

static void test_dead_and_missing(void **unused) {
    (void)unused;
    write_text(LINE(1, "5,5,0,2") LINE(2, "6,6,0,0"));
    assert_int_equal(show(all), SY_OK);
    has("\n         2     0     0      0  dead\n");
    has("\n         3    67     0     33  dead at end\n");
    has("\n         0   167   200    183  ###############\n"); /* 16 * 183.3 / 200 = 14.7 */
    /* A run that went on with a newer version, and died while it wrote. */
    write_text("{\"kind\":\"train\",\"step\":1,\"moe\":[{\"layer\":1,\"load_min\":3}]}\n" LINE(2, "1,3")
                   LINE(3, "1,1") "{\"kind\":\"tr");
    assert_int_equal(show(all), SY_OK);
    has("steps 2-3\nnote: 1 steps are left out");
    has("note: the last line is torn and left out\n");
    has("\n         0    50   100     67  #####\n"); /* sums 2 and 4; 16 * 66.7 / 200 */
    write_text(LINE(2, "1,3") "{\"kind\":\"counters\",\"step\":2,\"counters\":{}}");
    assert_int_equal(show(all), SY_OK);
    has_not("note");
    write_text("{\"kind\":\"train\",\"step\":1,\"moe\":[{\"layer\":1,\"load_min\":3}]}\n");
    fails(show(all), SY_ERR_RUNTIME, "none of 1 steps", "older");
    write_text("");
    fails(show(all), SY_ERR_RUNTIME, file, "no steps yet");
    write_text("{\"kind\":\"train\",\"step\":1,\"moe\":[]}\n");
    fails(show(all), SY_ERR_USAGE, file, "no MoE layers");
    /* A hole in the middle: buckets without steps. */
    write_text(LINE(1, "1,1") LINE(100, "3,1"));
    assert_int_equal(show(all), SY_OK);
    has("\n         0   100     -     -     -     -     -     -   150    133  ########\n");
}

static void test_rows(void **unused) {
    (void)unused;
    write_text(LINE(1, "10,50,20,20,30,0,10,20"));
    assert_int_equal(show((struct sy_experts_options){.layer = -1, .rows = 3}), SY_OK);
    has("all  bar to 250%\n         1   250    250  ################\n         4   150    150  ##########\n"
        "    rest 5    80     80  #####\n         5     0      0  dead\n");
    assert_int_equal(show((struct sy_experts_options){.layer = -1, .rows = 1}), SY_OK);
    has("         1   250    250  ################\n    rest 7    79     79  #####\n");
    assert_int_equal(strstr(printed, "rest 7")[strcspn(strstr(printed, "rest 7"), "\n") + 1], 0);
    assert_int_equal(show((struct sy_experts_options){.layer = -1, .rows = 8}), SY_OK);
    has_not("rest");
    fails(show((struct sy_experts_options){.layer = -1, .rows = -1}), SY_ERR_USAGE, "-1 rows", "1..65536");
    fails(show((struct sy_experts_options){.layer = 7}), SY_ERR_USAGE, "layer 7", "1 to 1");
    /* Many experts and steps of the largest numbers: still 80 columns. */
    char *text = malloc(1 << 17);
    assert_non_null(text);
    for (int digits = 1; digits <= 9; digits++) {
        int n = 0, last = 9;
        for (int i = 1; i < digits; i++)
            last = 10 * last + 9;
        for (int step = last - 8; step <= last; step++) {
            n += sprintf(text + n,
                         "{\"kind\":\"train\",\"step\":%d,\"moe\":[{\"layer\":60,\"load\":[281474976710656",
                         step);
            for (int e = 1; e < 2000; e++)
                n += sprintf(text + n, ",%d", e % 2);
            n += sprintf(text + n, "]}]}\n");
        }
        write_text(text);
        assert_int_equal(show((struct sy_experts_options){.layer = -1, .utf8 = digits % 2}), SY_OK);
        narrow();
        has("rest 1968 ");
        has(" <1\n");
    }
    free(text);
}

static void test_damaged(void **unused) {
    (void)unused;
    static const struct {
        const char *text, *a, *b;
    } bad[] = {
        {LINE(1, "1,2") "{\"kind\":\"train\",\"st\n" LINE(3, "1,2"), ":2: column", ""},
        {LINE(1, "1,2") "[]\n", ":2: key \"kind\"", "not of an object"},
        {LINE(1, "1,2") "\n", ":2: column", ""},
        {LINE(1, "1,2") LINE(2, "1,2,3"), ":2: layer 1", "3 experts, in lines before it of 2"},
        {LINE(1, "1,2") LINE(2, "1,-2"), ":2: layer 1: the load of expert 1", "0 …"},
        {LINE(1, "1.5,2"), ":1: layer 1: the load of expert 0", ""},
        {LINE(1, "1,281474976710657"), ":1: layer 1: the load of expert 1", "281474976710656"},
        {LINE(1, ""), ":1: layer 1", "no expert"},
        {LINE(-1, "1,2"), ":1: key \"step\" is -1", ""},
        {"{\"kind\":\"train\",\"step\":1}\n", ":1: key \"moe\"", "missing"},
        {"{\"kind\":\"train\",\"step\":1,\"moe\":{}}\n", ":1: key \"moe\"", "array"},
        {"{\"kind\":\"train\",\"step\":1,\"moe\":[{\"load\":[1]}]}\n", ":1: key \"layer\"", "missing"},
        {"{\"kind\":\"train\",\"step\":1,\"moe\":[{\"layer\":1,\"load\":{}},{\"layer\":2,\"load\":[1]}]}\n",
         "\"load\"", "array"},
        {"{\"kind\":\"train\",\"step\":1,\"moe\":[{\"layer\":1,\"load\":[1]},{\"layer\":1,\"load\":[1]}]}\n",
         "layer 1", "twice"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_text(bad[i].text);
        fails(show(all), SY_ERR_DATA, bad[i].a, bad[i].b);
        assert_int_equal(n_printed, 0);
    }
    /* Cut anywhere, flipped anywhere: an answer or an error, never a crash. */
    char text[sizeof ten];
    for (size_t n = 0; n < sizeof ten; n += 3) {
        memcpy(text, ten, sizeof ten);
        text[n] = 0;
        write_text(text);
        sy_status status = show(all);
        if (status != SY_OK && status != SY_ERR_RUNTIME)
            fail_msg("cut at %zu: %s", n, sy_error_message());
        memcpy(text, ten, sizeof ten);
        text[n] = (char)(text[n] ^ (n < sizeof ten - 1) << n % 7);
        write_text(text);
        show(all);
    }
    unlink(file);
    fails(show(all), SY_ERR_IO, room, "no metrics.jsonl");
    fails(show_from("/nowhere/at/all", all), SY_ERR_IO, "/nowhere/at/all", "no such run");
}

static int64_t columns_of(const char *line) { return (int64_t)strcspn(line, "\n"); }

static void test_counters(void **unused) {
    (void)unused;
    struct sy_moe_counters c = {.rows_sent = 1234567, .path_local = 3};
    n_printed = 0;
    sy_counters_print(&c, collect, NULL);
    narrow();
    assert_ptr_equal(strstr(printed, "counter "), printed);
    const char *first = printed + columns_of(printed) + 1, *local = strstr(printed, "path_local ");
    assert_ptr_equal(local, first);
    assert_true(strstr(printed, "rows_sent ") < strstr(printed, "path_standard "));
    has("path_local                 3  dispatches without other ranks, sorted\n");
#define X(name, text) has(#name " ");
    SY_MOE_COUNTER_LIST(X)
#undef X
    c.rows_padded = INT64_MAX;
    n_printed = 0;
    sy_counters_print(&c, collect, NULL);
    narrow();
    has(" 9223372036854775807  rows of zeros among them\n");
}

static void slurp(const char *path) {
    char text[4096];
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    n_printed = 0;
    collect(NULL, text, n);
}

/* The line of counters belongs to its step: a resume from there keeps it, one from before moves it away. */
static void test_counters_line(void **unused) {
    (void)unused;
    struct sy_metrics m;
    struct sy_moe_counters c = {.path_local = 5};
    char replaced[160];
    snprintf(replaced, sizeof replaced, "%s.replaced", file);
    write_text(LINE(1, "1") LINE(2, "1"));
    assert_int_equal(sy_metrics_open(room, 2, &m), SY_OK);
    assert_int_equal(sy_metrics_counters(&m, 2, &c), SY_OK);
    sy_metrics_close(&m);
    slurp(file);
    has("\n{\"kind\":\"counters\",\"step\":2,\"counters\":{\"path_local\":5,");
    assert_int_equal(sy_metrics_open(room, 2, &m), SY_OK);
    sy_metrics_close(&m);
    slurp(file);
    has("\"path_local\":5,");
    assert_int_not_equal(access(replaced, F_OK), 0);
    assert_int_equal(show(all), SY_OK);
    assert_int_equal(sy_metrics_open(room, 1, &m), SY_OK);
    sy_metrics_close(&m);
    slurp(file);
    assert_string_equal(printed, LINE(1, "1"));
    slurp(replaced);
    has("\"step\":2,\"moe\"");
    has("\"path_local\":5,");
    unlink(replaced);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buckets),          cmocka_unit_test(test_json),
        cmocka_unit_test(test_dead_and_missing), cmocka_unit_test(test_rows),
        cmocka_unit_test(test_damaged),          cmocka_unit_test(test_counters),
        cmocka_unit_test(test_counters_line),
    };
    const char *tmp = getenv("TMPDIR");
    snprintf(room, sizeof room, "%.40s/sy_experts_XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    if (!mkdtemp(room))
        return 1;
    snprintf(file, sizeof file, "%s/metrics.jsonl", room);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(file);
    rmdir(room);
    free(printed);
    return failed != 0;
}
