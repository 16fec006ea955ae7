/* The line that most files consist of: an object with the text alone, {"text": "…"}, whose string has no
 * escape but of one letter. It is read without building its value, many times faster; any other line is
 * jansson's.
 */
#ifndef SY_FORMATS_JSONL_PLAIN_H
#define SY_FORMATS_JSONL_PLAIN_H

#include <stddef.h>

/* Local. 1: it is such a line, and the text stands in it now, unescaped, with a NUL behind it. 0: it is
 * not, and is unchanged. */
int sy_jsonl_plain(char *line, size_t n, const char *key, const char **text, size_t *bytes);

#endif
