/* switchyard diff, tensors: the first element in which each tensor of two folders differs. See diff.h. */
#include "commands/diff.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fmath.h"
#include "formats/safetensors.h"
#include "train/io.h"

enum { CHUNK = 1 << 16, SHOWN = 3 }; /* bytes read at a time; tensors that are named */

struct shard {
    char *name;
    struct sy_safetensors *file; /* NULL until it is open */
};

struct shards { /* of one folder, by name */
    struct shard *shard;
    int n;
};

/* Two folders under comparison. */
struct comparison {
    const struct sy_io *io;
    struct shards a, b;
    int differ, n; /* tensors of either */
    char piece_a[CHUNK], piece_b[CHUNK];
};

static void close_shards(struct shards *s) {
    for (int i = 0; i < s->n; i++) {
        sy_safetensors_close(s->shard[i].file);
        free(s->shard[i].name);
    }
    free(s->shard);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct shard *)a)->name, ((const struct shard *)b)->name);
}

static sy_status add_shard(struct shards *s, const char *dir, const char *name) {
    struct shard *more = realloc(s->shard, (size_t)(s->n + 1) * sizeof *more);
    if (more)
        s->shard = more;
    char *copy = more ? strdup(name) : NULL;
    if (!copy)
        SY_FAIL(SY_ERR_MEMORY, "%s: no memory for its list of files", dir);
    s->shard[s->n++] = (struct shard){copy, NULL};
    return SY_OK;
}

/* All safetensors files of a folder. Close also after an error. */
static sy_status open_shards(const char *dir, struct shards *out) {
    sy_status status = SY_OK;
    DIR *d = opendir(dir);
    if (!d)
        SY_FAIL(SY_ERR_IO, "%s: cannot be opened: %s", dir, strerror(errno));
    for (struct dirent *e; status == SY_OK && (e = readdir(d));) {
        size_t len = strlen(e->d_name);
        if (len > 12 && strcmp(e->d_name + len - 12, ".safetensors") == 0)
            status = add_shard(out, dir, e->d_name);
    }
    closedir(d);
    SY_TRY(status);
    if (out->n == 0)
        SY_FAIL(SY_ERR_DATA, "%s: has no .safetensors files", dir);
    qsort(out->shard, (size_t)out->n, sizeof *out->shard, by_name);
    for (int i = 0; i < out->n; i++) {
        char path[2 * SY_DIFF_PATH];
        snprintf(path, sizeof path, "%s/%s", dir, out->shard[i].name);
        SY_TRY(sy_safetensors_open(path, &out->shard[i].file));
    }
    return SY_OK;
}

static const struct sy_safetensors_tensor *find_tensor(const struct shards *s, const char *name, int *file) {
    for (*file = 0; *file < s->n; (*file)++) {
        const struct sy_safetensors_tensor *t = sy_safetensors_find(s->shard[*file].file, name);
        if (t)
            return t;
    }
    return NULL;
}

static int same_value(const void *a, const void *b, enum sy_safetensors_dtype type, size_t bytes) {
    if (memcmp(a, b, bytes) == 0)
        return 1;
    float x, y;
    if (type != SY_SAFETENSORS_F32)
        return 0;
    memcpy(&x, a, 4);
    memcpy(&y, b, 4);
    return x != x && y != y;
}

static void print_element(const struct sy_io *io, const struct sy_safetensors_tensor *t, int64_t i,
                          const void *a, const void *b) {
    sy_io_printf(io, "tensor %s, element %lld", t->name, (long long)i);
    if (t->n_dims == 2)
        sy_io_printf(io, " (row %lld, column %lld)", (long long)(i / t->dims[1]),
                     (long long)(i % t->dims[1]));
    if (t->dtype == SY_SAFETENSORS_F32) {
        uint32_t x, y;
        memcpy(&x, a, 4);
        memcpy(&y, b, 4);
        sy_io_printf(io, "\n  %08x %.9g\n  %08x %.9g\n", x, (double)sy_f32_from_bits(x), y,
                     (double)sy_f32_from_bits(y));
    } else {
        sy_io_printf(io, "\n");
    }
}

/* The first element in which a tensor differs is printed, of the first few tensors that differ. */
static sy_status compare_tensor(struct comparison *c, const struct sy_safetensors *fa,
                                const struct sy_safetensors_tensor *ta, const struct sy_safetensors *fb,
                                const struct sy_safetensors_tensor *tb) {
    if (ta->dtype != tb->dtype || ta->n_dims != tb->n_dims ||
        memcmp(ta->dims, tb->dims, sizeof(int64_t) * (size_t)ta->n_dims)) {
        if (c->differ++ < SHOWN)
            sy_io_printf(c->io, "tensor %s has another shape or dtype\n", ta->name);
        return SY_OK;
    }
    const char *a = c->piece_a, *b = c->piece_b;
    int64_t size = sy_safetensors_dtype_bytes(ta->dtype);
    size = size > 0 ? size : 1; /* less than a byte each: bytes are compared */
    for (int64_t at = 0; at < ta->bytes; at += CHUNK) {
        int64_t n = ta->bytes - at < CHUNK ? ta->bytes - at : CHUNK;
        SY_TRY(sy_safetensors_read(fa, ta, at, n, c->piece_a));
        SY_TRY(sy_safetensors_read(fb, tb, at, n, c->piece_b));
        int64_t first = memcmp(a, b, (size_t)n) == 0 ? n : 0; /* else some differ, perhaps only in NaN */
        for (int64_t i = first; i < n; i += size)
            if (!same_value(a + i, b + i, ta->dtype, (size_t)size)) {
                if (c->differ++ < SHOWN)
                    print_element(c->io, ta, (at + i) / size, a + i, b + i);
                return SY_OK;
            }
    }
    return SY_OK;
}

static void print_alone(struct comparison *c, const char *name, const char *which) {
    if (c->differ++ < SHOWN)
        sy_io_printf(c->io, "tensor %s is only in the %s\n", name, which);
}

/* Tensors of the first folder, each with its like in the second. */
static sy_status compare_first(struct comparison *c) {
    for (int i = 0; i < c->a.n; i++) {
        const struct sy_safetensors *file = c->a.shard[i].file;
        for (int64_t t = 0; t < sy_safetensors_count(file); t++) {
            const struct sy_safetensors_tensor *ta = sy_safetensors_at(file, t);
            int other;
            const struct sy_safetensors_tensor *tb = find_tensor(&c->b, ta->name, &other);
            c->n++;
            if (tb) {
                SY_TRY(compare_tensor(c, file, ta, c->b.shard[other].file, tb));
            } else {
                print_alone(c, ta->name, "first");
            }
        }
    }
    return SY_OK;
}

static void find_only_in_second(struct comparison *c) {
    for (int i = 0; i < c->b.n; i++)
        for (int64_t t = 0; t < sy_safetensors_count(c->b.shard[i].file); t++) {
            const char *name = sy_safetensors_at(c->b.shard[i].file, t)->name;
            int other;
            if (find_tensor(&c->a, name, &other))
                continue;
            print_alone(c, name, "second");
            c->n++;
        }
}

sy_status sy_diff_tensors(const struct sy_io *io, const char *a, const char *b, int *equal) {
    struct comparison *c = calloc(1, sizeof *c);
    if (!c)
        SY_FAIL(SY_ERR_MEMORY, "no memory to compare %s and %s", a, b);
    c->io = io;
    sy_io_printf(io, "comparing %s and %s\n", a, b);
    sy_status status = open_shards(a, &c->a);
    if (status == SY_OK)
        status = open_shards(b, &c->b);
    if (status == SY_OK)
        status = compare_first(c);
    if (status == SY_OK) {
        find_only_in_second(c);
        sy_io_printf(io, "%d of %d tensors differ\n", c->differ, c->n);
    }
    *equal &= c->differ == 0;
    close_shards(&c->a);
    close_shards(&c->b);
    free(c);
    return status;
}
