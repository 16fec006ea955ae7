/* Tensors to safetensors files: whole tensors in bytewise order of their names, a new file when the next
 * tensor would make it too large. Which tensor is in which file depends on names, shapes and the bound alone.
 * See internal.h.
 */
#include "ckpt/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of a header's fixed part and of one tensor's entry beside its name, at most. */
enum { HEADER_BYTES = 256, ENTRY_BYTES = 160 };

struct plan {
    int *tensor; /* of params->tensor, by name */
    int n_tensors;
    int *end; /* of each file: index after its last tensor */
    int n_files;
};

static void plan_free(struct plan *plan) {
    free(plan->tensor);
    free(plan->end);
}

static sy_status make_plan(const struct sy_ckpt_shards *s, struct plan *plan) {
    const struct sy_params *p = s->params;
    plan->tensor = malloc(((size_t)p->n_tensors + 1) * sizeof *plan->tensor);
    plan->end = malloc(((size_t)p->n_tensors + 1) * sizeof *plan->end);
    if (!plan->tensor || !plan->end)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for a list of %d tensors", p->n_tensors);
    int64_t bytes = HEADER_BYTES;
    for (int i = 0; i < p->n_tensors; i++) {
        const struct sy_tensor *t = &p->tensor[p->by_name[i]];
        if (!sy_ckpt_has(p, s->kind, p->by_name[i]))
            continue;
        int64_t more = 4 * t->n + (int64_t)strlen(t->name) + ENTRY_BYTES;
        if (bytes > HEADER_BYTES && bytes + more > s->max_file_bytes) {
            plan->end[plan->n_files++] = plan->n_tensors;
            bytes = HEADER_BYTES;
        }
        plan->tensor[plan->n_tensors++] = p->by_name[i];
        bytes += more;
    }
    plan->end[plan->n_files++] = plan->n_tensors;
    return SY_OK;
}

/* One tensor, a piece at a time: each goes to the file and into the digests as it passes. */
static sy_status put_tensor(struct sy_ckpt_shards *s, int index, struct sy_safetensors_writer *w) {
    const struct sy_tensor *t = &s->params->tensor[index];
    struct sy_digest words = {{0, 0}};
    char hex[SY_DIGEST_CHARS];
    for (int64_t at = 0; at < t->n; at += s->piece) {
        int64_t n = t->n - at < s->piece ? t->n - at : s->piece;
        struct sy_ckpt_range range = {s->kind, index, at, n};
        SY_TRY(s->store->get(s->store->self, &range, s->buffer));
        sy_ckpt_digest_add(t->id, at, s->buffer, n, &words, s->digest);
        SY_TRY(sy_safetensors_writer_write(w, s->buffer, 4 * (size_t)n));
    }
    s->total_bytes += 4 * t->n;
    sy_digest_hex(&words, hex);
    return sy_ckpt_sums_add(s->sums, t->name, hex);
}

static sy_status put_tensors(struct sy_ckpt_shards *s, const struct plan *plan, int first, int end,
                             const char *name, struct sy_safetensors_writer *w) {
    SY_TRY(sy_safetensors_writer_metadata(w, "format", "pt")); /* transformers wants to be told */
    for (int i = first; i < end; i++) {
        const struct sy_tensor *t = &s->params->tensor[plan->tensor[i]];
        SY_TRY(sy_safetensors_writer_declare(w, t->name, SY_SAFETENSORS_F32, t->n_dims, t->dims));
        if (s->weight_map && json_object_set_new(s->weight_map, t->name, json_string(name)) != 0)
            SY_FAIL(SY_ERR_MEMORY, "out of memory for the index of tensors");
    }
    for (int i = first; i < end; i++)
        SY_TRY(put_tensor(s, plan->tensor[i], w));
    return SY_OK;
}

static sy_status write_shard(struct sy_ckpt_shards *s, const struct plan *plan, int k) {
    char name[SY_CKPT_NAME_BYTES], path[SY_CKPT_PATH_BYTES];
    snprintf(name, sizeof name, "%s-%05d-of-%05d.safetensors", sy_ckpt_kind_prefix(s->kind), k + 1,
             plan->n_files);
    SY_TRY(sy_ckpt_join(path, s->folder, name));
    struct sy_safetensors_writer *w = NULL;
    struct sy_safetensors_written written;
    SY_TRY(sy_safetensors_writer_open(path, &w));
    sy_status status = put_tensors(s, plan, k ? plan->end[k - 1] : 0, plan->end[k], name, w);
    if (status != SY_OK) {
        sy_safetensors_writer_abandon(w);
        return status;
    }
    SY_TRY(sy_safetensors_writer_finish(w, 1, &written));
    return sy_ckpt_files_add(s->files, name, written.bytes, written.header_hash, 1);
}

sy_status sy_ckpt_piece(const struct sy_ckpt_store *store, int64_t *piece) {
    *piece = store && store->piece ? store->piece : SY_CKPT_PIECE;
    if (*piece < 0 || *piece > SY_CKPT_MAX_PIECE || *piece % SY_CKPT_PIECE_UNIT)
        SY_FAIL(SY_ERR_USAGE, "a store's piece of %" PRId64 " elements: must be a multiple of %d up to %d",
                *piece, (int)SY_CKPT_PIECE_UNIT, (int)SY_CKPT_MAX_PIECE);
    return SY_OK;
}

sy_status sy_ckpt_shards_write(struct sy_ckpt_shards *s) {
    struct plan plan = {0};
    SY_TRY(sy_ckpt_piece(s->store, &s->piece));
    s->buffer = malloc(4 * (size_t)s->piece);
    sy_status status =
        s->buffer ? make_plan(s, &plan) : sy_fail(SY_ERR_MEMORY, "out of memory for a piece of a tensor");
    for (int k = 0; k < plan.n_files && status == SY_OK; k++)
        status = write_shard(s, &plan, k);
    plan_free(&plan);
    free(s->buffer);
    return status;
}
