/* A Hugging Face folder loads as a checkpoint without our manifest. */
#include "ckpt_case.h"

/* Makes <run>/hf: config.json and one file with every tensor in `dtype`, but the expert bias. */
static void make_hugging_face(const struct model *x, const char *path, enum sy_safetensors_dtype dtype,
                              int break_shape, int skip) {
    struct sy_safetensors_writer *w = NULL;
    char file[1200], *json = NULL;
    size_t n = 0;
    snprintf(file, sizeof file, "%s/config.json", run_of("hfsource/checkpoints/step-00000001"));
    json = slurp(file, &n);
    assert_int_equal(mkdir(path, 0777), 0);
    snprintf(file, sizeof file, "%s/config.json", path);
    spill(file, json, n);
    free(json);
    snprintf(file, sizeof file, "%s/model.safetensors", path);
    assert_int_equal(sy_safetensors_writer_open(file, &w), SY_OK);
    for (int i = 0; i < x->params->n_tensors; i++) {
        const struct sy_tensor *t = &x->params->tensor[x->params->by_name[i]];
        int64_t dims[2] = {t->dims[0], t->dims[1]};
        if (i == break_shape && t->n_dims == 2)
            dims[0] = t->dims[1], dims[1] = t->dims[0];
        if (i != skip && !flat_is_buffer(x->params, t))
            assert_int_equal(sy_safetensors_writer_declare(w, t->name, dtype, t->n_dims, dims), SY_OK);
    }
    int64_t one = 1;
    assert_int_equal(sy_safetensors_writer_declare(w, "zz.unknown", dtype, 1, &one), SY_OK);
    for (int i = 0; i < x->params->n_tensors; i++) {
        const struct sy_tensor *t = &x->params->tensor[x->params->by_name[i]];
        if (i == skip || flat_is_buffer(x->params, t))
            continue;
        for (int64_t k = 0; k < t->n; k++) {
            uint32_t bits;
            memcpy(&bits, x->w + flat_at(x->params, t) + k, 4);
            uint16_t half = (uint16_t)(bits >> 16);
            assert_int_equal(dtype == SY_SAFETENSORS_F32 ? sy_safetensors_writer_write(w, &bits, 4)
                                                         : sy_safetensors_writer_write(w, &half, 2),
                             SY_OK);
        }
    }
    uint32_t zero = 0;
    assert_int_equal(sy_safetensors_writer_write(w, &zero, (size_t)sy_safetensors_dtype_bytes(dtype)), SY_OK);
    assert_int_equal(sy_safetensors_writer_finish(w, 0, NULL), SY_OK);
}

static void test_hugging_face(void **unused) {
    (void)unused;
    struct model x = make_model("micro_mla"), y = make_model("micro_mla");
    struct sy_ckpt *c = NULL;
    struct sy_ckpt_store store = store_of(&y);
    struct sy_ckpt_target target = {y.params, &store, 0};
    int matrix = 0; /* of different sides, by name */
    while (y.params->tensor[y.params->by_name[matrix]].n_dims != 2 ||
           y.params->tensor[y.params->by_name[matrix]].dims[0] ==
               y.params->tensor[y.params->by_name[matrix]].dims[1])
        matrix++;
    for (int64_t k = 0; k < flat_size(x.params); k++) { /* values that bf16 holds */
        uint32_t bits;
        memcpy(&bits, x.w + k, 4);
        bits &= 0xffff0000u;
        memcpy(x.w + k, &bits, 4);
    }
    save(&x, "hfsource", 1, 0, 0, NULL);
    static const enum sy_safetensors_dtype dtypes[] = {SY_SAFETENSORS_F32, SY_SAFETENSORS_BF16};
    for (int d = 0; d < 2; d++) {
        make_hugging_face(&x, run_of("hf"), dtypes[d], -1, -1);
        assert_int_equal(sy_ckpt_open(run_of("hf"), 1, &c), SY_ERR_DATA);
        assert_int_equal(sy_ckpt_open(run_of("hf"), 0, &c), SY_OK);
        assert_false(sy_ckpt_info(c)->has_manifest);
        memset(y.w, 0xff, 4 * (size_t)flat_size(y.params));
        lines[0] = 0;
        assert_int_equal(sy_ckpt_load(c, &target, &log_lines, NULL), SY_OK);
        assert_non_null(strstr(lines, "e_score_correction_bias"));
        assert_non_null(strstr(lines, "zz.unknown"));
        for (int i = 0; i < x.params->n_tensors; i++) {
            const struct sy_tensor *t = &x.params->tensor[i];
            for (int64_t k = flat_at(x.params, t), end = k + t->n; k < end; k++)
                assert_true(y.w[k] == (!flat_is_buffer(x.params, t) ? x.w[k] : 0.0f));
        }
        struct sy_ckpt_target moments = {y.params, &store, 1};
        assert_int_equal(sy_ckpt_load(c, &moments, NULL, NULL), SY_ERR_USAGE);
        sy_ckpt_close(c);
        remove_run("hf");
    }
    make_hugging_face(&x, run_of("hf"), SY_SAFETENSORS_F32, matrix, -1);
    assert_int_equal(sy_ckpt_open(run_of("hf"), 0, &c), SY_OK);
    assert_int_equal(sy_ckpt_load(c, &target, NULL, NULL), SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "has shape"));
    sy_ckpt_close(c);
    remove_run("hf");
    make_hugging_face(&x, run_of("hf"), SY_SAFETENSORS_F32, -1, matrix);
    assert_int_equal(sy_ckpt_open(run_of("hf"), 0, &c), SY_OK);
    assert_int_equal(sy_ckpt_load(c, &target, NULL, NULL), SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "in none of the files"));
    sy_ckpt_close(c);
    remove_run("hf");
    remove_run("hfsource");
    free_model(&x);
    free_model(&y);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hugging_face),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder) != 0;
}
