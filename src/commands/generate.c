/* Sampling from a checkpoint: a function of model, prompt, seed and number of the sample alone (sampling.h).
 *
 * Prompts one after the other, each with its samples; what they have in common is computed once
 * (train/context.h).
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/sized.h"
#include "ckpt/model_folder.h"
#include "commands/continuation.h"
#include "commands/prompts.h"
#include "train/classes.h"
#include "train/feed.h"
#include "train/io.h"
#include "train/session.h"
#include "train/state_store.h"

enum { MOST_SAMPLES = 1 << 20 };

struct generator {
    struct sy_session *s;
    struct sy_tokenizer *tokenizer;
    struct sy_context *model;
    struct sy_prompts prompts;
    int64_t n_sampled;
    double seconds;
};

static sy_status open_tokenizer(const struct sy_config *config, struct sy_tokenizer **out) {
    struct sy_tokenizer_options o = sy_session_tokenizer_options(config);
    return sy_tokenizer_create(&o, out);
}

static sy_status load(struct sy_config *config, struct sy_ckpt *ckpt, const struct sy_log *log,
                      struct generator *g) {
    struct sy_session **out = &g->s;
    SY_TRY(sy_model_folder_config(ckpt, config));
    SY_TRY(sy_model_folder_tokenizer(ckpt, config));
    SY_TRY(sy_config_set(config, SY_LAYER_FLAG, "generate", "training.local_batch_size", "1"));
    SY_TRY(sy_config_finish(config, sy_hopper_here()));
    SY_TRY(open_tokenizer(config, &g->tokenizer));
    SY_TRY(sy_session_create(config, log, SY_SESSION_CACHE, out));
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
    for (int i = 0; i < o->n_stops; i++)
        if (!o->stops[i][0])
            SY_FAIL(SY_ERR_USAGE, "--stop: an empty text is everywhere: leave it out");
    return SY_OK;
}

/* Which of several texts comes now. */
static void head(const struct sy_generate_options *o, const struct generator *g, int64_t number,
                 int64_t sample, const struct sy_io *io) {
    if (o->json)
        return;
    if (g->prompts.n > 1 && o->samples > 1)
        sy_io_printf(io, "== prompt %lld, sample %lld\n", (long long)number + 1, (long long)sample + 1);
    else if (g->prompts.n > 1)
        sy_io_printf(io, "== prompt %lld\n", (long long)number + 1);
    else if (o->samples > 1)
        sy_io_printf(io, "== sample %lld\n", (long long)sample + 1);
}

static sy_status sample_all(const struct sy_generate_options *o, struct generator *g,
                            const struct sy_io *io) {
    struct sy_continuation_options c = {.model = g->model,
                                        .tokenizer = g->tokenizer,
                                        .stops = o->stops,
                                        .n_stops = o->n_stops,
                                        .json = o->json,
                                        .io = io};
    double began = sy_clock();
    sy_status status = SY_OK;
    for (int64_t i = 0; i < g->prompts.n && status == SY_OK; i++)
        for (int64_t k = 0; k < (o->samples > 0 ? o->samples : 1) && status == SY_OK; k++) {
            c.number = i;
            c.how =
                (struct sy_sampling){o->max_tokens, o->temperature, o->top_k, o->top_p, o->seed, (uint64_t)k};
            head(o, g, i, k, io);
            status = sy_continue(&c, &g->prompts.at[i], &g->n_sampled);
        }
    g->seconds = sy_clock() - began;
    return status;
}

static void free_all(struct generator *g) {
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
        status = load(config, ckpt, &log, &g);
    if (status == SY_OK)
        status = sample_all(o, &g, io);
    if (g.n_sampled > 0)
        sy_log_info(&log, "%lld tokens in %.3f s: %.0f tokens/s", (long long)g.n_sampled, g.seconds,
                    (double)g.n_sampled / g.seconds);
    free_all(&g);
    sy_ckpt_close(ckpt);
    return status;
}
