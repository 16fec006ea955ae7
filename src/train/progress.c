/* The progress line: see progress.h. */
#include "train/progress.h"

#include <math.h>
#include <sys/resource.h>

#include "base/clock.h"

void sy_progress_init(const struct sy_session *s, int64_t first_step, struct sy_progress_state *p) {
    *p = (struct sy_progress_state){.first_step = first_step, .peak_flops = sy_ops_peak(&s->exec).flops};
    p->started = p->last = sy_clock();
}

static int64_t resident_bytes(void) {
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) == 0 ? (int64_t)u.ru_maxrss * 1024 : 0;
}

/* Of the layers the largest coefficient of variation, and how many experts got no route; "" without MoE layers or loads. */
static void balance_text(const struct sy_session *s, int counted, char out[48]) {
    const struct sy_config *c = s->config;
    double worst = -1;
    int64_t dead = 0;
    for (int l = (int)c->model.n_dense_layers; l < s->params->n_layers && counted; l++) {
        struct sy_load load = sy_load_of(l, s->seen.counts + l * c->moe.num_experts, c->moe.num_experts);
        worst = load.cv > worst ? load.cv : worst;
        dead += load.dead;
    }
    *out = 0;
    if (worst >= 0 && dead)
        snprintf(out, 48, " cv %.2f dead %lld", worst, (long long)dead);
    else if (worst >= 0)
        snprintf(out, 48, " cv %.2f", worst);
}

static void eta_text(double seconds, char out[16]) {
    long s = (long)(seconds + 0.5);
    if (s < 3600)
        snprintf(out, 16, "%ld:%02ld", s / 60 % 60, s % 60);
    else if (s < 360000)
        snprintf(out, 16, "%ldh%02ld", s / 3600 % 1000, s / 60 % 60);
    else
        snprintf(out, 16, "%ldd", s / 86400 % 100000);
}

/* Three digits and a decimal prefix: 26.8k, 174GF. */
static void short_number(double v, const char *unit, char out[16]) {
    static const char *const prefixes[] = {"", "k", "M", "G", "T", "P"};
    int p = 0;
    for (; v >= 999.5 && p < 5; p++)
        v /= 1000.0;
    snprintf(out, 16, v < 9.995 ? "%.2f%s%s" : v < 99.95 ? "%.1f%s%s" : "%.0f%s%s", v < 1e6 ? v : 1e6, prefixes[p], unit);
}

void sy_progress_step(struct sy_progress_state *p, const struct sy_session *s, const struct sy_step_result *r,
                      struct sy_metrics_times *t, char line[80]) {
    double now = sy_clock(), seconds = now - p->last;
    double tokens = (double)(s->config->training.global_batch_size * s->config->training.seq_len);
    p->last = now;
    *t = (struct sy_metrics_times){.tps = tokens / seconds,
                                   .tps_total = tokens / seconds,
                                   .tflops = tokens * s->flops_per_token / seconds * 1e-12,
                                   .step_ms = seconds * 1e3,
                                   .data_ms = r->data_seconds * 1e3,
                                   .mem_bytes = resident_bytes()};
    t->mfu = p->peak_flops > 0 ? 100.0 * t->tflops * 1e12 / p->peak_flops : NAN;
    int64_t total = s->config->training.steps, done = r->step - p->first_step;
    char eta[16], rate[16], flops[16], memory[16];
    short_number(t->tps, "", rate);
    short_number(t->tflops * 1e12, "F", flops);
    short_number((double)t->mem_bytes, "", memory);
    eta_text(done > 0 ? (now - p->started) / (double)done * (double)(total - r->step) : 0, eta);
    char head[1024], speed[48], room[24], balance[48];
    snprintf(head, sizeof head, "%lld/%lld loss %.4f |g| %.2f lr %.1e %s tok/s", (long long)r->step, (long long)total,
             r->loss, r->norm, r->lr, rate);
    if (p->peak_flops > 0)
        snprintf(speed, sizeof speed, " %s %.0f%%", flops, t->mfu < 1e6 ? t->mfu : 1e6);
    else
        snprintf(speed, sizeof speed, " %s", flops);
    snprintf(room, sizeof room, " %s", memory);
    balance_text(s, r->counted, balance);
    /* What matters least goes first when a line gets too long. */
    size_t n = strlen(head) + strlen(speed) + 1 + strlen(eta) + strlen(room) + strlen(balance);
    if (n > 79) {
        n -= strlen(room);
        *room = 0;
    }
    if (n > 79)
        *speed = 0;
    char whole[2048];
    snprintf(whole, sizeof whole, "%s%s %s%s%s", head, speed, eta, room, balance);
    memcpy(line, whole, 79);
    line[79] = 0;
}
