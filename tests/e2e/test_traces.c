/* A trace tells what was done: its ops are, in order, the calls that a table of our own counted beneath it;
 * spans hold what happened inside them and never cross; each rank, thread and traced step is there, no other;
 * bytes and FLOPs are those of a formula; and the run has the bits of one that is not traced.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/room.h"
#include "../lib/session.h"
#include "switchyard.h"
#include "train/traces.h"


/* --- a trace as a test reads it ------------------------------------------------------------------------- */

struct event {
    const char *cat, *name;
    int pid, tid;
    double begin, end;
    json_t *args;
};
struct trace {
    json_t *json;
    struct event *event;
    size_t n;
};

static int by_time(const void *a, const void *b) {
    const struct event *x = a, *y = b;
    if (x->pid != y->pid || x->tid != y->tid)
        return x->pid != y->pid ? x->pid - y->pid : x->tid - y->tid;
    return x->begin != y->begin ? (x->begin > y->begin ? 1 : -1) : (x->end < y->end) - (x->end > y->end);
}

static const char *text(json_t *object, const char *key) {
    const char *s = json_string_value(json_object_get(object, key));
    if (!s)
        fail_msg("an event without a text \"%s\"", key);
    return s;
}

static double number(json_t *object, const char *key) {
    json_t *x = json_object_get(object, key);
    if (!json_is_number(x))
        fail_msg("an event without a number \"%s\"", key);
    return json_number_value(x);
}

/* Sorted: of a thread in the order of their begins, outer ones first. */
static struct trace read_trace(const char *path) {
    json_error_t e;
    struct trace t = {.json = json_load_file(path, 0, &e)};
    json_t *events = json_object_get(t.json, "traceEvents"), *j;
    size_t i;
    if (!json_is_array(events))
        fail_msg("%s: %s at line %d", path, e.text, e.line);
    t.event = calloc(json_array_size(events), sizeof *t.event);
    json_array_foreach(events, i, j) {
        const char *ph = text(j, "ph");
        if (strcmp(ph, "M") == 0)
            continue;
        assert_string_equal(ph, "X");
        double ts = number(j, "ts");
        int rank = (int)number(j, "pid") - 1, thread = (int)number(j, "tid") - 1 - 10000 * rank;
        assert_true(rank >= 0 && thread >= 0 && thread <= 1000);
        t.event[t.n++] = (struct event){text(j, "cat"),        text(j, "name"),           rank, thread, ts,
                                        ts + number(j, "dur"), json_object_get(j, "args")};
    }
    qsort(t.event, t.n, sizeof *t.event, by_time);
    return t;
}

static void free_trace(struct trace *t) {
    json_decref(t->json);
    free(t->event);
}

static int is(const struct event *e, const char *cat) { return strcmp(e->cat, cat) == 0; }

static int64_t count(const struct trace *t, int pid, const char *cat, const char *name) {
    int64_t n = 0;
    for (size_t i = 0; i < t->n; i++)
        n +=
            t->event[i].pid == pid && is(&t->event[i], cat) && (!name || strcmp(t->event[i].name, name) == 0);
    return n;
}

static int rank_of(const char *cat) { /* who may hold whom */
    static const char *const order[] = {"step", "phase", "span", "op", "thread"};
    for (int i = 0; i < 5; i++)
        if (strcmp(cat, order[i]) == 0)
            return i;
    fail_msg("an event of category %s", cat);
    return -1;
}

/* Of each thread: an event lies inside the one that began before it and has not ended. NULL: so it is. */
static const char *wrong_nesting(const struct trace *t) {
    static char why[256];
    const double rounding = 0.0021; /* times have three digits behind the point of a microsecond */
    const struct event *stack[16];
    int depth = 0;
    for (size_t i = 0; i < t->n; i++) {
        const struct event *e = &t->event[i];
        if (i == 0 || e->pid != t->event[i - 1].pid || e->tid != t->event[i - 1].tid)
            depth = 0;
        while (depth && stack[depth - 1]->end <= e->begin + rounding)
            depth--;
        const struct event *outer = depth ? stack[depth - 1] : NULL;
        snprintf(why, sizeof why, "%s %s at %.3f, in %s", e->cat, e->name, e->begin,
                 outer ? outer->name : "nothing");
        if ((outer && e->end > outer->end + rounding) ||
            (outer && rank_of(e->cat) <= rank_of(outer->cat) && !is(e, "span")) ||
            (!outer && e->tid == 0 && !is(e, "step")) || depth == 16)
            return why;
        stack[depth++] = e;
    }
    return NULL;
}

static void check_nesting(const struct trace *t) {
    const char *why = wrong_nesting(t);
    if (why)
        fail_msg("%s", why);
}

/* A share of a thread lies in time inside an op of that name. */
static void check_shares(const struct trace *t) {
    for (size_t i = 0; i < t->n; i++) {
        const struct event *s = &t->event[i];
        int found = strcmp(s->name, "between ops") == 0;
        for (size_t k = 0; k < t->n && is(s, "thread") && !found; k++) {
            const struct event *o = &t->event[k];
            found = is(o, "op") && o->pid == s->pid && strcmp(o->name, s->name) == 0 &&
                    o->begin <= s->begin + 0.002 && s->end <= o->end + 0.002;
        }
        if (is(s, "thread") && !found)
            fail_msg("thread %d: %s at %.3f is of no op", s->tid, s->name, s->begin);
    }
}

/* --- one rank, beside a table that counts --------------------------------------------------------------- */

enum { MOST = 20000 };
static struct {
    const struct sy_ops *real;
    int n, op[MOST];
} seen;

#define X(name, type)                                                            \
    static void counted_##name(const struct sy_exec *x, const struct type *op) { \
        if (seen.n < MOST)                                                       \
            seen.op[seen.n++] = SY_OP_##name;                                    \
        seen.real->name(x, op);                                                  \
    }
SY_OPS_LIST(X)
#undef X

static void fill(struct sy_session *s) {
    int64_t n = sy_walk_length(&s->walk) * s->config->training.seq_len;
    for (int64_t t = 0; t < n; t++) {
        s->feed.ids[t] = (int32_t)(t * 37 % s->config->model.vocab_size);
        s->feed.labels[t] = (int32_t)((t + 1) * 37 % s->config->model.vocab_size);
        s->feed.doc_start[t] = 0;
    }
}

static void check_ops(const struct trace *t) {
    int at = 0;
    for (size_t i = 0; i < t->n; i++) {
        const struct event *e = &t->event[i];
        if (!is(e, "op"))
            continue;
        if (at >= seen.n || strcmp(e->name, sy_profile_op_name(seen.op[at])) != 0)
            fail_msg("op %d of the trace is %s, of the step %s", at, e->name,
                     at < seen.n ? sy_profile_op_name(seen.op[at]) : "none");
        assert_true(strlen(text(e->args, "shapes")) > 3 && number(e->args, "bytes") > 0);
        at++;
    }
    assert_int_equal(at, seen.n);
}

/* The head's product: 32 labels at a time, of 32 columns, 272 tokens. */
static void check_numbers(const struct trace *t) {
    int found = 0;
    for (size_t i = 0; i < t->n; i++) {
        const struct event *e = &t->event[i];
        if (!is(e, "op") || strcmp(e->name, "linear") != 0 ||
            strcmp(text(e->args, "part"), "head and loss") != 0)
            continue;
        long long rows, k, groups, k2, n, rows2, n2;
        assert_int_equal(sscanf(text(e->args, "shapes"),
                                "x [%lld, %lld], w [%lld, %lld, %lld], y [%lld, %lld]", &rows, &k, &groups,
                                &k2, &n, &rows2, &n2),
                         7);
        assert_true(k == 32 && k2 == 32 && groups == 1 && n == 272 && n2 == 272 && rows2 == rows && rows > 0);
        assert_true(number(e->args, "flops") == 2.0 * (double)(rows * k * n));
        /* bf16 but the logits */
        assert_true(number(e->args, "bytes") == 2.0 * (double)(rows * k + k * n) + 4.0 * (double)(rows * n));
        found++;
    }
    assert_true(found > 0);
}

static void one_rank(void **state) {
    (void)state;
    const char *options[][2] = {
        {"model.flavor", "micro_gqa"},          {"run.threads", "3"},
        {"activation_checkpoint.mode", "full"}, {"profiling.enable_profiling", "true"},
        {"profiling.profile_freq", "1"},        {"profiling.profiler_warmup", "0"}};
    struct sy_config *c = config_with(options, 6);
    struct sy_session *s = session_of(c, SY_SESSION_TRAIN | SY_SESSION_INIT);
    struct sy_ops counting = *s->exec.ops;
    struct sy_step_result r;
    struct sy_traces traces;
    char path[300];
    seen.real = s->exec.ops;
#define X(name, type) counting.name = counted_##name;
    SY_OPS_LIST(X)
#undef X
    s->exec.ops = &counting;
    expect_ok(sy_traces_open(s, room, 1, NULL, &traces));
    fill(s);
    seen.n = 0;
    expect_ok(sy_traces_before(&traces, 1));
    expect_ok(sy_session_step_filled(s, 0, &r));
    sy_traces_after(&traces, 1);
    expect_ok(sy_traces_write(&traces, 1, NULL));
    assert_true(s->exec.ops == &counting && !s->profile);
    snprintf(path, sizeof path, "%s/profile_traces/iteration_1/rank0_trace.json", room);
    struct trace t = read_trace(path);
    check_nesting(&t);
    check_shares(&t);
    check_ops(&t);
    check_numbers(&t);
    assert_int_equal(count(&t, 0, "step", "step 1"), 1);
    for (const char **p = (const char *[]){"forward", "recompute", "backward", "gradient norm", NULL}; *p;
         p++)
        if (count(&t, 0, "phase", *p) == 0)
            fail_msg("no phase %s", *p);
    for (int tid = 0; tid < 3; tid++) {
        int64_t n = 0;
        for (size_t i = 0; i < t.n; i++)
            n += is(&t.event[i], "thread") && t.event[i].tid == tid;
        assert_true(n > 0);
    }
    free_trace(&t);
    sy_session_destroy(s);
    sy_traces_close(&traces);
    sy_config_destroy(c);
}

/* What is wrong is seen. */
static int nests(const char *cat, const char *dur) {
    char path[300];
    snprintf(path, sizeof path, "%s/wrong.json", room);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(
        f,
        "{\"traceEvents\":[{\"ph\":\"X\",\"cat\":\"step\",\"name\":\"s\",\"pid\":1,\"tid\":1,\"ts\":0,"
        "\"dur\":9},{\"ph\":\"X\",\"cat\":\"%s\",\"name\":\"o\",\"pid\":1,\"tid\":1,\"ts\":1,\"dur\":%s}]}",
        cat, dur);
    fclose(f);
    struct trace t = read_trace(path);
    int good = wrong_nesting(&t) == NULL;
    free_trace(&t);
    return good;
}

static void nesting(void **state) {
    (void)state;
    assert_true(nests("op", "7"));
    assert_false(nests("op", "8.5"));
    assert_false(nests("step", "7"));
}

/* --- trainings ------------------------------------------------------------------------------------------ */

static int warnings, traced;
static void log_line(void *user, int warn, const char *line) {
    (void)user;
    warnings += warn && strstr(line, "traces are not written") != NULL;
    traced += strncmp(line, "traced ", 7) == 0;
}

/* Its digest. options: pairs that end with NULL. */
static void train(const char *name, const char **options, char digest[33]) {
    char dir[200];
    struct sy_config *c;
    struct sy_train_summary out;
    struct sy_io io = {.log = log_line};
    snprintf(dir, sizeof dir, "%s/%s", room, name);
    const char *common[][2] = {{"model.flavor", "micro_gqa"},
                               {"run.dir", dir},
                               {"run.threads", "2"},
                               {"training.steps", "8"},
                               {"checkpoint.enable", "false"},
                               {"metrics.enable_report", "false"},
                               {"training.dataset_path", "examples/data/short_pieces.jsonl"}};
    c = config_with(common, 7);
    for (; *options; options += 2)
        expect_ok(sy_config_set(c, SY_LAYER_FLAG, "test", options[0], options[1]));
    expect_ok(sy_train(c, name, &io, &out));
    snprintf(digest, 33, "%s", out.weights_digest);
    sy_config_destroy(c);
}

static int is_there(const char *path) {
    char full[300];
    snprintf(full, sizeof full, "%s/%s", room, path);
    return access(full, F_OK) == 0;
}

#define TRACED                                                                                             \
    "profiling.enable_profiling", "true", "profiling.profile_freq", "4", "profiling.profiler_active", "2", \
        "profiling.profiler_warmup", "1"

/* The metrics have the parts of the steps before those that are written, which together are the step. */
static void check_parts(const char *name) {
    char path[300], *line = NULL;
    size_t capacity = 0;
    int found = 0;
    snprintf(path, sizeof path, "%s/%s/metrics.jsonl", room, name);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (getline(&line, &capacity, f) > 0) {
        json_t *j = json_loads(line, 0, NULL), *part;
        double sum = 0, ms;
        size_t i;
        if (j && strcmp(text(j, "kind"), "profile") == 0) {
            assert_true(number(j, "step") == (found++ ? 6 : 2));
            ms = number(j, "ms");
            json_array_foreach(json_object_get(j, "parts"), i, part) {
                assert_true(*text(part, "part") && *text(part, "text"));
                sum += number(part, "ms");
                if (json_object_get(part, "forward"))
                    assert_true(fabs(number(part, "forward") + number(part, "recompute") +
                                     number(part, "backward") - number(part, "ms")) <= 1e-6);
            }
            /* what was asked of each op (ops/work.h) is of no part */
            assert_true(i > 10 && ms > 0 && sum <= ms * 1.001 && sum >= ms * 0.8);
        }
        json_decref(j);
    }
    free(line);
    fclose(f);
    assert_int_equal(found, 2);
}

/* Steps 3, 4, 7 and 8 of each of three ranks; ranks do the same calls of a layer. */
static void ranks(void **state) {
    (void)state;
    char plain[33], same[33], path[300];
    const char *name = "step 7";
    train("plain", (const char *[]){NULL}, plain);
    traced = 0;
    train("ranks", (const char *[]){TRACED, "run.ranks", "3", "run.threads", "6", NULL}, same);
    assert_string_equal(plain, same);
    assert_int_equal(traced, 2);
    assert_false(is_there("ranks/profile_traces/iteration_3"));
    check_parts("ranks");
    for (int rank = 0; rank < 3; rank++) {
        snprintf(path, sizeof path, "%s/ranks/profile_traces/iteration_4/rank%d_trace.json", room, rank);
        struct trace own = read_trace(path);
        assert_true(own.n > 100 && count(&own, rank, "step", "step 3") == 1 &&
                    count(&own, rank, "step", "step 4") == 1 && count(&own, rank, "step", NULL) == 2);
        free_trace(&own);
    }
    snprintf(path, sizeof path, "%s/ranks/profile_traces/iteration_8/trace.json", room);
    struct trace t = read_trace(path);
    check_nesting(&t);
    check_shares(&t);
    for (int rank = 0; rank < 3; rank++) {
        assert_int_equal(count(&t, rank, "step", name), 1);
        int64_t fwd = count(&t, rank, "op", "attention_fwd"), bwd = count(&t, rank, "op", "attention_bwd");
        assert_true(fwd > 0 && fwd == bwd && fwd % 4 == 0); /* 2 layers, 2 steps, nothing is recomputed */
        assert_int_equal(count(&t, rank, "op", "judge"), 2);
        assert_int_equal(count(&t, rank, "phase", "gradient norm"), 2);
        assert_int_equal(count(&t, rank, "phase", "weights over ranks"), 2);
    }
    assert_int_equal(count(&t, 3, "op", NULL), 0);
    free_trace(&t);
}

static void stages(void **state) {
    (void)state;
    char plain[33], same[33], path[300];
    train("plain2", (const char *[]){NULL}, plain);
    train("stages",
          (const char *[]){TRACED, "run.ranks", "2", "parallelism.pipeline_parallel_degree", "2", NULL},
          same);
    assert_string_equal(plain, same);
    snprintf(path, sizeof path, "%s/stages/profile_traces/iteration_8/trace.json", room);
    struct trace t = read_trace(path);
    check_nesting(&t);
    assert_true(count(&t, 0, "op", "embed_fwd") > 0 && count(&t, 1, "op", "embed_fwd") == 0);
    assert_true(count(&t, 1, "op", "cross_entropy") > 0 && count(&t, 0, "op", "cross_entropy") == 0);
    free_trace(&t);
}

/* A file where the folder should be: a warning, and the same run. */
static void no_room(void **state) {
    (void)state;
    char plain[33], same[33], path[300];
    train("plain3", (const char *[]){NULL}, plain);
    snprintf(path, sizeof path, "%s/no_room", room);
    assert_int_equal(mkdir(path, 0777), 0);
    snprintf(path, sizeof path, "%s/no_room/profile_traces", room);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    warnings = traced = 0;
    train("no_room", (const char *[]){TRACED, "run.ranks", "2", NULL}, same);
    assert_string_equal(plain, same);
    assert_true(warnings == 1 && traced == 0);
}

static void refused(void **state) {
    (void)state;
    const char *options[][2] = {{"model.flavor", "micro_gqa"},
                                {"profiling.enable_profiling", "true"},
                                {"profiling.profile_freq", "3"}};
    struct sy_config *c = config_with(options, 3);
    assert_int_equal(sy_config_finish(c, false), SY_ERR_USAGE);
    assert_non_null(strstr(sy_error_message(), "profiling.profile_freq"));
    assert_non_null(strstr(sy_error_message(), "choose 4"));
    sy_config_destroy(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_rank), cmocka_unit_test(nesting),
                                       cmocka_unit_test(ranks),    cmocka_unit_test(stages),
                                       cmocka_unit_test(no_room),  cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, open_room, close_room);
}
