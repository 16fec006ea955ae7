/* A batch by step: see ramp.h. */
#include "config/ramp.h"

#include <errno.h>
#include <stdlib.h>

static const char *number(const char *s, int64_t *out) {
    char *end;
    while (*s == ' ' || *s == '\t')
        s++;
    errno = 0;
    *out = *s >= '0' && *s <= '9' ? strtoll(s, &end, 10) : -1;
    if (*out < 0 || errno)
        return NULL;
    while (*end == ' ' || *end == '\t')
        end++;
    return end;
}

sy_status sy_ramp_parse(const char *text, struct sy_ramp_row *out) {
    struct sy_ramp_row r;
    const char *end = number(text, &r.after);
    end = end && *end == ':' ? number(end + 1, &r.batch) : NULL;
    if (!end || *end || r.after > SY_RAMP_MOST_STEPS || r.batch < 1 || r.batch > SY_RAMP_MOST_BATCH)
        SY_FAIL(
            SY_ERR_USAGE,
            "\"%.100s\" is no number of steps up to %d, a colon and 1 to %d sequences, as in \"1000: 16\"",
            text, SY_RAMP_MOST_STEPS, SY_RAMP_MOST_BATCH);
    *out = r;
    return SY_OK;
}

sy_status sy_ramp_check(const struct sy_config_list *ramp) {
    struct sy_ramp_row before = {-1, 0}, r;
    for (int64_t i = 0; i < ramp->n; i++, before = r) {
        SY_TRY(sy_ramp_parse(ramp->items[i], &r));
        if (i == 0 && r.after != 0)
            SY_FAIL(SY_ERR_USAGE,
                    "\"%.100s\" is the first row, and must be after 0 steps: how the run begins",
                    ramp->items[i]);
        if (r.after <= before.after)
            SY_FAIL(SY_ERR_USAGE, "\"%.100s\" is not after more steps than the row before it, \"%.100s\"",
                    ramp->items[i], ramp->items[i - 1]);
    }
    return SY_OK;
}

/* Row i of a table that was checked. */
static struct sy_ramp_row row_of(const struct sy_config_list *ramp, int64_t i) {
    struct sy_ramp_row r = {0, 1};
    (void)sy_ramp_parse(ramp->items[i], &r);
    return r;
}

int64_t sy_ramp_most(const struct sy_config_list *ramp) {
    int64_t most = 0;
    for (int64_t i = 0; i < ramp->n; i++) {
        int64_t batch = row_of(ramp, i).batch;
        most = batch > most ? batch : most;
    }
    return most;
}

int64_t sy_ramp_divisor(const struct sy_config_list *ramp) {
    int64_t d = 0;
    for (int64_t i = 0; i < ramp->n; i++)
        for (int64_t b = row_of(ramp, i).batch, rest; b > 0; b = rest) {
            rest = d % b;
            d = b;
        }
    return d;
}

int64_t sy_step_sequences(const struct sy_config_training *t, int64_t step) {
    int64_t batch = t->global_batch_size;
    for (int64_t i = 0; i < t->batch_ramp.n; i++) {
        struct sy_ramp_row r = row_of(&t->batch_ramp, i);
        batch = step >= r.after ? r.batch : batch;
    }
    return batch;
}

int64_t sy_steps_sequences(const struct sy_config_training *t, int64_t first, int64_t end) {
    int64_t n = t->batch_ramp.n, sum = 0, all;
    if (n == 0)
        return __builtin_mul_overflow(end - first, t->global_batch_size, &sum) ? INT64_MAX : sum;
    for (int64_t i = 0; i < n; i++) {
        struct sy_ramp_row r = row_of(&t->batch_ramp, i);
        int64_t from = r.after > first ? r.after : first,
                to = i + 1 < n ? row_of(&t->batch_ramp, i + 1).after : end;
        to = to < end ? to : end;
        if (to > from &&
            (__builtin_mul_overflow(to - from, r.batch, &all) || __builtin_add_overflow(sum, all, &sum)))
            return INT64_MAX;
    }
    return sum;
}
