/* A line of metrics.jsonl into a run's series: what the trainer writes, and nothing else. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "report/internal.h"

#define MAX_COUNT ((int64_t)1 << 48)
enum { MAX_STEP = 1000000000, MAX_LAYER = 1 << 20 };

/* --- values --------------------------------------------------------------------------------------------- */

/* NaN: it is null or not there. */
static sy_status real(const char *where, const json_t *object, const char *key, double *out) {
    *out = NAN;
    return sy_json_has(object, key)
               ? sy_json_get_real(where, object, key, -SY_REPORT_MOST, SY_REPORT_MOST, out)
               : SY_OK;
}

static sy_status integer(const char *where, const json_t *object, const char *key, int64_t *out) {
    *out = 0;
    return sy_json_has(object, key) ? sy_json_get_int(where, object, key, 0, INT64_MAX, out) : SY_OK;
}

static struct sy_happening *happened(struct sy_report_run *r, enum sy_happening_kind kind, int64_t step,
                                     const char *text) {
    if (r->n_happened == SY_REPORT_HAPPENINGS) {
        r->n_left_out++;
        return NULL;
    }
    struct sy_happening *h = &r->happened[r->n_happened++];
    *h = (struct sy_happening){.kind = kind, .step = step, .last = step};
    sy_report_text(h->text, text);
    return h;
}

/* how: 1 what was computed was not finite, 2 the run was told to */
static void skipped(struct sy_report_run *r, int64_t step, int64_t how) {
    struct sy_happening *h = r->n_happened ? &r->happened[r->n_happened - 1] : NULL;
    r->n_skipped++;
    const char *why =
        how == 2 ? "not applied: training.skip_steps has it" : "not applied: loss or gradient was not finite";
    if (h && h->kind == SY_HAPPENING_skipped && h->last == step - 1 && !strcmp(h->text, why))
        h->last = step;
    else
        happened(r, SY_HAPPENING_skipped, step, why);
}

/* --- where a process began ------------------------------------------------------------------------------ */

static sy_status layout_of(const char *where, const json_t *start, char out[SY_REPORT_TEXT]) {
    static const char *const counts[] = {"ranks", "threads", "pp", "dp_replicate", "dp_shard", "ep"};
    static const char *const words[] = {"device", "class", "tier"};
    const char *between = "";
    size_t n = 0;
    char text[8 * SY_REPORT_TEXT];
    text[0] = 0;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        int64_t value;
        SY_TRY(integer(where, start, counts[i], &value));
        if (value > 0 && (value > 1 || i < 2)) {
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%s %lld", between, counts[i],
                                  (long long)value);
            between = ", ";
        }
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const char *word;
        if (!sy_json_has(start, words[i]))
            continue;
        SY_TRY(sy_json_get_string(where, start, words[i], &word));
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s %.200s", between, words[i], word);
        between = ", ";
    }
    sy_report_text(out, text);
    return SY_OK;
}

static sy_status started(struct sy_report_run *r, const char *where, int64_t step, const json_t *start) {
    char layout[SY_REPORT_TEXT], text[2 * SY_REPORT_TEXT];
    const char *recipe = "";
    SY_TRY(layout_of(where, start, layout));
    if (sy_json_has(start, "recipe_id"))
        SY_TRY(sy_json_get_string(where, start, "recipe_id", &recipe));
    snprintf(text, sizeof text, "%s%s recipe %.32s", layout, *layout ? "," : "", recipe);
    happened(r, r->n_steps || step > 1 ? SY_HAPPENING_resume : SY_HAPPENING_start, step, text);
    if (*r->layout && strcmp(r->layout, layout) != 0)
        happened(r, SY_HAPPENING_layout, step, layout);
    if (*r->recipe && strncmp(r->recipe, recipe, 32) != 0) {
        snprintf(text, sizeof text, "%.32s, before %.32s", recipe, r->recipe);
        happened(r, SY_HAPPENING_recipe, step, text);
    }
    memcpy(r->layout, layout, sizeof layout);
    snprintf(r->recipe, sizeof r->recipe, "%.32s", recipe);
    return SY_OK;
}

/* --- loads ---------------------------------------------------------------------------------------------- */

static sy_status first_loads(struct sy_report_run *r, const char *where, const json_t *moe) {
    int rows = 0;
    size_t n = json_array_size(moe);
    r->layer = calloc(n, sizeof *r->layer);
    if (!r->layer)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for %zu layers", n);
    for (size_t i = 0; i < n; i++) {
        struct sy_report_layer *l = &r->layer[i];
        const json_t *load = json_object_get(json_array_get(moe, i), "load");
        SY_TRY(sy_json_get_int(where, json_array_get(moe, i), "layer", 0, MAX_LAYER, &l->layer));
        if (i > 0 && l->layer <= r->layer[i - 1].layer)
            SY_FAIL(SY_ERR_DATA, "%s: layer %lld comes after layer %lld", where, (long long)l->layer,
                    (long long)r->layer[i - 1].layer);
        l->experts = (int)json_array_size(load);
        l->first = rows;
        if (json_array_size(load) + SY_N_BALANCES > (size_t)(SY_REPORT_MAX_ROWS - rows))
            SY_FAIL(SY_ERR_DATA, "%s: loads of more than %d experts in all layers", where,
                    SY_REPORT_MAX_ROWS);
        rows += SY_N_BALANCES + l->experts;
    }
    r->n_layers = (int)n;
    int columns = SY_REPORT_BUCKETS / rows / 2 * 2;
    return sy_grid_init(rows,
                        columns > SY_REPORT_COLUMNS ? SY_REPORT_COLUMNS
                        : columns < 4               ? 4
                                                    : columns,
                        &r->balance);
}

static sy_status layer_line(struct sy_report_run *r, const char *where, int64_t step, size_t i,
                            const json_t *entry) {
    const struct sy_report_layer *l = &r->layer[i];
    const json_t *load = json_object_get(entry, "load");
    int64_t layer;
    SY_TRY(sy_json_get_int(where, entry, "layer", 0, MAX_LAYER, &layer));
    if (layer != l->layer || (json_array_size(load) != 0 && (int)json_array_size(load) != l->experts))
        SY_FAIL(SY_ERR_DATA, "%s: layer %lld with %zu experts; in lines before it layer %lld with %d", where,
                (long long)layer, json_array_size(load), (long long)l->layer, l->experts);
    for (int b = 0; b < SY_N_BALANCES; b++) {
        double value;
        SY_TRY(real(where, entry, sy_balances[b].key, &value));
        sy_grid_add(&r->balance, l->first + b, step, value);
    }
    for (size_t e = 0; e < json_array_size(load); e++) {
        const json_t *n = json_array_get(load, e);
        json_int_t value = json_integer_value(n);
        if (!json_is_integer(n) || value < 0 || value > MAX_COUNT)
            SY_FAIL(SY_ERR_DATA, "%s: layer %lld: the load of expert %zu is not an integer in 0 … %lld",
                    where, (long long)layer, e, (long long)MAX_COUNT);
        sy_grid_add(&r->balance, l->first + SY_N_BALANCES + (int)e, step, (double)value);
    }
    return SY_OK;
}

static sy_status moe_line(struct sy_report_run *r, const char *where, int64_t step, const json_t *line) {
    json_t *moe;
    if (!sy_json_has(line, "moe"))
        return SY_OK;
    SY_TRY(sy_json_get_array(where, line, "moe", &moe));
    if (json_array_size(moe) == 0)
        return SY_OK;
    if (!r->n_layers) {
        sy_status status = first_loads(r, where, moe);
        if (status != SY_OK)
            r->n_layers = 0;
        SY_TRY(status);
    }
    if (json_array_size(moe) != (size_t)r->n_layers)
        SY_FAIL(SY_ERR_DATA, "%s: loads of %zu layers, in lines before it of %d", where, json_array_size(moe),
                r->n_layers);
    for (size_t i = 0; i < json_array_size(moe); i++)
        SY_TRY(layer_line(r, where, step, i, json_array_get(moe, i)));
    return SY_OK;
}

/* --- lines ---------------------------------------------------------------------------------------------- */

static sy_status train_line(struct sy_report_run *r, const char *where, int64_t step, const json_t *line) {
    const char *digest = "";
    int64_t is_skipped;
    json_t *start;
    if (r->n_steps && step <= r->last)
        SY_FAIL(SY_ERR_DATA, "%s: step %lld comes after step %lld", where, (long long)step,
                (long long)r->last);
    if (sy_json_has(line, "start")) {
        SY_TRY(sy_json_get_object(where, line, "start", &start));
        SY_TRY(started(r, where, step, start));
    }
    for (int c = 0; c < SY_N_CURVES; c++) {
        double value = NAN;
        if (*sy_curves[c].key)
            SY_TRY(real(where, line, sy_curves[c].key, &value));
        sy_grid_add(&r->curves, c, step, value);
    }
    SY_TRY(moe_line(r, where, step, line));
    SY_TRY(integer(where, line, "tokens", &r->tokens));
    SY_TRY(integer(where, line, "skipped", &is_skipped));
    if (sy_json_has(line, "weights_digest"))
        SY_TRY(sy_json_get_string(where, line, "weights_digest", &digest));
    if (strlen(digest) > 32)
        SY_FAIL(SY_ERR_DATA, "%s: weights_digest has %zu characters, at most 32 are possible", where,
                strlen(digest));
    if (is_skipped)
        skipped(r, step, is_skipped);
    r->first = r->n_steps++ ? r->first : step;
    r->last = step;
    sy_report_digest(r, step, digest);
    return SY_OK;
}

static sy_status eval_line(struct sy_report_run *r, const char *where, int64_t step, const json_t *line) {
    double loss;
    SY_TRY(real(where, line, "loss", &loss));
    if (r->n_steps && step <= r->last) /* the columns' range is that of the steps */
        sy_grid_add(&r->curves, SY_CURVE_eval, step, loss);
    return SY_OK;
}

static sy_status event_line(struct sy_report_run *r, const char *where, int64_t step, const json_t *line) {
    const char *name, *text;
    char both[2 * SY_REPORT_TEXT];
    SY_TRY(sy_json_get_string(where, line, "event", &name));
    SY_TRY(sy_json_get_string(where, line, "text", &text));
    snprintf(both, sizeof both, "%.60s: %.300s", name, text);
    happened(r, SY_HAPPENING_alert, step, both);
    return SY_OK;
}

static const struct {
    const char *kind;
    sy_status (*take)(struct sy_report_run *, const char *, int64_t, const json_t *);
} kinds[] = {{"train", train_line},
             {"eval", eval_line},
             {"event", event_line},
             {"memory", sy_report_memory_line},
             {"profile", sy_report_parts_line}};

static sy_status take(struct sy_report_run *r, const char *where, const json_t *line) {
    const char *kind;
    int64_t step;
    SY_TRY(sy_json_get_string(where, line, "kind", &kind));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kind, kinds[i].kind) == 0) {
            SY_TRY(sy_json_get_int(where, line, "step", 0, MAX_STEP, &step));
            return kinds[i].take(r, where, step, line);
        }
    return SY_OK;
}

sy_status sy_report_line(struct sy_report_run *r, const char *text, size_t bytes) {
    char where[4400];
    json_error_t error;
    int out_of_memory = 0;
    snprintf(where, sizeof where, "%s:%lld", r->lines.path, (long long)r->lines.number);
    if (sy_json_too_deep(text, bytes, SY_JSON_MAX_DEPTH))
        SY_FAIL(SY_ERR_DATA, "%s: nested more than %d levels deep", where, SY_JSON_MAX_DEPTH);
    json_t *line = sy_json_decode(text, bytes, JSON_REJECT_DUPLICATES, &error, &out_of_memory);
    if (out_of_memory)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory for %zu bytes of JSON", where, bytes);
    if (!line)
        SY_FAIL(SY_ERR_DATA, "%s: column %d: %s", where, error.column, error.text);
    sy_status status = take(r, where, line);
    json_decref(line);
    return status;
}
