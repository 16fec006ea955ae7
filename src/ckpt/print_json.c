/* JSON text of a checkpoint's files: two spaces, one value a line, reals as short as they can be and still
 * read back the same.
 *
 * Own code and not jansson's, because the bytes of a checkpoint may not depend on the version of a library.
 */
#include "ckpt/internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "formats/json.h"
#include "formats/toml.h"

enum { MAX_DEPTH = SY_JSON_MAX_DEPTH };

static sy_status put(struct sy_text *p, const char *s, size_t n) {
    if (!sy_text_add(p, s, n))
        SY_FAIL(SY_ERR_MEMORY, "out of memory for %zu bytes of JSON", p->n + n);
    return SY_OK;
}

static sy_status put_line(struct sy_text *p, int depth) {
    SY_TRY(put(p, "\n", 1));
    for (int i = 0; i < depth; i++)
        SY_TRY(put(p, "  ", 2));
    return SY_OK;
}

static sy_status put_scalar(struct sy_text *p, const json_t *value) {
    char real[SY_TOML_REAL_BYTES];
    if (json_is_real(value)) {
        sy_toml_real_print(json_real_value(value), real);
        return put(p, real, strlen(real));
    }
    char *text = sy_json_dumps(value, JSON_ENCODE_ANY);
    if (!text)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for JSON text");
    sy_status status = put(p, text, strlen(text));
    free(text);
    return status;
}

static sy_status put_key(struct sy_text *p, const char *key) {
    json_t *value = json_string(key);
    if (!value)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for JSON text");
    sy_status status = put_scalar(p, value);
    json_decref(value);
    SY_TRY(status);
    return put(p, ": ", 2);
}

static sy_status put_value(struct sy_text *p, const json_t *value, int depth);

static sy_status put_object(struct sy_text *p, const json_t *object, int depth) {
    const char *key;
    json_t *value;
    int n = 0;
    SY_TRY(put(p, "{", 1));
    json_object_foreach((json_t *)object, key, value) {
        if (n++)
            SY_TRY(put(p, ",", 1));
        SY_TRY(put_line(p, depth + 1));
        SY_TRY(put_key(p, key));
        SY_TRY(put_value(p, value, depth + 1));
    }
    if (n)
        SY_TRY(put_line(p, depth));
    return put(p, "}", 1);
}

static sy_status put_array(struct sy_text *p, const json_t *array, int depth) {
    size_t n = json_array_size(array);
    SY_TRY(put(p, "[", 1));
    for (size_t i = 0; i < n; i++) {
        if (i)
            SY_TRY(put(p, ",", 1));
        SY_TRY(put_line(p, depth + 1));
        SY_TRY(put_value(p, json_array_get(array, i), depth + 1));
    }
    if (n)
        SY_TRY(put_line(p, depth));
    return put(p, "]", 1);
}

static sy_status put_value(struct sy_text *p, const json_t *value, int depth) {
    if (depth > MAX_DEPTH)
        SY_FAIL(SY_ERR_USAGE, "JSON nested more than %d levels deep", (int)MAX_DEPTH);
    if (json_is_object(value))
        return put_object(p, value, depth);
    return json_is_array(value) ? put_array(p, value, depth) : put_scalar(p, value);
}

sy_status sy_ckpt_print_json(const json_t *value, char **text, size_t *bytes) {
    struct sy_text p = {0};
    sy_status status = put_value(&p, value, 0);
    if (status == SY_OK)
        status = put(&p, "\n", 1);
    if (status != SY_OK) {
        free(p.s);
        return status;
    }
    *text = p.s;
    *bytes = p.n;
    return SY_OK;
}
