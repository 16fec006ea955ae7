/* One rank's part of a step over a pipeline of stages: see pipeline.h. */
#include "parallel/pipeline.h"

#include <stdlib.h>

enum { TO_NEXT, TO_PREVIOUS, WAYS }; /* the residual stream; its gradient */
enum { COMING = 2 };                 /* receives: of the step that is done, of the next */

struct link { /* one way over one edge of a stage; a micro-batch's is [mb % n] */
    struct sy_comm_request recv[COMING], *send; /* send: [unread of the stage] */
    int begun[COMING];                          /* to receive */
};

struct sy_pipeline {
    struct sy_pipeline_options o;
    struct link (*link)[WAYS]; /* [stages of this rank]; of what comes in and goes out that way */
    int64_t sent;
};

struct sy_model_stage sy_pipeline_stage(const struct sy_schedule *s, int stage,
                                        const struct sy_stages *stages) {
    struct sy_share layers = sy_stages_layers(stages, stage);
    return (struct sy_model_stage){.first = (int)layers.first,
                                   .n_layers = (int)layers.n,
                                   .embeds = stage == 0,
                                   .ends = stage == s->shape.stages - 1,
                                   .pending = s->pending[stage],
                                   .unread = s->unread[stage],
                                   .split = s->split};
}

static int stages_each(const struct sy_pipeline *p) {
    return p->o.schedule->shape.stages / p->o.schedule->shape.ranks;
}

/* Of the rank's stage i. */
static int unread(const struct sy_pipeline *p, int i) {
    return p->o.schedule->unread[i * p->o.schedule->shape.ranks + p->o.pp.rank];
}

static int make_links(struct sy_pipeline *p) {
    int made = (p->link = calloc((size_t)stages_each(p), sizeof *p->link)) != NULL;
    for (int i = 0; made && i < stages_each(p); i++)
        for (int way = 0; way < WAYS; way++) {
            struct link *l = &p->link[i][way];
            made = made && (l->send = calloc((size_t)unread(p, i), sizeof *l->send));
        }
    return made;
}

sy_status sy_pipeline_create(const struct sy_pipeline_options *o, struct sy_pipeline **out) {
    struct sy_pipeline *p = calloc(1, sizeof *p);
    if (p)
        p->o = *o;
    if (!p || !make_links(p)) {
        sy_pipeline_destroy(p);
        SY_FAIL(SY_ERR_MEMORY, "no memory for a pipeline of %d stages", o->schedule->shape.stages);
    }
    *out = p;
    return SY_OK;
}

void sy_pipeline_destroy(struct sy_pipeline *p) {
    if (!p)
        return;
    for (int i = 0; p->link && i < stages_each(p); i++)
        for (int way = 0; way < WAYS; way++)
            free(p->link[i][way].send);
    free(p->link);
    free(p);
}

int64_t sy_pipeline_sent(const struct sy_pipeline *p) { return p->sent; }

/* --- messages ------------------------------------------------------------------------------------------- */

struct call {
    struct sy_pipeline *p;
    const struct sy_pipeline_run *run;
    struct sy_batch batch; /* of the step that is done */
};

static int local(const struct sy_pipeline *p, int stage) { return stage / p->o.schedule->shape.ranks; }

static size_t bytes_of(const struct sy_pipeline *p, const struct sy_batch *b) {
    return (size_t)(b->tokens * p->o.d) * sy_dtype_bytes(p->o.exec->dtype);
}

static void *memory(const struct sy_pipeline *p, int stage, enum sy_model_edge e, int64_t mb) {
    const struct sy_device *d = p->o.exec->device;
    return d->alias(d, sy_model_edge(p->o.model, local(p, stage), e, mb).data);
}

/* Which way a step's result goes, or -1; to which stage. */
static int way_of(const struct sy_schedule_step *s) {
    return s->work == SY_WORK_F ? TO_NEXT : s->work == SY_WORK_W ? -1 : TO_PREVIOUS;
}
static int behind(const struct sy_pipeline *p, int stage, int way) { /* -1: none */
    int to = way == TO_NEXT ? stage + 1 : stage - 1;
    return to < p->o.schedule->shape.stages ? to : -1;
}

/* A message's tag: the stage that it comes to, and from which side. */
static int tag_of(int stage, int way) { return WAYS * stage + way; }

/* Begins to receive what the step reads, once. */
static sy_status expect(struct sy_pipeline *p, const struct sy_schedule_step *s, const struct sy_batch *b) {
    int way = way_of(s), from = way < 0 ? -1 : behind(p, s->stage, WAYS - 1 - way);
    if (from < 0)
        return SY_OK;
    struct link *link = &p->link[local(p, s->stage)][way];
    int at = s->micro_batch % COMING;
    if (link->begun[at])
        return SY_OK;
    link->begun[at] = 1;
    SY_TRY(sy_exec_wait(p->o.exec)); /* what was enqueued may read what is overwritten */
    return p->o.pp.ops->recv_begin(
        &p->o.pp, sy_schedule_rank_of(p->o.schedule, from), tag_of(s->stage, way),
        memory(p, s->stage, way == TO_NEXT ? SY_MODEL_IN : SY_MODEL_DOUT, s->micro_batch), bytes_of(p, b),
        &link->recv[at]);
}

static struct sy_comm_request *send_of(const struct sy_pipeline *p, const struct sy_schedule_step *s,
                                       int way) {
    int i = local(p, s->stage);
    return &p->link[i][way].send[s->micro_batch % unread(p, i)];
}

static sy_status take(struct sy_pipeline *p, const struct sy_schedule_step *s) {
    int way = way_of(s);
    if (way < 0)
        return SY_OK;
    struct link *link = &p->link[local(p, s->stage)][way];
    int at = s->micro_batch % COMING;
    link->begun[at] = 0;
    SY_TRY(p->o.pp.ops->wait(&p->o.pp, &link->recv[at]));
    /* nobody reads any more what this step writes */
    return p->o.pp.ops->wait(&p->o.pp, send_of(p, s, way));
}

static sy_status give(struct sy_pipeline *p, const struct sy_schedule_step *s, const struct sy_batch *b) {
    int way = way_of(s), to = way < 0 ? -1 : behind(p, s->stage, way);
    if (to < 0)
        return SY_OK;
    SY_TRY(sy_exec_wait(p->o.exec));
    p->sent += (int64_t)bytes_of(p, b);
    return p->o.pp.ops->send_begin(
        &p->o.pp, sy_schedule_rank_of(p->o.schedule, to), tag_of(to, way),
        memory(p, s->stage, way == TO_NEXT ? SY_MODEL_OUT : SY_MODEL_DIN, s->micro_batch), bytes_of(p, b),
        send_of(p, s, way));
}

/* --- steps ---------------------------------------------------------------------------------------------- */

static void idle(struct sy_model *m, int stage, enum sy_work work) {
    sy_model_idle_stage(m, stage,
                        work == SY_WORK_F   ? SY_STAGE_FWD
                        : work == SY_WORK_W ? SY_STAGE_BWD_WEIGHTS
                                            : SY_STAGE_BWD);
}

static sy_status forward(struct call *c, const struct sy_schedule_step *s, int stage) {
    const struct sy_pipeline_run *run = c->run;
    SY_TRY(sy_model_fwd(c->p->o.model, stage, s->micro_batch, &c->batch,
                        run->sink ? SY_PASS_TRAIN : SY_PASS_EVAL, run->sink));
    if (run->after)
        run->after(run->self, &c->batch, s->stage);
    return SY_OK;
}

static sy_status compute(struct call *c, const struct sy_schedule_step *s) {
    struct sy_model *m = c->p->o.model;
    const struct sy_grad_sink *sink = c->run->sink;
    int stage = local(c->p, s->stage);
    if (c->batch.tokens == 0 && !c->batch.group) { /* none of the group's either */
        idle(m, stage, s->work);
        return SY_OK;
    }
    if (c->run->before)
        c->run->before(c->run->self, &c->batch);
    switch (s->work) {
    case SY_WORK_F:
        return forward(c, s, stage);
    case SY_WORK_B:
        return sy_model_bwd(m, stage, s->micro_batch, sink);
    case SY_WORK_I:
        return sy_model_bwd_inputs(m, stage, s->micro_batch, sink);
    default:
        sy_model_bwd_weights(m, stage, s->micro_batch, sink);
        return SY_OK;
    }
}

/* The next of this rank's steps that the run does, from i on; n_each: none. */
static int next_of(const struct sy_pipeline *p, const struct sy_pipeline_run *run, int i) {
    const struct sy_schedule_step *s = sy_schedule_of_rank(p->o.schedule, p->o.pp.rank);
    while (!run->sink && i < p->o.schedule->n_each && s[i].work != SY_WORK_F)
        i++;
    return i;
}

/* A receive that may begin before `now` is done: not into memory that `now` is the last to read. */
static int may_begin(const struct sy_pipeline *p, const struct sy_schedule_step *now,
                     const struct sy_schedule_step *next) {
    int pending = p->o.schedule->pending[now->stage];
    return next->work != SY_WORK_F || next->stage != now->stage ||
           next->micro_batch % pending != now->micro_batch % pending;
}

/* mine: what has failed so far; the messages go on. */
static sy_status do_step(struct call *c, int i, sy_status *mine) {
    struct sy_pipeline *p = c->p;
    const struct sy_schedule_step *all = sy_schedule_of_rank(p->o.schedule, p->o.pp.rank), *s = &all[i];
    int next = next_of(p, c->run, i + 1);
    c->batch = c->run->batch(c->run->self, s->micro_batch);
    SY_TRY(expect(p, s, &c->batch));
    if (next < p->o.schedule->n_each && may_begin(p, s, &all[next])) {
        struct sy_batch b = c->run->batch(c->run->self, all[next].micro_batch);
        SY_TRY(expect(p, &all[next], &b));
    }
    SY_TRY(take(p, s));
    if (*mine == SY_OK)
        *mine = compute(c, s);
    return give(p, s, &c->batch);
}

/* Which step a wait was in; not of what a rank's own work has failed of. */
static sy_status at_step(sy_status status, const struct sy_schedule_step *s) {
    return status == SY_ERR_PEER
               ? sy_fail_context(status, "stage %d, micro-batch %d", s->stage, s->micro_batch)
               : status;
}

static sy_status finish(struct sy_pipeline *p) {
    for (int i = 0; i < stages_each(p); i++)
        for (int way = 0; way < WAYS; way++)
            for (int k = 0; k < unread(p, i); k++)
                SY_TRY(p->o.pp.ops->wait(&p->o.pp, &p->link[i][way].send[k]));
    return SY_OK;
}

sy_status sy_pipeline_run(struct sy_pipeline *p, const struct sy_pipeline_run *run) {
    struct call c = {.p = p, .run = run};
    sy_status mine = SY_OK;
    for (int i = next_of(p, run, 0); i < p->o.schedule->n_each; i = next_of(p, run, i + 1))
        SY_TRY(at_step(do_step(&c, i, &mine), &sy_schedule_of_rank(p->o.schedule, p->o.pp.rank)[i]));
    SY_TRY(finish(p));
    return mine;
}
