/* The cache changes nothing but the time: documents, what is held out, every sequence, fingerprint and
 * entropy are those of a data set without one. Entries are made once, found again, made anew when they are
 * damaged, and by one process where several come at once.
 */
#include <sys/wait.h>
#include <dirent.h>
#include <zlib.h>

#include "data/cached.h"
#include "data/order_file.h"
#include "data_set.h"
#include "logged.h"
#include "token_files.h"

enum { SEQUENCES = 100 };

static void says(const char *what) {
    if (!strstr(logged, what))
        fail_msg("no \"%s\" in:\n%s", what, logged);
}

static struct sy_tokenizer *byte, *bpe;

static struct sy_data_options options_of(const char *const *path, const char *cache) {
    return (struct sy_data_options){.dataset_paths = path,
                                    .n_dataset_paths = 1,
                                    .holdout = 0.05,
                                    .shuffle = 1,
                                    .seed = 7,
                                    .tokenizer = bpe,
                                    .cache_dir = cache,
                                    .log = &logger};
}

static struct data open_logged(const struct sy_data_options *o) {
    logged[0] = 0;
    return open_data(o);
}

static void same_sequences(const struct data *a, const struct data *b) {
    same_training(a, b, SEQUENCES, 1001);
    same_evaluation(a, b);
}

static void same(const struct data *a, const struct data *b) {
    json_t *x = NULL, *y = NULL;
    same_sequences(a, b);
    assert_true(sy_corpus_entropy(a->corpus, NULL) == sy_corpus_entropy(b->corpus, NULL));
    assert_int_equal(sy_documents_fingerprint(a->documents, "t", &x), SY_OK);
    assert_int_equal(sy_documents_fingerprint(b->documents, "t", &y), SY_OK);
    assert_true(json_equal(x, y));
    assert_int_equal(a->documents->n_empty, b->documents->n_empty);
    assert_int_equal(a->documents->n_bad_lines, b->documents->n_bad_lines);
    json_decref(x);
    json_decref(y);
}

/* --- what is in the folder ------------------------------------------------------------------------------ */

static const char *cache_dir(void) {
    static char dir[64];
    snprintf(dir, sizeof dir, "%s/cache/deep", room);
    return dir;
}

static void forget(void) {
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", cache_dir());
    assert_int_equal(system(command), 0);
}

/* Entries, and the path of one. */
static int entries(char path[512]) {
    DIR *d = opendir(cache_dir());
    int n = 0;
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        assert_null(strstr(e->d_name, ".part"));
        snprintf(path, 512, "%s/%.200s", cache_dir(), e->d_name);
        n++;
    }
    closedir(d);
    return n;
}

/* --- the same data -------------------------------------------------------------------------------------- */

static const char *const prose = "tests/data/prose.jsonl";

static void compare(const char *path, int64_t max_bytes, double holdout, const struct sy_tokenizer *t) {
    struct sy_data_options plain = options_of(&path, NULL), cached = options_of(&path, cache_dir());
    plain.max_bytes = cached.max_bytes = max_bytes;
    plain.holdout = cached.holdout = holdout;
    plain.tokenizer = cached.tokenizer = t;
    plain.max_bad_lines = cached.max_bad_lines = 5;
    struct data want = open_logged(&plain);
    for (int again = 0; again < 2; again++) {
        struct data got = open_logged(&cached);
        same(&want, &got);
        says(again ? "data: of 1 of 1 files the tokens were in data.cache_dir = " : " kept as ");
        close_data(&got);
    }
    close_data(&want);
    forget();
}

static void the_same(void **state) {
    (void)state;
    compare(prose, 0, 0.05, bpe);
    compare(prose, 0, 0.05, byte);
    compare(prose, 70000, 0.01, bpe);
    compare(prose, 0, 0, byte);
    const char *broken = in_room("broken.jsonl");
    static const char lines[] =
        "{\"text\":\"one\"}\nno\n{\"text\":\"\"}\n{\"text\":\"two\"}\n{\"text\":\"one\"}\n";
    write_bytes(broken, lines, sizeof lines - 1);
    compare(broken, 0, 0.4, bpe);
    write_bytes(in_room("nothing.txt"), "", 0);
    const char *const two[] = {in_room("nothing.txt"), broken};
    struct sy_data_options o = options_of(two, cache_dir());
    o.n_dataset_paths = 2;
    o.holdout = 0;
    o.max_bad_lines = 5;
    for (int again = 0; again < 2; again++) {
        struct data d = open_logged(&o);
        assert_int_equal(d.documents->n_documents, 3);
        assert_int_equal(d.documents->n_empty, 2);
        close_data(&d);
    }
    says("of 2 of 2 files");
    o.max_bad_lines = 0; /* those of the entry count */
    struct sy_documents *none = NULL;
    assert_int_equal(sy_documents_load(&o, &none), SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "broken.jsonl: with its broken lines there are 1"));
    forget();
}

/* The only document is cut, as its text is cut; of several the largest. */
static void a_tail(void **state) {
    (void)state;
    char text[5000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 97 == 96 ? '\n' : (char)('a' + i * i % 7);
    const char *path = in_room("book.txt");
    write_bytes(path, text, sizeof text);
    compare(path, 0, 0.1, bpe);
    compare(path, 0, 0.1, byte);
    gzFile f = gzopen(in_room("book.jsonl.gz"), "wb");
    assert_non_null(f);
    gzprintf(f, "{\"text\":\"%0600d\"}\n{\"text\":\"%0800d\"}\n{\"text\":\"%0700d\"}\n", 1, 2, 3);
    gzclose(f);
    compare(in_room("book.jsonl.gz"), 0, 0.1, bpe);
}

static void of_others(void **state) {
    (void)state;
    const char *path = in_room("a.bin");
    int32_t id[5000];
    for (int i = 0; i < 5000; i++)
        id[i] = i % 101 == 100 ? SY_TOKEN_EOS : i % 250;
    struct bytes b = llmc_file(id, 5000, 2);
    write_bytes(path, b.at, b.n);
    free(b.at);
    compare(path, 0, 0.05, byte);
    compare(path, 9000, 0.05, byte);
}

/* --- entries -------------------------------------------------------------------------------------------- */

static void damage(const char *entry, const struct bytes *whole, size_t at, const struct data *want) {
    struct sy_data_options o = options_of(&prose, cache_dir());
    whole->at[at] ^= 8;
    write_bytes(entry, whole->at, whole->n);
    whole->at[at] ^= 8;
    struct data got = open_logged(&o);
    says("warning: ");
    says("this entry of data.cache_dir is damaged and made anew (");
    says(" kept as ");
    same(want, &got);
    close_data(&got);
    struct bytes now = read_bytes(entry);
    assert_int_equal(now.n, whole->n);
    assert_memory_equal(now.at, whole->at, now.n);
    free(now.at);
}

static void damaged(void **state) {
    (void)state;
    char entry[512];
    struct sy_data_options plain = options_of(&prose, NULL), o = options_of(&prose, cache_dir());
    struct data want = open_logged(&plain), got = open_logged(&o);
    close_data(&got);
    assert_int_equal(entries(entry), 1);
    struct bytes whole = read_bytes(entry);
    damage(entry, &whole, 12, &want);           /* the header */
    damage(entry, &whole, 4096 + 1000, &want);  /* tokens */
    damage(entry, &whole, whole.n - 20, &want); /* the index */
    for (size_t n = 0; n < whole.n; n += whole.n / 3) {
        write_bytes(entry, whole.at, n);
        got = open_logged(&o);
        says("damaged and made anew");
        same(&want, &got);
        close_data(&got);
    }
    /* cut while it is used: an error, and gone, so that the next start makes it */
    got = open_logged(&o);
    int32_t out[3 * SEQ];
    assert_int_equal(truncate(entry, 4096), 0);
    assert_int_equal(sy_loader_fetch(got.loader, 0, out, out + SEQ, out + 2 * SEQ), SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "it is removed, and the next start makes it anew"));
    assert_int_equal(entries(entry), 0);
    close_data(&got);
    close_data(&want);
    free(whole.at);
    forget();
}

/* Of another state of the file, another tokenizer, other options: another entry; of neither two files. */
static void keys(void **state) {
    (void)state;
    char entry[512];
    const char *path = in_room("t.jsonl");
    static const char lines[] = "{\"text\":\"a\",\"other\":\"b\"}\n{\"text\":\"c\",\"other\":\"d\"}\n";
    write_bytes(path, lines, sizeof lines - 1);
    struct sy_data_options o = options_of(&path, cache_dir());
    o.holdout = 0;
    for (int i = 0; i < 6; i++) {
        o.tokenizer = i == 1 ? byte : bpe;
        o.text_key = i == 2 ? "other" : NULL;
        o.max_bytes = i == 3 ? 1 : 0;
        o.format = i == 4 ? "text" : NULL;
        if (i == 5) { /* the same size, in the same place */
            FILE *f = fopen(path, "r+b");
            assert_non_null(f);
            assert_int_equal(fwrite("{\"text\":\"x", 1, 10, f), 10);
            fclose(f);
        }
        struct data d = open_logged(&o);
        says(" kept as ");
        assert_int_equal(entries(entry), i + 1);
        close_data(&d);
    }
    forget();
    struct data d = open_logged(&o);
    close_data(&d);
    assert_int_equal(entries(entry), 1);
    struct bytes b = read_bytes(entry);
    forget();
    o.text_key = "other";
    d = open_logged(&o);
    close_data(&d);
    assert_int_equal(entries(entry), 1);
    write_bytes(entry, b.at, b.n); /* one that is right, under another's name */
    d = open_logged(&o);
    says("it is not the entry of its name");
    close_data(&d);
    free(b.at);
    forget();
}

/* Processes that come at once: one makes the entry, all have the data. A .part that one left is written
 * over. */
static void several(void **state) {
    (void)state;
    enum { PROCESSES = 6 };
    char entry[512], part[600];
    struct sy_data_options plain = options_of(&prose, NULL), o = options_of(&prose, cache_dir());
    struct data want = open_logged(&plain), got = open_logged(&o);
    close_data(&got);
    assert_int_equal(entries(entry), 1);
    assert_int_equal(unlink(entry), 0);
    snprintf(part, sizeof part, "%s.part", entry);
    write_bytes(part, "left by one that was killed", 27);
    int made = 0;
    for (int i = 0; i < PROCESSES; i++)
        if (fork() == 0) {
            got = open_logged(&o);
            same(&want, &got);
            _Exit(strstr(logged, " kept as ") ? 1 : 0);
        }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        assert_true(wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) <= 1);
        made += WEXITSTATUS(status);
    }
    assert_int_equal(made, 1);
    assert_int_equal(entries(entry), 1);
    close_data(&want);
    forget();
}

/* --- the order of an epoch ------------------------------------------------------------------------------ */

static int orders(char path[512]) {
    DIR *d = opendir(cache_dir());
    int n = 0;
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));)
        if (strstr(e->d_name, ".order")) {
            assert_null(strstr(e->d_name, ".part"));
            snprintf(path, 512, "%s/%.200s", cache_dir(), e->d_name);
            n++;
        }
    closedir(d);
    return n;
}

static void check_orders(const struct data *want, const struct sy_data_options *o, int n) {
    struct data got = open_logged(o);
    char path[512];
    same_sequences(want, &got);
    assert_int_equal(orders(path), n);
    close_data(&got);
}

/* Of many documents it is kept, and found; damaged or of another seed it is made anew. */
static void order(void **state) {
    (void)state;
    enum { DOCUMENTS = SY_ORDER_KEPT_DOCUMENTS + 5000 };
    const char *path = in_room("many.jsonl");
    char entry[512];
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (int i = 0; i < DOCUMENTS; i++)
        fprintf(f, "{\"text\":\"%d\"}\n", i);
    assert_int_equal(fclose(f), 0);
    struct sy_data_options plain = options_of(&path, NULL), o = options_of(&path, cache_dir());
    plain.holdout = o.holdout = 0.01;
    plain.tokenizer = o.tokenizer = byte;
    struct data want = open_logged(&plain);
    check_orders(&want, &o, 1);
    check_orders(&want, &o, 1);
    assert_int_equal(orders(entry), 1);
    struct bytes b = read_bytes(entry);
    for (size_t at = 3; at < b.n; at += b.n / 2 - 4) {
        b.at[at] ^= 1;
        write_bytes(entry, b.at, b.n);
        b.at[at] ^= 1;
        struct data got = open_logged(&o);
        same_sequences(&want, &got);
        says(".order: this entry of data.cache_dir is damaged");
        close_data(&got);
    }
    write_bytes(entry, b.at, 100);
    check_orders(&want, &o, 1);
    free(b.at);
    close_data(&want);
    o.seed = plain.seed = 8;
    want = open_logged(&plain);
    check_orders(&want, &o, 2);
    o.shuffle = plain.shuffle = 0;
    close_data(&want);
    want = open_logged(&plain);
    check_orders(&want, &o, 3);
    /* of epochs 0 to 4 the last two stay */
    struct data got = open_logged(&o);
    int32_t out[3 * SEQ];
    int64_t epoch = 0;
    for (int64_t i = 0; i < got.documents->n_train; i++)
        epoch += sy_corpus_length(got.corpus, got.documents->train[i]);
    for (int64_t e = 1; e < 5; e++)
        assert_int_equal(sy_loader_fetch(got.loader, e * epoch + 7, out, out + SEQ, out + 2 * SEQ), SY_OK);
    assert_int_equal(orders(entry), 2 + 2);
    close_data(&got);
    close_data(&want);
    forget();
}

/* Kept, found, made anew. */
static void entropy(void **state) {
    (void)state;
    char entry[512];
    struct sy_data_options plain = options_of(&prose, NULL);
    struct data d = open_logged(&plain);
    double want = sy_corpus_entropy(d.corpus, NULL);
    assert_true(want > 1 && sy_corpus_entropy(d.corpus, cache_dir()) == want);
    assert_int_equal(entries(entry), 1);
    struct bytes b = read_bytes(entry);
    d.documents->n_train--; /* what is found is not measured */
    assert_true(sy_corpus_entropy(d.corpus, cache_dir()) == want);
    d.documents->n_train++;
    for (size_t n = 0; n < b.n; n += 5) {
        b.at[n] ^= 1;
        write_bytes(entry, b.at, b.n - (n == 5));
        b.at[n] ^= 1;
        assert_true(sy_corpus_entropy(d.corpus, cache_dir()) == want);
    }
    free(b.at);
    close_data(&d);
    forget();
}

static void errors(void **state) {
    (void)state;
    struct sy_documents *d = NULL;
    struct sy_data_options o = options_of(&prose, "/proc/none/cache");
    assert_int_equal(sy_documents_load(&o, &d), SY_ERR_IO);
    const char *path = in_room("latin1.jsonl");
    write_bytes(path, "{\"text\":\"\xe4\"}\n", 13);
    o = options_of(&path, cache_dir());
    assert_int_equal(sy_documents_load(&o, &d), SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "latin1.jsonl"));
    char entry[512];
    assert_int_equal(entries(entry), 0); /* and no .part */
    forget();
}

static int begin(void **state) {
    char folder[300];
    const struct sy_tokenizer_train_options how = {
        .paths = &prose, .n_paths = 1, .vocab_size = 300, .min_frequency = 2, .out = folder};
    if (make_room(state) != 0 || sy_tokenizer_create(&(struct sy_tokenizer_options){0}, &byte) != SY_OK)
        return -1;
    snprintf(folder, sizeof folder, "%s", in_room("tok"));
    return sy_tokenizer_train(&how, &(struct sy_io){.write = NULL}) == SY_OK &&
                   sy_tokenizer_create(&(struct sy_tokenizer_options){.path = folder}, &bpe) == SY_OK
               ? 0
               : -1;
}

static int end(void **state) {
    sy_tokenizer_destroy(byte);
    sy_tokenizer_destroy(bpe);
    return remove_room(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same), cmocka_unit_test(a_tail), cmocka_unit_test(of_others),
        cmocka_unit_test(damaged),  cmocka_unit_test(keys),   cmocka_unit_test(several),
        cmocka_unit_test(entropy),  cmocka_unit_test(order),  cmocka_unit_test(errors)};
    return cmocka_run_group_tests(tests, begin, end) != 0;
}
