/* The progress line: see progress.h. */
#include "train/progress.h"

#include <math.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "config/ramp.h"

/* Of the measured peak, what the configs in configs/ come to is between a fifth and three quarters.
 * Without a measured peak: a product that is emulated. */
#define GUESSED_SHARE (1.0 / 3.0)
#define GUESSED_FLOPS 2e9

void sy_progress_init(const struct sy_session *s, int64_t first_step, int columns,
                      struct sy_progress_state *p) {
    const struct sy_config *c = s->config;
    int what = s->params->n_layers > c->model.n_dense_layers ? SY_COLUMNS_BALANCE : 0;
    double tokens = (double)(sy_step_sequences(&c->training, first_step) * c->training.seq_len);
    what |= c->training.batch_ramp.n > 0 ? SY_COLUMNS_BATCH : 0;
    *p = (struct sy_progress_state){.first_step = first_step,
                                    .log_freq = c->metrics.log_freq,
                                    .columns = sy_columns_choose(c->training.steps, what, columns),
                                    .log_columns = sy_columns_choose(c->training.steps, what, 0)};
    p->peak_flops = sy_ops_peak(&s->exec).flops;
    p->step_seconds =
        tokens * s->flops_per_token / (p->peak_flops > 0 ? GUESSED_SHARE * p->peak_flops : GUESSED_FLOPS);
    p->started = p->begun = sy_clock();
}

void sy_progress_begin(struct sy_progress_state *p) { p->begun = sy_clock(); }

static int64_t resident_bytes(void) {
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) == 0 ? (int64_t)u.ru_maxrss * 1024 : 0;
}

/* Of the layers the largest coefficient of variation, and how many experts got no route. */
static void balance(const struct sy_session *s, struct sy_figures *f) {
    const struct sy_config *c = s->config;
    for (int l = (int)c->model.n_dense_layers; l < s->params->n_layers && f->counted; l++) {
        struct sy_load load = sy_load_of(l, s->seen.counts + l * c->moe.num_experts, c->moe.num_experts);
        f->cv = load.cv > f->cv ? load.cv : f->cv;
        f->dead += load.dead;
    }
}

void sy_progress_step(struct sy_progress_state *p, const struct sy_session *s, const struct sy_step_result *r,
                      struct sy_metrics_times *t, struct sy_figures *f) {
    double now = sy_clock(), seconds = now - p->begun, tokens = (double)r->tokens;
    *t = (struct sy_metrics_times){.tps = tokens / seconds,
                                   .tps_total = tokens / seconds,
                                   .tflops = tokens * s->flops_per_token / seconds * 1e-12,
                                   .step_ms = seconds * 1e3,
                                   .data_ms = r->data_seconds * 1e3,
                                   .mem_bytes = resident_bytes()};
    t->mfu = p->peak_flops > 0 ? 100.0 * t->tflops * 1e12 / p->peak_flops : NAN;
    int64_t total = s->config->training.steps, done = r->step - p->first_step;
    *f = (struct sy_figures){.step = r->step,
                             .batch = sy_step_sequences(&s->config->training, r->step - 1),
                             .loss = r->loss,
                             .norm = r->norm,
                             .lr = r->lr,
                             .tps = t->tps,
                             .flops = t->tflops * 1e12,
                             .mfu = t->mfu,
                             .left = (now - p->started) / (double)done * (double)(total - r->step),
                             .bytes = (double)t->mem_bytes,
                             .counted = r->counted};
    balance(s, f);
    p->step_seconds = seconds;
}

/* --- who watches, and log.txt --------------------------------------------------------------------------- */

static void show(const struct sy_progress_state *p, const struct sy_io *io, int64_t step, const char *line,
                 int due) {
    char head[SY_LINE_BYTES];
    sy_columns_head(&p->columns, head);
    if (io->progress)
        io->progress(io->user, &(struct sy_progress){.step = step,
                                                     .steps = p->columns.steps,
                                                     .head = head,
                                                     .line = line,
                                                     .due = due,
                                                     .step_seconds = p->step_seconds});
}

void sy_progress_head(const struct sy_progress_state *p, const struct sy_io *io, const struct sy_log *log,
                      FILE *log_file) {
    char head[SY_LINE_BYTES];
    if (p->step_seconds >= 1)
        sy_log_info(log, "the first step takes about %.0f s", p->step_seconds);
    sy_columns_head(&p->log_columns, head);
    if (log_file)
        fprintf(log_file, "%s\n", head);
    show(p, io, p->first_step, NULL, 0);
}

void sy_progress_show(const struct sy_progress_state *p, const struct sy_figures *f, const struct sy_io *io,
                      FILE *log_file) {
    char line[SY_LINE_BYTES];
    int due = f->step == p->first_step + 1 || f->step == p->columns.steps || f->step % p->log_freq == 0;
    if (log_file && due) {
        sy_columns_line(&p->log_columns, f, line);
        fprintf(log_file, "%s\n", line);
        fflush(log_file);
    }
    sy_columns_line(&p->columns, f, line);
    show(p, io, f->step, line, due);
}
