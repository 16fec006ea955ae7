/* Saving a checkpoint: see checkpoint.h.
 *
 *     .tmp-step-…: config.json, tokenizer_config.json, model-…, index, optimizer/…, switchyard.json
 *     fsync of each and of the folders -> rename to step-… -> fsync of checkpoints/
 *     -> old ones to .tmp-old-…, removed
 */
#include "ckpt/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ckpt/hf_config.h"

static const int64_t two_gib = INT64_C(1) << 31;

struct saving {
    const struct sy_ckpt_state *state;
    char folder[SY_CKPT_PATH_BYTES]; /* of the new checkpoint, while it is made */
    int64_t max_file_bytes;
    struct sy_ckpt_written written;
};

static sy_status write_config(struct saving *s) {
    json_t *config = NULL;
    SY_TRY(sy_hf_config_make(s->state->config, &config));
    sy_status status = sy_ckpt_write_json(s->folder, "config.json", config, &s->written.files);
    json_decref(config);
    return status;
}

static sy_status write_tokenizer(struct saving *s) {
    json_t *value = json_pack("{s:s, s:i, s:i, s:i, s:i, s:I}", "tokenizer_class", "switchyard-byte",
                              "byte_ids", 256, "bos_token_id", 256, "eos_token_id", 257, "pad_token_id", 258,
                              "vocab_size", (json_int_t)s->state->config->model.vocab_size);
    if (!value)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for tokenizer_config.json");
    sy_status status = sy_ckpt_write_json(s->folder, "tokenizer_config.json", value, &s->written.files);
    json_decref(value);
    return status;
}

static struct sy_ckpt_shards shards_of(struct saving *s, enum sy_ckpt_kind kind) {
    return (struct sy_ckpt_shards){.folder = s->folder,
                                   .kind = kind,
                                   .params = s->state->params,
                                   .store = s->state->store,
                                   .max_file_bytes = s->max_file_bytes,
                                   .files = &s->written.files,
                                   .sums = &s->written.sums[kind]};
}

static sy_status write_weights(struct saving *s) {
    struct sy_digest digest = {{0, 0}};
    json_t *map = json_object(), *index = NULL;
    if (!map)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for %s", SY_CKPT_INDEX);
    struct sy_ckpt_shards shards = shards_of(s, SY_CKPT_WEIGHTS);
    shards.digest = &digest;
    shards.weight_map = map;
    sy_status status = sy_ckpt_shards_write(&shards);
    if (status == SY_OK) {
        index = json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)shards.total_bytes,
                          "weight_map", map);
        status = index ? sy_ckpt_write_json(s->folder, SY_CKPT_INDEX, index, &s->written.files)
                       : sy_fail(SY_ERR_MEMORY, "out of memory for %s", SY_CKPT_INDEX);
    }
    json_decref(index);
    json_decref(map);
    SY_TRY(status);
    sy_digest_hex(&digest, s->written.digest);
    const char *known = s->state->weights_digest;
    if (known && strcmp(known, s->written.digest) != 0)
        SY_FAIL(SY_ERR_RUNTIME, "%s: the weights' digest is %s, the step's was %s: memory changed in between",
                s->folder, s->written.digest, known);
    return SY_OK;
}

static sy_status write_moments(struct saving *s) {
    char folder[SY_CKPT_PATH_BYTES];
    SY_TRY(sy_ckpt_join(folder, s->folder, "optimizer"));
    SY_TRY(sy_folder_make(folder));
    for (int kind = SY_CKPT_ADAM_M; kind < SY_CKPT_KINDS; kind++) {
        struct sy_ckpt_shards shards = shards_of(s, (enum sy_ckpt_kind)kind);
        SY_TRY(sy_ckpt_shards_write(&shards));
    }
    return sy_folder_sync(folder);
}

/* What will be written must be what a reader accepts: a mistake would cost the run its checkpoint. */
static sy_status read_back(const struct saving *s, const char *text, size_t bytes) {
    struct sy_ckpt_manifest m;
    sy_status status = sy_ckpt_manifest_parse(SY_CKPT_MANIFEST, text, bytes, &m);
    if (status == SY_OK && (m.info.step != s->state->step || m.files.n != s->written.files.n))
        status = sy_fail(SY_ERR_RUNTIME, "it says step %" PRId64 " and %d files", m.info.step, m.files.n);
    for (int kind = 0; kind < SY_CKPT_KINDS && status == SY_OK; kind++)
        if (m.sums[kind].n != s->written.sums[kind].n)
            status = sy_fail(SY_ERR_RUNTIME, "it has %d digests of %s", m.sums[kind].n,
                             sy_ckpt_kind_word((enum sy_ckpt_kind)kind));
    sy_ckpt_manifest_free(&m);
    return status == SY_OK
               ? SY_OK
               : sy_fail_context(SY_ERR_RUNTIME, "%s: the new manifest does not read back", s->folder);
}

static sy_status write_manifest(struct saving *s) {
    char *text = NULL;
    size_t bytes = 0;
    sy_ckpt_files_sort(&s->written.files);
    SY_TRY(sy_ckpt_manifest_print(s->state, &s->written, &text, &bytes));
    sy_status status = read_back(s, text, bytes);
    if (status == SY_OK)
        status = sy_ckpt_write_file(s->folder, SY_CKPT_MANIFEST, text, bytes, NULL);
    free(text);
    return status;
}

static sy_status write_all(struct saving *s) {
    int rc;
    SY_CKPT_AGAIN(rc, mkdir(s->folder, 0777));
    if (rc != 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot make the folder: %s", s->folder, strerror(errno));
    SY_TRY(write_config(s));
    SY_TRY(write_tokenizer(s));
    SY_TRY(write_weights(s));
    SY_TRY(write_moments(s));
    SY_TRY(write_manifest(s));
    return sy_folder_sync(s->folder);
}

static sy_status check_state(const struct sy_ckpt_state *state) {
    if (state->step < 0 || state->step > SY_CKPT_MAX_STEP || state->next_sequence < 0 ||
        state->n_former_recipes < 0 || state->n_former_recipes > SY_CKPT_MAX_FORMER)
        SY_FAIL(SY_ERR_USAGE,
                "a checkpoint of step %" PRId64 ", next sequence %" PRId64
                ", with %d former recipes is not possible",
                state->step, state->next_sequence, state->n_former_recipes);
    return SY_OK;
}

sy_status sy_ckpt_save(const char *run_dir, const struct sy_ckpt_state *state,
                       const struct sy_ckpt_save_options *options, char path_out[SY_CKPT_PATH_BYTES]) {
    struct saving s = {.state = state};
    char folder[SY_CKPT_PATH_BYTES], path[SY_CKPT_PATH_BYTES], name[32], tmp[48];
    s.max_file_bytes = options->max_file_bytes > 0 ? options->max_file_bytes : two_gib;
    SY_TRY(check_state(state));
    sy_ckpt_step_name(state->step, name);
    snprintf(tmp, sizeof tmp, ".tmp-%s", name);
    SY_TRY(sy_ckpt_join(folder, run_dir, "checkpoints"));
    SY_TRY(sy_ckpt_join(path, folder, name));
    SY_TRY(sy_ckpt_join(s.folder, folder, tmp));
    SY_TRY(sy_folder_make(folder));
    sy_ckpt_leftovers_remove(folder, options->log);
    sy_status status = write_all(&s);
    if (status == SY_OK)
        status = sy_ckpt_put_in_place(folder, tmp, name);
    int error = sy_ckpt_remove(s.folder); /* what failed, or what was replaced */
    if (error)
        sy_log_warn(options->log, "%s: cannot be removed: %s", s.folder, strerror(error));
    free(s.written.files.item);
    sy_ckpt_sums_free(s.written.sums);
    SY_TRY(status);
    sy_ckpt_prune(folder, state->step, options->keep_latest_k, options->log);
    if (path_out)
        memcpy(path_out, path, sizeof path);
    return SY_OK;
}
