/* Sources that take turns: see mixture.h. What a checkpoint has of them is in mixture_json.c. */
#include "data/mixture.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int64_t common_divisor(int64_t a, int64_t b) {
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The rule, multiplied by the period: credit_i = n·turns_i − taken_i·period. */
static void take_turns(struct sy_mixture *m) {
    int64_t credit[SY_SOURCES_MAX] = {0};
    int32_t taken[SY_SOURCES_MAX] = {0};
    for (int64_t n = 0; n < m->period; n++) {
        int32_t best = 0;
        for (int32_t i = 1; i < m->n; i++)
            if (credit[i] > credit[best])
                best = i;
        m->turn[n] = (struct sy_turn){best, taken[best]++};
        credit[best] -= m->period;
        for (int i = 0; i < m->n; i++)
            credit[i] += m->of[i].turns;
    }
}

static sy_status weigh(struct sy_mixture *m) {
    int64_t divisor = 0;
    for (int i = 0; i < m->n; i++)
        divisor = common_divisor(m->of[i].weight, divisor);
    for (int i = 0; i < m->n; i++) {
        m->of[i].turns = m->of[i].weight / divisor;
        m->period += m->of[i].turns;
    }
    if (m->period > SY_SOURCE_TURNS_MAX)
        SY_FAIL(SY_ERR_USAGE,
                "data.sources: the weights, divided by their greatest common divisor %" PRId64
                ", add up to %" PRId64 ", at most %d are possible: choose smaller ones",
                divisor, m->period, SY_SOURCE_TURNS_MAX);
    m->turn = malloc((size_t)m->period * sizeof *m->turn);
    if (!m->turn)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for %" PRId64 " turns of data.sources", m->period);
    take_turns(m);
    return SY_OK;
}

/* --- opening -------------------------------------------------------------------------------------------- */

static sy_status open_one(const struct sy_data_options *o, int64_t seq_len, struct sy_mixed *out) {
    SY_TRY(sy_documents_load(o, &out->documents));
    SY_TRY(sy_corpus_create(out->documents, o->tokenizer, o->pool, &out->corpus));
    return sy_loader_create(out->corpus, o, seq_len, &out->loader);
}

/* Texts for validation belong to no source; they stand with the first. */
static struct sy_data_options options_of(const struct sy_mixture_options *o, int i) {
    struct sy_data_options data = o->data;
    if (o->n == 0)
        return data;
    data.list = "data.sources";
    data.dataset_paths = &o->path[i];
    data.n_dataset_paths = 1;
    data.validate = 0;
    if (i > 0 && data.n_validation_paths > 0) {
        data.n_validation_paths = 0;
        data.holdout = 0;
    }
    return data;
}

static sy_status open_all(const struct sy_mixture_options *o, struct sy_mixture *m) {
    for (int i = 0; i < m->n; i++) {
        struct sy_data_options data = options_of(o, i);
        m->of[i].weight = o->n ? o->weight[i] : 1;
        SY_TRY(open_one(&data, o->seq_len, &m->of[i]));
    }
    SY_TRY(weigh(m));
    if (o->data.validate && sy_mixture_totals(m).n_heldout == 0)
        SY_FAIL(SY_ERR_USAGE,
                "validation.enable: nothing is held out of the %d sources (data.holdout = %g): give "
                "validation.dataset_path, or choose validation.enable = false",
                m->n, o->data.holdout);
    return SY_OK;
}

sy_status sy_mixture_open(const struct sy_mixture_options *o, struct sy_mixture **out) {
    struct sy_mixture *m = calloc(1, sizeof *m);
    int n = o->n ? o->n : 1;
    if (n > SY_SOURCES_MAX) {
        free(m);
        SY_FAIL(SY_ERR_USAGE, "data.sources: %d sources, at most %d are possible", n, SY_SOURCES_MAX);
    }
    if (m)
        m->of = calloc((size_t)n, sizeof *m->of);
    if (!m || !m->of) {
        free(m);
        SY_FAIL(SY_ERR_MEMORY, "out of memory for %d sources of data", n);
    }
    m->n = n;
    m->seq_len = o->seq_len;
    sy_status status = open_all(o, m);
    if (status != SY_OK) {
        sy_mixture_close(m);
        return status;
    }
    *out = m;
    return SY_OK;
}

void sy_mixture_close(struct sy_mixture *m) {
    if (!m)
        return;
    for (int i = 0; i < m->n; i++) {
        sy_loader_destroy(m->of[i].loader);
        sy_corpus_destroy(m->of[i].corpus);
        sy_documents_destroy(m->of[i].documents);
    }
    free(m->of);
    free(m->turn);
    free(m);
}

/* --- sequences ------------------------------------------------------------------------------------------ */

static sy_status whole_sequences(int64_t seq_len, int64_t at, const struct sy_mixture_place *p, int64_t *n) {
    if (at < p->from || (at - p->from) % seq_len)
        SY_FAIL(SY_ERR_USAGE,
                "token %" PRId64 " of the run is no whole number of sequences of %" PRId64
                " behind token %" PRId64,
                at, seq_len, p->from);
    *n = (at - p->from) / seq_len;
    return SY_OK;
}

sy_status sy_mixture_fetch(const struct sy_mixture *m, const struct sy_mixture_place *p, int64_t at,
                           int32_t *tokens, int32_t *labels, int32_t *doc_start) {
    int64_t n = 0;
    if (m->n == 1)
        return sy_loader_fetch(m->of[0].loader, at, tokens, labels, doc_start);
    SY_TRY(whole_sequences(m->seq_len, at, p, &n));
    const struct sy_turn *turn = &m->turn[n % m->period];
    const struct sy_mixed *source = &m->of[turn->source];
    /* no more than `at` has tokens in all */
    int64_t number = n / m->period * source->turns + turn->number;
    return sy_loader_fetch(source->loader, p->tokens[turn->source] + number * m->seq_len, tokens, labels,
                           doc_start);
}

sy_status sy_mixture_move(const struct sy_mixture *m, int64_t seq_len, int64_t at,
                          struct sy_mixture_place *p) {
    int64_t n = 0;
    if (m->n == 1)
        return SY_OK;
    SY_TRY(whole_sequences(seq_len, at, p, &n));
    for (int i = 0; i < m->n; i++)
        p->tokens[i] += n / m->period * m->of[i].turns * seq_len;
    for (int64_t r = 0; r < n % m->period; r++)
        p->tokens[m->turn[r].source] += seq_len;
    p->from = at;
    return SY_OK;
}

int64_t sy_mixture_eval_count(const struct sy_mixture *m) {
    int64_t count = 0;
    for (int i = 0; i < m->n; i++)
        count += sy_loader_eval_count(m->of[i].loader);
    return count;
}

sy_status sy_mixture_eval_fetch(const struct sy_mixture *m, int64_t n, int32_t *tokens, int32_t *labels,
                                int32_t *doc_start) {
    int i = 0;
    for (; i < m->n - 1 && n >= sy_loader_eval_count(m->of[i].loader); i++)
        n -= sy_loader_eval_count(m->of[i].loader);
    return sy_loader_eval_fetch(m->of[i].loader, n, tokens, labels, doc_start);
}

/* --- what is in it -------------------------------------------------------------------------------------- */

struct sy_mixture_totals sy_mixture_totals(const struct sy_mixture *m) {
    struct sy_mixture_totals t = {0};
    for (int i = 0; i < m->n; i++) {
        const struct sy_documents *d = m->of[i].documents;
        t.n_train += d->n_train;
        t.train_bytes += d->train_bytes;
        t.n_heldout += d->n_heldout;
        t.heldout_bytes += d->heldout_bytes;
    }
    return t;
}

double sy_mixture_entropy(const struct sy_mixture *m, const char *cache_dir) {
    double mean = 0.0;
    if (m->n == 1)
        return sy_corpus_entropy(m->of[0].corpus, cache_dir);
    for (int i = 0; i < m->n; i++)
        mean += (double)m->of[i].turns / (double)m->period * sy_corpus_entropy(m->of[i].corpus, cache_dir);
    return mean;
}
