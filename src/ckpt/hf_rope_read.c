/* Rotary embedding in a Hugging Face config.json: see hf_reading.h. As transformers' modeling_rope_utils
 * reads it:
 *
 *     rope_scaling before rope_parameters; rope_theta inside before outside; rope_type before type
 *     yarn: cosines and sines times attention_factor, or if none is stated m(mscale)/m(mscale_all_dim)
 *     where both are non-zero, else m(1), m(x) = 0.1 x ln(factor) + 1; DeepSeek's softmax scale times
 *     m(mscale_all_dim)^2 if it is non-zero
 */
#include "ckpt/hf_reading.h"

#include <string.h>

#include "base/fmath.h"
#include "formats/json.h"

static double temperature(double factor, double mscale) {
    return factor <= 1 ? 1.0 : 0.1 * mscale * sy_log_f64(factor) + 1.0;
}

double sy_hf_attention_factor(double factor, double mscale, double mscale_all_dim) {
    if (mscale != 0 && mscale_all_dim != 0)
        return temperature(factor, mscale) / temperature(factor, mscale_all_dim);
    return temperature(factor, 1.0);
}

/* A key without effect, a missing one and null are alike. */
static const json_t *given(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static sy_status check_keys(const struct sy_hf_reading *r, const json_t *rope, const char *where, int yarn) {
    static const char *const every[] = {"rope_type", "type", "rope_theta", "partial_rotary_factor"};
    static const char *const of_yarn[] = {"factor",           "original_max_position_embeddings",
                                          "attention_factor", "beta_fast",
                                          "beta_slow",        "mscale",
                                          "mscale_all_dim",   "truncate"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)rope, key, value) {
        int known = 0;
        for (size_t i = 0; i < sizeof every / sizeof *every; i++)
            known |= strcmp(key, every[i]) == 0;
        for (size_t i = 0; yarn && i < sizeof of_yarn / sizeof *of_yarn; i++)
            known |= strcmp(key, of_yarn[i]) == 0;
        if (!known)
            SY_FAIL(SY_ERR_DATA, "%s: key \"%.80s\" in %s of rope_type \"%s\" is not supported", r->name, key,
                    where, yarn ? "yarn" : "default");
    }
    return SY_OK;
}

static sy_status check_partial(const struct sy_hf_reading *r, const json_t *object) {
    const json_t *value = given(object, "partial_rotary_factor");
    if (value && (!json_is_number(value) || json_number_value(value) != 1))
        SY_FAIL(SY_ERR_DATA, "%s: partial_rotary_factor = %g is not supported, only 1 is", r->name,
                json_number_value(value));
    return SY_OK;
}

/* A key of yarn as a real; `absent` where it is missing or null. */
static sy_status real_of(const struct sy_hf_reading *r, const json_t *rope, const char *key, double absent,
                         double *out) {
    *out = absent;
    return given(rope, key) ? sy_json_get_real(r->name, rope, key, 0, 1e6, out) : SY_OK;
}

static sy_status apply_original_length(struct sy_hf_reading *r, const json_t *rope) {
    static const char key[] = "original_max_position_embeddings";
    const json_t *outside = given(r->root, key), *inside = given(rope, key),
                 *length = given(r->root, "max_position_embeddings");
    if (outside && inside && !json_equal(outside, inside))
        SY_FAIL(SY_ERR_DATA, "%s: %s outside and inside of the rope's keys differ: leave one out", r->name,
                key);
    if (outside || inside)
        return sy_hf_set_value(r, "model.original_seq_len", key, outside ? outside : inside);
    if (!length)
        SY_FAIL(SY_ERR_DATA, "%s: key \"%s\" is missing, and so is max_position_embeddings", r->name, key);
    return sy_hf_set_value(r, "model.original_seq_len", "max_position_embeddings", length);
}

static sy_status apply_betas(struct sy_hf_reading *r, const json_t *rope) {
    double fast, slow;
    SY_TRY(real_of(r, rope, "beta_fast", 0, &fast));
    SY_TRY(real_of(r, rope, "beta_slow", 0, &slow));
    SY_TRY(sy_hf_set_real(r, "model.beta_fast", "beta_fast",
                          fast != 0 ? fast : 32)); /* 0 is read as missing there */
    return sy_hf_set_real(r, "model.beta_slow", "beta_slow", slow != 0 ? slow : 1);
}

static sy_status apply_yarn(struct sy_hf_reading *r, const json_t *rope, int is_mla) {
    double factor = 0, mscale, all, attention;
    const json_t *truncate = json_object_get(rope, "truncate");
    SY_TRY(sy_json_get_real(r->name, rope, "factor", 1, 1e6, &factor));
    SY_TRY(real_of(r, rope, "mscale", 0, &mscale));
    SY_TRY(real_of(r, rope, "mscale_all_dim", 0, &all));
    SY_TRY(real_of(r, rope, "attention_factor", sy_hf_attention_factor(factor, mscale, all), &attention));
    if (truncate && !json_is_boolean(truncate))
        SY_FAIL(SY_ERR_DATA, "%s: key \"truncate\": true or false is needed", r->name);
    SY_TRY(sy_hf_set_real(r, "model.rope_factor", "factor", factor));
    SY_TRY(apply_original_length(r, rope));
    SY_TRY(apply_betas(r, rope));
    if (is_mla)
        SY_TRY(sy_hf_set_real(r, "model.mscale", "mscale_all_dim", all));
    SY_TRY(sy_hf_set(r, "model.yarn_truncate", "truncate", json_is_false(truncate) ? "false" : "true"));
    return sy_hf_set_real(r, "model.rope_attention_factor", "attention_factor", attention);
}

/* The object that counts, or NULL; *where is its key. */
static sy_status find_rope(const struct sy_hf_reading *r, const json_t **rope, const char **where) {
    const json_t *scaling = given(r->root, "rope_scaling"), *parameters = given(r->root, "rope_parameters");
    int legacy = json_object_size(scaling) > 0;
    *where = legacy ? "rope_scaling" : "rope_parameters";
    *rope = legacy ? scaling : parameters;
    if (scaling && !json_is_object(scaling))
        SY_FAIL(SY_ERR_DATA, "%s: key \"rope_scaling\": an object or null is needed", r->name);
    if (parameters && !json_is_object(parameters))
        SY_FAIL(SY_ERR_DATA, "%s: key \"rope_parameters\": an object or null is needed", r->name);
    return SY_OK;
}

sy_status sy_hf_rope_apply(struct sy_hf_reading *r, const char *theta, int is_mla) {
    const json_t *rope, *value;
    const char *where;
    SY_TRY(find_rope(r, &rope, &where));
    value = json_object_get(rope, "rope_theta") ? given(rope, "rope_theta")
                                                : json_object_get(r->root, "rope_theta");
    if (value)
        SY_TRY(sy_hf_set_value(r, "model.rope_theta", "rope_theta", value));
    else
        SY_TRY(sy_hf_set(r, "model.rope_theta", "rope_theta", theta));
    SY_TRY(check_partial(r, r->root));
    SY_TRY(check_partial(r, rope));
    value = given(rope, "rope_type") ? given(rope, "rope_type") : given(rope, "type");
    const char *type = value ? json_string_value(value) : "default";
    int yarn = type && strcmp(type, "yarn") == 0;
    if (!type || (!yarn && strcmp(type, "default") != 0))
        SY_FAIL(SY_ERR_DATA, "%s: %s has rope_type \"%.40s\", only \"default\" and \"yarn\" are supported",
                r->name, where, type ? type : "?");
    SY_TRY(check_keys(r, rope, where, yarn));
    if (yarn)
        return apply_yarn(r, rope, is_mla);
    SY_TRY(sy_hf_set(r, "model.rope_factor", "rope_type", "1.0"));
    return sy_hf_set(r, "model.rope_attention_factor", "rope_type", "1.0");
}
