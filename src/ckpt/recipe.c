/* The recipe: what the bits of a run depend on beside data, seed and the config's answers (NUMERICS 6).
 *
 * The id is the XXH3-128 of the recipe's canonical JSON: one line, keys sorted, no spaces. An op whose
 * rounding points change gets a new version here, and the CHANGELOG a `numerics:` line.
 */
#include "ckpt/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/ops.h"

static const struct {
    const char *op;
    int version;
} versions[] = {
    {"adamw", 1},         {"attention", 2},   {"combine", 1}, {"cross_entropy", 3},
    {"embedding", 1},     {"expert_bias", 1}, {"experts", 1}, {"gradient_norm", 1},
    {"init", 1},          {"linear", 1},      {"rmsnorm", 1}, {"rope", 1},
    {"gradient_tree", 1}, {"router", 1},      {"swiglu", 1},  {"router_losses", 1},
};

sy_status sy_ckpt_recipe(const struct sy_config *config, json_t **out) {
    const struct sy_config_numerics *n = &config->numerics;
    if (n->class == SY_CLASS_AUTO)
        SY_FAIL(SY_ERR_USAGE, "numerics.class is not resolved: there is no recipe before sy_config_finish");
    json_t *ops = json_object();
    int ok = ops != NULL;
    for (size_t i = 0; i < sizeof versions / sizeof *versions && ok; i++)
        ok = json_object_set_new(ops, versions[i].op, json_integer(versions[i].version)) == 0;
    json_t *recipe = NULL;
    if (ok)
        recipe = json_pack(
            "{s:s, s:I, s:I, s:I, s:I, s:I, s:i, s:O}", "class", sy_config_word(config, "numerics.class"),
            "lanes", (json_int_t)n->lanes, "expert_lanes", (json_int_t)n->expert_lanes, "cell",
            (json_int_t)n->cell, "seq_len", (json_int_t)config->training.seq_len, "combine_groups",
            (json_int_t)n->combine_groups, "attention_block", (int)SY_ATTENTION_BLOCK, "ops", ops);
    json_decref(ops);
    if (!recipe)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for the recipe");
    *out = recipe;
    return SY_OK;
}

sy_status sy_ckpt_recipe_hash(const json_t *recipe, char out[SY_CKPT_HASH_CHARS]) {
    char *text = NULL;
    size_t bytes = 0;
    SY_TRY(sy_json_print(recipe, SY_JSON_COMPACT | SY_JSON_SORTED, &text, &bytes));
    sy_xxh128_hex(XXH3_128bits(text, bytes), out);
    free(text);
    return SY_OK;
}

sy_status sy_ckpt_recipe_id(const struct sy_config *config, char out[SY_CKPT_HASH_CHARS]) {
    json_t *recipe = NULL;
    SY_TRY(sy_ckpt_recipe(config, &recipe));
    sy_status status = sy_ckpt_recipe_hash(recipe, out);
    json_decref(recipe);
    return status;
}

sy_status sy_ckpt_recipe_apply(const char *where, const json_t *recipe, struct sy_config *config) {
    static const struct {
        const char *key, *option;
    } numbers[] = {{"lanes", "numerics.lanes"},
                   {"expert_lanes", "numerics.expert_lanes"},
                   {"cell", "numerics.cell"},
                   {"combine_groups", "numerics.combine_groups"},
                   {"seq_len", "training.seq_len"}};
    char text[32];
    const char *class = NULL;
    SY_TRY(sy_json_get_string(where, recipe, "class", &class));
    sy_status status = sy_config_set(config, SY_LAYER_CHECKPOINT, where, "numerics.class", class);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && status == SY_OK; i++) {
        int64_t n = 0;
        SY_TRY(sy_json_get_int(where, recipe, numbers[i].key, 0, INT64_MAX, &n));
        snprintf(text, sizeof text, "%" PRId64, n);
        status = sy_config_set(config, SY_LAYER_CHECKPOINT, where, numbers[i].option, text);
    }
    return status == SY_ERR_USAGE ? SY_ERR_DATA : status;
}

/* A value of a recipe for a message. */
static void show(const json_t *value, char *out, size_t size) {
    if (json_is_string(value))
        snprintf(out, size, "\"%.40s\"", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(out, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else
        snprintf(out, size, "%s", value ? "another" : "none");
}

/* Appends "what was → is" for each key of `now` that differs; objects inside by their keys. */
static size_t name_differences(const json_t *was, const json_t *now, const char *prefix, char *out,
                               size_t size, size_t n) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)now, key, value) {
        json_t *before = json_object_get(was, key);
        char a[64], b[64];
        if (json_equal(before, value) || n >= size)
            continue;
        if (json_is_object(value)) {
            n = name_differences(before, value, "op ", out, size, n);
            continue;
        }
        show(before, a, sizeof a);
        show(value, b, sizeof b);
        n += (size_t)snprintf(out + n, size - n, "%s%s%s %s there, %s now", n ? "; " : "", prefix, key, a, b);
    }
    return n;
}

sy_status sy_ckpt_recipe_check(const struct sy_ckpt *ckpt, const struct sy_config *config) {
    const struct sy_ckpt_info *info = sy_ckpt_info(ckpt);
    char id[SY_CKPT_HASH_CHARS], differences[1024] = "";
    if (!info->has_manifest)
        return SY_OK;
    SY_TRY(sy_ckpt_recipe_id(config, id));
    if (strcmp(id, info->recipe_id) == 0)
        return SY_OK;
    json_t *now = NULL;
    SY_TRY(sy_ckpt_recipe(config, &now));
    name_differences(info->recipe, now, "", differences, sizeof differences, 0);
    json_decref(now);
    SY_FAIL(SY_ERR_USAGE,
            "%s: another recipe (%s): the bits would not be those of the run so far. Take its values, or set "
            "checkpoint.new_recipe = true to go on with the new ones",
            info->path, *differences ? differences : "by an op that this version does not know");
}
