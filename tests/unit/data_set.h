/* A data set from its options to its sequences, for tests that compare two. */
#ifndef TESTS_UNIT_DATA_SET_H
#define TESTS_UNIT_DATA_SET_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/loader.h"

enum { SEQ = 32 }; /* tokens of a sequence */

struct data {
    struct sy_documents *documents;
    struct sy_corpus *corpus;
    struct sy_loader *loader;
};

static inline struct data open_data(const struct sy_data_options *o) {
    struct data d = {0};
    if (sy_documents_load(o, &d.documents) != SY_OK ||
        sy_corpus_create(d.documents, o->tokenizer, NULL, &d.corpus) != SY_OK ||
        sy_loader_create(d.corpus, o, SEQ, &d.loader) != SY_OK)
        fail_msg("%s", sy_error_message());
    return d;
}

static inline void close_data(struct data *d) {
    sy_loader_destroy(d->loader);
    sy_corpus_destroy(d->corpus);
    sy_documents_destroy(d->documents);
}

/* `sequences` of them, `step` apart: ids, labels and starts of documents. */
static inline void same_training(const struct data *a, const struct data *b, int64_t sequences,
                                 int64_t step) {
    int32_t x[3 * SEQ], y[3 * SEQ];
    for (int64_t n = 0; n < sequences; n++) {
        assert_int_equal(sy_loader_fetch(a->loader, n * step, x, x + SEQ, x + 2 * SEQ), SY_OK);
        assert_int_equal(sy_loader_fetch(b->loader, n * step, y, y + SEQ, y + 2 * SEQ), SY_OK);
        assert_memory_equal(x, y, sizeof x);
    }
}

/* All that are held out. */
static inline void same_evaluation(const struct data *a, const struct data *b) {
    int32_t x[3 * SEQ], y[3 * SEQ];
    assert_int_equal(sy_loader_eval_count(a->loader), sy_loader_eval_count(b->loader));
    for (int64_t n = 0; n < sy_loader_eval_count(a->loader); n++) {
        assert_int_equal(sy_loader_eval_fetch(a->loader, n, x, x + SEQ, x + 2 * SEQ), SY_OK);
        assert_int_equal(sy_loader_eval_fetch(b->loader, n, y, y + SEQ, y + 2 * SEQ), SY_OK);
        assert_memory_equal(x, y, sizeof x);
    }
}

#endif
