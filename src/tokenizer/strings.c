/* Tokens and ids: see strings.h. */
#include "tokenizer/strings.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static uint32_t place_of(const struct sy_strings *s, const char *text, size_t n) {
    return (uint32_t)XXH3_64bits(text, n) & (s->n_slots - 1);
}

static int is_equal(const struct sy_strings *s, int32_t id, const char *text, size_t n) {
    return (size_t)s->of[id].length == n && memcmp(s->text + s->of[id].offset, text, n) == 0;
}

/* Doubles the slots and puts every token into them again. */
static int grow_slots(struct sy_strings *s) {
    uint32_t n_slots = s->n_slots ? 2 * s->n_slots : 1024;
    int32_t *slot = calloc(n_slots, sizeof *slot);
    if (!slot)
        return 0;
    free(s->slot);
    s->slot = slot;
    s->n_slots = n_slots;
    for (int32_t id = 0; id < s->n; id++) {
        if (s->of[id].length < 0)
            continue;
        uint32_t at = place_of(s, s->text + s->of[id].offset, (size_t)s->of[id].length);
        while (slot[at])
            at = (at + 1) & (n_slots - 1);
        slot[at] = id + 1;
    }
    return 1;
}

static int reach_id(struct sy_strings *s, int32_t id) {
    if (id >= s->capacity) {
        int32_t capacity = id < 512 ? 1024 : id < INT32_MAX / 2 ? 2 * id : INT32_MAX;
        struct sy_string *larger = realloc(s->of, (size_t)capacity * sizeof *larger);
        if (!larger)
            return 0;
        s->of = larger;
        s->capacity = capacity;
    }
    for (; s->n <= id; s->n++)
        s->of[s->n] = (struct sy_string){0, -1};
    return 1;
}

static int reach_text(struct sy_strings *s, size_t n) {
    if (s->text_capacity - s->n_text > n)
        return 1;
    size_t capacity = 2 * (s->n_text + n) + 4096;
    char *larger = realloc(s->text, capacity);
    if (!larger)
        return 0;
    s->text = larger;
    s->text_capacity = capacity;
    return 1;
}

enum sy_strings_result sy_strings_add(struct sy_strings *s, int32_t id, const char *text, size_t n) {
    if (sy_strings_find(s, text, n) >= 0)
        return SY_STRINGS_TWICE;
    if (id < s->n && s->of[id].length >= 0)
        return SY_STRINGS_ID_TWICE;
    if (n > INT32_MAX || !reach_id(s, id) || !reach_text(s, n) ||
        ((uint32_t)s->n_used + 1 > s->n_slots / 2 && !grow_slots(s)))
        return SY_STRINGS_NO_MEMORY;
    s->of[id] = (struct sy_string){s->n_text, (int32_t)n};
    if (n)
        memcpy(s->text + s->n_text, text, n);
    s->n_text += n;
    uint32_t at = place_of(s, text, n);
    while (s->slot[at])
        at = (at + 1) & (s->n_slots - 1);
    s->slot[at] = id + 1;
    s->n_used++;
    return SY_STRINGS_ADDED;
}

int32_t sy_strings_find(const struct sy_strings *s, const char *text, size_t n) {
    if (!s->n_slots)
        return -1;
    for (uint32_t at = place_of(s, text, n); s->slot[at]; at = (at + 1) & (s->n_slots - 1))
        if (is_equal(s, s->slot[at] - 1, text, n))
            return s->slot[at] - 1;
    return -1;
}

const char *sy_strings_get(const struct sy_strings *s, int32_t id, size_t *n) {
    if (id < 0 || id >= s->n || s->of[id].length < 0)
        return NULL;
    *n = (size_t)s->of[id].length;
    return s->text + s->of[id].offset;
}

void sy_strings_free(struct sy_strings *s) {
    free(s->text);
    free(s->of);
    free(s->slot);
    *s = (struct sy_strings){0};
}
