/* A CPU device whose memory is closed outside ops: see memory.h.
 *
 *     one memfd     view   PROT_NONE, but for the time of an op: what views point to
 *     mapped twice  alias  always open: what copies and transports use
 *
 * A host that reads a count, a loss or a flag in the middle of a step faults here, as on a GPU it would read
 * nonsense.
 */
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device/memory.h"

enum { MAX_BLOCKS = 64 };

struct block {
    char *view, *alias;
    size_t bytes;
};

struct guarded {
    struct sy_device device;
    pthread_mutex_t mutex; /* of open and close: ranks of one process may share a device */
    int depth;
    struct block block[MAX_BLOCKS];
};

static struct guarded *of(const struct sy_device *d) { return d->state; }

static size_t whole_pages(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (bytes + page - 1) / page * page;
}

static int map(size_t bytes, struct block *b) {
    int fd = memfd_create("switchyard", MFD_CLOEXEC);
    if (fd < 0)
        return 0;
    *b = (struct block){MAP_FAILED, MAP_FAILED, bytes};
    if (ftruncate(fd, (off_t)bytes) == 0) {
        b->alias = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        b->view = mmap(NULL, bytes, PROT_NONE, MAP_SHARED, fd, 0);
    }
    close(fd);
    if (b->alias != MAP_FAILED && b->view != MAP_FAILED)
        return 1;
    if (b->alias != MAP_FAILED)
        munmap(b->alias, bytes);
    if (b->view != MAP_FAILED)
        munmap(b->view, bytes);
    *b = (struct block){0};
    return 0;
}

static void *take(const struct sy_device *d, enum sy_place place, size_t bytes) {
    struct guarded *g = of(d);
    if (place != SY_PLACE_DEVICE)
        return sy_device_cpu()->alloc(sy_device_cpu(), place, bytes);
    struct block *b = NULL;
    pthread_mutex_lock(&g->mutex);
    for (int i = 0; i < MAX_BLOCKS && !b; i++)
        if (!g->block[i].view)
            b = &g->block[i];
    if (b && !map(whole_pages(bytes), b))
        b = NULL;
    pthread_mutex_unlock(&g->mutex);
    return b ? b->view : NULL;
}

static void give(const struct sy_device *d, enum sy_place place, void *memory, size_t bytes) {
    struct guarded *g = of(d);
    if (place != SY_PLACE_DEVICE) {
        sy_device_cpu()->free(sy_device_cpu(), place, memory, bytes);
        return;
    }
    pthread_mutex_lock(&g->mutex);
    for (int i = 0; i < MAX_BLOCKS; i++)
        if (g->block[i].view == memory) {
            munmap(g->block[i].view, g->block[i].bytes);
            munmap(g->block[i].alias, g->block[i].bytes);
            g->block[i] = (struct block){0};
        }
    pthread_mutex_unlock(&g->mutex);
}

static void *alias(const struct sy_device *d, const void *p) {
    struct guarded *g = of(d);
    char *found = (void *)(uintptr_t)p; /* the host's own */
    pthread_mutex_lock(&g->mutex);
    for (int i = 0; i < MAX_BLOCKS; i++) {
        const struct block *b = &g->block[i];
        if (b->view && (const char *)p >= b->view && (const char *)p < b->view + b->bytes)
            found = b->alias + ((const char *)p - b->view);
    }
    pthread_mutex_unlock(&g->mutex);
    return found;
}

static void copy(const struct sy_device *d, void *to, const void *from, size_t bytes) {
    if (bytes)
        memmove(alias(d, to), alias(d, from), bytes);
}

static sy_status done(const struct sy_device *d) {
    (void)d;
    return SY_OK;
}

static void protect(const struct guarded *g, int how) {
    for (int i = 0; i < MAX_BLOCKS; i++)
        if (g->block[i].view && mprotect(g->block[i].view, g->block[i].bytes, how) != 0)
            abort(); /* the kernel's own limits: nothing that follows would mean anything */
}

static void open_views(const struct sy_device *d) {
    struct guarded *g = of(d);
    pthread_mutex_lock(&g->mutex);
    if (g->depth++ == 0)
        protect(g, PROT_READ | PROT_WRITE);
    pthread_mutex_unlock(&g->mutex);
}

static void close_views(const struct sy_device *d) {
    struct guarded *g = of(d);
    pthread_mutex_lock(&g->mutex);
    assert(g->depth > 0);
    if (--g->depth == 0)
        protect(g, PROT_NONE);
    pthread_mutex_unlock(&g->mutex);
}

static void destroy(struct sy_device *d) {
    struct guarded *g = of(d);
    pthread_mutex_destroy(&g->mutex);
    free(g);
}

sy_status sy_device_guarded_create(struct sy_device **out) {
    struct block probe;
    struct guarded *g = calloc(1, sizeof *g);
    if (!g)
        SY_FAIL(SY_ERR_MEMORY, "run.device = guarded: no memory");
    if (!map(whole_pages(1), &probe)) {
        free(g);
        SY_FAIL(SY_ERR_UNAVAILABLE,
                "run.device = guarded: this system has no memfd_create with shared mappings; use cpu");
    }
    munmap(probe.view, probe.bytes);
    munmap(probe.alias, probe.bytes);
    pthread_mutex_init(&g->mutex, NULL);
    g->device = (struct sy_device){.name = "guarded",
                                   .segment = 16,
                                   .busy = 1 << 23,
                                   .busy_sums = 1 << 23,
                                   .alloc = take,
                                   .free = give,
                                   .copy = copy,
                                   .wait = done,
                                   .alias = alias,
                                   .open = open_views,
                                   .close = close_views,
                                   .destroy = destroy,
                                   .state = g};
    *out = &g->device;
    return SY_OK;
}
