/* What is held out: the rule against a slow model of it and by hand; texts that were given for
 * validation. */
#include "data_folder.h"

/* --- the held-out split, against the rule written out slowly -------------------------------------------- */

struct doc {
    char text[64];
    size_t n;
    int file, held, seen;
};

static int same_text(const struct doc *a, const struct doc *b) {
    return a->n == b->n && memcmp(a->text, b->text, a->n) == 0;
}

/* The next document in ascending (hash, place) that was not looked at. */
static int next_doc(const struct doc *docs, int n) {
    int best = -1;
    for (int i = 0; i < n; i++)
        if (!docs[i].seen &&
            (best < 0 || XXH3_64bits(docs[i].text, docs[i].n) < XXH3_64bits(docs[best].text, docs[best].n)))
            best = i;
    return best;
}

/* Marks what is held out; returns the document that is cut, or -1, and where. */
static int expect_split(struct doc *docs, int n, double share, size_t *cut) {
    size_t total = 0, held = 0;
    int largest = -1;
    for (int i = 0; i < n; i++)
        total += docs[i].n;
    size_t room = (size_t)(share * (double)total);
    for (int i; (i = next_doc(docs, n)) >= 0;) {
        size_t copies = 0;
        for (int k = 0; k < n; k++)
            copies += same_text(&docs[i], &docs[k]);
        int fits = held + copies * docs[i].n <= room;
        held += fits ? copies * docs[i].n : 0;
        for (int k = 0; k < n; k++)
            if (same_text(&docs[i], &docs[k]))
                docs[k].seen = 1, docs[k].held = fits;
        if (copies == 1 &&
            (largest < 0 || docs[i].n > docs[largest].n || (docs[i].n == docs[largest].n && i < largest)))
            largest = i;
    }
    if (held > 0 || share == 0 || largest < 0)
        return -1;
    const struct doc *d = &docs[largest];
    size_t at = (size_t)ceil((1 - share) * (double)d->n), i = at;
    if (i > d->n - 1)
        i = d->n - 1;
    *cut = i;
    while (*cut > 0 && ((unsigned char)d->text[*cut] & 0xc0) == 0x80)
        --*cut;
    for (i = i + 1; i-- > 0;)
        if (d->text[i] == '\n' && i + 1 < d->n) {
            *cut = i + 1;
            break;
        }
    return *cut > 0 ? largest : -1;
}

static void check_split(const struct doc *docs, int n, int cut_doc, size_t cut,
                        const struct sy_documents *d) {
    int64_t held = 0, train = 0, k = 0;
    assert_int_equal(d->n_documents, n + (cut_doc >= 0));
    for (int64_t i = 0; i < d->n_train; i++) {
        for (; docs[k].held; k++)
            ;
        assert_int_equal(d->train[i], k); /* ascending, all that is not held out */
        assert_int_equal(d->document[k].bytes, k == cut_doc ? cut : docs[k].n);
        assert_memory_equal(d->text + d->document[k].offset, docs[k].text, (size_t)d->document[k].bytes);
        train += d->document[k].bytes;
        k++;
    }
    for (; k < n; k++)
        assert_true(docs[k].held);
    for (int64_t i = 0; i < d->n_heldout; i++) {
        int64_t h = d->heldout[i];
        held += d->document[h].bytes;
        assert_true(h == n ? cut_doc >= 0 : docs[h].held);
        const struct sy_document *before = i ? &d->document[d->heldout[i - 1]] : NULL, *now = &d->document[h];
        assert_true(!before || before->hash < now->hash ||
                    (before->hash == now->hash && d->heldout[i - 1] < h));
    }
    if (cut_doc >= 0) {
        const struct sy_document *tail = &d->document[n];
        assert_int_equal(d->n_heldout, 1);
        assert_int_equal(tail->bytes, docs[cut_doc].n - cut);
        assert_memory_equal(d->text + tail->offset, docs[cut_doc].text + cut, (size_t)tail->bytes);
        assert_true(tail->hash == XXH3_64bits(docs[cut_doc].text + cut, (size_t)tail->bytes));
        assert_int_equal(tail->file, d->document[cut_doc].file);
        assert_int_equal(tail->line, d->document[cut_doc].line);
    }
    assert_int_equal(held, d->heldout_bytes);
    assert_int_equal(train, d->train_bytes);
    assert_int_equal(held + train, d->text_bytes);
    assert_true(d->n_train > 0 && train > 0);
}

static void try_split(struct doc *docs, int n, double share) {
    char name[16];
    for (int i = 0; i < n; i++) {
        docs[i].held = docs[i].seen = 0;
        docs[i].text[docs[i].n] = 0;
        snprintf(name, sizeof name, "%03d", i);
        put(name, docs[i].text);
    }
    struct sy_data_options o = defaults();
    o.holdout = share;
    o.format = "text";
    size_t cut = 0;
    int cut_doc = expect_split(docs, n, share, &cut);
    struct sy_documents *d = load(&o);
    check_split(docs, n, cut_doc, cut, d);
    int held = d->n_heldout > 0;
    sy_documents_destroy(d);
    o.validate = 1;
    if (!held)
        refuses(&o, SY_ERR_USAGE, "validation.enable: nothing is held out of ");
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%03d", i);
        drop(name);
    }
}

static unsigned state_of_random = 1;
static unsigned below(unsigned n) {
    state_of_random = state_of_random * 1664525u + 1013904223u;
    return (state_of_random >> 16) % n;
}

static void test_holdout(void **state) {
    (void)state;
    static const char *const letters[] = {"a", "b", "\n", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    static const double shares[] = {0.0, 1e-9, 0.01, 0.1, 0.3, 0.5, 0.999};
    static struct doc docs[12];
    for (int round = 0; round < 700; round++) {
        int n = 1 + (int)below(12);
        unsigned longest = round % 3 ? 50 : 4; /* short ones have copies */
        for (int i = 0; i < n; i++) {
            docs[i].n = 0;
            for (unsigned k = 1 + below(below(4) ? longest / 4 + 1 : longest); k-- > 0;) {
                const char *c = letters[below(round % 5 ? 6 : 2)];
                memcpy(docs[i].text + docs[i].n, c, strlen(c));
                docs[i].n += docs[i].n + strlen(c) < 60 ? strlen(c) : 0;
            }
            if (docs[i].n == 0)
                docs[i].text[docs[i].n++] = 'x';
            if (below(4) == 0)
                docs[i] = docs[below((unsigned)i + 1)];
        }
        try_split(docs, n, shares[round % 7]);
    }
}

/* Documents by hand: text, then what is left to train on and what is held out, of 1 % unless said
 * otherwise. */
static void split_is(const char *const *texts, int n, double share, const char *train, const char *held) {
    char name[16], got[2][512] = {"", ""};
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%03d", i);
        put(name, texts[i]);
    }
    struct sy_data_options o = defaults();
    o.holdout = share;
    struct sy_documents *d = load(&o);
    for (int side = 0; side < 2; side++) {
        const int64_t *index = side ? d->heldout : d->train;
        int64_t count = side ? d->n_heldout : d->n_train;
        for (int64_t i = 0; i < count; i++) {
            const struct sy_document *t = &d->document[index[i]];
            size_t at = strlen(got[side]);
            snprintf(got[side] + at, sizeof got[side] - at, "%s%.*s", i ? "|" : "", (int)t->bytes,
                     d->text + t->offset);
        }
    }
    assert_string_equal(got[0], train);
    assert_string_equal(got[1], held);
    sy_documents_destroy(d);
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%03d", i);
        drop(name);
    }
}
#define SPLIT(share, train, held, ...)           \
    split_is((const char *const[]){__VA_ARGS__}, \
             sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), share, train, held)

static void test_holdout_by_hand(void **state) {
    (void)state;
    SPLIT(0.1, "one\ntwo\nthree\n", "four\n",
          "one\ntwo\nthree\nfour\n"); /* byte 18 of 19 ends it: the newline before */
    SPLIT(0.3, "one\ntwo\nthree\n", "four\n", "one\ntwo\nthree\nfour\n"); /* byte 14 begins "four" */
    SPLIT(0.32, "one\ntwo\nthree\n", "four\n",
          "one\ntwo\nthree\nfour\n"); /* byte 13 is the newline before it */
    SPLIT(0.4, "one\ntwo\n", "three\nfour\n", "one\ntwo\nthree\nfour\n"); /* byte 12 is inside "three" */
    SPLIT(0.3, "0123456", "789", "0123456789");                           /* no newline */
    SPLIT(0.3, "01234",
          "\xf0\x9f\x98\x80"
          "9",
          "01234\xf0\x9f\x98\x80"
          "9"); /* byte 7 is inside a character */
    SPLIT(0.01, "\n", "abcdefgh", "\nabcdefgh");
    SPLIT(0.01, "abc", "d", "abcd");
    SPLIT(0.5, "a", "", "a"); /* one character */
    SPLIT(0.5, "\xf0\x9f\x98\x80", "", "\xf0\x9f\x98\x80");
    SPLIT(0.1, "twin|twin", "", "twin", "twin");                /* a document with copies is never cut */
    SPLIT(0.1, "twins|twins|on", "e", "twins", "twins", "one"); /* the other is */
    SPLIT(0.1, "aab|cccccccccc", "c", "aab", "ccccccccccc");    /* the largest */
    SPLIT(0.1, "ab|cde", "c", "abc", "cde");                    /* of equal ones the first */
    SPLIT(0.0, "abc|def", "", "abc", "def");
}

/* A book and three notes: almost all of it stays to train on. */
static void test_holdout_of_a_book(void **state) {
    (void)state;
    enum { LINES = 2000 };
    FILE *f = fopen(path_of("book"), "wb");
    assert_non_null(f);
    for (int i = 0; i < LINES; i++)
        fprintf(f, "line %05d of the book, longer than any note, 57 in all.\n", i);
    assert_int_equal(fclose(f), 0);
    put("note1", "the first note, 26 bytes.\n");
    put("note2", "another note of 26 bytes.\n");
    put("note3", "one more note, 26 bytes. \n");
    struct sy_data_options o = defaults();
    o.holdout = 0.01;
    struct sy_documents *d =
        load(&o); /* the share is 1140 bytes: all three notes fit, and the book does not */
    assert_int_equal(d->n_heldout, 3);
    assert_int_equal(d->heldout_bytes, 78);
    sy_documents_destroy(d);
    drop("note1");
    drop("note2");
    drop("note3");
    logged[0] = 0;
    o.log = &logger;
    d = load(&o); /* alone: its last 20 lines of 2000 */
    assert_int_equal(d->n_documents, 2);
    assert_int_equal(d->heldout_bytes % 57, 0);
    assert_int_equal(d->heldout_bytes / 57, 20);
    says("data: no document is as small as 0.01 of the text (data.holdout): of the largest, in ", "book",
         ", the last 1140 of 114000 bytes are held out");
    sy_documents_destroy(d);
    put("wide", "Title\n"); /* a tail that is nearly all is told */
    f = fopen(path_of("wide"), "ab");
    for (int i = 0; i < 20000; i++)
        fputs("no end of it ", f);
    fclose(f);
    logged[0] = 0;
    drop("book");
    d = load(&o);
    assert_int_equal(d->train_bytes, 6);
    assert_non_null(strstr(logged, "warning: data: 260000 bytes are held out and 6 are left to train on"));
    sy_documents_destroy(d);
    drop("wide");
}

/* validation.dataset_path takes the hold-out's place. */
static void test_given(void **state) {
    (void)state;
    assert_int_equal(mkdir(path_of("t"), 0777), 0);
    assert_int_equal(mkdir(path_of("v"), 0777), 0);
    put("t/1", "training one");
    put("t/2", "training two");
    put("v/1", "valid one");
    put("v/2.jsonl", "{\"text\":\"valid two\"}\n{\"text\":\"training two\"}\n");
    char t[256], v[256];
    snprintf(t, sizeof t, "%s", path_of("t"));
    snprintf(v, sizeof v, "%s", path_of("v"));
    const char *const train[] = {t}, *const given[] = {v}, *const missing[] = {"/nonexistent"};
    struct sy_data_options o = {.dataset_paths = train,
                                .n_dataset_paths = 1,
                                .validation_paths = given,
                                .n_validation_paths = 1,
                                .holdout = 0.5,
                                .max_bytes = 24,
                                .validate = 1,
                                .log = &logger};
    logged[0] = 0;
    struct sy_documents *d = load(&o);
    assert_int_equal(d->n_files, 4);
    assert_int_equal(d->n_train, 2);
    assert_int_equal(d->train_bytes, 24);
    assert_int_equal(d->n_heldout, 3);
    assert_int_equal(d->heldout_bytes, 30);
    assert_int_equal(d->is_full, 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(d->train[i], i);
        assert_true(d->document[d->heldout[i]].hash < d->document[d->heldout[i + 1]].hash);
        assert_true(d->heldout[i] >= 2 && d->heldout[i + 1] >= 2);
    }
    says("warning: data: 1 of 3 documents for validation are trained on too, the first in ", "v/2.jsonl", "");
    json_t *print = NULL;
    assert_int_equal(sy_documents_fingerprint(d, "byte", &print), SY_OK);
    sy_documents_destroy(d);
    o.max_bytes = 12; /* ends the training text alone */
    d = load(&o);
    assert_int_equal(d->n_train, 1);
    assert_int_equal(d->n_heldout, 3);
    assert_int_equal(d->is_full, 1);
    sy_documents_destroy(d);
    o.max_bytes = 0;
    put("v/2.jsonl", "{\"text\":\"valid two\"}\n");
    d = load(&o);
    assert_int_equal(sy_documents_check(d, "byte", "switchyard.json", print), SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "/v/2.jsonl: the data file changed"));
    sy_documents_destroy(d);
    json_decref(print);
    o.validation_paths = missing;
    refuses(&o, SY_ERR_IO, "/nonexistent: cannot open");
    put("v/1", "");
    put("v/2.jsonl", "");
    o.validation_paths = given;
    refuses(&o, SY_ERR_USAGE, "/v: no documents: 2 files hold no text");
    static const char *const gone[] = {"t/1", "t/2", "v/1", "v/2.jsonl", "t", "v"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        drop(gone[i]);
}

/* The same texts in other files and another order: the same texts are held out. */
static void test_holdout_depends_on_texts_alone(void **state) {
    (void)state;
    put("1.txt", "alpha");
    put("2.txt", "beta");
    put("3.txt", "gamma");
    struct sy_data_options o = defaults();
    o.holdout = 0.01;
    struct sy_documents *d = load(&o);
    assert_int_equal(d->n_heldout, 1);
    uint64_t hash = d->document[d->heldout[0]].hash;
    sy_documents_destroy(d);
    put("1.txt", "gamma");
    put("3.txt", "alpha");
    d = load(&o);
    assert_int_equal(d->n_heldout, 1);
    assert_true(hash == d->document[d->heldout[0]].hash);
    sy_documents_destroy(d);
    drop("1.txt");
    drop("2.txt");
    drop("3.txt");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_holdout),
        cmocka_unit_test(test_holdout_by_hand),
        cmocka_unit_test(test_holdout_of_a_book),
        cmocka_unit_test(test_holdout_depends_on_texts_alone),
        cmocka_unit_test(test_given),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder) != 0;
}
