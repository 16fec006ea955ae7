/* JSON Lines: one object a line, of which one string, the text, is wanted. Plain, gzip and zstd.
 *
 * Streaming: memory is bounded by the longest line allowed. A line that is no object, is longer than
 * that, has no such key or another type there is *broken*: counted, named (`file:line: why`) as a
 * warning, and fatal only when there are more than max_bad_lines, or when the first five lines of a file
 * (or all, if it has fewer) are broken: then it is another kind of file or the wrong key, and the error
 * says which. Blank lines are skipped. A mark (BOM) at the beginning of a line or of a text is dropped.
 * A compressed stream that is damaged or cut off is always fatal.
 */
#ifndef SY_FORMATS_JSONL_H
#define SY_FORMATS_JSONL_H

#include "base/log.h"
#include "base/status.h"

struct sy_jsonl_options {
    const char *text_key;  /* NULL: "text" */
    size_t max_line_bytes; /* 0: 64 MiB */
    int64_t max_bad_lines; /* broken lines that are still tolerated, over all files that share n_bad_lines */
    int64_t *n_bad_lines;  /* counter shared between files, may be NULL */
    const struct sy_log *log; /* where broken lines are named, may be NULL */
    int replace; /* 1: U+FFFD in the place of bytes that are not UTF-8 and of half surrogate pairs; 0:
                    the line is broken */
};

struct sy_jsonl;
struct sy_source; /* formats/jsonl_source.h */

/* Local. Reads from a source, which stays the caller's and must outlive *out, as pointers inside options
 * must. Errors: ERR_MEMORY. */
sy_status sy_jsonl_open(struct sy_source *source, const struct sy_jsonl_options *options,
                        struct sy_jsonl **out);
void sy_jsonl_close(struct sy_jsonl *jsonl);

/* Local. The next text, valid until the next call; it may hold any bytes of UTF-8, NUL too. *text is
 * NULL at the end. Errors: ERR_DATA (too many broken lines; damaged stream), ERR_IO. */
sy_status sy_jsonl_next(struct sy_jsonl *jsonl, const char **text, size_t *bytes);

/* Local. *yes: the first line of what begins with head[0 … n-1] (`whole`: and is no longer) is an object
 * with a string under text_key, or one too long to see its end. Errors: ERR_MEMORY. */
sy_status sy_jsonl_recognize(const char *head, size_t n, int whole, const char *text_key, int *yes);

/* Local. Number of the line that was returned last, from 1. */
int64_t sy_jsonl_line(const struct sy_jsonl *jsonl);

#endif
