/* Arenas of a device's memory, and its end: see memory.h. */
#include "device/memory.h"

static void release(const void *device, void *memory, size_t bytes) {
    const struct sy_device *d = device;
    d->free(d, SY_PLACE_DEVICE, memory, bytes);
}

sy_status sy_arena_build(const struct sy_device *d, const char *what,
                         void (*carve)(void *self, struct sy_arena *arena), void *self,
                         struct sy_arena *out) {
    struct sy_arena measure = sy_arena_measure();
    carve(self, &measure);
    SY_TRY(sy_arena_check(&measure, what));
    size_t bytes = measure.used ? measure.used : SY_ARENA_ALIGN;
    void *memory = d->alloc(d, SY_PLACE_DEVICE, bytes);
    if (!memory)
        SY_FAIL(SY_ERR_MEMORY, "%s: no memory for %zu bytes (%.2f GiB)", what, bytes,
                (double)bytes / (1u << 30));
    *out = sy_arena_over(memory, bytes, release, d);
    carve(self, out);
    return sy_arena_check(out, what);
}

void sy_device_destroy(struct sy_device *d) {
    if (d)
        d->destroy(d);
}
