/* The loader against a slow model of its contract: the whole stream written out, then cut. Random access
 * in any order gives the same bytes as going through; the shuffle is a permutation that depends on seed
 * and epoch; evaluation pads at the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"
#include "data/loader.h"
#include "data/order.h"

enum { MAX_STREAM = 1 << 16 };

static char path[] = "/tmp/sy_loader_XXXXXX.jsonl";
static const char *const path_list[] = {path};

struct fixture {
    struct sy_data_options options;
    struct sy_documents *documents;
    struct sy_tokenizer *tokenizer;
    struct sy_corpus *corpus;
};

static struct fixture setup(int n_documents, int shuffle, uint64_t seed, double holdout) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (int i = 0; i < n_documents; i++)
        fprintf(f, "{\"text\":\"%0*d\"}\n", 1 + (i * 5 + 3) % 17, i);
    assert_int_equal(fclose(f), 0);
    struct fixture x = {.options = {.dataset_paths = path_list,
                                    .n_dataset_paths = 1,
                                    .shuffle = shuffle,
                                    .seed = seed,
                                    .holdout = holdout}};
    assert_int_equal(sy_documents_load(&x.options, &x.documents), SY_OK);
    assert_int_equal(sy_tokenizer_create(&(struct sy_tokenizer_options){.path = "byte"}, &x.tokenizer),
                     SY_OK);
    assert_int_equal(sy_corpus_create(x.documents, x.tokenizer, NULL, &x.corpus), SY_OK);
    return x;
}

static void teardown(struct fixture *x) {
    sy_corpus_destroy(x->corpus);
    sy_documents_destroy(x->documents);
    sy_tokenizer_destroy(x->tokenizer);
    unlink(path);
}

static struct sy_loader *create(const struct fixture *x, int64_t seq_len) {
    struct sy_loader *loader = NULL;
    if (sy_loader_create(x->corpus, &x->options, seq_len, &loader) != SY_OK)
        fail_msg("%s", sy_error_message());
    return loader;
}

/* Tokens of one epoch: BOS and EOS of each document too. */
static int64_t epoch_tokens(const struct fixture *x) {
    return x->documents->train_bytes + 2 * x->documents->n_train;
}

/* The contract, written down the slow way. */
struct stream {
    int n;
    int32_t token[MAX_STREAM];
    int begin[MAX_STREAM]; /* where the token's document begins */
    int last[MAX_STREAM];  /* it is the document's last */
};

static void add_document(struct stream *s, const struct sy_documents *d, int64_t i) {
    int begin = s->n;
    const struct sy_document *document = &d->document[i];
    for (int64_t j = 0; j < document->bytes + 2 && s->n < MAX_STREAM; j++) {
        s->token[s->n] = j == 0                     ? 256
                         : j == document->bytes + 1 ? 257
                                                    : (unsigned char)d->text[document->offset + j - 1];
        s->begin[s->n] = begin;
        s->last[s->n++] = j == document->bytes + 1;
    }
}

/* The order of epoch e by choosing the smallest key again and again. */
static void add_epoch(struct stream *s, const struct fixture *x, int64_t e) {
    const struct sy_documents *d = x->documents;
    uint64_t k = sy_mix64(sy_mix64(x->options.seed + (3ull << 32)) + (uint64_t)e), below = 0;
    for (int64_t i = 0; i < d->n_train; i++) {
        int64_t pick = i;
        uint64_t smallest = UINT64_MAX;
        for (int64_t j = 0; j < d->n_train && x->options.shuffle; j++) {
            uint64_t key = sy_mix64(k + (uint64_t)(j + 1) * 0x9e3779b97f4a7c15u);
            if (key <= smallest && (i == 0 || key > below)) {
                smallest = key;
                pick = j;
            }
        }
        below = smallest;
        add_document(s, d, d->train[pick]);
    }
}

static void check_place(const struct stream *s, int64_t place, int64_t seq_len, const int32_t *tokens,
                        const int32_t *labels, const int32_t *doc_start) {
    for (int64_t i = 0; i < seq_len; i++) {
        int64_t at = place + i, begin = s->begin[at] - place;
        assert_int_equal(tokens[i], s->token[at]);
        assert_int_equal(labels[i], s->last[at] ? -100 : s->token[at + 1]);
        assert_int_equal(doc_start[i], begin > 0 ? begin : 0);
    }
}

static void check_sequence(const struct stream *s, int64_t n, int64_t seq_len, const int32_t *tokens,
                           const int32_t *labels, const int32_t *doc_start) {
    check_place(s, n * seq_len, seq_len, tokens, labels, doc_start);
}

static void check_all(int n_documents, int64_t seq_len, int shuffle, uint64_t seed) {
    struct fixture x = setup(n_documents, shuffle, seed, 0.1);
    struct sy_loader *loader = create(&x, seq_len);
    static struct stream s;
    s.n = 0;
    for (int64_t e = 0; s.n < 6 * epoch_tokens(&x) + 2 * seq_len; e++)
        add_epoch(&s, &x, e);
    int32_t *out = malloc(3 * (size_t)seq_len * sizeof *out);
    assert_non_null(out);
    int64_t count = (s.n - 1) / seq_len;
    assert_true(count >= 2);
    for (int64_t i = 0; i < 3 * count; i++) { /* first in order, then at random */
        int64_t n = i < count ? i : (int64_t)(sy_mix64((uint64_t)i) % (uint64_t)count);
        assert_int_equal(sy_loader_fetch(loader, n * seq_len, out, out + seq_len, out + 2 * seq_len), SY_OK);
        check_sequence(&s, n, seq_len, out, out + seq_len, out + 2 * seq_len);
        int64_t place = (int64_t)(sy_mix64((uint64_t)(i + count)) %
                                  (uint64_t)(s.n - seq_len)); /* a sequence may begin anywhere */
        assert_int_equal(sy_loader_fetch(loader, place, out, out + seq_len, out + 2 * seq_len), SY_OK);
        check_place(&s, place, seq_len, out, out + seq_len, out + 2 * seq_len);
    }
    free(out);
    sy_loader_destroy(loader);
    teardown(&x);
}

static void test_against_model(void **state) {
    (void)state;
    static const int documents[] = {1, 2, 3, 40, 300};
    static const int64_t lengths[] = {1, 2, 7, 16, 33, 1000};
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++)
        for (size_t j = 0; j < sizeof lengths / sizeof *lengths; j++)
            check_all(documents[i], lengths[j], (i + j) % 3 != 0, 42 + i);
}

/* Hashes the first `count` sequences. */
static uint64_t digest(const struct fixture *x, int64_t count) {
    int32_t out[3 * 16];
    uint64_t h = 0;
    struct sy_loader *loader = create(x, 16);
    for (int64_t n = 0; n < count; n++) {
        assert_int_equal(sy_loader_fetch(loader, 16 * n, out, out + 16, out + 32), SY_OK);
        for (int i = 0; i < 48; i++)
            h = sy_mix64(h + (uint64_t)(int64_t)out[i]);
    }
    sy_loader_destroy(loader);
    return h;
}

static void test_seed_and_epoch(void **state) {
    (void)state;
    struct fixture x = setup(50, 1, 1, 0);
    uint64_t one = digest(&x, 30), again = digest(&x, 30);
    x.options.seed = 2;
    uint64_t two = digest(&x, 30);
    x.options.shuffle = 0;
    uint64_t file_order = digest(&x, 30);
    assert_true(one == again);
    assert_true(one != two && one != file_order && two != file_order);
    struct sy_loader *loader = create(&x, 1); /* file order: every epoch alike; shuffled: not */
    int64_t epoch = epoch_tokens(&x);
    int32_t a, b, label, start, differ[2] = {0, 0};
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        sy_loader_destroy(loader);
        x.options.shuffle = shuffle;
        loader = create(&x, 1);
        for (int64_t n = 0; n < epoch; n++) {
            assert_int_equal(sy_loader_fetch(loader, n, &a, &label, &start), SY_OK);
            assert_int_equal(sy_loader_fetch(loader, n + epoch, &b, &label, &start), SY_OK);
            differ[shuffle] += a != b;
        }
    }
    assert_int_equal(differ[0], 0);
    assert_true(differ[1] > 0);
    sy_loader_destroy(loader);
    teardown(&x);
}

static void test_golden(void **state) {
    (void)state;
    struct fixture x = setup(50, 1, 42, 0);
    uint64_t h = digest(&x, 100); /* part of the recipe: a change here changes every run */
    if (h != 0x961de79d61bff613u)
        fail_msg("the order of the data changed: 0x%016llx", (unsigned long long)h);
    teardown(&x);
}

struct reader {
    struct sy_loader *loader;
    int64_t first, step, count;
    uint64_t *digests; /* one per sequence */
};

static void *read_some(void *arg) {
    const struct reader *r = arg;
    int32_t out[3 * 16];
    for (int64_t n = r->first; n < r->count; n += r->step) {
        uint64_t h = 0;
        if (sy_loader_fetch(r->loader, 16 * n, out, out + 16, out + 32) == SY_OK)
            for (int i = 0; i < 48; i++)
                h = sy_mix64(h + (uint64_t)(int64_t)out[i]);
        r->digests[n] = h;
    }
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    enum { COUNT = 300, THREADS = 3 };
    static uint64_t alone[COUNT], together[COUNT];
    struct fixture x = setup(50, 1, 5, 0);
    struct sy_loader *loader = create(&x, 16);
    struct reader all = {loader, 0, 1, COUNT, alone}, part[THREADS];
    read_some(&all);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        part[i] = (struct reader){loader, i, THREADS, COUNT, together};
        assert_int_equal(pthread_create(&threads[i], NULL, read_some, &part[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_memory_equal(alone, together, sizeof alone);
    sy_loader_destroy(loader);
    teardown(&x);
}

static void test_eval(void **state) {
    (void)state;
    struct fixture x = setup(60, 1, 7, 0.3);
    static struct stream s;
    for (int64_t seq_len = 1; seq_len < 400; seq_len = seq_len * 2 + 1) {
        struct sy_loader *loader = create(&x, seq_len);
        s.n = 0;
        for (int64_t i = 0; i < x.documents->n_heldout; i++)
            add_document(&s, x.documents, x.documents->heldout[i]);
        int64_t count = sy_loader_eval_count(loader), valid = 0;
        assert_int_equal(count, (s.n + seq_len - 1) / seq_len);
        for (int i = s.n; i < count * seq_len; i++) { /* the padding is a document of its own */
            s.token[i] = 258;
            s.begin[i] = s.n;
            s.last[i] = 1;
        }
        int32_t *out = malloc(3 * (size_t)seq_len * sizeof *out);
        assert_non_null(out);
        for (int64_t n = count; n-- > 0;) {
            assert_int_equal(sy_loader_eval_fetch(loader, n, out, out + seq_len, out + 2 * seq_len), SY_OK);
            check_sequence(&s, n, seq_len, out, out + seq_len, out + 2 * seq_len);
            for (int64_t i = 0; i < seq_len; i++)
                valid += out[seq_len + i] != SY_LABEL_NONE;
        }
        assert_int_equal(valid, sy_loader_eval_labels(loader));
        assert_int_equal(valid, x.documents->heldout_bytes + x.documents->n_heldout);
        assert_int_equal(sy_loader_eval_fetch(loader, count, out, out, out), SY_ERR_USAGE);
        assert_int_equal(sy_loader_eval_fetch(loader, -1, out, out, out), SY_ERR_USAGE);
        free(out);
        sy_loader_destroy(loader);
    }
    teardown(&x);
}

static void test_refused(void **state) {
    (void)state;
    struct fixture x = setup(1, 0, 0, 0);
    struct sy_loader *loader = NULL;
    assert_int_equal(sy_loader_create(x.corpus, &x.options, 0, &loader), SY_ERR_USAGE);
    assert_non_null(strstr(sy_error_message(), "seq_len 0 must be in 1 … 16777216"));
    assert_int_equal(sy_loader_create(x.corpus, &x.options, SY_SEQ_LEN_MAX + 1, &loader), SY_ERR_USAGE);
    struct sy_documents none = {0};
    struct sy_corpus empty = *x.corpus;
    empty.documents = &none;
    assert_int_equal(sy_loader_create(&empty, &x.options, 8, &loader), SY_ERR_USAGE);
    assert_null(loader);
    loader = create(&x, 8);
    int32_t out[24];
    assert_int_equal(sy_loader_eval_count(loader), 0); /* nothing is held out */
    assert_int_equal(sy_loader_fetch(loader, -1, out, out + 8, out + 16), SY_ERR_USAGE);
    assert_int_equal(sy_loader_fetch(loader, INT64_MAX - 7, out, out + 8, out + 16), SY_ERR_USAGE);
    assert_int_equal(sy_loader_fetch(loader, INT64_MAX - 8, out, out + 8, out + 16), SY_OK);
    sy_loader_destroy(loader);
    teardown(&x);
}

static int make_path(void **state) {
    (void)state;
    int fd = mkstemps(path, 6);
    return fd < 0 ? -1 : close(fd);
}

/* Sorted range by range: of more documents than a range has. */
static void test_order_of_many(void **state) {
    (void)state;
    enum { N = 5000000 };
    int64_t *order = malloc(N * sizeof *order), sum = 0;
    uint64_t k = sy_mix64(sy_mix64(7 + (3ull << 32)) + 2), before = 0;
    assert_non_null(order);
    assert_int_equal(sy_order_shuffle(7, 2, N, order), SY_OK);
    for (int64_t i = 0; i < N; i++) {
        uint64_t key = sy_mix64(k + (uint64_t)(order[i] + 1) * 0x9e3779b97f4a7c15u);
        assert_true(order[i] >= 0 && order[i] < N && (i == 0 || key > before));
        before = key;
        sum += order[i];
    }
    assert_true(sum == (int64_t)N * (N - 1) / 2);
    free(order);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_model), cmocka_unit_test(test_seed_and_epoch),
        cmocka_unit_test(test_golden),        cmocka_unit_test(test_eval),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_order_of_many),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, make_path, NULL) != 0;
}
