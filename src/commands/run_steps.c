/* The steps that a run has written down: see run_steps.h. */
#include "commands/run_steps.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"

enum { MOST_PATH = 4096 };

const char *const sy_run_step_keys[SY_RUN_STEP_KEYS] = {"loss_bits", "grad_norm_bits", "weights_digest"};

/* `where` is file:line. A step below 0 or a value that is cut would let runs that part look equal. */
static sy_status add_step(const char *where, struct sy_run_steps *s, const json_t *line) {
    int64_t step = json_integer_value(json_object_get(line, "step"));
    if (step < 0)
        SY_FAIL(SY_ERR_DATA, "%s: step %lld, must not be negative", where, (long long)step);
    if (s->n == s->capacity) {
        int64_t capacity = 2 * s->capacity + 64;
        struct sy_run_step *larger = realloc(s->step, (size_t)capacity * sizeof *larger);
        if (!larger)
            SY_FAIL(SY_ERR_MEMORY, "no memory for %lld steps", (long long)capacity);
        s->step = larger;
        s->capacity = capacity;
    }
    struct sy_run_step *to = &s->step[s->n++];
    *to = (struct sy_run_step){.step = step};
    for (int k = 0; k < SY_RUN_STEP_KEYS; k++) {
        const char *text = json_string_value(json_object_get(line, sy_run_step_keys[k]));
        if (text && strlen(text) >= SY_RUN_STEP_VALUE)
            SY_FAIL(SY_ERR_DATA, "%s: %s has %zu characters, at most %d are possible", where,
                    sy_run_step_keys[k], strlen(text), SY_RUN_STEP_VALUE - 1);
        snprintf(to->value[k], SY_RUN_STEP_VALUE, "%s", text ? text : "");
    }
    return SY_OK;
}

/* Of a run under way the last line may have no end yet: it is left out. */
static sy_status read_line(const char *path, int64_t number, const char *text, size_t n,
                           struct sy_run_steps *out) {
    char where[MOST_PATH + 64];
    json_error_t error;
    int out_of_memory = 0;
    snprintf(where, sizeof where, "%s:%lld", path, (long long)number);
    json_t *j = sy_json_decode(text, n, 0, &error, &out_of_memory);
    if (out_of_memory)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory for %zu bytes of JSON", where, n);
    if (!j && text[n - 1] == '\n')
        SY_FAIL(SY_ERR_DATA, "%s: not a JSON object", where);
    const char *kind = json_string_value(json_object_get(j, "kind"));
    int wanted = kind && strcmp(kind, "train") == 0 && json_is_integer(json_object_get(j, "step"));
    sy_status status = wanted ? add_step(where, out, j) : SY_OK;
    json_decref(j);
    return status;
}

static int by_step(const void *a, const void *b) {
    const struct sy_run_step *x = a, *y = b;
    return (x->step > y->step) - (x->step < y->step);
}

sy_status sy_run_steps_read(const char *run, struct sy_run_steps *out) {
    char path[MOST_PATH + 32];
    snprintf(path, sizeof path, "%s/metrics.jsonl", run);
    FILE *f = fopen(path, "r");
    if (!f)
        SY_FAIL(SY_ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
    char *text = NULL;
    size_t capacity = 0;
    ssize_t n;
    sy_status status = SY_OK;
    for (int64_t line = 1; status == SY_OK && (n = getline(&text, &capacity, f)) > 0; line++)
        status = read_line(path, line, text, (size_t)n, out);
    if (status == SY_OK && !feof(f)) /* a line that is too long for the memory sets no ferror */
        status = sy_fail(errno == ENOMEM ? SY_ERR_MEMORY : SY_ERR_IO, "%s: cannot be read: %s", path,
                         strerror(errno));
    free(text);
    fclose(f);
    if (out->n > 1)
        qsort(out->step, (size_t)out->n, sizeof *out->step, by_step);
    return status;
}
