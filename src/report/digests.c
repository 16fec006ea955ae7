/* Of a run's steps the digests that can be checked: those with a checkpoint, and the last. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/internal.h"

/* Makes place for a step; the oldest goes when there is none. NULL: it is older than all that are kept. */
static struct sy_report_digest *place(struct sy_report_run *r, int64_t step) {
    int at = r->n_digests;
    while (at > 0 && r->digest[at - 1].step >= step)
        at--;
    if (at < r->n_digests && r->digest[at].step == step)
        return &r->digest[at];
    if (r->n_digests == SY_REPORT_DIGESTS) {
        if (at == 0)
            return NULL;
        memmove(r->digest, r->digest + 1, (size_t)--at * sizeof *r->digest);
    } else {
        memmove(r->digest + at + 1, r->digest + at, (size_t)(r->n_digests++ - at) * sizeof *r->digest);
    }
    r->digest[at] = (struct sy_report_digest){.step = step};
    return &r->digest[at];
}

void sy_report_checkpoints(struct sy_report_run *r) {
    char path[4200];
    snprintf(path, sizeof path, "%s/checkpoints", r->dir);
    for (int i = 0; i < r->n_digests; i++)
        r->digest[i].is_checkpoint = 0;
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        char *end = NULL;
        long long step = strncmp(e->d_name, "step-", 5) == 0 ? strtoll(e->d_name + 5, &end, 10) : -1;
        struct sy_report_digest *digest = step >= 0 && end && !*end ? place(r, step) : NULL;
        if (digest)
            digest->is_checkpoint = 1;
    }
    if (d)
        closedir(d);
    int kept = 0;
    for (int i = 0; i < r->n_digests; i++)
        if (r->digest[i].is_checkpoint)
            r->digest[kept++] = r->digest[i];
    r->n_digests = kept;
}

void sy_report_digest(struct sy_report_run *r, int64_t step, const char *digest) {
    snprintf(r->last_digest, sizeof r->last_digest, "%s", digest);
    for (int i = 0; i < r->n_digests; i++)
        if (r->digest[i].step == step)
            snprintf(r->digest[i].digest, sizeof r->digest[i].digest, "%s", digest);
}

void sy_report_last_digest(struct sy_report_run *r) {
    struct sy_report_digest *last = r->n_steps ? place(r, r->last) : NULL;
    if (last)
        memcpy(last->digest, r->last_digest, sizeof last->digest);
}
