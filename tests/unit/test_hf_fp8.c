/* Hugging Face folders whose matrices are of 8 bits, with a scale for each block: every value must be that of
 * the 8 bits times its block's scale, wherever the scales stand; what does not fit is refused by name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ckpt/checkpoint.h"
#include "ckpt/hf_config.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "hf_load.h"

enum { MOST = 400, BM = 24, BN = 20 }; /* blocks that no matrix's sides are multiples of */

struct item { /* a tensor of a file */
    char name[128];
    enum sy_safetensors_dtype dtype;
    int n_dims, is_scale;
    int64_t dims[2], bytes;
    unsigned char *data;
};

struct folder {
    char path[64];
    struct sy_config *config;
    struct sy_params *params;
    float *value; /* what must be read */
    struct item item[MOST];
    int n, n_fp8;
};

/* By the definition: sign, 4 bits of exponent with bias 7, 3 of fraction. */
static float e4m3(unsigned bits) {
    int e = (int)(bits >> 3 & 15);
    double x = e ? pow(2, e - 7) * (1 + (bits & 7) / 8.0) : pow(2, -6) * ((bits & 7) / 8.0);
    return (float)(bits & 128 ? -x : x);
}

static struct item *add(struct folder *f, const struct sy_tensor *t, enum sy_safetensors_dtype dtype,
                        int64_t element) {
    struct item *q = &f->item[f->n++];
    assert_true(f->n < MOST);
    snprintf(q->name, sizeof q->name, "%s", t->name);
    q->dtype = dtype;
    q->n_dims = t->n_dims;
    memcpy(q->dims, t->dims, sizeof q->dims);
    q->bytes = t->n * element;
    q->data = malloc((size_t)q->bytes);
    assert_non_null(q->data);
    return q;
}

/* A matrix of 8 bits and its scales, F32 and BF16 in turn; all bits but those of NaN. */
static void add_fp8(struct folder *f, const struct sy_tensor *t) {
    struct item *q = add(f, t, SY_SAFETENSORS_F8_E4M3, 1), *s = &f->item[f->n++];
    int64_t rows = (t->dims[0] + BM - 1) / BM, cols = (t->dims[1] + BN - 1) / BN;
    int half = f->n_fp8++ % 2;
    *s = (struct item){.dtype = half ? SY_SAFETENSORS_BF16 : SY_SAFETENSORS_F32,
                       .n_dims = 2,
                       .is_scale = 1,
                       .dims = {rows, cols},
                       .bytes = rows * cols * (half ? 2 : 4)};
    snprintf(s->name, sizeof s->name, "%s_scale_inv", t->name);
    s->data = malloc((size_t)s->bytes);
    float *scale = malloc(4 * (size_t)(rows * cols));
    assert_true(s->data && scale);
    for (int64_t i = 0; i < rows * cols; i++) {
        uint32_t bits;
        scale[i] = (float)(3 + i % 11) * 0x1p-9f; /* exact in bf16 */
        memcpy(&bits, &scale[i], sizeof bits);
        if (half)
            memcpy(s->data + 2 * i, (uint16_t[]){(uint16_t)(bits >> 16)}, 2);
        else
            memcpy(s->data + 4 * i, &bits, 4);
    }
    for (int64_t i = 0; i < t->n; i++) {
        unsigned bits = (unsigned)(i * 7 + f->n) % 256;
        q->data[i] = (unsigned char)((bits & 127) == 127 ? bits - 1 : bits);
        f->value[flat_at(f->params, t) + i] =
            e4m3(q->data[i]) * scale[i / t->dims[1] / BM * cols + i % t->dims[1] / BN];
    }
    free(scale);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct item *)a)->name, ((const struct item *)b)->name);
}

static void open_folder(struct folder *f) {
    *f = (struct folder){.n = 0};
    assert_int_equal(sy_config_create(&f->config), SY_OK);
    assert_int_equal(sy_config_set(f->config, SY_LAYER_FLAG, "test", "model.flavor", "micro_mla"), SY_OK);
    assert_int_equal(sy_config_finish(f->config, false), SY_OK);
    assert_int_equal(sy_params_create(&f->config->model, &f->config->moe, &f->params), SY_OK);
    f->value = calloc((size_t)flat_size(f->params), sizeof *f->value);
    assert_non_null(f->value);
    for (int i = 0; i < f->params->n_tensors; i++) {
        const struct sy_tensor *t = &f->params->tensor[i];
        float *x = f->value + flat_at(f->params, t);
        if (strstr(t->name, "_proj")) {
            add_fp8(f, t);
            continue;
        }
        for (int64_t k = 0; k < t->n; k++)
            x[k] = (float)(k % 251) - 100;
        memcpy(add(f, t, SY_SAFETENSORS_F32, 4)->data, x, 4 * (size_t)t->n);
    }
    assert_true(f->n_fp8 > 20);
    qsort(f->item, (size_t)f->n, sizeof *f->item, by_name);
    snprintf(f->path, sizeof f->path, "/tmp/sy_hf_fp8_XXXXXX");
    assert_non_null(mkdtemp(f->path));
}

static void remove_files(const struct folder *f) {
    static const char *const names[] = {"config.json", "model.safetensors", "model.safetensors.index.json",
                                        "a.safetensors", "b.safetensors"};
    char path[128];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", f->path, names[i]);
        unlink(path);
    }
}

static void close_folder(struct folder *f) {
    remove_files(f);
    rmdir(f->path);
    for (int i = 0; i < f->n; i++)
        free(f->item[i].data);
    free(f->value);
    sy_params_destroy(f->params);
    sy_config_destroy(f->config);
}

static void write_text(const struct folder *f, const char *name, const json_t *root) {
    char path[128], *text;
    size_t bytes;
    snprintf(path, sizeof path, "%s/%s", f->path, name);
    assert_int_equal(sy_json_print(root, SY_JSON_INDENT, &text, &bytes), SY_OK);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, bytes, file), bytes);
    fclose(file);
    free(text);
}

static void write_config(const struct folder *f, int64_t bn) {
    json_t *root = NULL;
    assert_int_equal(sy_hf_config_make(f->config, NULL, &root), SY_OK);
    assert_int_equal(json_object_del(root, "switchyard"), 0);
    json_object_set_new(root, "quantization_config",
                        json_pack("{s:s, s:s, s:s, s:[i,I]}", "quant_method", "fp8", "fmt", "e4m3",
                                  "activation_scheme", "dynamic", "weight_block_size", BM, (json_int_t)bn));
    write_text(f, "config.json", root);
    json_decref(root);
}

enum which { ALL, SCALES, OTHERS };
static int is_of(const struct item *q, enum which which) {
    return which == ALL || q->is_scale == (which == SCALES);
}

static void write_file(const struct folder *f, const char *name, enum which which, json_t *map) {
    char path[128];
    struct sy_safetensors_writer *w = NULL;
    snprintf(path, sizeof path, "%s/%s", f->path, name);
    unlink(path);
    assert_int_equal(sy_safetensors_writer_open(path, &w), SY_OK);
    for (int i = 0; i < f->n; i++)
        if (is_of(&f->item[i], which))
            assert_int_equal(sy_safetensors_writer_declare(w, f->item[i].name, f->item[i].dtype,
                                                           f->item[i].n_dims, f->item[i].dims),
                             SY_OK);
    for (int i = 0; i < f->n; i++)
        if (is_of(&f->item[i], which)) {
            assert_int_equal(sy_safetensors_writer_write(w, f->item[i].data, (size_t)f->item[i].bytes),
                             SY_OK);
            if (map)
                json_object_set_new(map, f->item[i].name, json_string(name));
        }
    assert_int_equal(sy_safetensors_writer_finish(w, 0, NULL), SY_OK);
}

static void expect_all(const struct folder *f) {
    float *got = calloc((size_t)flat_size(f->params), sizeof *got);
    assert_non_null(got);
    if (load_flat(f->path, f->params, got, NULL) != SY_OK)
        fail_msg("%s", sy_error_message());
    for (int i = 0; i < f->params->n_tensors; i++) {
        const struct sy_tensor *t = &f->params->tensor[i];
        if (memcmp(got + flat_at(f->params, t), f->value + flat_at(f->params, t), 4 * (size_t)t->n) != 0)
            fail_msg("%s is another", t->name);
    }
    free(got);
}

static void refuses(const struct folder *f, const char *word, const char *more) {
    float *got = calloc((size_t)flat_size(f->params), sizeof *got);
    assert_non_null(got);
    assert_int_equal(load_flat(f->path, f->params, got, NULL), SY_ERR_DATA);
    if (!strstr(sy_error_message(), word) || !strstr(sy_error_message(), more))
        fail_msg("%s, %s: %s", word, more, sy_error_message());
    free(got);
}

static void read_as_scaled(void **state) {
    (void)state;
    struct folder f;
    open_folder(&f);
    write_config(&f, BN);
    write_file(&f, "model.safetensors", ALL, NULL);
    expect_all(&f);
    /* Scales in a file of their own. */
    remove_files(&f);
    json_t *map = json_object(), *index = json_pack("{s:o}", "weight_map", map);
    write_config(&f, BN);
    write_file(&f, "a.safetensors", OTHERS, map);
    write_file(&f, "b.safetensors", SCALES, map);
    write_text(&f, "model.safetensors.index.json", index);
    json_decref(index);
    expect_all(&f);
    close_folder(&f);
}

static void refused(void **state) {
    (void)state;
    struct folder f;
    open_folder(&f);
    write_config(&f, BN / 2);
    write_file(&f, "model.safetensors", ALL, NULL);
    refuses(&f, "_scale_inv\" is not [", "weight_block_size");
    write_config(&f, BN);
    write_file(&f, "model.safetensors", OTHERS, NULL);
    refuses(&f, "is F8_E4M3, and no file has its scales, \"model.layers.", "_proj.weight_scale_inv\"");
    close_folder(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(read_as_scaled), cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
