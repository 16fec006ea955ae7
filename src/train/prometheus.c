/* Numbers for Prometheus: see prometheus.h. */
#include "train/prometheus.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { FRESH = 4, SLOTS = 3, LABELS = 9000, FIXED = 8192, LAYER = 512 };
static const double CLIENT_SECONDS = 10;

/* X(name, type, shown, help): of the newest step; shown: always, or if it was measured. */
enum { ALWAYS, MEASURED };
#define NUMBER_LIST(X)                                                                                      \
    X(step, gauge, ALWAYS, "Steps that were done.")                                                         \
    X(steps, gauge, ALWAYS, "Steps of the whole training.")                                                 \
    X(loss, gauge, ALWAYS, "Mean loss of the step in nats per token.")                                      \
    X(eval_loss, gauge, MEASURED, "Loss of what is held out, by its last measurement, in nats per token.")  \
    X(balance_loss, gauge, MEASURED,                                                                        \
      "Balance loss of the routers without its coefficient, mean over layers.")                             \
    X(z_loss, gauge, MEASURED, "Z-loss of the routers without its coefficient, mean over layers.")          \
    X(grad_norm, gauge, ALWAYS, "Norm of the gradient before it is clipped.")                               \
    X(learning_rate, gauge, ALWAYS, "Learning rate of the step.")                                           \
    X(tokens_total, counter, ALWAYS, "Tokens that were trained on, earlier processes of the run included.") \
    X(tokens_per_second, gauge, ALWAYS, "Tokens of the step by its time.")                                  \
    X(flops_per_second, gauge, ALWAYS,                                                                      \
      "Floating-point operations of the step by its time, those of the model alone.")                       \
    X(mfu_ratio, gauge, ALWAYS, "These by the peak that was measured at the start.")                        \
    X(memory_bytes, gauge, ALWAYS, "Most memory that the process of rank 0 had.")                           \
    X(step_seconds, gauge, ALWAYS, "Time of the step.")                                                     \
    X(data_seconds, gauge, ALWAYS, "Of that, waiting for data.")                                            \
    X(skipped_steps_total, counter, ALWAYS,                                                                 \
      "Steps of this process that were not applied, as something was not finite.")                          \
    X(last_step_timestamp_seconds, gauge, ALWAYS, "When the step ended.")

/* X(name, help): of each MoE layer. */
#define LOAD_LIST(X)                                                    \
    X(min, "Routes that the expert with the fewest got in the step.")   \
    X(max, "Routes that the expert with the most got in the step.")     \
    X(cv, "Standard deviation of the experts' routes by their mean.")   \
    X(entropy, "Entropy of the experts' routes by that of equal ones.") \
    X(dead, "Experts that got no route in the step.")

struct slot {
#define X(name, type, shown, help) double name;
    NUMBER_LIST(X)
#undef X
    double alerts[SY_N_ALERTS];
    int seen; /* a step was done */
    struct sy_load *load;
    int n_loads;
};

struct sy_prometheus {
    struct slot slot[SLOTS];
    int writes, reads; /* the training's, the server's */
    atomic_int newest; /* the third, FRESH: not yet read */
    double skipped, eval_loss;
    char labels[LABELS];
    struct sy_serve *serve;
};

/* --- text ----------------------------------------------------------------------------------------------- */

struct text {
    char *s;
    size_t n, bytes;
};

/* What does not fit is left out whole. */
static void put(struct text *t, const char *fmt, ...) SY_PRINTF(2, 3);
static void put(struct text *t, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(t->s + t->n, t->bytes - t->n, fmt, args);
    va_end(args);
    if (n >= 0 && (size_t)n < t->bytes - t->n)
        t->n += (size_t)n;
}

static void value(struct text *t, double x) {
    if (isfinite(x))
        put(t, " %.15g\n", x);
    else
        put(t, isnan(x) ? " NaN\n" : x > 0 ? " +Inf\n" : " -Inf\n");
}

static void head(struct text *t, const char *name, const char *type, const char *help) {
    put(t, "# HELP switchyard_%s %s\n# TYPE switchyard_%s %s\n", name, help, name, type);
}

static void numbers(struct text *t, const struct slot *s) {
#define X(name, type, shown, help)            \
    if (shown == ALWAYS || !isnan(s->name)) { \
        head(t, #name, #type, help);          \
        put(t, "switchyard_" #name);          \
        value(t, s->name);                    \
    }
    NUMBER_LIST(X)
#undef X
}

static void loads(struct text *t, const struct slot *s) {
#define X(name, help)                                                            \
    head(t, "moe_load_" #name, "gauge", help);                                   \
    for (int i = 0; i < s->n_loads; i++) {                                       \
        put(t, "switchyard_moe_load_" #name "{layer=\"%d\"}", s->load[i].layer); \
        value(t, (double)s->load[i].name);                                       \
    }
    LOAD_LIST(X)
#undef X
}

static void alerts(struct text *t, const struct slot *s) {
    static const char *const names[] = {
#define X(name) #name,
        SY_ALERT_LIST(X)
#undef X
    };
    head(t, "alerts_total", "counter", "Alerts of this process (section [alerts]).");
    for (int i = 0; i < SY_N_ALERTS; i++) {
        put(t, "switchyard_alerts_total{event=\"%s\"}", names[i]);
        value(t, s->alerts[i]);
    }
}

static size_t page(void *self, char *out, size_t bytes) {
    struct sy_prometheus *p = self;
    struct text t = {out, 0, bytes};
    if (atomic_load(&p->newest) & FRESH)
        p->reads = atomic_exchange(&p->newest, p->reads) & ~FRESH;
    const struct slot *s = &p->slot[p->reads];
    head(&t, "info", "gauge", "What the run is.");
    put(&t, "switchyard_info{%s} 1\n", p->labels);
    if (!s->seen)
        return t.n;
    numbers(&t, s);
    loads(&t, s);
    alerts(&t, s);
    return t.n;
}

/* name="value", escaped. */
static void label(struct text *t, const char *name, const char *text) {
    put(t, "%s%s=\"", t->n ? "," : "", name);
    for (; *text; text++)
        if (*text == '\\' || *text == '"')
            put(t, "\\%c", *text);
        else if (*text == '\n')
            put(t, "\\n");
        else
            put(t, "%c", *text);
    put(t, "\"");
}

static void labels(struct sy_prometheus *p, const struct sy_session *s, const char *run_dir,
                   const char *recipe_id) {
    struct text t = {p->labels, 0, sizeof p->labels};
    char ranks[16];
    snprintf(ranks, sizeof ranks, "%d", s->mesh.world);
    label(&t, "recipe_id", recipe_id);
    label(&t, "ranks", ranks);
    label(&t, "device", s->exec.device->name);
    label(&t, "class", sy_class_name(s->exec.cls));
    label(&t, "tier", s->exec.ops->tier);
    label(&t, "run", run_dir);
}

/* --- slots ---------------------------------------------------------------------------------------------- */

static void publish(struct sy_prometheus *p) {
    p->writes = atomic_exchange(&p->newest, p->writes | FRESH) & ~FRESH;
}

static void note_loads(struct slot *q, const struct sy_session *s, const struct sy_step_result *r) {
    int64_t experts = s->config->moe.num_experts;
    q->n_loads = 0;
    for (int l = 0; l < s->params->n_layers && r->counted; l++)
        if (sy_layer_is_moe(&s->config->model, l))
            q->load[q->n_loads++] = sy_load_of(l, s->seen.counts + l * experts, experts);
}

void sy_prometheus_step(struct sy_prometheus *p, const struct sy_session *s, const struct sy_step_result *r,
                        const struct sy_metrics_times *t, const struct sy_alerts *alerted) {
    struct timespec now;
    if (!p)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    p->skipped += !r->applied;
    struct slot *q = &p->slot[p->writes], kept = *q;
    *q = (struct slot){.step = (double)r->step,
                       .steps = (double)s->config->training.steps,
                       .loss = r->loss,
                       .eval_loss = p->eval_loss,
                       .balance_loss = r->has_balance_loss ? r->balance_loss : NAN,
                       .z_loss = r->has_z_loss ? r->z_loss : NAN,
                       .grad_norm = r->norm,
                       .learning_rate = r->lr,
                       .tokens_total = (double)sy_session_token(s, r->step),
                       .tokens_per_second = t->tps_total,
                       .flops_per_second = t->tflops * 1e12,
                       .mfu_ratio = t->mfu / 100,
                       .memory_bytes = (double)t->mem_bytes,
                       .step_seconds = t->step_ms / 1e3,
                       .data_seconds = t->data_ms / 1e3,
                       .skipped_steps_total = p->skipped,
                       .last_step_timestamp_seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec,
                       .seen = 1,
                       .load = kept.load};
    for (int i = 0; i < SY_N_ALERTS; i++)
        q->alerts[i] = (double)alerted->told[i];
    note_loads(q, s, r);
    publish(p);
}

void sy_prometheus_eval(struct sy_prometheus *p, double loss) {
    if (p)
        p->eval_loss = loss; /* shown with the next step */
}

/* --- beginning and end ---------------------------------------------------------------------------------- */

sy_status sy_prometheus_listen(const struct sy_config *c, int *listener) {
    *listener = -1;
    if (c->metrics.prometheus_port == 0)
        return SY_OK;
    return sy_serve_listen(c->metrics.prometheus_address, (int)c->metrics.prometheus_port,
                           "metrics.prometheus_address", "metrics.prometheus_port", listener);
}

static void destroy(struct sy_prometheus *p) {
    for (int i = 0; i < SLOTS; i++)
        free(p->slot[i].load);
    free(p);
}

sy_status sy_prometheus_begin(int listener, const struct sy_session *s, const char *run_dir,
                              const char *recipe_id, struct sy_prometheus **out) {
    *out = NULL;
    if (listener < 0)
        return SY_OK;
    size_t layers = (size_t)s->params->n_layers;
    struct sy_prometheus *p = calloc(1, sizeof *p);
    int ok = p != NULL;
    for (int i = 0; i < SLOTS && ok; i++)
        ok = (p->slot[i].load = calloc(layers, sizeof *p->slot[i].load)) != NULL;
    if (!ok) {
        close(listener);
        if (p)
            destroy(p);
        SY_FAIL(SY_ERR_MEMORY, "no memory for the numbers of metrics.prometheus_port");
    }
    p->writes = 0;
    p->reads = 1;
    atomic_init(&p->newest, 2);
    p->eval_loss = NAN;
    labels(p, s, run_dir, recipe_id);
    struct sy_serve_options o = {.listener = listener,
                                 .seconds = CLIENT_SECONDS,
                                 .type = "text/plain; version=0.0.4; charset=utf-8",
                                 .page_bytes = FIXED + LABELS + LAYER * layers,
                                 .page = page,
                                 .self = p};
    sy_status status = sy_serve_begin(&o, &p->serve);
    if (status != SY_OK)
        destroy(p);
    else
        *out = p;
    return status;
}

void sy_prometheus_end(struct sy_prometheus *p) {
    if (!p)
        return;
    sy_serve_end(p->serve);
    destroy(p);
}
