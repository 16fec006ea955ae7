/* Opening, verifying and loading a checkpoint: see checkpoint.h. */
#include "ckpt/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ckpt/hf_config.h"
#include "ckpt/hf_fp8.h"

static sy_status check_sizes(const struct sy_ckpt *c) {
    char path[SY_CKPT_PATH_BYTES];
    for (int i = 0; i < c->manifest.files.n; i++) {
        const struct sy_ckpt_file *f = &c->manifest.files.item[i];
        int64_t bytes = 0;
        SY_TRY(sy_ckpt_join(path, c->path, f->name));
        SY_TRY(sy_ckpt_file_size(path, &bytes));
        if (bytes != f->bytes)
            SY_FAIL(SY_ERR_DATA, "%s: %" PRId64 " bytes, was written with %" PRId64, path, bytes, f->bytes);
    }
    return SY_OK;
}

static sy_status open_manifest(struct sy_ckpt *c, const char *path) {
    char *text = NULL;
    size_t bytes = 0;
    SY_TRY(sy_ckpt_read_file(path, SY_CKPT_MAX_JSON, &text, &bytes));
    sy_status status = sy_ckpt_manifest_parse(path, text, bytes, &c->manifest);
    free(text);
    SY_TRY(status);
    if (!sy_ckpt_files_find(&c->manifest.files, "config.json"))
        SY_FAIL(SY_ERR_DATA, "%s: config.json is not in its list of files", path);
    return check_sizes(c);
}

static sy_status open_folder(struct sy_ckpt *c, const char *path, int need_manifest) {
    char manifest[SY_CKPT_PATH_BYTES];
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        SY_FAIL(SY_ERR_IO, "%s: is no folder", path);
    SY_TRY(sy_ckpt_join(c->path, path, ""));
    for (size_t n = strlen(c->path); n > 1 && c->path[n - 1] == '/'; n--)
        c->path[n - 1] = 0;
    SY_TRY(sy_ckpt_join(manifest, c->path, SY_CKPT_MANIFEST));
    if (need_manifest || lstat(manifest, &st) == 0)
        SY_TRY(open_manifest(c, manifest));
    c->manifest.info.path = c->path;
    return SY_OK;
}

sy_status sy_ckpt_open(const char *path, int need_manifest, struct sy_ckpt **out) {
    struct sy_ckpt *c = calloc(1, sizeof *c);
    if (!c)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", path);
    sy_status status = open_folder(c, path, need_manifest);
    if (status != SY_OK) {
        sy_ckpt_close(c);
        return status;
    }
    *out = c;
    return SY_OK;
}

void sy_ckpt_close(struct sy_ckpt *c) {
    if (!c)
        return;
    sy_ckpt_manifest_free(&c->manifest);
    free(c);
}

const struct sy_ckpt_info *sy_ckpt_info(const struct sy_ckpt *c) { return &c->manifest.info; }

/* ---- config ---- */

static sy_status read_config(const struct sy_ckpt *c, char path[SY_CKPT_PATH_BYTES], json_t **out) {
    char *text = NULL;
    size_t bytes = 0;
    SY_TRY(sy_ckpt_join(path, c->path, "config.json"));
    SY_TRY(sy_ckpt_read_file(path, SY_CKPT_MAX_JSON, &text, &bytes));
    sy_status status = sy_json_parse(path, text, bytes, 0, out);
    free(text);
    return status;
}

sy_status sy_ckpt_config(const struct sy_ckpt *c, int recipe, struct sy_config *config) {
    char path[SY_CKPT_PATH_BYTES];
    const struct sy_ckpt_file *file = sy_ckpt_files_find(&c->manifest.files, "config.json");
    json_t *root = NULL;
    if (file)
        SY_TRY(sy_ckpt_check_file(c->path, file));
    SY_TRY(read_config(c, path, &root));
    sy_status status = sy_hf_config_apply(path, root, config);
    json_decref(root);
    SY_TRY(status);
    if (!recipe || !c->manifest.info.has_manifest)
        return SY_OK;
    SY_TRY(sy_ckpt_join(path, c->path, SY_CKPT_MANIFEST));
    return sy_ckpt_recipe_apply(path, c->manifest.info.recipe, config);
}

int64_t sy_ckpt_positions(const struct sy_ckpt *c) {
    char path[SY_CKPT_PATH_BYTES];
    json_t *root = NULL;
    int64_t n = read_config(c, path, &root) == SY_OK
                    ? json_integer_value(json_object_get(root, "max_position_embeddings"))
                    : 0;
    json_decref(root);
    return n > 0 ? n : 0;
}

/* ---- which files ---- */

static sy_status collect_files(const char *path, const json_t *map, json_t *set, struct sy_ckpt_files *out) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)map, key, value) {
        const char *file = json_string_value(value);
        if (!file || !*file || strchr(file, '/') || *file == '.' || strlen(file) >= SY_CKPT_NAME_BYTES)
            SY_FAIL(SY_ERR_DATA, "%s: tensor \"%.100s\" is in no proper file", path, key);
        if (json_object_get(set, file))
            continue;
        if (out->n >= SY_CKPT_MAX_FILES)
            SY_FAIL(SY_ERR_DATA, "%s: more than %d files", path, (int)SY_CKPT_MAX_FILES);
        if (json_object_set_new(set, file, json_true()) != 0)
            SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", path);
        SY_TRY(sy_ckpt_files_add(out, file, -1, "", 0));
    }
    return SY_OK;
}

sy_status sy_ckpt_index_files(const char *path, const json_t *root, struct sy_ckpt_files *out) {
    json_t *map = NULL, *set = NULL;
    SY_TRY(sy_json_get_object(path, root, "weight_map", &map));
    set = json_object();
    sy_status status =
        set ? collect_files(path, map, set, out) : sy_fail(SY_ERR_MEMORY, "%s: out of memory", path);
    json_decref(set);
    sy_ckpt_files_sort(out);
    return status;
}

static sy_status list_hugging_face(const struct sy_ckpt *c, struct sy_ckpt_files *out) {
    char path[SY_CKPT_PATH_BYTES], *text = NULL;
    size_t bytes = 0;
    struct stat st;
    json_t *root = NULL;
    SY_TRY(sy_ckpt_join(path, c->path, SY_CKPT_INDEX));
    if (lstat(path, &st) != 0)
        return sy_ckpt_files_add(out, "model.safetensors", -1, "", 0);
    SY_TRY(sy_ckpt_read_file(path, SY_CKPT_MAX_JSON, &text, &bytes));
    sy_status status = sy_json_parse(path, text, bytes, 0, &root);
    free(text);
    if (status == SY_OK)
        status = sy_ckpt_index_files(path, root, out);
    json_decref(root);
    return status;
}

sy_status sy_ckpt_shard_list(const struct sy_ckpt *c, enum sy_ckpt_kind kind, struct sy_ckpt_files *out) {
    struct sy_ckpt_files list = {0};
    sy_status status = SY_OK;
    if (c->manifest.info.has_manifest) {
        for (int i = 0; i < c->manifest.files.n && status == SY_OK; i++) {
            const struct sy_ckpt_file *f = &c->manifest.files.item[i];
            if (sy_ckpt_kind_of(f->name) == kind)
                status = sy_ckpt_files_add(&list, f->name, f->bytes, f->hash, f->of_header);
        }
    } else if (kind == SY_CKPT_WEIGHTS) {
        status = list_hugging_face(c, &list);
    }
    if (status != SY_OK) {
        free(list.item);
        return status;
    }
    *out = list;
    return SY_OK;
}

/* ---- tensors ---- */

static sy_status put_zeros(struct sy_ckpt_reading *r, int tensor) {
    const struct sy_tensor *t = &r->params->tensor[tensor];
    struct sy_digest words = {{0, 0}}; /* not looked at */
    struct sy_ckpt_part part = sy_ckpt_part(r->store, r->params, r->kind, tensor);
    memset(r->wide, 0, 4 * (size_t)r->piece);
    for (int64_t at = part.first, end = part.first + part.n; at < end; at += r->piece) {
        struct sy_ckpt_range range = {r->kind, tensor, at, end - at < r->piece ? end - at : r->piece};
        if (part.answers)
            sy_ckpt_digest_add(t->id, at, r->wide, range.n, &words, r->folded);
        SY_TRY(r->store->put(r->store->self, &range, r->wide));
    }
    return SY_OK;
}

/* Every tensor must have been there; a Hugging Face folder may lack the expert bias. */
static sy_status check_seen(const struct sy_ckpt *c, struct sy_ckpt_reading *r, const struct sy_log *log) {
    const struct sy_params *p = r->params;
    for (int k = 0; p && k < p->n_tensors; k++) {
        int i = p->by_name[k];
        if (r->seen[i] || !sy_ckpt_has(p, r->kind, i))
            continue;
        if (p->param[p->tensor[i].param].kind != SY_PARAM_BUFFER || r->exact)
            SY_FAIL(SY_ERR_DATA, "%s: tensor \"%s\" is in none of the files %s-*.safetensors", c->path,
                    p->tensor[i].name, sy_ckpt_kind_prefix(r->kind));
        SY_TRY(put_zeros(r, i));
        sy_log_info(log, "%s: no tensor \"%s\": it starts as zeros", c->path, p->tensor[i].name);
    }
    if (r->sums && r->n_checked < r->sums->n)
        SY_FAIL(SY_ERR_DATA, "%s: tensor \"%s\" is in none of the files %s-*.safetensors, but has a digest",
                c->path, r->sums->item[r->n_checked].name, sy_ckpt_kind_prefix(r->kind));
    if (r->n_unknown)
        sy_log_warn(log, "%s: %" PRId64 " tensors are not the model's and were not read, the first is \"%s\"",
                    c->path, r->n_unknown, r->first_unknown);
    return SY_OK;
}

/* Another's folder may have matrices of 8 bits: its config.json says so. */
static sy_status open_fp8(const struct sy_ckpt *c, const struct sy_ckpt_files *files,
                          struct sy_ckpt_reading *r) {
    char path[SY_CKPT_PATH_BYTES];
    int64_t block[2];
    json_t *root = NULL;
    if (r->exact || !r->params)
        return SY_OK;
    SY_TRY(read_config(c, path, &root));
    int is_fp8 = sy_hf_fp8_block(root, block);
    json_decref(root);
    return is_fp8 ? sy_hf_fp8_open(c->path, files, block, &r->fp8) : SY_OK;
}

/* All files of one kind, by all ranks; `digest` may be NULL. */
static sy_status read_kind(const struct sy_ckpt *c, struct sy_ckpt_reading *r, struct sy_digest *digest,
                           const struct sy_log *log) {
    struct sy_ckpt_files list = {0};
    const struct sy_ckpt_info *info = &c->manifest.info;
    r->sums = info->version > 1 ? &c->manifest.sums[r->kind] : NULL;
    r->exact = info->has_manifest;
    sy_status status = sy_ckpt_shard_list(c, r->kind, &list);
    if (status == SY_OK)
        status = open_fp8(c, &list, r);
    if (status == SY_OK)
        status = sy_ckpt_reading_begin(r);
    for (int i = 0; i < list.n && status == SY_OK; i++)
        status = sy_ckpt_shard_read(r, c->path, &list.item[i]);
    if (status == SY_OK)
        status = check_seen(c, r, log);
    if (status == SY_OK && !r->exact && r->params && r->params->n_sites > 0 && r->comm->rank == 0)
        status = sy_hf_tied_check(c->path, &list, r->params);
    status = sy_ckpt_reading_compare(r, status, c->path, &list);
    if (status == SY_OK && digest)
        *digest = *r->folded;
    sy_ckpt_reading_end(r);
    sy_hf_fp8_close(r->fp8);
    free(list.item);
    return status;
}

static sy_status check_digest(const struct sy_ckpt *c, const struct sy_digest *digest,
                              char hex[SY_DIGEST_CHARS]) {
    const struct sy_ckpt_info *info = &c->manifest.info;
    sy_digest_hex(digest, hex);
    if (info->has_manifest && strcmp(hex, info->weights_digest) != 0)
        SY_FAIL(SY_ERR_DATA, "%s: the weights' digest is %s, was written with %s", c->path, hex,
                info->weights_digest);
    return SY_OK;
}

/* What is neither tensors nor the manifest; in version 1 every file. Dealt over the ranks. */
static sy_status check_files(const struct sy_ckpt *c, const struct sy_comm *comm) {
    for (int i = 0; i < c->manifest.files.n; i++)
        if (!c->manifest.files.item[i].of_header && i % comm->size == comm->rank)
            SY_TRY(sy_ckpt_check_file(c->path, &c->manifest.files.item[i]));
    return SY_OK;
}

sy_status sy_ckpt_verify(const struct sy_ckpt *c, const struct sy_comm *ranks) {
    struct sy_comm self;
    const struct sy_comm *comm = sy_ckpt_ranks(ranks, &self);
    struct sy_digest digest = {{0, 0}};
    char hex[SY_DIGEST_CHARS];
    SY_TRY(comm->ops->agree(comm, check_files(c, comm)));
    if (c->manifest.info.version < 2)
        return SY_OK;
    for (int kind = 0; kind < SY_CKPT_KINDS; kind++) {
        struct sy_ckpt_reading r = {.kind = (enum sy_ckpt_kind)kind, .comm = comm};
        SY_TRY(read_kind(c, &r, kind == SY_CKPT_WEIGHTS ? &digest : NULL, NULL));
    }
    return check_digest(c, &digest, hex);
}

sy_status sy_ckpt_load(const struct sy_ckpt *c, const struct sy_ckpt_target *target, const struct sy_log *log,
                       char digest_out[SY_DIGEST_CHARS]) {
    struct sy_comm self;
    const struct sy_comm *comm = sy_ckpt_ranks(target->store->comm, &self);
    struct sy_digest digest = {{0, 0}};
    char hex[SY_DIGEST_CHARS];
    if (target->moments && !c->manifest.info.has_manifest)
        SY_FAIL(SY_ERR_USAGE, "%s: has no %s: its weights can be read, but a run cannot be resumed from it",
                c->path, SY_CKPT_MANIFEST);
    for (int kind = 0; kind < (target->moments ? SY_CKPT_KINDS : 1); kind++) {
        struct sy_ckpt_reading r = {
            .kind = (enum sy_ckpt_kind)kind, .comm = comm, .params = target->params, .store = target->store};
        SY_TRY(read_kind(c, &r, kind == SY_CKPT_WEIGHTS ? &digest : NULL, log));
        if (kind == SY_CKPT_WEIGHTS)
            SY_TRY(check_digest(c, &digest, hex));
    }
    if (digest_out)
        memcpy(digest_out, hex, sizeof hex);
    return SY_OK;
}
