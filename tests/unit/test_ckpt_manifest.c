/* Manifests whose own hash holds, but whose lists are broken, not complete, or not of these files. */
#include "ckpt_case.h"

/* Writes a manifest again, with a hash that holds. */
static void rewrite(const char *path, const json_t *root) {
    char file[SY_CKPT_PATH_BYTES], *text = NULL, *end, *from;
    static const char last[] = "  \"hash\": \"";
    size_t n = 0;
    assert_int_equal(sy_ckpt_print_json(root, &text, &n), SY_OK);
    for (end = NULL, from = text; (from = strstr(from, last)); from++)
        end = from;
    assert_non_null(end);
    char hash[SY_CKPT_HASH_CHARS];
    sy_xxh128_hex(XXH3_128bits(text, (size_t)(end - text)), hash);
    memcpy(end + sizeof last - 1, hash, sizeof hash - 1);
    assert_int_equal(sy_ckpt_join(file, path, SY_CKPT_MANIFEST), SY_OK);
    spill(file, text, n);
    free(text);
}

enum change {
    NONE,
    NO_DIGEST,
    ONE_MORE,
    ONE_MORE_WEIGHT,
    OTHER_DIGEST,
    NOT_HEX,
    TOO_LONG,
    NO_TEXT,
    OUT_OF_ORDER,
    NO_TENSORS,
    NO_KIND,
    WHOLE_HASH,
    NEWER,
    OLDER,
    OTHER_WEIGHTS
};

static void make_change(json_t *root, enum change change) {
    json_t *m = json_object_get(json_object_get(root, "tensors"), "adam_m"), *entry;
    const char *first = json_object_iter_key(json_object_iter(m));
    static const char zeros[] = "00000000000000000000000000000000";
    size_t i;
    switch (change) {
    case NONE:
        break;
    case NO_DIGEST:
        json_object_del(m, first);
        break;
    case ONE_MORE:
        json_object_set_new(m, "zzz", json_string(zeros));
        break;
    case ONE_MORE_WEIGHT:
        json_object_set_new(json_object_get(json_object_get(root, "tensors"), "weights"), "zzz",
                            json_string(zeros));
        break;
    case OTHER_DIGEST:
        json_object_set_new(m, first, json_string(zeros));
        break;
    case NOT_HEX:
        json_object_set_new(m, first, json_string("0000000000000000000000000000000G"));
        break;
    case TOO_LONG:
        json_object_set_new(m, first, json_string("000000000000000000000000000000000"));
        break;
    case NO_TEXT:
        json_object_set_new(m, first, json_integer(7));
        break;
    case OUT_OF_ORDER:
        json_object_set_new(m, "a", json_string(zeros));
        break;
    case NO_TENSORS:
        json_object_del(root, "tensors");
        break;
    case NO_KIND:
        json_object_del(json_object_get(root, "tensors"), "adam_v");
        break;
    case WHOLE_HASH:
        json_array_foreach(json_object_get(root, "files"), i, entry) if (json_object_get(entry, "header")) {
            json_object_set(entry, "hash", json_object_get(entry, "header"));
            json_object_del(entry, "header");
            return;
        }
        break;
    case NEWER:
        json_object_set_new(root, "version", json_integer(3));
        break;
    case OLDER:
        json_object_set_new(root, "version", json_integer(0));
        break;
    case OTHER_WEIGHTS:
        json_object_set_new(root, "weights_digest", json_string(zeros));
        break;
    }
}

/* A manifest whose own hash holds, but which is not complete, or not of these files. */
static void test_lists_of_the_manifest(void **unused) {
    (void)unused;
    static const struct {
        enum change change;
        const char *what;
    } cases[] = {
        {NO_DIGEST, "has no digest in switchyard.json"},
        {ONE_MORE, "\"zzz\" is in none of the files optimizer/adam_m-*.safetensors"},
        {ONE_MORE_WEIGHT, "\"zzz\" is in none of the files model-*.safetensors"},
        {OTHER_DIGEST, "was written with 00000000000000000000000000000000"},
        {NOT_HEX, "not a digest of 32 lower-case hex digits"},
        {TOO_LONG, "not a digest"},
        {NO_TEXT, "not a digest"},
        {OUT_OF_ORDER, "out of order"},
        {NO_TENSORS, "\"tensors\""},
        {NO_KIND, "\"adam_v\""},
        {WHOLE_HASH, "\"header\""},
        {NEWER, "version 3 of the format, this program reads 1 to 2"},
        {OLDER, "version 0 of the format, this program reads 1 to 2"},
        {OTHER_WEIGHTS, "the weights' digest is"},
    };
    struct model x = model_of(VERSION_1);
    char path[SY_CKPT_PATH_BYTES], file[SY_CKPT_PATH_BYTES], *out = NULL;
    json_error_t error;
    save(&x, "lists", 1, 0, 0, path);
    assert_int_equal(sy_ckpt_join(file, path, SY_CKPT_MANIFEST), SY_OK);
    json_t *root = json_load_file(file, 0, &error), *copy;
    assert_non_null(root);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        copy = json_deep_copy(root);
        make_change(copy, cases[i].change);
        rewrite(path, copy);
        json_decref(copy);
        if (verify(path) != SY_ERR_DATA || !strstr(sy_error_message(), cases[i].what))
            fail_msg("case %zu, no \"%s\": %s", i, cases[i].what, sy_error_message());
        assert_int_equal(latest("lists"), -SY_ERR_DATA);
        assert_int_equal(inspect(path, &out), SY_ERR_DATA);
        free(out);
    }
    copy = json_deep_copy(root);
    make_change(copy, NONE);
    rewrite(path, copy);
    json_decref(copy);
    assert_int_equal(verify(path), SY_OK);
    json_decref(root);
    free_model(&x);
    remove_run("lists");
}

/* Two tensors whose digests hold, but in the wrong files: the order of the list is that of the files. */
static void test_files_of_another_order(void **unused) {
    (void)unused;
    struct model x = model_of(VERSION_1);
    char path[SY_CKPT_PATH_BYTES], a[SY_CKPT_PATH_BYTES], b[SY_CKPT_PATH_BYTES], c[SY_CKPT_PATH_BYTES];
    json_error_t error;
    save(&x, "order", 1, 0, 1, path); /* a file per tensor */
    assert_int_equal(sy_ckpt_join(a, path, "optimizer/adam_v-00002-of-00040.safetensors"), SY_OK);
    assert_int_equal(sy_ckpt_join(b, path, "optimizer/adam_v-00003-of-00040.safetensors"), SY_OK);
    assert_int_equal(sy_ckpt_join(c, path, "other"), SY_OK);
    assert_int_equal(rename(a, c) | rename(b, a) | rename(c, b), 0);
    assert_int_equal(sy_ckpt_join(c, path, SY_CKPT_MANIFEST), SY_OK);
    json_t *root = json_load_file(c, 0, &error), *files = json_object_get(root, "files"), *entry,
           *of[2] = {NULL, NULL};
    size_t i;
    json_array_foreach(files, i, entry) {
        const char *name = json_string_value(json_object_get(entry, "name"));
        if (strstr(name, "adam_v-00002") || strstr(name, "adam_v-00003"))
            of[!!strstr(name, "adam_v-00003")] = entry;
    }
    assert_true(of[0] && of[1]);
    static const char *const keys[] = {"bytes", "header"};
    for (int k = 0; k < 2; k++) {
        json_t *x0 = json_incref(json_object_get(of[0], keys[k]));
        json_object_set(of[0], keys[k], json_object_get(of[1], keys[k]));
        json_object_set_new(of[1], keys[k], x0);
    }
    rewrite(path, root);
    json_decref(root);
    assert_int_equal(verify(path), SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), " stands where \""));
    free_model(&x);
    remove_run("order");
}

/* A header whose hash holds says I32 where the words are a digested F32's. */
static void test_another_dtype(void **unused) {
    (void)unused;
    static const char name[] = "optimizer/adam_v-00002-of-00040.safetensors";
    struct model x = model_of(VERSION_1);
    struct sy_ckpt_store store = store_of(&x);
    struct sy_ckpt_target target = {x.params, &store, 1};
    struct sy_ckpt *c = NULL;
    char path[SY_CKPT_PATH_BYTES], file[SY_CKPT_PATH_BYTES], hash[SY_CKPT_HASH_CHARS];
    size_t n = 0, i;
    uint64_t length;
    json_error_t error;
    json_t *entry;
    save(&x, "dtype", 1, 0, 1, path); /* a file per tensor */
    assert_int_equal(sy_ckpt_join(file, path, name), SY_OK);
    char *text = slurp(file, &n), *f32;
    memcpy(&length, text, sizeof length);
    for (f32 = text + sizeof length; memcmp(f32, "F32", 3) != 0;)
        f32++;
    *f32 = 'I';
    spill(file, text, n);
    sy_xxh128_hex(XXH3_128bits(text, sizeof length + length), hash);
    free(text);
    assert_int_equal(sy_ckpt_join(file, path, SY_CKPT_MANIFEST), SY_OK);
    json_t *root = json_load_file(file, 0, &error);
    json_array_foreach(json_object_get(root, "files"), i,
                       entry) if (strcmp(json_string_value(json_object_get(entry, "name")), name) == 0)
        json_object_set_new(entry, "header", json_string(hash));
    rewrite(path, root);
    json_decref(root);
    assert_int_equal(verify(path), SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "is I32: must be F32"));
    assert_int_equal(sy_ckpt_open(path, 1, &c), SY_OK);
    assert_int_equal(sy_ckpt_load(c, &target, NULL, NULL), SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "is I32: must be F32"));
    sy_ckpt_close(c);
    inspect_says(path, SY_ERR_DATA, "is not F32");
    free_model(&x);
    remove_run("dtype");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists_of_the_manifest),
        cmocka_unit_test(test_files_of_another_order),
        cmocka_unit_test(test_another_dtype),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder) != 0;
}
