/* switchyard bench scaling: how a training step of a configuration gains from threads, beside how the
 * register-only peak of its class and tier does on the same machine at the same time.
 *
 *     for each number of threads       a session of its own, whose memory its own threads touched first
 *     round by round, all in turn      the peak's loop, a step (bench_steps.h), the loop again
 *
 * A round's ratio is (tokens/s over those of the first number) / (peak over that of the first): 1 where a
 * step gains as much as pure arithmetic does; below, where its threads wait for memory or for each other,
 * or one works alone. Medians of the rounds. Of each op also the time in which one thread works alone, and
 * the mean time that a thread of a run of the pool is done before the last one.
 *
 * --cpu: as if each thread had a processor: a run of the pool takes as long as the processor time of its
 * thread with the most, so that a fixed partition can be judged on fewer processors than threads; the
 * peak's gain is then that of the threads' number.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/cpus.h"
#include "base/sized.h"
#include "commands/bench.h"
#include "commands/bench_steps.h"
#include "device/cuda.h"
#include "train/io.h"
#include "train/start.h"

enum { MOST_COUNTS = 16, OPS = SY_N_OPS + 1, BETWEEN = SY_N_OPS }; /* BETWEEN: of a step, what no op is */

struct runs {                 /* of the pool, in the measured steps: seconds */
    double together, working; /* from begin to end; of the threads at work, a mean */
};

struct count {
    int threads;
    struct sy_session *session;
    struct sy_profile profile;
    struct runs runs[OPS];
    double *ms, *peak;                                       /* [rounds] */
    double *op_ms;                                           /* [OPS][rounds] */
    double op[OPS], step, flops, times, peak_times, of_peak; /* medians */
};

struct scaling {
    const char *name;
    char *quoted; /* the name as JSON */
    struct sy_config *config;
    const struct sy_bench_scaling_options *options;
    const struct sy_io *io;
    int n, rounds;
    struct count at[MOST_COUNTS];
};

/* --- time ----------------------------------------------------------------------------------------------- */

/* Of a thread alone; runs of the pool add what they took beyond its own time. */
static double beyond;
static double as_if_apart(void) { return sy_clock_thread() + beyond; }

static void seen(void *self, int n, const struct sy_pool_share *share) {
    struct count *c = self;
    int apart = c->profile.clock == as_if_apart;
    double together = 0, working = 0;
    for (int i = 0; i < n; i++) {
        double own = apart ? share[i].cpu_end - share[i].cpu_begin : share[i].end - share[i].begin;
        double until = apart ? own : share[i].end - share[0].begin;
        working += own / n;
        together = until > together ? until : together;
    }
    if (apart)
        beyond += together - (sy_clock_thread() - share[0].cpu_begin);
    struct runs *r = &c->runs[c->profile.op_now < 0 ? BETWEEN : c->profile.op_now];
    r->together += together;
    r->working += working;
}

static sy_status one_step(struct scaling *s, struct count *c, int64_t step, int round) {
    struct sy_step_result result;
    double before = sy_bench_peak(&c->session->exec);
    sy_bench_fill(c->session, step, 0);
    sy_pool_watch(c->session->pool, seen, c);
    double begin = c->profile.clock();
    sy_profile_begin(&c->profile);
    SY_TRY(sy_session_step_filled(c->session, step, &result));
    sy_profile_end(&c->profile);
    double ms = 1e3 * (c->profile.clock() - begin), ops = 0;
    sy_pool_watch(c->session->pool, NULL, NULL);
    if (!result.applied)
        SY_FAIL(SY_ERR_NONFINITE, "bench scaling %s: step %lld: %s", s->name, (long long)step + 1,
                result.why);
    if (round < 0) {
        memset(c->runs, 0, sizeof c->runs);
        return SY_OK;
    }
    c->ms[round] = ms;
    c->peak[round] = (before + sy_bench_peak(&c->session->exec)) / 2;
    for (int op = 0; op < SY_N_OPS; op++)
        ops += c->op_ms[op * s->rounds + round] = 1e3 * c->profile.op[op].seconds;
    c->op_ms[BETWEEN * s->rounds + round] = ms - ops;
    return SY_OK;
}

/* --- medians -------------------------------------------------------------------------------------------- */

static double quotient(double a, double b) { return b > 0 ? a / b : 0; }

static void judge(struct scaling *s, struct count *c) {
    const struct count *first = &s->at[0];
    double times[3][SY_BENCH_STEPS];
    for (int i = 0; i < s->rounds; i++) {
        times[0][i] = quotient(first->ms[i], c->ms[i]);
        times[1][i] =
            s->options->cpu ? quotient(c->threads, first->threads) : quotient(c->peak[i], first->peak[i]);
        times[2][i] = quotient(times[0][i], times[1][i]);
    }
    c->times = sy_bench_median(s->rounds, times[0]);
    c->peak_times = sy_bench_median(s->rounds, times[1]);
    c->of_peak = sy_bench_median(s->rounds, times[2]);
}

static void take_medians(struct scaling *s) {
    for (int i = 0; i < s->n; i++)
        judge(s, &s->at[i]);
    for (int i = 0; i < s->n; i++) {
        struct count *c = &s->at[i];
        c->step = sy_bench_median(s->rounds, c->ms);
        c->flops = sy_bench_median(s->rounds, c->peak);
        for (int op = 0; op < OPS; op++)
            c->op[op] = sy_bench_median(s->rounds, c->op_ms + op * s->rounds);
    }
}

/* ms of a step: one thread at work alone; a thread waiting for the others, on average. */
static double alone(const struct scaling *s, const struct count *c, int op) {
    double ms = c->op[op] - 1e3 * c->runs[op].together / s->rounds;
    return c->threads > 1 && ms > 0 ? ms : 0;
}
static double idle(const struct scaling *s, const struct count *c, int op) {
    return 1e3 * (c->runs[op].together - c->runs[op].working) / s->rounds;
}

/* --- what was measured ---------------------------------------------------------------------------------- */

static double tokens(const struct scaling *s) {
    return (double)(s->config->training.global_batch_size * s->config->training.seq_len);
}
static const char *name_of(int op) { return op == BETWEEN ? "between ops" : sy_profile_op_name(op); }

static void print_steps(const struct scaling *s) {
    sy_io_printf(s->io, "%-24s %12s %12s %12s %8s %8s %10s\n", "threads",
                 s->options->cpu ? "ms, as apart" : "ms a step", "tokens/s", "peak GFLOP/s", "times",
                 "peak's", "of peak's");
    for (int i = 0; i < s->n; i++) {
        const struct count *c = &s->at[i];
        sy_io_printf(s->io, "%-24d %12.1f %12.0f %12.1f %8.2f %8.2f %10.3f\n", c->threads, c->step,
                     1e3 * tokens(s) / c->step, 1e-9 * c->flops, c->times, c->peak_times, c->of_peak);
    }
}

/* Of the last number of threads `times`, what one thread does alone and what the others wait. */
static void print_ops(const struct scaling *s) {
    const struct count *last = &s->at[s->n - 1];
    double sum[2] = {0};
    sy_io_printf(s->io, "%-24s", "op, ms of a step");
    for (int i = 0; i < s->n; i++)
        sy_io_printf(s->io, " %9d", s->at[i].threads);
    sy_io_printf(s->io, " %8s %10s %8s %8s\n", "times", "of peak's", "alone", "idle");
    for (int op = 0; op < OPS; op++) {
        if (s->at[0].op[op] <= 0)
            continue;
        double times = quotient(s->at[0].op[op], last->op[op]);
        sy_io_printf(s->io, "  %-22s", name_of(op));
        for (int i = 0; i < s->n; i++)
            sy_io_printf(s->io, " %9.2f", s->at[i].op[op]);
        sy_io_printf(s->io, " %8.2f %10.3f %8.2f %8.2f\n", times, quotient(times, last->peak_times),
                     alone(s, last, op), idle(s, last, op));
        sum[0] += alone(s, last, op);
        sum[1] += idle(s, last, op);
    }
    sy_io_printf(s->io,
                 "with %d threads: %.3f of what the peak gains; one thread alone for %.1f %% of a step, "
                 "waiting for the last for %.1f %%\n",
                 last->threads, last->of_peak, 100 * sum[0] / last->step, 100 * sum[1] / last->step);
}

static void print_text(const struct scaling *s) {
    const struct sy_session *first = s->at[0].session;
    sy_io_printf(s->io,
                 "%s  class %s  tier %s  %lld x %lld tokens in batches of %lld, recompute %s, %d rounds\n",
                 s->name, sy_config_word(s->config, "numerics.class"), first->exec.ops->tier,
                 (long long)s->config->training.global_batch_size, (long long)s->config->training.seq_len,
                 (long long)sy_session_batch(first), sy_config_word(s->config, "activation_checkpoint.mode"),
                 s->rounds);
    print_steps(s);
    print_ops(s);
}

static void print_json(const struct scaling *s) {
    for (int i = 0; i < s->n; i++) {
        const struct count *c = &s->at[i];
        sy_io_printf(s->io,
                     "{\"bench\":\"scaling\",\"config\":%s,\"tier\":\"%s\",\"threads\":%d,\"rounds\":%d,"
                     "\"as_apart\":%d,\"ms\":%.4f,\"tokens_per_s\":%.1f,\"peak_gflops\":%.2f,\"times\":%.4f,"
                     "\"peak_times\":%.4f,\"of_peak\":%.4f,\"ops\":{",
                     s->quoted, c->session->exec.ops->tier, c->threads, s->rounds, s->options->cpu, c->step,
                     1e3 * tokens(s) / c->step, 1e-9 * c->flops, c->times, c->peak_times, c->of_peak);
        for (int op = 0, n = 0; op < OPS; op++)
            if (s->at[0].op[op] > 0)
                sy_io_printf(s->io, "%s\"%s\":{\"ms\":%.4f,\"alone_ms\":%.4f,\"idle_ms\":%.4f}",
                             n++ ? "," : "", name_of(op), c->op[op], alone(s, c, op), idle(s, c, op));
        sy_io_printf(s->io, "}}\n");
    }
}

/* --- sessions ------------------------------------------------------------------------------------------- */

static sy_status open_count(struct scaling *s, struct count *c, int threads, const struct sy_log *log) {
    c->threads = threads;
    s->config->run.threads = threads;
    c->ms = calloc((size_t)s->rounds * (OPS + 2), sizeof *c->ms);
    if (!c->ms)
        SY_FAIL(SY_ERR_MEMORY, "bench scaling: no memory for the times of %d steps", s->rounds);
    c->peak = c->ms + s->rounds;
    c->op_ms = c->peak + s->rounds;
    SY_TRY(sy_session_create(s->config, log, SY_SESSION_TRAIN | SY_SESSION_INIT, &c->session));
    struct sy_session *session = c->session;
    sy_profile_init(&c->profile, &session->exec, &session->state, &session->weights.keeper);
    c->profile.clock = s->options->cpu ? as_if_apart : sy_clock;
    session->exec.ops = &c->profile.ops;
    session->profile = &c->profile;
    return SY_OK;
}

/* Those that were asked for; else 1, 2, 4 … and as many as there are processors. */
static int numbers(const struct sy_bench_scaling_options *o, int *out) {
    int n = o->n_threads, usable = sy_cpus_usable();
    if (n > 0) {
        memcpy(out, o->threads, (size_t)n * sizeof *out);
        return n;
    }
    for (int t = 1; t < usable && n < MOST_COUNTS - 1; t *= 2)
        out[n++] = t;
    out[n++] = usable;
    return n;
}

static sy_status check(const struct sy_config *c, const struct sy_bench_scaling_options *o) {
    int ordinal;
    if (o->steps < 1 || o->steps > SY_BENCH_STEPS)
        SY_FAIL(SY_ERR_USAGE, "bench scaling: --steps %lld: must be in 1..%d", (long long)o->steps,
                SY_BENCH_STEPS);
    if (o->n_threads < 0 || o->n_threads > MOST_COUNTS)
        SY_FAIL(SY_ERR_USAGE, "bench scaling: %d numbers of threads: must be at most %d", o->n_threads,
                MOST_COUNTS);
    for (int i = 0; i < o->n_threads; i++)
        if (o->threads[i] < 1 || o->threads[i] > 1024)
            SY_FAIL(SY_ERR_USAGE, "bench scaling: %d threads: must be in 1..1024", o->threads[i]);
    if (sy_config_cuda(c, &ordinal) || c->run.ranks > 1)
        SY_FAIL(SY_ERR_USAGE,
                "bench scaling: it is of one rank's threads on a CPU: run.device = %s and "
                "run.ranks = %lld cannot be",
                sy_config_word(c, "run.device"), (long long)c->run.ranks);
    return SY_OK;
}

static sy_status measure(struct scaling *s) {
    int counts[MOST_COUNTS];
    struct sy_log log = sy_io_log(s->io);
    int n = numbers(s->options, counts);
    for (; s->n < n; s->n++) {
        sy_status status = open_count(s, &s->at[s->n], counts[s->n], s->n ? NULL : &log);
        if (status != SY_OK) {
            s->n++;
            return status;
        }
    }
    for (int round = -1; round < s->rounds; round++)
        for (int i = 0; i < s->n; i++) {
            if (s->io->stop && *s->io->stop)
                return SY_STOPPED;
            SY_TRY(one_step(s, &s->at[i], round + 1, round));
        }
    take_medians(s);
    (s->options->json ? print_json : print_text)(s);
    return SY_OK;
}

sy_status sy_bench_scaling(const char *name, struct sy_config *config,
                           const struct sy_bench_scaling_options *given, const struct sy_io *io) {
    struct sy_bench_scaling_options own;
    SY_TRY(SY_OPTIONS(sy_bench_scaling_options, given, &own));
    struct sy_log log = sy_io_log(io);
    SY_TRY(check(config, &own));
    SY_TRY(sy_start_finish(config, &log));
    struct scaling *s = calloc(1, sizeof *s);
    if (!s)
        SY_FAIL(SY_ERR_MEMORY, "bench scaling: no memory");
    *s =
        (struct scaling){.name = name, .config = config, .options = &own, .io = io, .rounds = (int)own.steps};
    sy_status status = sy_bench_quote(name, &s->quoted);
    if (status == SY_OK)
        status = measure(s);
    for (int i = 0; i < s->n; i++) {
        sy_session_destroy(s->at[i].session);
        free(s->at[i].ms);
    }
    free(s->quoted);
    free(s);
    return status;
}
