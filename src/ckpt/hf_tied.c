/* A Hugging Face folder of tied embeddings may hold the head's tensor beside the embedding's. transformers
 * ties them only if they are equal: a folder where they are not is another model than its config.json
 * says. */
#include "ckpt/internal.h"

#include <stdlib.h>
#include <string.h>

#include "ckpt/hf_tensors.h"

struct found {
    struct sy_safetensors *file;
    const struct sy_safetensors_tensor *tensor; /* NULL: in none */
    char path[SY_CKPT_PATH_BYTES];
};

static sy_status find(const char *folder, const struct sy_ckpt_files *files, const char *name,
                      struct found *out) {
    for (int i = 0; i < files->n && !out->tensor; i++) {
        sy_safetensors_close(out->file);
        out->file = NULL;
        SY_TRY(sy_ckpt_join(out->path, folder, files->item[i].name));
        SY_TRY(sy_safetensors_open(out->path, &out->file));
        for (int64_t k = 0; k < sy_safetensors_count(out->file) && !out->tensor; k++)
            if (strcmp(sy_safetensors_at(out->file, k)->name, name) == 0)
                out->tensor = sy_safetensors_at(out->file, k);
    }
    return SY_OK;
}

enum { PIECE = 1 << 20 };

static sy_status compare(struct found *a, struct found *b, char *piece[2]) {
    int64_t n = a->tensor->bytes;
    int same = n == b->tensor->bytes && a->tensor->dtype == b->tensor->dtype;
    for (int64_t at = 0; at < n && same; at += PIECE) {
        int64_t k = n - at < PIECE ? n - at : PIECE;
        SY_TRY(sy_safetensors_read(a->file, a->tensor, at, k, piece[0]));
        SY_TRY(sy_safetensors_read(b->file, b->tensor, at, k, piece[1]));
        same = memcmp(piece[0], piece[1], (size_t)k) == 0;
    }
    if (!same)
        SY_FAIL(SY_ERR_DATA,
                "%s: tensor \"%s\" is not \"%s\", but config.json has tie_word_embeddings = true: say false "
                "there, or leave the tensor out",
                b->path, b->tensor->name, a->tensor->name);
    return SY_OK;
}

sy_status sy_hf_tied_check(const char *folder, const struct sy_ckpt_files *files, const struct sy_params *p) {
    struct found head = {0}, embedding = {0};
    char *piece[2] = {NULL, NULL};
    const char *name = p->tensor[p->n_tensors].name;
    sy_status status = find(folder, files, name, &head);
    if (status == SY_OK && head.tensor)
        status = find(folder, files, "model.embed_tokens.weight", &embedding);
    if (status == SY_OK && head.tensor && embedding.tensor) {
        piece[0] = malloc(PIECE);
        piece[1] = malloc(PIECE);
        status = piece[0] && piece[1] ? compare(&embedding, &head, piece)
                                      : sy_fail(SY_ERR_MEMORY, "out of memory to compare tensors");
    }
    free(piece[0]);
    free(piece[1]);
    sy_safetensors_close(head.file);
    sy_safetensors_close(embedding.file);
    return status;
}
