/* Documents: formats, bounds, entropy, the fingerprint. */
#include "data/corpus.h"
#include "data_folder.h"

#include <zlib.h>

static void test_folder(void **state) {
    (void)state;
    put("b.txt", "bee");
    put("Z.txt", "zed");
    put("e.txt", "");
    put(".hidden", "never");
    assert_int_equal(mkdir(path_of("a"), 0777), 0);
    put("a/y.jsonl", "{\"text\":\"y1\"}\n{\"text\":\"y2\"}\n");
    struct sy_data_options o = defaults();
    struct sy_documents *d = load(&o);
    assert_int_equal(d->n_files,
                     4); /* bytewise: Z before a before b; the empty one is a file without a document */
    assert_int_equal(d->n_documents, 4);
    is_text(d, 0, "zed");
    is_text(d, 1, "y1");
    is_text(d, 2, "y2");
    is_text(d, 3, "bee");
    assert_int_equal(d->document[2].line, 2);
    assert_int_equal(d->n_empty, 1);
    assert_int_equal(d->n_heldout, 0);
    assert_int_equal(d->n_train, 4);
    sy_documents_destroy(d);
    const char *const suffixes[] = {".jsonl", "b.txt"};
    o.suffixes = suffixes;
    o.n_suffixes = 2;
    d = load(&o);
    assert_int_equal(d->n_documents, 3);
    is_text(d, 2, "bee");
    sy_documents_destroy(d);
    o.format = "text";
    d = load(&o);
    assert_int_equal(d->n_documents, 2);
    is_text(d, 0, "{\"text\":\"y1\"}\n{\"text\":\"y2\"}\n");
    sy_documents_destroy(d);
    o.format = "jsonl";
    refuses(&o, SY_ERR_DATA, "b.txt:1: ");
    const char *const none[] = {".nope"};
    o.suffixes = none;
    o.n_suffixes = 1;
    refuses(&o, SY_ERR_USAGE, "no files");
    char twice[256];
    snprintf(twice, sizeof twice, "%s", path_of("b.txt"));
    const char *const list[] = {folder, twice};
    o = defaults();
    o.dataset_paths = list;
    o.n_dataset_paths = 2;
    refuses(&o, SY_ERR_USAGE, "twice");
    drop("a/y.jsonl");
    drop("a");
    drop("b.txt");
    drop("Z.txt");
    drop(".hidden");
    refuses(&o, SY_ERR_IO, "b.txt: cannot open");
    o = defaults();
    refuses(&o, SY_ERR_USAGE, "no documents: 1 files");
    drop("e.txt");
    refuses(&o, SY_ERR_USAGE, "no files");
}

static void test_named_link_and_gzip(void **state) {
    (void)state;
    put("real", "through a link");
    char link_path[256], gz_path[256];
    snprintf(link_path, sizeof link_path, "%s", path_of("link"));
    snprintf(gz_path, sizeof gz_path, "%s", path_of("t.txt.gz"));
    assert_int_equal(symlink("real", link_path), 0);
    gzFile gz = gzopen(gz_path, "wb");
    assert_non_null(gz);
    assert_int_equal(gzwrite(gz, "unpacked", 8), 8);
    assert_int_equal(gzclose(gz), Z_OK);
    const char *const list[] = {gz_path, link_path};
    struct sy_data_options o = defaults();
    o.dataset_paths = list;
    o.n_dataset_paths = 2;
    struct sy_documents *d = load(&o);
    assert_int_equal(d->n_documents, 2); /* in the order of the list */
    is_text(d, 0, "unpacked");
    is_text(d, 1, "through a link");
    sy_documents_destroy(d);
    drop("real");
    drop("link");
    drop("t.txt.gz");
}

static void test_options(void **state) {
    (void)state;
    struct sy_data_options o = defaults();
    o.format = "parquet";
    refuses(&o, SY_ERR_USAGE, "\"parquet\" must be auto, text, jsonl or tokens");
    o = defaults();
    o.holdout = 1.0;
    refuses(&o, SY_ERR_USAGE, "holdout 1 ");
    o.holdout = NAN;
    refuses(&o, SY_ERR_USAGE, "holdout");
    o = defaults();
    o.max_bytes = -1;
    refuses(&o, SY_ERR_USAGE, "max_bytes -1");
    o = defaults();
    o.max_bad_lines = -1;
    refuses(&o, SY_ERR_USAGE, "max_bad_lines -1");
    o = defaults();
    o.n_dataset_paths = 0;
    refuses(&o, SY_ERR_USAGE, "dataset_path is empty");
    const char *const gone[] = {"/nonexistent"};
    o = defaults();
    o.dataset_paths = gone;
    refuses(&o, SY_ERR_IO, "/nonexistent: ");
}

static void test_max_bytes_and_bad_lines(void **state) {
    (void)state;
    put("a.jsonl", "{\"text\":\"12345\"}\nbroken\n{\"text\":\"678\"}\n");
    put("b.jsonl", "nor this\n{\"text\":\"9abcdef\"}\n");
    struct sy_data_options o = defaults();
    o.max_bad_lines = 1;
    refuses(&o, SY_ERR_DATA, "b.jsonl:1: ");
    o.max_bad_lines = 2;
    struct sy_documents *d = load(&o);
    assert_int_equal(d->n_bad_lines, 2);
    assert_int_equal(d->text_bytes, 15);
    sy_documents_destroy(d);
    static const struct {
        int64_t max, n_documents;
        const char *last;
    } cases[] = {{5, 1, "12345"}, {7, 1, "12345"},    {8, 2, "678"},
                 {14, 2, "678"},  {15, 3, "9abcdef"}, {99, 3, "9abcdef"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        o.max_bytes = cases[i].max;
        d = load(&o);
        assert_int_equal(d->n_documents, cases[i].n_documents);
        is_text(d, d->n_documents - 1, cases[i].last);
        assert_int_equal(d->is_full, cases[i].max < 15);
        assert_int_equal(d->text_bytes,
                         d->document[d->n_documents - 1].offset + d->document[d->n_documents - 1].bytes);
        sy_documents_destroy(d);
    }
    o.max_bytes = 4;
    refuses(&o, SY_ERR_USAGE, "/a.jsonl: no documents: the first is larger than data.max_bytes = 4");
    o.format = "text"; /* two files of 39 and 28 bytes */
    o.max_bytes = 66;
    d = load(&o);
    assert_int_equal(d->n_documents, 1);
    assert_int_equal(d->text_bytes, d->document[0].bytes);
    sy_documents_destroy(d);
    drop("a.jsonl");
    drop("b.jsonl");
}

/* Of the bytes that are trained on. */
static double entropy_of(const struct sy_documents *d) {
    struct sy_tokenizer *byte = NULL;
    struct sy_corpus *c = NULL;
    assert_int_equal(sy_tokenizer_create(&(struct sy_tokenizer_options){0}, &byte), SY_OK);
    assert_int_equal(sy_corpus_create(d, byte, NULL, &c), SY_OK);
    double entropy = sy_corpus_entropy(c, NULL);
    sy_corpus_destroy(c);
    sy_tokenizer_destroy(byte);
    return entropy;
}

static void test_entropy(void **state) {
    (void)state;
    put("a", "aabb");
    put("b", "cccc");
    put("c", "dddddddd");
    struct sy_data_options o = defaults();
    struct sy_documents *d = load(&o); /* 1/8 1/8 1/4 1/2: 1.75 bits */
    assert_true(fabs(entropy_of(d) - 1.75 * 0.69314718055994531) < 1e-14);
    d->n_train = 1;
    assert_true(fabs(entropy_of(d) - 0.69314718055994531) < 1e-15);
    d->train[0] = 1;
    assert_true(entropy_of(d) == 0.0);
    d->n_train = 0;
    assert_true(entropy_of(d) == 0.0);
    sy_documents_destroy(d);
    drop("a");
    drop("b");
    drop("c");
}

static void check_is(const struct sy_data_options *o, const json_t *print, const char *message) {
    struct sy_documents *d = load(o);
    sy_status status = sy_documents_check(d, "byte", "switchyard.json", print);
    if (message) {
        assert_int_equal(status, SY_ERR_DATA);
        if (!strstr(sy_error_message(), message))
            fail_msg("\"%s\" lacks \"%s\"", sy_error_message(), message);
    } else if (status != SY_OK) {
        fail_msg("%s", sy_error_message());
    }
    sy_documents_destroy(d);
}

static void test_fingerprint(void **state) {
    (void)state;
    put("a.txt", "first");
    put("b.txt", "second");
    put("c%\xff.txt", "third");
    struct sy_data_options o = defaults();
    o.holdout = 0.1;
    struct sy_documents *d = load(&o);
    json_t *print = NULL;
    assert_int_equal(sy_documents_fingerprint(d, "byte", &print), SY_OK);
    sy_documents_destroy(d);
    check_is(&o, print, NULL);
    put("b.txt", "secund");
    check_is(&o, print, "/b.txt: the data file changed");
    drop("b.txt");
    check_is(&o, print, "/b.txt: the data file vanished");
    put("b.txt", "second");
    put("d.txt", "more");
    check_is(&o, print, "/d.txt: the data file is new");
    drop("d.txt");
    put("c%\xff.txt", "THIRD");
    check_is(&o, print, "/c%25%FF.txt: the data file changed");
    put("c%\xff.txt", "third");
    char elsewhere[64];
    snprintf(elsewhere, sizeof elsewhere, "%s.moved", folder);
    assert_int_equal(rename(folder, elsewhere), 0); /* moved as a whole: the same data */
    const char *const moved[] = {elsewhere};
    o.dataset_paths = moved;
    check_is(&o, print, NULL);
    assert_int_equal(rename(elsewhere, folder), 0);
    o.dataset_paths = folder_list;
    o.max_bytes = 12;
    check_is(&o, print, "the same files give other documents");
    o.max_bytes = 0;
    o.holdout = 0.9;
    check_is(&o, print, "the same files give other documents");
    o.holdout = 0.1;
    json_t *files = json_object_get(print, "files");
    json_object_del(json_array_get(files, 1), "hash");
    check_is(&o, print, "switchyard.json: key \"hash\" is missing");
    json_array_set_new(files, 1, json_integer(3));
    check_is(&o, print, "switchyard.json: ");
    check_is(&o, files, "switchyard.json: ");
    json_decref(print);
    drop("a.txt");
    drop("b.txt");
    drop("c%\xff.txt");
}

/* The texts that tests, debug configs and the demo train on. */
static void check_corpus(const char *path, int64_t documents, int64_t least, int64_t most) {
    const char *const list[] = {path};
    struct sy_data_options o = {.dataset_paths = list, .n_dataset_paths = 1, .holdout = 0.01};
    struct sy_documents *d = load(&o);
    assert_true(d->n_documents >= documents && d->file[0].bytes >= least && d->file[0].bytes <= most);
    assert_int_equal(d->n_bad_lines + d->n_empty, 0);
    assert_true(d->n_heldout > 0 && d->n_documents == d->n_train + d->n_heldout);
    assert_true((double)d->heldout_bytes <= 0.01 * (double)d->text_bytes);
    double entropy = entropy_of(d);
    assert_true(entropy > 2.9 && entropy < 3.2);
    sy_documents_destroy(d);
}

static void test_corpora(void **state) {
    (void)state;
    check_corpus("tests/data/prose.jsonl", 150, 100000, 200000);
    check_corpus("examples/data/short_pieces.jsonl", 400, 200000, 300000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folder),  cmocka_unit_test(test_named_link_and_gzip),
        cmocka_unit_test(test_options), cmocka_unit_test(test_max_bytes_and_bad_lines),
        cmocka_unit_test(test_entropy), cmocka_unit_test(test_fingerprint),
        cmocka_unit_test(test_corpora),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder) != 0;
}
