/* Who watches a training. See watchers.h. */
#include "train/watchers.h"

#include <unistd.h>

sy_status sy_watchers_begin_first(struct sy_watchers *w, const struct sy_watched *of, int64_t step) {
    const struct sy_session *s = of->session;
    int listener = w->listener;
    w->of = *of;
    w->first = 1;
    SY_TRY(sy_metrics_open(of->run_dir, step, &w->metrics));
    sy_metrics_start(&w->metrics, s, of->recipe_id);
    SY_TRY(sy_alerts_init(s->config, s->params->n_layers, of->log, &w->alerts));
    sy_tensorboard_open(s->config, of->run_dir, step, of->log, &w->tensorboard);
    w->listener = -1;
    SY_TRY(sy_prometheus_begin(listener, s, of->run_dir, of->recipe_id, &w->prometheus));
    if (s->config->metrics.enable_report)
        w->report = sy_report_live_begin(of->run_dir, of->log);
    sy_progress_init(s, step, of->io->columns, &w->progress);
    return SY_OK;
}

sy_status sy_watchers_begin(struct sy_watchers *w, const struct sy_watched *of, int64_t step) {
    const struct sy_log *log = w->first ? of->log : NULL;
    w->of = *of;
    w->snapshot = sy_snapshot_of(of->session, of->run_dir, log);
    return sy_traces_open(of->session, of->run_dir, step + 1, log, &w->traces);
}

sy_status sy_watchers_before(struct sy_watchers *w, int64_t step) {
    SY_TRY(sy_traces_before(&w->traces, step));
    sy_snapshot_before(&w->snapshot, step);
    sy_progress_begin(&w->progress);
    return SY_OK;
}

void sy_watchers_after(struct sy_watchers *w, int64_t step) { sy_traces_after(&w->traces, step); }

static sy_status first_step(struct sy_watchers *w, const struct sy_step_result *r) {
    struct sy_session *s = w->of.session;
    struct sy_metrics_times times;
    sy_progress_step(&w->progress, s, r, &times, &w->figures);
    sy_tensorboard_step(&w->tensorboard, s, r, &times);
    SY_TRY(sy_metrics_step(&w->metrics, s, r, &times));
    SY_TRY(sy_alerts_step(&w->alerts, &w->metrics, r, &times, s->seen.counts));
    sy_prometheus_step(w->prometheus, s, r, &times, &w->alerts);
    return SY_OK;
}

sy_status sy_watchers_step(struct sy_watchers *w, const struct sy_step_result *r) {
    if (w->first)
        SY_TRY(first_step(w, r));
    return sy_snapshot_after(&w->snapshot, r->step, w->first ? &w->metrics : NULL);
}

sy_status sy_watchers_shown(struct sy_watchers *w, int64_t step, FILE *log_file) {
    if (w->first)
        sy_progress_show(&w->progress, &w->figures, w->of.io, log_file);
    return sy_traces_write(&w->traces, step, w->first ? &w->metrics : NULL);
}

sy_status sy_watchers_eval(struct sy_watchers *w, int64_t step, double loss, int64_t n) {
    if (!w->first)
        return SY_OK;
    SY_TRY(sy_metrics_eval(&w->metrics, step, loss, n));
    sy_tensorboard_eval(&w->tensorboard, step, loss);
    sy_prometheus_eval(w->prometheus, loss);
    return SY_OK;
}

void sy_watchers_end_traces(struct sy_watchers *w) { sy_traces_close(&w->traces); }

sy_status sy_watchers_last(struct sy_watchers *w, sy_status status) {
    if (status == SY_OK)
        return sy_metrics_close(&w->metrics);
    if (w->metrics.file)
        fclose(w->metrics.file);
    return status;
}

void sy_watchers_end(struct sy_watchers *w, const struct sy_log *log) {
    sy_prometheus_end(w->prometheus);
    if (w->listener >= 0)
        close(w->listener);
    sy_tensorboard_close(&w->tensorboard);
    sy_alerts_fini(&w->alerts);
    sy_report_live_end(w->report, log);
}
