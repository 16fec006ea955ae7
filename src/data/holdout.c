/* The held-out split: see holdout.h. */
#include "data/holdout.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "data/cached.h"
#include "data/token_documents.h"

struct ranked {
    uint64_t hash;
    int64_t index;
};

/* What the split is made with; freed at its end. */
struct split {
    struct sy_documents *d;
    struct ranked *ranked; /* documents of a range of hashes, ascending (hash, place) */
    int64_t n_ranked;
    char *side;      /* of each document */
    int64_t largest; /* of those without a copy; -1: none */
};
enum { OPEN, TRAIN, HELD };

static int by_hash(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static void rank(const struct sy_documents *d, int64_t first, int64_t n, struct ranked *ranked) {
    for (int64_t i = 0; i < n; i++)
        ranked[i] = (struct ranked){d->document[first + i].hash, first + i};
    qsort(ranked, (size_t)n, sizeof *ranked, by_hash);
}

static int are_equal(const struct sy_documents *d, int64_t i, int64_t k) {
    const struct sy_document *a = &d->document[i], *b = &d->document[k];
    int are_texts = a->tokens == SY_TEXT && b->tokens == SY_TEXT;
    return a->hash == b->hash && a->bytes == b->bytes &&
           (!are_texts || memcmp(d->text + a->offset, d->text + b->offset, (size_t)a->bytes) == 0);
}

static sy_status allocate(struct split *s, struct sy_documents *d) {
    size_t n = (size_t)d->n_documents + 1; /* one more for a tail */
    *s = (struct split){.d = d, .largest = -1};
    s->ranked = malloc(n * sizeof *s->ranked);
    s->side = calloc(n, 1);
    d->train = malloc(n * sizeof *d->train);
    d->heldout = malloc(n * sizeof *d->heldout);
    if (!s->ranked || !s->side || !d->train || !d->heldout)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for the split of %" PRId64 " documents", d->n_documents);
    return SY_OK;
}

static void finish(struct split *s) {
    free(s->ranked);
    free(s->side);
}

static void hold_out(struct sy_documents *d, int64_t i) {
    d->heldout[d->n_heldout++] = i;
    d->heldout_bytes += d->document[i].bytes;
}

/* The document of rank r and its copies, which stand behind it, go to one side. */
static void place_copies(struct split *s, int64_t r, int64_t room) {
    struct sy_documents *d = s->d;
    int64_t i = s->ranked[r].index, bytes = d->document[i].bytes, copies = 0;
    for (int64_t k = r; k < s->n_ranked && s->ranked[k].hash == s->ranked[r].hash; k++)
        copies += are_equal(d, i, s->ranked[k].index);
    char side = copies <= (room - d->heldout_bytes) / bytes ? HELD : TRAIN;
    for (int64_t k = r; k < s->n_ranked && s->ranked[k].hash == s->ranked[r].hash; k++) {
        int64_t copy = s->ranked[k].index;
        if (!are_equal(d, i, copy))
            continue;
        s->side[copy] = side;
        if (side == HELD)
            hold_out(d, copy);
    }
    const struct sy_document *largest = s->largest < 0 ? NULL : &d->document[s->largest];
    if (copies == 1 && (!largest || bytes > largest->bytes || (bytes == largest->bytes && i < s->largest)))
        s->largest = i;
}

/* Where a document is cut: behind the last newline at or before byte `at`, else before the character
 * there; 0 if nothing would be left on one side. */
static int64_t cut_of(const char *text, int64_t bytes, double share) {
    double exact = (1.0 - share) * (double)bytes;
    int64_t at = (int64_t)exact;
    at += (double)at < exact;
    int64_t last =
        at < bytes - 2 ? at : bytes - 2; /* a newline that ends the document leaves nothing behind it */
    for (int64_t i = last; i >= 0; i--)
        if (text[i] == '\n')
            return i + 1;
    return (int64_t)sy_utf8_start(text, (size_t)(at < bytes - 1 ? at : bytes - 1));
}

static void say_cut(const struct split *s, const struct sy_data_options *o, int64_t tail, int64_t all,
                    const char *unit) {
    sy_log_info(o->log,
                "data: no document is as small as %g of the text (data.holdout): of the largest, in %s, "
                "the last %" PRId64 " of %" PRId64 " %s are held out",
                o->holdout, s->d->file[s->d->document[s->largest].file].path, tail, all, unit);
}

static sy_status hold_out_tail_of_text(struct split *s, const struct sy_data_options *o) {
    struct sy_documents *d = s->d;
    struct sy_document whole = d->document[s->largest];
    int64_t cut = cut_of(d->text + whole.offset, whole.bytes, o->holdout), tail = whole.bytes - cut;
    if (cut == 0)
        return SY_OK;
    say_cut(s, o, tail, whole.bytes, "bytes");
    sy_document_set(d, s->largest, whole.offset, cut);
    SY_TRY(sy_documents_add(d, whole.offset + cut, tail, whole.file, whole.line));
    hold_out(d, d->n_documents - 1);
    return SY_OK;
}

static sy_status hold_out_tail_of_tokens(struct split *s, const struct sy_data_options *o) {
    struct sy_documents *d = s->d;
    struct sy_document whole = d->document[s->largest];
    double exact = (1.0 - o->holdout) * (double)whole.tokens;
    int64_t cut = (int64_t)exact;
    cut += (double)cut < exact;
    cut = cut < whole.tokens ? cut : whole.tokens - 1;
    if (cut <= 0)
        return SY_OK;
    say_cut(s, o, whole.tokens - cut, whole.tokens, "tokens");
    SY_TRY(sy_documents_add_row(d, &whole));
    SY_TRY(sy_token_document_set(d, s->largest, whole.offset, cut));
    SY_TRY(sy_token_document_set(d, d->n_documents - 1, whole.offset + cut, whole.tokens - cut));
    hold_out(d, d->n_documents - 1);
    return SY_OK;
}

static void train_on_the_rest(struct split *s, int64_t n) {
    struct sy_documents *d = s->d;
    for (int64_t i = 0; i < n; i++) {
        if (s->side[i] == HELD)
            continue;
        d->train[d->n_train++] = i;
        d->train_bytes += d->document[i].bytes;
    }
}

static sy_status hold_out_tail(struct split *s, const struct sy_data_options *o) {
    const struct sy_document *whole = &s->d->document[s->largest];
    if (whole->tokens != SY_TEXT && s->d->file[whole->file].is_cached) /* cut where the text is cut */
        SY_TRY(sy_cached_text_again(s->d, o, s->largest));
    return whole->tokens == SY_TEXT ? hold_out_tail_of_text(s, o) : hold_out_tail_of_tokens(s, o);
}

/* Documents of hashes first … last that are not yet known to be trained on: of more bytes than `most` are. */
static void place_range(struct split *s, uint64_t first, uint64_t last, int64_t most, int64_t room) {
    const struct sy_documents *d = s->d;
    s->n_ranked = 0;
    for (int64_t i = 0; i < d->n_documents; i++)
        if (d->document[i].hash >= first && d->document[i].hash <= last && d->document[i].bytes <= most)
            s->ranked[s->n_ranked++] = (struct ranked){d->document[i].hash, i};
    qsort(s->ranked, (size_t)s->n_ranked, sizeof *s->ranked, by_hash);
    for (int64_t r = 0; r < s->n_ranked; r++)
        if (s->side[s->ranked[r].index] == OPEN)
            place_copies(s, r, room);
}

/* Few of many documents are held out, and those of low hashes: the others need no order among themselves
 * but where something still fits. */
static void place_all(struct split *s, double share, int64_t room) {
    double low = share < 1.0 / 32 ? 1.0 / 16 : 2 * share;
    uint64_t bound = low < 1 ? (uint64_t)(low * 0x1p64) : UINT64_MAX;
    place_range(s, 0, bound, INT64_MAX, room);
    if (bound < UINT64_MAX)
        place_range(s, bound + 1, UINT64_MAX, s->d->n_heldout ? room - s->d->heldout_bytes : INT64_MAX, room);
}

static sy_status split_by_share(struct split *s, const struct sy_data_options *o) {
    struct sy_documents *d = s->d;
    int64_t n = d->n_documents, total = 0;
    for (int64_t i = 0; i < n; i++)
        total += d->document[i].bytes;
    int64_t room = (int64_t)(o->holdout * (double)total);
    if (o->holdout > 0)
        place_all(s, o->holdout, room < total ? room : total - 1);
    if (d->n_heldout == 0 && s->largest >= 0 && o->holdout > 0)
        SY_TRY(hold_out_tail(s, o));
    train_on_the_rest(s, n);
    if (d->heldout_bytes > d->train_bytes)
        sy_log_warn(o->log,
                    "data: %" PRId64 " bytes are held out and %" PRId64
                    " are left to train on: see data.holdout",
                    d->heldout_bytes, d->train_bytes);
    return SY_OK;
}

sy_status sy_holdout_split(struct sy_documents *d, const struct sy_data_options *o) {
    struct split s;
    sy_status status = allocate(&s, d);
    if (status == SY_OK)
        status = split_by_share(&s, o);
    finish(&s);
    return status;
}

/* Whether the documents in ranked[0 … n-1] have an equal one. */
static int is_among(const struct sy_documents *d, const struct ranked *ranked, int64_t n, int64_t i) {
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (ranked[middle].hash < d->document[i].hash)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < n && ranked[low].hash == d->document[i].hash; low++)
        if (are_equal(d, ranked[low].index, i))
            return 1;
    return 0;
}

sy_status sy_holdout_given(struct sy_documents *d, int64_t first, const struct sy_log *log) {
    struct split s;
    int64_t n_both = 0, both = 0;
    sy_status status = allocate(&s, d);
    if (status == SY_OK) {
        rank(d, first, d->n_documents - first, s.ranked);
        for (int64_t r = 0; r < d->n_documents - first; r++)
            hold_out(d, s.ranked[r].index);
        train_on_the_rest(&s, first);
        rank(d, 0, first, s.ranked);
        for (int64_t i = d->n_documents; i-- > first;)
            if (is_among(d, s.ranked, first, i))
                n_both++, both = i;
    }
    if (n_both > 0)
        sy_log_warn(log,
                    "data: %" PRId64 " of %" PRId64
                    " documents for validation are trained on too, the first in %s",
                    n_both, d->n_heldout, d->file[d->document[both].file].path);
    finish(&s);
    return status;
}
