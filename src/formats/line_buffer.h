/* What is read of a file and not yet handed out as lines: grows to the longest line. */
#ifndef SY_FORMATS_LINE_BUFFER_H
#define SY_FORMATS_LINE_BUFFER_H

#include <stddef.h>

#include "base/status.h"

enum { SY_LINE_PIECE = 1 << 16 }; /* bytes that there is room for, to be read at text + end */

struct sy_line_buffer {
    char *text;
    size_t begin, end, capacity; /* text[begin .. end - 1] is not yet handed out */
};

/* Local. Room for another piece behind what is not handed out. number: of the line that it belongs to. Errors:
 * ERR_MEMORY; ERR_DATA more than 64 MiB; both name path and line. */
sy_status sy_line_buffer_room(struct sy_line_buffer *b, const char *path, int64_t number);

/* The newline behind text + begin, of which `seen` bytes have none; NULL: there is none. */
char *sy_line_buffer_newline(const struct sy_line_buffer *b, size_t seen);

void sy_line_buffer_fini(struct sy_line_buffer *b);

#endif
