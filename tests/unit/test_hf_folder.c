/* Tensors of Hugging Face folders that are not as ours: all experts of a layer in one tensor, Mixtral's under
 * other names. Every value must arrive in its place, in all dtypes; what does not fit is refused by name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ckpt/checkpoint.h"
#include "ckpt/hf_config.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "hf_load.h"

enum { MAX_ENTRIES = 256 };

/* A tensor of the file: n of the model's, parts of its first dimension in order. */
struct entry {
    char name[96];
    int n_dims, n, parts[64];
    int64_t dims[3];
};

struct folder {
    char path[64];
    struct sy_config *config;
    struct sy_params *params;
    float *value; /* by place in the flat buffers */
    struct entry entry[MAX_ENTRIES];
    int n_entries;
};

/* Exact in bf16 and f16, and another one at each of 2039 places in a row. */
static float value_at(int64_t i) { return (float)(i % 251 - 125) * (i % 2 ? 0.5f : 1.0f); }

static void open_model(struct folder *f, const char *flavor, const char *const *keys) {
    *f = (struct folder){.n_entries = 0};
    assert_int_equal(sy_config_create(&f->config), SY_OK);
    assert_int_equal(sy_config_set(f->config, SY_LAYER_FLAG, "test", "model.flavor", flavor), SY_OK);
    for (; *keys; keys += 2)
        assert_int_equal(sy_config_set(f->config, SY_LAYER_FLAG, "test", keys[0], keys[1]), SY_OK);
    if (sy_config_finish(f->config, false) != SY_OK)
        fail_msg("%s", sy_error_message());
    assert_int_equal(sy_params_create(&f->config->model, &f->config->moe, &f->params), SY_OK);
    f->value = calloc((size_t)flat_size(f->params), sizeof *f->value);
    assert_non_null(f->value);
    for (int64_t i = 0; i < flat_size(f->params); i++)
        f->value[i] = value_at(i);
    snprintf(f->path, sizeof f->path, "/tmp/sy_hf_folder_XXXXXX");
    assert_non_null(mkdtemp(f->path));
}

static void close_model(struct folder *f) {
    char path[128];
    snprintf(path, sizeof path, "%s/model.safetensors", f->path);
    unlink(path);
    snprintf(path, sizeof path, "%s/config.json", f->path);
    unlink(path);
    rmdir(f->path);
    free(f->value);
    sy_params_destroy(f->params);
    sy_config_destroy(f->config);
}

/* The model's tensors as entries, one each; those of experts joined to two a layer. `block` is "mlp" also
 * for Mixtral. */
static void list_entries(struct folder *f, const char *block) {
    int fused[2] = {-1, -1}, layer = -1;
    for (int i = 0; i < f->params->n_tensors; i++) {
        const struct sy_tensor *t = &f->params->tensor[i];
        const struct sy_param *q = &f->params->param[t->param];
        struct entry *e = &f->entry[f->n_entries];
        if (q->kind == SY_PARAM_EXPERT) {
            int down = t->dims[0] == f->config->model.dim && t->dims[1] == f->config->model.moe_inter_dim &&
                       t->first_row == 0 && q->rows == t->dims[0];
            if (q->layer != layer)
                for (int k = 0; k < 2; k++) {
                    e = &f->entry[fused[k] = f->n_entries++];
                    snprintf(e->name, sizeof e->name, "model.layers.%d.%s.experts.%s", q->layer, block,
                             k ? "down_proj" : "gate_up_proj");
                }
            layer = q->layer;
            e = &f->entry[fused[down]];
            e->n_dims = 3;
            e->dims[0] = f->config->moe.num_experts;
            e->dims[1] = down ? t->dims[0] : 2 * t->dims[0];
            e->dims[2] = t->dims[1];
        } else {
            const char *other = strstr(t->name, ".block_sparse_moe.");
            if (other)
                snprintf(e->name, sizeof e->name, "%.*s.%s.%s", (int)(other - t->name), t->name, block,
                         other + 18);
            else
                snprintf(e->name, sizeof e->name, "%s", t->name);
            e->n_dims = t->n_dims;
            memcpy(e->dims, t->dims, sizeof t->dims);
            f->n_entries++;
        }
        e->parts[e->n++] = i;
        assert_true(f->n_entries < MAX_ENTRIES - 2 && e->n < 64);
    }
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static void write_values(struct sy_safetensors_writer *w, enum sy_safetensors_dtype dtype, const float *x,
                         int64_t n) {
    uint16_t *half = malloc(2 * (size_t)n);
    assert_non_null(half);
    for (int64_t i = 0; i < n; i++) {
        _Float16 h = (_Float16)x[i];
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        memcpy(&half[i], &h, sizeof h);
        if (dtype == SY_SAFETENSORS_BF16)
            half[i] = (uint16_t)(bits >> 16);
    }
    int whole = dtype == SY_SAFETENSORS_F32;
    const void *from = whole ? (const void *)x : half;
    assert_int_equal(sy_safetensors_writer_write(w, from, (size_t)n * (whole ? 4 : 2)), SY_OK);
    free(half);
}

static void write_folder(struct folder *f, enum sy_safetensors_dtype dtype) {
    char path[128], *text;
    size_t bytes;
    json_t *root = NULL;
    struct sy_safetensors_writer *w = NULL;
    assert_int_equal(sy_hf_config_make(f->config, NULL, &root), SY_OK);
    assert_int_equal(json_object_del(root, "switchyard"), 0);
    assert_int_equal(sy_json_print(root, SY_JSON_INDENT, &text, &bytes), SY_OK);
    snprintf(path, sizeof path, "%s/config.json", f->path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, bytes, file), bytes);
    fclose(file);
    free(text);
    json_decref(root);
    snprintf(path, sizeof path, "%s/model.safetensors", f->path);
    unlink(path);
    qsort(f->entry, (size_t)f->n_entries, sizeof *f->entry, by_name);
    assert_int_equal(sy_safetensors_writer_open(path, &w), SY_OK);
    for (int i = 0; i < f->n_entries; i++)
        assert_int_equal(
            sy_safetensors_writer_declare(w, f->entry[i].name, dtype, f->entry[i].n_dims, f->entry[i].dims),
            SY_OK);
    for (int i = 0; i < f->n_entries; i++)
        for (int k = 0; k < f->entry[i].n; k++) {
            const struct sy_tensor *t = &f->params->tensor[f->entry[i].parts[k]];
            write_values(w, dtype, f->value + flat_at(f->params, t), t->n);
        }
    assert_int_equal(sy_safetensors_writer_finish(w, 0, NULL), SY_OK);
}

static void check_values(const struct folder *f, const float *got, const char *digest, const char *what) {
    struct sy_digest want = {{0, 0}};
    char hex[SY_DIGEST_CHARS];
    for (int i = 0; i < f->params->n_tensors; i++) {
        const struct sy_tensor *t = &f->params->tensor[i];
        const float *is = got + flat_at(f->params, t), *must = f->value + flat_at(f->params, t);
        for (int64_t j = 0; j < t->n; j++)
            if (is[j] != must[j])
                fail_msg("%s: %s, element %lld is %g, must be %g", what, t->name, (long long)j, is[j],
                         must[j]);
        sy_digest_add_f32(&want, t->id, 0, f->value + flat_at(f->params, t), (size_t)t->n);
    }
    sy_digest_hex(&want, hex);
    assert_string_equal(digest, hex);
}

static void check_fused(const char *flavor, const char *const *keys, const char *block) {
    static const enum sy_safetensors_dtype dtypes[] = {SY_SAFETENSORS_F32, SY_SAFETENSORS_BF16,
                                                       SY_SAFETENSORS_F16};
    struct folder f;
    char digest[SY_DIGEST_CHARS];
    open_model(&f, flavor, keys);
    list_entries(&f, block);
    float *got = calloc((size_t)flat_size(f.params), sizeof *got);
    assert_non_null(got);
    for (int d = 0; d < 3; d++) {
        write_folder(&f, dtypes[d]);
        memset(got, 0xff, 4 * (size_t)flat_size(f.params));
        if (load_flat(f.path, f.params, got, digest) != SY_OK)
            fail_msg("%s, %s: %s", flavor, block, sy_error_message());
        check_values(&f, got, digest, flavor);
    }
    free(got);
    close_model(&f);
}

static const char *const as_it_is[] = {NULL};
static const char *const wide[] = {/* W1 alone is longer than what is read at once */
                                   "model.dim",
                                   "272",
                                   "model.moe_inter_dim",
                                   "1000",
                                   "moe.num_experts",
                                   "3",
                                   "moe.num_expert_groups",
                                   "0",
                                   "moe.num_limited_groups",
                                   "0",
                                   NULL};
static const char *const as_qwen3[] = {
    "model.qk_norm", "head", "moe.load_balance_coeff", "0", "model.moe_inter_dim", "5", NULL};
static const char *const as_mixtral[] = {"moe.load_balance_coeff", "0", "model.moe_inter_dim", "7", NULL};

static void test_fused(void **state) {
    (void)state;
    check_fused("micro_mla", as_it_is, "mlp");
    check_fused("micro_mla", wide, "mlp");
    check_fused("micro_gqa", as_qwen3, "mlp");
    check_fused("micro_gqa", as_mixtral, "mlp");
    check_fused("micro_gqa", as_mixtral, "block_sparse_moe");
}

static struct entry *find(struct folder *f, const char *part) {
    for (int i = 0; i < f->n_entries; i++)
        if (strstr(f->entry[i].name, part))
            return &f->entry[i];
    fail_msg("no %s", part);
    return NULL;
}

static void expect_refused(struct folder *f, const char *word, const char *more) {
    float *got = calloc((size_t)flat_size(f->params), sizeof *got);
    assert_non_null(got);
    write_folder(f, SY_SAFETENSORS_F32);
    assert_int_equal(load_flat(f->path, f->params, got, NULL), SY_ERR_DATA);
    if (!strstr(sy_error_message(), word) || !strstr(sy_error_message(), more))
        fail_msg("%s, %s: %s", word, more, sy_error_message());
    free(got);
}

static void test_refused(void **state) {
    (void)state;
    struct folder f;
    open_model(&f, "micro_gqa", as_qwen3);
    list_entries(&f, "mlp");
    struct entry *e = find(&f, "gate_up_proj"), saved = *e;
    int64_t rows = e->dims[1];
    e->dims[1] = e->dims[2]; /* transposed */
    e->dims[2] = rows;
    expect_refused(&f, "gate_up_proj", "[8, 32, 10], the model's is [8, 10, 32]");
    e = find(&f, "gate_up_proj");
    *e = saved;
    e->dims[0] = 4; /* half of the experts */
    e->n = 8;
    expect_refused(&f, "gate_up_proj", "[4, 10, 32]");
    *(e = find(&f, "gate_up_proj")) = saved;
    snprintf(e->name, sizeof e->name,
             "model.layers.0.mlp.experts.gate_and_up"); /* unknown: its parts are missing */
    expect_refused(&f, "experts.0.gate_proj.weight", "is in none of the files");
    *(e = find(&f, "gate_and_up")) = saved;
    struct entry *twice = &f.entry[f.n_entries++]; /* W2 of expert 3 once more by itself */
    int down = find(&f, "experts.down_proj")->parts[3];
    *twice = (struct entry){.n_dims = 2, .n = 1, .parts = {down}};
    memcpy(twice->dims, f.params->tensor[down].dims, sizeof f.params->tensor[down].dims);
    snprintf(twice->name, sizeof twice->name, "%s", f.params->tensor[down].name);
    expect_refused(&f, "experts.3.down_proj.weight", "twice");
    close_model(&f);
}

/* The last bit of the first tensor of the folder's file, of n bytes. */
static void flip_in_first(const struct folder *f, int64_t n) {
    char path[128];
    uint64_t header;
    snprintf(path, sizeof path, "%s/model.safetensors", f->path);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fread(&header, sizeof header, 1, file), 1);
    assert_int_equal(fseek(file, (long)(8 + header) + n - 1, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, -1, SEEK_CUR), 0);
    assert_true(fputc(byte ^ 1, file) >= 0);
    fclose(file);
}

/* Tied embeddings: the head's tensor may stand beside the embedding's if it is the same. */
static void test_tied(void **state) {
    (void)state;
    static const char *const keys[] = {"model.tie_word_embeddings", "true", NULL};
    struct folder f;
    char digest[SY_DIGEST_CHARS];
    open_model(&f, "micro_mla", keys);
    list_entries(&f, "mlp");
    float *got = calloc((size_t)flat_size(f.params), sizeof *got);
    assert_non_null(got);
    write_folder(&f, SY_SAFETENSORS_BF16);
    if (load_flat(f.path, f.params, got, digest) != SY_OK)
        fail_msg("without a head: %s", sy_error_message());
    check_values(&f, got, digest, "without a head");
    struct entry *head = &f.entry[f.n_entries++];
    *head = *find(&f, "embed_tokens");
    snprintf(head->name, sizeof head->name, "lm_head.weight");
    write_folder(&f, SY_SAFETENSORS_BF16);
    if (load_flat(f.path, f.params, got, digest) != SY_OK)
        fail_msg("with the same head: %s", sy_error_message());
    check_values(&f, got, digest, "with the same head");
    head = find(&f, "lm_head");
    flip_in_first(&f, 2 * head->dims[0] * head->dims[1]);
    assert_int_equal(load_flat(f.path, f.params, got, digest), SY_ERR_DATA);
    if (!strstr(sy_error_message(), "tensor \"lm_head.weight\" is not \"model.embed_tokens.weight\", but "
                                    "config.json has tie_word_embeddings = true"))
        fail_msg("%s", sy_error_message());
    free(got);
    close_model(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fused), cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_tied)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
