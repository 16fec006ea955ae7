/* Digests of tensors, as a manifest has them: see internal.h.
 *
 *     "tensors": {"weights": {name: digest, …}, "adam_m": {…}, "adam_v": {…}}      names in bytewise order
 *
 * The digest of NUMERICS 6, of one tensor, over its words as they are: each element's term is a bijection of
 * its 32 bits, so one that changed always shows. A sum: whoever holds a part of a tensor adds its share, in
 * any order.
 */
#include "ckpt/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *word, *prefix;
} kinds[SY_CKPT_KINDS] = {
    {"weights", "model"}, {"adam_m", "optimizer/adam_m"}, {"adam_v", "optimizer/adam_v"}};

const char *sy_ckpt_kind_word(enum sy_ckpt_kind kind) { return kinds[kind].word; }
const char *sy_ckpt_kind_prefix(enum sy_ckpt_kind kind) { return kinds[kind].prefix; }

enum sy_ckpt_kind sy_ckpt_kind_of(const char *file) {
    static const char suffix[] = ".safetensors";
    size_t end = strlen(file), kind = 0;
    for (; kind < SY_CKPT_KINDS; kind++) {
        size_t n = strlen(kinds[kind].prefix);
        if (strncmp(file, kinds[kind].prefix, n) == 0 && file[n] == '-' && end > n + sizeof suffix &&
            strcmp(file + end - (sizeof suffix - 1), suffix) == 0)
            break;
    }
    return (enum sy_ckpt_kind)kind;
}

int sy_ckpt_is_hex(const char *s, size_t n) { return strlen(s) == n && strspn(s, "0123456789abcdef") == n; }

/* ---- sums ---- */

static int has_nan(const float *x, int64_t n) {
    int any = 0;
    for (int64_t i = 0; i < n; i++)
        any |= x[i] != x[i];
    return any;
}

void sy_ckpt_digest_add(uint64_t id, int64_t first, const float *x, int64_t n, struct sy_digest *words,
                        struct sy_digest *folded) {
    struct sy_digest piece = {{0, 0}};
    sy_digest_add_words(&piece, id, (uint64_t)first, x, (size_t)n);
    sy_digest_join(words, &piece);
    if (folded && has_nan(x, n))
        sy_digest_add_f32(folded, id, (uint64_t)first, x, (size_t)n);
    else if (folded)
        sy_digest_join(folded, &piece); /* without a NaN the two are one */
}

sy_status sy_ckpt_sums_add(struct sy_ckpt_sums *sums, const char *name, const char *hex) {
    if (sums->n == sums->capacity) {
        int capacity = sums->capacity ? 2 * sums->capacity : 64;
        struct sy_ckpt_sum *larger = realloc(sums->item, (size_t)capacity * sizeof *larger);
        if (!larger)
            SY_FAIL(SY_ERR_MEMORY, "out of memory for the digests of %d tensors", capacity);
        sums->item = larger;
        sums->capacity = capacity;
    }
    struct sy_ckpt_sum *sum = &sums->item[sums->n++];
    sum->name = name;
    memcpy(sum->hex, hex, sizeof sum->hex);
    return SY_OK;
}

int sy_ckpt_sums_find(const struct sy_ckpt_sums *sums, const char *name) {
    int low = 0, high = sums->n;
    while (low < high) {
        int middle = low + (high - low) / 2, order = strcmp(name, sums->item[middle].name);
        if (order == 0)
            return middle;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}

sy_status sy_ckpt_sum_check(const struct sy_ckpt_sum *sum, const struct sy_digest *words, const char *path,
                            int64_t offset, int64_t bytes) {
    char hex[SY_DIGEST_CHARS];
    sy_digest_hex(words, hex);
    if (strcmp(hex, sum->hex) != 0)
        SY_FAIL(SY_ERR_DATA,
                "%.600s: damaged: tensor \"%.600s\", bytes %" PRId64 " … %" PRId64
                ": the digest of its words is %s, was "
                "written with %s",
                path, sum->name, offset, offset + bytes - 1, hex, sum->hex);
    return SY_OK;
}

/* ---- JSON ---- */

static json_t *object_of(const struct sy_ckpt_sums *sums) {
    json_t *object = json_object();
    for (int i = 0; object && i < sums->n; i++)
        if (json_object_set_new(object, sums->item[i].name, json_string(sums->item[i].hex)) != 0) {
            json_decref(object);
            return NULL;
        }
    return object;
}

json_t *sy_ckpt_sums_json(const struct sy_ckpt_sums sums[SY_CKPT_KINDS]) {
    json_t *all = json_object();
    for (int kind = 0; all && kind < SY_CKPT_KINDS; kind++)
        if (json_object_set_new(all, kinds[kind].word, object_of(&sums[kind])) != 0) {
            json_decref(all);
            return NULL;
        }
    return all;
}

static sy_status parse_kind(const char *name, const json_t *all, enum sy_ckpt_kind kind,
                            struct sy_ckpt_sums *sums) {
    json_t *object = NULL, *value;
    const char *tensor;
    SY_TRY(sy_json_get_object(name, all, kinds[kind].word, &object));
    json_object_foreach(object, tensor, value) {
        const char *hex = json_string_value(value);
        if (!hex || !sy_ckpt_is_hex(hex, SY_DIGEST_CHARS - 1))
            SY_FAIL(SY_ERR_DATA, "%s: %s of tensor \"%.200s\": not a digest of %d lower-case hex digits",
                    name, kinds[kind].word, tensor, SY_DIGEST_CHARS - 1);
        if (sums->n && strcmp(tensor, sums->item[sums->n - 1].name) <= 0)
            SY_FAIL(SY_ERR_DATA, "%s: %s of tensor \"%.200s\" are out of order", name, kinds[kind].word,
                    tensor);
        SY_TRY(sy_ckpt_sums_add(sums, tensor, hex));
    }
    return SY_OK;
}

sy_status sy_ckpt_sums_parse(const char *name, const json_t *root, struct sy_ckpt_sums sums[SY_CKPT_KINDS]) {
    json_t *all = NULL;
    SY_TRY(sy_json_get_object(name, root, "tensors", &all));
    for (int kind = 0; kind < SY_CKPT_KINDS; kind++)
        SY_TRY(parse_kind(name, all, (enum sy_ckpt_kind)kind, &sums[kind]));
    return SY_OK;
}

void sy_ckpt_sums_free(struct sy_ckpt_sums sums[SY_CKPT_KINDS]) {
    for (int kind = 0; kind < SY_CKPT_KINDS; kind++)
        free(sums[kind].item);
}
