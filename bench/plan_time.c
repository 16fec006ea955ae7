/* plan_time [--cpu] CONFIG [STEPS [KEY=VALUE ...]]: the time that `plan` expects of a step beside the time that
 * it takes, on this CPU, over ranks of one thread each.
 *
 * The plan's figures of a GPU are replaced by this machine's: of steps on one rank, how fast attention is
 * (its FLOPs by the plan, over the time of its ops), how fast the update (bytes), and how fast all else (the
 * other FLOPs, over the rest of the time); of a copy in memory, what a rank sends a second. Then nothing is
 * adjusted: one rank at another length of sequences, and two ranks that divide lanes, weights, experts or
 * layers. Layouts take turns, and of each the median of all its steps is taken.
 *
 * --cpu: where others use the machine: instead of the wall clock the time of a rank's processor, the larger
 * one of two. Waiting takes none of it, so that layers divided over ranks are left out: what a pipeline's
 * ranks wait is the plan of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "comm/comm.h"
#include "parallel/plan.h"
#include "switchyard.h"
#include "train/feed.h"
#include "train/session.h"

enum { TURNS = 3, MOST_STEPS = 64, OPTIONS = 4 };

struct layout {
    const char *what;
    int ranks;
    const char *with[OPTIONS][2];
    struct sy_config *config;
    double ms[TURNS * MOST_STEPS];
    int n;
};

static struct layout layouts[] = {
    {.what = "1 rank (the figures are its)", .ranks = 1},
    {.what = "1 rank, twice the length", .ranks = 1, .with = {{"training.seq_len", "2"}}},
    {.what = "2 ranks, lanes",
     .ranks = 2,
     .with = {{"parallelism.data_parallel_replicate_degree", "2"},
              {"parallelism.data_parallel_shard_degree", "1"}}},
    {.what = "2 ranks, lanes, weights in shards", .ranks = 2},
    {.what = "2 ranks, lanes, experts",
     .ranks = 2,
     .with = {{"parallelism.expert_parallel_degree", "2"},
              {"parallelism.data_parallel_shard_degree", "1"},
              {"parallelism.data_parallel_replicate_degree", "2"}}},
    {.what = "2 ranks, stages, GPipe",
     .ranks = 2,
     .with = {{"parallelism.pipeline_parallel_degree", "2"},
              {"parallelism.pipeline_parallel_schedule", "GPipe"},
              {"training.local_batch_size", "1"}}},
    {.what = "2 ranks, stages, 1F1B, 4 micro-batches",
     .ranks = 2,
     .with = {{"parallelism.pipeline_parallel_degree", "2"},
              {"parallelism.pipeline_parallel_schedule", "1F1B"},
              {"training.local_batch_size", "2"}}},
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

static void must(sy_status status) {
    if (status == SY_OK)
        return;
    fprintf(stderr, "plan_time: %s\n", sy_error_message());
    exit(sy_status_exit_code(status));
}

static void set(struct sy_config *c, const char *key, const char *value) {
    must(sy_config_set(c, SY_LAYER_FLAG, "plan_time", key, value));
}

static void set_text(struct sy_config *c, const char *text) {
    char key[128];
    const char *value = strchr(text, '=');
    snprintf(key, sizeof key, "%.*s", value ? (int)(value - text) : 0, text);
    set(c, key, value ? value + 1 : "");
}

static void make_config(struct layout *l, const char *path, char **more, int n_more) {
    char ranks[8], length[24];
    must(sy_config_create(&l->config));
    must(sy_config_load_file(l->config, path));
    snprintf(ranks, sizeof ranks, "%d", l->ranks);
    for (int i = 0; i < n_more; i++)
        set_text(l->config, more[i]);
    set(l->config, "run.ranks", ranks);
    set(l->config, "run.threads", ranks);
    set(l->config, "debug.moe_force_load_balance", "true"); /* as a plan has it */
    for (int i = 0; i < OPTIONS && l->with[i][0]; i++) {
        const char *value = l->with[i][1];
        if (strcmp(l->with[i][0], "training.seq_len") == 0) { /* so many times the file's */
            snprintf(length, sizeof length, "%lld", (long long)(l->config->training.seq_len * atoi(value)));
            value = length;
        }
        set(l->config, l->with[i][0], value);
    }
    must(sy_config_finish(l->config, false));
}

/* --- steps that are timed ------------------------------------------------------------------------------- */

static int by_cpu;

static double now(void) {
    struct timespec t;
    clock_gettime(by_cpu ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct job {
    struct layout *layout;
    const struct sy_data *data;
    int steps;
    double attention_ms, update_ms; /* with a profile: of the last step */
    int profiled;
};

static int is_left_out(const struct layout *l) {
    return by_cpu && l->config->parallelism.pipeline_parallel_degree > 1;
}

static double op_ms(const struct sy_profile *p, const int *op, int n) {
    double s = 0;
    for (int i = 0; i < n; i++)
        s += 1e3 * p->op[op[i]].seconds;
    return s;
}

static void read_profile(const struct sy_profile *p, struct job *j) {
    static const int attention[] = {SY_OP_attention_fwd, SY_OP_attention_bwd},
                     update[] = {SY_OP_adamw, SY_OP_cast, SY_OP_norm};
    j->attention_ms = op_ms(p, attention, 2);
    j->update_ms = op_ms(p, update, 3);
}

static sy_status steps(struct sy_session *s, struct job *j, struct sy_profile *p) {
    struct sy_step_result r;
    for (int i = 0; i <= j->steps; i++) { /* the first one warms up */
        double begun = now();
        if (j->profiled)
            sy_profile_begin(p);
        SY_TRY(sy_session_step(s, i, &r));
        if (j->profiled)
            sy_profile_end(p);
        int64_t ns = (int64_t)(1e9 * (now() - begun)), all[2] = {0};
        SY_TRY(s->groups.world.ops->all_gather(&s->groups.world, SY_OK, &ns, sizeof ns, all));
        if (s->mesh.rank == 0 && i > 0 && !j->profiled)
            j->layout->ms[j->layout->n++] = 1e-6 * (double)(all[0] > all[1] ? all[0] : all[1]);
    }
    if (j->profiled)
        read_profile(p, j);
    return SY_OK;
}

static sy_status as_rank(const struct sy_comm *world, void *arg) {
    struct job *j = arg;
    struct sy_session *s;
    struct sy_profile *p = calloc(1, sizeof *p);
    SY_TRY(sy_session_join(
        &(struct sy_session_options){.config = j->layout->config,
                                     .parts = SY_SESSION_TRAIN | SY_SESSION_DATA | SY_SESSION_INIT,
                                     .world = world,
                                     .data = j->data},
        &s));
    if (p && j->profiled) {
        sy_profile_init(p, &s->exec, &s->state, &s->weights.keeper);
        p->clock = now;
        s->exec.ops = &p->ops;
        s->profile = p;
    }
    sy_status status = p ? steps(s, j, p) : SY_ERR_MEMORY;
    sy_session_destroy(s);
    free(p);
    return status;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(struct layout *l) {
    qsort(l->ms, (size_t)l->n, sizeof *l->ms, by_size);
    return l->ms[l->n / 2];
}

/* --- what a machine is ---------------------------------------------------------------------------------- */

/* Bytes a second of a copy that no cache holds. */
static double copy_rate(void) {
    enum { BYTES = 1 << 28 };
    char *a = calloc(2, BYTES);
    double best = 0;
    for (int i = 0; a && i < 5; i++) {
        double begun = now();
        memcpy(a + (i % 2 ? 0 : BYTES), a + (i % 2 ? BYTES : 0), BYTES);
        double rate = BYTES / (now() - begun);
        best = rate > best ? rate : best;
    }
    free(a);
    return best;
}

/* Seconds that are FLOPs of attention or of products of a step on one rank, at 1 FLOP/s. */
static double planned(const struct layout *l, const struct sy_params *params, int attention, int products) {
    struct sy_plan_gpu unit = {"unit", 1e9, 1, 1e30, 1e30, 1e30, 1 << 20, 1e30, 1e30, 0};
    struct sy_plan *p;
    unit.products = products ? 1 : 1e15;
    unit.attention = attention ? 1 : 1e15;
    must(sy_plan_create(l->config, params, l->ranks, &unit, &p));
    double s = 1e9 * p->pipeline;
    sy_plan_destroy(p);
    return s;
}

static double update_bytes(const struct layout *l, const struct sy_params *params) {
    struct sy_plan_gpu unit = {"unit", 1e15, 1, 1, 1e30, 1e30, 1 << 20, 1, 1, 0};
    struct sy_plan *p;
    must(sy_plan_create(l->config, params, l->ranks, &unit, &p));
    double bytes = p->update;
    sy_plan_destroy(p);
    return bytes;
}

static struct sy_plan_gpu figures(struct layout *one, const struct sy_params *params,
                                  const struct job *seen) {
    double rest = median(one) - seen->attention_ms - seen->update_ms, near = copy_rate();
    struct sy_plan_gpu g = {
        "core", planned(one, params, 0, 1) / rest * 1e3, 1e12, 0, near, near, 1 << 20, 1, 0, 1e-5};
    g.attention = planned(one, params, 1, 0) / seen->attention_ms * 1e3 / g.peak;
    g.hbm = update_bytes(one, params) / seen->update_ms * 1e3;
    printf("a core: products and the rest %.1f GFLOP/s, attention %.1f, update %.2f GB/s, copies %.2f GB/s\n",
           g.peak * 1e-9, g.attention * g.peak * 1e-9, g.hbm * 1e-9, near * 1e-9);
    return g;
}

static void run_all(struct sy_data *data, int n) {
    for (int turn = 0; turn < TURNS; turn++)
        for (int i = 0; i < LAYOUTS; i++)
            if (!is_left_out(&layouts[i]))
                must(sy_comm_threads_run(layouts[i].ranks, as_rank,
                                         &(struct job){.layout = &layouts[i], .data = &data[i], .steps = n}));
}

static void print_all(const struct sy_params *params, const struct sy_plan_gpu *core) {
    printf("%-42s %9s %9s %6s\n", by_cpu ? "ms of a processor" : "ms", "plan", "run", "ratio");
    for (int i = 0; i < LAYOUTS; i++) {
        struct sy_plan *p;
        if (is_left_out(&layouts[i]))
            continue;
        must(sy_plan_create(layouts[i].config, params, layouts[i].ranks, core, &p));
        double run = median(&layouts[i]);
        printf("%-42s %9.1f %9.1f %6.3f\n", layouts[i].what, 1e3 * p->step, run, 1e3 * p->step / run);
        sy_plan_destroy(p);
    }
}

int main(int argc, char **argv) {
    by_cpu = argc > 1 && strcmp(argv[1], "--cpu") == 0;
    argc -= by_cpu;
    argv += by_cpu;
    int n = argc > 2 ? atoi(argv[2]) : 2;
    struct sy_params *params;
    struct sy_data data[LAYOUTS] = {{0}};
    if (argc < 2 || n < 1 || n > MOST_STEPS) {
        fprintf(stderr, "usage: plan_time [--cpu] CONFIG [STEPS, up to %d [KEY=VALUE ...]]\n", MOST_STEPS);
        return 2;
    }
    for (int i = 0; i < LAYOUTS; i++) {
        make_config(&layouts[i], argv[1], argv + 3, argc > 3 ? argc - 3 : 0);
        must(sy_data_open(layouts[i].config, NULL, &data[i]));
    }
    must(sy_params_create(&layouts[0].config->model, &layouts[0].config->moe, &params));
    struct job seen = {.layout = &layouts[0], .data = &data[0], .steps = n, .profiled = 1};
    must(sy_comm_threads_run(1, as_rank, &seen));
    run_all(data, n);
    struct sy_plan_gpu core = figures(&layouts[0], params, &seen);
    print_all(params, &core);
    for (int i = 0; i < LAYOUTS; i++) {
        sy_data_close(&data[i]);
        sy_config_destroy(layouts[i].config);
    }
    sy_params_destroy(params);
    return 0;
}
