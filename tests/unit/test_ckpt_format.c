/* The format of a checkpoint: version 1, saved by an earlier program, is read as ever; of version 2 every bit
 * of the data is under a digest of its words, and every bit of a header under a hash.
 */
#include "ckpt_case.h"

/* ---- small things ---- */

/* A checkpoint's copy as step 2 of a run that has the folder `checkpoints`. */
static void copy_checkpoint(const char *from, const char *run, char path[SY_CKPT_PATH_BYTES]) {
    char names[64][256], a[SY_CKPT_PATH_BYTES], b[SY_CKPT_PATH_BYTES];
    int n = list_files(from, names);
    snprintf(path, SY_CKPT_PATH_BYTES, "%s/checkpoints/step-00000002", run_of(run));
    assert_int_equal(sy_ckpt_join(a, path, "optimizer"), SY_OK);
    assert_int_equal(sy_folder_make(a), SY_OK);
    for (int i = 0; i < n; i++) {
        assert_int_equal(sy_ckpt_join(a, from, names[i]), SY_OK);
        assert_int_equal(sy_ckpt_join(b, path, names[i]), SY_OK);
        copy_file(a, b);
    }
}

static void load(const char *path, const struct model *y) {
    struct sy_ckpt *c = NULL;
    struct sy_ckpt_store store = store_of(y);
    struct sy_ckpt_target target = {y->params, &store, 1};
    char digest[SY_DIGEST_CHARS];
    if (sy_ckpt_open(path, 1, &c) != SY_OK || sy_ckpt_load(c, &target, NULL, digest) != SY_OK)
        fail_msg("%s: %s", path, sy_error_message());
    assert_string_equal(digest, sy_ckpt_info(c)->weights_digest);
    sy_ckpt_close(c);
}

/* ---- version 1 ---- */

static size_t data_start(const char *text) {
    uint64_t length;
    memcpy(&length, text, sizeof length);
    return sizeof length + length;
}

/* Its numbers come back bit for bit: a save of them has the data of its files, byte for byte. */
static void test_version_1(void **unused) {
    (void)unused;
    struct model x = model_of(VERSION_1);
    struct sy_ckpt *c = NULL;
    char path[SY_CKPT_PATH_BYTES], a[SY_CKPT_PATH_BYTES], b[SY_CKPT_PATH_BYTES];
    size_t bytes = 4 * (size_t)flat_size(x.params), na = 0, nb = 0;
    memset(x.w, 0xff, bytes);
    memset(x.m, 0xff, bytes);
    memset(x.v, 0xff, bytes);
    assert_int_equal(sy_ckpt_open(VERSION_1, 1, &c), SY_OK);
    assert_int_equal(sy_ckpt_info(c)->version, 1);
    assert_int_equal(sy_ckpt_info(c)->step, 2);
    assert_int_equal(sy_ckpt_verify(c, NULL), SY_OK);
    sy_ckpt_close(c);
    load(VERSION_1, &x);
    save(&x, "again", 2, 0, 0, path);
    for (int kind = 0; kind < SY_CKPT_KINDS; kind++) {
        char name[128];
        snprintf(name, sizeof name, "%s-00001-of-00001.safetensors",
                 sy_ckpt_kind_prefix((enum sy_ckpt_kind)kind));
        assert_int_equal(sy_ckpt_join(a, VERSION_1, name), SY_OK);
        assert_int_equal(sy_ckpt_join(b, path, name), SY_OK);
        char *ta = slurp(a, &na), *tb = slurp(b, &nb);
        size_t at = data_start(ta), bt = data_start(tb);
        assert_true(na - at > 20000);
        assert_int_equal(na - at, nb - bt);
        assert_memory_equal(ta + at, tb + bt, na - at);
        free(ta);
        free(tb);
    }
    inspect_says(VERSION_1, SY_OK, "format version  1");
    inspect_says(VERSION_1, SY_OK, "every tensor's hash ok");
    inspect_says(path, SY_OK, "format version  2");
    inspect_says(path, SY_OK, "every tensor's digest ok");
    free_model(&x);
    remove_run("again");
}

static void test_version_1_corruption(void **unused) {
    (void)unused;
    struct model x = model_of(VERSION_1);
    char path[SY_CKPT_PATH_BYTES];
    save(&x, "broken", 1, 0, 0, NULL);
    copy_checkpoint(VERSION_1, "broken", path);
    assert_int_equal(latest("broken"), 2);
    corrupt_every_file(&x, path);
    assert_int_equal(latest("broken"), 2);
    free_model(&x);
    remove_run("broken");
}

/* A tensor is named with its bytes by the XXH3-64 in the file's metadata, with the manifest and without. */
static void test_version_1_inspect(void **unused) {
    (void)unused;
    char path[SY_CKPT_PATH_BYTES], file[SY_CKPT_PATH_BYTES], what[512], manifest[SY_CKPT_PATH_BYTES];
    struct sy_safetensors *open = NULL;
    size_t n = 0;
    copy_checkpoint(VERSION_1, "old", path);
    assert_int_equal(sy_ckpt_join(file, path, "optimizer/adam_m-00001-of-00001.safetensors"), SY_OK);
    assert_int_equal(sy_safetensors_open(file, &open), SY_OK);
    const struct sy_safetensors_tensor *t = sy_safetensors_at(open, 7);
    snprintf(what, sizeof what, "tensor \"%s\", bytes %lld … %lld: XXH3-64 is ", t->name,
             (long long)t->offset, (long long)(t->offset + t->bytes - 1));
    char *text = slurp(file, &n);
    text[t->offset] ^= 1;
    spill(file, text, n);
    text[t->offset] ^= 1;
    inspect_says(path, SY_ERR_DATA, what);
    inspect_says(file, SY_ERR_DATA, what);
    assert_int_equal(sy_ckpt_join(manifest, path, SY_CKPT_MANIFEST), SY_OK);
    assert_int_equal(unlink(manifest), 0);
    inspect_says(file, SY_ERR_DATA, what);
    spill(file, text, n);
    inspect_says(file, SY_OK, "every tensor's hash ok");
    sy_safetensors_close(open);
    free(text);
    remove_run("old");
}

/* ---- every bit ---- */

/* A bit of every tensor of every kind: found, and the tensor named, by verify, load and inspect. */
static void test_a_bit_of_every_tensor(void **unused) {
    (void)unused;
    struct model x = model_of(VERSION_1);
    char path[SY_CKPT_PATH_BYTES], file[SY_CKPT_PATH_BYTES], quoted[512];
    struct sy_safetensors *open = NULL;
    struct sy_ckpt_store store = store_of(&x);
    struct sy_ckpt_target target = {x.params, &store, 1};
    struct sy_ckpt *c = NULL;
    int n_tensors = 0;
    save(&x, "flip", 1, 0, 0, path);
    assert_int_equal(sy_ckpt_open(path, 1, &c), SY_OK);
    for (int kind = 0; kind < SY_CKPT_KINDS; kind++) {
        size_t n = 0;
        snprintf(quoted, sizeof quoted, "%s-00001-of-00001.safetensors",
                 sy_ckpt_kind_prefix((enum sy_ckpt_kind)kind));
        assert_int_equal(sy_ckpt_join(file, path, quoted), SY_OK);
        char *text = slurp(file, &n);
        assert_int_equal(sy_safetensors_open(file, &open), SY_OK);
        for (int64_t i = 0; i < sy_safetensors_count(open); i++) {
            const struct sy_safetensors_tensor *t = sy_safetensors_at(open, i);
            int64_t at = t->offset + (i * 7919 + kind) % t->bytes;
            snprintf(quoted, sizeof quoted, "tensor \"%s\", bytes %lld … %lld: ", t->name,
                     (long long)t->offset, (long long)(t->offset + t->bytes - 1));
            text[at] ^= (char)(1 << (i + kind) % 8);
            spill(file, text, n);
            assert_int_equal(sy_ckpt_verify(c, NULL), SY_ERR_DATA);
            assert_non_null(strstr(sy_error_message(), quoted));
            assert_int_equal(sy_ckpt_load(c, &target, NULL, NULL), SY_ERR_DATA);
            assert_non_null(strstr(sy_error_message(), quoted));
            inspect_says(path, SY_ERR_DATA, quoted);
            inspect_says(file, SY_ERR_DATA, quoted); /* the file alone, by the manifest above it */
            text[at] ^= (char)(1 << (i + kind) % 8);
            n_tensors++;
        }
        spill(file, text, n);
        sy_safetensors_close(open);
        free(text);
    }
    assert_true(n_tensors > 100);
    assert_int_equal(sy_ckpt_verify(c, NULL), SY_OK);
    sy_ckpt_close(c);
    free_model(&x);
    remove_run("flip");
}

/* Every bit of a header, its length and its padding included; with QUICK every 7th. */
static void test_every_bit_of_a_header(void **unused) {
    (void)unused;
    struct model x = model_of(VERSION_1);
    char path[SY_CKPT_PATH_BYTES], file[SY_CKPT_PATH_BYTES];
    static const char name[] = "model-00001-of-00001.safetensors";
    struct sy_ckpt *c = NULL;
    size_t n = 0;
    save(&x, "header", 1, 0, 0, path);
    assert_int_equal(sy_ckpt_join(file, path, name), SY_OK);
    assert_int_equal(sy_ckpt_open(path, 1, &c), SY_OK);
    const struct sy_ckpt_file *record = sy_ckpt_files_find(&c->manifest.files, name);
    assert_true(record && record->of_header);
    char *text = slurp(file, &n);
    FILE *f = fopen(file, "r+b");
    assert_non_null(f);
    for (size_t bit = 0; bit < 8 * data_start(text); bit += getenv("QUICK") ? 7 : 1) {
        assert_int_equal(fseek(f, (long)(bit / 8), SEEK_SET), 0);
        assert_int_equal(fputc((unsigned char)text[bit / 8] ^ 1 << bit % 8, f),
                         (unsigned char)text[bit / 8] ^ 1 << bit % 8);
        assert_int_equal(fflush(f), 0);
        if (sy_ckpt_check_file(path, record) != SY_ERR_DATA || !strstr(sy_error_message(), name))
            fail_msg("bit %zu of byte %zu: %s", bit % 8, bit / 8, sy_error_message());
        assert_int_equal(fseek(f, (long)(bit / 8), SEEK_SET), 0);
        assert_int_not_equal(fputc(text[bit / 8], f), EOF);
        assert_int_equal(fflush(f), 0);
    }
    fclose(f);
    free(text);
    assert_int_equal(sy_ckpt_verify(c, NULL), SY_OK);
    sy_ckpt_close(c);
    free_model(&x);
    remove_run("header");
}

/* A length that leads out of the file is named as what it is; one that just fits is another hash. */
static void test_length_of_a_header(void **unused) {
    (void)unused;
    static const char name[] = "model-00001-of-00001.safetensors";
    struct model x = model_of(VERSION_1);
    char path[SY_CKPT_PATH_BYTES], file[SY_CKPT_PATH_BYTES], what[128];
    struct sy_ckpt *c = NULL;
    size_t n = 0;
    save(&x, "length", 1, 0, 0, path);
    assert_int_equal(sy_ckpt_join(file, path, name), SY_OK);
    assert_int_equal(sy_ckpt_open(path, 1, &c), SY_OK);
    const struct sy_ckpt_file *record = sy_ckpt_files_find(&c->manifest.files, name);
    char *text = slurp(file, &n);
    const uint64_t lengths[] = {n - 8, n - 7, n, n + 8, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memcpy(text, &lengths[i], sizeof lengths[i]);
        spill(file, text, n);
        assert_int_equal(sy_ckpt_check_file(path, record), SY_ERR_DATA);
        snprintf(what, sizeof what, i ? "a header of %llu bytes in a file of" : "XXH3-128 of its header is",
                 (unsigned long long)lengths[i]);
        assert_non_null(strstr(sy_error_message(), what));
    }
    struct sy_ckpt_file tiny = *record; /* too small for a length */
    tiny.bytes = 7;
    spill(file, text, 7);
    assert_int_equal(sy_ckpt_check_file(path, &tiny), SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "7 bytes are too few"));
    free(text);
    sy_ckpt_close(c);
    free_model(&x);
    remove_run("length");
}

/* Where the header ends, inspect says. */
static void test_inspect_of_a_header(void **unused) {
    (void)unused;
    struct model x = model_of(VERSION_1);
    char path[SY_CKPT_PATH_BYTES], file[SY_CKPT_PATH_BYTES], what[128];
    size_t n = 0;
    save(&x, "where", 1, 0, 0, path);
    assert_int_equal(sy_ckpt_join(file, path, "model-00001-of-00001.safetensors"), SY_OK);
    char *text = slurp(file, &n), *pt = memmem(text, n, "\"pt\"", 4);
    assert_non_null(pt);
    pt[1] = 'q';
    spill(file, text, n);
    snprintf(what, sizeof what, "the damage is in the header, bytes 0 … %zu\n", data_start(text) - 1);
    inspect_says(path, SY_ERR_DATA, what);
    inspect_says(file, SY_ERR_DATA, what);
    free(text);
    free_model(&x);
    remove_run("where");
}

/* Tensors of several pieces of every reader's: a bit in each piece. */
static void test_a_large_tensor(void **unused) {
    (void)unused;
    struct sy_config *config = NULL;
    static const char toml[] =
        "[model]\nflavor = \"micro_gqa\"\nvocab_size = 24000\n[numerics]\nclass = \"x86\"\n";
    assert_int_equal(sy_config_create(&config), SY_OK);
    assert_int_equal(sy_config_load_text(config, "t", toml, strlen(toml)), SY_OK);
    assert_int_equal(sy_config_finish(config, false), SY_OK);
    struct model x = make_model_of(config);
    char path[SY_CKPT_PATH_BYTES], file[SY_CKPT_PATH_BYTES];
    struct sy_safetensors *open = NULL;
    size_t n = 0;
    save(&x, "large", 1, 0, 0, path);
    inspect_says(path, SY_OK, "weights digest recomputed: ok");
    assert_int_equal(verify(path), SY_OK);
    assert_int_equal(sy_ckpt_join(file, path, "model-00001-of-00001.safetensors"), SY_OK);
    assert_int_equal(sy_safetensors_open(file, &open), SY_OK);
    const struct sy_safetensors_tensor *t = sy_safetensors_find(open, "model.embed_tokens.weight");
    char *text = slurp(file, &n);
    assert_true(t && t->bytes > 2 * 4 * SY_CKPT_PIECE && t->bytes < 3 * 4 * SY_CKPT_PIECE);
    for (int64_t k = 0; k < 3; k++) {
        text[t->offset + 4 * SY_CKPT_PIECE * k + 5] ^= 64;
        spill(file, text, n);
        text[t->offset + 4 * SY_CKPT_PIECE * k + 5] ^= 64;
        assert_int_equal(verify(path), SY_ERR_DATA);
        assert_non_null(strstr(sy_error_message(), t->name));
        inspect_says(path, SY_ERR_DATA, "tensor \"model.embed_tokens.weight\"");
    }
    sy_safetensors_close(open);
    free(text);
    free_model(&x);
    remove_run("large");
}

/* What is a file of which kind: the manifest has hashes of headers of these alone. */
static void test_kinds_of_files(void **unused) {
    (void)unused;
    assert_int_equal(sy_ckpt_kind_of("model-00001-of-00001.safetensors"), SY_CKPT_WEIGHTS);
    assert_int_equal(sy_ckpt_kind_of("optimizer/adam_m-00001-of-00002.safetensors"), SY_CKPT_ADAM_M);
    assert_int_equal(sy_ckpt_kind_of("optimizer/adam_v-x.safetensors"), SY_CKPT_ADAM_V);
    static const char *const none[] = {"model-.safetensors",
                                       "model.safetensors",
                                       "model-1.safetensors.json",
                                       "optimizer/adam-1.safetensors",
                                       "adam_m-1.safetensors",
                                       "model-",
                                       "",
                                       "m"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_int_equal(sy_ckpt_kind_of(none[i]), SY_CKPT_KINDS);
}

/* All NaN are one in the weights' digest; in a file each comes back as it was, and may not change. */
static void test_words_of_nan(void **unused) {
    (void)unused;
    static const uint32_t nans[] = {0x7f800001u, 0xffc12345u};
    struct model x = model_of(VERSION_1), y = model_of(VERSION_1);
    char path[2][SY_CKPT_PATH_BYTES], file[SY_CKPT_PATH_BYTES], digest[2][SY_DIGEST_CHARS];
    const struct sy_tensor *t =
        &x.params->tensor[x.params->by_name[x.params->n_tensors - 1]]; /* last in the file */
    float *last = x.w + flat_at(x.params, t) + t->n - 1;
    size_t n = 0;
    for (int i = 0; i < 2; i++) {
        struct sy_ckpt *c = NULL;
        memcpy(last, &nans[i], 4);
        save(&x, "nan", 1 + i, 0, 0, path[i]);
        memset(y.w, 0, 4 * (size_t)flat_size(y.params));
        load(path[i], &y);
        assert_memory_equal(y.w + flat_at(x.params, t), x.w + flat_at(x.params, t), 4 * (size_t)t->n);
        assert_int_equal(sy_ckpt_open(path[i], 1, &c), SY_OK);
        memcpy(digest[i], sy_ckpt_info(c)->weights_digest, SY_DIGEST_CHARS);
        sy_ckpt_close(c);
    }
    assert_string_equal(digest[0], digest[1]);
    assert_int_equal(sy_ckpt_join(file, path[1], "model-00001-of-00001.safetensors"), SY_OK);
    char *text = slurp(file, &n);
    assert_memory_equal(text + n - 4, &nans[1], 4);
    text[n - 4] ^= 2; /* still a NaN */
    spill(file, text, n);
    assert_int_equal(verify(path[1]), SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), t->name));
    inspect_says(path[1], SY_ERR_DATA, t->name);
    free(text);
    free_model(&x);
    free_model(&y);
    remove_run("nan");
}

/* ---- inspect of one file ---- */

static void test_one_file(void **unused) {
    (void)unused;
    struct model x = model_of(VERSION_1);
    char path[SY_CKPT_PATH_BYTES], file[SY_CKPT_PATH_BYTES], other[SY_CKPT_PATH_BYTES],
        manifest[SY_CKPT_PATH_BYTES];
    save(&x, "alone", 1, 0, 0, path);
    assert_int_equal(sy_ckpt_join(manifest, path, SY_CKPT_MANIFEST), SY_OK);
    assert_int_equal(sy_ckpt_join(file, path, "optimizer/adam_m-00001-of-00001.safetensors"), SY_OK);
    inspect_says(file, SY_OK, "every tensor's digest ok");
    inspect_says(VERSION_1 "/optimizer/adam_m-00001-of-00001.safetensors", SY_OK, "every tensor's hash ok");
    assert_int_equal(sy_ckpt_join(other, path, "stranger.safetensors"), SY_OK);
    copy_file(file, other);
    inspect_says(other, SY_OK, "not one of the files of ");
    inspect_says(other, SY_OK, "no hashes to compare with");
    assert_int_equal(truncate(manifest, 100), 0); /* then nothing can be said for the file */
    inspect_says(file, SY_ERR_DATA, SY_CKPT_MANIFEST);
    assert_int_equal(unlink(manifest), 0);
    inspect_says(file, SY_OK, "no hashes to compare with");
    inspect_says(file, SY_OK, file);
    free_model(&x);
    remove_run("alone");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_1),
        cmocka_unit_test(test_version_1_corruption),
        cmocka_unit_test(test_version_1_inspect),
        cmocka_unit_test(test_a_bit_of_every_tensor),
        cmocka_unit_test(test_every_bit_of_a_header),
        cmocka_unit_test(test_length_of_a_header),
        cmocka_unit_test(test_inspect_of_a_header),
        cmocka_unit_test(test_a_large_tensor),
        cmocka_unit_test(test_kinds_of_files),
        cmocka_unit_test(test_words_of_nan),
        cmocka_unit_test(test_one_file),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder) != 0;
}
