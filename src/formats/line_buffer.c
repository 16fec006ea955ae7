/* See line_buffer.h. */
#include "formats/line_buffer.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_LINE = 64 << 20 };

sy_status sy_line_buffer_room(struct sy_line_buffer *b, const char *path, int64_t number) {
    if (b->begin)
        memmove(b->text, b->text + b->begin, b->end - b->begin);
    b->end -= b->begin;
    b->begin = 0;
    if (b->end + SY_LINE_PIECE <= b->capacity)
        return SY_OK;
    size_t capacity = 2 * b->capacity + SY_LINE_PIECE;
    char *larger = b->end > MAX_LINE ? NULL : realloc(b->text, capacity);
    if (!larger)
        SY_FAIL(b->end > MAX_LINE ? SY_ERR_DATA : SY_ERR_MEMORY, "%s:%lld: a line of more than %zu bytes",
                path, (long long)number, b->end);
    b->text = larger;
    b->capacity = capacity;
    return SY_OK;
}

char *sy_line_buffer_newline(const struct sy_line_buffer *b, size_t seen) {
    size_t from = b->begin + seen;
    return b->end > from ? memchr(b->text + from, '\n', b->end - from) : NULL;
}

void sy_line_buffer_fini(struct sy_line_buffer *b) {
    free(b->text);
    *b = (struct sy_line_buffer){0};
}
