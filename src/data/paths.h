/* Dataset paths to a list of files, in the order in which they are read.
 *
 * A source is a path of the list: a file, or a folder that is walked to its end. Files stand by source,
 * in the order of the list, then bytewise by their path relative to it: how a source is spelled and
 * where it lies do not show.
 *
 * Symbolic links are what they lead to, under their own names, wherever that lies. Named in the log and
 * passed over: a link that leads to nothing or back to itself, a link to a folder that it lies in, what
 * is neither file nor folder, and (counted) names that begin with '.'. A folder that cannot be read is
 * an error. Sources may have any name.
 */
#ifndef SY_DATA_PATHS_H
#define SY_DATA_PATHS_H

#include <sys/types.h>

#include "base/log.h"
#include "base/status.h"

struct sy_path_request {
    const char *option;       /* whose list it is, for messages: "training.dataset_path" */
    const char *const *roots; /* the sources */
    int n_roots;
    const char *const
        *suffixes; /* in folders, take only files that end so, in any case; none: all but .hidden ones */
    int n_suffixes;
    const struct sy_log *log; /* may be NULL */
};

struct sy_path {
    char *path;      /* to open it */
    size_t relative; /* where in `path` the part below its source begins; the end, for a source that is a
                        file */
    int source;      /* its place in the list */
    dev_t device;    /* device and inode: which file it is, whatever it is called */
    ino_t inode;
};

struct sy_paths {
    struct sy_path *item;
    int64_t n, capacity;
};

/* Local. Errors: ERR_USAGE no path, no file found, a file found in two sources; ERR_IO names what cannot
 * be read; ERR_MEMORY. On success the caller frees with sy_paths_fini. */
sy_status sy_paths_find(const struct sy_path_request *request, struct sy_paths *out);
void sy_paths_fini(struct sy_paths *paths);

#endif
