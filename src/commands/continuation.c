/* How a prompt goes on: see continuation.h. */
#include "commands/continuation.h"

#include <stdlib.h>
#include <string.h>

#include "base/fmath.h"
#include "base/utf8.h"
#include "formats/json.h"
#include "train/io.h"

enum ending { LENGTH, AT_EOS, AT_STOP, INTERRUPTED };
static const char *const ending_name[] = {"length", "eos", "stop", "interrupted"};

struct writing {
    const struct sy_continuation_options *o;
    struct sy_tokens tokens; /* the prompt's, then what was sampled */
    size_t n_prompt;
    struct sy_text text; /* what was sampled */
    size_t written;      /* bytes of it that were handed out */
    enum ending ending;
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

static sy_status begin(struct writing *w, const struct sy_text *prompt) {
    const struct sy_tokenizer *t = w->o->tokenizer;
    int32_t bos = sy_tokenizer_bos(t), n_ids = sy_tokenizer_n_ids(t);
    if (bos != SY_TOKEN_NONE)
        sy_tokens_add(&w->tokens, &bos, 1);
    SY_TRY(sy_tokenizer_encode(t, prompt->s, prompt->n, &w->tokens));
    w->n_prompt = w->tokens.n;
    if (w->n_prompt == 0)
        SY_FAIL(SY_ERR_USAGE, "--prompt: the tokenizer has no token that begins a text: give a prompt");
    w->may_come = calloc((size_t)n_ids, sizeof *w->may_come);
    w->candidates = calloc((size_t)n_ids, sizeof *w->candidates);
    if (!w->may_come || !w->candidates)
        SY_FAIL(SY_ERR_MEMORY, "no memory for sampling");
    for (int32_t id = 0; id < n_ids; id++)
        if (may_come(t, id))
            w->may_come[w->n++] = id;
    return SY_OK;
}

static sy_status next_token(struct writing *w, int64_t index, int32_t *out) {
    const float *logits;
    SY_TRY(sy_context_logits(w->o->model, w->tokens.id, (int64_t)w->tokens.n, &logits));
    for (int32_t id = 0; id < sy_tokenizer_n_ids(w->o->tokenizer); id++)
        if (!sy_f32_finite(logits[id]))
            SY_FAIL(SY_ERR_NONFINITE, "the model's logit of token %d is not finite", id);
    for (int64_t i = 0; i < w->n; i++)
        w->candidates[i] = (struct sy_candidate){w->may_come[i], (double)logits[w->may_come[i]]};
    *out = sy_sampling_choose(&w->o->how, index, w->n, w->candidates);
    return SY_OK;
}

/* --- stops ---------------------------------------------------------------------------------------------- */

/* The first stop in the text, from byte `from` on; the text's length if there is none. */
static size_t find_stop(const struct writing *w, size_t from) {
    const struct sy_text *t = &w->text;
    for (size_t at = from; at < t->n; at++)
        for (int i = 0; i < w->o->n_stops; i++) {
            size_t n = strlen(w->o->stops[i]);
            if (n <= t->n - at && memcmp(t->s + at, w->o->stops[i], n) == 0)
                return at;
        }
    return t->n;
}

/* Where the longest end of the text begins that a stop begins with. */
static size_t settled(const struct writing *w) {
    const struct sy_text *t = &w->text;
    for (size_t at = w->written; at < t->n; at++)
        for (int i = 0; i < w->o->n_stops; i++)
            if (t->n - at < strlen(w->o->stops[i]) && memcmp(t->s + at, w->o->stops[i], t->n - at) == 0)
                return at;
    return t->n;
}

/* --- the text ------------------------------------------------------------------------------------------- */

static void hand_out(struct writing *w, size_t end) {
    const struct sy_io *io = w->o->io;
    if (!w->o->json && end > w->written)
        sy_io_write(io, w->text.s + w->written, end - w->written);
    w->written = end;
}

/* Its bytes to the text; those that no stop can change are handed out. A stop begins behind these. */
static sy_status add_token(struct writing *w, int32_t id, const struct sy_text *prompt) {
    int is_first = prompt->n == 0 && w->tokens.n == w->n_prompt;
    SY_TRY(sy_tokenizer_decode(w->o->tokenizer, &id, 1, is_first ? SY_DECODE_START : 0, &w->text));
    sy_tokens_add(&w->tokens, &id, 1);
    if (w->tokens.failed)
        SY_FAIL(SY_ERR_MEMORY, "no memory for %zu tokens", w->tokens.n + 1);
    size_t stop = find_stop(w, w->written);
    if (stop < w->text.n) {
        w->ending = AT_STOP;
        w->text.n = stop;
    }
    hand_out(w, w->ending == AT_STOP ? stop : settled(w));
    return SY_OK;
}

static sy_status sample(struct writing *w, const struct sy_text *prompt) {
    const struct sy_io *io = w->o->io;
    for (int64_t i = 0; i < w->o->how.max_tokens && w->ending == LENGTH; i++) {
        int32_t id = 0;
        SY_TRY(next_token(w, i, &id));
        if (id == sy_tokenizer_eos(w->o->tokenizer)) {
            w->ending = AT_EOS;
            break;
        }
        SY_TRY(add_token(w, id, prompt));
        if (io->stop && *io->stop)
            w->ending = INTERRUPTED;
    }
    hand_out(w, w->text.n);
    return SY_OK;
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

static json_t *sampled_ids(const struct writing *w) {
    json_t *ids = json_array();
    int failed = 0;
    for (size_t i = w->n_prompt; ids && i < w->tokens.n; i++)
        failed |= json_array_append_new(ids, json_integer(w->tokens.id[i]));
    if (failed)
        json_decref(ids);
    return failed ? NULL : ids;
}

static sy_status print(const struct writing *w, const struct sy_text *prompt) {
    json_t *o = json_object();
    char *line = NULL;
    size_t n;
    int failed = json_object_set_new(o, "prompt", clean_string(prompt));
    failed |= json_object_set_new(o, "number", json_integer(w->o->number));
    failed |= json_object_set_new(o, "sample", json_integer((json_int_t)w->o->how.sample));
    failed |= json_object_set_new(o, "prompt_tokens", json_integer((json_int_t)w->n_prompt));
    failed |= json_object_set_new(o, "text", clean_string(&w->text));
    failed |= json_object_set_new(o, "tokens", sampled_ids(w));
    failed |= json_object_set_new(o, "end", json_string(ending_name[w->ending]));
    sy_status status = failed ? sy_fail(SY_ERR_MEMORY, "no memory for a text as JSON")
                              : sy_json_print(o, SY_JSON_COMPACT, &line, &n);
    json_decref(o);
    if (status == SY_OK) {
        sy_io_write(w->o->io, line, n);
        sy_io_write(w->o->io, "\n", 1);
    }
    free(line);
    return status;
}

sy_status sy_continue(const struct sy_continuation_options *o, const struct sy_text *prompt,
                      int64_t *n_sampled) {
    struct writing w = {.o = o};
    const struct sy_io *io = o->io;
    sy_status status = begin(&w, prompt);
    /* the last token is not read again */
    if (status == SY_OK)
        sy_context_expect(o->model, (int64_t)w.n_prompt + o->how.max_tokens - 1);
    if (status == SY_OK && !o->json && prompt->n)
        sy_io_write(io, prompt->s, prompt->n);
    if (status == SY_OK) {
        status = sample(&w, prompt);
        *n_sampled += (int64_t)(w.tokens.n - w.n_prompt);
        if (!o->json)
            sy_io_write(io, "\n", 1);
        else if (status == SY_OK)
            status = print(&w, prompt);
    }
    free(w.tokens.id);
    free(w.text.s);
    free(w.may_come);
    free(w.candidates);
    return status == SY_OK && w.ending == INTERRUPTED ? SY_STOPPED : status;
}
