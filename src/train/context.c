/* What comes after a text: see context.h. */
#include "train/context.h"

#include <stdlib.h>
#include <string.h>

#include "train/feed.h"

struct sy_context {
    struct sy_session *s;
    int32_t *held; /* [seq_len] whose keys and values the model has */
    int64_t n_held, computed;
    int is_said;
    float *logits;
};

sy_status sy_context_create(struct sy_session *s, struct sy_context **out) {
    struct sy_context *c = calloc(1, sizeof *c);
    if (c) {
        c->s = s;
        c->held = calloc((size_t)s->config->training.seq_len, sizeof *c->held);
        c->logits = calloc((size_t)s->config->model.vocab_size, sizeof *c->logits);
    }
    if (!c || !c->held || !c->logits) {
        sy_context_destroy(c);
        SY_FAIL(SY_ERR_MEMORY, "no memory for a context of %lld tokens",
                (long long)s->config->training.seq_len);
    }
    *out = c;
    return SY_OK;
}

void sy_context_destroy(struct sy_context *c) {
    if (!c)
        return;
    free(c->held);
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

/* How many tokens need not be computed: the last one must be, for its logits. Forced routes go by a token's
 * place in its batch. */
static int64_t known(const struct sy_context *c, const int32_t *ids, int64_t n) {
    int64_t k = 0;
    if (c->s->config->debug.moe_force_load_balance)
        return 0;
    while (k < n - 1 && k < c->n_held && ids[k] == c->held[k])
        k++;
    return k;
}

sy_status sy_context_logits(struct sy_context *c, const int32_t *ids, int64_t n, const float **logits) {
    struct sy_session *s = c->s;
    const struct sy_device *d = s->exec.device;
    int64_t most = s->config->training.seq_len;
    const float *at;
    if (n > most) {
        ids += n - most;
        n = most;
    }
    int64_t first = known(c, ids, n), fresh = n - first;
    c->n_held = first; /* also if what follows fails */
    struct sy_batch b = sy_feed_sequence(s, ids + first, first, fresh);
    SY_TRY(sy_model_logits(s->model, &b, fresh - 1, &at));
    d->copy(d, c->logits, at, (size_t)s->config->model.vocab_size * sizeof *c->logits);
    SY_TRY(sy_exec_wait(&s->exec));
    memcpy(c->held + first, ids + first, (size_t)fresh * sizeof *ids);
    c->n_held = n;
    c->computed += fresh;
    *logits = c->logits;
    return SY_OK;
}
