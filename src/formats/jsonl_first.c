/* What the first lines have in common: see jsonl_first.h. */
#include "formats/jsonl_first.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Its place in key[]; -1 when there is no room. */
static int place_of(struct sy_jsonl_first *first, const char *key) {
    for (int i = 0; i < first->n_keys; i++)
        if (strcmp(first->key[i], key) == 0)
            return i;
    if (first->n_keys == SY_JSONL_FIRST_KEYS || strlen(key) >= SY_JSONL_KEY_BYTES)
        return -1;
    strcpy(first->key[first->n_keys], key);
    return first->n_keys++;
}

static void note_keys(struct sy_jsonl_first *first, const json_t *object) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        int place = place_of(first, key);
        if (place < 0 || !json_is_string(value) || json_string_length(value) <= first->longest_bytes)
            continue;
        first->longest = place;
        first->longest_bytes = json_string_length(value);
    }
}

void sy_jsonl_first_note(struct sy_jsonl_first *first, int64_t number, const char *line, size_t n,
                         const json_t *value, const char *why) {
    if (first->n++ == 0) {
        first->line = number;
        first->longest = -1;
        snprintf(first->why, sizeof first->why, "%s", why);
        for (size_t i = 0; i < n && !first->opening; i++)
            if (line[i] != ' ' && line[i] != '\t')
                first->opening = line[i];
    }
    if (!json_is_object(value))
        return;
    first->n_objects++;
    note_keys(first, value);
}

static const char *lines_text(const struct sy_jsonl_first *first, char text[32]) {
    snprintf(text, 32, first->n == 1 ? "its one line" : "the first %d lines", first->n);
    return text;
}

static sy_status refuse_key(const struct sy_jsonl_first *first, const char *name, const char *text_key) {
    char keys[SY_JSONL_FIRST_KEYS * (SY_JSONL_KEY_BYTES + 4)] = "", advice[2 * SY_JSONL_KEY_BYTES + 100];
    char lines[32];
    size_t at = 0;
    for (int i = 0; i < first->n_keys; i++)
        at += (size_t)snprintf(keys + at, sizeof keys - at, "%s\"%s\"", i ? ", " : "", first->key[i]);
    if (first->longest >= 0)
        snprintf(advice, sizeof advice, "if the text is in \"%s\": --data.text_key=%s",
                 first->key[first->longest], first->key[first->longest]);
    else
        snprintf(advice, sizeof advice, "none of them holds a string: a line needs its text as one string");
    SY_FAIL(SY_ERR_DATA, "%s: no text under \"%s\" (data.text_key) in %s; keys there: %s; %s", name, text_key,
            lines_text(first, lines), first->n_keys ? keys : "none", advice);
}

sy_status sy_jsonl_first_refuse(const struct sy_jsonl_first *first, const char *name, const char *text_key) {
    if (2 * first->n_objects >= first->n)
        return refuse_key(first, name, text_key);
    if (first->opening == '[')
        SY_FAIL(SY_ERR_DATA,
                "%s: not JSON Lines but a JSON array (data.format): jq -c '.[]' FILE > NEW.jsonl makes "
                "it one object a line",
                name);
    char lines[32];
    if (first->opening == '{' && first->n == 1)
        SY_FAIL(SY_ERR_DATA,
                "%s:%" PRId64 ": %s; this is the file's one line: mend it, or leave the file out", name,
                first->line, first->why);
    if (first->opening == '{')
        SY_FAIL(SY_ERR_DATA,
                "%s:%" PRId64 ": %s; no JSON object in %s, so this is one JSON value over several lines "
                "and not JSON Lines "
                "(data.format): jq -c . FILE > NEW.jsonl makes it one object a line",
                name, first->line, first->why, lines_text(first, lines));
    SY_FAIL(SY_ERR_DATA,
            "%s:%" PRId64 ": %s; no JSON object in %s: if this is plain text: --data.format=text", name,
            first->line, first->why, lines_text(first, lines));
}
