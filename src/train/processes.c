/* Processes that read the same files: see processes.h. */
#include "train/processes.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct found {
    int64_t step;
    uint64_t documents;
};

static sy_status compare(const struct found *all, int size, const char *run_dir) {
    for (int r = 1; r < size; r++) {
        if (all[r].step != all[0].step)
            SY_FAIL(
                SY_ERR_DATA,
                "run.dir = %s: rank 0 goes on from step %lld and rank %d from step %lld (0: no checkpoint): "
                "all hosts must see the same folder",
                run_dir, (long long)all[0].step, r, (long long)all[r].step);
        if (all[r].documents != all[0].documents)
            SY_FAIL(SY_ERR_DATA,
                    "rank %d found other documents than rank 0: all hosts must see the same files", r);
    }
    return SY_OK;
}

sy_status sy_processes_compare(const struct sy_comm *world, const char *run_dir, int64_t step,
                               const json_t *documents) {
    char *text = json_dumps(documents, JSON_COMPACT | JSON_SORT_KEYS);
    struct found mine = {step, text ? XXH3_64bits(text, strlen(text)) : 0};
    struct found *all = calloc((size_t)world->size, sizeof *all);
    sy_status status = text && all ? SY_OK : sy_fail(SY_ERR_MEMORY, "no memory to compare what ranks found");
    free(text);
    status = world->ops->all_gather(world, status, &mine, sizeof mine, all);
    if (status == SY_OK)
        status = compare(all, world->size, run_dir);
    free(all);
    return status;
}
