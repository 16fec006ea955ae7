/* The report of a run: its page is well-formed and asks for nothing, whatever the run's files say; the values
 * that it shows are the file's; a damaged file is named by its line; its size has a bound; a training never
 * notices that it cannot be written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "formats/json.h"
#include "report/page.h"
#include "report/report.h"
#include "switchyard.h"
#include "page_checks.h"
#include "../lib/room.h"

static void page_is_sound(const char *page) {
    const char *fault = page_fault(page);
    if (fault)
        fail_msg("the page has %s", fault);
}

/* Nothing in a style or a script that a browser would fetch. */
static void page_text_is_sound(const char *text) {
    static const char *const fetches[] = {"http",    "//cdn",     "@import", "url(",  "fetch(",
                                          "XMLHttp", "WebSocket", "import(", "eval(", "innerHTML"};
    for (size_t i = 0; i < sizeof fetches / sizeof *fetches; i++)
        assert_null(strstr(text, fetches[i]));
}

static const char *path_of(const char *name) {
    static char path[4][600];
    static int i;
    i = (i + 1) % 4;
    snprintf(path[i], sizeof path[i], "%s/%s", room, name);
    return path[i];
}

static FILE *file_of(const char *run, const char *name) {
    char path[900];
    mkdir(path_of(run), 0777);
    snprintf(path, sizeof path, "%s/%s", path_of(run), name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    return f;
}

static char *page_of(const char *const *runs, int n) {
    const char *out = path_of("page.html");
    const char *dirs[SY_REPORT_MAX_RUNS];
    struct sy_io io = {0};
    for (int i = 0; i < n; i++)
        dirs[i] = strdup(path_of(runs[i]));
    sy_status status = sy_report(dirs, n, out, &io);
    for (int i = 0; i < n; i++)
        free((void *)dirs[i]);
    if (status != SY_OK)
        return NULL;
    FILE *f = fopen(out, "r");
    assert_non_null(f);
    char *text = calloc(SY_REPORT_MAX_BYTES + 2, 1);
    size_t bytes = fread(text, 1, SY_REPORT_MAX_BYTES + 1, f);
    fclose(f);
    assert_in_range(bytes, 1, SY_REPORT_MAX_BYTES);
    return text;
}

static char *page_of_one(const char *run) { return page_of(&run, 1); }

/* A step's line with `experts` experts in `layers` layers, and `more` before "moe". */
static void step_line(FILE *f, int step, int layers, int experts, const char *more) {
    fprintf(f,
            "{\"kind\":\"train\",\"step\":%d,\"loss\":%.9g,\"grad_norm\":0.5,\"lr\":1e-05,\"tps\":12345.678,"
            "\"step_ms\":3.25,\"data_ms\":0.125,\"mem_bytes\":8085504,\"tokens\":%d,"
            "\"weights_digest\":\"0123456789abcdef0123456789abcdef\",%s\"skipped\":0,\"moe\":[",
            step, 3 + 1.0 / step, 512 * step, more);
    for (int l = 0; l < layers; l++) {
        fprintf(f, "%s{\"layer\":%d,\"load_cv\":0.25,\"entropy\":0.99,\"dead\":0,\"load\":[", l ? "," : "",
                l + 1);
        for (int e = 0; e < experts; e++)
            fprintf(f, "%s%d", e ? "," : "", 100000 + 7 * e + step % 97);
        fputs("]}", f);
    }
    fputs("]}\n", f);
}

static json_t *data_of(const char *page) {
    static const char begin[] = "<script type=\"application/json\" id=data>";
    const char *from = strstr(page, begin);
    assert_non_null(from);
    from += sizeof begin - 1;
    json_t *data = NULL;
    assert_int_equal(sy_json_parse("data", from, (size_t)(strstr(from, "</script>") - from), 0, &data),
                     SY_OK);
    return data;
}

static const json_t *at(const json_t *of, const char *key) {
    const json_t *value = json_object_get(of, key);
    assert_non_null(value);
    return value;
}

static void values_are_those_of_the_file(void **state) {
    (void)state;
    FILE *f = file_of("values", "metrics.jsonl");
    for (int s = 1; s <= 7; s++)
        step_line(f, s, 2, 4, "");
    fputs("{\"kind\":\"eval\",\"step\":7,\"loss\":3.25,\"tokens\":10}\n{\"kind\":\"tr", f); /* torn */
    fclose(f);
    char *page = page_of_one("values");
    assert_non_null(page);
    page_is_sound(page);
    json_t *data = data_of(page);
    const json_t *run = json_array_get(at(data, "runs"), 0), *curves = at(at(run, "curves"), "of");
    for (size_t s = 1; s <= 7; s++) {
        char text[32];
        snprintf(text, sizeof text, "%.9g", 3 + 1.0 / (double)s);
        assert_true(json_number_value(json_array_get(at(at(curves, "loss"), "last"), s - 1)) == atof(text));
    }
    assert_true(json_number_value(json_array_get(at(at(curves, "eval"), "last"), 6)) == 3.25);
    assert_int_equal(json_integer_value(json_array_get(at(at(curves, "eval"), "at"), 6)), 7);
    const json_t *load = at(at(at(at(at(run, "moe"), "layers"), "2"), "load"), "last");
    assert_int_equal(json_array_size(load), 7 * 4);
    assert_int_equal(json_integer_value(json_array_get(load, 4 * 2 + 3)), 100000 + 7 * 3 + 3);
    assert_non_null(strstr(page, "switchyard replay "));
    json_decref(data);
    free(page);
}

/* The newest snapshot's arenas, each behind the bytes that the file has. */
static void memory_and_parts_are_those_of_the_newest_lines(void **state) {
    (void)state;
    FILE *f = file_of("memory", "metrics.jsonl");
    for (int s = 1; s <= 2; s++) {
        step_line(f, s, 1, 2, "");
        fprintf(f,
                "{\"kind\":\"memory\",\"step\":%d,\"bytes\":%d,\"most_bytes\":4096,\"resident_most\":8192,"
                "\"arenas\":[{\"name\":\"gradients\",\"place\":\"device\",\"bytes\":%d,\"most_bytes\":4096,"
                "\"tags\":[{\"tag\":\"lanes\",\"bytes\":1000}]},{\"name\":\"batch\",\"place\":\"pinned\","
                "\"bytes\":64,\"most_bytes\":64,\"tags\":[]}]}\n",
                s, 2048 + s, 1984 + s);
        fprintf(f,
                "{\"kind\":\"profile\",\"step\":%d,\"ms\":40,\"parts\":[{\"part\":\"head\",\"text\":\"head & "
                "loss\","
                "\"ms\":19.75,\"forward\":7.5,\"recompute\":0,\"backward\":12.25},{\"part\":\"cast\","
                "\"text\":\"cast\","
                "\"ms\":%d}]}\n",
                s, s);
    }
    fclose(f);
    char *page = page_of_one("memory");
    assert_non_null(page);
    page_is_sound(page);
    assert_non_null(strstr(page, "after step 2: 2.0 KiB"));
    assert_non_null(strstr(page, "<th scope=row>gradients</th><td class=num title=\"1986 bytes\">1.9 KiB</td>"
                                 "<td class=num title=\"4096 bytes\">4.0 KiB</td><td class=share>"
                                 "<span class=bar style=\"width:48.49%\">"));
    assert_non_null(
        strstr(page, "<tr class=tag><th scope=row>lanes</th><td class=num title=\"1000 bytes\">1000 B"));
    assert_non_null(strstr(page, "<th scope=row>batch, pinned</th>"));
    assert_non_null(strstr(page, "Step 2 of rank 0, 40 ms"));
    assert_non_null(strstr(page,
                           "<th scope=row>head &amp; loss</th><td class=num title=\"19.75 ms\">19.75</td>"
                           "<td class=num title=\"7.5 ms\">7.50</td><td></td><td class=num title=\"12.25 "
                           "ms\">12.25</td><td class=share><span class=bar style=\"width:49.38%\">"));
    assert_non_null(
        strstr(page, "<th scope=row>cast</th><td class=num title=\"2 ms\">2.00</td><td></td><td></td>"));
    assert_null(strstr(page, "1985 bytes"));
    free(page);
}

/* Of more steps than columns: min, max and last of each are there, and no more columns than promised. */
static void long_runs_are_put_in_columns(void **state) {
    (void)state;
    enum { STEPS = 4321 };
    FILE *f = file_of("long", "metrics.jsonl");
    for (int s = 1; s <= STEPS; s++)
        step_line(f, s, 1, 3, "");
    fclose(f);
    char *page = page_of_one("long");
    page_is_sound(page);
    json_t *data = data_of(page);
    const json_t *run = json_array_get(at(data, "runs"), 0);
    const json_t *curves = at(run, "curves"), *loss = at(at(curves, "of"), "loss");
    json_int_t width = json_integer_value(at(curves, "width")), n = json_integer_value(at(curves, "n"));
    assert_in_range(n, 500, 1000);
    assert_int_equal(json_array_size(at(loss, "last")), n);
    for (json_int_t c = 0; c < n; c++) {
        json_int_t first = 1 + c * width, last = c + 1 < n ? first + width - 1 : STEPS;
        char low[32], high[32];
        snprintf(low, sizeof low, "%.9g", 3 + 1.0 / (double)last);
        snprintf(high, sizeof high, "%.9g", 3 + 1.0 / (double)first);
        assert_true(json_number_value(json_array_get(at(loss, "last"), (size_t)c)) == atof(low));
        assert_true(json_number_value(json_array_get(at(loss, "min"), (size_t)c)) == atof(low));
        assert_true(json_number_value(json_array_get(at(loss, "max"), (size_t)c)) == atof(high));
    }
    assert_in_range(json_integer_value(at(at(run, "moe"), "n")), 250, 500);
    json_decref(data);
    free(page);
}

static void large_models_stay_below_2_mb(void **state) {
    (void)state;
    FILE *f = file_of("large", "metrics.jsonl");
    for (int s = 1; s <= 60; s++)
        step_line(f, s, 40, 256, "");
    fclose(f);
    char *page = page_of_one("large");
    assert_non_null(page);
    page_is_sound(page);
    free(page);
}

/* --- hostile strings ---------------------------------------------------------------------------------- */

#define HOSTILE "\\\"'><script>alert(1)</script><img src=http://x/ onerror=alert(2)>&lt;`]]>"

static void hostile_strings_are_inert(void **state) {
    (void)state;
    enum { LONG = 1 << 20 };
    char *big = malloc(LONG + 1);
    const char *run = "\"'><script>alert(1)<b onclick='x'>&`\xff";
    memset(big, 'k', LONG);
    big[LONG] = 0;
    memcpy(big + LONG - 40, "\\\"'><script>alert(3)<script>", 28);
    FILE *f = file_of(run, "metrics.jsonl");
    step_line(f, 1, 2, 4,
              "\"start\":{\"recipe_id\":\"" HOSTILE "\",\"ranks\":2,\"device\":\"" HOSTILE
              "\",\"class\":\"" HOSTILE "\",\"tier\":\"" HOSTILE "\"},");
    fprintf(f, "{\"kind\":\"event\",\"step\":1,\"event\":\"" HOSTILE "\",\"text\":\"%s\"}\n", big);
    fprintf(f, "{\"kind\":\"%s\",\"step\":1,\"%s\":\"%s\"}\n", big, big, big);
    fprintf(f,
            "{\"kind\":\"memory\",\"step\":1,\"bytes\":9223372036854775807,\"most_bytes\":-1,"
            "\"resident_most\":0,\"arenas\":[{\"name\":\"" HOSTILE "\",\"place\":\"" HOSTILE
            "\",\"bytes\":5,\"most_bytes\":3,\"tags\":[{\"tag\":\"%s\",\"bytes\":7}]}]}\n",
            big);
    fprintf(f,
            "{\"kind\":\"profile\",\"step\":1,\"ms\":0,\"parts\":[{\"text\":\"" HOSTILE
            "\",\"ms\":1e12},{\"text\":\"%s\"}]}\n",
            big);
    fprintf(f,
            "{\"kind\":\"train\",\"step\":2,\"weights_digest\":\"\\\"'><b id=x><script>\",\"%s\":\"%s\"}\n",
            big, big);
    fclose(f);
    f = file_of(run, "config.toml");
    fprintf(f,
            "[job]\ndescription = \"" HOSTILE "%s\"\n[training]\ndataset_path = [\"%s\", \"" HOSTILE "\"]\n",
            big, big);
    fclose(f);
    f = file_of("unread", "metrics.jsonl");
    step_line(f, 1, 0, 0, "");
    fclose(f);
    f = file_of("unread", "config.toml");
    fprintf(f, "[job]\n\"%s\" = \"" HOSTILE "\"\n", big);
    fclose(f);
    const char *runs[] = {run, "unread"};
    for (int n = 1; n <= 2; n++) {
        char *page = page_of(runs, n);
        assert_non_null(page);
        page_is_sound(page);
        assert_non_null(strstr(page, "&lt;script&gt;alert(1)"));
        free(page);
    }
    free(big);
}

/* The checks see what they are there for. */
static void checks_that_fail(void **state) {
    (void)state;
    static const char *const bad[] = {"<p><b></p></b>",
                                      "<p>",
                                      "</p>",
                                      "<script>x</script><script>y</script><script>z</script>",
                                      "<p onclick=x></p>",
                                      "<img src=\"http://x/\">",
                                      "<a href=\"x\"></a>",
                                      "<p class=\"a\"b\"></p>",
                                      "<iframe></iframe>",
                                      "a < b",
                                      "<img src=\"data:text/html,x\">",
                                      "a & b"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_non_null(page_fault(bad[i]));
    page_text_is_sound(sy_page_css);
    page_text_is_sound(sy_page_js);
    assert_null(page_fault("<!doctype html>\n<p class=\"a\">&lt;<br></p><svg><path d=\"M0 0\"/></svg>"));
}

/* --- what is refused ---------------------------------------------------------------------------------- */

static void refused(const char *name, const char *lines, sy_status want, const char *says) {
    FILE *f = file_of(name, "metrics.jsonl");
    fputs(lines, f);
    fclose(f);
    assert_null(page_of_one(name));
    struct sy_io io = {0};
    const char *dir = path_of(name);
    assert_int_equal(sy_report(&dir, 1, path_of("page.html"), &io), want);
    if (!strstr(sy_error_message(), says))
        fail_msg("'%s' does not say '%s'", sy_error_message(), says);
}

static void damaged_files_are_named(void **state) {
    (void)state;
    refused("none", "", SY_ERR_RUNTIME, "has no steps yet");
    refused("torn", "{\"kind\":\"train\",\"step\":1", SY_ERR_RUNTIME, "has no steps yet");
    refused("text", "{\"kind\":\"train\",\"step\":1}\nx\n", SY_ERR_DATA, "metrics.jsonl:2: column 1");
    refused("arena",
            "{\"kind\":\"train\",\"step\":1}\n{\"kind\":\"memory\",\"step\":1,\"bytes\":1,\"most_bytes\":1,"
            "\"resident_most\":1,\"arenas\":[{\"name\":\"a\",\"place\":\"device\",\"bytes\":-2}]}\n",
            SY_ERR_DATA, "metrics.jsonl:2");
    refused("part",
            "{\"kind\":\"train\",\"step\":1}\n{\"kind\":\"profile\",\"step\":1,\"ms\":1,\"parts\":[{\"text\":"
            "\"a\","
            "\"ms\":-1}]}\n",
            SY_ERR_DATA, "metrics.jsonl:2");
    refused("back", "{\"kind\":\"train\",\"step\":2}\n{\"kind\":\"train\",\"step\":2}\n", SY_ERR_DATA,
            "metrics.jsonl:2: step 2 comes after step 2");
    refused("type", "{\"kind\":\"train\",\"step\":1,\"loss\":\"x\"}\n", SY_ERR_DATA,
            "metrics.jsonl:1: key \"loss\"");
    refused("load",
            "{\"kind\":\"train\",\"step\":1,\"moe\":[{\"layer\":1,\"load\":[1,2]}]}\n"
            "{\"kind\":\"train\",\"step\":2,\"moe\":[{\"layer\":1,\"load\":[1,-2]}]}\n",
            SY_ERR_DATA, "metrics.jsonl:2: layer 1: the load of expert 1");
    refused("layers",
            "{\"kind\":\"train\",\"step\":1,\"moe\":[{\"layer\":1,\"load\":[1,2]}]}\n"
            "{\"kind\":\"train\",\"step\":2,\"moe\":[{\"layer\":2,\"load\":[1,2]}]}\n",
            SY_ERR_DATA, "metrics.jsonl:2: layer 2");
    struct sy_io io = {0};
    const char *dir = path_of("nowhere");
    assert_int_equal(sy_report(&dir, 1, NULL, &io), SY_ERR_IO);
    assert_non_null(strstr(sy_error_message(), "has no metrics.jsonl"));
}

/* A file that grows and is then replaced by a shorter one, as a resume does. */
static void a_run_is_followed(void **state) {
    (void)state;
    struct sy_report_run run;
    FILE *f = file_of("grows", "metrics.jsonl");
    step_line(f, 1, 1, 2, "");
    fflush(f);
    assert_int_equal(sy_report_run_open(path_of("grows"), &run), SY_OK);
    assert_int_equal(sy_report_run_update(&run), SY_OK);
    assert_int_equal(run.last, 1);
    fputs("{\"kind\":\"train\",", f);
    fflush(f);
    assert_int_equal(sy_report_run_update(&run), SY_OK);
    assert_int_equal(run.last, 1);
    fputs("\"step\":2,\"loss\":2.5}\n", f);
    fclose(f);
    assert_int_equal(sy_report_run_update(&run), SY_OK);
    assert_int_equal(run.last, 2);
    assert_true(sy_grid_all(&run.curves, SY_CURVE_loss).last == 2.5);
    f = file_of("grows", "other");
    step_line(f, 1, 1, 2, "");
    fclose(f);
    char from[900], to[900];
    snprintf(from, sizeof from, "%s/other", path_of("grows"));
    snprintf(to, sizeof to, "%s/metrics.jsonl", path_of("grows"));
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(sy_report_run_update(&run), SY_OK);
    assert_int_equal(run.last, 1);
    assert_true(sy_grid_all(&run.curves, SY_CURVE_loss).n == 1);
    sy_report_run_close(&run);
}

/* --- beside a training -------------------------------------------------------------------------------- */

static int warned;
static void count_warnings(void *user, int warning, const char *line) {
    (void)user;
    if (warning && strstr(line, "report.html is not written"))
        warned++;
}

static sy_status train(const char *run, struct sy_train_summary *out) {
    struct sy_config *config;
    struct sy_io io = {.log = count_warnings};
    assert_int_equal(sy_config_create(&config), SY_OK);
    const char *options[][2] = {
        {"model.flavor", "micro_gqa"}, {"training.dataset_path", "tests/data/prose.jsonl"},
        {"training.seq_len", "32"},    {"training.steps", "4"},
        {"checkpoint.interval", "2"},  {"run.dir", path_of(run)}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        assert_int_equal(sy_option_set(config, options[i][0], options[i][1]), SY_OK);
    sy_status status = sy_train(config, "x", &io, out);
    sy_config_destroy(config);
    return status;
}

static void a_training_writes_it_or_says_one_line(void **state) {
    (void)state;
    struct sy_train_summary with, without;
    char path[900];
    warned = 0;
    assert_int_equal(train("with", &with), SY_OK);
    assert_int_equal(warned, 0);
    snprintf(path, sizeof path, "%s/report.html", path_of("with"));
    assert_int_equal(access(path, R_OK), 0);
    snprintf(path, sizeof path, "%s/report.html", path_of("without"));
    mkdir(path_of("without"), 0777);
    mkdir(path, 0777); /* in its place */
    assert_int_equal(train("without", &without), SY_OK);
    assert_int_equal(warned, 1);
    assert_string_equal(with.weights_digest, without.weights_digest);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(values_are_those_of_the_file),
                                       cmocka_unit_test(memory_and_parts_are_those_of_the_newest_lines),
                                       cmocka_unit_test(long_runs_are_put_in_columns),
                                       cmocka_unit_test(large_models_stay_below_2_mb),
                                       cmocka_unit_test(hostile_strings_are_inert),
                                       cmocka_unit_test(checks_that_fail),
                                       cmocka_unit_test(damaged_files_are_named),
                                       cmocka_unit_test(a_run_is_followed),
                                       cmocka_unit_test(a_training_writes_it_or_says_one_line)};
    return cmocka_run_group_tests(tests, open_room, close_room);
}
