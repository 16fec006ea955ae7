/* Saving a checkpoint: see checkpoint.h.
 *
 *     rank 0         .tmp-step-…: config.json, tokenizer files, index; model-…, optimizer/… laid out
 *     every rank     its parts of model-… and optimizer/…, fsync
 *     all together   digests and bytes added up
 *     rank 0         switchyard.json, fsync of the folders -> rename to step-… -> fsync of checkpoints/
 *                    -> old ones to .tmp-old-…, removed
 *
 * All agree after each of the four, so that a rank that fails ends the save for all.
 */
#include "ckpt/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ckpt/hf_config.h"

static const int64_t two_gib = INT64_C(1) << 31;

/* What the ranks add up, as integers: bytes; the weights' digest; a digest of each tensor of each kind. */
enum { TOTAL_BYTES, TOTAL_FOLDED, TOTAL_WORDS = TOTAL_FOLDED + 2 };

struct saving {
    const struct sy_ckpt_state *state;
    const struct sy_comm *comm;
    char folder[SY_CKPT_PATH_BYTES]; /* of the new checkpoint, while it is made */
    struct sy_ckpt_shards shards[SY_CKPT_KINDS];
    uint64_t *total;
    int64_t n_total;
    struct sy_ckpt_written written;
};

static sy_status write_config(struct saving *s) {
    json_t *config = NULL;
    SY_TRY(sy_hf_config_make(s->state->config, s->state->tokenizer, &config));
    sy_status status = sy_ckpt_write_json(s->folder, "config.json", config, &s->written.files);
    json_decref(config);
    return status;
}

static sy_status write_tokenizer(struct saving *s) {
    const struct sy_tokenizer *t = s->state->tokenizer;
    struct sy_tokenizer *of_bytes = NULL;
    size_t bytes = 0;
    if (!t)
        SY_TRY(sy_tokenizer_create(&(struct sy_tokenizer_options){.path = "byte"}, &of_bytes));
    t = t ? t : of_bytes;
    const char *text = sy_tokenizer_json(t, &bytes);
    sy_status status = sy_ckpt_write_file(s->folder, "tokenizer.json", text, bytes, &s->written.files);
    text = sy_tokenizer_config(t, &bytes);
    if (status == SY_OK)
        status = sy_ckpt_write_file(s->folder, "tokenizer_config.json", text, bytes, &s->written.files);
    sy_tokenizer_destroy(of_bytes);
    return status;
}

/* ---- the tensors' files ---- */

static sy_status plan(struct saving *s, int64_t max_file_bytes) {
    s->n_total = TOTAL_WORDS;
    for (int kind = 0; kind < SY_CKPT_KINDS; kind++) {
        s->shards[kind] = (struct sy_ckpt_shards){.folder = s->folder,
                                                  .kind = (enum sy_ckpt_kind)kind,
                                                  .params = s->state->params,
                                                  .store = s->state->store,
                                                  .dtype = SY_SAFETENSORS_F32};
        SY_TRY(sy_ckpt_shards_plan(&s->shards[kind], max_file_bytes));
        s->n_total += 2 * s->shards[kind].n_tensors;
    }
    s->total = calloc((size_t)s->n_total, sizeof *s->total);
    if (!s->total)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for the digests of all tensors");
    struct sy_digest *words = (struct sy_digest *)(s->total + TOTAL_WORDS);
    for (int kind = 0; kind < SY_CKPT_KINDS; words += s->shards[kind++].n_tensors)
        s->shards[kind].words = words;
    s->shards[SY_CKPT_WEIGHTS].folded = (struct sy_digest *)(s->total + TOTAL_FOLDED);
    return SY_OK;
}

static sy_status lay_weights(struct saving *s) {
    json_t *map = json_object(), *index = NULL;
    if (!map)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for %s", SY_CKPT_INDEX);
    const struct sy_ckpt_shards *shards = &s->shards[SY_CKPT_WEIGHTS];
    sy_status status = sy_ckpt_shards_lay(shards, &s->written.files, map);
    if (status == SY_OK) {
        index = json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)shards->bytes, "weight_map",
                          map);
        status = index ? sy_ckpt_write_json(s->folder, SY_CKPT_INDEX, index, &s->written.files)
                       : sy_fail(SY_ERR_MEMORY, "out of memory for %s", SY_CKPT_INDEX);
    }
    json_decref(index);
    json_decref(map);
    return status;
}

static sy_status lay_moments(struct saving *s) {
    char folder[SY_CKPT_PATH_BYTES];
    SY_TRY(sy_ckpt_join(folder, s->folder, "optimizer"));
    SY_TRY(sy_folder_make(folder));
    for (int kind = SY_CKPT_ADAM_M; kind < SY_CKPT_KINDS; kind++)
        SY_TRY(sy_ckpt_shards_lay(&s->shards[kind], &s->written.files, NULL));
    return sy_folder_sync(folder);
}

static sy_status write_parts(struct saving *s) {
    for (int kind = 0; kind < SY_CKPT_KINDS; kind++) {
        SY_TRY(sy_ckpt_shards_write(&s->shards[kind]));
        s->total[TOTAL_BYTES] += (uint64_t)s->shards[kind].written;
    }
    return SY_OK;
}

/* What was written, by all ranks, is all that there is, and the step's. */
static sy_status check_totals(struct saving *s) {
    int64_t bytes = 0;
    for (int kind = 0; kind < SY_CKPT_KINDS; kind++) {
        const struct sy_ckpt_shards *shards = &s->shards[kind];
        bytes += shards->bytes;
        for (int i = 0; i < shards->n_tensors; i++) {
            char hex[SY_DIGEST_CHARS];
            sy_digest_hex(&shards->words[i], hex);
            SY_TRY(sy_ckpt_sums_add(&s->written.sums[kind], s->state->params->tensor[shards->tensor[i]].name,
                                    hex));
        }
    }
    if (s->total[TOTAL_BYTES] != (uint64_t)bytes)
        SY_FAIL(SY_ERR_RUNTIME, "%s: %d ranks wrote %" PRIu64 " bytes of tensors, they have %" PRId64,
                s->folder, s->comm->size, s->total[TOTAL_BYTES], bytes);
    sy_digest_hex(s->shards[SY_CKPT_WEIGHTS].folded, s->written.digest);
    const char *known = s->state->weights_digest;
    if (known && strcmp(known, s->written.digest) != 0)
        SY_FAIL(SY_ERR_RUNTIME, "%s: the weights' digest is %s, the step's was %s: memory changed in between",
                s->folder, s->written.digest, known);
    return SY_OK;
}

/* ---- the manifest ---- */

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

/* ---- in the order in which it is done ---- */

struct names {
    char folder[SY_CKPT_PATH_BYTES], path[SY_CKPT_PATH_BYTES], name[32], tmp[48];
};

static sy_status begin(struct saving *s, const struct names *n, const struct sy_log *log) {
    int rc;
    SY_TRY(sy_folder_make(n->folder));
    sy_ckpt_leftovers_remove(n->folder, log);
    SY_AGAIN(rc, mkdir(s->folder, 0777));
    if (rc != 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot make the folder: %s", s->folder, strerror(errno));
    SY_TRY(write_config(s));
    SY_TRY(write_tokenizer(s));
    SY_TRY(lay_weights(s));
    return lay_moments(s);
}

static sy_status end(struct saving *s, const struct names *n) {
    SY_TRY(check_totals(s));
    SY_TRY(write_manifest(s));
    SY_TRY(sy_folder_sync(s->folder));
    return sy_ckpt_put_in_place(n->folder, n->tmp, n->name);
}

static sy_status write_all(struct saving *s, sy_status status, const struct names *n,
                           const struct sy_log *log) {
    const struct sy_comm *c = s->comm;
    if (status == SY_OK && c->rank == 0)
        status = begin(s, n, log);
    SY_TRY(c->ops->agree(c, status));
    status = write_parts(s);
    SY_TRY(c->ops->sum_i64(c, status, (int64_t *)s->total, s->n_total));
    if (c->rank == 0)
        status = end(s, n);
    return c->ops->agree(c, status);
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

static sy_status name_all(const char *run_dir, int64_t step, struct saving *s, struct names *n) {
    sy_ckpt_step_name(step, n->name);
    snprintf(n->tmp, sizeof n->tmp, ".tmp-%s", n->name);
    SY_TRY(sy_ckpt_join(n->folder, run_dir, "checkpoints"));
    SY_TRY(sy_ckpt_join(n->path, n->folder, n->name));
    return sy_ckpt_join(s->folder, n->folder, n->tmp);
}

/* What failed, or what was replaced. */
static void clear_up(const struct saving *s, const struct sy_log *log) {
    int error = sy_ckpt_remove(s->folder);
    if (error)
        sy_log_warn(log, "%s: cannot be removed: %s", s->folder, strerror(error));
}

sy_status sy_ckpt_save(const char *run_dir, const struct sy_ckpt_state *state,
                       const struct sy_ckpt_save_options *options, char path_out[SY_CKPT_PATH_BYTES]) {
    struct sy_comm self;
    struct saving s = {.state = state, .comm = sy_ckpt_ranks(state->store->comm, &self)};
    struct names n = {0};
    sy_status status = check_state(state);
    if (status == SY_OK)
        status = name_all(run_dir, state->step, &s, &n);
    if (status == SY_OK)
        status = plan(&s, options->max_file_bytes > 0 ? options->max_file_bytes : two_gib);
    status = write_all(&s, status, &n, options->log);
    if (s.comm->rank == 0 && *s.folder)
        clear_up(&s, options->log);
    for (int kind = 0; kind < SY_CKPT_KINDS; kind++)
        sy_ckpt_shards_free(&s.shards[kind]);
    free(s.total);
    free(s.written.files.item);
    sy_ckpt_sums_free(s.written.sums);
    SY_TRY(status);
    if (s.comm->rank == 0)
        sy_ckpt_prune(n.folder, state->step, options->keep_latest_k, options->log);
    if (path_out)
        memcpy(path_out, n.path, sizeof n.path);
    return SY_OK;
}
