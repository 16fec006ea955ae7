/* JSON over jansson: see json.h.
 *
 * Depth is counted in a first pass over the bytes, outside strings, because jansson's own bound is set at its
 * build. jansson ignores some failed allocations (lex_save), so its allocator, whatever it is, is wrapped in
 * one that notes them.
 */
#include "formats/json.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t sy_json_too_deep(const char *s, size_t bytes, int max_depth) {
    int depth = 0, in_string = 0;
    size_t line = 1;
    for (size_t i = 0; i < bytes; i++) {
        char c = s[i];
        line += c == '\n';
        if (in_string) {
            if (c == '\\')
                i++;
            else
                in_string = c != '"';
        } else {
            in_string = c == '"';
            depth += (c == '{' || c == '[') - (c == '}' || c == ']');
            if (depth > max_depth)
                return line;
        }
    }
    return 0;
}

static json_malloc_t inner_malloc;
static json_free_t inner_free;
static pthread_once_t wrapped = PTHREAD_ONCE_INIT;
static _Thread_local int malloc_failed;

static void *noting_malloc(size_t bytes) {
    void *p = inner_malloc(bytes);
    if (!p)
        malloc_failed = 1;
    return p;
}

static void wrap_allocator(void) {
    json_get_alloc_funcs(&inner_malloc, &inner_free);
    json_set_alloc_funcs(noting_malloc, inner_free);
}

json_t *sy_json_decode(const void *data, size_t bytes, size_t flags, json_error_t *error,
                       int *out_of_memory) {
    pthread_once(&wrapped, wrap_allocator);
    malloc_failed = 0;
    json_t *value = json_loadb(data, bytes, flags, error);
    *out_of_memory = malloc_failed;
    if (value && malloc_failed) {
        json_decref(value);
        value = NULL;
    }
    return value;
}

sy_status sy_json_parse(const char *name, const void *data, size_t bytes, int max_depth, json_t **out) {
    static const char empty[1] = "";
    if (!bytes)
        data = empty;
    if (max_depth <= 0)
        max_depth = SY_JSON_MAX_DEPTH;
    size_t line = sy_json_too_deep(data, bytes, max_depth);
    if (line)
        SY_FAIL(SY_ERR_DATA, "%s:%zu: nested more than %d levels deep", name, line, max_depth);
    json_error_t error;
    int out_of_memory = 0;
    json_t *value = sy_json_decode(data, bytes, JSON_REJECT_DUPLICATES, &error, &out_of_memory);
    if (!value) {
        if (out_of_memory)
            SY_FAIL(SY_ERR_MEMORY, "%s: out of memory for %zu bytes of JSON", name, bytes);
        SY_FAIL(SY_ERR_DATA, "%s:%d: %s", name, error.line > 0 ? error.line : 1, error.text);
    }
    *out = value;
    return SY_OK;
}

static const char *type_name(const json_t *value) {
    static const char *const names[] = {"an object", "an array", "a string", "an integer",
                                        "a real",    "true",     "false",    "null"};
    return value ? names[json_typeof(value)] : "nothing";
}

/* The value under `key`. */
static sy_status get(const char *name, const json_t *object, const char *key, json_t **out) {
    if (!json_is_object(object))
        SY_FAIL(SY_ERR_DATA, "%s: key \"%s\" wanted of %s, not of an object", name, key, type_name(object));
    json_t *value = json_object_get(object, key);
    if (!value)
        SY_FAIL(SY_ERR_DATA, "%s: key \"%s\" is missing", name, key);
    *out = value;
    return SY_OK;
}

static sy_status wrong(const char *name, const char *key, const char *want, const json_t *value) {
    SY_FAIL(SY_ERR_DATA, "%s: key \"%s\" must be %s, is %s", name, key, want, type_name(value));
}

sy_status sy_json_get_int(const char *name, const json_t *object, const char *key, int64_t low, int64_t high,
                          int64_t *out) {
    json_t *value = NULL;
    SY_TRY(get(name, object, key, &value));
    if (!json_is_integer(value))
        return wrong(name, key, "an integer", value);
    int64_t n = json_integer_value(value);
    if (n < low || n > high)
        SY_FAIL(SY_ERR_DATA, "%s: key \"%s\" is %" PRId64 ", must be in %" PRId64 " … %" PRId64, name, key, n,
                low, high);
    *out = n;
    return SY_OK;
}

sy_status sy_json_get_real(const char *name, const json_t *object, const char *key, double low, double high,
                           double *out) {
    json_t *value = NULL;
    SY_TRY(get(name, object, key, &value));
    if (!json_is_number(value))
        return wrong(name, key, "a number", value);
    double x = json_number_value(value);
    if (!(x >= low && x <= high))
        SY_FAIL(SY_ERR_DATA, "%s: key \"%s\" is %.17g, must be in %.17g … %.17g", name, key, x, low, high);
    *out = x;
    return SY_OK;
}

sy_status sy_json_get_string(const char *name, const json_t *object, const char *key, const char **out) {
    json_t *value = NULL;
    SY_TRY(get(name, object, key, &value));
    if (!json_is_string(value))
        return wrong(name, key, "a string", value);
    *out = json_string_value(value);
    return SY_OK;
}

sy_status sy_json_get_object(const char *name, const json_t *object, const char *key, json_t **out) {
    json_t *value = NULL;
    SY_TRY(get(name, object, key, &value));
    if (!json_is_object(value))
        return wrong(name, key, "an object", value);
    *out = value;
    return SY_OK;
}

sy_status sy_json_get_array(const char *name, const json_t *object, const char *key, json_t **out) {
    json_t *value = NULL;
    SY_TRY(get(name, object, key, &value));
    if (!json_is_array(value))
        return wrong(name, key, "an array", value);
    *out = value;
    return SY_OK;
}

int sy_json_has(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return value && !json_is_null(value);
}

char *sy_json_dumps(const json_t *value, size_t flags) {
    pthread_once(&wrapped, wrap_allocator);
    malloc_failed = 0;
    char *text = json_dumps(value, flags);
    if (text && malloc_failed) {
        free(text);
        text = NULL;
    }
    return text;
}

sy_status sy_json_print(const json_t *value, int style, char **text, size_t *bytes) {
    size_t flags = JSON_ENCODE_ANY | JSON_REAL_PRECISION(17);
    flags |= style & SY_JSON_INDENT ? JSON_INDENT(2) : JSON_COMPACT;
    flags |= style & SY_JSON_SORTED ? JSON_SORT_KEYS : 0;
    char *printed = sy_json_dumps(value, flags);
    if (!printed)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for JSON text");
    size_t n = strlen(printed);
    if (style & SY_JSON_INDENT) {
        char *longer = realloc(printed, n + 2);
        if (!longer) {
            free(printed);
            SY_FAIL(SY_ERR_MEMORY, "out of memory for JSON text");
        }
        printed = longer;
        printed[n++] = '\n';
        printed[n] = 0;
    }
    *text = printed;
    *bytes = n;
    return SY_OK;
}

sy_status sy_json_string(const char *name, const char *s, json_t **out) {
    pthread_once(&wrapped, wrap_allocator);
    malloc_failed = 0;
    json_t *value = json_string(s);
    if (!value && malloc_failed)
        SY_FAIL(SY_ERR_MEMORY, "%s: out of memory", name);
    if (!value)
        SY_FAIL(SY_ERR_USAGE, "%s: \"%.200s\" is not valid UTF-8", name, s);
    *out = value;
    return SY_OK;
}
