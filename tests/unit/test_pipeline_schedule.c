/* The table of every pipeline schedule, over all small shapes: each step is there once, waits for what it
 * reads, and the table is as long, and holds as many micro-batches, as the schedule's formula says.
 *
 * The checks go through the tables in time, with nothing of the code that made them; wrong tables must be
 * seen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "parallel/schedule.h"

enum { RANKS = 6, EACH = 4, MICRO_BATCHES = 20 };

typedef enum sy_parallelism_pipeline_parallel_schedule kind_of_schedule;

static const kind_of_schedule kinds[] = {SY_SCHEDULE_GPIPE, SY_SCHEDULE_1F1B, SY_SCHEDULE_INTERLEAVED_1F1B,
                                         SY_SCHEDULE_INTERLEAVED_ZERO_BUBBLE};

static int is_interleaved(kind_of_schedule k) {
    return k == SY_SCHEDULE_INTERLEAVED_1F1B || k == SY_SCHEDULE_INTERLEAVED_ZERO_BUBBLE;
}

static struct sy_schedule *table(kind_of_schedule kind, int ranks, int each, int micro_batches) {
    struct sy_schedule *s;
    sy_status status =
        sy_schedule_create(&(struct sy_schedule_shape){kind, ranks, ranks * each, micro_batches}, &s);
    if (status != SY_OK)
        fail_msg("kind %d, %d ranks, %d each, %d: %s", (int)kind, ranks, each, micro_batches,
                 sy_error_message());
    return s;
}

/* --- what holds in every table -------------------------------------------------------------------------- */

/* The step of a table, or NULL unless it is there just once. */
static const struct sy_schedule_step *find(const struct sy_schedule *s, int stage, int mb,
                                           enum sy_work work) {
    const struct sy_schedule_step *found = NULL;
    for (int i = 0; i < s->shape.ranks * s->n_each; i++) {
        const struct sy_schedule_step *p = &s->step[i];
        if (p->stage != stage || p->micro_batch != mb || p->work != work)
            continue;
        if (found || i / s->n_each != stage % s->shape.ranks)
            return NULL;
        found = p;
    }
    return found;
}

static int follows(const struct sy_schedule_step *a, const struct sy_schedule_step *b) {
    return a && b && b->begin >= a->end;
}

/* All steps, each once, on the stage's rank, none before what it reads. */
static int dependencies_hold(const struct sy_schedule *s) {
    int stages = s->shape.stages,
        good = s->n_each == s->shape.micro_batches * stages / s->shape.ranks * (s->split ? 3 : 2);
    enum sy_work back = s->split ? SY_WORK_I : SY_WORK_B;
    for (int stage = 0; stage < stages; stage++)
        for (int m = 0; m < s->shape.micro_batches; m++) {
            const struct sy_schedule_step *f = find(s, stage, m, SY_WORK_F), *b = find(s, stage, m, back);
            good &= follows(f, b);
            if (stage > 0)
                good &= follows(find(s, stage - 1, m, SY_WORK_F), f);
            if (stage + 1 < stages)
                good &= follows(find(s, stage + 1, m, back), b);
            if (s->split)
                good &= follows(b, find(s, stage, m, SY_WORK_W));
        }
    return good;
}

/* One at a time, in the table's order; the length is where the last ends. */
static int ranks_do_one_thing_at_a_time(const struct sy_schedule *s) {
    int good = 1;
    int64_t last = 0;
    for (int r = 0; r < s->shape.ranks; r++)
        for (int i = 0; i < s->n_each; i++) {
            const struct sy_schedule_step *p = &sy_schedule_of_rank(s, r)[i];
            good &= p->end - p->begin == (p->work == SY_WORK_B ? 2 : 1);
            good &= i == 0 ? p->begin >= 0 : follows(p - 1, p);
            last = p->end > last ? p->end : last;
        }
    return good && last == s->length;
}

/* The order in which leaves are folded, and in which a ring of buffers is enough. */
static int stages_ascend(const struct sy_schedule *s) {
    int good = 1;
    for (int stage = 0; stage < s->shape.stages; stage++) {
        int next[4] = {0};
        for (int i = 0; i < s->n_each; i++) {
            const struct sy_schedule_step *p = &sy_schedule_of_rank(s, stage % s->shape.ranks)[i];
            if (p->stage == stage)
                good &= p->micro_batch == next[p->work]++;
        }
    }
    return good;
}

/* Micro-batches between F and the end of their backward at any time: of a stage, and of a rank. */
static int most_pending(const struct sy_schedule *s, int rank, int stage) {
    int now = 0, most = 0;
    for (int i = 0; i < s->n_each; i++) {
        const struct sy_schedule_step *p = &sy_schedule_of_rank(s, rank)[i];
        if (stage >= 0 && p->stage != stage)
            continue;
        now += p->work == SY_WORK_F;
        most = now > most ? now : most;
        now -= p->work == (s->split ? SY_WORK_W : SY_WORK_B);
    }
    return most;
}

/* --- what each schedule promises ------------------------------------------------------------------------ */

static int least(int a, int b) { return a < b ? a : b; }

/* Micro-batches of the longest round. */
static int round_of(const struct sy_schedule_shape *s) {
    int n = s->micro_batches / s->ranks > 1 ? s->micro_batches / s->ranks : 1;
    return (s->micro_batches + n - 1) / n;
}

static int promised_pending(const struct sy_schedule_shape *s, int rank) {
    int each = s->stages / s->ranks, all = s->micro_batches * each, behind = s->ranks - 1 - rank;
    switch (s->kind) {
    case SY_SCHEDULE_GPIPE:
        return all;
    case SY_SCHEDULE_1F1B:
        return least(all, behind + 1);
    case SY_SCHEDULE_INTERLEAVED_1F1B:
        return least(all, (each - 1) * round_of(s) + 2 * behind + 1);
    default:
        return least(all, (each - 1) * round_of(s) + behind + 1 + rank);
    }
}

/* Work of a rank, and the bubble: (R - 1) (F + B), or of ZB-H1 (R - 1) (F + I - W). Of interleaved ones for
 * rounds of R. */
static int64_t promised_length(const struct sy_schedule_shape *s) {
    int64_t work = 3 * (int64_t)s->micro_batches * (s->stages / s->ranks), hops = s->ranks - 1;
    return work + hops * (s->kind == SY_SCHEDULE_INTERLEAVED_ZERO_BUBBLE ? 1 : 3);
}

static int is_promised(const struct sy_schedule *s) {
    const struct sy_schedule_shape *q = &s->shape;
    int good = 1, whole = !is_interleaved(q->kind) || q->micro_batches % q->ranks == 0;
    for (int r = 0; r < q->ranks; r++)
        good &= most_pending(s, r, -1) == promised_pending(q, r);
    for (int stage = 0; stage < q->stages; stage++)
        good &= s->pending[stage] == most_pending(s, stage % q->ranks, stage);
    return good && (!whole || s->length == promised_length(q));
}

static void every_table_is_right(void **state) {
    (void)state;
    int tables = 0;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int ranks = 1; ranks <= RANKS; ranks++)
            for (int each = 1; each <= (is_interleaved(kinds[k]) ? EACH : 1); each++)
                for (int m = 1; m <= MICRO_BATCHES; m++) {
                    struct sy_schedule *s = table(kinds[k], ranks, each, m);
                    int bad = !dependencies_hold(s) + 2 * !ranks_do_one_thing_at_a_time(s) +
                              4 * !stages_ascend(s) + 8 * !is_promised(s);
                    if (bad)
                        fail_msg("kind %d, %d ranks, %d each, %d micro-batches: %d, length %lld",
                                 (int)kinds[k], ranks, each, m, bad, (long long)s->length);
                    sy_schedule_destroy(s);
                    tables++;
                }
    assert_int_equal(tables, RANKS * MICRO_BATCHES * (2 + 2 * EACH));
}

/* --- the buffers of what is sent are enough ------------------------------------------------------------- */

/* Where on its rank the step is. */
static int place_of(const struct sy_schedule *s, int stage, int mb, enum sy_work work) {
    const struct sy_schedule_step *all = sy_schedule_of_rank(s, stage % s->shape.ranks);
    for (int i = 0; i < s->n_each; i++)
        if (all[i].stage == stage && all[i].micro_batch == mb && all[i].work == work)
            return i;
    return -1;
}

/* Who reads what the step writes: a stage, or -1. */
static int reader_of(const struct sy_schedule *s, const struct sy_schedule_step *p) {
    int to = p->work == SY_WORK_W ? -1 : p->work == SY_WORK_F ? p->stage + 1 : p->stage - 1;
    return to < s->shape.stages ? to : -1;
}
static int writer_of(const struct sy_schedule *s, const struct sy_schedule_step *p) {
    int from = p->work == SY_WORK_W ? -1 : p->work == SY_WORK_F ? p->stage - 1 : p->stage + 1;
    return from < s->shape.stages ? from : -1;
}

/* The executor: a receive is begun with the step before its reader; what a step writes is used again unread[]
 * - less micro-batches later, and not before it was received. Whether all ranks come to their end. */
static int runs_with_less(const struct sy_schedule *s, int less) {
    int done[RANKS] = {0}, moved = 1, ended = 0;
    while (moved) {
        moved = ended = 0;
        for (int r = 0; r < s->shape.ranks; r++) {
            const struct sy_schedule_step *p = &sy_schedule_of_rank(s, r)[done[r]];
            if (done[r] == s->n_each) {
                ended++;
                continue;
            }
            int from = writer_of(s, p), to = reader_of(s, p), mb = p->micro_batch;
            int before = to < 0 ? -1 : mb - s->unread[p->stage] + less;
            int read = from < 0 || place_of(s, from, mb, p->work) < done[from % s->shape.ranks];
            int written = before < 0 || place_of(s, to, before, p->work) - 1 <= done[to % s->shape.ranks];
            done[r] += read && written;
            moved |= read && written;
        }
    }
    return ended == s->shape.ranks;
}

/* One less would not do somewhere. */
static void buffers_of_sends_are_enough(void **state) {
    (void)state;
    int most = 0, stuck = 0;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int ranks = 1; ranks <= RANKS; ranks++)
            for (int each = 1; each <= (is_interleaved(kinds[k]) ? EACH : 1); each++)
                for (int m = 1; m <= MICRO_BATCHES; m++) {
                    struct sy_schedule *s = table(kinds[k], ranks, each, m);
                    if (!runs_with_less(s, 0))
                        fail_msg("kind %d, %d ranks, %d each, %d micro-batches: all wait", (int)kinds[k],
                                 ranks, each, m);
                    stuck += !runs_with_less(s, 1);
                    for (int i = 0; i < s->shape.stages; i++)
                        most = s->unread[i] > most ? s->unread[i] : most;
                    sy_schedule_destroy(s);
                }
    print_message("%d tables need every buffer; at most %d\n", stuck, most);
    assert_true(stuck > 0);
}

/* --- the same orders as PyTorch's ----------------------------------------------------------------------- */

static uint64_t add_line(uint64_t h, const char *line) {
    for (; *line; line++)
        h = (h ^ (unsigned char)*line) * 0x100000001b3u;
    return h;
}

static uint64_t add_table(uint64_t h, const char *name, const struct sy_schedule *s) {
    const struct sy_schedule_shape *q = &s->shape;
    char line[96];
    for (int i = 0; i < q->ranks * s->n_each; i++) {
        const struct sy_schedule_step *p = &s->step[i];
        snprintf(line, sizeof line, "%s %d %d %d %d %d %d %c\n", name, q->ranks, q->stages / q->ranks,
                 q->micro_batches, i / s->n_each, p->stage, p->micro_batch, "FBIW"[p->work]);
        h = add_line(h, line);
    }
    return h;
}

/* tools/pytorch_schedules.py printed the hash. PyTorch takes equal rounds alone. */
static void orders_are_those_of_pytorch(void **state) {
    (void)state;
    static const struct {
        kind_of_schedule kind;
        const char *name;
    } both[] = {{SY_SCHEDULE_INTERLEAVED_1F1B, "Interleaved1F1B"},
                {SY_SCHEDULE_INTERLEAVED_ZERO_BUBBLE, "InterleavedZeroBubble"}};
    uint64_t h = 0xcbf29ce484222325u;
    for (int k = 0; k < 2; k++)
        for (int ranks = 1; ranks <= RANKS; ranks++)
            for (int each = 1; each <= EACH; each++)
                for (int m = 1; m <= MICRO_BATCHES; m++) {
                    if (m >= ranks && m % (m / ranks))
                        continue;
                    struct sy_schedule *s = table(both[k].kind, ranks, each, m);
                    h = add_table(h, both[k].name, s);
                    sy_schedule_destroy(s);
                }
    assert_int_equal(h, 0x7cc2402c3ca65879u);
}

/* --- the checks see what is wrong ----------------------------------------------------------------------- */

static struct sy_schedule_step *step_of(struct sy_schedule *s, int stage, int mb, enum sy_work work) {
    return s->step + (find(s, stage, mb, work) - s->step);
}

static void wrong_tables_are_seen(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        enum sy_work back = kinds[k] == SY_SCHEDULE_INTERLEAVED_ZERO_BUBBLE ? SY_WORK_I : SY_WORK_B;
        int each = is_interleaved(kinds[k]) ? 2 : 1;
        for (int plant = 0; plant < 6; plant++) {
            struct sy_schedule *s = table(kinds[k], 3, each, 6);
            struct sy_schedule_step *f = step_of(s, 1, 2, SY_WORK_F), *b = step_of(s, 1, 2, back);
            if (plant == 0)
                f->begin--, f->end--; /* before the stage before has sent it, or before its rank is free */
            else if (plant == 1)
                b->micro_batch = 3; /* twice one, never the other */
            else if (plant == 2)
                s->pending[0]--;
            else if (plant == 3)
                b->begin = f->begin;
            else if (plant == 4)
                step_of(s, 1, 2, SY_WORK_F)->micro_batch = 3, f->stage = 2; /* on another stage's rank */
            else
                s->length--;
            int good =
                dependencies_hold(s) && ranks_do_one_thing_at_a_time(s) && stages_ascend(s) && is_promised(s);
            if (good)
                fail_msg("kind %d, plant %d is not seen", (int)kinds[k], plant);
            sy_schedule_destroy(s);
        }
    }
}

/* --- other times, refusals ------------------------------------------------------------------------------ */

/* Two ranks, one micro-batch: F, message, F, B, message, B. The second stage is slower. */
static void times_and_messages_count(void **state) {
    (void)state;
    struct sy_schedule *s = table(SY_SCHEDULE_1F1B, 2, 1, 1);
    assert_int_equal(s->length, 6);
    const struct sy_schedule_times times[] = {{3, 4, 5}, {30, 40, 50}};
    assert_int_equal(sy_schedule_time(s, times, 1000), SY_OK);
    assert_int_equal(s->length, 3 + 1000 + 30 + 90 + 1000 + 9);
    assert_int_equal(find(s, 1, 0, SY_WORK_F)->begin, 1003);
    assert_int_equal(find(s, 0, 0, SY_WORK_B)->begin, 2123);
    sy_schedule_destroy(s);
}

static void expect_refused(kind_of_schedule kind, int ranks, int stages, int micro_batches,
                           const char *says) {
    struct sy_schedule *s = NULL;
    assert_int_equal(sy_schedule_create(&(struct sy_schedule_shape){kind, ranks, stages, micro_batches}, &s),
                     SY_ERR_USAGE);
    assert_null(s);
    if (!strstr(sy_error_message(), says))
        fail_msg("\"%s\" does not say \"%s\"", sy_error_message(), says);
}

static void what_cannot_be_is_refused_with_numbers(void **state) {
    (void)state;
    expect_refused(SY_SCHEDULE_1F1B, 4, 8, 4, "one stage a rank, not 2");
    expect_refused(SY_SCHEDULE_GPIPE, 4, 8, 4, "choose 4 stages for 4 ranks");
    expect_refused(SY_SCHEDULE_INTERLEAVED_1F1B, 4, 6, 4, "6 stages over 4 ranks");
    expect_refused(SY_SCHEDULE_INTERLEAVED_ZERO_BUBBLE, 4, 2, 4, "2 stages over 4 ranks");
    expect_refused(SY_SCHEDULE_1F1B, 4, 4, 0, "0 micro-batches");
    expect_refused(SY_SCHEDULE_1F1B, 4, 4, 1 << 23, "33554432 steps");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_table_is_right),
                                       cmocka_unit_test(buffers_of_sends_are_enough),
                                       cmocka_unit_test(orders_are_those_of_pytorch),
                                       cmocka_unit_test(wrong_tables_are_seen),
                                       cmocka_unit_test(times_and_messages_count),
                                       cmocka_unit_test(what_cannot_be_is_refused_with_numbers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
