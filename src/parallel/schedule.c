/* Pipeline schedules: see schedule.h. */
#include "parallel/schedule.h"

#include <assert.h>
#include <stdlib.h>

/* --- orders --------------------------------------------------------------------------------------------- */

static int interleaves(const struct sy_schedule_shape *s) {
    return s->kind == SY_SCHEDULE_INTERLEAVED_1F1B || s->kind == SY_SCHEDULE_INTERLEAVED_ZERO_BUBBLE;
}
static int splits(const struct sy_schedule_shape *s) {
    return s->kind == SY_SCHEDULE_INTERLEAVED_ZERO_BUBBLE;
}
static int stages_each(const struct sy_schedule_shape *s) { return s->stages / s->ranks; }
static int max_of(int a, int b) { return a > b ? a : b; }
static int min_of(int a, int b) { return a < b ? a : b; }

static int rounds(const struct sy_schedule_shape *s) {
    return interleaves(s) ? max_of(1, s->micro_batches / s->ranks) : 1;
}

/* The first micro-batch of a round. */
static int round_at(const struct sy_schedule_shape *s, int round) {
    int n = rounds(s), each = s->micro_batches / n, more = s->micro_batches % n;
    return round * each + min_of(round, more);
}

int sy_schedule_warmup(const struct sy_schedule_shape *s, int rank) {
    int behind = s->ranks - 1 - rank, first = (stages_each(s) - 1) * round_at(s, 1);
    int all = s->micro_batches * stages_each(s);
    switch (s->kind) {
    case SY_SCHEDULE_GPIPE:
        return all;
    case SY_SCHEDULE_1F1B:
        return min_of(all, behind);
    case SY_SCHEDULE_INTERLEAVED_1F1B:
        return min_of(all, first + 2 * behind);
    default:
        return min_of(all, first + behind);
    }
}

int sy_schedule_delay(const struct sy_schedule_shape *s, int rank) { return splits(s) ? rank : 0; }

/* Forwards and backwards of a rank as one list goes through them: round by round, each through the rank's
 * stages. */
struct walk {
    int stage, micro_batch; /* stage: of this rank's */
};
static struct walk *walk_of(const struct sy_schedule_shape *s) {
    int each = stages_each(s), n = 0;
    struct walk *w = calloc((size_t)s->micro_batches * (size_t)each, sizeof *w);
    for (int r = 0; w && r < rounds(s); r++)
        for (int v = 0; v < each; v++)
            for (int m = round_at(s, r); m < round_at(s, r + 1); m++)
                w[n++] = (struct walk){v, m};
    return w;
}

static void put(struct sy_schedule *t, int rank, int *n, const struct walk *w, enum sy_work work) {
    int v = work == SY_WORK_F ? w->stage : stages_each(&t->shape) - 1 - w->stage;
    t->step[(size_t)rank * (size_t)t->n_each + (size_t)(*n)++] =
        (struct sy_schedule_step){v * t->shape.ranks + rank, w->micro_batch, work, 0, 0};
}

static void order(struct sy_schedule *t, int rank, const struct walk *w) {
    const struct sy_schedule_shape *s = &t->shape;
    int all = s->micro_batches * stages_each(s), ahead = sy_schedule_warmup(s, rank);
    int late = sy_schedule_delay(s, rank), n = 0, weights = 0;
    for (int f = 0; f < ahead; f++)
        put(t, rank, &n, &w[f], SY_WORK_F);
    for (int b = 0; b < all; b++) {
        if (ahead + b < all)
            put(t, rank, &n, &w[ahead + b], SY_WORK_F);
        put(t, rank, &n, &w[b], t->split ? SY_WORK_I : SY_WORK_B);
        if (t->split && b >= late)
            put(t, rank, &n, &w[weights++], SY_WORK_W);
    }
    while (t->split && weights < all)
        put(t, rank, &n, &w[weights++], SY_WORK_W);
    assert(n == t->n_each);
}

static void count_pending(struct sy_schedule *t, int *open) {
    for (int r = 0; r < t->shape.ranks; r++)
        for (int i = 0; i < t->n_each; i++) {
            const struct sy_schedule_step *p = &sy_schedule_of_rank(t, r)[i];
            open[p->stage] += p->work == SY_WORK_F;
            t->pending[p->stage] = max_of(t->pending[p->stage], open[p->stage]);
            open[p->stage] -= p->work == SY_WORK_B || p->work == SY_WORK_W;
        }
}

/* --- times ---------------------------------------------------------------------------------------------- */

struct clock {
    const struct sy_schedule_times *of_stage;
    int64_t message;
    int64_t *f_end, *b_end; /* [S, M] of F, and of B or I; -1: not yet */
    int64_t *free;          /* [R] when a rank has ended its last step */
    int *next;              /* [R] */
};

/* When what a step waits for is there; -1: nobody has begun it. */
static int64_t ready(const struct sy_schedule *t, const struct clock *c, const struct sy_schedule_step *p) {
    int m = t->shape.micro_batches, last = t->shape.stages - 1, other, forward = p->work == SY_WORK_F;
    if (p->work == SY_WORK_W || (forward && p->stage == 0))
        return 0;
    if (!forward && p->stage == last)
        return c->f_end[(size_t)last * (size_t)m + (size_t)p->micro_batch];
    other = forward ? p->stage - 1 : p->stage + 1;
    int64_t end = (forward ? c->f_end : c->b_end)[(size_t)other * (size_t)m + (size_t)p->micro_batch];
    return end < 0 || t->shape.ranks == 1 ? end : end + c->message;
}

static int64_t lasts(const struct clock *c, const struct sy_schedule_step *p) {
    const struct sy_schedule_times *t = &c->of_stage[p->stage];
    return p->work == SY_WORK_F   ? t->f
           : p->work == SY_WORK_I ? t->i
           : p->work == SY_WORK_W ? t->w
                                  : t->i + t->w;
}

/* Steps of a rank as far as they can go; how many. */
static int advance(struct sy_schedule *t, struct clock *c, int rank) {
    int n = 0;
    for (; c->next[rank] < t->n_each; c->next[rank]++, n++) {
        struct sy_schedule_step *p = &t->step[(size_t)rank * (size_t)t->n_each + (size_t)c->next[rank]];
        size_t at = (size_t)p->stage * (size_t)t->shape.micro_batches + (size_t)p->micro_batch;
        int64_t begin = ready(t, c, p);
        if (begin < 0)
            break;
        p->begin = begin > c->free[rank] ? begin : c->free[rank];
        p->end = c->free[rank] = p->begin + lasts(c, p);
        if (p->work == SY_WORK_F)
            c->f_end[at] = p->end;
        else if (p->work != SY_WORK_W)
            c->b_end[at] = p->end;
        t->length = p->end > t->length ? p->end : t->length;
    }
    return n;
}

sy_status sy_schedule_time(struct sy_schedule *t, const struct sy_schedule_times *of_stage, int64_t message) {
    size_t cells = (size_t)t->shape.stages * (size_t)t->shape.micro_batches, ranks = (size_t)t->shape.ranks;
    int64_t *memory = malloc((2 * cells + ranks) * sizeof *memory);
    int *next = calloc(ranks, sizeof *next), moved = 1;
    if (!memory || !next) {
        free(memory);
        free(next);
        SY_FAIL(SY_ERR_MEMORY, "no memory for a schedule of %d stages", t->shape.stages);
    }
    struct clock c = {of_stage, message, memory, memory + cells, memory + 2 * cells, next};
    for (size_t i = 0; i < 2 * cells; i++)
        memory[i] = -1;
    for (size_t r = 0; r < ranks; r++)
        c.free[r] = 0;
    t->length = 0;
    while (moved) {
        moved = 0;
        for (int r = 0; r < t->shape.ranks; r++)
            moved += advance(t, &c, r);
    }
    for (int r = 0; r < t->shape.ranks; r++)
        assert(next[r] == t->n_each); /* the orders never wait for each other in a ring */
    free(memory);
    free(next);
    return SY_OK;
}

/* --- buffers -------------------------------------------------------------------------------------------- */

/* When the step's receive begins: with the step before it. [S, M], of F and of B or I. */
static void note_receives(const struct sy_schedule *t, int64_t *of[2]) {
    for (int r = 0; r < t->shape.ranks; r++)
        for (int i = 0; i < t->n_each; i++) {
            const struct sy_schedule_step *p = &sy_schedule_of_rank(t, r)[i];
            size_t at = (size_t)p->stage * (size_t)t->shape.micro_batches + (size_t)p->micro_batch;
            if (p->work != SY_WORK_W)
                of[p->work != SY_WORK_F][at] = i > 0 ? p[-1].begin : 0;
        }
}

static void count_unread(struct sy_schedule *t, int64_t *of[2]) {
    int m = t->shape.micro_batches;
    for (int i = 0; i < t->shape.stages; i++)
        t->unread[i] = 1;
    for (int i = 0; i < t->shape.ranks * t->n_each; i++) {
        const struct sy_schedule_step *p = &t->step[i];
        int to = p->work == SY_WORK_F ? p->stage + 1 : p->stage - 1, n = 1;
        if (p->work == SY_WORK_W || to < 0 || to == t->shape.stages)
            continue;
        const int64_t *received = of[p->work != SY_WORK_F] + (size_t)to * (size_t)m;
        while (n <= p->micro_batch && received[p->micro_batch - n] > p->begin)
            n++;
        t->unread[p->stage] = max_of(t->unread[p->stage], n);
    }
}

/* --- creation ------------------------------------------------------------------------------------------- */

static sy_status check(const struct sy_schedule_shape *s, const char *name) {
    if (s->ranks < 1 || s->stages < s->ranks || s->stages % s->ranks)
        SY_FAIL(SY_ERR_USAGE,
                "pipeline schedule %s: %d stages over %d ranks: each rank has the same number, at least one: "
                "choose a multiple of %d",
                name, s->stages, s->ranks, s->ranks);
    if (!interleaves(s) && s->stages != s->ranks)
        SY_FAIL(SY_ERR_USAGE,
                "pipeline schedule %s: has one stage a rank, not %d: choose %d stages for %d ranks, or "
                "Interleaved1F1B",
                name, stages_each(s), s->ranks, s->ranks);
    if (s->micro_batches < 1)
        SY_FAIL(SY_ERR_USAGE, "pipeline schedule %s: %d micro-batches: at least one is needed", name,
                s->micro_batches);
    if ((int64_t)s->micro_batches * s->stages > 1 << 24)
        SY_FAIL(SY_ERR_USAGE,
                "pipeline schedule %s: %d micro-batches through %d stages are %lld steps, at most %d are "
                "planned: "
                "raise training.local_batch_size",
                name, s->micro_batches, s->stages, (long long)s->micro_batches * s->stages, 1 << 24);
    return SY_OK;
}

static const char *name_of(enum sy_parallelism_pipeline_parallel_schedule kind) {
    static const char *const names[] = {
        [SY_SCHEDULE_1F1B] = "1F1B",
        [SY_SCHEDULE_GPIPE] = "GPipe",
        [SY_SCHEDULE_INTERLEAVED_1F1B] = "Interleaved1F1B",
        [SY_SCHEDULE_INTERLEAVED_ZERO_BUBBLE] = "InterleavedZeroBubble",
    };
    return names[kind];
}

static sy_status fill(struct sy_schedule *t) {
    size_t stages = (size_t)t->shape.stages, cells = stages * (size_t)t->shape.micro_batches;
    int64_t *received = calloc(2 * cells, sizeof *received);
    struct walk *w = walk_of(&t->shape);
    int *open = calloc(stages, sizeof *open);
    struct sy_schedule_times *units = calloc(stages, sizeof *units);
    sy_status status = SY_OK;
    if (w && open && units && received) {
        for (int r = 0; r < t->shape.ranks; r++)
            order(t, r, w);
        count_pending(t, open);
        for (size_t i = 0; i < stages; i++)
            units[i] = (struct sy_schedule_times){1, 1, 1};
        status = sy_schedule_time(t, units, 0);
        note_receives(t, (int64_t *[]){received, received + cells});
        count_unread(t, (int64_t *[]){received, received + cells});
    } else {
        status = sy_fail(SY_ERR_MEMORY, "no memory for a schedule of %d stages", t->shape.stages);
    }
    free(w);
    free(received);
    free(open);
    free(units);
    return status;
}

sy_status sy_schedule_create(const struct sy_schedule_shape *s, struct sy_schedule **out) {
    SY_TRY(check(s, name_of(s->kind)));
    struct sy_schedule *t = calloc(1, sizeof *t);
    size_t each = (size_t)s->micro_batches * (size_t)stages_each(s) * (splits(s) ? 3 : 2);
    if (t) {
        *t = (struct sy_schedule){.shape = *s, .split = splits(s), .n_each = (int)each};
        t->step = calloc(each * (size_t)s->ranks, sizeof *t->step);
        t->pending = calloc((size_t)s->stages, sizeof *t->pending);
        t->unread = calloc((size_t)s->stages, sizeof *t->unread);
    }
    if (!t || !t->step || !t->pending || !t->unread) {
        sy_schedule_destroy(t);
        SY_FAIL(SY_ERR_MEMORY, "no memory for a schedule of %d stages", s->stages);
    }
    sy_status status = fill(t);
    if (status != SY_OK) {
        sy_schedule_destroy(t);
        return status;
    }
    *out = t;
    return SY_OK;
}

void sy_schedule_destroy(struct sy_schedule *t) {
    if (!t)
        return;
    free(t->step);
    free(t->pending);
    free(t->unread);
    free(t);
}
