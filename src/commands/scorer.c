/* A model that says how likely texts are: see scorer.h. */
#include "commands/scorer.h"

#include <stdio.h>

#include "ckpt/model_folder.h"
#include "train/classes.h"
#include "train/feed.h"
#include "train/state_store.h"

/* --- loading ------------------------------------------------------------------------------------------ */

/* Others' folders say how many positions they know; longer sequences are read only if they are asked for. */
static sy_status bound_length(const struct sy_ckpt *ckpt, struct sy_config *config) {
    int64_t known = sy_ckpt_positions(ckpt);
    char text[32];
    if (sy_ckpt_info(ckpt)->has_manifest || known < 1 || known >= config->training.seq_len)
        return SY_OK;
    snprintf(text, sizeof text, "%lld", (long long)known);
    return sy_config_set(config, SY_LAYER_CHECKPOINT, sy_ckpt_info(ckpt)->path, "training.seq_len", text);
}

static sy_status make(struct sy_config *config, struct sy_ckpt *ckpt, const struct sy_log *log,
                      struct sy_scorer *s) {
    SY_TRY(sy_model_folder_config(ckpt, config));
    SY_TRY(sy_model_folder_tokenizer(ckpt, config));
    SY_TRY(bound_length(ckpt, config));
    SY_TRY(sy_config_set(config, SY_LAYER_FLAG, "command line", "training.local_batch_size", "1"));
    SY_TRY(sy_config_finish(config, sy_hopper_here()));
    struct sy_tokenizer_options tokenizer = sy_session_tokenizer_options(config);
    SY_TRY(sy_tokenizer_create(&tokenizer, &s->tokenizer));
    SY_TRY(sy_session_create(config, log, 0, &s->session));
    struct sy_ckpt_store store = sy_state_store(&s->session->state, NULL);
    struct sy_ckpt_target target = {.params = s->session->params, .store = &store};
    SY_TRY(sy_ckpt_load(ckpt, &target, log, s->digest));
    SY_TRY(sy_session_weights_changed(s->session));
    sy_log_info(log, "%s: weights digest %s, class %s, tier %s, %d threads, sequences of %lld tokens",
                sy_ckpt_info(ckpt)->path, s->digest, sy_class_name(s->session->exec.cls),
                s->session->exec.ops->tier, sy_pool_size(s->session->pool),
                (long long)config->training.seq_len);
    return SY_OK;
}

sy_status sy_scorer_init(struct sy_config *config, const char *model, const struct sy_log *log,
                         struct sy_scorer *out) {
    struct sy_scorer s = {0};
    struct sy_ckpt *ckpt = NULL;
    SY_TRY(sy_model_folder_open(model, log, &ckpt));
    sy_status status = make(config, ckpt, log, &s);
    sy_ckpt_close(ckpt);
    if (status != SY_OK) {
        sy_scorer_fini(&s);
        return status;
    }
    *out = s;
    return SY_OK;
}

void sy_scorer_fini(struct sy_scorer *s) {
    sy_tokenizer_destroy(s->tokenizer);
    sy_session_destroy(s->session);
    *s = (struct sy_scorer){0};
}

int32_t sy_scorer_prefix(const struct sy_scorer *s) {
    int32_t bos = sy_tokenizer_bos(s->tokenizer);
    return bos == SY_TOKEN_NONE ? sy_tokenizer_eos(s->tokenizer) : bos;
}

int64_t sy_scorer_length(const struct sy_scorer *s) { return s->session->config->training.seq_len; }

/* --- a sequence --------------------------------------------------------------------------------------- */

static void fill(struct sy_session *s, const int32_t *id, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        s->feed.ids[i] = id[i];
        s->feed.labels[i] = SY_LABEL_NONE;
        s->feed.doc_start[i] = 0;
        s->feed.position[i] = (int32_t)i;
    }
}

struct sy_batch sy_scorer_batch(struct sy_scorer *s, const int32_t *id, int64_t n) {
    fill(s->session, id, n);
    return sy_feed_labelled(s->session, n);
}

/* Tokens first … n-1 of a sequence of n, the last of which is read by nobody. */
static sy_status window(struct sy_session *s, const int32_t *id, int64_t n, int64_t first, int64_t *nats) {
    const struct sy_device *d = s->exec.device;
    fill(s, id, n - 1);
    for (int64_t i = first; i < n; i++)
        s->feed.labels[i - 1] = id[i];
    *s->seen.tally = sy_tally_empty;
    d->copy(d, s->step.tally, s->seen.tally, sizeof *s->step.tally);
    struct sy_batch b = sy_feed_labelled(s, n - 1);
    SY_TRY(sy_model_eval(s->model, &b));
    d->copy(d, s->seen.tally, s->step.tally, sizeof *s->seen.tally);
    SY_TRY(sy_exec_wait(&s->exec));
    if (s->seen.tally->n_bad || s->seen.tally->bad_token != SY_NO_TOKEN)
        SY_FAIL(SY_ERR_NONFINITE, "the loss of %lld tokens is not finite",
                (long long)(s->seen.tally->n_bad ? s->seen.tally->n_bad : 1));
    *nats += s->seen.tally->loss;
    return SY_OK;
}

sy_status sy_scorer_nats(struct sy_scorer *s, const struct sy_scored *t, int64_t *nats) {
    int64_t most = sy_scorer_length(s);
    for (int64_t at = t->first, end; at < t->n; at = end) {
        int64_t step = at == t->first || t->stride == 0 ? most : t->stride;
        end = t->n - at < step ? t->n : at + step;
        int64_t begin = t->stride == 0 ? at - 1 : end - 1 > most ? end - 1 - most : 0;
        sy_status status = window(s->session, t->id + begin, end - begin, at - begin, nats);
        if (status != SY_OK)
            return sy_fail_context(status, "tokens %lld to %lld", (long long)at, (long long)(end - 1));
    }
    return SY_OK;
}
