/* What a file is that is no UTF-8 text, by its first bytes, and how it becomes text. */
#ifndef SY_FORMATS_KINDS_H
#define SY_FORMATS_KINDS_H

#include <stddef.h>

struct sy_kind {
    const char *what;   /* "a Parquet file" */
    const char *remedy; /* what to do about it */
};

/* NULL: unknown, or text. `broken`: some bytes are not UTF-8 text; then names that text may begin with
 * count too ("GIF89a"). UTF-16 and UTF-32 are known by their mark, or by where their zero bytes stand.
 * Static. */
const struct sy_kind *sy_kind_of(const char *head, size_t n, int broken);

#endif
