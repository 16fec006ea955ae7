/* Arenas: memory by lifetime (run, step, scratch), sized by the plan, tagged, printable.
 *
 *     | tag "weights" | tag "weights_bf" | ... used ... |        free        |
 *     base                                              base+used            base+size
 *
 * A measuring arena (base NULL) counts what the same calls would take, so that a plan is the code that
 * allocates, run once without memory. Blocks are 64-byte aligned and zeroed when the arena is created; blocks
 * are not given back one by one.
 */
#ifndef SY_BASE_ARENA_H
#define SY_BASE_ARENA_H

#include "base/status.h"

enum { SY_ARENA_TAGS = 48, SY_ARENA_ALIGN = 64 };

/* Bytes behind each block that AddressSanitizer watches. */
#if defined(__SANITIZE_ADDRESS__)
#define SY_ARENA_GUARD 64
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SY_ARENA_GUARD 64
#endif
#endif
#ifndef SY_ARENA_GUARD
#define SY_ARENA_GUARD 0
#endif

struct sy_arena {
    void *memory; /* as allocated; who gives it back, NULL: free */
    void (*release)(const void *owner, void *memory, size_t bytes);
    void (*zero)(const void *owner, void *block, size_t bytes); /* of each block taken; NULL: it is zero */
    const void *owner;
    char *base;          /* NULL while measuring */
    size_t size;         /* bytes; SIZE_MAX while measuring */
    size_t used, guards; /* bytes taken; of these, what AddressSanitizer watches */
    int overflow;        /* a take did not fit or a size overflowed: reported by sy_arena_check */
    int n_tags;
    struct sy_arena_tag {
        const char *name; /* static string */
        size_t bytes;
    } tags[SY_ARENA_TAGS];
};

/* Local. An arena that only counts. Never fails. */
struct sy_arena sy_arena_measure(void);

/* Local. Zeroed memory of `bytes`, all of it taken from the system now. Errors: ERR_MEMORY with the size
 * and `what`. Owned by the caller: sy_arena_fini. */
sy_status sy_arena_init(size_t bytes, const char *what, struct sy_arena *out);

/* Local. An arena over aligned memory that somebody else took, zeroed unless `zero` is set afterwards;
 * release(owner, memory, bytes) at its end. */
struct sy_arena sy_arena_over(void *memory, size_t bytes,
                              void (*release)(const void *owner, void *memory, size_t bytes),
                              const void *owner);
void sy_arena_fini(struct sy_arena *arena);

/* Local. `n` elements of `size` bytes under `tag` (static string). NULL while measuring or when it does
 * not fit. */
void *sy_arena_take(struct sy_arena *arena, const char *tag, size_t n, size_t size);

/* Local. ERR_RUNTIME if any take did not fit. */
sy_status sy_arena_check(const struct sy_arena *arena, const char *what);

#endif
