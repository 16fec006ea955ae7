/* metrics.jsonl: see metrics.h. */
#include "train/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fmath.h"
#include "config/ramp.h"

struct sy_load sy_load_of(int layer, const int64_t *counts, int64_t experts) {
    struct sy_load l = {.layer = layer, .min = counts[0], .max = counts[0]};
    double sum = 0, squares = 0, entropy = 0;
    for (int64_t e = 0; e < experts; e++) {
        l.min = counts[e] < l.min ? counts[e] : l.min;
        l.max = counts[e] > l.max ? counts[e] : l.max;
        l.dead += counts[e] == 0;
        sum += (double)counts[e];
    }
    double mean = sum / (double)experts;
    for (int64_t e = 0; e < experts && sum > 0; e++) {
        double d = (double)counts[e] - mean, p = (double)counts[e] / sum;
        squares += d * d;
        entropy -= counts[e] ? p * sy_log_f64(p) : 0.0;
    }
    l.cv = mean > 0 ? sqrt(squares / (double)experts) / mean : 0.0;
    l.entropy = experts > 1 ? entropy / sy_log_f64((double)experts) : 1.0;
    return l;
}

/* --- opening -------------------------------------------------------------------------------------------- */

/* The step of a line, or -1 when it is not a line of ours. */
static int64_t step_of(const char *line, size_t n) {
    json_t *j = json_loadb(line, n, 0, NULL);
    json_t *step = json_object_get(j, "step");
    int64_t s = json_is_integer(step) ? json_integer_value(step) : -1;
    json_decref(j);
    return s;
}

/* Copies what is not after `step` back to the front; appends the rest to `replaced`. */
static int split(FILE *in, FILE *kept, FILE *replaced, int64_t step) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    int ok = 1;
    while (ok && (n = getline(&line, &capacity, in)) > 0) {
        int64_t s = line[n - 1] == '\n' ? step_of(line, (size_t)n) : -1;
        FILE *to = s >= 0 && s <= step ? kept : replaced;
        ok = fwrite(line, 1, (size_t)n, to) == (size_t)n;
        if (ok && line[n - 1] != '\n')
            ok = fputc('\n', to) != EOF;
    }
    free(line);
    return ok && !ferror(in);
}

static sy_status rewind_to(const char *path, int64_t step) {
    char kept_path[4300], replaced_path[4300];
    snprintf(kept_path, sizeof kept_path, "%s.tmp", path);
    snprintf(replaced_path, sizeof replaced_path, "%s.replaced", path);
    FILE *in = fopen(path, "r");
    if (!in) {
        if (errno == ENOENT)
            return SY_OK;
        SY_FAIL(SY_ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
    }
    FILE *kept = fopen(kept_path, "w"), *replaced = fopen(replaced_path, "a");
    int ok = kept && replaced && split(in, kept, replaced, step);
    fclose(in);
    if (replaced)
        ok = fclose(replaced) == 0 && ok;
    if (kept)
        ok = fflush(kept) == 0 && fsync(fileno(kept)) == 0 && ok;
    if (kept)
        ok = fclose(kept) == 0 && ok;
    if (!ok || rename(kept_path, path) != 0)
        SY_FAIL(SY_ERR_IO, "%s: lines past step %lld could not be moved to %s: %s", path, (long long)step,
                replaced_path, strerror(errno));
    if (access(replaced_path, F_OK) == 0) {
        FILE *f = fopen(replaced_path, "r");
        int empty = f && fgetc(f) == EOF;
        if (f)
            fclose(f);
        if (empty)
            unlink(replaced_path);
    }
    return SY_OK;
}

sy_status sy_metrics_open(const char *dir, int64_t step, struct sy_metrics *out) {
    snprintf(out->path, sizeof out->path, "%s/metrics.jsonl", dir);
    SY_TRY(rewind_to(out->path, step));
    out->start[0] = 0;
    out->file = fopen(out->path, "a");
    if (!out->file)
        SY_FAIL(SY_ERR_IO, "%s: cannot be opened for writing: %s", out->path, strerror(errno));
    return SY_OK;
}

sy_status sy_metrics_close(struct sy_metrics *m) {
    FILE *f = m->file;
    m->file = NULL;
    if (f && fclose(f) != 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot be written: %s", m->path, strerror(errno));
    return SY_OK;
}

/* --- lines ---------------------------------------------------------------------------------------------- */

static void number(FILE *f, const char *key, double x) {
    if (isfinite(x))
        fprintf(f, "\"%s\":%.9g,", key, x);
    else
        fprintf(f, "\"%s\":null,", key);
}

static void bits(FILE *f, const char *key, double x) {
    fprintf(f, "\"%s\":\"%016llx\",", key,
            (unsigned long long)(x == x ? sy_f64_bits(x) : 0x7ff8000000000000u));
}

static sy_status flushed(struct sy_metrics *m) {
    if (fflush(m->file) != 0 || ferror(m->file))
        SY_FAIL(SY_ERR_IO, "%s: cannot be written: %s", m->path, strerror(errno));
    return SY_OK;
}

/* Nats, without their coefficients, mean over MoE layers and sequences; a loss that was not computed has
 * no field. */
static void aux_losses(FILE *f, const struct sy_step_result *r) {
    if (r->has_balance_loss)
        number(f, "balance_loss", r->balance_loss);
    if (r->has_z_loss)
        number(f, "z_loss", r->z_loss);
}

/* The tensor of a layer's expert bias, of which this rank has all; -1: there is none. Biases come last. */
static int bias_tensor(const struct sy_session *s, int layer) {
    const struct sy_params *p = s->params;
    for (int i = p->n_tensors - 1; i >= 0 && !sy_state_is_trained(p, i); i--)
        if (p->param[p->tensor[i].param].layer == layer)
            return sy_state_own(&s->state, i).n == p->tensor[i].n ? i : -1;
    return -1;
}

static sy_status expert_bias(FILE *f, struct sy_session *s, int layer) {
    float piece[256], low = INFINITY, high = -INFINITY;
    int tensor = bias_tensor(s, layer);
    int64_t n = tensor < 0 ? 0 : s->params->tensor[tensor].n, most = sizeof piece / sizeof *piece;
    for (int64_t first = 0; first < n; first += most) {
        int64_t some = n - first < most ? n - first : most;
        SY_TRY(sy_state_read(&s->state, SY_STATE_W, tensor, first, some, piece));
        for (int64_t i = 0; i < some; i++) {
            low = piece[i] < low ? piece[i] : low;
            high = piece[i] > high ? piece[i] : high;
        }
    }
    if (n)
        fprintf(f, ",\"bias_min\":%.9g,\"bias_max\":%.9g", low, high); /* finite: sums of a coefficient */
    return SY_OK;
}

static sy_status moe_layer(FILE *f, struct sy_session *s, int layer) {
    int64_t experts = s->config->moe.num_experts;
    const int64_t *counts = s->seen.counts + layer * experts;
    struct sy_load load = sy_load_of(layer, counts, experts);
    fprintf(f,
            "{\"layer\":%d,\"load_min\":%lld,\"load_max\":%lld,\"load_cv\":%.6g,\"entropy\":%.6g,\"dead\":%"
            "lld,\"load\":[",
            layer, (long long)load.min, (long long)load.max, load.cv, load.entropy, (long long)load.dead);
    for (int64_t e = 0; e < experts; e++)
        fprintf(f, "%s%lld", e ? "," : "", (long long)counts[e]);
    fputs("]", f);
    SY_TRY(expert_bias(f, s, layer));
    fputs("}", f);
    return SY_OK;
}

void sy_metrics_start(struct sy_metrics *m, const struct sy_session *s, const char *recipe_id) {
    const struct sy_mesh *mesh = &s->mesh;
    snprintf(m->start, sizeof m->start,
             "\"start\":{\"recipe_id\":\"%s\",\"ranks\":%d,\"threads\":%d,\"pp\":%d,\"dp_replicate\":%d,"
             "\"dp_shard\":%d,\"ep\":%d,\"device\":\"%s\",\"class\":\"%s\",\"tier\":\"%s\"},",
             recipe_id, mesh->world, sy_pool_size(s->pool), mesh->pp, mesh->replicate, mesh->shard, mesh->ep,
             s->exec.device->name, sy_class_name(s->exec.cls), s->exec.ops->tier);
}

sy_status sy_metrics_step(struct sy_metrics *m, struct sy_session *s, const struct sy_step_result *r,
                          const struct sy_metrics_times *t) {
    const struct sy_config *c = s->config;
    FILE *f = m->file;
    fprintf(f, "{\"kind\":\"train\",\"step\":%lld,", (long long)r->step);
    number(f, "loss", r->loss);
    bits(f, "loss_bits", r->loss);
    aux_losses(f, r);
    number(f, "grad_norm", r->norm);
    bits(f, "grad_norm_bits", r->norm);
    number(f, "lr", r->lr);
    fprintf(f, "\"tokens\":%lld,", (long long)sy_session_token(s, r->step));
    if (c->training.batch_ramp.n > 0)
        fprintf(f, "\"batch\":%lld,", (long long)sy_step_sequences(&c->training, r->step - 1));
    number(f, "tps", t->tps);
    number(f, "tps_total", t->tps_total);
    number(f, "tflops", t->tflops);
    number(f, "mfu", t->mfu);
    fprintf(f, "\"mem_bytes\":%lld,", (long long)t->mem_bytes);
    number(f, "step_ms", t->step_ms);
    number(f, "data_ms", t->data_ms);
    fprintf(f, "\"weights_digest\":\"%s\",%s\"skipped\":%d,\"moe\":[", r->digest, m->start,
            r->asked ? 2 : !r->applied);
    m->start[0] = 0;
    const char *comma = "";
    for (int l = 0; l < s->params->n_layers && r->counted;
         l++) { /* else the zeros would be read as dead experts */
        if (!sy_layer_is_moe(&c->model, l))
            continue;
        fputs(comma, f);
        SY_TRY(moe_layer(f, s, l));
        comma = ",";
    }
    fputs("]}\n", f);
    return flushed(m);
}

sy_status sy_metrics_eval(struct sy_metrics *m, int64_t step, double loss, int64_t tokens) {
    fprintf(m->file, "{\"kind\":\"eval\",\"step\":%lld,", (long long)step);
    number(m->file, "loss", loss);
    bits(m->file, "loss_bits", loss);
    fprintf(m->file, "\"tokens\":%lld}\n", (long long)tokens);
    return flushed(m);
}

sy_status sy_metrics_event(struct sy_metrics *m, const char *line) {
    fprintf(m->file, "%s\n", line);
    return flushed(m);
}

sy_status sy_metrics_counters(struct sy_metrics *m, int64_t step, const struct sy_moe_counters *c) {
    const char *comma = "";
    fprintf(m->file, "{\"kind\":\"counters\",\"step\":%lld,\"counters\":{", (long long)step);
#define X(name, text)                                                    \
    fprintf(m->file, "%s\"" #name "\":%lld", comma, (long long)c->name); \
    comma = ",";
    SY_MOE_COUNTER_LIST(X)
#undef X
    fputs("}}\n", m->file);
    return flushed(m);
}
