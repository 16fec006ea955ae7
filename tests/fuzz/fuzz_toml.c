/* Any bytes as a TOML document: a tree or an error with a place comes out; twice gives the same; a comment at
 * the end changes nothing; every string is UTF-8 and the depth is bounded; every float reads back from its
 * text.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "formats/toml.h"
#include "require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t mix(uint64_t h, const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

static uint64_t mix_string(uint64_t h, struct sy_toml_string s) {
    require(sy_toml_is_utf8(s.text, s.n) && s.text[s.n] == 0);
    return mix(h, s.text, s.n + 1);
}

static uint64_t digest(uint64_t h, const struct sy_toml_value *v) {
    char text[SY_TOML_REAL_BYTES];
    struct sy_toml_value again;
    int64_t n = 0;
    require(v->depth <= SY_TOML_MAX_DEPTH && v->line >= 1);
    h = mix(h, &v->type, sizeof v->type);
    h = mix(h, &v->line, sizeof v->line);
    switch (v->type) {
    case SY_TOML_STRING:
        return mix_string(h, v->as.string);
    case SY_TOML_REAL:
        sy_toml_real_print(v->as.real, text);
        require(sy_toml_scalar(text, strlen(text), &again) == SY_OK && again.type == SY_TOML_REAL);
        require(again.as.real == v->as.real || (again.as.real != again.as.real && v->as.real != v->as.real));
        return mix(h, text, strlen(text));
    case SY_TOML_INTEGER:
        return mix(h, &v->as.integer, sizeof v->as.integer);
    case SY_TOML_BOOLEAN:
        return mix(h, &v->as.boolean, sizeof v->as.boolean);
    case SY_TOML_ARRAY:
        for (const struct sy_toml_value *item = v->as.array.first; item; item = item->next, n++)
            h = digest(h, item);
        require(n == v->as.array.n);
        return h;
    case SY_TOML_TABLE:
        for (const struct sy_toml_entry *e = v->as.table.first; e; e = e->next, n++)
            h = digest(mix_string(h, e->key), e->value);
        require(n == v->as.table.n);
        return h;
    default:
        require(v->as.time.month <= 12 && v->as.time.hour <= 23 && v->as.time.nanosecond < 1000000000);
        return mix(h, &v->as.time, sizeof v->as.time);
    }
}

static uint64_t run(const void *bytes, size_t n) {
    struct sy_toml *doc = NULL;
    if (sy_toml_parse("fuzz", bytes, n, &doc) != SY_OK) {
        require(!strncmp(sy_error_message(), "fuzz:", 5) && !doc);
        return 0;
    }
    uint64_t h = digest(1, sy_toml_root(doc));
    sy_toml_destroy(doc);
    return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint64_t h = run(data, size);
    require(h == run(data, size));
    char *longer = malloc(size + 4);
    if (longer && h) {
        if (size)
            memcpy(longer, data, size);
        memcpy(longer + size, "\n# c", 4);
        require(h == run(longer, size + 4));
    }
    free(longer);
    return 0;
}
