/* Documents: what is found in folders and in which order, formats, bounds, the split, entropy, the fingerprint. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include <zlib.h>

#include "data/documents.h"

static char folder[] = "/tmp/sy_documents_XXXXXX";
static const char *const folder_list[] = {folder};

static char logged[4096];

static void note(void *user, enum sy_log_level level, const char *line) {
    (void)user;
    size_t n = strlen(logged);
    snprintf(logged + n, sizeof logged - n, "%s%s\n", level == SY_LOG_WARN ? "warning: " : "", line);
}

static const struct sy_log logger = {note, NULL};

/* Of the log since the last call: the part below `folder` of a line's path, then what it says, was there. */
static void says(const char *level, const char *name, const char *what) {
    char want[512];
    snprintf(want, sizeof want, "%s%s/%s%s", level, folder, name, what);
    if (!strstr(logged, want))
        fail_msg("no line \"%s\" in:\n%s", want, logged);
}

static const char *path_of(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const char *text) {
    FILE *f = fopen(path_of(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static void drop(const char *name) { assert_int_equal(remove(path_of(name)), 0); }

static struct sy_data_options defaults(void) {
    return (struct sy_data_options){.dataset_paths = folder_list, .n_dataset_paths = 1};
}

static struct sy_documents *load(const struct sy_data_options *options) {
    struct sy_documents *d = NULL;
    sy_status status = sy_documents_load(options, &d);
    if (status != SY_OK)
        fail_msg("%s", sy_error_message());
    return d;
}

static void refuses(const struct sy_data_options *options, sy_status want, const char *message) {
    struct sy_documents *d = NULL;
    assert_int_equal(sy_documents_load(options, &d), want);
    assert_null(d);
    if (!strstr(sy_error_message(), message))
        fail_msg("\"%s\" lacks \"%s\"", sy_error_message(), message);
}

static void is_text(const struct sy_documents *d, int64_t i, const char *want) {
    assert_true(i < d->n_documents);
    assert_int_equal(d->document[i].bytes, strlen(want));
    assert_memory_equal(d->text + d->document[i].offset, want, strlen(want));
    assert_true(d->document[i].hash == XXH3_64bits(want, strlen(want)));
}

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
    assert_int_equal(d->n_files, 4); /* bytewise: Z before a before b; the empty one is a file without a document */
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

/* Files of `sources`, each as the text of its one document, with spaces between. */
static void reads(const char *const *sources, int n, const char *want) {
    char got[512] = "";
    size_t at = 0;
    struct sy_data_options o = {.dataset_paths = sources, .n_dataset_paths = n, .log = &logger};
    logged[0] = 0;
    struct sy_documents *d = load(&o);
    for (int64_t i = 0; i < d->n_documents; i++)
        if (at < sizeof got)
            at += (size_t)snprintf(got + at, sizeof got - at, "%s%.*s", i ? " " : "", (int)d->document[i].bytes,
                                   d->text + d->document[i].offset);
    assert_string_equal(got, want);
    sy_documents_destroy(d);
}

/* Documents stand by source, then by path below it: no spelling of a source and no place of its folder shows. */
static void test_order_of_sources(void **state) {
    (void)state;
    char at[3][320], here[256];
    assert_int_equal(mkdir(path_of("z"), 0777), 0);
    assert_int_equal(mkdir(path_of("z/y"), 0777), 0);
    assert_int_equal(mkdir(path_of("b"), 0777), 0);
    put("z/y/1", "z/y/1");
    put("z/y.1", "z/y.1"); /* bytewise: '.' before '/' */
    put("z/2", "z/2");
    put("b/3", "b/3");
    put("a", "a");
    static const char *const spellings[][3] = {
        {"%s/z", "%s/b", "%s/a"}, {"%s/z/", "%s/b//", "%s/./a"}, {"%s/b/../z", "%s/./b", "%s//a"}};
    for (size_t i = 0; i < 3; i++) {
        const char *list[3];
        for (int k = 0; k < 3; k++) {
            snprintf(at[k], sizeof at[k], spellings[i][k], folder);
            list[k] = at[k];
        }
        reads(list, 3, "z/2 z/y.1 z/y/1 b/3 a");
    }
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(folder), 0);
    reads((const char *const[]){"z", "b", "a"}, 3, "z/2 z/y.1 z/y/1 b/3 a");
    reads((const char *const[]){"./z", "b", "a"}, 3, "z/2 z/y.1 z/y/1 b/3 a");
    reads((const char *const[]){"a", "b", "z"}, 3, "a b/3 z/2 z/y.1 z/y/1");
    reads((const char *const[]){"."}, 1, "a b/3 z/2 z/y.1 z/y/1");
    static const char *const twice[][2] = {{"z", "./z"}, {"z", "z/y"}, {"a", "../%s/a"}, {"b/3", "b"}, {"a", "a"}};
    for (size_t i = 0; i < sizeof twice / sizeof *twice; i++) { /* one file by two names */
        snprintf(at[0], sizeof at[0], twice[i][1], strrchr(folder, '/') + 1);
        const char *const list[] = {twice[i][0], at[0]};
        refuses(&(struct sy_data_options){.dataset_paths = list, .n_dataset_paths = 2}, SY_ERR_USAGE,
                ": twice in training.dataset_path, also as ");
    }
    assert_int_equal(chdir(here), 0);
    static const char *const gone[] = {"z/y/1", "z/y.1", "z/2", "z/y", "z", "b/3", "b", "a"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        drop(gone[i]);
}

static void link_to(const char *target, const char *name) { assert_int_equal(symlink(target, path_of(name)), 0); }

/* Links to files and folders, inside and outside, are read under their own names. */
static void test_links(void **state) {
    (void)state;
    char outside[] = "/tmp/sy_outside_XXXXXX", path[320];
    assert_non_null(mkdtemp(outside));
    snprintf(path, sizeof path, "%s/far", outside);
    FILE *f = fopen(path, "wb");
    assert_true(f && fputs("far", f) >= 0 && fclose(f) == 0);
    assert_int_equal(mkdir(path_of("in"), 0777), 0);
    put("in/near", "near");
    link_to("in/near", "b_file");
    link_to(path, "a_file_outside");
    link_to(outside, "z_folder_outside");
    link_to("b_file", "c_link_to_a_link");
    reads(folder_list, 1, "far near near near far");
    says("warning: data: 3 files are read more than once: ", "", "");
    snprintf(path, sizeof path, "%s/root", outside);
    assert_int_equal(symlink(folder, path), 0); /* a source that is a link: the same data */
    reads((const char *const[]){path}, 1, "far near near near far");
    assert_int_equal(unlink(path), 0);
    static const char *const gone[] = {"in/near", "in", "b_file", "a_file_outside", "z_folder_outside", "c_link_to_a_link"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        drop(gone[i]);
    snprintf(path, sizeof path, "%s/far", outside);
    assert_true(unlink(path) == 0 && rmdir(outside) == 0);
}

/* The cache of the Hugging Face hub: a snapshot is a folder of links to blobs without a suffix. */
static void test_hub_cache(void **state) {
    (void)state;
    static const char *const folders[] = {"blobs", "refs", "snapshots", "snapshots/1f2e", "snapshots/1f2e/data"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        assert_int_equal(mkdir(path_of(folders[i]), 0777), 0);
    put("blobs/6b86b273ff34", "{\"text\":\"one\"}\n{\"text\":\"two\"}\n");
    put("refs/main", "1f2e");
    link_to("../../../blobs/6b86b273ff34", "snapshots/1f2e/data/train.jsonl");
    char snapshot[256];
    snprintf(snapshot, sizeof snapshot, "%s", path_of("snapshots/1f2e"));
    const char *const list[] = {snapshot};
    reads(list, 1, "one two");
    drop("blobs/6b86b273ff34"); /* a download that was not finished */
    struct sy_data_options o = {.dataset_paths = list, .n_dataset_paths = 1, .log = &logger};
    logged[0] = 0;
    refuses(&o, SY_ERR_USAGE, "no files");
    says("warning: ", "snapshots/1f2e/data/train.jsonl",
         ": passed over: a link to ../../../blobs/6b86b273ff34, which is not there");
    drop("snapshots/1f2e/data/train.jsonl");
    drop("refs/main");
    for (size_t i = sizeof folders / sizeof *folders; i-- > 0;)
        drop(folders[i]);
}

/* What is not read is named; the rest is read. */
static void test_passed_over(void **state) {
    (void)state;
    put("a", "a");
    put(".hidden", "never");
    link_to("nowhere", "dangling");
    link_to("a/below", "below_a_file");
    link_to("me", "me");
    link_to("you", "he");
    link_to("he", "you");
    assert_int_equal(mkdir(path_of("in"), 0777), 0);
    assert_int_equal(mkdir(path_of("in/.git"), 0777), 0);
    put("in/b", "b");
    link_to("..", "in/up");
    link_to(".", "in/here");
    assert_int_equal(mkfifo(path_of("pipe"), 0666), 0);
    reads(folder_list, 1, "a b");
    says("warning: ", "dangling", ": passed over: a link to nowhere, which is not there");
    says("warning: ", "below_a_file", ": passed over: a link to a/below, which is not there");
    says("warning: ", "me", ": passed over: a link to me, which leads back to it");
    says("warning: ", "he", ": passed over: a link to you, which leads back to it");
    says("warning: ", "in/up", ": not entered: it is ");
    says("warning: ", "in/here", ": not entered: it is ");
    says("warning: ", "pipe", ": passed over: neither a file nor a folder");
    assert_true(strstr(logged, " and 1 more are hidden: passed over") != NULL);
    static const char *const named[] = {"dangling", "me", "pipe"}; /* as a source it is an error */
    for (size_t i = 0; i < 3; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s", path_of(named[i]));
        const char *const list[] = {path};
        refuses(&(struct sy_data_options){.dataset_paths = list, .n_dataset_paths = 1}, SY_ERR_IO, path);
    }
    if (geteuid() == 0) { /* a folder that cannot be read is no smaller data set */
        assert_int_equal(chmod(folder, 0755), 0);
        assert_int_equal(chmod(path_of("in"), 0700), 0);
        assert_int_equal(seteuid(65534), 0);
        struct sy_data_options o = defaults();
        refuses(&o, SY_ERR_IO, "/in: cannot open folder: ");
        assert_int_equal(seteuid(0), 0);
    }
    static const char *const gone[] = {"a",       ".hidden", "dangling", "below_a_file", "me", "he",  "you",
                                       "in/.git", "in/b",    "in/up",    "in/here",      "in", "pipe"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        drop(gone[i]);
}

static void test_options(void **state) {
    (void)state;
    struct sy_data_options o = defaults();
    o.format = "parquet";
    refuses(&o, SY_ERR_USAGE, "\"parquet\" must be auto, text or jsonl");
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
    } cases[] = {{5, 1, "12345"}, {7, 1, "12345"}, {8, 2, "678"}, {14, 2, "678"}, {15, 3, "9abcdef"}, {99, 3, "9abcdef"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        o.max_bytes = cases[i].max;
        d = load(&o);
        assert_int_equal(d->n_documents, cases[i].n_documents);
        is_text(d, d->n_documents - 1, cases[i].last);
        assert_int_equal(d->is_full, cases[i].max < 15);
        assert_int_equal(d->text_bytes, d->document[d->n_documents - 1].offset + d->document[d->n_documents - 1].bytes);
        sy_documents_destroy(d);
    }
    o.max_bytes = 4;
    refuses(&o, SY_ERR_USAGE, "the first is larger than data.max_bytes = 4");
    o.format = "text"; /* two files of 39 and 28 bytes */
    o.max_bytes = 66;
    d = load(&o);
    assert_int_equal(d->n_documents, 1);
    assert_int_equal(d->text_bytes, d->document[0].bytes);
    sy_documents_destroy(d);
    drop("a.jsonl");
    drop("b.jsonl");
}

/* --- the held-out split, against the rule written out slowly ------------------------------------------------------------ */

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
        if (!docs[i].seen && (best < 0 || XXH3_64bits(docs[i].text, docs[i].n) < XXH3_64bits(docs[best].text, docs[best].n)))
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
        if (copies == 1 && (largest < 0 || docs[i].n > docs[largest].n || (docs[i].n == docs[largest].n && i < largest)))
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

static void check_split(const struct doc *docs, int n, int cut_doc, size_t cut, const struct sy_documents *d) {
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
        assert_true(!before || before->hash < now->hash || (before->hash == now->hash && d->heldout[i - 1] < h));
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

/* Documents by hand: text, then what is left to train on and what is held out, of 1 % unless said otherwise. */
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
            snprintf(got[side] + at, sizeof got[side] - at, "%s%.*s", i ? "|" : "", (int)t->bytes, d->text + t->offset);
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
#define SPLIT(share, train, held, ...) \
    split_is((const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), share, train, held)

static void test_holdout_by_hand(void **state) {
    (void)state;
    SPLIT(0.1, "one\ntwo\nthree\n", "four\n", "one\ntwo\nthree\nfour\n");     /* byte 18 of 19 ends it: the newline before */
    SPLIT(0.3, "one\ntwo\nthree\n", "four\n", "one\ntwo\nthree\nfour\n");     /* byte 14 begins "four" */
    SPLIT(0.32, "one\ntwo\nthree\n", "four\n", "one\ntwo\nthree\nfour\n");    /* byte 13 is the newline before it */
    SPLIT(0.4, "one\ntwo\n", "three\nfour\n", "one\ntwo\nthree\nfour\n");     /* byte 12 is inside "three" */
    SPLIT(0.3, "0123456", "789", "0123456789");                               /* no newline */
    SPLIT(0.3, "01234", "\xf0\x9f\x98\x80" "9", "01234\xf0\x9f\x98\x80" "9"); /* byte 7 is inside a character */
    SPLIT(0.01, "\n", "abcdefgh", "\nabcdefgh");
    SPLIT(0.01, "abc", "d", "abcd");
    SPLIT(0.5, "a", "", "a");                                       /* one character */
    SPLIT(0.5, "\xf0\x9f\x98\x80", "", "\xf0\x9f\x98\x80");
    SPLIT(0.1, "twin|twin", "", "twin", "twin");                    /* a document with copies is never cut */
    SPLIT(0.1, "twins|twins|on", "e", "twins", "twins", "one");     /* the other is */
    SPLIT(0.1, "aab|cccccccccc", "c", "aab", "ccccccccccc");        /* the largest */
    SPLIT(0.1, "ab|cde", "c", "abc", "cde");                        /* of equal ones the first */
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
    struct sy_documents *d = load(&o); /* the share is 1140 bytes: all three notes fit, and the book does not */
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
    assert_int_equal(sy_documents_fingerprint(d, &print), SY_OK);
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
    assert_int_equal(sy_documents_check(d, "switchyard.json", print), SY_ERR_DATA);
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

static void test_entropy(void **state) {
    (void)state;
    put("a", "aabb");
    put("b", "cccc");
    put("c", "dddddddd");
    struct sy_data_options o = defaults();
    struct sy_documents *d = load(&o);
    double all = sy_documents_entropy(d, d->train, 3); /* 1/8 1/8 1/4 1/2: 1.75 bits */
    assert_true(fabs(all - 1.75 * 0.69314718055994531) < 1e-14);
    assert_true(fabs(sy_documents_entropy(d, d->train, 1) - 0.69314718055994531) < 1e-15);
    assert_true(sy_documents_entropy(d, d->train + 1, 1) == 0.0);
    assert_true(sy_documents_entropy(d, d->train, 0) == 0.0);
    sy_documents_destroy(d);
    drop("a");
    drop("b");
    drop("c");
}

static void check_is(const struct sy_data_options *o, const json_t *print, const char *message) {
    struct sy_documents *d = load(o);
    sy_status status = sy_documents_check(d, "switchyard.json", print);
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
    assert_int_equal(sy_documents_fingerprint(d, &print), SY_OK);
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

/* The text that tests and debug configs train on. */
static void test_prose(void **state) {
    (void)state;
    static const char *const prose[] = {"tests/data/prose.jsonl"};
    struct sy_data_options o = {.dataset_paths = prose, .n_dataset_paths = 1, .holdout = 0.01};
    struct sy_documents *d = load(&o);
    assert_true(d->n_documents >= 150 && d->file[0].bytes <= 200000);
    assert_int_equal(d->n_bad_lines + d->n_empty, 0);
    assert_true(d->n_heldout > 0 && d->n_documents == d->n_train + d->n_heldout);
    assert_true((double)d->heldout_bytes <= 0.01 * (double)d->text_bytes);
    double entropy = sy_documents_entropy(d, d->train, d->n_train);
    assert_true(entropy > 2.9 && entropy < 3.2);
    sy_documents_destroy(d);
}

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folder),      cmocka_unit_test(test_named_link_and_gzip),
        cmocka_unit_test(test_options),     cmocka_unit_test(test_max_bytes_and_bad_lines),
        cmocka_unit_test(test_holdout),     cmocka_unit_test(test_holdout_depends_on_texts_alone),
        cmocka_unit_test(test_entropy),     cmocka_unit_test(test_fingerprint),
        cmocka_unit_test(test_prose),       cmocka_unit_test(test_order_of_sources),
        cmocka_unit_test(test_links),       cmocka_unit_test(test_hub_cache), cmocka_unit_test(test_holdout_by_hand), cmocka_unit_test(test_holdout_of_a_book), cmocka_unit_test(test_given),
        cmocka_unit_test(test_passed_over),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder) != 0;
}
