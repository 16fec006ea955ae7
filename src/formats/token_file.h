/* A file of tokens: documents that are ids already.
 *
 *     ours      safetensors: "start" I64 [documents + 1] where each begins, "tokens" U16 or I32 [tokens];
 *               metadata format = "switchyard tokens 1", tokenizer = its hash, n_ids
 */
#ifndef SY_FORMATS_TOKEN_FILE_H
#define SY_FORMATS_TOKEN_FILE_H

#include "base/status.h"

struct sy_token_file {
    const char *tokenizer; /* hash */
    int32_t n_ids;         /* every id is below */
    int64_t n_documents;
    const int64_t *start; /* [n_documents + 1], ascending from 0 */
    const int32_t *token; /* [start[n_documents]] */
};

/* Local. Writes ours; `path` must not exist. Errors: ERR_IO. */
sy_status sy_token_file_write(const char *path, const struct sy_token_file *file);

#endif
