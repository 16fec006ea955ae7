/* Matrices of 8 bits: see hf_fp8.h. */
#include "ckpt/hf_fp8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/halves.h"
#include "formats/json.h"

static const char suffix[] = "_scale_inv";

struct entry {
    char *name;
    int file;
};

struct sy_hf_fp8 {
    const char *folder;
    const struct sy_ckpt_files *files;
    int64_t block[2];
    struct entry *scale; /* by name */
    int n, room;
    struct sy_safetensors *open; /* file `at` */
    int at;
    float value[256];
    float *grid; /* of the matrix that was begun */
    int64_t cols, grid_cols;
};

int sy_hf_fp8_block(const json_t *root, int64_t block[2]) {
    const json_t *q = json_object_get(root, "quantization_config"),
                 *size = json_object_get(q, "weight_block_size");
    const char *method = json_string_value(json_object_get(q, "quant_method")),
               *format = json_string_value(json_object_get(q, "fmt"));
    if (!method || strcmp(method, "fp8") != 0 || (format && strcmp(format, "e4m3") != 0) ||
        json_array_size(size) != 2)
        return 0;
    for (size_t i = 0; i < 2; i++) {
        const json_t *x = json_array_get(size, i);
        block[i] = json_integer_value(x);
        if (!json_is_integer(x) || block[i] < 1 || block[i] > INT32_MAX)
            return 0;
    }
    return 1;
}

int sy_hf_fp8_is_scale(const char *name) {
    size_t n = strlen(name), k = sizeof suffix - 1;
    return n > k && strcmp(name + n - k, suffix) == 0;
}

/* --- which there are ------------------------------------------------------------------------------------ */

static float value_of(int bits) { /* E4M3 without infinities */
    int exponent = bits >> 3 & 15, fraction = bits & 7;
    float x = exponent == 15 && fraction == 7 ? NAN
              : exponent > 0                  ? ldexpf(1.0f + (float)fraction / 8, exponent - 7)
                                              : ldexpf((float)fraction, -9);
    return bits & 128 ? -x : x;
}

static sy_status add(struct sy_hf_fp8 *q, const char *name, int file) {
    if (q->n == q->room) {
        int room = 2 * q->room + 64;
        struct entry *more = realloc(q->scale, (size_t)room * sizeof *more);
        if (!more)
            SY_FAIL(SY_ERR_MEMORY, "%s: out of memory for a list of %d scales", q->folder, room);
        q->scale = more;
        q->room = room;
    }
    q->scale[q->n] = (struct entry){strdup(name), file};
    if (!q->scale[q->n].name)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory for a list of scales", q->folder);
    q->n++;
    return SY_OK;
}

static sy_status open_file(struct sy_hf_fp8 *q, int file) {
    char path[SY_CKPT_PATH_BYTES];
    if (q->open && q->at == file)
        return SY_OK;
    sy_safetensors_close(q->open);
    q->open = NULL;
    q->at = file;
    SY_TRY(sy_ckpt_join(path, q->folder, q->files->item[file].name));
    return sy_safetensors_open(path, &q->open);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static sy_status list(struct sy_hf_fp8 *q) {
    for (int i = 0; i < q->files->n; i++) {
        SY_TRY(open_file(q, i));
        for (int64_t k = 0; k < sy_safetensors_count(q->open); k++)
            if (sy_hf_fp8_is_scale(sy_safetensors_at(q->open, k)->name))
                SY_TRY(add(q, sy_safetensors_at(q->open, k)->name, i));
    }
    if (q->n > 0)
        qsort(q->scale, (size_t)q->n, sizeof *q->scale, by_name);
    return SY_OK;
}

sy_status sy_hf_fp8_open(const char *folder, const struct sy_ckpt_files *files, const int64_t block[2],
                         struct sy_hf_fp8 **out) {
    struct sy_hf_fp8 *q = calloc(1, sizeof *q);
    if (!q)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", folder);
    *q = (struct sy_hf_fp8){.folder = folder, .files = files, .block = {block[0], block[1]}};
    for (int i = 0; i < 256; i++)
        q->value[i] = value_of(i);
    sy_status status = list(q);
    if (status != SY_OK) {
        sy_hf_fp8_close(q);
        return status;
    }
    *out = q;
    return SY_OK;
}

void sy_hf_fp8_close(struct sy_hf_fp8 *q) {
    if (!q)
        return;
    for (int i = 0; i < q->n; i++)
        free(q->scale[i].name);
    free(q->scale);
    free(q->grid);
    sy_safetensors_close(q->open);
    free(q);
}

/* --- a matrix ------------------------------------------------------------------------------------------- */

static sy_status read_grid(struct sy_hf_fp8 *q, const struct sy_safetensors_tensor *t) {
    char *raw = malloc((size_t)t->bytes + 1);
    float *grid = realloc(q->grid, 4 * (size_t)t->n_elements + 1);
    if (grid)
        q->grid = grid;
    sy_status status = raw && grid ? sy_safetensors_read(q->open, t, 0, t->bytes, raw)
                                   : sy_fail(SY_ERR_MEMORY, "%s: out of memory for scales", q->folder);
    if (status == SY_OK)
        sy_halves_widen(t->dtype, raw, t->n_elements, grid);
    free(raw);
    return status;
}

sy_status sy_hf_fp8_begin(struct sy_hf_fp8 *q, const char *path, const struct sy_safetensors_tensor *m) {
    char name[SY_CKPT_NAME_BYTES + sizeof suffix];
    const struct sy_safetensors_tensor *t = NULL;
    snprintf(name, sizeof name, "%.*s%s", SY_CKPT_NAME_BYTES - 1, m->name, suffix);
    struct entry key = {name, 0};
    const struct entry *e = q->n > 0 ? bsearch(&key, q->scale, (size_t)q->n, sizeof key, by_name) : NULL;
    if (!e)
        SY_FAIL(SY_ERR_DATA, "%s: tensor \"%s\" is F8_E4M3, and no file has its scales, \"%s\"", path,
                m->name, name);
    SY_TRY(open_file(q, e->file));
    for (int64_t k = 0; k < sy_safetensors_count(q->open) && !t; k++)
        if (strcmp(sy_safetensors_at(q->open, k)->name, name) == 0)
            t = sy_safetensors_at(q->open, k);
    int64_t rows = (m->dims[0] + q->block[0] - 1) / q->block[0],
            cols = (m->dims[1] + q->block[1] - 1) / q->block[1];
    if (!t || t->n_dims != 2 || t->dims[0] != rows || t->dims[1] != cols || !sy_halves_can(t->dtype))
        SY_FAIL(SY_ERR_DATA,
                "%s: tensor \"%s\" is not [%" PRId64 ", %" PRId64
                "] of F32, BF16 or F16: a scale for each block "
                "of [%" PRId64 ", %" PRId64 "] (weight_block_size) of \"%s\"",
                path, name, rows, cols, q->block[0], q->block[1], m->name);
    q->cols = m->dims[1];
    q->grid_cols = cols;
    return read_grid(q, t);
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

void sy_hf_fp8_widen(const struct sy_hf_fp8 *q, const unsigned char *from, int64_t first, int64_t n,
                     float *to) {
    int64_t row = first / q->cols, col = first % q->cols;
    while (n > 0) { /* as far as one scale reaches in a row */
        int64_t k = least(n, least(q->block[1] - col % q->block[1], q->cols - col));
        float scale = q->grid[row / q->block[0] * q->grid_cols + col / q->block[1]];
        for (int64_t i = 0; i < k; i++)
            to[i] = q->value[from[i]] * scale;
        from += k;
        to += k;
        n -= k;
        col += k;
        row += col == q->cols;
        col = col == q->cols ? 0 : col;
    }
}
