/* What memory a rank has over a step: see snapshot.h. */
#include "train/snapshot.h"

#include <errno.h>
#include <jansson.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/folders.h"
#include "device/held.h"

/* --- what the system says ------------------------------------------------------------------------------- */

static int64_t resident(void) {
    long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    int n = f ? fscanf(f, "%*s %lld", &pages) : 0;
    if (f)
        fclose(f);
    return n == 1 ? (int64_t)pages * sysconf(_SC_PAGESIZE) : -1;
}

static int64_t most_resident(int64_t now) {
    struct rusage u;
    int64_t most = getrusage(RUSAGE_SELF, &u) == 0 ? (int64_t)u.ru_maxrss * 1024 : -1;
    return now > most ? now : most; /* the kernel's is brought up to date now and then */
}

/* Of malloc, of all ranks that are threads of this process; -1: another C library. */
static int64_t heap(void) {
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
    struct mallinfo2 m = mallinfo2();
    return (int64_t)(m.uordblks + m.hblkhd);
#else
    return -1;
#endif
}

/* --- as JSON -------------------------------------------------------------------------------------------- */

static json_t *tags_of(const struct sy_held *h) {
    json_t *tags = json_array();
    for (int i = 0; i < h->n_tags; i++)
        json_array_append_new(
            tags, json_pack("{s:s, s:I}", "tag", h->tags[i].name, "bytes", (json_int_t)h->tags[i].bytes));
    return tags;
}

static json_t *arenas_of(const struct sy_held_all *all) {
    static const char *const places[] = {"host", "pinned", "device"};
    json_t *arenas = json_array();
    for (int i = 0; i < all->n; i++) {
        const struct sy_held *h = &all->of[i];
        json_array_append_new(arenas, json_pack("{s:s, s:s, s:I, s:I, s:o}", "name", h->name, "place",
                                                places[h->place], "bytes", (json_int_t)h->bytes, "most_bytes",
                                                (json_int_t)h->most, "tags", tags_of(h)));
    }
    return arenas;
}

static json_t *object_of(const struct sy_snapshot *s, int64_t step, const struct sy_held_all *all) {
    int64_t after = resident(), before = s->resident, more = after > before ? after : before;
    return json_pack("{s:s, s:I, s:i, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "kind", "memory", "step",
                     (json_int_t)step, "rank", s->session->mesh.rank, "device", s->session->exec.device->name,
                     "bytes", (json_int_t)all->bytes, "most_bytes", (json_int_t)all->most, "resident_before",
                     (json_int_t)before, "resident_after", (json_int_t)after, "resident_most",
                     (json_int_t)most_resident(more), "heap_before", (json_int_t)s->heap, "heap_after",
                     (json_int_t)heap(), "arenas", arenas_of(all));
}

static sy_status write_file(const struct sy_snapshot *s, int64_t step, const char *text) {
    char folder[4096], path[4200];
    snprintf(folder, sizeof folder, "%s/%s/iteration_%lld", s->run_dir,
             s->session->config->profiling.save_memory_snapshot_folder, (long long)step);
    snprintf(path, sizeof path, "%s/rank%d_memory_snapshot.json", folder, s->session->mesh.rank);
    SY_TRY(sy_folder_make(folder));
    FILE *f = fopen(path, "w");
    if (!f)
        SY_FAIL(SY_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    int bad = fprintf(f, "%s\n", text) < 0;
    bad = fclose(f) != 0 || bad;
    if (bad)
        SY_FAIL(SY_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    return SY_OK;
}

/* --- steps ---------------------------------------------------------------------------------------------- */

struct sy_snapshot sy_snapshot_of(const struct sy_session *session, const char *run_dir,
                                  const struct sy_log *log) {
    int on = session->config->profiling.enable_memory_snapshot;
    return (struct sy_snapshot){on ? session : NULL, run_dir, log, -1, -1};
}

static int is_due(const struct sy_snapshot *s, int64_t step) {
    return s->session && step % s->session->config->profiling.profile_freq == 0;
}

void sy_snapshot_before(struct sy_snapshot *s, int64_t step) {
    if (!is_due(s, step))
        return;
    s->resident = resident();
    s->heap = heap();
}

sy_status sy_snapshot_after(struct sy_snapshot *s, int64_t step, struct sy_metrics *metrics) {
    if (!is_due(s, step))
        return SY_OK;
    struct sy_held_all *all = malloc(sizeof *all);
    char *line = NULL;
    if (all) {
        sy_arenas_held(all);
        json_t *object = object_of(s, step, all);
        line = object ? json_dumps(object, JSON_COMPACT) : NULL;
        json_decref(object);
    }
    free(all);
    sy_status status = line ? write_file(s, step, line) : sy_fail(SY_ERR_MEMORY, "out of memory");
    if (status != SY_OK) {
        sy_log_warn(s->log, "memory snapshots are not written: %s", sy_error_message());
        s->session = NULL;
    }
    status = line && metrics ? sy_metrics_event(metrics, line) : SY_OK;
    free(line);
    return status;
}
