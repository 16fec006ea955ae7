/* A model folder for sharing: see export.h. What is no tensor: export_files.c. */
#include "ckpt/export.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ckpt/export_files.h"
#include "ckpt/internal.h"
#include "formats/halves.h"

struct exporting {
    const struct sy_export_options *o;
    const struct sy_params *params;
    struct sy_ckpt_shards shards;
    int *planned;                          /* [n_tensors] the plan's number of each tensor */
    struct sy_safetensors_writer **writer; /* [n_files] NULL: not open */
    void *half;                            /* a piece as it is written */
    float *wide;                           /* and widened again */
    struct sy_digest folded, words;        /* of what is written; words are not looked at */
    int64_t n_zero;
};

/* --- tensors -------------------------------------------------------------------------------------------- */

static sy_status put(void *self, const struct sy_ckpt_range *range, const float *x) {
    struct exporting *e = self;
    const struct sy_tensor *t = &e->params->tensor[range->tensor];
    int i = e->planned[range->tensor];
    struct sy_ckpt_place place = sy_ckpt_shards_place(&e->shards, i);
    enum sy_safetensors_dtype dtype = sy_ckpt_shards_dtype(&e->shards, i);
    int64_t n_infinite = 0, size = sy_safetensors_dtype_bytes(dtype);
    if (e->o->stop && *e->o->stop)
        SY_FAIL(SY_STOPPED, "stopped; nothing is left behind");
    sy_halves_narrow(dtype, x, range->n, e->half, &n_infinite, &e->n_zero);
    if (n_infinite)
        SY_FAIL(SY_ERR_DATA, "tensor \"%s\": %" PRId64 " numbers are too large for %s: choose bf16 or fp32",
                t->name, n_infinite, sy_safetensors_dtype_name(dtype));
    sy_halves_widen(dtype, e->half, range->n, e->wide);
    sy_ckpt_digest_add(t->id, range->first, e->wide, range->n, &e->words, &e->folded);
    if (!e->writer[place.file])
        SY_TRY(sy_ckpt_shards_join(&e->shards, place.file, &e->writer[place.file]));
    return sy_safetensors_writer_write_at(e->writer[place.file], place.number, size * range->first, e->half,
                                          (size_t)(size * range->n));
}

static sy_status plan(struct exporting *e) {
    SY_TRY(sy_ckpt_shards_plan(&e->shards, e->o->max_file_bytes));
    e->planned = calloc((size_t)e->params->n_tensors + 1, sizeof *e->planned);
    e->writer = calloc((size_t)e->shards.n_files, sizeof *e->writer);
    e->half = malloc(4 * (size_t)e->shards.piece);
    e->wide = malloc(4 * (size_t)e->shards.piece);
    if (!e->planned || !e->writer || !e->half || !e->wide)
        SY_FAIL(SY_ERR_MEMORY, "no memory for %d files of weights", e->shards.n_files);
    for (int i = 0; i < e->shards.n_tensors; i++)
        e->planned[e->shards.tensor[i]] = i;
    return SY_OK;
}

static sy_status lay(const struct exporting *e) {
    struct sy_ckpt_files files = {0};
    json_t *map = json_object(), *index = json_pack("{s:{s:I}, s:O}", "metadata", "total_size",
                                                    (json_int_t)e->shards.bytes, "weight_map", map);
    sy_status status = map && index ? SY_OK : sy_fail(SY_ERR_MEMORY, "no memory for %s", SY_CKPT_INDEX);
    if (status == SY_OK)
        status = sy_ckpt_shards_lay(&e->shards, &files, map);
    if (status == SY_OK)
        status = sy_ckpt_write_json(e->shards.folder, SY_CKPT_INDEX, index, NULL);
    json_decref(index);
    json_decref(map);
    free(files.item);
    return status;
}

static sy_status close_writers(struct exporting *e, sy_status status) {
    for (int k = 0; e->writer && k < e->shards.n_files; k++) {
        if (status == SY_OK && e->writer[k])
            status = sy_safetensors_writer_finish(e->writer[k], 1, NULL);
        else
            sy_safetensors_writer_abandon(e->writer[k]);
    }
    return status;
}

static sy_status copy_tensors(const struct sy_ckpt *ckpt, struct exporting *e, struct sy_exported *out) {
    struct sy_ckpt_store store = {.self = e, .put = put};
    struct sy_ckpt_target target = {.params = e->params, .store = &store};
    SY_TRY(plan(e));
    SY_TRY(lay(e));
    sy_status status = close_writers(e, sy_ckpt_load(ckpt, &target, e->o->log, out->from));
    SY_TRY(status);
    sy_digest_hex(&e->folded, out->to);
    out->n_files = e->shards.n_files;
    out->bytes = e->shards.bytes;
    if (e->n_zero)
        sy_log_warn(e->o->log, "%" PRId64 " numbers are too small for %s and are 0 now", e->n_zero,
                    sy_safetensors_dtype_name(e->o->dtype));
    return SY_OK;
}

/* --- the folder ----------------------------------------------------------------------------------------- */

static sy_status fill(const struct sy_ckpt *ckpt, const struct sy_config *config,
                      const struct sy_params *params, const char *tmp, const char *name,
                      const struct sy_export_options *o, struct sy_exported *out) {
    struct exporting e = {.o = o, .params = params};
    e.shards =
        (struct sy_ckpt_shards){.folder = tmp, .kind = SY_CKPT_WEIGHTS, .params = params, .dtype = o->dtype};
    sy_status status = copy_tensors(ckpt, &e, out);
    sy_ckpt_shards_free(&e.shards);
    free(e.planned);
    free(e.writer);
    free(e.half);
    free(e.wide);
    SY_TRY(status);
    struct sy_export_about about = {ckpt, config, params, name, o->dtype, out};
    return sy_export_files(&about, tmp);
}

/* The last part of a path. */
static const char *name_of(const char *path, char out[256]) {
    size_t n = strlen(path), begin;
    while (n > 1 && path[n - 1] == '/')
        n--;
    for (begin = n; begin > 0 && path[begin - 1] != '/'; begin--)
        continue;
    snprintf(out, 256, "%.*s", (int)(n - begin), path + begin);
    return out;
}

sy_status sy_ckpt_export(const struct sy_ckpt *ckpt, const struct sy_config *config,
                         const struct sy_params *params, const char *path, const struct sy_export_options *o,
                         struct sy_exported *out) {
    char tmp[SY_CKPT_PATH_BYTES], clean[SY_CKPT_PATH_BYTES], name[256];
    struct stat st;
    int rc, n = snprintf(clean, sizeof clean, "%s", path);
    while (n > 1 && n < (int)sizeof clean && clean[n - 1] == '/')
        clean[--n] = 0;
    if (n < 1 || snprintf(tmp, sizeof tmp, "%s.tmp", clean) >= (int)sizeof tmp)
        SY_FAIL(SY_ERR_USAGE, "%.200s: no path for a new folder", path);
    if (lstat(clean, &st) == 0)
        SY_FAIL(SY_ERR_USAGE, "%s: is there already: name a new folder", clean);
    if (lstat(tmp, &st) == 0)
        SY_FAIL(SY_ERR_USAGE, "%s: is there, of a conversion under way or one that was killed: remove it",
                tmp);
    SY_TRY(sy_folder_make(tmp));
    sy_status status = fill(ckpt, config, params, tmp, name_of(clean, name), o, out);
    if (status == SY_OK)
        status = sy_folder_sync(tmp);
    if (status == SY_OK) {
        rc = sy_ckpt_rename(tmp, clean);
        if (rc != 0)
            status = sy_fail(SY_ERR_IO, "%s: cannot be renamed: %s", tmp, strerror(errno));
    }
    if (status != SY_OK)
        sy_ckpt_remove(tmp);
    return status;
}
