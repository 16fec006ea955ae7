/* Walking folders: see paths.h. */
#include "data/paths.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_FOLDERS_DEEP = 64 };

/* A walk through one source. */
struct walk {
    const struct sy_path_request *request;
    int source;
    size_t root_bytes; /* of the source's own path, with the slash behind it */
    struct sy_paths *paths;
};

void sy_paths_fini(struct sy_paths *paths) {
    for (int64_t i = 0; i < paths->n; i++)
        free(paths->item[i].path);
    free(paths->item);
    *paths = (struct sy_paths){0};
}

/* Takes `path` over, also on failure. */
static sy_status add(const struct walk *w, char *path, const struct stat *st) {
    struct sy_paths *paths = w->paths;
    if (paths->n == paths->capacity) {
        int64_t capacity = paths->capacity ? 2 * paths->capacity : 64;
        struct sy_path *larger = realloc(paths->item, (size_t)capacity * sizeof *larger);
        if (!larger) {
            free(path);
            SY_FAIL(SY_ERR_MEMORY, "out of memory for the names of %lld data files", (long long)capacity);
        }
        paths->item = larger;
        paths->capacity = capacity;
    }
    paths->item[paths->n++] = (struct sy_path){path, w->root_bytes, w->source, st->st_dev, st->st_ino};
    return SY_OK;
}

static int wanted(const struct sy_path_request *request, const char *name) {
    size_t n = strlen(name);
    for (int i = 0; i < request->n_suffixes; i++) {
        size_t m = strlen(request->suffixes[i]);
        if (n >= m && strcmp(name + n - m, request->suffixes[i]) == 0)
            return 1;
    }
    return request->n_suffixes == 0;
}

static char *join(const char *folder, const char *name) {
    size_t n = strlen(folder);
    size_t size = n + strlen(name) + 2;
    char *path = malloc(size);
    if (path)
        snprintf(path, size, "%s%s%s", folder, n > 0 && folder[n - 1] == '/' ? "" : "/", name);
    return path;
}

static sy_status walk(const struct walk *w, const char *folder, int depth);

/* One entry of a folder. */
static sy_status visit(const struct walk *w, const char *folder, const char *name, int depth) {
    char *path = join(folder, name);
    if (!path)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", folder);
    struct stat st;
    sy_status status = SY_OK;
    if (lstat(path, &st) != 0)
        status = sy_fail(SY_ERR_IO, "%s: cannot stat: %s", path, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        status = walk(w, path, depth + 1);
    else if (S_ISREG(st.st_mode) && wanted(w->request, name))
        return add(w, path, &st);
    free(path);
    return status;
}

static sy_status walk(const struct walk *w, const char *folder, int depth) {
    if (depth > MAX_FOLDERS_DEEP)
        SY_FAIL(SY_ERR_USAGE, "%s: folders nested more than %d deep", folder, MAX_FOLDERS_DEEP);
    DIR *dir = opendir(folder);
    if (!dir)
        SY_FAIL(SY_ERR_IO, "%s: cannot open folder: %s", folder, strerror(errno));
    sy_status status = SY_OK;
    while (status == SY_OK) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry) {
            if (errno)
                status = sy_fail(SY_ERR_IO, "%s: cannot read folder: %s", folder, strerror(errno));
            break;
        }
        if (entry->d_name[0] != '.')
            status = visit(w, folder, entry->d_name, depth);
    }
    closedir(dir);
    return status;
}

/* A file or folder of the list. */
static sy_status take_source(struct walk *w, const char *root) {
    struct stat st;
    size_t n = strlen(root);
    if (stat(root, &st) != 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot open: %s", root, strerror(errno));
    if (S_ISDIR(st.st_mode)) {
        w->root_bytes = n + (n > 0 && root[n - 1] != '/');
        return walk(w, root, 0);
    }
    w->root_bytes = n;
    char *copy = strdup(root);
    if (!copy)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", root);
    return add(w, copy, &st);
}

static int by_source(const void *a, const void *b) {
    const struct sy_path *x = a, *y = b;
    if (x->source != y->source)
        return x->source < y->source ? -1 : 1;
    return strcmp(x->path + x->relative, y->path + y->relative);
}

static int by_inode(const void *a, const void *b) {
    const struct sy_path *x = *(struct sy_path *const *)a, *y = *(struct sy_path *const *)b;
    if (x->device != y->device)
        return x->device < y->device ? -1 : 1;
    if (x->inode != y->inode)
        return x->inode < y->inode ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* A file that two sources have is a list that was meant otherwise. */
static sy_status refuse_twice(const struct sy_path_request *request, struct sy_paths *paths) {
    struct sy_path **sorted = malloc((size_t)paths->n * sizeof *sorted);
    if (!sorted)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for the names of %lld data files", (long long)paths->n);
    for (int64_t i = 0; i < paths->n; i++)
        sorted[i] = &paths->item[i];
    qsort(sorted, (size_t)paths->n, sizeof *sorted, by_inode);
    sy_status status = SY_OK;
    for (int64_t i = 1; i < paths->n && status == SY_OK; i++) {
        const struct sy_path *a = sorted[i - 1], *b = sorted[i];
        if (a->device == b->device && a->inode == b->inode && a->source != b->source)
            status = sy_fail(SY_ERR_USAGE, "%s: twice in %s, also as %s: leave one out", b->path, request->option, a->path);
    }
    free(sorted);
    return status;
}

static sy_status find(const struct sy_path_request *request, struct sy_paths *paths) {
    for (int i = 0; i < request->n_roots; i++) {
        struct walk w = {.request = request, .source = i, .paths = paths};
        SY_TRY(take_source(&w, request->roots[i]));
    }
    if (paths->n == 0)
        SY_FAIL(SY_ERR_USAGE, "%s: no files%s", request->roots[0],
                request->n_suffixes ? " with a name that data.suffixes wants" : "");
    qsort(paths->item, (size_t)paths->n, sizeof *paths->item, by_source);
    return refuse_twice(request, paths);
}

sy_status sy_paths_find(const struct sy_path_request *request, struct sy_paths *out) {
    if (request->n_roots < 1)
        SY_FAIL(SY_ERR_USAGE, "%s is empty: name a file or a folder", request->option);
    struct sy_paths paths = {0};
    sy_status status = find(request, &paths);
    if (status != SY_OK) {
        sy_paths_fini(&paths);
        return status;
    }
    *out = paths;
    return SY_OK;
}
