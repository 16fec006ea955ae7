/* The arenas that a rank holds: see held.h. */
#include "device/held.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct note {
    struct note *next; /* made later */
    pthread_t thread;
    const void *memory;
    char name[SY_HELD_TEXT];
    enum sy_place place;
    size_t bytes;
    int n_tags;
    struct sy_arena_tag tags[SY_ARENA_TAGS];
};

struct most { /* of a name; of all, with name "" */
    struct most *next;
    pthread_t thread;
    char name[SY_HELD_TEXT];
    enum sy_place place;
    size_t bytes;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct note *notes;
static struct most *mosts;

static int is_of(const struct note *n, pthread_t thread, const char *name, enum sy_place place) {
    return pthread_equal(n->thread, thread) && (!*name || (n->place == place && strcmp(n->name, name) == 0));
}

static size_t sum(pthread_t thread, const char *name, enum sy_place place) {
    size_t bytes = 0;
    for (const struct note *n = notes; n; n = n->next)
        bytes += is_of(n, thread, name, place) ? n->bytes : 0;
    return bytes;
}

static struct most *most_of(pthread_t thread, const char *name, enum sy_place place) {
    for (struct most *m = mosts; m; m = m->next)
        if (pthread_equal(m->thread, thread) && m->place == place && strcmp(m->name, name) == 0)
            return m;
    return NULL;
}

static void raise_most(pthread_t thread, const char *name, enum sy_place place) {
    struct most *m = most_of(thread, name, place);
    size_t bytes = sum(thread, name, place);
    if (!m && (m = calloc(1, sizeof *m))) {
        *m = (struct most){.next = mosts, .thread = thread, .place = place};
        snprintf(m->name, sizeof m->name, "%s", name);
        mosts = m;
    }
    if (m && bytes > m->bytes)
        m->bytes = bytes;
}

/* A thread without arenas is nobody: its number may be another one's next. */
static void forget(pthread_t thread) {
    for (struct most **at = &mosts; *at;) {
        struct most *m = *at;
        if (pthread_equal(m->thread, thread)) {
            *at = m->next;
            free(m);
        } else {
            at = &m->next;
        }
    }
}

void sy_held_note(const char *name, enum sy_place place, const struct sy_arena *a) {
    struct note *n = calloc(1, sizeof *n), **at = &notes;
    if (!n)
        return;
    *n = (struct note){
        .thread = pthread_self(), .memory = a->memory, .place = place, .bytes = a->size - a->guards};
    int bytes = (int)strcspn(name, "("); /* what to do without memory stands behind it */
    snprintf(n->name, sizeof n->name, "%.*s", bytes && name[bytes] ? bytes - 1 : bytes, name);
    n->n_tags = a->n_tags;
    memcpy(n->tags, a->tags, sizeof n->tags);
    pthread_mutex_lock(&mutex);
    while (*at)
        at = &(*at)->next;
    *at = n;
    raise_most(n->thread, n->name, place);
    raise_most(n->thread, "", SY_PLACE_HOST);
    pthread_mutex_unlock(&mutex);
}

void sy_held_drop(const void *memory) {
    pthread_mutex_lock(&mutex);
    for (struct note **at = &notes; *at; at = &(*at)->next) {
        struct note *n = *at;
        if (n->memory != memory)
            continue;
        *at = n->next;
        if (sum(n->thread, "", SY_PLACE_HOST) == 0)
            forget(n->thread);
        free(n);
        break;
    }
    pthread_mutex_unlock(&mutex);
}

static void add_tags(struct sy_held *h, const struct note *n) {
    for (int i = 0; i < n->n_tags; i++) {
        int k = 0;
        while (k < h->n_tags && strcmp(h->tags[k].name, n->tags[i].name) != 0)
            k++;
        if (k == SY_ARENA_TAGS)
            continue;
        if (k == h->n_tags)
            h->tags[h->n_tags++].name = n->tags[i].name;
        h->tags[k].bytes += n->tags[i].bytes;
    }
}

static void add(struct sy_held_all *all, const struct note *n) {
    int k = 0;
    while (k < all->n && !(all->of[k].place == n->place && strcmp(all->of[k].name, n->name) == 0))
        k++;
    if (k == SY_HELD_NAMES)
        return;
    struct sy_held *h = &all->of[k];
    if (k == all->n) {
        const struct most *m = most_of(n->thread, n->name, n->place);
        memcpy(h->name, n->name, sizeof h->name);
        h->place = n->place;
        h->most = m ? m->bytes : 0;
        all->n++;
    }
    h->arenas++;
    h->bytes += n->bytes;
    add_tags(h, n);
}

void sy_arenas_held(struct sy_held_all *out) {
    pthread_t self = pthread_self();
    *out = (struct sy_held_all){0};
    pthread_mutex_lock(&mutex);
    const struct most *m = most_of(self, "", SY_PLACE_HOST);
    out->bytes = sum(self, "", SY_PLACE_HOST);
    out->most = m ? m->bytes : 0;
    for (const struct note *n = notes; n; n = n->next)
        if (pthread_equal(n->thread, self))
            add(out, n);
    pthread_mutex_unlock(&mutex);
}
