/* The checkpoint that a run goes on from, or that a step can be redone from: the newest that is whole. See
 * checkpoint.h. */
#include "ckpt/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sy_status open_step(const char *folder, int64_t step, struct sy_ckpt **out) {
    char name[32], path[SY_CKPT_PATH_BYTES];
    sy_ckpt_step_name(step, name);
    SY_TRY(sy_ckpt_join(path, folder, name));
    SY_TRY(sy_ckpt_open(path, 1, out));
    if (sy_ckpt_info(*out)->step != step)
        SY_FAIL(SY_ERR_DATA, "%s/%s: is of step %" PRId64, path, SY_CKPT_MANIFEST, sy_ckpt_info(*out)->step);
    return SY_OK;
}

static sy_status try_one(const char *folder, int64_t step, const struct sy_comm *comm, struct sy_ckpt **out) {
    struct sy_ckpt *c = NULL;
    sy_status status = comm->ops->agree(comm, open_step(folder, step, &c));
    if (status == SY_OK)
        status = sy_ckpt_verify(c, comm);
    if (status != SY_OK) {
        sy_ckpt_close(c);
        return status;
    }
    *out = c;
    return SY_OK;
}

/* Rank 0's list, to all. */
static sy_status list_steps(const char *run_dir, char folder[SY_CKPT_PATH_BYTES], const struct sy_comm *comm,
                            struct sy_ckpt_steps *out) {
    const struct sy_comm_ops *ops = comm->ops;
    int64_t n = 0;
    struct sy_ckpt_steps steps = {0};
    sy_status status = sy_ckpt_join(folder, run_dir, "checkpoints");
    if (status == SY_OK && comm->rank == 0)
        status = sy_ckpt_steps_list(folder, &steps);
    n = steps.n;
    status = ops->broadcast(comm, status, 0, &n, sizeof n);
    if (status != SY_OK) {
        free(steps.step);
        return status;
    }
    if (comm->rank > 0) {
        steps = (struct sy_ckpt_steps){.step = calloc((size_t)n + 1, sizeof *steps.step), .n = (int)n};
        status = steps.step ? SY_OK : sy_fail(SY_ERR_MEMORY, "out of memory for a list of checkpoints");
    }
    if (n > 0)
        status = ops->broadcast(comm, status, 0, steps.step, (size_t)n * sizeof *steps.step);
    if (status != SY_OK) {
        free(steps.step);
        return status;
    }
    *out = steps;
    return SY_OK;
}

/* What is no fault of a checkpoint. */
static int ends_search(sy_status status) { return status == SY_ERR_MEMORY || status == SY_ERR_PEER; }

sy_status sy_ckpt_find_latest(const char *run_dir, const struct sy_log *log, const struct sy_comm *ranks,
                              struct sy_ckpt **out) {
    return sy_ckpt_find_before(run_dir, INT64_MAX, log, ranks, out);
}

sy_status sy_ckpt_find_before(const char *run_dir, int64_t before, const struct sy_log *log,
                              const struct sy_comm *ranks, struct sy_ckpt **out) {
    char folder[SY_CKPT_PATH_BYTES], first[512] = "";
    struct sy_comm self;
    const struct sy_comm *comm = sy_ckpt_ranks(ranks, &self);
    struct sy_ckpt_steps steps;
    struct sy_ckpt *found = NULL;
    SY_TRY(list_steps(run_dir, folder, comm, &steps));
    while (steps.n > 0 && steps.step[steps.n - 1] >= before)
        steps.n--;
    sy_status status = SY_OK;
    for (int i = steps.n; i-- > 0 && !found && !ends_search(status);) {
        status = try_one(folder, steps.step[i], comm, &found);
        if (status == SY_OK || ends_search(status))
            continue;
        if (!*first)
            snprintf(first, sizeof first, "%s", sy_error_message());
        sy_log_warn(log, "checkpoint of step %" PRId64 " skipped: %s", steps.step[i], sy_error_message());
    }
    free(steps.step);
    if (ends_search(status))
        return status;
    if (!found && steps.n)
        SY_FAIL(SY_ERR_DATA, "%s: none of %d checkpoints is whole; the newest: %s", folder, steps.n, first);
    *out = found;
    return SY_OK;
}

sy_status sy_ckpt_find_from(const char *run_dir, int64_t from, struct sy_ckpt **out) {
    char folder[SY_CKPT_PATH_BYTES];
    struct sy_ckpt_steps steps;
    struct sy_ckpt *found = NULL;
    SY_TRY(sy_ckpt_join(folder, run_dir, "checkpoints"));
    SY_TRY(sy_ckpt_steps_list(folder, &steps));
    sy_status status = SY_OK;
    for (int i = 0; i < steps.n && !found && status != SY_ERR_MEMORY; i++) {
        if (steps.step[i] < from)
            continue;
        status = open_step(folder, steps.step[i], &found);
        if (status != SY_OK) {
            sy_ckpt_close(found);
            found = NULL;
        }
    }
    free(steps.step);
    *out = found;
    return status == SY_ERR_MEMORY ? status : SY_OK;
}
