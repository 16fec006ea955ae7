/* switchyard bench model: training steps of a configuration in parts, medians over steps; calls of
 * ops and runs of the pool.
 *
 * Needs no data set: sequences are made up (bench_steps.h; --ids random). The digest is a function of
 * configuration, ids and steps alone: two programs that print different ones did not do the same work. Over
 * ranks each does the steps, and rank 0's times are shown.
 *
 * On a GPU the steps are done twice: as they are, for the total, the time that the host needs and what
 * it launches; then with a wait behind every op, for the parts.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/sized.h"
#include "comm/world.h"
#include "commands/bench.h"
#include "commands/bench_bytes.h"
#include "commands/bench_model_ops.h"
#include "commands/bench_model_trace.h"
#include "commands/bench_price.h"
#include "commands/bench_steps.h"
#include "device/cuda.h"
#include "train/io.h"
#include "train/session.h"
#include "train/start.h"

enum { WARM_UP = 2, N_CELLS = SY_N_COLUMNS * SY_N_PARTS, SERIES = N_CELLS + SY_N_OPS + 2 };

struct run {
    const char *name;
    int64_t steps;
    double *ms; /* [SERIES][steps]: parts, ops, layers, total; then in place 0 of each its median */
    struct sy_profile profile;
    struct sy_session *session;
    struct sy_step_result result;
    int random_ids, gpu;
    double host_ms;               /* GPU: of a step, what the host did not wait */
    struct sy_cuda_counts counts; /* GPU: of the steps that were measured as they are */
    int priced;                   /* of a CPU */
    struct sy_price price;
    struct sy_sent sent, planned; /* of ranks, in a step */
    double op_ms[SY_N_OPS];       /* medians */
    struct sy_ceilings ceilings;
    const char *trace; /* file for the last of the steps that were measured as they are, or NULL */
    int64_t trace_from, trace_to;
    struct sy_step_gaps gaps;
};

static double median(struct run *r, int series) { return r->ms[series * r->steps + r->steps / 2]; }
static int is_cpu(const struct run *r) { return r->profile.clock == sy_clock_cpu; }
static double part_ms(struct run *r, int column, int part) { return median(r, column * SY_N_PARTS + part); }

/* --- steps --------------------------------------------------------------------------------- */

/* Any rank was asked to. */
static int is_stopped(const struct sy_session *s, const struct sy_io *io) {
    const struct sy_comm *world = &s->groups.world;
    int64_t n = io->stop && *io->stop;
    return world->ops->sum_i64(world, SY_OK, &n, 1) != SY_OK || n > 0;
}

static void record(struct run *r, int64_t at) {
    const struct sy_profile_tally *tally[SERIES - 1] = {[SERIES - 2] = &r->profile.layers};
    for (int i = 0; i < N_CELLS; i++)
        tally[i] = &r->profile.part[i / SY_N_PARTS][i % SY_N_PARTS];
    for (int i = 0; i < SY_N_OPS; i++)
        tally[N_CELLS + i] = &r->profile.op[i];
    for (int i = 0; i < SERIES - 1; i++)
        r->ms[i * r->steps + at] = 1e3 * tally[i]->seconds;
}

/* One step; at: its place among those that are measured, or negative. */
static sy_status one_step(struct run *r, int64_t step, int64_t at, int parts, int total) {
    struct sy_session *s = r->session;
    sy_bench_fill(s, step, r->random_ids);
    struct sy_cuda_counts before = sy_device_cuda_counts(s->exec.device);
    struct sy_sent sent = sy_sent_by(s);
    r->trace_from = total ? sy_cuda_works_now() : r->trace_from;
    double begin = r->profile.clock();
    if (parts)
        sy_profile_begin(&r->profile);
    SY_TRY(sy_session_step_filled(s, step, &r->result));
    if (parts)
        sy_profile_end(&r->profile);
    double seconds = r->profile.clock() - begin;
    r->trace_to = total ? sy_cuda_works_now() : r->trace_to;
    struct sy_cuda_counts after = sy_device_cuda_counts(s->exec.device);
    r->sent = sy_sent_by(s);
    for (int k = 0; k < SY_TRAFFIC_KINDS; k++)
        r->sent.of[k] -= sent.of[k];
    if (!r->result.applied)
        SY_FAIL(SY_ERR_NONFINITE, "bench model %s: step %lld: %s", r->name, (long long)step + 1,
                r->result.why);
    if (at >= 0 && parts)
        record(r, at);
    if (at >= 0 && total) {
        r->ms[(SERIES - 1) * r->steps + at] = 1e3 * seconds;
        r->counts.launches = after.launches - before.launches;
        r->counts.waits = after.waits - before.waits;
        r->host_ms += 1e3 * (seconds - (after.waited - before.waited)) / (double)r->steps;
    }
    return SY_OK;
}

static void set_profile(struct run *r, int on) {
    r->session->exec.ops = on ? &r->profile.ops : r->profile.inner;
    r->session->profile = on ? &r->profile : NULL;
}

static sy_status measure(struct run *r, const struct sy_io *io) {
    int64_t step = 0;
    for (int turn = 0; turn < 1 + r->gpu; turn++) {
        int parts = turn == r->gpu;
        set_profile(r, parts);
        for (int64_t i = 0; i < WARM_UP + r->steps; i++, step++) {
            if (is_stopped(r->session, io))
                return SY_STOPPED;
            SY_TRY(one_step(r, step, i - WARM_UP, parts, turn == 0));
        }
    }
    for (int i = 0; i < SERIES; i++)
        qsort(r->ms + i * r->steps, (size_t)r->steps, sizeof *r->ms, sy_bench_by_time);
    return SY_OK;
}

static sy_status write_trace(struct run *r) {
    struct sy_cuda_works works = {0};
    sy_status status = sy_cuda_works_end(&works);
    if (status == SY_OK) {
        r->gaps = sy_step_gaps(&works, r->trace_from, r->trace_to);
        status = sy_step_trace_write(r->trace, &works, r->trace_from, r->trace_to);
    }
    sy_cuda_works_free(&works);
    return status;
}

/* What it does itself is no op of the step. */
static sy_status measure_price(struct run *r) {
    struct sy_profile step = r->profile;
    struct sy_price_of of = {.experts = part_ms(r, SY_LEAVES, SY_PART_w_experts),
                             .step = median(r, SERIES - 1)};
    for (int i = SY_PART_w_matrices; i <= SY_PART_reduce; i++)
        of.tree += part_ms(r, SY_SUMS, i);
    r->priced = sy_device_is_cpu(r->session->exec.device);
    sy_status status = r->priced ? sy_price_measure(r->session, &of, &r->price) : SY_OK;
    r->profile = step;
    return status;
}

/* --- what was measured --------------------------------------------------------------------- */

struct counts {
    int64_t step_ops, step_runs;
    double layer_ops, layer_runs, layer_ms, tokens, tokens_per_s;
};

static struct counts counts_of(struct run *r) {
    const struct sy_profile *p = &r->profile;
    const struct sy_config_training *t = &r->session->config->training;
    double layers = (double)(p->passes * r->session->params->n_layers);
    struct counts c = {.layer_ops = (double)p->layers.calls / layers,
                       .layer_runs = (double)p->layers.runs / layers,
                       .layer_ms = median(r, SERIES - 2) / layers,
                       .tokens = (double)(t->global_batch_size * t->seq_len)};
    for (int i = 0; i < SY_N_OPS; i++)
        c.step_ops += p->op[i].calls;
    for (int i = 0; i < N_CELLS; i++)
        c.step_runs += p->part[i / SY_N_PARTS][i % SY_N_PARTS].runs;
    c.tokens_per_s = 1e3 * c.tokens / median(r, SERIES - 1);
    return c;
}

/* Dense bf16 of the data sheets of H100 and H200 (SXM), which MFU is said of. */
static const double SHEET = 989e12;

static void print_gpu(const struct run *r, double tokens_per_s, const struct sy_io *io) {
    double flops = tokens_per_s * r->session->flops_per_token;
    int gpus = r->session->mesh.world;
    sy_io_printf(
        io,
        "%.1f TFLOP/s%s, %.1f %% of the data sheet's 989 (MFU); host %.2f ms a step without its waits; "
        "%lld launches and %lld waits a step\n",
        flops * 1e-12 / gpus, gpus > 1 ? " a GPU" : "", 100 * flops / gpus / SHEET, r->host_ms,
        (long long)r->counts.launches, (long long)r->counts.waits);
}

static void print_text(struct run *r, const struct sy_io *io) {
    const struct sy_config *c = r->session->config;
    const char *text;
    double sum[SY_N_COLUMNS] = {0};
    sy_io_printf(
        io,
        "%s  class %s  tier %s  %d x %d threads  %lld x %lld tokens in batches of %lld, recompute %s\n"
        "%-32s %9s %9s %9s   %s, medians of %lld steps\n",
        r->name, sy_config_word(c, "numerics.class"), r->profile.ops.tier, r->session->mesh.world,
        sy_pool_size(r->session->pool), (long long)c->training.global_batch_size,
        (long long)c->training.seq_len, (long long)sy_session_batch(r->session),
        sy_config_word(c, "activation_checkpoint.mode"), "", "forward", "recompute", "backward",
        is_cpu(r) ? "ms of CPU, all threads" : "ms", (long long)r->steps);
    for (int i = 0; i < SY_PART_w_matrices; i++) {
        sy_profile_part_name(i, &text);
        sy_io_printf(io, "  %-30s %9.2f %9.2f %9.2f\n", text, part_ms(r, SY_FORWARD, i),
                     part_ms(r, SY_RECOMPUTE, i), part_ms(r, SY_BACKWARD, i));
        for (int d = 0; d < SY_N_COLUMNS; d++)
            sum[d] += part_ms(r, d, i);
    }
    sy_io_printf(io, "  %-30s %9.2f %9.2f %9.2f\n", "sum", sum[SY_FORWARD], sum[SY_RECOMPUTE],
                 sum[SY_BACKWARD]);
    sy_io_printf(io, "  %-30s %9s %9s\n", "", "leaves", "sums");
    for (int i = SY_PART_w_matrices; i < SY_N_PARTS; i++) {
        sy_profile_part_name(i, &text);
        sy_io_printf(io, "  %-30s %9.2f", text, part_ms(r, 0, i));
        if (sy_profile_columns(i) > 1)
            sy_io_printf(io, " %9.2f", part_ms(r, SY_SUMS, i));
        sy_io_printf(io, "\n");
    }
    struct counts n = counts_of(r);
    sy_io_printf(io,
                 "  %-30s %9.2f   %.0f tokens/s%s\n"
                 "a layer and batch: %.2f ms, %.1f calls of ops, %.1f runs of the pool; a step: "
                 "%lld and %lld\n"
                 "digest after %lld steps: %s\n",
                 "total", median(r, SERIES - 1), n.tokens_per_s, is_cpu(r) ? " of CPU" : "", n.layer_ms,
                 n.layer_ops, n.layer_runs, (long long)n.step_ops, (long long)n.step_runs,
                 (long long)r->result.step, r->result.digest);
    if (r->gpu)
        print_gpu(r, n.tokens_per_s, io);
    if (r->trace)
        sy_step_gaps_print(&r->gaps, 0, io);
    if (r->priced)
        sy_price_print(&r->price, io);
    if (r->session->mesh.world > 1)
        sy_sent_print(&r->sent, &r->planned, io);
    sy_bench_ops_print(&r->profile, r->op_ms, &r->ceilings, io);
}

static void print_json(struct run *r, const char *name, const struct sy_io *io) {
    static const char *const pass[] = {"forward_", "recompute_", "backward_"};
    const struct sy_config *c = r->session->config;
    const char *text;
    struct counts n = counts_of(r);
    sy_io_printf(io,
                 "{\"bench\":\"model\",\"config\":%s,\"class\":\"%s\",\"tier\":\"%s\",\"threads\":%"
                 "d,\"steps\":%lld,"
                 "\"tokens\":%.0f,\"weights_digest\":\"%s\",\"tokens_per_s\":%.1f,\"step_op_"
                 "calls\":%lld,\"step_pool_runs\":%lld,"
                 "\"layer_op_calls\":%.2f,\"layer_pool_runs\":%.2f,\"layer_ms\":%.4f,\"ms\":{",
                 name, sy_config_word(c, "numerics.class"), r->profile.ops.tier,
                 sy_pool_size(r->session->pool), (long long)r->steps, n.tokens, r->result.digest,
                 n.tokens_per_s, (long long)n.step_ops, (long long)n.step_runs, n.layer_ops, n.layer_runs,
                 n.layer_ms);
    for (int i = 0; i < SY_N_PARTS; i++)
        for (int d = 0; d < sy_profile_columns(i); d++)
            sy_io_printf(io, "\"%s%s%s\":%.4f,", sy_profile_columns(i) == SY_N_COLUMNS ? pass[d] : "",
                         sy_profile_part_name(i, &text),
                         sy_profile_columns(i) == 2 && d == SY_SUMS ? "_sums" : "", part_ms(r, d, i));
    sy_io_printf(io, "\"total\":%.4f},", median(r, SERIES - 1));
    if (r->priced)
        sy_price_json(&r->price, io);
    if (r->priced)
        sy_io_printf(io, ",");
    if (r->session->mesh.world > 1) {
        sy_sent_json(&r->sent, &r->planned, io);
        sy_io_printf(io, ",");
    }
    sy_bench_ops_json(&r->profile, r->op_ms, &r->ceilings, io);
    if (r->trace) {
        sy_io_printf(io, ",");
        sy_step_gaps_print(&r->gaps, 1, io);
    }
    if (r->gpu)
        sy_io_printf(io, ",\"tflops\":%.2f,\"mfu\":%.4f,\"host_ms\":%.3f,\"launches\":%lld,\"waits\":%lld",
                     n.tokens_per_s * r->session->flops_per_token * 1e-12,
                     n.tokens_per_s * r->session->flops_per_token / SHEET / r->session->mesh.world,
                     r->host_ms, (long long)r->counts.launches, (long long)r->counts.waits);
    sy_io_printf(io, "}\n");
}

/* --- ranks --------------------------------------------------------------------------------- */

struct job {
    const char *name, *quoted;
    struct sy_config *config;
    const struct sy_bench_options *options;
    const struct sy_io *io;
};

static sy_status run_steps(struct run *r, const struct job *job) {
    int ordinal;
    sy_profile_init(&r->profile, &r->session->exec, &r->session->state, &r->session->weights.keeper);
    r->profile.clock = job->options->cpu ? sy_clock_cpu : sy_clock;
    r->profile.works = SY_WORKS_COUNTED;
    r->gpu = sy_config_cuda(job->config, &ordinal);
    SY_TRY(measure(r, job->io));
    if (r->session->mesh.rank > 0)
        return SY_OK;
    SY_TRY(measure_price(r));
    if (r->trace)
        SY_TRY(write_trace(r));
    for (int i = 0; i < SY_N_OPS; i++)
        r->op_ms[i] = median(r, N_CELLS + i);
    set_profile(r, 0);
    r->ceilings = sy_ceilings_measure(&r->session->exec);
    if (r->session->mesh.world > 1)
        SY_TRY(sy_sent_planned(r->session, &r->planned));
    if (job->options->json)
        print_json(r, job->quoted, job->io);
    else
        print_text(r, job->io);
    return SY_OK;
}

static sy_status run_rank(const struct sy_comm *world, void *arg) {
    const struct job *job = arg;
    struct sy_log log = sy_io_log(job->io);
    struct run r = {.name = job->name,
                    .steps = job->options->steps,
                    .random_ids = job->options->random_ids,
                    .trace = job->options->trace};
    r.ms = calloc((size_t)r.steps * SERIES, sizeof *r.ms);
    sy_status status = r.ms ? SY_OK
                            : sy_fail(SY_ERR_MEMORY, "bench model: no memory for the times of %lld steps",
                                      (long long)r.steps);
    status = world->ops->agree(world, status);
    if (status == SY_OK)
        status = sy_session_join(&(struct sy_session_options){.config = job->config,
                                                              .log = world->rank == 0 ? &log : NULL,
                                                              .parts = SY_SESSION_TRAIN | SY_SESSION_INIT,
                                                              .world = world},
                                 &r.session);
    if (status == SY_OK)
        status = run_steps(&r, job);
    sy_session_destroy(r.session);
    free(r.ms);
    return status;
}

static sy_status trace_begin(const struct sy_config *config) {
    int ordinal;
    if (!sy_config_cuda(config, &ordinal))
        SY_FAIL(SY_ERR_USAGE,
                "bench model --trace: run.device = %s: it is of a GPU's work; of a training's steps, on any "
                "device, "
                "profiling.enable_profiling writes traces",
                sy_config_word(config, "run.device"));
    return sy_cuda_works_begin();
}

sy_status sy_bench_model(const char *name, struct sy_config *config, const struct sy_bench_options *given,
                         const struct sy_io *io) {
    struct sy_bench_options own;
    SY_TRY(SY_OPTIONS(sy_bench_options, given, &own));
    const struct sy_bench_options *options = &own;
    struct sy_log log = sy_io_log(io);
    char *quoted;
    if (options->steps < 1 || options->steps > 100000)
        SY_FAIL(SY_ERR_USAGE, "bench model: --steps %lld: must be in 1..100000", (long long)options->steps);
    SY_TRY(sy_start_finish(config, &log));
    if (options->trace)
        SY_TRY(trace_begin(config));
    SY_TRY(sy_bench_quote(name, &quoted));
    struct sy_world_options world = sy_world_options(config);
    struct job job = {name, quoted, config, options, io};
    sy_status status = sy_world_run(&world, run_rank, &job);
    free(quoted);
    return status;
}
