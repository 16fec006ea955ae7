/* switchyard.json: written last, believed only if its own hash holds. See internal.h.
 *
 *     { "format": …, "version": 2, "step": …, …, "tensors": {"weights": {name: digest …}, …},
 *       "files": [{"name", "bytes", "header"} of safetensors, {"name", "bytes", "hash"} of others …],
 *       "hash": "XXH3-128 of every byte of this file before this line" }
 *
 * The last two lines have one exact form, so a flipped bit is in what is hashed, in the hash, or in that
 * form. By hand: `head -n -2 switchyard.json | xxhsum -H128`. Version 1 had a "hash" of each whole file and
 * no "tensors".
 */
#include "ckpt/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ckpt/text.h"

static const char format_word[] = "switchyard checkpoint";
static const char tail_begin[] = "  \"hash\": \"", tail_end[] = "\"\n}\n";
enum { HEX = SY_CKPT_HASH_CHARS - 1, TAIL = sizeof tail_begin - 1 + HEX + sizeof tail_end - 1 };

/* ---- writing ---- */

static json_t *files_array(const struct sy_ckpt_files *files) {
    json_t *array = json_array();
    for (int i = 0; array && i < files->n; i++) {
        const struct sy_ckpt_file *f = &files->item[i];
        json_t *entry = json_pack("{s:s, s:I, s:s}", "name", f->name, "bytes", (json_int_t)f->bytes,
                                  f->of_header ? "header" : "hash", f->hash);
        if (json_array_append_new(array, entry) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *former_array(const struct sy_ckpt_state *state) {
    json_t *array = json_array();
    for (int i = 0; array && i < state->n_former_recipes; i++)
        if (json_array_append_new(array, json_string(state->former_recipes[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static json_t *or_null(const json_t *value) { return value ? json_incref((json_t *)value) : json_null(); }

static sy_status build(const struct sy_ckpt_state *state, const struct sy_ckpt_written *written,
                       json_t **out) {
    char id[SY_CKPT_HASH_CHARS], *config = NULL;
    json_t *recipe = NULL;
    SY_TRY(sy_ckpt_recipe_id(state->config, id));
    SY_TRY(sy_ckpt_recipe(state->config, &recipe));
    sy_status status = sy_ckpt_config_text(state->config, &config);
    if (status != SY_OK) {
        json_decref(recipe);
        return status;
    }
    /* o of a NULL makes json_pack fail, so every part may be built in place */
    json_t *root = json_pack(
        "{s:s, s:i, s:I, s:I, s:I, s:s, s:s, s:o, s:o, s:o, s:o, s:o*, s:s, s:o, s:o, s:s}", "format",
        format_word, "version", (int)SY_CKPT_VERSION, "step", (json_int_t)state->step, "next_sequence",
        (json_int_t)state->next_sequence, "seed", (json_int_t)state->config->debug.seed, "weights_digest",
        written->digest, "recipe_id", id, "recipe", recipe, "former_recipes", former_array(state), "data",
        or_null(state->data_fingerprint), "trainer", or_null(state->trainer), "initial",
        json_incref((json_t *)state->initial), "config", config, "tensors", sy_ckpt_sums_json(written->sums),
        "files", files_array(&written->files), "hash", "00000000000000000000000000000000");
    free(config);
    if (!root)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for %s", SY_CKPT_MANIFEST);
    *out = root;
    return SY_OK;
}

sy_status sy_ckpt_manifest_print(const struct sy_ckpt_state *state, const struct sy_ckpt_written *written,
                                 char **text, size_t *bytes) {
    json_t *root = NULL;
    char hash[SY_CKPT_HASH_CHARS];
    SY_TRY(build(state, written, &root));
    sy_status status = sy_ckpt_print_json(root, text, bytes);
    json_decref(root);
    SY_TRY(status);
    size_t body = *bytes - TAIL;
    sy_xxh128_hex(XXH3_128bits(*text, body), hash);
    memcpy(*text + body + sizeof tail_begin - 1, hash, HEX);
    return SY_OK;
}

/* ---- reading ---- */

static sy_status check_own_hash(const char *name, const char *text, size_t bytes) {
    char hash[SY_CKPT_HASH_CHARS];
    if (bytes < TAIL)
        SY_FAIL(SY_ERR_DATA, "%s: %zu bytes are too few for a manifest", name, bytes);
    const char *tail = text + bytes - TAIL;
    if (memcmp(tail, tail_begin, sizeof tail_begin - 1) != 0 ||
        memcmp(text + bytes - (sizeof tail_end - 1), tail_end, sizeof tail_end - 1) != 0)
        SY_FAIL(SY_ERR_DATA, "%s: damaged or cut: does not end with its own hash", name);
    sy_xxh128_hex(XXH3_128bits(text, bytes - TAIL), hash);
    if (memcmp(tail + sizeof tail_begin - 1, hash, HEX) != 0)
        SY_FAIL(SY_ERR_DATA, "%s: damaged: XXH3-128 of its text is %s, was written with %.32s", name, hash,
                tail + sizeof tail_begin - 1);
    return SY_OK;
}

static sy_status get_hex(const char *name, const json_t *object, const char *key, const char **out) {
    SY_TRY(sy_json_get_string(name, object, key, out));
    if (!sy_ckpt_is_hex(*out, HEX))
        SY_FAIL(SY_ERR_DATA, "%s: key \"%s\" is not %d lower-case hex digits", name, key, (int)HEX);
    return SY_OK;
}

/* A file's name may lead nowhere but into the checkpoint. */
static int is_safe_name(const char *s) {
    int slashes = 0, at_start = 1;
    if (!*s || strlen(s) >= SY_CKPT_NAME_BYTES)
        return 0;
    for (; *s; s++) {
        int plain =
            (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') || *s == '_';
        if (!plain && (at_start || (*s != '-' && *s != '.' && *s != '/')))
            return 0;
        at_start = *s == '/';
        slashes += at_start;
    }
    return !at_start && slashes <= 1;
}

static sy_status read_files(const char *name, const json_t *root, int version, struct sy_ckpt_files *files) {
    json_t *array = NULL, *entry;
    size_t i;
    SY_TRY(sy_json_get_array(name, root, "files", &array));
    if (json_array_size(array) > SY_CKPT_MAX_FILES)
        SY_FAIL(SY_ERR_DATA, "%s: %zu files, at most %d are possible", name, json_array_size(array),
                (int)SY_CKPT_MAX_FILES);
    json_array_foreach(array, i, entry) {
        const char *file = NULL, *hash = NULL;
        int64_t bytes = 0;
        SY_TRY(sy_json_get_string(name, entry, "name", &file));
        SY_TRY(sy_json_get_int(name, entry, "bytes", 0, INT64_MAX, &bytes));
        int of_header = version > 1 && sy_ckpt_kind_of(file) != SY_CKPT_KINDS;
        SY_TRY(get_hex(name, entry, of_header ? "header" : "hash", &hash));
        if (!is_safe_name(file))
            SY_FAIL(SY_ERR_DATA, "%s: \"%.200s\" is not the name of a checkpoint's file", name, file);
        if (i > 0 && strcmp(file, files->item[i - 1].name) <= 0)
            SY_FAIL(SY_ERR_DATA, "%s: file \"%s\" is listed twice or out of order", name, file);
        SY_TRY(sy_ckpt_files_add(files, file, bytes, hash, of_header));
    }
    return SY_OK;
}

static sy_status read_former(const char *name, const json_t *root, struct sy_ckpt_manifest *m) {
    json_t *array = NULL, *entry;
    size_t i;
    SY_TRY(sy_json_get_array(name, root, "former_recipes", &array));
    size_t n = json_array_size(array);
    if (n > SY_CKPT_MAX_FORMER)
        SY_FAIL(SY_ERR_DATA, "%s: %zu former recipes, at most %d are possible", name, n,
                (int)SY_CKPT_MAX_FORMER);
    m->former = calloc(n + 1, sizeof *m->former);
    if (!m->former)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", name);
    json_array_foreach(array, i, entry) {
        const char *id = json_string_value(entry);
        if (!id || !sy_ckpt_is_hex(id, HEX))
            SY_FAIL(SY_ERR_DATA, "%s: former recipe %zu is not a recipe id", name, i);
        m->former[i] = id;
    }
    m->info.former_recipes = m->former;
    m->info.n_former_recipes = (int)n;
    return SY_OK;
}

static sy_status optional_object(const char *name, const json_t *root, const char *key, const json_t **out) {
    json_t *object = NULL;
    if (!sy_json_has(root, key))
        return SY_OK;
    SY_TRY(sy_json_get_object(name, root, key, &object));
    *out = object;
    return SY_OK;
}

static sy_status read_recipe(const char *name, const json_t *root, struct sy_ckpt_info *info) {
    char id[SY_CKPT_HASH_CHARS];
    json_t *recipe = NULL;
    SY_TRY(get_hex(name, root, "recipe_id", &info->recipe_id));
    SY_TRY(sy_json_get_object(name, root, "recipe", &recipe));
    info->recipe = recipe;
    SY_TRY(sy_ckpt_recipe_hash(recipe, id));
    if (strcmp(id, info->recipe_id) != 0)
        SY_FAIL(SY_ERR_DATA, "%s: recipe_id is %s, the recipe's is %s", name, info->recipe_id, id);
    return SY_OK;
}

static sy_status read_fields(const char *name, const json_t *root, struct sy_ckpt_info *info) {
    const char *format = NULL;
    int64_t version = 0, seed = 0;
    SY_TRY(sy_json_get_string(name, root, "format", &format));
    if (strcmp(format, format_word) != 0)
        SY_FAIL(SY_ERR_DATA, "%s: format is \"%.60s\", not \"%s\"", name, format, format_word);
    SY_TRY(sy_json_get_int(name, root, "version", 0, INT64_MAX, &version));
    if (version < 1 || version > SY_CKPT_VERSION)
        SY_FAIL(SY_ERR_DATA, "%s: version %" PRId64 " of the format, this program reads 1 to %d", name,
                version, (int)SY_CKPT_VERSION);
    info->version = (int)version;
    SY_TRY(sy_json_get_int(name, root, "step", 0, SY_CKPT_MAX_STEP, &info->step));
    SY_TRY(sy_json_get_int(name, root, "next_sequence", 0, INT64_MAX, &info->next_sequence));
    SY_TRY(sy_json_get_int(name, root, "seed", 0, INT64_MAX, &seed));
    info->seed = (uint64_t)seed;
    SY_TRY(get_hex(name, root, "weights_digest", &info->weights_digest));
    SY_TRY(read_recipe(name, root, info));
    SY_TRY(optional_object(name, root, "data", &info->data_fingerprint));
    SY_TRY(optional_object(name, root, "trainer", &info->trainer));
    SY_TRY(optional_object(name, root, "initial", &info->initial));
    SY_TRY(sy_json_get_string(name, root, "config", &info->config));
    info->has_manifest = 1;
    return SY_OK;
}

sy_status sy_ckpt_manifest_parse(const char *name, const char *text, size_t bytes,
                                 struct sy_ckpt_manifest *out) {
    memset(out, 0, sizeof *out);
    SY_TRY(check_own_hash(name, text, bytes));
    SY_TRY(sy_json_parse(name, text, bytes, 0, &out->root));
    SY_TRY(read_fields(name, out->root, &out->info));
    SY_TRY(read_former(name, out->root, out));
    if (out->info.version > 1)
        SY_TRY(sy_ckpt_sums_parse(name, out->root, out->sums));
    return read_files(name, out->root, out->info.version, &out->files);
}

void sy_ckpt_manifest_free(struct sy_ckpt_manifest *m) {
    json_decref(m->root);
    free(m->former);
    free(m->files.item);
    sy_ckpt_sums_free(m->sums);
    memset(m, 0, sizeof *m);
}
