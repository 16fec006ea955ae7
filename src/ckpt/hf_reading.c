/* Keys of a Hugging Face config.json to ours, and the object "switchyard" of our own files: see hf_reading.h.
 *
 * The object holds all of [model] and [moe]; the keys beside it say the same to other programs. Both are
 * read, and where they differ somebody changed one of them: that is refused, because each reader would take
 * another model.
 */
#include "ckpt/hf_reading.h"

#include <stdio.h>
#include <string.h>

#include "formats/json.h"
#include "model/params.h"

sy_status sy_hf_set(struct sy_hf_reading *r, const char *ours, const char *theirs, const char *text) {
    sy_status status = sy_config_set(r->config, SY_LAYER_CHECKPOINT, r->name, ours, text);
    if (status == SY_ERR_USAGE && theirs) /* a config's error is the file's fault here */
        return sy_fail_context(SY_ERR_DATA, "%s: key \"%s\"", r->name, theirs);
    if (status == SY_OK && theirs && r->n_said < SY_HF_MAX_SAID)
        r->said[r->n_said++] = (struct sy_hf_said){theirs, ours};
    return status == SY_ERR_USAGE ? SY_ERR_DATA : status;
}

sy_status sy_hf_set_real(struct sy_hf_reading *r, const char *ours, const char *theirs, double x) {
    char text[64];
    snprintf(text, sizeof text, "%.17g", x);
    if (!strpbrk(text, ".en"))
        memcpy(text + strlen(text), ".0", 3); /* 64 is room enough for 17 digits */
    return sy_hf_set(r, ours, theirs, text);
}

sy_status sy_hf_set_value(struct sy_hf_reading *r, const char *ours, const char *theirs,
                          const json_t *value) {
    char text[64];
    if (json_is_string(value))
        return sy_hf_set(r, ours, theirs, json_string_value(value));
    if (json_is_real(value))
        return sy_hf_set_real(r, ours, theirs, json_real_value(value));
    if (json_is_integer(value))
        snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_boolean(value))
        snprintf(text, sizeof text, "%s", json_is_true(value) ? "true" : "false");
    else
        SY_FAIL(SY_ERR_DATA, "%s: key \"%s\" is no number, string or boolean", r->name,
                theirs ? theirs : ours);
    return sy_hf_set(r, ours, theirs, text);
}

/* ---- our own object ---- */

static sy_status read_object(struct sy_hf_reading *r, const json_t *own) {
    static const char *const sections[] = {"model", "moe"};
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        json_t *section = NULL, *value;
        const char *key;
        SY_TRY(sy_json_get_object(r->name, own, sections[i], &section));
        json_object_foreach(section, key, value) {
            char full[160];
            if (strcmp(key, "flavor") == 0)
                continue; /* a name of what all the other keys say; another version may not know it */
            snprintf(full, sizeof full, "%s.%.120s", sections[i], key);
            SY_TRY(sy_hf_set_value(r, full, NULL, value));
        }
    }
    return SY_OK;
}

static sy_status finish(struct sy_config *config) {
    sy_status status = sy_config_finish(config, false);
    return status == SY_ERR_USAGE ? SY_ERR_DATA : status;
}

static sy_status same_class(const struct sy_hf_reading *r, const struct sy_config *own) {
    int family = sy_model_family(&own->model, &own->moe);
    const char *stated = json_string_value(json_array_get(json_object_get(r->root, "architectures"), 0));
    const char *ours = sy_hf_architecture(family, NULL), *general = sy_hf_architecture(SY_FAMILY_NONE, NULL);
    if (stated && strcmp(stated, ours) != 0 && strcmp(stated, general) != 0)
        SY_FAIL(SY_ERR_DATA,
                "%s: architectures says %.80s, the object \"switchyard\" is a model of %s: change both or "
                "neither",
                r->name, stated, ours);
    return SY_OK;
}

/* `both` has the object and over it what the other keys say; `own` the object alone. */
static sy_status same_values(const struct sy_hf_reading *both, struct sy_config *own) {
    for (int i = 0; i < both->n_said; i++) {
        const struct sy_hf_said *said = &both->said[i];
        const char *a = NULL, *b = NULL;
        SY_TRY(sy_config_get(own, said->ours, &a));
        SY_TRY(sy_config_get(both->config, said->ours, &b));
        if (strcmp(a, b) != 0)
            SY_FAIL(
                SY_ERR_DATA,
                "%s: key \"%s\"%s says %s = %s, the object \"switchyard\" says %s: change both or neither",
                both->name, said->theirs,
                json_object_get(both->root, said->theirs) ? "" : " (missing or inside another)", said->ours,
                b, a);
    }
    return SY_OK;
}

static sy_status compare(struct sy_hf_reading *own, struct sy_hf_reading *both, const json_t *object) {
    SY_TRY(read_object(own, object));
    SY_TRY(read_object(both, object));
    SY_TRY(finish(own->config));
    SY_TRY(same_class(own, own->config));
    SY_TRY(sy_hf_theirs_apply(both, 0));
    SY_TRY(finish(both->config));
    return same_values(both, own->config);
}

static sy_status check_same(const struct sy_hf_reading *r, const json_t *object) {
    struct sy_hf_reading own = {.name = r->name, .root = r->root}, both = own;
    sy_status status = sy_config_create(&own.config);
    if (status == SY_OK)
        status = sy_config_create(&both.config);
    if (status == SY_OK)
        status = compare(&own, &both, object);
    sy_config_destroy(own.config);
    sy_config_destroy(both.config);
    return status;
}

sy_status sy_hf_own_apply(struct sy_hf_reading *r, const json_t *own) {
    SY_TRY(check_same(r, own));
    return read_object(r, own);
}
