/* What a person should hear of: see alerts.h. */
#include "train/alerts.h"

#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "formats/json.h"

extern char **environ;

enum { RECENT = 10 }; /* steps whose mean throughput is compared */

static const char *const names[] = {
#define X(name) #name,
    SY_ALERT_LIST(X)
#undef X
};

sy_status sy_alerts_init(const struct sy_config *c, int n_layers, const struct sy_log *log,
                         struct sy_alerts *a) {
    *a = (struct sy_alerts){.config = c,
                            .log = log,
                            .n_layers = n_layers,
                            .window = c->alerts.window,
                            .experts = c->moe.num_experts};
    if (a->window == 0)
        return SY_OK;
    size_t n = (size_t)a->window, cells = (size_t)n_layers * (size_t)a->experts;
    a->loss = calloc(n, sizeof *a->loss);
    a->norm = calloc(n, sizeof *a->norm);
    a->tps = calloc(n, sizeof *a->tps);
    a->cv = calloc((size_t)n_layers + 1, sizeof *a->cv);
    a->silent = calloc(cells + 1, sizeof *a->silent);
    if (!a->loss || !a->norm || !a->tps || !a->cv || !a->silent) {
        sy_alerts_fini(a);
        SY_FAIL(SY_ERR_MEMORY, "out of memory for alerts.window = %lld", (long long)c->alerts.window);
    }
    return SY_OK;
}

static void reap(struct sy_alerts *a) {
    for (int i = 0; i < SY_ALERT_CHILDREN; i++)
        if (a->child[i] > 0 && waitpid(a->child[i], NULL, WNOHANG) != 0)
            a->child[i] = 0;
}

void sy_alerts_fini(struct sy_alerts *a) {
    reap(a);
    free(a->loss);
    free(a->norm);
    free(a->tps);
    free(a->cv);
    free(a->silent);
    *a = (struct sy_alerts){0};
}

/* --- telling -------------------------------------------------------------------------------------------- */

struct alert {
    enum sy_alert_kind kind;
    int64_t step;
    double value, bound;
    char text[240];
};

/* {"kind":"event",…}; with `run` also where. NULL without memory. */
static char *json_of(const struct alert *e, const char *run) {
    json_t *j = json_pack("{s:s, s:I, s:s, s:f, s:f, s:s}", "kind", "event", "step", (json_int_t)e->step,
                          "event", names[e->kind], "value", e->value, "bound", e->bound, "text", e->text);
    json_t *dir = run ? json_string(run) : NULL;
    if (j && dir)
        json_object_set_new(j, "run", dir);
    char *text = j ? sy_json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(j);
    return text;
}

/* `text` fits a pipe: nobody waits for the command to read it. */
static int spawn(const char *command, const char *text, pid_t *child) {
    char *argv[] = {"sh", "-c", (char *)command, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    int ends[2], error = pipe(ends) == 0 ? 0 : errno;
    if (error)
        return error;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setpgroup(&attributes, 0); /* Ctrl-C is for the training */
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    if (write(ends[1], text, strlen(text)) != (ssize_t)strlen(text))
        error = EIO;
    else
        error = posix_spawn(child, "/bin/sh", &actions, &attributes, argv, environ);
    close(ends[0]);
    close(ends[1]);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

static void run_command(struct sy_alerts *a, const struct alert *e) {
    const char *command = a->config->run.on_event;
    int place = 0;
    if (!*command)
        return;
    reap(a);
    while (place < SY_ALERT_CHILDREN && a->child[place])
        place++;
    char *text = place < SY_ALERT_CHILDREN ? json_of(e, a->config->run.dir) : NULL;
    if (place == SY_ALERT_CHILDREN) {
        sy_log_warn(a->log, "run.on_event: %d commands still run, this event is not told", SY_ALERT_CHILDREN);
    } else if (!text || strlen(text) >= 4096) {
        sy_log_warn(a->log, "run.on_event: the event has no text of less than 4096 bytes, it is not told");
    } else {
        int error = spawn(command, text, &a->child[place]);
        if (error)
            sy_log_warn(a->log, "run.on_event: cannot be started: %s", strerror(error));
    }
    free(text);
}

static sy_status tell(struct sy_alerts *a, struct sy_metrics *m, const struct alert *e) {
    if (e->step < a->quiet_until[e->kind] && e->kind != SY_ALERT_dead_expert) /* which is told once a death */
        return SY_OK;
    a->quiet_until[e->kind] = e->step + a->window;
    a->told[e->kind]++;
    sy_log_warn(a->log, "step %lld: alert %s: %s", (long long)e->step, names[e->kind], e->text);
    run_command(a, e);
    char *text = json_of(e, NULL);
    sy_status status =
        text ? sy_metrics_event(m, text) : sy_fail(SY_ERR_MEMORY, "out of memory for an alert");
    free(text);
    return status;
}

static struct alert alert_of(enum sy_alert_kind kind, int64_t step, double value, double bound,
                             const char *fmt, ...) SY_PRINTF(5, 6);
static struct alert alert_of(enum sy_alert_kind kind, int64_t step, double value, double bound,
                             const char *fmt, ...) {
    struct alert e = {.kind = kind, .step = step, .value = value, .bound = bound};
    va_list args;
    va_start(args, fmt);
    vsnprintf(e.text, sizeof e.text, fmt, args);
    va_end(args);
    return e;
}

/* --- judging -------------------------------------------------------------------------------------------- */

static double mean_of(const double *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

static sy_status judge_loss(struct sy_alerts *a, struct sy_metrics *m, const struct sy_step_result *r) {
    double bound = a->config->alerts.loss_z, mean = mean_of(a->loss, a->window), squares = 0;
    if (bound <= 0 || a->applied < a->window || a->window < 2)
        return SY_OK;
    for (int64_t i = 0; i < a->window; i++)
        squares += (a->loss[i] - mean) * (a->loss[i] - mean);
    double deviation = sqrt(squares / (double)a->window), z = (r->loss - mean) / (deviation + 1e-12);
    if (!(z > bound))
        return SY_OK;
    struct alert e = alert_of(SY_ALERT_loss_spike, r->step, z, bound,
                              "loss %.4f is %.1f standard deviations above the mean of %lld steps, %.4f",
                              r->loss, z, (long long)a->window, mean);
    return tell(a, m, &e);
}

static sy_status judge_norm(struct sy_alerts *a, struct sy_metrics *m, const struct sy_step_result *r) {
    double bound = a->config->alerts.grad_norm_factor, mean = mean_of(a->norm, a->window);
    if (bound <= 0 || a->applied < a->window || !(mean > 0) || !(r->norm > bound * mean))
        return SY_OK;
    struct alert e = alert_of(SY_ALERT_grad_norm_jump, r->step, r->norm / mean, bound,
                              "gradient norm %.4g is %.1f times the mean of %lld steps, %.4g", r->norm,
                              r->norm / mean, (long long)a->window, mean);
    return tell(a, m, &e);
}

/* The last RECENT steps beside all of the window. */
static sy_status judge_speed(struct sy_alerts *a, struct sy_metrics *m, int64_t step) {
    double bound = a->config->alerts.throughput_drop, recent = 0, mean = mean_of(a->tps, a->window);
    if (bound <= 0 || a->seen < a->window || a->window < 2 * RECENT)
        return SY_OK;
    for (int64_t i = 1; i <= RECENT; i++)
        recent += a->tps[(a->seen - i) % a->window] / RECENT;
    double before = (mean * (double)a->window - recent * RECENT) / (double)(a->window - RECENT);
    if (!(before > 0) || !(recent < (1 - bound) * before))
        return SY_OK;
    struct alert e = alert_of(SY_ALERT_throughput_drop, step, 1 - recent / before, bound,
                              "%.4g tokens/s over %d steps, %.0f %% less than the %.4g before", recent,
                              RECENT, 100 * (1 - recent / before), before);
    return tell(a, m, &e);
}

/* Of every window the mean. */
static sy_status judge_balance(struct sy_alerts *a, struct sy_metrics *m, int64_t step) {
    double bound = a->config->alerts.load_cv;
    int worst = 0;
    if (++a->cv_steps < a->window)
        return SY_OK;
    for (int l = 1; l < a->n_layers; l++)
        worst = a->cv[l] > a->cv[worst] ? l : worst;
    double cv = a->cv[worst] / (double)a->cv_steps;
    a->cv_steps = 0;
    memset(a->cv, 0, (size_t)a->n_layers * sizeof *a->cv);
    if (bound <= 0 || !(cv > bound))
        return SY_OK;
    struct alert e =
        alert_of(SY_ALERT_load_uneven, step, cv, bound, "layer %d: load cv %.3f, the mean of %lld steps",
                 worst, cv, (long long)a->window);
    return tell(a, m, &e);
}

static sy_status tell_dead(struct sy_alerts *a, struct sy_metrics *m, const struct sy_step_result *r,
                           int64_t first, int64_t n) {
    char more[48] = "";
    int64_t dead = a->config->alerts.dead_steps;
    if (n == 0)
        return SY_OK;
    if (n > 1)
        snprintf(more, sizeof more, ", and %lld more", (long long)n - 1);
    struct alert e =
        alert_of(SY_ALERT_dead_expert, r->step, (double)n, (double)dead,
                 "layer %lld: expert %lld got no route in %lld steps%s", (long long)(first / a->experts),
                 (long long)(first % a->experts), (long long)dead, more);
    return tell(a, m, &e);
}

static sy_status judge_loads(struct sy_alerts *a, struct sy_metrics *m, const struct sy_step_result *r,
                             const int64_t *counts) {
    int64_t n = 0, first = 0;
    for (int l = 0; l < a->n_layers; l++) {
        if (!sy_layer_is_moe(&a->config->model, l))
            continue;
        a->cv[l] += sy_load_of(l, counts + l * a->experts, a->experts).cv;
        for (int64_t i = l * a->experts; i < (l + 1) * a->experts; i++) {
            a->silent[i] = counts[i] ? 0 : a->silent[i] + 1;
            if (a->config->alerts.dead_steps && a->silent[i] == a->config->alerts.dead_steps)
                first = n++ ? first : i;
        }
    }
    SY_TRY(tell_dead(a, m, r, first, n));
    return judge_balance(a, m, r->step);
}

sy_status sy_alerts_step(struct sy_alerts *a, struct sy_metrics *m, const struct sy_step_result *r,
                         const struct sy_metrics_times *times, const int64_t *counts) {
    if (!a->loss)
        return SY_OK;
    if (r->applied) {
        SY_TRY(judge_loss(a, m, r));
        SY_TRY(judge_norm(a, m, r));
        a->loss[a->applied % a->window] = r->loss;
        a->norm[a->applied++ % a->window] = r->norm;
    }
    if (r->tokens)
        a->tps[a->seen++ % a->window] = times->tps;
    SY_TRY(judge_speed(a, m, r->step));
    return r->counted ? judge_loads(a, m, r, counts) : SY_OK;
}
