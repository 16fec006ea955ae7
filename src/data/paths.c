/* Walking folders: see paths.h. */
#include "data/paths.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FOLDERS_DEEP = 64 };

/* A walk through one source. */
struct walk {
    const struct sy_path_request *request;
    int source;
    size_t root_bytes; /* of the source's own path, with the slash behind it */
    struct sy_paths *paths;
    int64_t n_hidden;
    char hidden[256]; /* the first of them */
};

/* A folder that is being walked, and those around it. */
struct place {
    const struct place *around;
    const char *path;
    dev_t device;
    ino_t inode;
    int depth;
};

void sy_paths_fini(struct sy_paths *paths) {
    for (int64_t i = 0; i < paths->n; i++)
        free(paths->item[i].path);
    free(paths->item);
    *paths = (struct sy_paths){0};
}

/* Takes `path` over, also on failure. */
static sy_status add(struct walk *w, char *path, const struct stat *st) {
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
        if (n >= m && strcasecmp(name + n - m, request->suffixes[i]) == 0)
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

static sy_status walk(struct walk *w, const char *folder, const struct stat *st, const struct place *around);

/* What a link is that leads to no file or folder. */
static sy_status name_broken_link(const struct walk *w, const char *path) {
    char target[512];
    int error = errno;
    ssize_t n = readlink(path, target, sizeof target - 1);
    target[n > 0 ? n : 0] = 0;
    if (error == ENOENT || error == ENOTDIR)
        sy_log_warn(w->request->log, "%s: passed over: a link to %s, which is not there", path, target);
    else if (error == ELOOP)
        sy_log_warn(w->request->log, "%s: passed over: a link to %s, which leads back to it", path, target);
    else
        SY_FAIL(SY_ERR_IO, "%s: cannot follow the link to %s: %s", path, target, strerror(error));
    return SY_OK;
}

/* Takes `path` over. */
static sy_status visit_path(struct walk *w, char *path, const char *name, const struct place *around) {
    struct stat st;
    sy_status status = SY_OK;
    if (lstat(path, &st) != 0)
        status = sy_fail(SY_ERR_IO, "%s: cannot stat: %s", path, strerror(errno));
    else if (S_ISLNK(st.st_mode) && stat(path, &st) != 0)
        status = name_broken_link(w, path);
    else if (S_ISDIR(st.st_mode))
        status = walk(w, path, &st, around);
    else if (!S_ISREG(st.st_mode))
        sy_log_warn(w->request->log, "%s: passed over: neither a file nor a folder", path);
    else if (wanted(w->request, name))
        return add(w, path, &st);
    free(path);
    return status;
}

/* One entry of a folder. */
static sy_status visit(struct walk *w, const char *name, const struct place *around) {
    char *path;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return SY_OK;
    if (name[0] == '.' && w->n_hidden++ > 0)
        return SY_OK;
    if (!(path = join(around->path, name)))
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", around->path);
    if (name[0] != '.')
        return visit_path(w, path, name, around);
    snprintf(w->hidden, sizeof w->hidden, "%s", path);
    free(path);
    return SY_OK;
}

/* A link may lead to a folder that it lies in. */
static int is_inside_itself(const struct walk *w, const char *folder, const struct stat *st,
                            const struct place *around) {
    for (const struct place *p = around; p; p = p->around)
        if (p->device == st->st_dev && p->inode == st->st_ino) {
            sy_log_warn(w->request->log, "%s: not entered: it is %s, which it lies in", folder, p->path);
            return 1;
        }
    return 0;
}

static sy_status walk(struct walk *w, const char *folder, const struct stat *st, const struct place *around) {
    const struct place here = {around, folder, st->st_dev, st->st_ino, around ? around->depth + 1 : 0};
    if (is_inside_itself(w, folder, st, around))
        return SY_OK;
    if (here.depth > MAX_FOLDERS_DEEP)
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
        status = visit(w, entry->d_name, &here);
    }
    closedir(dir);
    return status;
}

static void name_hidden(const struct walk *w) {
    if (w->n_hidden == 1)
        sy_log_info(w->request->log, "data: %s is hidden: passed over", w->hidden);
    else if (w->n_hidden > 1)
        sy_log_info(w->request->log, "data: %s and %lld more are hidden: passed over", w->hidden,
                    (long long)w->n_hidden - 1);
}

/* A file or folder of the list. */
static sy_status take_source(struct walk *w, const char *root) {
    struct stat st;
    size_t n = strlen(root);
    if (stat(root, &st) != 0)
        SY_FAIL(SY_ERR_IO, "%s: cannot open: %s", root, strerror(errno));
    if (S_ISDIR(st.st_mode)) {
        w->root_bytes = n + (n > 0 && root[n - 1] != '/');
        SY_TRY(walk(w, root, &st, NULL));
        name_hidden(w);
        return SY_OK;
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

/* A file that two sources have is a list that was meant otherwise; one source may have it twice, by
 * links. */
static sy_status find_twice(const struct sy_path_request *request, struct sy_paths *paths) {
    struct sy_path **sorted = malloc((size_t)paths->n * sizeof *sorted);
    if (!sorted)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for the names of %lld data files", (long long)paths->n);
    for (int64_t i = 0; i < paths->n; i++)
        sorted[i] = &paths->item[i];
    qsort(sorted, (size_t)paths->n, sizeof *sorted, by_inode);
    sy_status status = SY_OK;
    const struct sy_path *first = NULL, *again = NULL;
    int64_t n_again = 0;
    for (int64_t i = 1; i < paths->n && status == SY_OK; i++) {
        const struct sy_path *a = sorted[i - 1], *b = sorted[i];
        if (a->device != b->device || a->inode != b->inode)
            continue;
        if (a->source != b->source)
            status = sy_fail(SY_ERR_USAGE, "%s: twice in %s, also as %s: leave one out", b->path,
                             request->option, a->path);
        else if (n_again++ == 0)
            first = a, again = b;
    }
    if (status == SY_OK && n_again > 0)
        sy_log_warn(request->log, "data: %lld files are read more than once: %s is also %s",
                    (long long)n_again, first->path, again->path);
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
    return find_twice(request, paths);
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
