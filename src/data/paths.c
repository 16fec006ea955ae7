/* Walking folders: see paths.h. */
#include "data/paths.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FOLDERS_DEEP = 64 };

void sy_paths_fini(struct sy_paths *paths) {
    for (int64_t i = 0; i < paths->n; i++)
        free(paths->path[i]);
    free(paths->path);
    *paths = (struct sy_paths){0};
}

/* Takes `path` over, also on failure. */
static sy_status add(struct sy_paths *paths, char *path) {
    if (paths->n == paths->capacity) {
        int64_t capacity = paths->capacity ? 2 * paths->capacity : 64;
        char **larger = realloc(paths->path, (size_t)capacity * sizeof *larger);
        if (!larger) {
            free(path);
            SY_FAIL(SY_ERR_MEMORY, "out of memory for the names of %lld data files", (long long)capacity);
        }
        paths->path = larger;
        paths->capacity = capacity;
    }
    paths->path[paths->n++] = path;
    return SY_OK;
}

static int wanted(const struct sy_data_options *options, const char *name) {
    size_t n = strlen(name);
    for (int i = 0; i < options->n_suffixes; i++) {
        size_t m = strlen(options->suffixes[i]);
        if (n >= m && strcmp(name + n - m, options->suffixes[i]) == 0)
            return 1;
    }
    return options->n_suffixes == 0;
}

static sy_status walk(const struct sy_data_options *options, const char *folder, int depth, struct sy_paths *paths);

/* One entry of a folder. */
static sy_status visit(const struct sy_data_options *options, const char *folder, const char *name, int depth,
                       struct sy_paths *paths) {
    size_t n = strlen(folder);
    int has_slash = n > 0 && folder[n - 1] == '/';
    size_t size = n + strlen(name) + 2;
    char *path = malloc(size);
    if (!path)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", folder);
    snprintf(path, size, "%s%s%s", folder, has_slash ? "" : "/", name);
    struct stat st;
    sy_status status = SY_OK;
    if (lstat(path, &st) != 0)
        status = sy_fail(SY_ERR_IO, "%s: cannot stat: %s", path, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        status = walk(options, path, depth + 1, paths);
    else if (S_ISREG(st.st_mode) && wanted(options, name))
        return add(paths, path);
    free(path);
    return status;
}

static sy_status walk(const struct sy_data_options *options, const char *folder, int depth, struct sy_paths *paths) {
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
            status = visit(options, folder, entry->d_name, depth, paths);
    }
    closedir(dir);
    return status;
}

static int bytewise(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static sy_status find(const struct sy_data_options *options, struct sy_paths *paths) {
    for (int i = 0; i < options->n_dataset_paths; i++) {
        const char *path = options->dataset_paths[i];
        struct stat st;
        if (stat(path, &st) != 0)
            SY_FAIL(SY_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
        if (S_ISDIR(st.st_mode)) {
            SY_TRY(walk(options, path, 0, paths));
            continue;
        }
        char *copy = strdup(path);
        if (!copy)
            SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", path);
        SY_TRY(add(paths, copy));
    }
    if (paths->n == 0)
        SY_FAIL(SY_ERR_USAGE, "%s: no files%s", options->dataset_paths[0],
                options->n_suffixes ? " with a name that data.suffixes wants" : "");
    qsort(paths->path, (size_t)paths->n, sizeof *paths->path, bytewise);
    for (int64_t i = 1; i < paths->n; i++)
        if (strcmp(paths->path[i - 1], paths->path[i]) == 0)
            SY_FAIL(SY_ERR_USAGE, "%s: twice in training.dataset_path", paths->path[i]);
    return SY_OK;
}

sy_status sy_paths_find(const struct sy_data_options *options, struct sy_paths *out) {
    if (options->n_dataset_paths < 1)
        SY_FAIL(SY_ERR_USAGE, "training.dataset_path is empty: name a file or a folder");
    struct sy_paths paths = {0};
    sy_status status = find(options, &paths);
    if (status != SY_OK) {
        sy_paths_fini(&paths);
        return status;
    }
    *out = paths;
    return SY_OK;
}
