/* The load of every expert over time: see experts_load.h. */
#include "commands/experts_load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "formats/jsonl_source.h"
#include "formats/line_buffer.h"
#include "train/metrics.h"

#define MAX_COUNT ((int64_t)1 << 48) /* routes of an expert in one step */
enum { MAX_STEP = 1000000000, MAX_LAYER = 1 << 20, MIN_CELL = 6 };

/* --- lines ---------------------------------------------------------------------------------------------- */

struct lines {
    const char *path;
    struct sy_source *source;
    struct sy_line_buffer buffer;
    int64_t number; /* of the line returned last */
    int at_end;
};

static sy_status more_text(struct lines *l) {
    size_t n = 0;
    SY_TRY(sy_line_buffer_room(&l->buffer, l->path, l->number + 1));
    SY_TRY(sy_source_read(l->source, l->buffer.text + l->buffer.end, SY_LINE_PIECE, &n));
    l->buffer.end += n;
    l->at_end = n == 0;
    return SY_OK;
}

/* The next line without its newline; *whole 0 if the file ends in it. *text NULL at the end. */
static sy_status next_line(struct lines *l, const char **text, size_t *bytes, int *whole) {
    struct sy_line_buffer *b = &l->buffer;
    size_t seen = 0;
    char *end;
    while (!(end = sy_line_buffer_newline(b, seen)) && !l->at_end) {
        seen = b->end - b->begin;
        SY_TRY(more_text(l));
    }
    *whole = end != NULL;
    *text = end || b->end > b->begin ? b->text + b->begin : NULL;
    *bytes = end ? (size_t)(end - *text) : b->end - b->begin;
    b->begin += *bytes + (size_t)*whole;
    l->number++;
    return SY_OK;
}

/* *out NULL: a torn last line. */
static sy_status parse(const struct lines *l, const char *text, size_t bytes, int whole, json_t **out) {
    json_error_t error;
    int out_of_memory = 0;
    *out = NULL;
    if (sy_json_too_deep(text, bytes, SY_JSON_MAX_DEPTH))
        SY_FAIL(SY_ERR_DATA, "%s:%lld: nested more than %d levels deep", l->path, (long long)l->number,
                SY_JSON_MAX_DEPTH);
    *out = sy_json_decode(text, bytes, JSON_REJECT_DUPLICATES, &error, &out_of_memory);
    if (out_of_memory)
        SY_FAIL(SY_ERR_MEMORY, "%s:%lld: out of memory for %zu bytes of JSON", l->path, (long long)l->number,
                bytes);
    if (!*out && whole)
        SY_FAIL(SY_ERR_DATA, "%s:%lld: column %d: %s", l->path, (long long)l->number, error.column,
                error.text);
    return SY_OK;
}

/* --- one line ------------------------------------------------------------------------------------------- */

static sy_status find_layer(struct sy_experts_load *load, int64_t layer, int64_t experts,
                            struct sy_experts_layer **out) {
    int at = load->n_layers;
    while (at > 0 && load->layer[at - 1].layer >= layer)
        at--;
    if (at < load->n_layers && load->layer[at].layer == layer) {
        *out = &load->layer[at];
        return SY_OK;
    }
    if (load->n_layers == load->capacity) {
        int capacity = 2 * load->capacity + 16;
        struct sy_experts_layer *larger = realloc(load->layer, (size_t)capacity * sizeof *larger);
        if (!larger)
            SY_FAIL(SY_ERR_MEMORY, "out of memory for the loads of %d layers", capacity);
        load->layer = larger;
        load->capacity = capacity;
    }
    int64_t *sums = calloc((size_t)experts, (SY_EXPERTS_BUCKETS + 2) * sizeof *sums);
    if (!sums)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for the loads of %lld experts", (long long)experts);
    *out = &load->layer[at];
    memmove(*out + 1, *out, (size_t)(load->n_layers - at) * sizeof **out);
    load->n_layers++;
    **out = (struct sy_experts_layer){.layer = layer,
                                      .experts = experts,
                                      .step_min = INT64_MAX,
                                      .bucket = sums,
                                      .load = sums + SY_EXPERTS_BUCKETS * experts,
                                      .counts = sums + (SY_EXPERTS_BUCKETS + 1) * experts};
    return SY_OK;
}

/* `where` is file:line. */
static sy_status read_counts(const char *where, struct sy_experts_layer *l, const json_t *counts) {
    if ((int64_t)json_array_size(counts) != l->experts)
        SY_FAIL(SY_ERR_DATA, "%s: layer %lld has loads of %zu experts, in lines before it of %lld", where,
                (long long)l->layer, json_array_size(counts), (long long)l->experts);
    for (int64_t e = 0; e < l->experts; e++) {
        const json_t *n = json_array_get(counts, (size_t)e);
        json_int_t value = json_integer_value(n);
        if (!json_is_integer(n) || value < 0 || value > MAX_COUNT)
            SY_FAIL(SY_ERR_DATA, "%s: layer %lld: the load of expert %lld is not an integer in 0 … %lld",
                    where, (long long)l->layer, (long long)e, (long long)MAX_COUNT);
        l->counts[e] = value;
    }
    return SY_OK;
}

static sy_status add_counts(const char *where, struct sy_experts_layer *l, int b) {
    struct sy_load step = sy_load_of((int)l->layer, l->counts, l->experts);
    l->step_min = step.min < l->step_min ? step.min : l->step_min;
    l->step_max = step.max > l->step_max ? step.max : l->step_max;
    l->n_steps++;
    l->steps[b]++;
    l->step_cv += (step.cv - l->step_cv) / (double)l->n_steps;
    for (int64_t e = 0; e < l->experts; e++) {
        l->bucket[b * l->experts + e] += l->counts[e];
        l->load[e] += l->counts[e]; /* no smaller than any bucket's */
        if (l->load[e] > INT64_MAX / 4)
            SY_FAIL(SY_ERR_DATA, "%s: layer %lld: the loads of expert %lld add up to more than %lld", where,
                    (long long)l->layer, (long long)e, (long long)(INT64_MAX / 4));
    }
    return SY_OK;
}

static int bucket_of(const struct sy_experts_load *load, int64_t step) {
    return (int)((step - load->first) * load->n_buckets / (load->last - load->first + 1));
}

static sy_status add_layer(struct sy_experts_load *load, const char *where, int64_t line, int64_t step,
                           const json_t *entry) {
    int64_t layer;
    json_t *counts;
    struct sy_experts_layer *l = NULL;
    SY_TRY(sy_json_get_int(where, entry, "layer", 0, MAX_LAYER, &layer));
    if (!sy_json_has(entry, "load"))
        return SY_OK;
    SY_TRY(sy_json_get_array(where, entry, "load", &counts));
    if (json_array_size(counts) == 0)
        SY_FAIL(SY_ERR_DATA, "%s: layer %lld has loads of no expert", where, (long long)layer);
    SY_TRY(find_layer(load, layer, (int64_t)json_array_size(counts), &l));
    if (l->line == line)
        SY_FAIL(SY_ERR_DATA, "%s: layer %lld is there twice", where, (long long)layer);
    l->line = line;
    SY_TRY(read_counts(where, l, counts));
    return add_counts(where, l, bucket_of(load, step));
}

struct seen { /* by the first pass */
    int64_t n_steps, n_moe;
};

/* First pass: ranges. `moe` has loads if any entry has. */
static void note_step(struct sy_experts_load *load, struct seen *seen, int64_t step, const json_t *moe) {
    size_t loads = 0;
    for (size_t i = 0; i < json_array_size(moe); i++)
        loads += (size_t)sy_json_has(json_array_get(moe, i), "load");
    seen->n_steps++;
    seen->n_moe += json_array_size(moe) > 0;
    if (!loads) {
        load->n_silent++;
        return;
    }
    load->first = load->n_steps == 0 || step < load->first ? step : load->first;
    load->last = load->n_steps == 0 || step > load->last ? step : load->last;
    load->n_steps++;
}

/* `seen` NULL: the second pass. */
static sy_status take_line(struct sy_experts_load *load, const struct lines *l, const json_t *line,
                           struct seen *seen) {
    char where[4400];
    const char *kind;
    int64_t step;
    json_t *moe = NULL;
    snprintf(where, sizeof where, "%s:%lld", l->path, (long long)l->number);
    SY_TRY(sy_json_get_string(where, line, "kind", &kind));
    if (strcmp(kind, "train") != 0)
        return SY_OK;
    SY_TRY(sy_json_get_int(where, line, "step", 0, MAX_STEP, &step));
    SY_TRY(sy_json_get_array(where, line, "moe", &moe));
    if (seen) {
        note_step(load, seen, step, moe);
        return SY_OK;
    }
    if (step < load->first || step > load->last) /* written since the first pass */
        return SY_OK;
    for (size_t i = 0; i < json_array_size(moe); i++)
        SY_TRY(add_layer(load, where, l->number, step, json_array_get(moe, i)));
    return SY_OK;
}

/* --- the file ------------------------------------------------------------------------------------------- */

static sy_status each_line(struct lines *l, struct sy_experts_load *load, struct seen *seen) {
    const char *text = NULL;
    size_t bytes = 0;
    int whole = 0;
    for (;;) {
        json_t *line = NULL;
        SY_TRY(next_line(l, &text, &bytes, &whole));
        if (!text)
            return SY_OK;
        SY_TRY(parse(l, text, bytes, whole, &line));
        if (!line) {
            load->torn |= seen != NULL;
            return SY_OK;
        }
        sy_status status = take_line(load, l, line, seen);
        json_decref(line);
        SY_TRY(status);
    }
}

static sy_status pass(const char *path, struct sy_experts_load *load, struct seen *seen) {
    struct lines l = {.path = path};
    SY_TRY(sy_source_open(path, &l.source));
    sy_status status = each_line(&l, load, seen);
    sy_source_close(l.source);
    sy_line_buffer_fini(&l.buffer);
    return status;
}

int sy_experts_cell(const struct sy_experts_load *load) {
    char text[32];
    int n = snprintf(text, sizeof text, " %lld", (long long)load->last);
    return n > MIN_CELL ? n : MIN_CELL;
}

int64_t sy_experts_bucket_first(const struct sy_experts_load *load, int b) {
    int64_t n = load->last - load->first + 1;
    return load->first + (b * n + load->n_buckets - 1) / load->n_buckets;
}

sy_status sy_experts_load_read(const char *path, int columns, struct sy_experts_load *load) {
    struct seen seen = {0};
    *load = (struct sy_experts_load){0};
    SY_TRY(pass(path, load, &seen));
    if (seen.n_steps == 0)
        SY_FAIL(SY_ERR_RUNTIME, "%s: has no steps yet", path);
    if (seen.n_moe == 0)
        SY_FAIL(SY_ERR_USAGE, "%s: the model of this run has no MoE layers", path);
    if (load->n_steps == 0)
        SY_FAIL(SY_ERR_RUNTIME,
                "%s: none of %lld steps has the load of each expert: written by an older version", path,
                (long long)seen.n_steps);
    int64_t n = load->last - load->first + 1,
            fit = columns ? columns / sy_experts_cell(load) : SY_EXPERTS_BUCKETS;
    fit = fit < 1 ? 1 : fit < SY_EXPERTS_BUCKETS ? fit : SY_EXPERTS_BUCKETS;
    load->n_buckets = (int)(n < fit ? n : fit);
    return pass(path, load, NULL);
}

void sy_experts_load_free(struct sy_experts_load *load) {
    for (int i = 0; i < load->n_layers; i++)
        free(load->layer[i].bucket);
    free(load->layer);
    *load = (struct sy_experts_load){0};
}
