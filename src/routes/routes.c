/* Files of routes, opened and written: see routes.h. routes_load.c reads them. */
#include "routes/routes_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fmath.h"
#include "base/folders.h"
#include "formats/safetensors.h"

/* In bytewise order of the keys. */
void sy_routes_metadata(const struct sy_routes_files *f, int64_t step,
                        struct sy_routes_metadata m[SY_ROUTES_METADATA]) {
    const struct {
        const char *key;
        int64_t number;
    } numbers[] = {{"num_experts", f->o.experts}, {"seq_len", f->o.seq_len},
                   {"sequences", f->o.sequences}, {"step", step},
                   {"top_k", f->o.top_k},         {"version", 1}};
    m[0] = (struct sy_routes_metadata){"format", SY_ROUTES_FORMAT};
    for (int i = 1; i < SY_ROUTES_METADATA; i++) {
        m[i].key = numbers[i - 1].key;
        snprintf(m[i].value, sizeof m[i].value, "%lld", (long long)numbers[i - 1].number);
    }
}

void sy_routes_name(char out[SY_ROUTES_NAME], int layer, const char *what) {
    snprintf(out, SY_ROUTES_NAME, "layers.%d.%s", layer, what);
}

sy_status sy_routes_path(const struct sy_routes_files *f, const char *before, int64_t step,
                         char out[SY_ROUTES_PATH]) {
    int n = snprintf(out, SY_ROUTES_PATH, "%s/%sstep-%08lld.safetensors", f->dir, before, (long long)step);
    if (n < 0 || n >= SY_ROUTES_PATH)
        SY_FAIL(SY_ERR_USAGE, "%.200s…: the path has %d bytes, at most %d are possible", f->dir, n,
                SY_ROUTES_PATH - 1);
    return SY_OK;
}

/* --- the folder ----------------------------------------------------------------------------------------- */

/* Before the first step and not after an hour: can a file be made here? */
static sy_status try_folder(const char *dir) {
    char path[SY_ROUTES_PATH + 32];
    snprintf(path, sizeof path, "%s/.tmp-routes-%ld", dir, (long)getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        SY_FAIL(SY_ERR_IO, "moe.routes_out = %s: no file can be made there: %s", dir, strerror(errno));
    close(fd);
    unlink(path);
    return SY_OK;
}

static sy_status open_folder(const struct sy_routes_files *f) {
    struct stat st;
    if (f->o.write) {
        sy_status status = sy_folder_make(f->dir);
        return status == SY_OK ? try_folder(f->dir) : sy_fail_context(status, "moe.routes_out");
    }
    if (stat(f->dir, &st) != 0)
        SY_FAIL(SY_ERR_IO, "moe.routes_in = %s: cannot be opened: %s", f->dir, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        SY_FAIL(SY_ERR_IO, "moe.routes_in = %s: is no folder", f->dir);
    return SY_OK;
}

/* --- open and close ------------------------------------------------------------------------------------- */

/* Bytes of one sequence in `staging`. */
static int64_t staging_bytes(const struct sy_routes_options *o) { return o->seq_len * o->top_k * 8; }

int64_t sy_routes_bytes(const struct sy_routes_options *o) {
    return o->n_layers * (o->sequences * o->seq_len * o->top_k * 8 + 12) + staging_bytes(o);
}

static sy_status check_options(const struct sy_routes_options *o) {
    int64_t n = 8;
    if (strlen(o->dir) >= SY_ROUTES_PATH - 64)
        SY_FAIL(SY_ERR_USAGE, "%s = %.60s…: the path has %zu bytes: choose a folder of less than %d",
                o->write ? "moe.routes_out" : "moe.routes_in", o->dir, strlen(o->dir), SY_ROUTES_PATH - 64);
    if (o->sequences < 1 || o->seq_len < 1 || o->top_k < 1 || o->experts < o->top_k ||
        o->experts > INT32_MAX || o->n_layers < 1 || strlen(o->dir) == 0)
        SY_FAIL(SY_ERR_USAGE,
                "%.200s: routes of %lld sequences of %lld tokens to %lld of %lld experts in %d layers cannot "
                "be in files",
                o->dir, (long long)o->sequences, (long long)o->seq_len, (long long)o->top_k,
                (long long)o->experts, o->n_layers);
    if (__builtin_mul_overflow(n, o->sequences, &n) || __builtin_mul_overflow(n, o->seq_len, &n) ||
        __builtin_mul_overflow(n, o->top_k, &n) || __builtin_mul_overflow(n, (int64_t)o->n_layers, &n) ||
        n > INT64_MAX / 4)
        SY_FAIL(SY_ERR_MEMORY, "%s: the routes of a step are too many for this machine", o->dir);
    return SY_OK;
}

/* No sequence is filled. */
void sy_routes_forget(struct sy_routes_files *f) {
    for (int64_t s = 0; s < f->o.n_layers * f->o.sequences; s++)
        f->ids[s * sy_routes_of_sequence(f)] = -1;
}

static void sort_names(struct sy_routes_files *f) {
    char a[SY_ROUTES_NAME], b[SY_ROUTES_NAME];
    for (int i = 0; i < f->o.n_layers; i++) {
        int at = i;
        sy_routes_name(a, f->layers[i], "");
        for (; at > 0; at--) {
            sy_routes_name(b, f->layers[f->by_name[at - 1]], "");
            if (strcmp(b, a) < 0)
                break;
            f->by_name[at] = f->by_name[at - 1];
        }
        f->by_name[at] = i;
    }
}

static sy_status take_memory(struct sy_routes_files *f, const int *layers) {
    size_t n = (size_t)f->o.n_layers, routes = n * (size_t)sy_routes_of_layer(f);
    f->layers = calloc(n, sizeof *f->layers);
    f->by_name = calloc(n, sizeof *f->by_name);
    f->has_w = calloc(n, sizeof *f->has_w);
    f->ids = calloc(routes, sizeof *f->ids);
    f->w = calloc(routes, sizeof *f->w);
    f->staging = malloc((size_t)staging_bytes(&f->o));
    if (!f->layers || !f->by_name || !f->has_w || !f->ids || !f->w || !f->staging)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory: the routes of a step take %lld bytes", f->dir,
                (long long)sy_routes_bytes(&f->o));
    memcpy(f->layers, layers, n * sizeof *layers);
    f->o.layers = f->layers;
    for (int i = 0; i < f->o.n_layers; i++)
        f->has_w[i] = 1;
    sort_names(f);
    sy_routes_forget(f);
    return SY_OK;
}

sy_status sy_routes_open(const struct sy_routes_options *o, struct sy_routes_files **out) {
    SY_TRY(check_options(o));
    struct sy_routes_files *f = calloc(1, sizeof *f);
    if (!f)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", o->dir);
    f->o = *o;
    memcpy(f->dir, o->dir, strlen(o->dir) + 1);
    f->o.dir = f->dir;
    sy_status status = open_folder(f);
    if (status == SY_OK)
        status = take_memory(f, o->layers);
    if (status != SY_OK) {
        sy_routes_close(f);
        return status;
    }
    *out = f;
    return SY_OK;
}

void sy_routes_close(struct sy_routes_files *f) {
    if (!f)
        return;
    free(f->layers);
    free(f->by_name);
    free(f->has_w);
    free(f->ids);
    free(f->w);
    free(f->staging);
    free(f);
}

struct sy_routes sy_routes_at(const struct sy_routes_files *f, int layer, int64_t sequence) {
    int64_t at = sequence * sy_routes_of_sequence(f);
    for (int i = 0; i < f->o.n_layers; i++)
        if (f->layers[i] == layer) {
            at += i * sy_routes_of_layer(f);
            return (struct sy_routes){.ids = f->ids + at, .w = f->has_w[i] ? f->w + at : NULL};
        }
    return (struct sy_routes){0};
}

/* --- save ----------------------------------------------------------------------------------------------- */

static sy_status check_filled(const struct sy_routes_files *f, int64_t step) {
    for (int i = 0; i < f->o.n_layers; i++)
        for (int64_t s = 0; s < f->o.sequences; s++)
            if (f->ids[i * sy_routes_of_layer(f) + s * sy_routes_of_sequence(f)] < 0)
                SY_FAIL(SY_ERR_RUNTIME, "%s: step %lld: the routes of layer %d, sequence %lld are not there",
                        f->dir, (long long)step, f->layers[i], (long long)s);
    return SY_OK;
}

static sy_status write_metadata(const struct sy_routes_files *f, int64_t step, int skipped,
                                struct sy_safetensors_writer *w) {
    struct sy_routes_metadata m[SY_ROUTES_METADATA];
    sy_routes_metadata(f, step, m);
    for (int i = 0; i < SY_ROUTES_METADATA; i++) {
        if (skipped && i > 0 && strcmp(m[i - 1].key, SY_ROUTES_SKIPPED) < 0 &&
            strcmp(SY_ROUTES_SKIPPED, m[i].key) < 0)
            SY_TRY(sy_safetensors_writer_metadata(w, SY_ROUTES_SKIPPED, "1"));
        SY_TRY(sy_safetensors_writer_metadata(w, m[i].key, m[i].value));
    }
    return SY_OK;
}

static sy_status declare(const struct sy_routes_files *f, struct sy_safetensors_writer *w) {
    const int64_t dims[] = {f->o.sequences, f->o.seq_len, f->o.top_k};
    char name[SY_ROUTES_NAME];
    for (int i = 0; i < f->o.n_layers; i++) {
        sy_routes_name(name, f->layers[f->by_name[i]], "ids");
        SY_TRY(sy_safetensors_writer_declare(w, name, SY_SAFETENSORS_I32, 3, dims));
        sy_routes_name(name, f->layers[f->by_name[i]], "weights");
        SY_TRY(sy_safetensors_writer_declare(w, name, SY_SAFETENSORS_F32, 3, dims));
    }
    return SY_OK;
}

static sy_status write_all(const struct sy_routes_files *f, int64_t step, int skipped,
                           struct sy_safetensors_writer *w) {
    int64_t n = sy_routes_of_layer(f);
    SY_TRY(write_metadata(f, step, skipped, w));
    if (skipped)
        return SY_OK;
    SY_TRY(declare(f, w));
    for (int i = 0; i < f->o.n_layers; i++) {
        SY_TRY(sy_safetensors_writer_write(w, f->ids + f->by_name[i] * n, (size_t)n * sizeof *f->ids));
        SY_TRY(sy_safetensors_writer_write(w, f->w + f->by_name[i] * n, (size_t)n * sizeof *f->w));
    }
    return SY_OK;
}

static sy_status save(struct sy_routes_files *f, int64_t step, int skipped) {
    char tmp[SY_ROUTES_PATH], path[SY_ROUTES_PATH];
    struct sy_safetensors_writer *w = NULL;
    SY_TRY(sy_routes_path(f, ".tmp-", step, tmp));
    SY_TRY(sy_routes_path(f, "", step, path));
    if (unlink(tmp) != 0 && errno != ENOENT)
        SY_FAIL(SY_ERR_IO, "%s: cannot be removed: %s", tmp, strerror(errno));
    SY_TRY(sy_safetensors_writer_open(tmp, &w));
    sy_status status = write_all(f, step, skipped, w);
    if (status != SY_OK) {
        sy_safetensors_writer_abandon(w);
        return status;
    }
    SY_TRY(sy_safetensors_writer_finish(w, 1, NULL));
    if (rename(tmp, path) != 0) {
        int error = errno;
        unlink(tmp);
        SY_FAIL(SY_ERR_IO, "%s: cannot rename to %s: %s", tmp, path, strerror(error));
    }
    sy_routes_forget(f);
    return sy_folder_sync(f->dir);
}

sy_status sy_routes_save(struct sy_routes_files *f, int64_t step) {
    SY_TRY(check_filled(f, step));
    return save(f, step, 0);
}

sy_status sy_routes_save_skipped(struct sy_routes_files *f, int64_t step) { return save(f, step, 1); }

int sy_routes_finite(const struct sy_routes_files *f) {
    int finite = 1;
    for (int64_t i = 0; i < f->o.n_layers * sy_routes_of_layer(f); i++)
        finite &= sy_f32_finite(f->w[i]);
    return finite;
}
