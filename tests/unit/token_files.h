/* Files of tokens for tests, written byte by byte as other programs write them, in a folder of the test. */
#ifndef TESTS_UNIT_TOKEN_FILES_H
#define TESTS_UNIT_TOKEN_FILES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/token_writer.h"

static char room[] = "/tmp/sy_tokens_XXXXXX";

static inline const char *in_room(const char *name) {
    static char paths[4][256];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", room, name);
    return path;
}

struct bytes {
    unsigned char *at;
    size_t n;
};

static inline void add_bytes(struct bytes *b, const void *from, size_t n) {
    b->at = realloc(b->at, b->n + n + 1);
    assert_non_null(b->at);
    if (n)
        memcpy(b->at + b->n, from, n);
    b->n += n;
}

static inline void add_number(struct bytes *b, int64_t value, size_t size) { add_bytes(b, &value, size); }

/* A new file each time: one that is cut to nothing and written again is flushed to the disk when it is closed. */
static inline void write_bytes(const char *path, const void *from, size_t n) {
    unlink(path);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(from, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline struct bytes read_bytes(const char *path) {
    struct bytes b = {0};
    char piece[4096];
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;)
        add_bytes(&b, piece, n);
    fclose(f);
    return b;
}

/* llm.c: uint16 ids with magic 20240520, uint32 with the other. */
static inline struct bytes llmc_file(const int32_t *id, int64_t n, size_t size) {
    struct bytes b = {0};
    int32_t head[256] = {size == 2 ? 20240520 : 20240801, size == 2 ? 1 : 7, (int32_t)n};
    add_bytes(&b, head, sizeof head);
    for (int64_t i = 0; i < n; i++)
        add_number(&b, id[i], size);
    return b;
}

/* Megatron: documents of `length` sequences each; a sequence's tokens. */
struct megatron {
    int type;
    size_t size;
    const int32_t *id;
    int64_t n;
    const int64_t *tokens; /* of each sequence */
    int64_t n_sequences;
    const int64_t *first; /* sequence of each document, and the end */
    int64_t n_documents;
};

static inline struct bytes megatron_ids(const struct megatron *m) {
    struct bytes b = {0};
    for (int64_t i = 0; i < m->n; i++)
        add_number(&b, m->id[i], m->size);
    return b;
}

static inline struct bytes megatron_index(const struct megatron *m) {
    struct bytes b = {0};
    int64_t place = 0;
    add_bytes(&b, "MMIDIDX\0", 9);
    add_number(&b, 1, 8);
    add_number(&b, m->type, 1);
    add_number(&b, m->n_sequences, 8);
    add_number(&b, m->n_documents + 1, 8);
    for (int64_t i = 0; i < m->n_sequences; i++)
        add_number(&b, m->tokens[i], 4);
    for (int64_t i = 0; i < m->n_sequences; i++) {
        add_number(&b, place, 8);
        place += m->tokens[i] * (int64_t)m->size;
    }
    for (int64_t i = 0; i <= m->n_documents; i++)
        add_number(&b, m->first[i], 8);
    return b;
}

static inline int make_room(void **state) {
    (void)state;
    return mkdtemp(room) ? 0 : -1;
}

static inline int remove_room(void **state) {
    char command[300];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", room);
    return system(command);
}

#endif
