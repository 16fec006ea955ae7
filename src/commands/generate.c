/* Sampling from a checkpoint: a function of model, prompt and seed alone (sampling.h).
 *
 * Each token is one forward pass over the last seq_len tokens as one sequence (no key-value cache yet),
 * so its bits are those of training.
 */
#include <stdlib.h>

#include "base/fmath.h"
#include "commands/model_folder.h"
#include "commands/sampling.h"
#include "train/classes.h"
#include "train/context.h"
#include "train/feed.h"
#include "train/io.h"
#include "train/session.h"
#include "train/state_store.h"

struct generator {
    struct sy_session *s;
    struct sy_tokenizer *tokenizer;
    const struct sy_sampling *how;
    const struct sy_io *io;
    int32_t *context; /* all tokens so far */
    int64_t n;
    struct sy_context *model;
    const float *logits;
    struct sy_candidate *candidates;
};

/* May be sampled: a token that has a meaning, but not BOS or PAD where these are not EOS, too. */
static int may_come(const struct sy_tokenizer *t, int32_t id) {
    return sy_tokenizer_has(t, id) &&
           (id == sy_tokenizer_eos(t) || (id != sy_tokenizer_bos(t) && id != sy_tokenizer_pad(t)));
}

static int32_t choose(struct generator *g, int64_t index) {
    const struct sy_tokenizer *t = g->tokenizer;
    int64_t n = 0;
    for (int32_t id = 0; id < sy_tokenizer_n_ids(t); id++)
        if (may_come(t, id))
            g->candidates[n++] = (struct sy_candidate){id, (double)g->logits[id]};
    return sy_sampling_choose(g->how, index, n, g->candidates);
}

static sy_status write_token(const struct generator *g, int32_t id) {
    struct sy_text text = {0};
    sy_status status = sy_tokenizer_decode(g->tokenizer, &id, 1, 0, &text);
    if (status == SY_OK && g->io->write && text.n)
        g->io->write(g->io->user, text.s, text.n);
    free(text.s);
    return status;
}

static sy_status sample(struct generator *g) {
    for (int64_t i = 0; i < g->how->max_tokens; i++) {
        SY_TRY(sy_context_logits(g->model, g->context, g->n, &g->logits));
        for (int32_t id = 0; id < sy_tokenizer_n_ids(g->tokenizer); id++)
            if (!sy_f32_finite(g->logits[id]))
                SY_FAIL(SY_ERR_NONFINITE, "the model's logit of token %d is not finite", id);
        int32_t id = choose(g, i);
        if (id == sy_tokenizer_eos(g->tokenizer))
            break;
        g->context[g->n++] = id;
        SY_TRY(write_token(g, id));
        if (g->io->stop && *g->io->stop)
            return SY_STOPPED;
    }
    return SY_OK;
}

static sy_status start_context(struct generator *g) {
    struct sy_tokens prompt = {0};
    int32_t bos = sy_tokenizer_bos(g->tokenizer);
    int64_t vocab = g->s->config->model.vocab_size;
    if (bos != SY_TOKEN_NONE)
        sy_tokens_add(&prompt, &bos, 1);
    sy_status status = sy_tokenizer_encode(g->tokenizer, g->how->prompt, strlen(g->how->prompt), &prompt);
    g->n = (int64_t)prompt.n;
    g->context = realloc(prompt.id, (prompt.n + (size_t)g->how->max_tokens + 1) * sizeof *g->context);
    if (!g->context)
        free(prompt.id);
    SY_TRY(status);
    if (g->n == 0)
        SY_FAIL(SY_ERR_USAGE, "--prompt: the tokenizer has no token that begins a text: give a prompt");
    g->candidates = calloc((size_t)vocab, sizeof *g->candidates);
    if (!g->context || !g->candidates)
        SY_FAIL(SY_ERR_MEMORY, "no memory for sampling");
    return SY_OK;
}

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

sy_status sy_generate(struct sy_config *config, const char *model_dir, const struct sy_sampling *how,
                      const struct sy_io *io) {
    struct sy_log log = sy_io_log(io);
    struct sy_ckpt *ckpt = NULL;
    struct generator g = {.how = how, .io = io};
    SY_TRY(sy_sampling_check(how));
    SY_TRY(sy_model_folder_open(model_dir, &log, &ckpt));
    sy_status status = load(config, ckpt, &log, &g);
    if (status == SY_OK)
        status = start_context(&g);
    if (status == SY_OK) {
        if (io->write)
            io->write(io->user, how->prompt, strlen(how->prompt));
        status = sample(&g);
        sy_io_printf(io, "\n");
    }
    free(g.context);
    sy_context_destroy(g.model);
    free(g.candidates);
    sy_tokenizer_destroy(g.tokenizer);
    sy_session_destroy(g.s);
    sy_ckpt_close(ckpt);
    return status;
}
