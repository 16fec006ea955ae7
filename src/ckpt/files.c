/* Files and folders of a checkpoint: written durably, read suspiciously. See internal.h. */
#include "ckpt/internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 1 << 20, MAX_DEPTH = 8 };

sy_status sy_ckpt_join(char out[SY_CKPT_PATH_BYTES], const char *a, const char *b) {
    int n = snprintf(out, SY_CKPT_PATH_BYTES, "%s/%s", a, b);
    if (n < 0 || n >= SY_CKPT_PATH_BYTES)
        SY_FAIL(SY_ERR_USAGE, "%.200s…: the path has %d bytes, at most %d are possible", a, n,
                SY_CKPT_PATH_BYTES - 1);
    return SY_OK;
}

/* ---- records ---- */

sy_status sy_ckpt_files_add(struct sy_ckpt_files *files, const char *name, int64_t bytes, const char *hash,
                            int of_header) {
    if (files->n == files->capacity) {
        int capacity = files->capacity ? 2 * files->capacity : 16;
        struct sy_ckpt_file *larger = realloc(files->item, (size_t)capacity * sizeof *larger);
        if (!larger)
            SY_FAIL(SY_ERR_MEMORY, "out of memory for a list of %d files", capacity);
        files->item = larger;
        files->capacity = capacity;
    }
    struct sy_ckpt_file *file = &files->item[files->n];
    if (strlen(name) >= sizeof file->name || strlen(hash) >= sizeof file->hash)
        SY_FAIL(SY_ERR_USAGE, "%.100s…: the name of a checkpoint's file has at most %d bytes", name,
                SY_CKPT_NAME_BYTES - 1);
    memset(file, 0, sizeof *file);
    memcpy(file->name, name, strlen(name));
    memcpy(file->hash, hash, strlen(hash));
    file->bytes = bytes;
    file->of_header = of_header;
    files->n++;
    return SY_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct sy_ckpt_file *)a)->name, ((const struct sy_ckpt_file *)b)->name);
}

void sy_ckpt_files_sort(struct sy_ckpt_files *files) {
    if (files->n > 1)
        qsort(files->item, (size_t)files->n, sizeof *files->item, by_name);
}

const struct sy_ckpt_file *sy_ckpt_files_find(const struct sy_ckpt_files *files, const char *name) {
    for (int i = 0; i < files->n; i++)
        if (strcmp(files->item[i].name, name) == 0)
            return &files->item[i];
    return NULL;
}

/* ---- writing ---- */

static int open_again(const char *path, int flags) {
    int fd;
    SY_AGAIN(fd, open(path, flags | O_CLOEXEC, 0666));
    return fd;
}

static int sync_again(int fd) {
    int rc;
    SY_AGAIN(rc, fsync(fd));
    return rc;
}

DIR *sy_ckpt_open_folder(const char *path) {
    DIR *dir;
    do
        dir = opendir(path);
    while (!dir && errno == EINTR);
    return dir;
}

int sy_ckpt_rename(const char *from, const char *to) {
    int rc;
    SY_AGAIN(rc, rename(from, to));
    return rc;
}

static sy_status write_all(int fd, const char *path, const char *text, size_t bytes) {
    int64_t at = 0;
    int wrote = sy_file_write(fd, &at, text, bytes);
    if (wrote <= 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot write: %s", path, wrote < 0 ? strerror(errno) : "nothing was taken");
    if (sync_again(fd) != 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot fsync: %s", path, strerror(errno));
    return SY_OK;
}

sy_status sy_ckpt_write_file(const char *folder, const char *name, const char *text, size_t bytes,
                             struct sy_ckpt_files *files) {
    char path[SY_CKPT_PATH_BYTES], hash[SY_CKPT_HASH_CHARS];
    SY_TRY(sy_ckpt_join(path, folder, name));
    int fd = open_again(path, O_WRONLY | O_CREAT | O_EXCL);
    if (fd < 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot create: %s", path, strerror(errno));
    sy_status status = write_all(fd, path, text, bytes);
    if (close(fd) != 0 && errno != EINTR && status == SY_OK)
        status = sy_fail(SY_ERR_IO, "%s: cannot close: %s", path, strerror(errno));
    if (status != SY_OK || !files)
        return status;
    sy_xxh128_hex(XXH3_128bits(text, bytes), hash);
    return sy_ckpt_files_add(files, name, (int64_t)bytes, hash, 0);
}

sy_status sy_ckpt_write_json(const char *folder, const char *name, const json_t *value,
                             struct sy_ckpt_files *files) {
    char *text = NULL;
    size_t bytes = 0;
    SY_TRY(sy_ckpt_print_json(value, &text, &bytes));
    sy_status status = sy_ckpt_write_file(folder, name, text, bytes, files);
    free(text);
    return status;
}

/* ---- removing ---- */

static int remove_at(int parent, const char *name, int depth);

static int remove_inside(int parent, const char *name, int depth) {
    if (depth >= MAX_DEPTH)
        return ELOOP;
    int fd;
    SY_AGAIN(fd, openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (fd < 0)
        return errno;
    DIR *dir = fdopendir(fd);
    if (!dir) {
        int error = errno;
        close(fd);
        return error;
    }
    int first = 0;
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int error = remove_at(fd, entry->d_name, depth + 1);
        first = first ? first : error;
    }
    closedir(dir);
    return first;
}

static int remove_at(int parent, const char *name, int depth) {
    if (unlinkat(parent, name, 0) == 0)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return errno == ENOENT ? 0 : errno;
    int error = remove_inside(parent, name, depth);
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0)
        return 0;
    return error ? error : errno;
}

int sy_ckpt_remove(const char *path) { return remove_at(AT_FDCWD, path, 0); }

/* ---- reading ---- */

static sy_status open_to_read(const char *path, int *fd, int64_t *bytes) {
    struct stat st;
    *fd = open_again(path, O_RDONLY | O_NONBLOCK);
    if (*fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        SY_FAIL(SY_ERR_DATA, "%s: is missing", path);
    if (*fd < 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    if (fstat(*fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(*fd);
        SY_FAIL(SY_ERR_DATA, "%s: is not a file", path);
    }
    *bytes = st.st_size;
    return SY_OK;
}

sy_status sy_ckpt_file_size(const char *path, int64_t *bytes) {
    struct stat st;
    int error = stat(path, &st) == 0 ? 0 : errno;
    if (error == ENOENT || error == ENOTDIR)
        SY_FAIL(SY_ERR_DATA, "%s: is missing", path);
    if (error)
        SY_FAIL(SY_ERR_IO, "%s: cannot look at it: %s", path, strerror(error));
    if (!S_ISREG(st.st_mode))
        SY_FAIL(SY_ERR_DATA, "%s: is not a file", path);
    *bytes = st.st_size;
    return SY_OK;
}

sy_status sy_ckpt_read_file(const char *path, int64_t max_bytes, char **text, size_t *bytes) {
    int fd = -1;
    int64_t n = 0;
    SY_TRY(open_to_read(path, &fd, &n));
    sy_status status = SY_OK;
    char *buffer = NULL;
    if (n > max_bytes)
        status = sy_fail(SY_ERR_DATA, "%s: %" PRId64 " bytes, at most %" PRId64 " are allowed", path, n,
                         max_bytes);
    else if (!(buffer = malloc((size_t)n + 1)))
        status = sy_fail(SY_ERR_MEMORY, "%s: out of memory for %" PRId64 " bytes", path, n);
    else
        status = sy_file_need(path, fd, 0, buffer, (size_t)n);
    close(fd);
    if (status != SY_OK) {
        free(buffer);
        return status;
    }
    buffer[n] = 0;
    *text = buffer;
    *bytes = (size_t)n;
    return SY_OK;
}

/* Of the first `bytes` bytes. */
static sy_status hash_file(int fd, const char *path, int64_t bytes, char out[SY_CKPT_HASH_CHARS]) {
    XXH3_state_t *state = XXH3_createState();
    char *piece = malloc(PIECE);
    sy_status status = state && piece ? SY_OK : sy_fail(SY_ERR_MEMORY, "%s: out of memory", path);
    if (status == SY_OK)
        XXH3_128bits_reset(state);
    for (int64_t at = 0; at < bytes && status == SY_OK; at += PIECE) {
        size_t n = bytes - at < PIECE ? (size_t)(bytes - at) : PIECE;
        status = sy_file_need(path, fd, at, piece, n);
        if (status == SY_OK)
            XXH3_128bits_update(state, piece, n);
    }
    if (status == SY_OK)
        sy_xxh128_hex(XXH3_128bits_digest(state), out);
    free(piece);
    XXH3_freeState(state);
    return status;
}

/* Bytes of a safetensors file before its data. */
static sy_status header_bytes(int fd, const char *path, int64_t bytes, int64_t *out) {
    uint64_t length = 0;
    if (bytes < (int64_t)sizeof length)
        SY_FAIL(SY_ERR_DATA, "%s: %" PRId64 " bytes are too few for a safetensors file", path, bytes);
    SY_TRY(sy_file_need(path, fd, 0, &length, sizeof length));
    if (length > (uint64_t)bytes - sizeof length)
        SY_FAIL(SY_ERR_DATA, "%s: damaged: a header of %" PRIu64 " bytes in a file of %" PRId64 " bytes",
                path, length, bytes);
    *out = (int64_t)(sizeof length + length);
    return SY_OK;
}

sy_status sy_ckpt_check_file(const char *folder, const struct sy_ckpt_file *file) {
    char path[SY_CKPT_PATH_BYTES], hash[SY_CKPT_HASH_CHARS];
    int fd = -1;
    int64_t bytes = 0;
    SY_TRY(sy_ckpt_join(path, folder, file->name));
    SY_TRY(open_to_read(path, &fd, &bytes));
    sy_status status = SY_OK;
    if (bytes != file->bytes)
        status = sy_fail(SY_ERR_DATA, "%s: %" PRId64 " bytes, was written with %" PRId64, path, bytes,
                         file->bytes);
    else if (file->of_header)
        status = header_bytes(fd, path, bytes, &bytes);
    if (status == SY_OK)
        status = hash_file(fd, path, bytes, hash);
    close(fd);
    if (status == SY_OK && strcmp(hash, file->hash) != 0)
        SY_FAIL(SY_ERR_DATA, "%s: damaged: XXH3-128%s is %s, was written with %s", path,
                file->of_header ? " of its header" : "", hash, file->hash);
    return status;
}
