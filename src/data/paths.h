/* Dataset paths to a list of files. A folder is walked to its end; inside it symbolic links are not followed, names that
 * begin with '.' and what is no regular file are passed over. Paths that are named themselves may be links and have any
 * name.
 */
#ifndef SY_DATA_PATHS_H
#define SY_DATA_PATHS_H

#include "data/documents.h"

struct sy_paths {
    char **path; /* bytewise ascending */
    int64_t n, capacity;
};

/* Local. Errors: ERR_USAGE no path, no file found, a file found twice; ERR_IO names what cannot be read; ERR_MEMORY. On
 * success the caller frees with sy_paths_fini. */
sy_status sy_paths_find(const struct sy_data_options *options, struct sy_paths *out);
void sy_paths_fini(struct sy_paths *paths);

#endif
