/* Arenas of a device's memory, and its end: see memory.h. */
#include "device/memory.h"

#include "device/held.h"

static void release_device(const void *device, void *memory, size_t bytes) {
    const struct sy_device *d = device;
    sy_held_drop(memory);
    d->free(d, SY_PLACE_DEVICE, memory, bytes);
}

static void release_pinned(const void *device, void *memory, size_t bytes) {
    const struct sy_device *d = device;
    sy_held_drop(memory);
    d->free(d, SY_PLACE_PINNED, memory, bytes);
}

static void zero(const void *device, void *block, size_t bytes) {
    const struct sy_device *d = device;
    d->zero(d, block, bytes);
}

struct carver {
    void (*carve)(void *self, struct sy_arena *arena);
    void *self;
};

static sy_status build(const struct sy_device *d, enum sy_place place, const char *what,
                       const struct carver *c, struct sy_arena *out) {
    struct sy_arena measure = sy_arena_measure();
    c->carve(c->self, &measure);
    SY_TRY(sy_arena_check(&measure, what));
    size_t bytes = measure.used ? measure.used : SY_ARENA_ALIGN;
    void *memory = d->alloc(d, place, bytes);
    if (!memory)
        SY_FAIL(SY_ERR_MEMORY, "%s: no memory for %zu bytes (%.2f GiB) on %s", what, bytes,
                (double)bytes / (1u << 30), d->name);
    *out = sy_arena_over(memory, bytes, place == SY_PLACE_DEVICE ? release_device : release_pinned, d);
    out->zero = d->zero ? zero : NULL;
    c->carve(c->self, out);
    sy_held_note(what, place, out);
    return sy_arena_check(out, what);
}

sy_status sy_arena_build(const struct sy_device *d, const char *what,
                         void (*carve)(void *self, struct sy_arena *arena), void *self,
                         struct sy_arena *out) {
    return build(d, SY_PLACE_DEVICE, what, &(struct carver){carve, self}, out);
}

sy_status sy_arena_pinned(const struct sy_device *d, const char *what,
                          void (*carve)(void *self, struct sy_arena *arena), void *self,
                          struct sy_arena *out) {
    return build(d, SY_PLACE_PINNED, what, &(struct carver){carve, self}, out);
}

void sy_device_destroy(struct sy_device *d) {
    if (d)
        d->destroy(d);
}
