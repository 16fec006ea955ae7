/* The progress lines and the speeds in metrics.jsonl: their numbers, their units, and no line wider than
 * it may be. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/clock.h"
#include "train/progress.h"

#include "../lib/session.h"

static const struct sy_figures usual = {.step = 12,
                                        .loss = 5.91234,
                                        .norm = 1.2345,
                                        .lr = 8e-4,
                                        .tps = 26789,
                                        .flops = 1.742e11,
                                        .mfu = 27.3,
                                        .left = 83,
                                        .bytes = 8370000,
                                        .counted = 1,
                                        .cv = 0.512,
                                        .dead = 3};

static void line_is(int64_t steps, int moe, int columns, const struct sy_figures *f, const char *head,
                    const char *line) {
    char text[SY_LINE_BYTES];
    struct sy_columns c = sy_columns_choose(steps, moe, columns);
    sy_columns_head(&c, text);
    assert_string_equal(text, head);
    sy_columns_line(&c, f, text);
    assert_string_equal(text, line);
}

static void what_a_line_says(void **state) {
    (void)state;
    line_is(200, 1, 0, &usual, "   step    loss  |grad|      lr tok/s FLOP/s %peak  left bytes   cv  dead",
            " 12/200  5.9123    1.23 8.0e-04 26.8k   174G   27%  1:23 8.37M 0.51     3");
    line_is(200, 0, 79, &usual, "   step    loss  |grad|      lr tok/s FLOP/s %peak  left bytes",
            " 12/200  5.9123    1.23 8.0e-04 26.8k   174G   27%  1:23 8.37M");
    line_is(200, 1, 39, &usual, "   step    loss  |grad| tok/s  left", " 12/200  5.9123    1.23 26.8k  1:23");
    line_is(99999, 1, 39, &usual, "       step    loss  |grad| tok/s  left",
            "   12/99999  5.9123    1.23 26.8k  1:23");
    line_is(2, 1, 14, &usual, "step    loss", "12/2  5.9123");
}

/* One figure of a line as text. */
static const char *cell(const struct sy_figures *f, const char *name) {
    static char line[SY_LINE_BYTES];
    char head[SY_LINE_BYTES];
    struct sy_columns c = sy_columns_choose(100, 1, 0);
    sy_columns_head(&c, head);
    sy_columns_line(&c, f, line);
    assert_int_equal(strlen(line), strlen(head));
    char *end = strstr(head, name);
    assert_non_null(end);
    size_t stop = (size_t)(end - head) + strlen(name), begin = stop;
    while (begin > 0 && line[begin - 1] != ' ')
        begin--;
    line[stop] = 0;
    return line + begin;
}

static void every_size(void **state) {
    (void)state;
    const struct {
        double x;
        const char *rate, *loss, *norm, *left;
    } row[] = {
        {0, "0.00", "0.0000", "0.00", "0:00"},           {9.994, "9.99", "9.9940", "9.99", "0:10"},
        {9.996, "10.0", "9.9960", "10.00", "0:10"},      {59.6, "59.6", "59.6000", "59.60", "1:00"},
        {99.96, "100", "99.9600", "99.96", "1:40"},      {123.456, "123", "123.456", "123.5", "2:03"},
        {3599, "3.60k", "3.6e+03", "3.6e+03", "59:59"},  {3601, "3.60k", "3.6e+03", "3.6e+03", "1h00"},
        {359999, "360k", "3.6e+05", "3.6e+05", "99h59"}, {864000, "864k", "8.6e+05", "8.6e+05", "10d"},
        {999600, "1.00M", "1.0e+06", "1.0e+06", "11d"},  {1e30, "999P", "1.0e+30", "1.0e+30", "9999d"}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct sy_figures f = usual;
        f.tps = f.flops = f.bytes = f.loss = f.norm = f.left = row[i].x;
        assert_string_equal(cell(&f, "tok/s"), row[i].rate);
        assert_string_equal(cell(&f, "FLOP/s"), row[i].rate);
        assert_string_equal(cell(&f, "bytes"), row[i].rate);
        assert_string_equal(cell(&f, "loss"), row[i].loss);
        assert_string_equal(cell(&f, "|grad|"), row[i].norm);
        assert_string_equal(cell(&f, "left"), row[i].left);
    }
    struct sy_figures f = usual;
    f.loss = f.norm = NAN;
    f.mfu = 12345;
    f.cv = 10.04;
    f.dead = 1234;
    assert_string_equal(cell(&f, "loss"), "nan");
    assert_string_equal(cell(&f, "|grad|"), "nan");
    assert_string_equal(cell(&f, "%peak"), "999%");
    assert_string_equal(cell(&f, "cv"), "10.0");
    assert_string_equal(cell(&f, "dead"), "1.23k");
    f.dead = 999;
    assert_string_equal(cell(&f, "dead"), "999");
    f.counted = 0;
    assert_string_equal(cell(&f, "cv"), "-");
    assert_string_equal(cell(&f, "dead"), "-");
}

/* Whatever the figures and the terminal: no line is wider, and in a run all have one width. */
static void never_wider(void **state) {
    (void)state;
    static const double x[] = {0,   1e-300, 0.5,  9.9999, 99.99999, 999.49999, 999.5,
                               1e5, 1e15,   1e99, 1e300,  INFINITY, NAN};
    static const int64_t steps[] = {1, 200, 123456, 1000000000};
    char head[SY_LINE_BYTES], line[SY_LINE_BYTES];
    for (int columns = 1; columns <= 200; columns++)
        for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
            struct sy_columns c = sy_columns_choose(steps[s], (int)(columns % 4), columns);
            sy_columns_head(&c, head);
            assert_true((int)strlen(head) <= columns && strlen(head) <= SY_LINE_COLUMNS);
            for (size_t i = 0; i < sizeof x / sizeof *x; i++) {
                double y = x[i] == x[i] ? x[i] : 1e308;
                int64_t batch = columns % 3 ? INT64_MAX : 99999;
                struct sy_figures f = {steps[s], x[i], x[i], fmin(y, 1e3), y, y,
                                       y,        y,    y,    1,            y, INT64_MAX, batch};
                sy_columns_line(&c, &f, line);
                assert_int_equal(strlen(line), strlen(head));
            }
        }
}

/* --- times ------------------------------------------------------------------------------------ */

static struct sy_config *config;
static struct sy_session *session;

static int open_one(void **state) {
    (void)state;
    const char *options[][2] = {{"model.flavor", "micro_gqa"}, {"training.dataset_path", "none"},
                                {"training.seq_len", "32"},    {"training.steps", "10"},
                                {"numerics.class", "x86"},     {"run.threads", "1"},
                                {"metrics.log_freq", "4"}};
    config = config_with(options, sizeof options / sizeof *options);
    session = session_of(config, SY_SESSION_TRAIN | SY_SESSION_INIT);
    return 0;
}

static int close_one(void **state) {
    (void)state;
    close_session(session);
    return 0;
}

static void wait_ms(int ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL); }

static void near(double x, double low, double high) {
    if (!(x >= low && x <= high))
        fail_msg("%.9g, not in %.9g..%.9g", x, low, high);
}

/* Between the bounds of a clock around it; what came before the step (a checkpoint) is not in it. */
static void speed_of_a_step(void **state) {
    (void)state;
    struct sy_progress_state p;
    struct sy_metrics_times t;
    struct sy_figures f;
    struct sy_step_result r = {
        .step = 5, .tokens = 4096, .loss = 3, .norm = 2, .lr = 1, .counted = 1, .applied = 1};
    r.data_seconds = 0.25;
    int64_t experts = config->moe.num_experts, layers = session->params->n_layers;
    for (int64_t i = 0; i < layers * experts; i++)
        session->seen.counts[i] = i % experts ? 10 : 0;
    double open = sy_clock();
    sy_progress_init(session, 3, 0, &p);
    assert_true(p.peak_flops > 1e8 && p.peak_flops < 1e14);
    double tokens = (double)(config->training.global_batch_size * 32);
    near(p.step_seconds * p.peak_flops / 3, tokens * session->flops_per_token * 0.999999,
         tokens * session->flops_per_token * 1.000001);
    double started = sy_clock();
    wait_ms(100);
    double outer = sy_clock();
    sy_progress_begin(&p);
    double inner = sy_clock();
    wait_ms(30);
    double end = sy_clock();
    sy_progress_step(&p, session, &r, &t, &f);
    double last = sy_clock(), least = end - inner, most = last - outer;
    near(t.step_ms, least * 1e3, most * 1e3);
    near(p.step_seconds, least, most);
    near(t.tps, 4096 / most, 4096 / least);
    assert_true(t.tps_total == t.tps && f.tps == t.tps);
    near(t.tflops * 1e12, t.tps * session->flops_per_token * 0.999999,
         t.tps * session->flops_per_token * 1.000001);
    near(f.flops, t.tflops * 0.999999e12, t.tflops * 1.000001e12);
    near(t.mfu / 100 * p.peak_flops, f.flops * 0.999999, f.flops * 1.000001);
    assert_true(f.mfu == t.mfu && t.data_ms == 250);
    near((double)t.mem_bytes, 1e6, 1e12);
    assert_true(f.bytes == (double)t.mem_bytes && f.step == 5 && f.loss == 3 && f.norm == 2 && f.lr == 1);
    near(f.left, (end - started) / 2 * 5, (last - open) / 2 * 5); /* two steps were done, five are left */
    int64_t moe = layers - config->model.n_dense_layers;
    assert_true(f.counted && f.dead == moe);
    near(f.cv, sqrt(1.0 / (double)(experts - 1)) * 0.999999, sqrt(1.0 / (double)(experts - 1)) * 1.000001);
}

/* A step that followed routes of a skipped one has computed nothing. */
static void step_that_computed_nothing(void **state) {
    (void)state;
    struct sy_progress_state p;
    struct sy_metrics_times t;
    struct sy_figures f;
    struct sy_step_result r = {.step = 1, .loss = NAN, .norm = NAN};
    sy_progress_init(session, 0, 0, &p);
    wait_ms(1);
    sy_progress_step(&p, session, &r, &t, &f);
    assert_true(t.tps == 0 && t.tps_total == 0 && t.tflops == 0 && t.mfu == 0 && t.step_ms > 0);
    assert_true(f.tps == 0 && f.flops == 0 && f.mfu == 0 && f.counted == 0 && f.dead == 0);
    /* In a session a step with a NaN, here in the embedding of the last sequence, runs to its end. */
    int64_t n = config->training.global_batch_size * 32;
    for (int64_t i = 0; i < n; i++) {
        session->feed.ids[i] = i < n - 32 ? 1 : 2;
        session->feed.labels[i] = 1;
        session->feed.doc_start[i] = 0;
    }
    const struct sy_param *embedding = &session->params->param[session->params->embedding];
    float *row = session->state.master[session->params->embedding] + 2 * embedding->cols, kept = *row;
    *row = NAN;
    sy_session_weights_changed(session);
    assert_int_equal(sy_session_step_filled(session, 0, &r), SY_OK);
    assert_int_equal(r.applied, 0);
    assert_int_equal(r.tokens, n);
    *row = kept;
    sy_session_weights_changed(session);
    assert_int_equal(sy_session_step_filled(session, 0, &r), SY_OK);
    assert_int_equal(r.applied, 1);
    assert_int_equal(r.tokens, n);
}

/* --- who watches, and log.txt ----------------------------------------------------------------- */

struct watched {
    int calls, due;
    int64_t step;
    char head[SY_LINE_BYTES], line[SY_LINE_BYTES];
    double seconds;
};

static void watch(void *user, const struct sy_progress *p) {
    struct watched *w = user;
    w->calls++;
    w->due = p->due;
    w->step = p->step;
    w->seconds = p->step_seconds;
    snprintf(w->head, sizeof w->head, "%s", p->head);
    snprintf(w->line, sizeof w->line, "%s", p->line ? p->line : "");
    assert_int_equal(p->steps, 10);
}

static void keep_log(void *user, enum sy_log_level level, const char *line) {
    (void)level;
    snprintf(user, SY_LINE_BYTES, "%s", line);
}

static void lines_of_a_run(void **state) {
    (void)state;
    struct sy_progress_state p;
    struct watched w = {0};
    char said[SY_LINE_BYTES] = "", text[4096] = "", want[4096] = "", line[SY_LINE_BYTES];
    struct sy_io io = {.progress = watch, .user = &w};
    struct sy_log log = {keep_log, said};
    FILE *file = tmpfile();
    assert_non_null(file);
    sy_progress_init(session, 2, 39, &p);
    p.step_seconds = 0.99;
    sy_progress_head(&p, &io, &log, file);
    assert_string_equal(said, "");
    rewind(file);
    p.step_seconds = 71.6;
    sy_progress_head(&p, &io, &log, file);
    assert_string_equal(said, "the first step takes about 72 s");
    assert_true(w.calls == 2 && w.step == 2 && !*w.line && w.seconds == 71.6);
    assert_string_equal(w.head, " step    loss  |grad| tok/s  left   cv");
    struct sy_columns wide = sy_columns_choose(10, 1, 0), narrow = sy_columns_choose(10, 1, 39);
    sy_columns_head(&wide, want);
    strcat(want, "\n");
    for (int64_t step = 3; step <= 10; step++) {
        struct sy_figures f = usual;
        f.step = step;
        sy_progress_show(&p, &f, &io, file);
        int due = step == 3 || step == 4 || step == 8 || step == 10; /* the first, every fourth, the last */
        assert_int_equal(w.due, due);
        assert_int_equal(w.step, step);
        sy_columns_line(&narrow, &f, line);
        assert_string_equal(w.line, line);
        sy_columns_line(&wide, &f, line);
        if (due)
            strcat(strcat(want, line), "\n");
    }
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    assert_string_equal(text, want);
    fclose(file);
    sy_progress_head(&p, &(struct sy_io){0}, NULL, NULL); /* nobody watches */
    sy_progress_show(&p, &usual, &(struct sy_io){0}, NULL);
}

/* --- metrics.jsonl ---------------------------------------------------------------------------- */

static double real_of(const json_t *line, const char *key) {
    assert_true(json_is_number(json_object_get(line, key)));
    return json_number_value(json_object_get(line, key));
}

static void numbers_of_a_metrics_line(void **state) {
    (void)state;
    char dir[] = "/tmp/sy-metrics-XXXXXX", path[64];
    struct sy_metrics m;
    struct sy_metrics_times t = {1001, 1002, 1003, 1004, 1005, 1006, 1007};
    struct sy_step_result r = {.step = 7, .loss = 2.5, .norm = 0.75, .lr = 0.001, .counted = 1, .applied = 1};
    int64_t experts = config->moe.num_experts;
    assert_non_null(mkdtemp(dir));
    snprintf(r.digest, sizeof r.digest, "0123456789abcdef0123456789abcdef");
    r.has_balance_loss = r.has_z_loss = 1;
    r.balance_loss = 1.25;
    r.z_loss = 4.5;
    for (int64_t i = 0; i < session->params->n_layers * experts; i++)
        session->seen.counts[i] = i;
    assert_int_equal(sy_metrics_open(dir, 0, &m), SY_OK);
    assert_int_equal(sy_metrics_step(&m, session, &r, &t), SY_OK);
    assert_int_equal(sy_metrics_close(&m), SY_OK);
    assert_int_equal(sy_metrics_close(&m), SY_OK);
    snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
    json_t *line = json_load_file(path, 0, NULL);
    assert_non_null(line);
    static const struct {
        const char *key;
        double value;
    } want[] = {{"step", 7},       {"loss", 2.5},         {"grad_norm", 0.75}, {"lr", 0.001},
                {"tps", 1001},     {"tps_total", 1002},   {"tflops", 1003},    {"mfu", 1004},
                {"step_ms", 1005}, {"data_ms", 1006},     {"mem_bytes", 1007}, {"skipped", 0},
                {"z_loss", 4.5},   {"balance_loss", 1.25}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        near(real_of(line, want[i].key), want[i].value, want[i].value);
    near(real_of(line, "tokens"), (double)(7 * config->training.global_batch_size * 32),
         (double)(7 * config->training.global_batch_size * 32));
    assert_string_equal(json_string_value(json_object_get(line, "loss_bits")), "4004000000000000");
    assert_string_equal(json_string_value(json_object_get(line, "grad_norm_bits")), "3fe8000000000000");
    assert_string_equal(json_string_value(json_object_get(line, "weights_digest")), r.digest);
    json_t *moe = json_object_get(line, "moe"), *layer;
    assert_int_equal(json_array_size(moe), session->params->n_layers - config->model.n_dense_layers);
    size_t k;
    json_array_foreach(moe, k, layer) {
        int64_t l = config->model.n_dense_layers + (int64_t)k;
        near(real_of(layer, "layer"), (double)l, (double)l);
        near(real_of(layer, "load_min"), (double)(l * experts), (double)(l * experts));
        near(real_of(layer, "load_max"), (double)(l * experts + experts - 1),
             (double)(l * experts + experts - 1));
        for (int64_t e = 0; e < experts; e++)
            assert_int_equal(json_integer_value(json_array_get(json_object_get(layer, "load"), (size_t)e)),
                             l * experts + e);
    }
    json_decref(line);
    unlink(path);
    rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_a_line_says),
                                       cmocka_unit_test(every_size),
                                       cmocka_unit_test(never_wider),
                                       cmocka_unit_test(speed_of_a_step),
                                       cmocka_unit_test(step_that_computed_nothing),
                                       cmocka_unit_test(lines_of_a_run),
                                       cmocka_unit_test(numbers_of_a_metrics_line)};
    return cmocka_run_group_tests(tests, open_one, close_one);
}
