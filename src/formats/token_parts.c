/* What reading and writing of token files share: see token_parts.h. */
#include "formats/token_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "formats/xxh128.h"

int sy_token_digest(int (*pair)(const void *arg, int64_t i, const char **key, const char **value),
                    const void *arg, const struct sy_token_part parts[3], char out[33]) {
    const char *key, *value;
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return 0;
    XXH3_128bits_reset(state);
    for (int64_t i = 0; pair(arg, i, &key, &value); i++) {
        if (strcmp(key, "digest") == 0)
            continue;
        XXH3_128bits_update(state, key, strlen(key) + 1);
        XXH3_128bits_update(state, value, strlen(value) + 1);
    }
    for (int i = 0; i < 3; i++)
        if (parts[i].bytes)
            XXH3_128bits_update(state, parts[i].data, parts[i].bytes);
    sy_xxh128_hex(XXH3_128bits_digest(state), out);
    XXH3_freeState(state);
    return 1;
}

sy_status sy_token_open_fd(const char *path, int *fd, int64_t *bytes) {
    struct stat st;
    SY_AGAIN(*fd, open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)); /* a FIFO must not hang us */
    if (*fd < 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    int failed = fstat(*fd, &st) != 0;
    if (!failed && S_ISREG(st.st_mode)) {
        *bytes = st.st_size;
        return SY_OK;
    }
    sy_status status = failed ? sy_fail(SY_ERR_IO, "%s: cannot stat: %s", path, strerror(errno))
                              : sy_fail(SY_ERR_IO, "%s: not a regular file", path);
    close(*fd);
    *fd = -1;
    return status;
}

sy_status sy_token_add_document(struct sy_token_file *file, int64_t *capacity,
                                const struct sy_token_document *document) {
    if (file->n_documents == *capacity) {
        int64_t more = *capacity ? 2 * *capacity : 256;
        struct sy_token_document *larger = realloc(file->document, (size_t)more * sizeof *larger);
        if (!larger)
            SY_FAIL(SY_ERR_MEMORY, "%s: out of memory for a table of %" PRId64 " documents",
                    file->stored[0].path, more);
        file->document = larger;
        *capacity = more;
    }
    file->document[file->n_documents++] = *document;
    return SY_OK;
}
