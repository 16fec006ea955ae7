/* switchyard diff --locate: see locate.h. */
#include "commands/locate.h"

#include <inttypes.h>
#include <stdio.h>

#include "commands/redo.h"
#include "commands/values.h"
#include "train/io.h"

static sy_status looked_at(struct sy_values *t, struct sy_session *s, int64_t done, int64_t step) {
    struct sy_step_result r;
    for (; done < step - 1; done++)
        SY_TRY(sy_session_step(s, done, &r));
    return sy_values_step(t, s, done, &r);
}

static sy_status run_step(const char *run, int64_t step, const struct sy_log *log, struct sy_values *t) {
    char where[SY_CKPT_PATH_BYTES];
    struct sy_config *c;
    struct sy_resume resume = {0};
    struct sy_session *s = NULL;
    int64_t done;
    SY_TRY(sy_config_create(&c));
    sy_status status = sy_redo_config(run, step, c, where);
    if (status == SY_OK)
        status = sy_config_clear(c, SY_LAYER_FLAG, "diff", "moe.routes_out");
    if (status == SY_OK)
        status = sy_config_finish(c, false);
    if (status == SY_OK)
        status = sy_redo_find(run, step, log, &resume);
    if (status == SY_OK)
        status = sy_redo_start(c, log, &resume, NULL, &s, &done);
    if (status == SY_OK)
        status = looked_at(t, s, done, step);
    sy_session_destroy(s);
    sy_resume_fini(&resume);
    sy_config_destroy(c);
    return status;
}

static sy_status compare(const char *a, const char *b, int64_t step, const struct sy_io *io,
                         struct sy_values t[2]) {
    struct sy_log log = {0};
    const char *run[] = {a, b};
    struct sy_params *params;
    struct sy_config *c;
    char where[SY_CKPT_PATH_BYTES];
    int missing;
    for (int i = 0; i < 2; i++)
        SY_TRY(run_step(run[i], step, &log, &t[i]));
    int64_t at = sy_values_differ(&t[0], &t[1], 0, &missing);
    if (at < 0) {
        sy_io_printf(io,
                     "step %" PRId64 " again: %" PRId64
                     " values are equal: what made it differ cannot be repeated\n",
                     step, t[0].n);
        return SY_OK;
    }
    struct sy_value_name name = t[0].v[at].name;
    for (int i = 0; i < 2; i++) {
        t[i].wanted = &name;
        SY_TRY(run_step(run[i], step, &log, &t[i]));
    }
    SY_TRY(sy_config_create(&c));
    sy_status status = sy_redo_config(a, step, c, where);
    if (status == SY_OK)
        status = sy_params_create(&c->model, &c->moe, &params);
    if (status == SY_OK) {
        sy_io_printf(io, "step %" PRId64 " again: the first value that differs\n", step);
        sy_value_print(&name, params, io);
        if (missing)
            sy_io_printf(io, ": only the first run has it\n");
        else
            sy_value_print_element(&t[0], &t[1], io);
        sy_params_destroy(params);
    }
    sy_config_destroy(c);
    return status;
}

sy_status sy_locate(const char *a, const char *b, int64_t step, const struct sy_io *io) {
    struct sy_values t[2] = {{0}, {0}};
    sy_status status = compare(a, b, step, io, t);
    sy_values_fini(&t[0]);
    sy_values_fini(&t[1]);
    return status;
}
