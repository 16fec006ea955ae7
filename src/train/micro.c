/* The micro-batches of a pipeline: see micro.h. */
#include "train/micro.h"

#include <stdlib.h>

#include "train/feed.h"

sy_status sy_micro_init(struct sy_calls *c, struct sy_micro *m) {
    size_t each = (size_t)(c->ranks * c->max_rounds);
    *m = (struct sy_micro){.n = c->n};
    m->item = calloc((size_t)c->n, sizeof *m->item);
    m->of = calloc((size_t)c->n * each, sizeof *m->of);
    m->source = calloc((size_t)c->n * each, sizeof *m->source);
    if (!m->item || !m->of || !m->source) {
        sy_micro_fini(m);
        SY_FAIL(SY_ERR_MEMORY, "no memory for the %lld micro-batches of %d ranks", (long long)c->n, c->ranks);
    }
    for (int64_t i = 0; i < c->n; i++) {
        struct sy_micro_item *q = &m->item[i];
        int64_t *of = m->of + (size_t)i * each;
        struct sy_sink_source *source = m->source + (size_t)i * each;
        sy_call(c, i, &q->first, &q->n, &q->group);
        memcpy(of, q->group.of, (size_t)(c->ranks * q->group.rounds) * sizeof *of);
        memcpy(source, q->group.source, (size_t)q->group.n_sources * sizeof *source);
        q->group.of = of;
        q->group.source = source;
    }
    return SY_OK;
}

void sy_micro_fini(struct sy_micro *m) {
    free(m->item);
    free(m->of);
    free(m->source);
    *m = (struct sy_micro){0};
}

static struct sy_batch batch_of(const struct sy_session *s, const struct sy_micro_item *q) {
    struct sy_batch b = sy_feed_batch(s, q->first, q->n);
    b.group = s->groups.ep.size > 1 ? &q->group : NULL;
    return b;
}

struct sy_batch sy_micro_batch(void *self, int64_t mb) {
    const struct sy_session *s = self;
    return batch_of(s, &s->micro.item[mb]);
}

/* --- held-out sequences --------------------------------------------------------------------------------- */

struct pass {
    struct sy_session *s;
    struct sy_micro micro;
    int64_t most; /* sequences of a pass: every rank's feed has room for them */
};

static struct sy_batch heldout(void *self, int64_t mb) {
    const struct pass *p = self;
    return batch_of(p->s, &p->micro.item[mb]);
}

static int64_t clamp(int64_t n, int64_t most) { return n < 0 ? 0 : n < most ? n : most; }

/* Pass i of a rank's share of the sequences, cut into micro-batches. */
static void deal(struct pass *p, int64_t total, int64_t i) {
    const struct sy_session *s = p->s;
    const struct sy_mesh *m = &s->mesh;
    int64_t local = s->calls.least_sequences;
    for (int64_t mb = 0; mb < p->micro.n; mb++) {
        struct sy_micro_item *q = &p->micro.item[mb];
        int64_t *of = p->micro.of + mb * m->ep * s->calls.max_rounds,
                room = clamp(p->most - mb * local, local);
        for (int r = 0; r < m->ep; r++)
            of[r] = clamp(sy_deal(total, m->dp, m->edp_rank * m->ep + r).n - i * p->most - mb * local, room);
        q->first = clamp(mb * local, p->most);
        q->n = of[m->ep_rank];
        q->group = (struct sy_group_batch){.rounds = 1, .of = of};
    }
}

static sy_status run(struct pass *p, struct sy_share own, int64_t i) {
    struct sy_session *s = p->s;
    const struct sy_comm *ep = &s->groups.ep;
    int64_t at = clamp(i * p->most, own.n), n = clamp(own.n - at, p->most);
    SY_TRY(ep->ops->agree(ep, sy_feed_fetch_heldout(s, own.first + at, n)));
    sy_feed_send(s, n);
    SY_TRY(sy_pipeline_run(s->pipeline, &(struct sy_pipeline_run){p, heldout, NULL}));
    return sy_exec_wait(&s->exec); /* the feed is filled again */
}

sy_status sy_micro_eval(struct sy_session *s, int64_t total) {
    const struct sy_mesh *m = &s->mesh;
    struct pass p = {.s = s, .most = INT64_MAX};
    int64_t longest = sy_deal(total, m->dp, 0).n;
    for (int r = 0; r < m->dp; r++) {
        struct sy_walk w = sy_walk_of(m, r, &s->walk);
        p.most = clamp(p.most, sy_walk_length(&w));
    }
    sy_status status = s->groups.ep.ops->agree(&s->groups.ep, sy_micro_init(&s->calls, &p.micro));
    for (int64_t i = 0; status == SY_OK && i * p.most < longest; i++) {
        deal(&p, total, i);
        status = run(&p, sy_deal(total, m->dp, m->dp_rank), i);
    }
    sy_micro_fini(&p.micro);
    return status;
}
