/* Arenas: see arena.h. */
#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

#include "base/pages.h"

#if SY_ARENA_GUARD
#include <sanitizer/asan_interface.h>
static void guard(char *p, size_t bytes) { __asan_poison_memory_region(p, bytes); }
static void unguard(char *p, size_t bytes) { __asan_unpoison_memory_region(p, bytes); }
#else
static void guard(char *p, size_t bytes) { (void)p, (void)bytes; }
static void unguard(char *p, size_t bytes) { (void)p, (void)bytes; }
#endif

struct sy_arena sy_arena_measure(void) {
    return (struct sy_arena){.size = SIZE_MAX};
}

/* The size rounded up to the alignment; 0 when that, and what is added to it, cannot be addressed. */
static size_t rounded(size_t bytes) {
    if (bytes > SIZE_MAX - 2 * SY_ARENA_ALIGN)
        return 0;
    return ((bytes ? bytes : 1) + SY_ARENA_ALIGN - 1) / SY_ARENA_ALIGN * SY_ARENA_ALIGN;
}

static sy_status own(void *memory, size_t bytes, const char *what, struct sy_arena *out) {
    if (!rounded(bytes))
        SY_FAIL(SY_ERR_MEMORY, "%s: %zu bytes cannot be addressed", what, bytes);
    if (!memory)
        SY_FAIL(SY_ERR_MEMORY, "%s: no memory for %zu bytes (%.2f GiB)", what, bytes,
                (double)bytes / (1u << 30));
    char *base = (char *)(((uintptr_t)memory + SY_ARENA_ALIGN - 1) / SY_ARENA_ALIGN * SY_ARENA_ALIGN);
    *out = (struct sy_arena){.memory = memory, .base = base, .size = rounded(bytes)};
    return SY_OK;
}

sy_status sy_arena_init(size_t bytes, const char *what, struct sy_arena *out) {
    size_t size = rounded(bytes);
    SY_TRY(own(size ? aligned_alloc(SY_ARENA_ALIGN, size) : NULL, bytes, what, out));
    sy_pages_large(out->base, size);
    memset(out->base, 0, size);
    return SY_OK;
}

struct sy_arena sy_arena_over(void *memory, size_t bytes,
                              void (*release)(const void *owner, void *memory, size_t bytes),
                              const void *owner) {
    return (struct sy_arena){
        .memory = memory, .release = release, .owner = owner, .base = memory, .size = bytes};
}

void sy_arena_fini(struct sy_arena *arena) {
    if (arena->base)
        unguard(arena->base, arena->size);
    if (arena->release && arena->memory)
        arena->release(arena->owner, arena->memory, arena->size);
    else
        free(arena->memory);
    *arena = (struct sy_arena){0};
}

static const char rest[] = "everything else";
static void count(struct sy_arena *a, const char *tag, size_t bytes) {
    for (int i = 0; i < a->n_tags; i++)
        if (strcmp(a->tags[i].name, tag) == 0) {
            a->tags[i].bytes += bytes;
            return;
        }
    if (a->n_tags >= SY_ARENA_TAGS - 1 && strcmp(tag, rest) != 0) { /* the last one has what is left */
        count(a, rest, bytes);
        return;
    }
    a->tags[a->n_tags++] = (struct sy_arena_tag){tag, bytes};
}

void *sy_arena_take(struct sy_arena *arena, const char *tag, size_t n, size_t size) {
    if (size && n > (SIZE_MAX - SY_ARENA_ALIGN - SY_ARENA_GUARD) / size) {
        arena->overflow = 1;
        return NULL;
    }
    size_t bytes = (n * size + SY_ARENA_ALIGN - 1) / SY_ARENA_ALIGN * SY_ARENA_ALIGN + SY_ARENA_GUARD;
    if (bytes > arena->size - arena->used) {
        arena->overflow = 1;
        return NULL;
    }
    char *p = arena->base ? arena->base + arena->used : NULL;
    if (p && arena->zero)
        arena->zero(arena->owner, p, bytes);
    if (p)
        guard(p + n * size, bytes - n * size);
    arena->used += bytes;
    arena->guards += SY_ARENA_GUARD;
    count(arena, tag, bytes - SY_ARENA_GUARD);
    return p;
}

sy_status sy_arena_check(const struct sy_arena *arena, const char *what) {
    if (arena->overflow)
        SY_FAIL(SY_ERR_RUNTIME, "%s: the plan's %zu bytes are not enough (used %zu)", what, arena->size,
                arena->used);
    return SY_OK;
}
