/* What a checkpoint has of a run's data: see mixture.h. */
#include <inttypes.h>
#include <stdlib.h>

#include "data/mixture.h"
#include "formats/json.h"

sy_status sy_mixture_fingerprint(const struct sy_mixture *m, const char *tokenizer, json_t **out) {
    if (m->n == 1)
        return sy_documents_fingerprint(m->of[0].documents, tokenizer, out);
    json_t *sources = json_array();
    sy_status status = sources ? SY_OK : SY_ERR_MEMORY;
    for (int i = 0; i < m->n && status == SY_OK; i++) {
        json_t *data = NULL, *entry = json_object();
        status = sy_documents_fingerprint(m->of[i].documents, tokenizer, &data);
        int ok = entry && data && json_object_set(entry, "data", data) == 0 &&
                 json_object_set_new(entry, "weight", json_integer((json_int_t)m->of[i].weight)) == 0 &&
                 json_array_append(sources, entry) == 0;
        json_decref(data);
        json_decref(entry);
        status = ok ? status : SY_ERR_MEMORY;
    }
    json_t *value = json_object();
    if (status != SY_OK || !value || json_object_set(value, "sources", sources) != 0) {
        json_decref(value);
        value = NULL;
    }
    json_decref(sources);
    if (!value)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for the fingerprint of %d sources", m->n);
    *out = value;
    return SY_OK;
}

static sy_status check_source(const struct sy_mixture *m, int i, const char *tokenizer, const char *name,
                              const json_t *entry) {
    int64_t weight;
    json_t *data;
    SY_TRY(sy_json_get_int(name, entry, "weight", 1, INT64_MAX, &weight));
    SY_TRY(sy_json_get_object(name, entry, "data", &data));
    if (weight != m->of[i].weight)
        SY_FAIL(SY_ERR_DATA,
                "%s: source %d of data.sources had the weight %" PRId64
                " when the run began, now it is %" PRId64,
                name, i, weight, m->of[i].weight);
    return sy_documents_check(m->of[i].documents, tokenizer, name, data);
}

sy_status sy_mixture_check(const struct sy_mixture *m, const char *tokenizer, const char *name,
                           const json_t *fingerprint) {
    json_t *sources = NULL;
    int has_sources = sy_json_has(fingerprint, "sources");
    if (m->n == 1 && !has_sources)
        return sy_documents_check(m->of[0].documents, tokenizer, name, fingerprint);
    if (has_sources)
        SY_TRY(sy_json_get_array(name, fingerprint, "sources", &sources));
    if (!has_sources || json_array_size(sources) != (size_t)m->n)
        SY_FAIL(SY_ERR_DATA, "%s: the run began with %zu sources (data.sources), now there are %d", name,
                has_sources ? json_array_size(sources) : 1, m->n);
    for (int i = 0; i < m->n; i++)
        SY_TRY(check_source(m, i, tokenizer, name, json_array_get(sources, (size_t)i)));
    return SY_OK;
}

json_t *sy_mixture_place_json(const struct sy_mixture *m, const struct sy_mixture_place *p) {
    if (m->n == 1)
        return NULL;
    json_t *tokens = json_array(), *value = json_object();
    int ok = tokens && value;
    for (int i = 0; i < m->n && ok; i++)
        ok = json_array_append_new(tokens, json_integer((json_int_t)p->tokens[i])) == 0;
    ok = ok && json_object_set_new(value, "from", json_integer((json_int_t)p->from)) == 0 &&
         json_object_set(value, "tokens", tokens) == 0;
    json_decref(tokens);
    if (ok)
        return value;
    json_decref(value);
    return NULL;
}

sy_status sy_mixture_place_read(const struct sy_mixture *m, const char *name, const json_t *json, int64_t at,
                                struct sy_mixture_place *p) {
    json_t *tokens;
    int64_t sum = 0;
    *p = (struct sy_mixture_place){0};
    if (m->n == 1)
        return SY_OK;
    SY_TRY(sy_json_get_int(name, json, "from", 0, at, &p->from));
    SY_TRY(sy_json_get_array(name, json, "tokens", &tokens));
    int ok = json_array_size(tokens) == (size_t)m->n;
    for (int i = 0; i < m->n && ok; i++) {
        json_t *n = json_array_get(tokens, (size_t)i);
        p->tokens[i] = json_is_integer(n) ? json_integer_value(n) : -1;
        ok = p->tokens[i] >= 0 && p->tokens[i] <= p->from - sum;
        sum += ok ? p->tokens[i] : 0;
    }
    if (!ok || sum != p->from)
        SY_FAIL(SY_ERR_DATA,
                "%s: trainer.sources: the tokens of %zu sources are not those of %d that add up to from = "
                "%" PRId64,
                name, json_array_size(tokens), m->n, p->from);
    return SY_OK;
}
