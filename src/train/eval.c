/* Held-out loss: see sy_session_eval.
 *
 * Sequences are dealt to the data-parallel ranks; all make as many calls, some with no sequences at the
 * end. Over stages several calls are one run of the pipeline, as many as the feed holds on every rank.
 */
#include <stdlib.h>

#include "train/feed.h"
#include "train/totals.h"

struct heldout {
    struct sy_session *s;
    int64_t total, local, calls; /* sequences of all ranks, of a call; calls */
    int64_t at_once, from;       /* calls that the feed holds; the first of those that it has */
    int64_t *of;                 /* [at_once, ep] what each rank of the group brings */
    struct sy_group_batch *group;
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* What a data-parallel rank brings to call i. */
static struct sy_share share_of(const struct heldout *h, int dp_rank, int64_t i) {
    struct sy_share own = sy_deal(h->total, h->s->mesh.dp, dp_rank);
    int64_t at = least(i * h->local, own.n);
    return (struct sy_share){own.first + at, least(h->local, own.n - at)};
}

/* Calls whose sequences every rank's feed holds: a pipeline wants many, one model takes one. */
static int64_t calls_at_once(const struct sy_session *s) {
    int64_t n = s->pipeline ? s->calls.n : 1;
    for (int r = 0; r < s->mesh.dp && s->pipeline; r++) {
        struct sy_walk w = sy_walk_of(&s->mesh, r, &s->walk);
        int64_t holds = sy_walk_length(&w) / s->calls.least_sequences;
        n = least(n, holds > 1 ? holds : 1);
    }
    return n;
}

/* Call j of those that the feed has; of none where it has no such. */
static struct sy_batch call_batch(void *self, int64_t j) {
    struct heldout *h = self;
    const struct sy_mesh *m = &h->s->mesh;
    if (j >= h->at_once || h->from + j >= h->calls)
        return sy_feed_batch(h->s, 0, 0);
    int64_t *of = h->of + j * m->ep;
    for (int r = 0; r < m->ep; r++)
        of[r] = share_of(h, m->edp_rank * m->ep + r, h->from + j).n;
    h->group[j] = (struct sy_group_batch){.rounds = 1, .of = of};
    struct sy_batch b = sy_feed_batch(h->s, j * h->local, of[m->ep_rank]);
    b.group = m->ep > 1 ? &h->group[j] : NULL;
    return b;
}

/* n calls from h->from on. A rank of several that share experts that cannot read its sequences says so
 * to them. */
static sy_status eval_calls(struct heldout *h, int64_t n) {
    struct sy_session *s = h->s;
    struct sy_share own = share_of(h, s->mesh.dp_rank, h->from);
    int64_t mine = 0;
    for (int64_t j = 0; j < n; j++)
        mine += share_of(h, s->mesh.dp_rank, h->from + j).n;
    SY_TRY(s->groups.ep.ops->agree(&s->groups.ep, sy_feed_fetch_heldout(s, own.first, mine)));
    sy_feed_send(s, mine);
    if (s->pipeline)
        return sy_pipeline_run(s->pipeline, &(struct sy_pipeline_run){.self = h, .batch = call_batch});
    struct sy_batch b = call_batch(h, 0);
    if (b.at.n == 0 && !b.group) {
        sy_model_idle(s->model, 0);
        return SY_OK;
    }
    return sy_model_eval(s->model, &b);
}

static sy_status eval_all(struct heldout *h) {
    struct sy_session *s = h->s;
    const struct sy_device *d = s->exec.device;
    if (!h->of || !h->group)
        SY_FAIL(SY_ERR_MEMORY, "no memory for %lld calls of held-out sequences", (long long)h->at_once);
    *s->seen.tally = sy_tally_empty;
    d->copy(d, s->step.tally, s->seen.tally, sizeof *s->step.tally);
    for (h->from = 0; h->from < h->calls; h->from += h->at_once) {
        SY_TRY(eval_calls(h, least(h->at_once, h->calls - h->from)));
        SY_TRY(sy_exec_wait(&s->exec)); /* the feed is filled again */
    }
    SY_TRY(sy_weights_status(&s->weights));
    d->copy(d, s->seen.tally, s->step.tally, sizeof *s->seen.tally);
    return sy_exec_wait(&s->exec);
}

static sy_status eval_together(struct sy_session *s, int64_t total) {
    struct heldout h = {
        .s = s, .total = total, .local = s->calls.least_sequences, .at_once = calls_at_once(s)};
    h.calls = (sy_deal(total, s->mesh.dp, 0).n + h.local - 1) / h.local;
    h.of = calloc((size_t)(h.at_once * s->mesh.ep), sizeof *h.of);
    h.group = calloc((size_t)h.at_once, sizeof *h.group);
    sy_status status = eval_all(&h);
    free(h.of);
    free(h.group);
    return sy_tally_total(&s->groups.world, status, s->seen.tally);
}

sy_status sy_session_eval(struct sy_session *s, int64_t max_batches, double *loss, int64_t *n_valid) {
    int64_t total = sy_mixture_eval_count(s->data.mixture), batch = s->most_sequences;
    if (max_batches >= 0 && max_batches < (total + batch - 1) / batch)
        total = max_batches * batch;
    SY_TRY(eval_together(s, total));
    while (s->seen.tally->overflow) {
        SY_TRY(sy_session_regrow(s, s->seen.tally->overflow));
        SY_TRY(eval_together(s, total));
    }
    const struct sy_tally *t = s->seen.tally;
    sy_model_counters(s->model)->batched_no_grad += t->batched;
    *n_valid = t->n_valid;
    *loss = t->n_bad || t->bad_token != SY_NO_TOKEN || t->n_valid == 0
                ? NAN
                : (double)t->loss * 0x1p-24 / (double)t->n_valid;
    return SY_OK;
}
