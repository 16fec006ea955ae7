/* Every way in which a file of a checkpoint can be broken is seen, and said. */
#include "ckpt_case.h"

static void test_every_corruption(void **unused) {
    (void)unused;
    struct model x = make_model("micro_gqa"), y = make_model("micro_gqa");
    char path[SY_CKPT_PATH_BYTES];
    save(&x, "broken", 1, 0, 200000, NULL);
    save(&x, "broken", 2, 0, 200000, path);
    assert_int_equal(latest("broken"), 2);
    corrupt_every_file(&y, path);
    assert_int_equal(latest("broken"), 2);
    free_model(&x);
    free_model(&y);
    remove_run("broken");
}

/* Every single bit of the manifest. */
static void test_every_bit_of_manifest(void **unused) {
    (void)unused;
    struct model x = make_model("micro_gqa");
    char path[SY_CKPT_PATH_BYTES], file[SY_CKPT_PATH_BYTES + 100];
    save(&x, "bits", 1, 0, 0, path);
    snprintf(file, sizeof file, "%s/%s", path, SY_CKPT_MANIFEST);
    size_t n = 0;
    char *text = slurp(file, &n);
    struct sy_ckpt_manifest manifest;
    for (size_t bit = 0; bit < 8 * n; bit++) {
        text[bit / 8] ^= (char)(1 << bit % 8);
        if (sy_ckpt_manifest_parse("m", text, n, &manifest) != SY_ERR_DATA)
            fail_msg("bit %zu of byte %zu: accepted", bit % 8, bit / 8);
        sy_ckpt_manifest_free(&manifest);
        text[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < n; cut++) {
        assert_int_equal(sy_ckpt_manifest_parse("m", text, cut, &manifest), SY_ERR_DATA);
        sy_ckpt_manifest_free(&manifest);
    }
    assert_int_equal(sy_ckpt_manifest_parse("m", text, n, &manifest), SY_OK);
    sy_ckpt_manifest_free(&manifest);
    free(text);
    free_model(&x);
    remove_run("bits");
}

static void test_all_damaged(void **unused) {
    (void)unused;
    struct model x = make_model("micro_gqa");
    char path[SY_CKPT_PATH_BYTES], file[SY_CKPT_PATH_BYTES + 100];
    for (int64_t step = 1; step <= 2; step++) {
        save(&x, "all", step, 0, 0, path);
        snprintf(file, sizeof file, "%s/%s", path, SY_CKPT_MANIFEST);
        assert_int_equal(unlink(file), 0);
    }
    assert_int_equal(latest("all"), -SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "none of 2 checkpoints is whole"));
    free_model(&x);
    remove_run("all");
}

/* A folder that was renamed to another step is not that step. */
static void test_wrong_step(void **unused) {
    (void)unused;
    struct model x = make_model("micro_gqa");
    char path[SY_CKPT_PATH_BYTES], other[1024];
    save(&x, "renamed", 4, 0, 0, path);
    snprintf(other, sizeof other, "%s/checkpoints/step-00000099", run_of("renamed"));
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(latest("renamed"), -SY_ERR_DATA);
    assert_non_null(strstr(lines, "is of step 4"));
    free_model(&x);
    remove_run("renamed");
}

static void inspect_write(void *user, const char *text, size_t n) { fwrite(text, 1, n, user); }

static void test_inspect(void **unused) {
    (void)unused;
    struct model x = make_model("micro_gqa");
    char path[SY_CKPT_PATH_BYTES], file[SY_CKPT_PATH_BYTES + 100];
    save(&x, "inspect", 1, 0, 0, path);
    char *out = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&out, &n);
    assert_int_equal(sy_ckpt_inspect(path, inspect_write, f), SY_OK);
    fflush(f);
    assert_non_null(strstr(out, "model.layers.1.mlp.experts.7.up_proj.weight"));
    assert_non_null(strstr(out, "weights digest recomputed: ok"));
    snprintf(file, sizeof file, "%s/model-00001-of-00001.safetensors", path);
    size_t bytes = 0;
    char *text = slurp(file, &bytes);
    text[bytes - 3] ^= 8;
    spill(file, text, bytes);
    assert_int_equal(sy_ckpt_inspect(path, inspect_write, f), SY_ERR_DATA);
    assert_int_equal(sy_ckpt_inspect(file, inspect_write, f),
                     SY_ERR_DATA); /* the file alone: by the tensor's own hash */
    assert_non_null(strstr(sy_error_message(), "model.norm.weight"));
    text[bytes - 3] ^= 8;
    char *name = strstr(text + 8, "model.norm"); /* in the header */
    name[6] = 'w';
    spill(file, text, bytes);
    assert_int_equal(sy_ckpt_inspect(path, inspect_write, f), SY_ERR_DATA);
    fflush(f);
    assert_non_null(strstr(out, "the damage is in the header"));
    assert_int_equal(sy_ckpt_inspect(run_of("nowhere"), inspect_write, f), SY_ERR_IO);
    fclose(f);
    free(out);
    free(text);
    free_model(&x);
    remove_run("inspect");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_corruption), cmocka_unit_test(test_every_bit_of_manifest),
        cmocka_unit_test(test_all_damaged),      cmocka_unit_test(test_wrong_step),
        cmocka_unit_test(test_inspect),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder) != 0;
}
