/* Arenas: see arena.h. */
#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

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

sy_status sy_arena_init(size_t bytes, const char *what, struct sy_arena *out) {
    size_t size = bytes ? bytes : SY_ARENA_ALIGN;
    if (size > SIZE_MAX - 2 * SY_ARENA_ALIGN)
        SY_FAIL(SY_ERR_MEMORY, "%s: %zu bytes cannot be addressed", what, bytes);
    size = (size + SY_ARENA_ALIGN - 1) / SY_ARENA_ALIGN * SY_ARENA_ALIGN;
    void *memory = calloc(1, size + SY_ARENA_ALIGN); /* a page that is never touched costs none */
    if (!memory)
        SY_FAIL(SY_ERR_MEMORY, "%s: no memory for %zu bytes (%.2f GiB)", what, bytes, (double)bytes / (1u << 30));
    char *base = (char *)(((uintptr_t)memory + SY_ARENA_ALIGN - 1) / SY_ARENA_ALIGN * SY_ARENA_ALIGN);
    *out = (struct sy_arena){.memory = memory, .base = base, .size = size};
    return SY_OK;
}

void sy_arena_fini(struct sy_arena *arena) {
    if (arena->base)
        unguard(arena->base, arena->size);
    free(arena->memory);
    *arena = (struct sy_arena){0};
}

static void count(struct sy_arena *a, const char *tag, size_t bytes) {
    for (int i = 0; i < a->n_tags; i++)
        if (strcmp(a->tags[i].name, tag) == 0) {
            a->tags[i].bytes += bytes;
            return;
        }
    if (a->n_tags < SY_ARENA_TAGS)
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
    if (p)
        guard(p + n * size, bytes - n * size);
    arena->used += bytes;
    arena->guards += SY_ARENA_GUARD;
    count(arena, tag, bytes - SY_ARENA_GUARD);
    return p;
}

sy_status sy_arena_check(const struct sy_arena *arena, const char *what) {
    if (arena->overflow)
        SY_FAIL(SY_ERR_RUNTIME, "%s: the plan's %zu bytes are not enough (used %zu)", what, arena->size, arena->used);
    return SY_OK;
}
