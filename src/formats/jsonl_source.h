/* A stream of bytes from a file or a buffer: plain, gzip (zlib) or Zstandard, by the first bytes.
 * Several gzip members or zstd frames in a row are one stream. What is stored is counted and hashed on
 * the way, so the file is read once and what was hashed is what was used.
 */
#ifndef SY_FORMATS_JSONL_SOURCE_H
#define SY_FORMATS_JSONL_SOURCE_H

#include "base/status.h"

struct sy_source;

enum { SY_SOURCE_HEAD_BYTES = 1 << 16 };

/* Local. Errors: ERR_IO cannot be opened or is not a regular file; ERR_DATA its name ends in .gz or .zst
 * (in any case) and its first bytes are not of that kind; ERR_MEMORY. A buffer must outlive *out. */
sy_status sy_source_open(const char *path, struct sy_source **out);
sy_status sy_source_open_memory(const char *name, const void *data, size_t bytes, struct sy_source **out);
void sy_source_close(struct sy_source *source); /* NULL is fine */

/* Local. Up to `capacity` bytes to dst; *bytes is 0 only at the end. Errors: ERR_IO, ERR_DATA damaged or
 * cut off stream. */
sy_status sy_source_read(struct sy_source *source, void *dst, size_t capacity, size_t *bytes);

/* Local. The first bytes, unpacked: SY_SOURCE_HEAD_BYTES of them, or all. Reading still begins with
 * them. Before the first read. Errors: as those of reading. */
sy_status sy_source_peek(struct sy_source *source, const char **head, size_t *bytes);

const char *sy_source_name(const struct sy_source *source);

/* Local. Bytes as stored that were consumed so far, and their XXH3-128 as 32 hex digits: the file's,
 * after the end. */
int64_t sy_source_stored_bytes(const struct sy_source *source);
void sy_source_stored_hash(const struct sy_source *source, char out[33]);

#endif
