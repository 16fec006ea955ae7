/* The arenas that a rank holds, by name and tag: for snapshots of its memory.
 *
 * Each arena of a device's memory (memory.h) is noted when it is made and when it is given back, under the
 * thread that made it: a rank's. Nothing is noted in a step, which takes nothing. One that could not be noted,
 * without memory for it, is missing.
 */
#ifndef SY_DEVICE_HELD_H
#define SY_DEVICE_HELD_H

#include "device/memory.h"

enum { SY_HELD_NAMES = 32, SY_HELD_TEXT = 64 };

struct sy_held { /* all arenas of one name in one place */
    char name[SY_HELD_TEXT];
    enum sy_place place;
    size_t bytes, most; /* now; the most that there were at a time */
    int arenas, n_tags;
    struct sy_arena_tag tags[SY_ARENA_TAGS];
};

struct sy_held_all {
    size_t bytes, most;
    int n;
    struct sy_held
        of[SY_HELD_NAMES]; /* in the order in which they were made; what is beyond is in the sums */
};

/* Local. What the calling thread's arenas are. */
void sy_arenas_held(struct sy_held_all *out);

/* For memory.c. */
void sy_held_note(const char *name, enum sy_place place, const struct sy_arena *arena);
void sy_held_drop(const void *memory);

#endif
