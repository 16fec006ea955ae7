/* Folders that last: see folders.h. */
#include "base/folders.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"

sy_status sy_folder_sync(const char *path) {
    int fd, rc;
    SY_AGAIN(fd, open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd < 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot open the folder: %s", path, strerror(errno));
    SY_AGAIN(rc, fsync(fd));
    sy_status status = SY_OK;
    if (rc != 0 && errno != EINVAL) /* EINVAL: a file system that syncs no folders */
        status = sy_fail(SY_ERR_IO, "%s: cannot fsync the folder: %s", path, strerror(errno));
    close(fd);
    return status;
}

/* A new folder is durable only when its parent is synced. */
static sy_status make_one(const char *path) {
    char parent[SY_PATH_BYTES + 4];
    struct stat st;
    int rc;
    SY_AGAIN(rc, mkdir(path, 0777));
    if (rc != 0) { /* one that is there is fine, also where nothing may be made */
        int error = errno, there = stat(path, &st) == 0;
        if (there && S_ISDIR(st.st_mode))
            return SY_OK;
        SY_FAIL(SY_ERR_IO, "%s: cannot make the folder: %s", path,
                there ? "there is something else of this name" : strerror(error));
    }
    snprintf(parent, sizeof parent, "%s/..", path);
    return sy_folder_sync(parent);
}

sy_status sy_folder_make(const char *path) {
    char part[SY_PATH_BYTES];
    size_t n = strlen(path);
    if (n >= sizeof part)
        SY_FAIL(SY_ERR_USAGE, "%.200s…: the path has %zu bytes, at most %d are possible", path, n,
                SY_PATH_BYTES - 1);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i])
            continue;
        memcpy(part, path, i);
        part[i] = 0;
        SY_TRY(make_one(part));
    }
    return SY_OK;
}
