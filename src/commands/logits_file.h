/* A file of logits, of ours or of another engine: sequences of ids and what a model says after each token.
 *
 *     safetensors: "ids<s>" I64 or I32 [T] and "logits<s>" F32, BF16 or F16 [T, V], for each sequence its own
 *     <s>, which may be empty; ours: ".000000" and on, I64 and F32, metadata format = "switchyard logits 1",
 *     class, weights_digest
 */
#ifndef SY_COMMANDS_LOGITS_FILE_H
#define SY_COMMANDS_LOGITS_FILE_H

#include "formats/safetensors.h"

/* Sequences one behind the other. */
struct sy_id_lists {
    int32_t *id;    /* owned, as start */
    int64_t *start; /* [n + 1] */
    int64_t n;
};
void sy_id_lists_fini(struct sy_id_lists *sequences);

/* Local. Adds one. Errors: ERR_MEMORY. */
sy_status sy_id_lists_add(struct sy_id_lists *sequences, const int32_t *id, int64_t n);

struct sy_logits_file;

/* Local. Opens a file and reads its ids; every one is below `vocab`, and every sequence has logits of that
 * width. Errors: ERR_DATA names file and tensor, ERR_IO, ERR_MEMORY. Close with sy_logits_file_close. */
sy_status sy_logits_file_open(const char *path, int64_t vocab, struct sy_logits_file **out);
void sy_logits_file_close(struct sy_logits_file *file);
const struct sy_id_lists *sy_logits_file_sequences(const struct sy_logits_file *file);

/* Local. Logits [n, vocab] after tokens first … first+n-1 of a sequence. Errors: ERR_IO, ERR_DATA. */
sy_status sy_logits_file_read(const struct sy_logits_file *file, int64_t sequence, int64_t first, int64_t n,
                              float *out);

/* Local. Begins a file that must not exist: header and ids. The logits follow by
 * sy_safetensors_writer_write, in the order of the sequences. Errors: ERR_IO, ERR_MEMORY. */
struct sy_logits_header {
    const char *numeric_class, *digest;
    int64_t vocab;
};
sy_status sy_logits_file_begin(const char *path, const struct sy_logits_header *header,
                               const struct sy_id_lists *sequences, struct sy_safetensors_writer **out);

#endif
