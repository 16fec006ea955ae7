/* The checkpoint that a run goes on from: the newest that is whole. See checkpoint.h. */
#include "ckpt/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sy_status try_one(const char *folder, int64_t step, struct sy_ckpt **out) {
    char name[32], path[SY_CKPT_PATH_BYTES];
    struct sy_ckpt *c = NULL;
    sy_ckpt_step_name(step, name);
    SY_TRY(sy_ckpt_join(path, folder, name));
    SY_TRY(sy_ckpt_open(path, 1, &c));
    sy_status status = SY_OK;
    if (sy_ckpt_info(c)->step != step)
        status =
            sy_fail(SY_ERR_DATA, "%s/%s: is of step %" PRId64, path, SY_CKPT_MANIFEST, sy_ckpt_info(c)->step);
    if (status == SY_OK)
        status = sy_ckpt_verify(c);
    if (status != SY_OK) {
        sy_ckpt_close(c);
        return status;
    }
    *out = c;
    return SY_OK;
}

sy_status sy_ckpt_find_latest(const char *run_dir, const struct sy_log *log, struct sy_ckpt **out) {
    char folder[SY_CKPT_PATH_BYTES], first[512] = "";
    struct sy_ckpt_steps steps;
    struct sy_ckpt *found = NULL;
    SY_TRY(sy_ckpt_join(folder, run_dir, "checkpoints"));
    SY_TRY(sy_ckpt_steps_list(folder, &steps));
    sy_status status = SY_OK;
    for (int i = steps.n; i-- > 0 && !found;) {
        status = try_one(folder, steps.step[i], &found);
        if (status == SY_ERR_MEMORY)
            break;
        if (status != SY_OK) {
            if (!*first)
                snprintf(first, sizeof first, "%s", sy_error_message());
            sy_log_warn(log, "checkpoint of step %" PRId64 " skipped: %s", steps.step[i], sy_error_message());
        }
    }
    free(steps.step);
    if (status == SY_ERR_MEMORY)
        return status;
    if (!found && steps.n)
        SY_FAIL(SY_ERR_DATA, "%s: none of %d checkpoints is whole; the newest: %s", folder, steps.n, first);
    *out = found;
    return SY_OK;
}
