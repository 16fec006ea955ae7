/* The folder of checkpoints: which are there, putting one in place, removing old ones. See internal.h.
 *
 *     checkpoints/step-00000100     whole, or damaged later
 *     checkpoints/.tmp-…            being made or being removed; nobody ever reads it
 */
#include "ckpt/internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif

void sy_ckpt_step_name(int64_t step, char out[32]) { snprintf(out, 32, "step-%08" PRId64, step); }

/* The step of a folder's name; -1 if it is not exactly as sy_ckpt_step_name writes it. */
static int64_t step_of(const char *name) {
    int64_t step = 0;
    char again[32];
    if (strncmp(name, "step-", 5) != 0)
        return -1;
    for (const char *s = name + 5; *s; s++) {
        if (*s < '0' || *s > '9' || step > SY_CKPT_MAX_STEP)
            return -1;
        step = 10 * step + (*s - '0');
    }
    sy_ckpt_step_name(step, again);
    return strcmp(again, name) == 0 && step <= SY_CKPT_MAX_STEP ? step : -1;
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static sy_status add_step(struct sy_ckpt_steps *steps, int64_t step) {
    if (steps->n == steps->capacity) {
        int capacity = steps->capacity ? 2 * steps->capacity : 32;
        int64_t *larger = realloc(steps->step, (size_t)capacity * sizeof *larger);
        if (!larger)
            SY_FAIL(SY_ERR_MEMORY, "out of memory for a list of %d checkpoints", capacity);
        steps->step = larger;
        steps->capacity = capacity;
    }
    steps->step[steps->n++] = step;
    return SY_OK;
}

sy_status sy_ckpt_steps_list(const char *folder, struct sy_ckpt_steps *out) {
    struct sy_ckpt_steps steps = {0};
    DIR *dir = sy_ckpt_open_folder(folder);
    *out = steps;
    if (!dir && errno == ENOENT)
        return SY_OK;
    if (!dir)
        SY_FAIL(SY_ERR_IO, "%s: cannot read the folder: %s", folder, strerror(errno));
    sy_status status = SY_OK;
    struct dirent *entry;
    while (status == SY_OK && (errno = 0, entry = readdir(dir))) {
        int64_t step = step_of(entry->d_name);
        if (step >= 0)
            status = add_step(&steps, step);
    }
    if (status == SY_OK && errno)
        status = sy_fail(SY_ERR_IO, "%s: cannot read the folder: %s", folder, strerror(errno));
    closedir(dir);
    if (status != SY_OK) {
        free(steps.step);
        return status;
    }
    if (steps.n > 1)
        qsort(steps.step, (size_t)steps.n, sizeof *steps.step, ascending);
    *out = steps;
    return SY_OK;
}

int sy_ckpt_any(const char *run_dir) {
    char folder[SY_CKPT_PATH_BYTES];
    struct sy_ckpt_steps steps;
    if (sy_ckpt_join(folder, run_dir, "checkpoints") != SY_OK || sy_ckpt_steps_list(folder, &steps) != SY_OK)
        return 0;
    free(steps.step);
    return steps.n > 0;
}

static void remove_logged(const char *folder, const char *name, const struct sy_log *log) {
    char path[SY_CKPT_PATH_BYTES];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return;
    int error = sy_ckpt_remove(path);
    if (error)
        sy_log_warn(log, "%s: cannot be removed: %s", path, strerror(error));
}

void sy_ckpt_leftovers_remove(const char *folder, const struct sy_log *log) {
    DIR *dir = sy_ckpt_open_folder(folder);
    struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        if (strncmp(entry->d_name, ".tmp-", 5) == 0) {
            sy_log_info(log, "%s/%s: left by an interrupted save, removed", folder, entry->d_name);
            remove_logged(folder, entry->d_name, log);
        }
    if (dir)
        closedir(dir);
}

sy_status sy_ckpt_put_in_place(const char *folder, const char *tmp, const char *final) {
    char from[SY_CKPT_PATH_BYTES], to[SY_CKPT_PATH_BYTES], old[SY_CKPT_PATH_BYTES];
    SY_TRY(sy_ckpt_join(from, folder, tmp));
    SY_TRY(sy_ckpt_join(to, folder, final));
    if (access(to, F_OK) != 0) {
        if (sy_ckpt_rename(from, to) != 0)
            SY_FAIL(SY_ERR_IO, "%s: cannot rename to %s: %s", from, final, strerror(errno));
        return sy_folder_sync(folder);
    }
    int rc;
    SY_AGAIN(rc, renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE));
    if (rc != 0) {
        int error = errno;
        SY_TRY(sy_ckpt_join(old, folder, ".tmp-replaced")); /* a file system without exchange: two motions */
        if ((error != EINVAL && error != ENOSYS) || sy_ckpt_rename(to, old) != 0)
            SY_FAIL(SY_ERR_IO, "%s: cannot replace %s: %s", from, final, strerror(error));
        if (sy_ckpt_rename(from, to) != 0) {
            error = errno;
            if (sy_ckpt_rename(old, to) != 0)
                SY_FAIL(SY_ERR_IO, "%s: cannot rename to %s (%s), and the one that was there is now %s", from,
                        final, strerror(error), old);
            SY_FAIL(SY_ERR_IO, "%s: cannot rename to %s: %s", from, final, strerror(error));
        }
    }
    return sy_folder_sync(folder);
}

static void retire(const char *folder, int64_t step, const struct sy_log *log) {
    char name[32], tmp[48], from[SY_CKPT_PATH_BYTES], to[SY_CKPT_PATH_BYTES];
    sy_ckpt_step_name(step, name);
    snprintf(tmp, sizeof tmp, ".tmp-old-%s", name);
    if (snprintf(from, sizeof from, "%s/%s", folder, name) >= (int)sizeof from ||
        snprintf(to, sizeof to, "%s/%s", folder, tmp) >= (int)sizeof to)
        return;
    if (sy_ckpt_rename(from, to) != 0)
        sy_log_warn(log, "%s: cannot be removed: %s", from, strerror(errno));
    else
        remove_logged(folder, tmp, log);
}

void sy_ckpt_prune(const char *folder, int64_t step, int64_t keep, const struct sy_log *log) {
    struct sy_ckpt_steps steps;
    if (keep <= 0)
        return;
    if (sy_ckpt_steps_list(folder, &steps) != SY_OK) {
        sy_log_warn(log, "old checkpoints stay: %s", sy_error_message());
        return;
    }
    int64_t older =
        0; /* those above `step` come from a future that was given up: they stay until they are reached */
    for (int i = steps.n; i-- > 0;)
        if (steps.step[i] < step && ++older >= keep)
            retire(folder, steps.step[i], log);
    free(steps.step);
}
