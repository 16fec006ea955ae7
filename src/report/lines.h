/* The lines of a file that grows: whole ones alone, from where the last call stopped. */
#ifndef SY_REPORT_LINES_H
#define SY_REPORT_LINES_H

#include "formats/line_buffer.h"

struct sy_lines {
    char path[4200];
    int64_t offset; /* of the file: what is before it was handed out */
    int64_t number; /* of the line handed out last */
    struct sy_line_buffer buffer;
    int fd; /* < 0: closed */
};

/* Local. Errors: ERR_USAGE a path that is too long. */
sy_status sy_lines_init(const char *path, struct sy_lines *out);
void sy_lines_fini(struct sy_lines *lines);

/* Local. Opens the file, goes on where the last call stopped, and closes it again. Errors: ERR_IO. */
sy_status sy_lines_open(struct sy_lines *lines);
void sy_lines_close(struct sy_lines *lines);

/* Local. The next line, without its newline and not terminated, valid until the next call; *text NULL: there
 * is no more whole one. Errors: ERR_IO, ERR_MEMORY; ERR_DATA more than 64 MiB. */
sy_status sy_lines_next(struct sy_lines *lines, const char **text, size_t *bytes);

/* Local. Bytes behind the last whole line, after *text was NULL. */
size_t sy_lines_torn(const struct sy_lines *lines);

#endif
