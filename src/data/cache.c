/* The cache's folder: see cache.h. */
#include "data/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "formats/xxh128.h"

sy_status sy_cache_identify(const char *path, struct sy_text *identity) {
    struct stat st;
    char numbers[200], *whole = realpath(path, NULL);
    if (!whole || stat(whole, &st) != 0) {
        free(whole);
        SY_FAIL(SY_ERR_IO, "%s: cannot stat: %s", path, strerror(errno));
    }
    snprintf(numbers, sizeof numbers, "\n%" PRId64 " %" PRId64 " %" PRId64 ".%09ld %" PRId64 ".%09ld\n",
             (int64_t)st.st_size, (int64_t)st.st_ino, (int64_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
             (int64_t)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
    sy_text_add(identity, whole, strlen(whole));
    free(whole);
    if (!sy_text_add(identity, numbers, strlen(numbers)))
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", path);
    return SY_OK;
}

sy_status sy_cache_name(const char *dir, const struct sy_text *identity, const char *suffix,
                        struct sy_cache_entry *out) {
    if (identity->failed)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for a name in %s", dir);
    *out = (struct sy_cache_entry){.fd = -1};
    sy_xxh128_hex(XXH3_128bits(identity->s, identity->n), out->key);
    int n = snprintf(out->path, sizeof out->path, "%s/%s%s", dir, out->key, suffix);
    if (n < 0 || (size_t)n >= sizeof out->path)
        SY_FAIL(SY_ERR_USAGE, "data.cache_dir: the path has %zu bytes, too many", strlen(dir));
    snprintf(out->part, sizeof out->part, "%s.part", out->path);
    return SY_OK;
}

ino_t sy_cache_inode(const struct sy_cache_entry *e) {
    struct stat st;
    return stat(e->path, &st) == 0 ? st.st_ino : 0;
}

static sy_status wait_for_lock(const struct sy_cache_entry *e, const struct sy_log *log) {
    int rc = flock(e->fd, LOCK_EX | LOCK_NB);
    if (rc != 0 && errno == EWOULDBLOCK) {
        sy_log_info(log, "data: another process makes %s: waiting for it", e->path);
        SY_AGAIN(rc, flock(e->fd, LOCK_EX));
    }
    if (rc != 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot be locked: %s: choose a data.cache_dir on a disk of this machine",
                e->part, strerror(errno));
    return SY_OK;
}

static sy_status open_part(struct sy_cache_entry *e, const struct sy_log *log) {
    SY_AGAIN(e->fd, open(e->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666));
    if (e->fd < 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot be made: %s", e->part, strerror(errno));
    return wait_for_lock(e, log);
}

static void let_go(struct sy_cache_entry *e) {
    if (e->fd >= 0)
        close(e->fd);
    e->fd = -1;
}

/* The file that is locked still has the name: it was not renamed or removed meanwhile. */
static int is_still_there(const struct sy_cache_entry *e) {
    struct stat mine, named;
    return fstat(e->fd, &mine) == 0 && stat(e->part, &named) == 0 && mine.st_ino == named.st_ino &&
           mine.st_dev == named.st_dev;
}

sy_status sy_cache_begin(struct sy_cache_entry *e, ino_t old, const struct sy_log *log, int *is_there) {
    char dir[SY_PATH_BYTES];
    snprintf(dir, sizeof dir, "%s", e->path);
    *strrchr(dir, '/') = 0;
    SY_TRY(sy_folder_make(dir));
    *is_there = 0;
    for (;;) {
        sy_status status = open_part(e, log);
        int is_mine = status == SY_OK && is_still_there(e);
        ino_t now = sy_cache_inode(e);
        *is_there = status == SY_OK && now != 0 && now != old;
        if (is_mine && *is_there)
            unlink(e->part); /* left by one that was ended, before another made it */
        if (is_mine && !*is_there && ftruncate(e->fd, 0) != 0)
            status = sy_fail(SY_ERR_IO, "%s: cannot be emptied: %s", e->part, strerror(errno));
        if (status == SY_OK && is_mine && !*is_there)
            return SY_OK;
        let_go(e);
        if (status != SY_OK || *is_there)
            return status;
    }
}

static sy_status make_durable(const struct sy_cache_entry *e) {
    char dir[SY_PATH_BYTES];
    if (rename(e->part, e->path) != 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot be renamed: %s", e->part, strerror(errno));
    snprintf(dir, sizeof dir, "%s", e->path);
    *strrchr(dir, '/') = 0;
    return sy_folder_sync(dir);
}

sy_status sy_cache_end(struct sy_cache_entry *e, sy_status status) {
    if (status == SY_OK)
        status = make_durable(e);
    else
        unlink(e->part);
    let_go(e);
    return status;
}

struct number {
    double value;
    uint64_t hash;
};

int sy_cache_get(const struct sy_cache_entry *e, double *out) {
    struct number n;
    int fd = open(e->path, O_RDONLY | O_CLOEXEC);
    int ok = fd >= 0 && read(fd, &n, sizeof n) == sizeof n && n.hash == XXH3_64bits(&n.value, sizeof n.value);
    if (fd >= 0)
        close(fd);
    if (ok)
        *out = n.value;
    return ok;
}

void sy_cache_put(struct sy_cache_entry *e, double value) {
    struct number n = {value, XXH3_64bits(&value, sizeof value)};
    int is_there;
    if (sy_cache_begin(e, sy_cache_inode(e), NULL, &is_there) != SY_OK || is_there)
        return;
    int ok = write(e->fd, &n, sizeof n) == sizeof n && fsync(e->fd) == 0;
    sy_cache_end(e, ok ? SY_OK : SY_ERR_IO);
}
