/* A text file as UTF-8, piece by piece: a mark (BOM) at its beginning is dropped; what is no UTF-8 text,
 * zero bytes too, is refused with its place or replaced by U+FFFD.
 */
#ifndef SY_FORMATS_PLAIN_TEXT_H
#define SY_FORMATS_PLAIN_TEXT_H

#include "formats/jsonl_source.h"

struct sy_plain_text;

/* Local. Reads from a source that must outlive *out. Errors: ERR_MEMORY. */
sy_status sy_plain_text_open(struct sy_source *source, int replace, struct sy_plain_text **out);
void sy_plain_text_close(struct sy_plain_text *text); /* NULL is fine */

/* Local. The next piece, whole characters, valid until the next call; *n is 0 at the end. Errors:
 * ERR_DATA names file, line, byte and what to do; ERR_IO. */
sy_status sy_plain_text_next(struct sy_plain_text *text, const char **s, size_t *n);

/* Local. How many U+FFFD were put in so far. */
int64_t sy_plain_text_replaced(const struct sy_plain_text *text);

#endif
