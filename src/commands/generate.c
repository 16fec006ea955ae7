/* Sampling from a checkpoint: a function of model, prompt, seed and number of the sample alone (sampling.h).
 *
 * Texts are the samples of the prompts, in order. Some go on together, a token of each in one pass; what
 * they have in common is computed once (train/context.h). They are handed out in order: the first as it
 * comes, another when those before it have ended.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/sized.h"
#include "ckpt/model_folder.h"
#include "commands/continuation.h"
#include "commands/prompts.h"
#include "train/context.h"
#include "train/classes.h"
#include "train/feed.h"
#include "train/io.h"
#include "train/session.h"
#include "train/state_store.h"

enum { MOST_SAMPLES = 1 << 20, MOST_TOGETHER = 1024, TOGETHER = 8 };

struct text { /* a sample of a prompt, from its beginning until it is handed out */
    struct sy_continuation *of;
    int64_t number, sample;
    int is_shown;
    struct text *next;
};

struct generator {
    struct sy_session *s;
    struct sy_tokenizer *tokenizer;
    struct sy_context *model;
    struct sy_prompts prompts;
    struct text *first, *last;           /* in order */
    struct text *in_slot[MOST_TOGETHER]; /* those that go on, by the slot of their keys and values */
    int64_t n_begun, n_sampled;
    double seconds;
};

static sy_status open_tokenizer(const struct sy_config *config, struct sy_tokenizer **out) {
    struct sy_tokenizer_options o = sy_session_tokenizer_options(config);
    return sy_tokenizer_create(&o, out);
}

/* Tokens that a text can have with those that are sampled; the last is not read again. */
static sy_status longest(const struct sy_generate_options *o, const struct generator *g, int64_t *out) {
    struct sy_tokens tokens = {0};
    sy_status status = SY_OK;
    for (int64_t i = 0; i < g->prompts.n && status == SY_OK; i++) {
        tokens.n = 0;
        status = sy_prompt_tokens(g->tokenizer, &g->prompts.at[i], &tokens);
        if (status == SY_OK && tokens.failed)
            status = sy_fail(SY_ERR_MEMORY, "no memory for the tokens of a prompt");
        int64_t n = (int64_t)tokens.n + (o->max_tokens > 0 ? o->max_tokens - 1 : 0);
        *out = n > *out ? n : *out;
    }
    free(tokens.id);
    return status;
}

static int64_t samples_of(const struct sy_generate_options *o) { return o->samples > 0 ? o->samples : 1; }

/* Keys and values of as many texts as there are, up to those that are computed together, and as long as
 * they can become. */
static sy_status cache_size(const struct sy_config *config, const struct sy_generate_options *o,
                            const struct generator *g, struct sy_cache_size *out) {
    int64_t texts = g->prompts.n * samples_of(o), most = o->together > 0 ? o->together : TOGETHER, tokens = 1;
    SY_TRY(longest(o, g, &tokens));
    out->texts = (int)(texts < most ? texts : most);
    out->tokens = tokens < config->training.seq_len ? tokens : config->training.seq_len;
    return SY_OK;
}

static sy_status load(struct sy_config *config, const struct sy_generate_options *o, struct sy_ckpt *ckpt,
                      const struct sy_log *log, struct generator *g) {
    struct sy_session **out = &g->s;
    struct sy_cache_size cache;
    SY_TRY(sy_model_folder_config(ckpt, config));
    SY_TRY(sy_model_folder_tokenizer(ckpt, config));
    SY_TRY(sy_config_set(config, SY_LAYER_FLAG, "generate", "training.local_batch_size", "1"));
    SY_TRY(sy_config_finish(config, sy_hopper_here()));
    SY_TRY(open_tokenizer(config, &g->tokenizer));
    SY_TRY(cache_size(config, o, g, &cache));
    SY_TRY(sy_session_create_cache(config, log, cache, 0, out));
    struct sy_ckpt_store store = sy_state_store(&(*out)->state, NULL);
    struct sy_ckpt_target target = {.params = (*out)->params, .store = &store};
    sy_status status = sy_ckpt_load(ckpt, &target, log, NULL);
    if (status != SY_OK)
        return status;
    SY_TRY(sy_session_weights_changed(*out));
    SY_TRY(sy_context_create(*out, &g->model));
    sy_log_info(log, "class %s, tier %s, %d threads", sy_class_name((*out)->exec.cls), (*out)->exec.ops->tier,
                sy_pool_size((*out)->pool));
    return SY_OK;
}

static sy_status check(const struct sy_generate_options *o) {
    struct sy_sampling how = {o->max_tokens, o->temperature, o->top_k, o->top_p, o->seed, 0};
    SY_TRY(sy_sampling_check(&how));
    if (o->samples < 0 || o->samples > MOST_SAMPLES)
        SY_FAIL(SY_ERR_USAGE, "--samples %lld: must be in 1..%d", (long long)o->samples, MOST_SAMPLES);
    if (o->together < 0 || o->together > MOST_TOGETHER)
        SY_FAIL(SY_ERR_USAGE, "--together %d: must be in 1..%d", o->together, MOST_TOGETHER);
    for (int i = 0; i < o->n_stops; i++)
        if (!o->stops[i][0])
            SY_FAIL(SY_ERR_USAGE, "--stop: an empty text is everywhere: leave it out");
    return SY_OK;
}

/* Which of several texts comes now. */
static void head(const struct sy_generate_options *o, const struct generator *g, const struct text *t,
                 const struct sy_io *io) {
    int64_t number = t->number, sample = t->sample;
    if (o->json)
        return;
    if (g->prompts.n > 1 && o->samples > 1)
        sy_io_printf(io, "== prompt %lld, sample %lld\n", (long long)number + 1, (long long)sample + 1);
    else if (g->prompts.n > 1)
        sy_io_printf(io, "== prompt %lld\n", (long long)number + 1);
    else if (o->samples > 1)
        sy_io_printf(io, "== sample %lld\n", (long long)sample + 1);
}

/* --- texts ---------------------------------------------------------------------------------------------- */

static struct text *begin_text(struct generator *g, const struct sy_generate_options *o,
                               const struct sy_io *io, sy_status *status) {
    struct text *t = calloc(1, sizeof *t);
    int64_t each = samples_of(o), number = g->n_begun / each, sample = g->n_begun % each, n;
    struct sy_continuation_options c = {
        .tokenizer = g->tokenizer,
        .how = {o->max_tokens, o->temperature, o->top_k, o->top_p, o->seed, (uint64_t)sample},
        .stops = o->stops,
        .n_stops = o->n_stops,
        .json = o->json,
        .number = number,
        .io = io};
    *status = t ? sy_continuation_create(&c, &g->prompts.at[number], &t->of)
                : sy_fail(SY_ERR_MEMORY, "no memory for a text");
    if (*status != SY_OK) {
        free(t);
        return NULL;
    }
    t->number = number;
    t->sample = sample;
    sy_continuation_ids(t->of, &n);
    sy_context_expect(g->model, n + o->max_tokens - 1);
    g->n_begun++;
    return t;
}

/* Texts that have ended leave their slots; others get these, the next prompt's when there is none. */
static sy_status fill_slots(struct generator *g, const struct sy_generate_options *o,
                            const struct sy_io *io) {
    int64_t all = g->prompts.n * samples_of(o), n;
    sy_status status = SY_OK;
    for (int i = 0; i < g->s->cache.texts && status == SY_OK; i++) {
        if (g->in_slot[i] && sy_continuation_ids(g->in_slot[i]->of, &n))
            continue;
        g->in_slot[i] = NULL;
        while (!g->in_slot[i] && g->n_begun < all) {
            struct text *t = begin_text(g, o, io, &status);
            if (!t)
                break;
            *(g->last ? &g->last->next : &g->first) = t;
            g->last = t;
            g->in_slot[i] = sy_continuation_ids(t->of, &n) ? t : NULL; /* some end before they begin */
        }
    }
    return status;
}

/* The first text is shown as it comes; those that have ended behind it come whole. */
static sy_status hand_out(struct generator *g, const struct sy_generate_options *o, const struct sy_io *io) {
    sy_status status = SY_OK;
    int64_t n;
    while (g->first && status == SY_OK) {
        struct text *t = g->first;
        if (!t->is_shown) {
            head(o, g, t, io);
            sy_continuation_show(t->of);
            t->is_shown = 1;
        }
        if (sy_continuation_ids(t->of, &n))
            break;
        status = sy_continuation_finish(t->of, &g->n_sampled);
        for (int i = 0; i < g->s->cache.texts; i++)
            g->in_slot[i] = g->in_slot[i] == t ? NULL : g->in_slot[i];
        g->first = t->next;
        g->last = g->first ? g->last : NULL;
        sy_continuation_destroy(t->of);
        free(t);
    }
    return status;
}

/* A token of each text that goes on, in one pass. */
static sy_status all_go_on(struct generator *g, const struct sy_io *io) {
    struct sy_context_text texts[MOST_TOGETHER];
    const float *logits[MOST_TOGETHER];
    int n = 0, of[MOST_TOGETHER];
    for (int i = 0; i < g->s->cache.texts; i++)
        if (g->in_slot[i]) {
            texts[n].slot = i;
            texts[n].ids = sy_continuation_ids(g->in_slot[i]->of, &texts[n].n);
            of[n++] = i;
        }
    SY_TRY(sy_context_logits(g->model, n, texts, logits));
    for (int k = 0; k < n; k++) {
        sy_continuation_add(g->in_slot[of[k]]->of, logits[k]);
        if (io->stop && *io->stop)
            sy_continuation_stop(g->in_slot[of[k]]->of);
    }
    return SY_OK;
}

static sy_status sample_all(const struct sy_generate_options *o, struct generator *g,
                            const struct sy_io *io) {
    double began = sy_clock();
    sy_status status = fill_slots(g, o, io);
    while (status == SY_OK && g->first) {
        status = hand_out(g, o, io);
        if (status == SY_OK)
            status = fill_slots(g, o, io);
        if (status == SY_OK && g->first)
            status = all_go_on(g, io);
    }
    g->seconds = sy_clock() - began;
    return status;
}

static void free_all(struct generator *g) {
    for (struct text *t = g->first, *next; t; t = next) {
        next = t->next;
        sy_continuation_destroy(t->of);
        free(t);
    }
    sy_prompts_fini(&g->prompts);
    sy_context_destroy(g->model);
    sy_tokenizer_destroy(g->tokenizer);
    sy_session_destroy(g->s);
}

sy_status sy_generate(struct sy_config *config, const char *model_dir,
                      const struct sy_generate_options *given, const struct sy_io *io) {
    struct sy_generate_options own;
    SY_TRY(SY_OPTIONS(sy_generate_options, given, &own));
    const struct sy_generate_options *o = &own;
    struct sy_log log = sy_io_log(io);
    struct sy_ckpt *ckpt = NULL;
    struct generator g = {0};
    SY_TRY(check(o));
    SY_TRY(sy_model_folder_open(model_dir, &log, &ckpt));
    sy_status status = sy_prompts_read(o->prompts, o->n_prompts, o->prompt_file, &log, &g.prompts);
    if (status == SY_OK)
        status = load(config, o, ckpt, &log, &g);
    if (status == SY_OK)
        status = sample_all(o, &g, io);
    if (g.n_sampled > 0)
        sy_log_info(&log, "%lld tokens in %.3f s: %.0f tokens/s", (long long)g.n_sampled, g.seconds,
                    (double)g.n_sampled / g.seconds);
    free_all(&g);
    sy_ckpt_close(ckpt);
    return status;
}
