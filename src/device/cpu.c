/* The CPU as a device: one kind of memory, copies at once, nothing to wait for. See memory.h. */
#include <stdlib.h>

#include "base/pages.h"
#include "device/memory.h"

static void *take(const struct sy_device *d, enum sy_place place, size_t bytes) {
    (void)d;
    (void)place;
    size_t size = (bytes + SY_ARENA_ALIGN - 1) / SY_ARENA_ALIGN * SY_ARENA_ALIGN;
    void *p = aligned_alloc(SY_ARENA_ALIGN, size);
    sy_pages_large(p, size);
    if (p)
        memset(p, 0, size); /* now, not page by page in the first step */
    return p;
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
