/* switchyard diff: where two runs part. The values of their configurations that differ; then the first
 * step, from metrics.jsonl; then tensor and element, from the checkpoints.
 *
 * Compared are loss_bits, grad_norm_bits and weights_digest of each step that both have, then every
 * tensor of the newest checkpoints, or of the first ones that both have at or after the step where they
 * part. All NaN are equal.
 */
#include "commands/diff.h"
#include "commands/locate.h"
#include "commands/run_steps.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "train/io.h"

/* --- steps ------------------------------------------------------------------------------------ */

static int print_step(const struct sy_io *io, const struct sy_run_step *a, const struct sy_run_step *b) {
    int differ = 0;
    for (int k = 0; k < SY_RUN_STEP_KEYS; k++) {
        if (*a->value[k] && strcmp(a->value[k], b->value[k]) == 0)
            continue;
        if (!differ++)
            sy_io_printf(io, "step %lld differs\n", (long long)a->step);
        sy_io_printf(io, "  %-15s %s\n  %-15s %s\n", sy_run_step_keys[k],
                     *a->value[k] ? a->value[k] : "(none)", "", *b->value[k] ? b->value[k] : "(none)");
    }
    return differ;
}

/* The first common step in which the runs differ, or -1; *common counts those compared. */
static int64_t compare_steps(const struct sy_io *io, const struct sy_run_steps *a,
                             const struct sy_run_steps *b, int64_t *common) {
    *common = 0;
    for (int64_t i = 0, j = 0; i < a->n && j < b->n;) {
        if (a->step[i].step != b->step[j].step) {
            if (a->step[i].step < b->step[j].step)
                i++;
            else
                j++;
            continue;
        }
        (*common)++;
        if (print_step(io, &a->step[i], &b->step[j]))
            return a->step[i].step;
        i++;
        j++;
    }
    return -1;
}

/* --- runs ------------------------------------------------------------------------------------- */

static int is_run(const char *path) {
    char p[SY_DIFF_PATH + 32];
    struct stat st;
    snprintf(p, sizeof p, "%s/metrics.jsonl", path);
    return stat(p, &st) == 0;
}

/* The first step >= `from` at which both runs have a checkpoint (from < 0: the last such step); -1 if
 * none. */
static int64_t common_checkpoint(const char *a, const char *b, int64_t from) {
    char dir[SY_DIFF_PATH + 32], other[2 * SY_DIFF_PATH];
    int64_t best = -1;
    snprintf(dir, sizeof dir, "%s/checkpoints", a);
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        long long step;
        struct stat st;
        if (sscanf(e->d_name, "step-%lld", &step) != 1)
            continue;
        snprintf(other, sizeof other, "%s/checkpoints/%s", b, e->d_name);
        if (stat(other, &st) != 0 || (from >= 0 && step < from))
            continue;
        if (best < 0 || (from >= 0 ? step < best : step > best))
            best = step;
    }
    if (d)
        closedir(d);
    return best;
}

static sy_status diff_runs(const char *a, const char *b, int locate, const struct sy_io *io, int *equal) {
    struct sy_run_steps x = {0}, y = {0};
    int64_t common = 0, step = -1;
    sy_status status = sy_run_steps_read(a, &x);
    if (status == SY_OK)
        status = sy_run_steps_read(b, &y);
    if (status == SY_OK) {
        step = compare_steps(io, &x, &y, &common);
        *equal &= step < 0;
        if (step < 0)
            sy_io_printf(io, "%lld common steps are equal (%lld and %lld in all)\n", (long long)common,
                         (long long)x.n, (long long)y.n);
        if (common == 0)
            status = sy_fail(SY_ERR_DATA, "%s and %s have no step in common", a, b);
    }
    free(x.step);
    free(y.step);
    if (status == SY_OK && locate && step >= 0)
        status = sy_locate(a, b, step, io);
    if (status != SY_OK)
        return status;
    int64_t at = common_checkpoint(a, b, step);
    if (at < 0) {
        if (step >= 0)
            sy_io_printf(io,
                         "no common checkpoint at or after step %lld: run both with --checkpoint.interval=1 "
                         "to see the tensor\n",
                         (long long)step);
        return SY_OK;
    }
    char pa[SY_DIFF_PATH + 64], pb[SY_DIFF_PATH + 64];
    snprintf(pa, sizeof pa, "%s/checkpoints/step-%08lld", a, (long long)at);
    snprintf(pb, sizeof pb, "%s/checkpoints/step-%08lld", b, (long long)at);
    return sy_diff_tensors(io, pa, pb, equal);
}

static sy_status diff(const char *a, const char *b, int locate, const struct sy_io *io, int *equal) {
    *equal = 1;
    if (strlen(a) >= SY_DIFF_PATH || strlen(b) >= SY_DIFF_PATH)
        SY_FAIL(SY_ERR_USAGE, "a path is longer than %d bytes", SY_DIFF_PATH - 1);
    const char *missing = access(a, F_OK) != 0 ? a : access(b, F_OK) != 0 ? b : NULL;
    if (missing)
        SY_FAIL(SY_ERR_USAGE, "%s: there is no such file or folder; give two runs or two checkpoints",
                missing);
    if (is_run(a) != is_run(b))
        SY_FAIL(SY_ERR_USAGE, "%s is a run's folder and %s is not; give two runs or two checkpoints",
                is_run(a) ? a : b, is_run(a) ? b : a);
    if (locate && !is_run(a))
        SY_FAIL(SY_ERR_USAGE, "%s is a checkpoint: a step that can be done again (--locate) is a run's", a);
    SY_TRY(sy_diff_config(io, a, b));
    return is_run(a) ? diff_runs(a, b, locate, io, equal) : sy_diff_tensors(io, a, b, equal);
}

sy_status sy_diff(const char *a, const char *b, const struct sy_io *io, int *equal) {
    return diff(a, b, 0, io, equal);
}

sy_status sy_diff_locate(const char *a, const char *b, const struct sy_io *io, int *equal) {
    return diff(a, b, 1, io, equal);
}
