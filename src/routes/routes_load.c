/* Files of routes, read and checked: see routes.h. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/safetensors.h"
#include "routes/routes_internal.h"

/* --- a step that is not there --------------------------------------------------------------------------- */

struct steps {
    int64_t *step;
    size_t n, capacity;
};

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void list_steps(const char *dir, struct steps *s) {
    DIR *d = opendir(dir);
    struct dirent *entry;
    while (d && (entry = readdir(d))) {
        char again[64];
        long long step = -1;
        if (sscanf(entry->d_name, "step-%lld.safetensors", &step) != 1 || step < 0)
            continue;
        snprintf(again, sizeof again, "step-%08lld.safetensors", step);
        if (strcmp(again, entry->d_name) != 0)
            continue;
        if (s->n == s->capacity) {
            int64_t *larger = realloc(s->step, (2 * s->capacity + 64) * sizeof *larger);
            if (!larger)
                break; /* the message is about some of them */
            s->step = larger;
            s->capacity = 2 * s->capacity + 64;
        }
        s->step[s->n++] = step;
    }
    if (d)
        closedir(d);
    if (s->n)
        qsort(s->step, s->n, sizeof *s->step, ascending);
}

/* "1-10, 12, 20-24": as much as fits. */
static void print_ranges(const struct steps *s, char *out, size_t bytes) {
    size_t n = 0;
    for (size_t i = 0, end; i < s->n; i = end) {
        for (end = i + 1; end < s->n && s->step[end] == s->step[end - 1] + 1;)
            end++;
        if (n + 64 > bytes) {
            snprintf(out + n, bytes - n, ", …");
            return;
        }
        n += (size_t)snprintf(out + n, bytes - n, "%s%lld", i ? ", " : "", (long long)s->step[i]);
        if (end > i + 1)
            n += (size_t)snprintf(out + n, bytes - n, "-%lld", (long long)s->step[end - 1]);
    }
}

static sy_status missing_step(const struct sy_routes_files *f, int64_t step) {
    struct steps s = {0};
    char ranges[512] = "none";
    list_steps(f->dir, &s);
    print_ranges(&s, ranges, sizeof ranges);
    free(s.step);
    SY_FAIL(SY_ERR_DATA, "%s: has no routes of step %lld (step-%08lld.safetensors); steps that are there: %s",
            f->dir, (long long)step, (long long)step, ranges);
}

/* --- load ----------------------------------------------------------------------------------------------- */

struct reading {
    const struct sy_routes_files *f;
    const char *path;
    const struct sy_safetensors *file;
    int ours;    /* the metadata says so: then everything must be there */
    int skipped; /* the step was, and there is nothing */
};

/* Metadata of other programs is theirs; ours must be this run's. */
static sy_status check_metadata(struct reading *r, int64_t step) {
    struct sy_routes_metadata m[SY_ROUTES_METADATA];
    sy_routes_metadata(r->f, step, m);
    int64_t n = sy_safetensors_metadata_count(r->file);
    for (int64_t i = 0; i < n; i++) {
        struct sy_safetensors_pair p = sy_safetensors_metadata_at(r->file, i);
        r->ours |= strcmp(p.key, "format") == 0 && strcmp(p.value, SY_ROUTES_FORMAT) == 0;
    }
    for (int64_t i = 0; i < n && r->ours; i++) {
        struct sy_safetensors_pair p = sy_safetensors_metadata_at(r->file, i);
        r->skipped |= strcmp(p.key, SY_ROUTES_SKIPPED) == 0 && strcmp(p.value, "1") == 0;
        for (int k = 0; k < SY_ROUTES_METADATA; k++)
            if (strcmp(p.key, m[k].key) == 0 && strcmp(p.value, m[k].value) != 0)
                SY_FAIL(SY_ERR_DATA, "%s: its %s is %.100s, but %s is needed here", r->path, p.key, p.value,
                        m[k].value);
    }
    return SY_OK;
}

static int is_layer(const struct sy_routes_files *f, int layer) {
    for (int i = 0; i < f->o.n_layers; i++)
        if (f->layers[i] == layer)
            return 1;
    return 0;
}

/* Routes of a layer that routes nothing here are those of another model. */
static sy_status check_names(const struct reading *r) {
    for (int64_t i = 0; i < sy_safetensors_count(r->file); i++) {
        const char *name = sy_safetensors_at(r->file, i)->name;
        char ids[SY_ROUTES_NAME], weights[SY_ROUTES_NAME];
        int layer = -1;
        int known = sscanf(name, "layers.%9d.", &layer) == 1;
        sy_routes_name(ids, layer, "ids");
        sy_routes_name(weights, layer, "weights");
        known = known && (strcmp(name, ids) == 0 || strcmp(name, weights) == 0);
        if (known ? !is_layer(r->f, layer) : r->ours)
            SY_FAIL(SY_ERR_DATA,
                    "%s: tensor \"%.200s\": this model has no such MoE layer; it has %d, from %d to %d",
                    r->path, name, r->f->o.n_layers, r->f->layers[0], r->f->layers[r->f->o.n_layers - 1]);
    }
    return SY_OK;
}

/* Names what is there instead: another engine may call it otherwise. */
static sy_status missing_tensor(const struct reading *r, const char *name) {
    char there[400] = " none";
    size_t n = 0;
    for (int64_t i = 0; i < sy_safetensors_count(r->file); i++) {
        const char *other = sy_safetensors_at(r->file, i)->name;
        if (n + strlen(other) + 8 > sizeof there) {
            snprintf(there + n, sizeof there - n, " …");
            break;
        }
        n += (size_t)snprintf(there + n, sizeof there - n, " %s", other);
    }
    SY_FAIL(SY_ERR_DATA, "%s: has no tensor \"%s\"; tensors that are there:%s", r->path, name, there);
}

/* *out NULL if there is none and it is not needed. */
static sy_status find_tensor(const struct reading *r, int layer, const char *what, int needed,
                             const struct sy_safetensors_tensor **out) {
    char name[SY_ROUTES_NAME], shape[256];
    const int64_t dims[] = {r->f->o.sequences, r->f->o.seq_len, r->f->o.top_k};
    sy_routes_name(name, layer, what);
    const struct sy_safetensors_tensor *t = sy_safetensors_find(r->file, name);
    if (!t && needed)
        return missing_tensor(r, name);
    *out = t;
    if (!t || (t->n_dims == 3 && memcmp(t->dims, dims, sizeof dims) == 0))
        return SY_OK;
    sy_safetensors_shape(t, shape, sizeof shape);
    SY_FAIL(SY_ERR_DATA,
            "%s: tensor \"%s\" is %s, must be [%lld, %lld, %lld]: sequences, tokens, experts of a token",
            r->path, name, shape, (long long)dims[0], (long long)dims[1], (long long)dims[2]);
}

static sy_status wrong_dtype(const struct reading *r, const struct sy_safetensors_tensor *t,
                             const char *should) {
    SY_FAIL(SY_ERR_DATA, "%s: tensor \"%s\" has dtype %s, must have %s", r->path, t->name,
            sy_safetensors_dtype_name(t->dtype), should);
}

struct token {
    const struct reading *r;
    int layer;
    int64_t sequence, token;
};

static sy_status wrong_route(const struct token *t, const char *fmt, ...) SY_PRINTF(2, 3);
static sy_status wrong_route(const struct token *t, const char *fmt, ...) {
    char what[160];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    SY_FAIL(SY_ERR_DATA, "%s: layer %d, sequence %lld, token %lld: %s", t->r->path, t->layer,
            (long long)t->sequence, (long long)t->token, what);
}

/* Sorts ids [K] with w [K] (or NULL) and checks. */
static sy_status take_token(const struct token *t, int64_t experts, int64_t k, int32_t *ids, float *w) {
    int32_t id;
    float weight;
    switch (sy_route_sort(experts, k, ids, w, &id, &weight)) {
    case SY_ROUTE_OK:
        return SY_OK;
    case SY_ROUTE_RANGE:
        return wrong_route(t, "expert %d, must be in 0..%lld", id, (long long)experts - 1);
    case SY_ROUTE_TWICE:
        return wrong_route(t, "expert %d is there twice", id);
    default:
        return wrong_route(t, "the weight of expert %d is %g, must be finite", id, (double)weight);
    }
}

/* ids [S, K] of a sequence, I32 or I64 in `staging`. */
static sy_status take_ids(struct token t, int wide, const char *staging, int32_t *ids) {
    const struct sy_routes_options *o = &t.r->f->o;
    for (int64_t i = 0; i < o->seq_len * o->top_k; i++) {
        int64_t id = 0;
        int32_t narrow;
        memcpy(&narrow, staging + i * (wide ? 8 : 4), sizeof narrow);
        memcpy(&id, staging + i * (wide ? 8 : 4), wide ? sizeof id : sizeof narrow);
        id = wide ? id : narrow;
        t.token = i / o->top_k;
        if (id < 0 || id >= o->experts)
            return wrong_route(&t, "expert %lld, must be in 0..%lld", (long long)id,
                               (long long)o->experts - 1);
        ids[i] = (int32_t)id;
    }
    return SY_OK;
}

static sy_status load_layer(const struct reading *r, int i, int *has_w) {
    const struct sy_routes_files *f = r->f;
    const struct sy_safetensors_tensor *ids = NULL, *w = NULL;
    int64_t n = sy_routes_of_sequence(f), k = f->o.top_k;
    SY_TRY(find_tensor(r, f->layers[i], "ids", 1, &ids));
    SY_TRY(find_tensor(r, f->layers[i], "weights", r->ours, &w));
    assert(ids);
    int wide = ids->dtype == SY_SAFETENSORS_I64;
    if (!wide && ids->dtype != SY_SAFETENSORS_I32)
        return wrong_dtype(r, ids, "I32 or I64");
    if (w && w->dtype != SY_SAFETENSORS_F32)
        return wrong_dtype(r, w, "F32");
    *has_w = w != NULL;
    for (int64_t s = 0; s < f->o.sequences; s++) {
        struct token t = {.r = r, .layer = f->layers[i], .sequence = s};
        int32_t *to = f->ids + i * sy_routes_of_layer(f) + s * n;
        float *to_w = w ? f->w + i * sy_routes_of_layer(f) + s * n : NULL;
        int64_t bytes = n * (wide ? 8 : 4);
        SY_TRY(sy_safetensors_read(r->file, ids, s * bytes, bytes, f->staging));
        SY_TRY(take_ids(t, wide, f->staging, to));
        if (w)
            SY_TRY(sy_safetensors_read(r->file, w, s * n * 4, n * 4, to_w));
        for (t.token = 0; t.token < f->o.seq_len; t.token++)
            SY_TRY(take_token(&t, f->o.experts, k, to + t.token * k, w ? to_w + t.token * k : NULL));
    }
    return SY_OK;
}

static sy_status load_file(struct sy_routes_files *f, struct reading *r, int64_t step) {
    SY_TRY(check_metadata(r, step));
    SY_TRY(check_names(r));
    if (r->skipped && sy_safetensors_count(r->file) > 0)
        SY_FAIL(SY_ERR_DATA, "%s: is of a step that was skipped, but has tensors", r->path);
    for (int i = 0; i < f->o.n_layers && !r->skipped; i++)
        SY_TRY(load_layer(r, i, &f->has_w[i]));
    return SY_OK;
}

sy_status sy_routes_has(const struct sy_routes_files *f, int64_t step) {
    char path[SY_ROUTES_PATH];
    SY_TRY(sy_routes_path(f, "", step, path));
    return access(path, F_OK) != 0 && errno == ENOENT ? missing_step(f, step) : SY_OK;
}

sy_status sy_routes_load(struct sy_routes_files *f, int64_t step, int *skipped) {
    char path[SY_ROUTES_PATH];
    struct sy_safetensors *file = NULL;
    SY_TRY(sy_routes_has(f, step));
    SY_TRY(sy_routes_path(f, "", step, path));
    SY_TRY(sy_safetensors_open(path, &file));
    struct reading r = {.f = f, .path = path, .file = file};
    sy_status status = load_file(f, &r, step);
    sy_safetensors_close(file);
    *skipped = r.skipped;
    return status;
}
