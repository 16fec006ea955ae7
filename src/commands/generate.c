/* Sampling from a checkpoint: temperature, top-k, top-p; a function of model, prompt and seed alone.
 *
 * Each token is one forward pass over the last seq_len tokens as one sequence (no key-value cache yet), so its bits are
 * those of training. Choice i uses the uniform number of (seed, purpose sample, index i); candidates are ordered by
 * probability, equal ones by id; sums are fp64 in that order.
 */
#include <math.h>
#include <stdlib.h>

#include "base/fmath.h"
#include "base/rng.h"
#include "ckpt/checkpoint.h"
#include "train/feed.h"
#include "train/io.h"
#include "train/session.h"
#include "train/state_store.h"

struct candidate {
    int32_t id;
    double p;
};

struct generator {
    struct sy_session *s;
    const struct sy_sampling *how;
    const struct sy_io *io;
    int32_t *context; /* all tokens so far */
    int64_t n;
    float *logits;
    struct candidate *candidates;
};

static int by_probability(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    if (x->p != y->p)
        return x->p < y->p ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Tokens that have a meaning, less BOS and PAD. */
static int64_t list_candidates(struct generator *g, double temperature) {
    int64_t n = 0;
    double top = -INFINITY;
    for (int32_t id = 0; id < sy_tokenizer_n_ids(g->s->tokenizer); id++) {
        if (id == sy_tokenizer_bos(g->s->tokenizer) || id == sy_tokenizer_pad(g->s->tokenizer))
            continue;
        double l = (double)g->logits[id] / temperature;
        g->candidates[n++] = (struct candidate){id, l};
        top = l > top ? l : top;
    }
    for (int64_t i = 0; i < n; i++)
        g->candidates[i].p = sy_exp2_f64((g->candidates[i].p - top) * 0x1.71547652b82fep+0);
    qsort(g->candidates, (size_t)n, sizeof *g->candidates, by_probability);
    return n;
}

static int32_t choose(struct generator *g, int64_t index) {
    const struct sy_sampling *how = g->how;
    int64_t n = list_candidates(g, how->temperature > 0 ? how->temperature : 1.0), kept = 0;
    if (how->temperature <= 0)
        return g->candidates[0].id;
    if (how->top_k > 0 && how->top_k < n)
        n = how->top_k;
    double all = 0, sum = 0;
    for (int64_t i = 0; i < n; i++)
        all += g->candidates[i].p;
    for (kept = 0; kept < n && (kept == 0 || sum < how->top_p * all); kept++)
        sum += g->candidates[kept].p;
    double u = sy_rng_uniform(sy_rng_key(how->seed, SY_RNG_SAMPLE, 0, 0), (uint64_t)index) * sum, at = 0;
    for (int64_t i = 0; i < kept; i++) {
        at += g->candidates[i].p;
        if (u < at)
            return g->candidates[i].id;
    }
    return g->candidates[kept - 1].id;
}

/* The last seq_len tokens as one sequence: what comes after them cannot be seen, and is left out. */
static sy_status next_logits(struct generator *g) {
    struct sy_session *s = g->s;
    const struct sy_device *d = s->exec.device;
    int64_t most = s->config->training.seq_len, n = g->n < most ? g->n : most;
    const float *logits;
    for (int64_t i = 0; i < n; i++) {
        s->feed.ids[i] = g->context[g->n - n + i];
        s->feed.labels[i] = SY_LABEL_NONE;
        s->feed.doc_start[i] = 0;
        s->feed.position[i] = (int32_t)i;
    }
    struct sy_batch b = sy_feed_sequence(s, n);
    SY_TRY(sy_model_logits(s->model, &b, n - 1, &logits));
    d->copy(d, g->logits, logits, (size_t)s->config->model.vocab_size * sizeof *g->logits);
    return sy_exec_wait(&s->exec);
}

static sy_status sample(struct generator *g) {
    for (int64_t i = 0; i < g->how->max_tokens; i++) {
        SY_TRY(next_logits(g));
        for (int32_t id = 0; id < sy_tokenizer_n_ids(g->s->tokenizer); id++)
            if (!sy_f32_finite(g->logits[id]))
                SY_FAIL(SY_ERR_NONFINITE, "the model's logit of token %d is not finite", id);
        int32_t id = choose(g, i);
        if (id == sy_tokenizer_eos(g->s->tokenizer))
            break;
        g->context[g->n++] = id;
        char text[8];
        size_t bytes;
        SY_TRY(sy_tokenizer_decode(g->s->tokenizer, &id, 1, text, sizeof text, &bytes));
        if (g->io->write && bytes)
            g->io->write(g->io->user, text, bytes);
        if (g->io->stop && *g->io->stop)
            return SY_STOPPED;
    }
    return SY_OK;
}

static sy_status start_context(struct generator *g) {
    size_t bytes = strlen(g->how->prompt), n;
    int64_t vocab = g->s->config->model.vocab_size;
    g->context = calloc(bytes + (size_t)g->how->max_tokens + 2, sizeof *g->context);
    g->logits = calloc((size_t)vocab, sizeof *g->logits);
    g->candidates = calloc((size_t)vocab, sizeof *g->candidates);
    if (!g->context || !g->logits || !g->candidates)
        SY_FAIL(SY_ERR_MEMORY, "no memory for sampling");
    g->context[g->n++] = sy_tokenizer_bos(g->s->tokenizer);
    SY_TRY(sy_tokenizer_encode(g->s->tokenizer, g->how->prompt, bytes, g->context + 1, bytes + 1, &n));
    g->n += (int64_t)n;
    return SY_OK;
}

static sy_status check_sampling(const struct sy_sampling *how) {
    if (!(how->temperature >= 0 && how->temperature <= 100))
        SY_FAIL(SY_ERR_USAGE, "--temperature %g: must be in 0..100 (0: always the likeliest)", how->temperature);
    if (!(how->top_p > 0 && how->top_p <= 1))
        SY_FAIL(SY_ERR_USAGE, "--top-p %g: must be above 0 and at most 1", how->top_p);
    if (how->top_k < 0)
        SY_FAIL(SY_ERR_USAGE, "--top-k %lld: must be 0 (all) or more", (long long)how->top_k);
    if (how->max_tokens < 0 || how->max_tokens > 1 << 24)
        SY_FAIL(SY_ERR_USAGE, "--max-tokens %lld: must be in 0..%d", (long long)how->max_tokens, 1 << 24);
    return SY_OK;
}

/* A checkpoint folder itself, or a run's newest. */
static sy_status open_model(const char *dir, const struct sy_log *log, struct sy_ckpt **out) {
    if (sy_ckpt_any(dir)) {
        SY_TRY(sy_ckpt_find_latest(dir, log, out));
        return SY_OK;
    }
    return sy_ckpt_open(dir, 0, out);
}

static sy_status load(struct sy_config *config, struct sy_ckpt *ckpt, const struct sy_log *log, struct sy_session **out) {
    SY_TRY(sy_ckpt_config(ckpt, 1, config));
    SY_TRY(sy_config_set(config, SY_LAYER_FLAG, "generate", "training.local_batch_size", "1"));
    SY_TRY(sy_config_finish(config, false));
    SY_TRY(sy_session_create(config, log, 0, out));
    struct sy_ckpt_store store = sy_state_store(&(*out)->state);
    struct sy_ckpt_target target = {.params = (*out)->params, .store = &store};
    sy_status status = sy_ckpt_load(ckpt, &target, log, NULL);
    return status == SY_OK ? sy_session_weights_changed(*out) : status;
}

sy_status sy_generate(struct sy_config *config, const char *model_dir, const struct sy_sampling *how,
                      const struct sy_io *io) {
    struct sy_log log = sy_io_log(io);
    struct sy_ckpt *ckpt = NULL;
    struct generator g = {.how = how, .io = io};
    SY_TRY(check_sampling(how));
    SY_TRY(open_model(model_dir, &log, &ckpt));
    sy_status status = load(config, ckpt, &log, &g.s);
    if (status == SY_OK)
        status = start_context(&g);
    if (status == SY_OK) {
        if (io->write)
            io->write(io->user, how->prompt, strlen(how->prompt));
        status = sample(&g);
        sy_io_printf(io, "\n");
    }
    free(g.context);
    free(g.logits);
    free(g.candidates);
    sy_session_destroy(g.s);
    sy_ckpt_close(ckpt);
    return status;
}
