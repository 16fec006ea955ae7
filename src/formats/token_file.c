/* Writing a file of tokens: see token_file.h. */
#include "formats/token_file.h"

#include <stdio.h>

#include "formats/safetensors.h"

enum { AT_ONCE = 1 << 14 };

/* Ids in two bytes each, a piece at a time. */
static sy_status write_short(struct sy_safetensors_writer *w, const int32_t *token, int64_t n) {
    uint16_t piece[AT_ONCE];
    for (int64_t at = 0; at < n; at += AT_ONCE) {
        int64_t m = n - at < AT_ONCE ? n - at : AT_ONCE;
        for (int64_t i = 0; i < m; i++)
            piece[i] = (uint16_t)token[at + i];
        SY_TRY(sy_safetensors_writer_write(w, piece, (size_t)m * sizeof *piece));
    }
    return SY_OK;
}

static sy_status write_all(struct sy_safetensors_writer *w, const struct sy_token_file *file) {
    char n_ids[16];
    int64_t n = file->start[file->n_documents];
    int is_short = file->n_ids <= 1 << 16;
    snprintf(n_ids, sizeof n_ids, "%d", (int)file->n_ids);
    SY_TRY(sy_safetensors_writer_metadata(w, "format", "switchyard tokens 1"));
    SY_TRY(sy_safetensors_writer_metadata(w, "n_ids", n_ids));
    SY_TRY(sy_safetensors_writer_metadata(w, "tokenizer", file->tokenizer));
    SY_TRY(
        sy_safetensors_writer_declare(w, "start", SY_SAFETENSORS_I64, 1, &(int64_t){file->n_documents + 1}));
    SY_TRY(sy_safetensors_writer_declare(w, "tokens", is_short ? SY_SAFETENSORS_U16 : SY_SAFETENSORS_I32, 1,
                                         &n));
    SY_TRY(
        sy_safetensors_writer_write(w, file->start, (size_t)(file->n_documents + 1) * sizeof *file->start));
    return is_short ? write_short(w, file->token, n)
                    : sy_safetensors_writer_write(w, file->token, (size_t)n * sizeof *file->token);
}

sy_status sy_token_file_write(const char *path, const struct sy_token_file *file) {
    struct sy_safetensors_writer *w = NULL;
    SY_TRY(sy_safetensors_writer_open(path, &w));
    sy_status status = write_all(w, file);
    if (status == SY_OK)
        return sy_safetensors_writer_finish(w, 1, NULL);
    sy_safetensors_writer_abandon(w);
    return status;
}
