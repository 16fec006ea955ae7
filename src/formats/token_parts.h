/* What reading and writing of token files share. */
#ifndef SY_FORMATS_TOKEN_PARTS_H
#define SY_FORMATS_TOKEN_PARTS_H

#include <stddef.h>

#include "formats/token_file.h"

#define SY_TOKEN_FORMAT "switchyard tokens 1"
#define SY_TOKEN_INDEX_FORMAT "switchyard token index 1"

struct sy_token_part { /* of a file, that its digest is made of */
    const void *data;
    size_t bytes;
};

/* Local. XXH3-128 of each pair, key and value with their NULs, but "digest", then of the parts. 0 without
 * memory. `pair(arg, i, &key, &value)` gives pair i, 0 at the end. */
int sy_token_digest(int (*pair)(const void *arg, int64_t i, const char **key, const char **value),
                    const void *arg, const struct sy_token_part parts[3], char out[33]);

/* Local. Opens a regular file; its size. Errors: ERR_IO. */
sy_status sy_token_open_fd(const char *path, int *fd, int64_t *bytes);

/* Local. One more document; ERR_MEMORY. */
sy_status sy_token_add_document(struct sy_token_file *file, int64_t *capacity,
                                const struct sy_token_document *document);

/* Local. For token_file.c: each kind of file, into an empty *file whose path is given. */
sy_status sy_token_open_ours(const char *path, const struct sy_token_options *o, struct sy_token_file *file);
/* Local. Documents, counts, hashes and notes from an index; what the head says is known. */
sy_status sy_token_take_index(const char *path, const struct sy_token_options *o, struct sy_token_file *f);
sy_status sy_token_open_llmc(const char *path, const struct sy_token_options *o, struct sy_token_file *file);
sy_status sy_token_open_megatron(const char *bin, const char *idx, const struct sy_token_options *o,
                                 struct sy_token_file *file);

int sy_token_is_llmc(int32_t magic);

/* Local. Heads alone: where ids are, their type and number, the files' sizes, an open descriptor. */
sy_status sy_token_head_llmc(const char *path, struct sy_token_file *file);
struct sy_megatron_head {
    int64_t n_sequences, n_documents;
};
sy_status sy_token_head_megatron(const char *bin, const char *idx, struct sy_token_file *file,
                                 struct sy_megatron_head *head);

/* Local. All ids of a file, once: hashes it, counts and checks ids, and makes its documents.
 * next_end(arg, &end): where the next document ends, ascending up to file->n; NULL: BOS and EOS part them. */
struct sy_token_scan {
    struct sy_token_file *file;
    const struct sy_token_options *o;
    sy_status (*next_end)(void *arg, int64_t *end);
    void *arg;
};
sy_status sy_token_scan(const struct sy_token_scan *scan);

#endif
