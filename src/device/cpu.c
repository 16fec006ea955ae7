/* The CPU as a device: one kind of memory, copies at once, nothing to wait for. See memory.h. */
#include <stdlib.h>

#include "base/pages.h"
#include "device/memory.h"

static void *take(const struct sy_device *d, enum sy_place place, size_t bytes) {
    (void)place;
    size_t size = (bytes + SY_ARENA_ALIGN - 1) / SY_ARENA_ALIGN * SY_ARENA_ALIGN;
    void *p = aligned_alloc(SY_ARENA_ALIGN, size);
    sy_pages_large(p, size);
    if (p && !d->zero)
        memset(p, 0, size); /* now, not page by page in the first step */
    return p;
}

enum { PAGE = 4096 };
struct block {
    char *at;
    int64_t bytes;
};

static void zero_part(void *arg, int thread, int n_threads) {
    const struct block *b = arg;
    int64_t lo, hi;
    sy_range(b->bytes, PAGE, thread, n_threads, &lo, &hi);
    memset(b->at + lo, 0, (size_t)(hi - lo));
}

static void zero(const struct sy_device *d, void *block, size_t bytes) {
    struct block b = {block, (int64_t)bytes};
    sy_pool_run_each(bytes >= 2 * PAGE ? d->state : NULL, zero_part, &b);
}

static void give(const struct sy_device *d, enum sy_place place, void *memory, size_t bytes) {
    (void)d;
    (void)place;
    (void)bytes;
    free(memory);
}

static void copy(const struct sy_device *d, void *to, const void *from, size_t bytes) {
    (void)d;
    if (bytes)
        memcpy(to, from, bytes);
}

static sy_status done(const struct sy_device *d) {
    (void)d;
    return SY_OK;
}

static void *itself(const struct sy_device *d, const void *p) {
    (void)d;
    return (void *)(uintptr_t)p;
}

static const struct sy_device cpu = {.name = "cpu",
                                     .segment = 1,
                                     .busy = 1 << 23,
                                     .busy_sums = 1 << 23,
                                     .alloc = take,
                                     .free = give,
                                     .copy = copy,
                                     .wait = done,
                                     .alias = itself};

const struct sy_device *sy_device_cpu(void) { return &cpu; }

static void destroy(struct sy_device *d) { free(d); }

sy_status sy_device_cpu_create(struct sy_pool *pool, struct sy_device **out) {
    struct sy_device *d = malloc(sizeof *d);
    if (!d)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a device");
    *d = cpu;
    d->zero = zero;
    d->destroy = destroy;
    d->state = pool;
    *out = d;
    return SY_OK;
}

int sy_device_is_cpu(const struct sy_device *d) { return d->alloc == take; }
