/* How a prompt goes on: see continuation.h. */
#include "commands/continuation.h"

#include <stdlib.h>
#include <string.h>

#include "base/fmath.h"
#include "base/utf8.h"
#include "formats/json.h"
#include "train/io.h"

enum ending { LENGTH, AT_EOS, AT_STOP, INTERRUPTED, FAILED };
static const char *const ending_name[] = {"length", "eos", "stop", "interrupted"};

struct sy_continuation {
    struct sy_continuation_options o;
    const struct sy_text *prompt;
    struct sy_tokens tokens; /* the prompt's, then what was sampled */
    size_t n_prompt;
    struct sy_text text; /* what was sampled */
    size_t settled;      /* bytes of it that no stop can change; that were handed out */
    size_t written;
    int is_shown, has_ended;
    enum ending ending;
    int32_t bad; /* FAILED: the token whose logit is not finite; SY_TOKEN_NONE: no memory */
    struct sy_candidate *candidates;
    int32_t *may_come; /* [n] */
    int64_t n;
};

/* --- what may come -------------------------------------------------------------------------------------- */

/* A token that has a meaning, but not BOS or PAD where these are not EOS, too. */
static int may_come(const struct sy_tokenizer *t, int32_t id) {
    return sy_tokenizer_has(t, id) &&
           (id == sy_tokenizer_eos(t) || (id != sy_tokenizer_bos(t) && id != sy_tokenizer_pad(t)));
}

sy_status sy_prompt_tokens(const struct sy_tokenizer *t, const struct sy_text *prompt,
                           struct sy_tokens *out) {
    int32_t bos = sy_tokenizer_bos(t);
    if (bos != SY_TOKEN_NONE)
        sy_tokens_add(out, &bos, 1);
    SY_TRY(sy_tokenizer_encode(t, prompt->s, prompt->n, out));
    if (out->n == 0)
        SY_FAIL(SY_ERR_USAGE, "--prompt: the tokenizer has no token that begins a text: give a prompt");
    return SY_OK;
}

static sy_status begin(struct sy_continuation *w) {
    const struct sy_tokenizer *t = w->o.tokenizer;
    int32_t n_ids = sy_tokenizer_n_ids(t);
    SY_TRY(sy_prompt_tokens(t, w->prompt, &w->tokens));
    w->n_prompt = w->tokens.n;
    w->may_come = calloc((size_t)n_ids, sizeof *w->may_come);
    w->candidates = calloc((size_t)n_ids, sizeof *w->candidates);
    if (!w->may_come || !w->candidates)
        SY_FAIL(SY_ERR_MEMORY, "no memory for sampling");
    for (int32_t id = 0; id < n_ids; id++)
        if (may_come(t, id))
            w->may_come[w->n++] = id;
    w->has_ended = w->o.how.max_tokens == 0;
    return SY_OK;
}

sy_status sy_continuation_create(const struct sy_continuation_options *o, const struct sy_text *prompt,
                                 struct sy_continuation **out) {
    struct sy_continuation *w = calloc(1, sizeof *w);
    if (!w)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a text");
    w->o = *o;
    w->prompt = prompt;
    w->bad = SY_TOKEN_NONE;
    sy_status status = begin(w);
    if (status != SY_OK) {
        sy_continuation_destroy(w);
        return status;
    }
    *out = w;
    return SY_OK;
}

void sy_continuation_destroy(struct sy_continuation *w) {
    if (!w)
        return;
    free(w->tokens.id);
    free(w->text.s);
    free(w->may_come);
    free(w->candidates);
    free(w);
}

const int32_t *sy_continuation_ids(const struct sy_continuation *w, int64_t *n) {
    *n = (int64_t)w->tokens.n;
    return w->has_ended ? NULL : w->tokens.id;
}

static void end(struct sy_continuation *w, enum ending ending) {
    w->ending = ending;
    w->has_ended = 1;
}

/* The next token, or SY_TOKEN_NONE and `bad`. */
static int32_t next_token(struct sy_continuation *w, const float *logits) {
    for (int32_t id = 0; id < sy_tokenizer_n_ids(w->o.tokenizer); id++)
        if (!sy_f32_finite(logits[id])) {
            w->bad = id;
            return SY_TOKEN_NONE;
        }
    for (int64_t i = 0; i < w->n; i++)
        w->candidates[i] = (struct sy_candidate){w->may_come[i], (double)logits[w->may_come[i]]};
    return sy_sampling_choose(&w->o.how, (int64_t)(w->tokens.n - w->n_prompt), w->n, w->candidates);
}

/* --- stops ---------------------------------------------------------------------------------------------- */

/* The first stop in the text, from byte `from` on; the text's length if there is none. */
static size_t find_stop(const struct sy_continuation *w, size_t from) {
    const struct sy_text *t = &w->text;
    for (size_t at = from; at < t->n; at++)
        for (int i = 0; i < w->o.n_stops; i++) {
            size_t n = strlen(w->o.stops[i]);
            if (n <= t->n - at && memcmp(t->s + at, w->o.stops[i], n) == 0)
                return at;
        }
    return t->n;
}

/* Where the longest end of the text begins that a stop begins with. */
static size_t settled(const struct sy_continuation *w) {
    const struct sy_text *t = &w->text;
    for (size_t at = w->settled; at < t->n; at++)
        for (int i = 0; i < w->o.n_stops; i++)
            if (t->n - at < strlen(w->o.stops[i]) && memcmp(t->s + at, w->o.stops[i], t->n - at) == 0)
                return at;
    return t->n;
}

/* --- the text ------------------------------------------------------------------------------------------- */

static void hand_out(struct sy_continuation *w, size_t end) {
    if (!w->is_shown)
        return;
    if (!w->o.json && end > w->written)
        sy_io_write(w->o.io, w->text.s + w->written, end - w->written);
    w->written = end;
}

/* Its bytes to the text; those that no stop can change are settled, and handed out. A stop begins behind
 * these. */
static sy_status add_token(struct sy_continuation *w, int32_t id) {
    int is_first = w->prompt->n == 0 && w->tokens.n == w->n_prompt;
    SY_TRY(sy_tokenizer_decode(w->o.tokenizer, &id, 1, is_first ? SY_DECODE_START : 0, &w->text));
    sy_tokens_add(&w->tokens, &id, 1);
    if (w->tokens.failed)
        SY_FAIL(SY_ERR_MEMORY, "no memory for %zu tokens", w->tokens.n + 1);
    size_t stop = find_stop(w, w->settled);
    if (stop < w->text.n) {
        w->text.n = stop;
        end(w, AT_STOP);
    }
    w->settled = w->ending == AT_STOP ? stop : settled(w);
    hand_out(w, w->settled);
    return SY_OK;
}

void sy_continuation_add(struct sy_continuation *w, const float *logits) {
    int32_t id = next_token(w, logits);
    if (id == SY_TOKEN_NONE)
        end(w, FAILED);
    else if (id == sy_tokenizer_eos(w->o.tokenizer))
        end(w, AT_EOS);
    else if (add_token(w, id) != SY_OK)
        end(w, FAILED);
    else if (!w->has_ended && (int64_t)(w->tokens.n - w->n_prompt) == w->o.how.max_tokens)
        end(w, LENGTH);
}

void sy_continuation_stop(struct sy_continuation *w) {
    if (!w->has_ended)
        end(w, INTERRUPTED);
}

void sy_continuation_show(struct sy_continuation *w) {
    w->is_shown = 1;
    if (!w->o.json && w->prompt->n)
        sy_io_write(w->o.io, w->prompt->s, w->prompt->n);
    hand_out(w, w->settled);
}

/* --- as an object --------------------------------------------------------------------------------------- */

static json_t *clean_string(const struct sy_text *t) {
    char *clean = malloc(3 * t->n + 1);
    json_t *out = NULL;
    if (clean)
        out = json_stringn(clean, t->n ? sy_utf8_clean(t->s, t->n, clean) : 0);
    free(clean);
    return out;
}

static json_t *sampled_ids(const struct sy_continuation *w) {
    json_t *ids = json_array();
    int failed = 0;
    for (size_t i = w->n_prompt; ids && i < w->tokens.n; i++)
        failed |= json_array_append_new(ids, json_integer(w->tokens.id[i]));
    if (failed)
        json_decref(ids);
    return failed ? NULL : ids;
}

static sy_status print(const struct sy_continuation *w) {
    json_t *o = json_object();
    char *line = NULL;
    size_t n;
    int failed = json_object_set_new(o, "prompt", clean_string(w->prompt));
    failed |= json_object_set_new(o, "number", json_integer(w->o.number));
    failed |= json_object_set_new(o, "sample", json_integer((json_int_t)w->o.how.sample));
    failed |= json_object_set_new(o, "prompt_tokens", json_integer((json_int_t)w->n_prompt));
    failed |= json_object_set_new(o, "text", clean_string(&w->text));
    failed |= json_object_set_new(o, "tokens", sampled_ids(w));
    failed |= json_object_set_new(o, "end", json_string(ending_name[w->ending]));
    sy_status status = failed ? sy_fail(SY_ERR_MEMORY, "no memory for a text as JSON")
                              : sy_json_print(o, SY_JSON_COMPACT, &line, &n);
    json_decref(o);
    if (status == SY_OK) {
        sy_io_write(w->o.io, line, n);
        sy_io_write(w->o.io, "\n", 1);
    }
    free(line);
    return status;
}

sy_status sy_continuation_finish(struct sy_continuation *w, int64_t *n_sampled) {
    *n_sampled += (int64_t)(w->tokens.n - w->n_prompt);
    if (w->ending == FAILED && w->bad == SY_TOKEN_NONE)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a text of %zu tokens", w->tokens.n);
    if (w->ending != FAILED)
        hand_out(w, w->text.n);
    if (!w->o.json)
        sy_io_write(w->o.io, "\n", 1);
    if (w->ending == FAILED)
        SY_FAIL(SY_ERR_NONFINITE, "the model's logit of token %d is not finite", w->bad);
    if (w->o.json)
        SY_TRY(print(w));
    return w->ending == INTERRUPTED ? SY_STOPPED : SY_OK;
}
