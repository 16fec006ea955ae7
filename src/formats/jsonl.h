/* JSON Lines: one object a line, of which one string, the text, is wanted. Plain, .gz and .zst.
 *
 * Streaming: memory is bounded by the longest line allowed. A line that is no object, is longer than that, has no such key
 * or another type there is *broken*: counted, named (`file:line: why`) as a warning, and fatal only when there are more than
 * max_bad_lines. Blank lines are skipped. A compressed stream that is damaged or cut off is always fatal.
 */
#ifndef SY_FORMATS_JSONL_H
#define SY_FORMATS_JSONL_H

#include "base/log.h"
#include "base/status.h"

struct sy_jsonl_options {
    const char *text_key;     /* NULL: "text" */
    size_t max_line_bytes;    /* 0: 64 MiB */
    int64_t max_bad_lines;    /* broken lines that are still tolerated, over all files that share n_bad_lines */
    int64_t *n_bad_lines;     /* counter shared between files, may be NULL */
    const struct sy_log *log; /* where broken lines are named, may be NULL */
};

struct sy_jsonl;
struct sy_source; /* formats/jsonl_source.h */

/* Local. Opens a file (compression by suffix .gz or .zst) or a buffer, which must outlive *out (compression by its first
 * bytes). Options are copied, pointers inside them must outlive *out. Errors: ERR_IO, ERR_MEMORY. */
sy_status sy_jsonl_open(const char *path, const struct sy_jsonl_options *options, struct sy_jsonl **out);
sy_status sy_jsonl_open_memory(const char *name, const void *data, size_t bytes, const struct sy_jsonl_options *options,
                               struct sy_jsonl **out);
void sy_jsonl_close(struct sy_jsonl *jsonl);

/* Local. The next text, valid until the next call; it may hold any bytes of UTF-8, NUL too. *text is NULL at the end.
 * Errors: ERR_DATA (too many broken lines; damaged stream), ERR_IO. */
sy_status sy_jsonl_next(struct sy_jsonl *jsonl, const char **text, size_t *bytes);

/* Local. Number of the line that was returned last, from 1. */
int64_t sy_jsonl_line(const struct sy_jsonl *jsonl);

/* Local. The byte source, for its size and hash after the end. */
const struct sy_source *sy_jsonl_source(const struct sy_jsonl *jsonl);

#endif
