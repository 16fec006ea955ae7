/* A run's event file: see tensorboard.h. */
#include "train/tensorboard.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/folders.h"

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What fails ends the file. */
static void end_if(struct sy_tensorboard *t, sy_status status) {
    if (status == SY_OK)
        return;
    sy_log_warn(t->log, "no more is written for TensorBoard: %s", sy_error_message());
    sy_tfevents_close(&t->events);
}

static void write_event(struct sy_tensorboard *t, int64_t step) {
    sy_status status = sy_tfevents_write(&t->events, step, now());
    end_if(t, status == SY_OK ? sy_tfevents_flush(&t->events) : status);
}

/* --- the configuration ---------------------------------------------------------------------------------- */

/* google.protobuf.Value: number_value 2, string_value 3, bool_value 4. */
static void put_value(struct sy_text *m, const char *text) {
    char *end, plain[256];
    size_t n = strlen(text);
    double x = strtod(text, &end);
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
        sy_proto_int(m, 4, *text == 't');
    } else if (*text && !*end) {
        sy_proto_double(m, 2, x);
    } else {
        int quoted = n >= 2 && text[0] == '"' && text[n - 1] == '"';
        snprintf(plain, sizeof plain, "%.*s", (int)(n - 2 * (size_t)quoted), text + quoted);
        sy_proto_string(m, 3, plain);
    }
}

/* HParamsPluginData: session_start_info 3 {hparams 1: a map, key 1, value 2; start_time_secs 5}. */
static sy_status hyperparameters(struct sy_tensorboard *t, struct sy_config *config) {
    struct sy_text info = {0}, entry = {0}, value = {0}, data = {0};
    const char *key, *text;
    sy_status status = SY_OK;
    for (int i = 0; status == SY_OK && (key = sy_config_key(i, NULL)); i++) {
        if ((status = sy_config_get(config, key, &text)) != SY_OK)
            break;
        value.n = entry.n = 0;
        put_value(&value, text);
        sy_proto_string(&entry, 1, key);
        sy_proto_bytes(&entry, 2, value.s, value.n);
        sy_proto_bytes(&info, 1, entry.s, entry.n);
    }
    sy_proto_double(&info, 5, now());
    sy_proto_bytes(&data, 3, info.s, info.n);
    if (status == SY_OK && (info.failed || entry.failed || value.failed || data.failed))
        status = sy_fail(SY_ERR_MEMORY, "out of memory for hyperparameters");
    if (status == SY_OK)
        sy_tfevents_plugin(&t->events, "_hparams_/session_start_info", "hparams", &data, NULL);
    free(info.s);
    free(entry.s);
    free(value.s);
    free(data.s);
    return status;
}

static sy_status configuration(struct sy_tensorboard *t, struct sy_config *config, int64_t step) {
    struct sy_text text = {0};
    sy_text_add(&text, "```toml\n", 8);
    sy_config_print(config, sy_text_write, &text);
    sy_text_add(&text, "```\n", 4);
    if (!text.failed)
        sy_tfevents_plugin(&t->events, "config", "text", NULL, text.s);
    free(text.s);
    SY_TRY(hyperparameters(t, config));
    return sy_tfevents_write(&t->events, step, now());
}

static sy_status open_file(struct sy_tensorboard *t, struct sy_config *config, const char *dir,
                           int64_t step) {
    char path[4200];
    int n = snprintf(path, sizeof path - 64, "%s/%s", dir, config->metrics.save_tb_folder);
    if (n < 0 || (size_t)n >= sizeof path - 64)
        SY_FAIL(SY_ERR_USAGE, "metrics.save_tb_folder: the path has %d bytes", n);
    SY_TRY(sy_folder_make(path));
    snprintf(path + n, sizeof path - (size_t)n, "/events.out.tfevents.switchyard");
    SY_TRY(sy_tfevents_open(path, step, &t->events));
    return configuration(t, config, step);
}

void sy_tensorboard_open(struct sy_config *config, const char *dir, int64_t step, const struct sy_log *log,
                         struct sy_tensorboard *t) {
    *t = (struct sy_tensorboard){.log = log};
    if (config->metrics.enable_tensorboard)
        end_if(t, open_file(t, config, dir, step));
}

void sy_tensorboard_close(struct sy_tensorboard *t) { sy_tfevents_close(&t->events); }

/* --- steps ---------------------------------------------------------------------------------------------- */

static void loads(struct sy_tfevents *e, const struct sy_session *s) {
    const struct sy_config *c = s->config;
    int64_t experts = c->moe.num_experts;
    for (int l = 0; l < s->params->n_layers; l++) {
        char tag[64];
        const int64_t *counts = s->seen.counts + l * experts;
        if (!sy_layer_is_moe(&c->model, l))
            continue;
        struct sy_load load = sy_load_of(l, counts, experts);
        snprintf(tag, sizeof tag, "moe/layer_%d/load_cv", l);
        sy_tfevents_scalar(e, tag, load.cv);
        snprintf(tag, sizeof tag, "moe/layer_%d/entropy", l);
        sy_tfevents_scalar(e, tag, load.entropy);
        snprintf(tag, sizeof tag, "moe/layer_%d/dead", l);
        sy_tfevents_scalar(e, tag, (double)load.dead);
        snprintf(tag, sizeof tag, "moe/layer_%d/load", l);
        sy_tfevents_histogram(e, tag, counts, experts);
    }
}

void sy_tensorboard_step(struct sy_tensorboard *t, const struct sy_session *s, const struct sy_step_result *r,
                         const struct sy_metrics_times *times) {
    struct sy_tfevents *e = &t->events;
    if (!e->file)
        return;
    sy_tfevents_scalar(e, "loss_metrics/global_avg_loss", r->loss);
    sy_tfevents_scalar(e, "grad_norm", r->norm);
    sy_tfevents_scalar(e, "lr", r->lr);
    sy_tfevents_scalar(e, "n_tokens_seen", (double)sy_session_token(s, r->step));
    sy_tfevents_scalar(e, "throughput(tps)", times->tps);
    sy_tfevents_scalar(e, "tflops", times->tflops);
    sy_tfevents_scalar(e, "mfu(%)", times->mfu);
    sy_tfevents_scalar(e, "time_metrics/end_to_end(s)", times->step_ms / 1e3);
    sy_tfevents_scalar(e, "time_metrics/data_loading(s)", times->data_ms / 1e3);
    sy_tfevents_scalar(e, "memory/max_resident(GiB)", (double)times->mem_bytes / (1u << 30));
    if (r->has_balance_loss)
        sy_tfevents_scalar(e, "loss_metrics/balance_loss", r->balance_loss);
    if (r->has_z_loss)
        sy_tfevents_scalar(e, "loss_metrics/z_loss", r->z_loss);
    if (r->counted)
        loads(e, s);
    write_event(t, r->step);
}

void sy_tensorboard_eval(struct sy_tensorboard *t, int64_t step, double loss) {
    if (!t->events.file)
        return;
    sy_tfevents_scalar(&t->events, "validation_metrics/loss", loss);
    write_event(t, step);
}
