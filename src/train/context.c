/* What comes after texts: see context.h. */
#include "train/context.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "train/feed.h"

struct slot {
    int32_t *held; /* [cache tokens] whose keys and values the model has */
    int64_t n;
};

struct text { /* of a call */
    struct sy_context_text of;
    int64_t known; /* tokens that its slot holds */
    int done;
};

struct sy_context {
    struct sy_session *s;
    struct slot *slot; /* [cache texts], as all below */
    struct text *text;
    struct sy_feed_text *fed;
    struct sy_text_rows *rows;
    int *taken; /* the texts of a pass */
    float *logits;
    int64_t computed, passes;
    int is_said;
};

static int allocate(struct sy_context *c) {
    size_t n = (size_t)c->s->cache.texts;
    c->slot = calloc(n, sizeof *c->slot);
    c->text = calloc(n, sizeof *c->text);
    c->fed = calloc(n, sizeof *c->fed);
    c->rows = calloc(n, sizeof *c->rows);
    c->taken = calloc(n, sizeof *c->taken);
    c->logits = calloc(n * (size_t)c->s->config->model.vocab_size, sizeof *c->logits);
    if (!c->slot || !c->text || !c->fed || !c->rows || !c->taken || !c->logits)
        return 0;
    for (size_t i = 0; i < n; i++)
        if (!(c->slot[i].held = calloc((size_t)c->s->cache.tokens, sizeof *c->slot[i].held)))
            return 0;
    return 1;
}

sy_status sy_context_create(struct sy_session *s, struct sy_context **out) {
    struct sy_context *c = calloc(1, sizeof *c);
    if (c)
        c->s = s;
    if (!c || !allocate(c)) {
        sy_context_destroy(c);
        SY_FAIL(SY_ERR_MEMORY, "no memory for %d contexts of %lld tokens", s->cache.texts,
                (long long)s->cache.tokens);
    }
    *out = c;
    return SY_OK;
}

void sy_context_destroy(struct sy_context *c) {
    if (!c)
        return;
    for (int i = 0; c->slot && i < c->s->cache.texts; i++)
        free(c->slot[i].held);
    free(c->slot);
    free(c->text);
    free(c->fed);
    free(c->rows);
    free(c->taken);
    free(c->logits);
    free(c);
}

void sy_context_expect(struct sy_context *c, int64_t n) {
    int64_t most = c->s->config->training.seq_len;
    if (n <= most || c->is_said)
        return;
    c->is_said = 1;
    sy_log_info(
        c->s->log,
        "a text of %lld tokens would be longer than training.seq_len, %lld: from there on the last %lld are "
        "a sequence by themselves, and the cache is made anew for each token",
        (long long)n, (long long)most, (long long)most);
}

int64_t sy_context_computed(const struct sy_context *c) { return c->computed; }
int64_t sy_context_passes(const struct sy_context *c) { return c->passes; }

/* --- what is known -------------------------------------------------------------------------------------- */

/* Forced routes go by a token's place in its batch: nothing is kept, and each text is a batch. */
static int by_place(const struct sy_context *c) { return c->s->config->debug.moe_force_load_balance; }

static int64_t common(const int32_t *a, int64_t n_a, const int32_t *b, int64_t n_b) {
    int64_t k = 0;
    while (k < n_a && k < n_b && a[k] == b[k])
        k++;
    return k;
}

/* How many of a text's tokens need not be computed when a slot holds these: the last one must be. */
static int64_t known_by(const struct text *t, const struct slot *slot) {
    return common(t->of.ids, t->of.n - 1, slot->held, slot->n);
}

/* What the text's slot holds of it is all that any slot does. */
static void bring(struct sy_context *c, struct text *t) {
    struct slot *own = &c->slot[t->of.slot];
    int from = t->of.slot;
    t->known = by_place(c) ? 0 : known_by(t, own);
    if (by_place(c) || t->known == t->of.n - 1)
        return;
    for (int i = 0; i < c->s->cache.texts; i++)
        if (known_by(t, &c->slot[i]) > t->known) {
            from = i;
            t->known = known_by(t, &c->slot[i]);
        }
    if (from == t->of.slot)
        return;
    sy_model_copy_text(c->s->model, from, t->of.slot, t->known);
    memcpy(own->held, t->of.ids, (size_t)t->known * sizeof *own->held);
    own->n = t->known;
}

/* Whether a text of this pass leaves more of it than its slot has: then it comes in the next pass. */
static int waits(const struct sy_context *c, const struct text *t, int n_taken) {
    if (by_place(c))
        return n_taken > 0;
    if (t->known == t->of.n - 1)
        return 0;
    for (int i = 0; i < n_taken; i++) {
        const struct text *other = &c->text[c->taken[i]];
        if (common(t->of.ids, t->of.n - 1, other->of.ids, other->of.n) > t->known)
            return 1;
    }
    return 0;
}

/* --- a pass --------------------------------------------------------------------------------------------- */

/* The texts of the next pass, those that are left in order; returns how many. */
static int choose(struct sy_context *c, int n_texts) {
    int64_t rows = 0;
    int n = 0;
    for (int i = 0; i < n_texts; i++) {
        struct text *t = &c->text[i];
        if (t->done)
            continue;
        bring(c, t);
        int64_t fresh = t->of.n - t->known;
        if (waits(c, t, n) || (n > 0 && rows + fresh > sy_session_rows(c->s)))
            continue;
        c->fed[n] = (struct sy_feed_text){t->of.ids + t->known, NULL, fresh, t->known, t->of.slot};
        c->slot[t->of.slot].n = t->known; /* also if what follows fails */
        c->taken[n++] = i;
        rows += fresh;
    }
    return n;
}

/* Logits of each text's last row, to `to` [n, vocab]: rows that stand together in one product. */
static sy_status read_logits(struct sy_context *c, int n, float *to) {
    struct sy_session *s = c->s;
    const struct sy_device *d = s->exec.device;
    int64_t vocab = s->config->model.vocab_size, most = sy_model_logits_most(s->model);
    for (int i = 0, count; i < n; i += count) {
        int64_t first = c->rows[i].row + c->rows[i].n - 1;
        for (count = 1; i + count < n && count < most && c->rows[i + count].n == 1; count++)
            ;
        const float *at = sy_model_logits_rows(s->model, first, count);
        d->copy(d, to + i * vocab, at, (size_t)(count * vocab) * sizeof *to);
    }
    return sy_exec_wait(&s->exec);
}

static sy_status pass(struct sy_context *c, int n, float *to) {
    struct sy_batch b = sy_feed_texts(c->s, c->fed, n, c->rows);
    SY_TRY(sy_model_logits_begin(c->s->model, &b));
    SY_TRY(read_logits(c, n, to));
    for (int i = 0; i < n; i++) {
        struct text *t = &c->text[c->taken[i]];
        struct slot *slot = &c->slot[t->of.slot];
        memcpy(slot->held + t->known, c->fed[i].ids, (size_t)c->fed[i].n * sizeof *slot->held);
        slot->n = t->of.n;
        t->done = 1;
    }
    c->computed += b.tokens;
    c->passes++;
    return SY_OK;
}

sy_status sy_context_logits(struct sy_context *c, int n_texts, const struct sy_context_text *texts,
                            const float **logits) {
    int64_t most = c->s->config->training.seq_len;
    float *to = c->logits;
    assert(n_texts <= c->s->cache.texts);
    for (int i = 0; i < n_texts; i++) {
        struct text *t = &c->text[i];
        *t = (struct text){.of = texts[i]};
        t->of.ids += t->of.n > most ? t->of.n - most : 0;
        t->of.n = t->of.n > most ? most : t->of.n;
        assert(t->of.n >= 1 && t->of.n <= c->s->cache.tokens && t->of.slot < c->s->cache.texts);
    }
    for (int left = n_texts, n; left > 0; left -= n) {
        n = choose(c, n_texts);
        SY_TRY(pass(c, n, to));
        for (int i = 0; i < n; i++, to += c->s->config->model.vocab_size)
            logits[c->taken[i]] = to;
    }
    return SY_OK;
}
