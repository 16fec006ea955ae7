/* A model that says how likely texts are: see scorer.h. */
#include "commands/scorer.h"

#include <stdio.h>
#include <stdlib.h>

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

/* --- a pass ------------------------------------------------------------------------------------------- */

struct window {       /* tokens of a text, of which first … n-1 are scored; the last is read by nobody */
    int64_t text, at; /* at: of the text, its first that is scored */
    const int32_t *id;
    int64_t n, first;
};

struct pass {
    struct sy_scorer *s;
    struct sy_scored *texts;
    struct window window[SY_SCORER_MOST];
    int n;
    int64_t rows;
    int64_t seen[SY_SCORER_MOST][3]; /* the tally's loss, n_valid, n_bad behind each */
    int64_t bad_row;                 /* with a NaN among its router's logits, or -1 */
    struct sy_text_rows at[SY_SCORER_MOST];
};

/* The labels of all, and the batch. */
static struct sy_batch feed(struct pass *p) {
    struct sy_session *s = p->s->session;
    struct sy_feed_text fed[SY_SCORER_MOST];
    int64_t row = 0;
    for (int i = 0; i < p->n; i++) {
        const struct window *w = &p->window[i];
        int32_t *labels = s->feed.labels + row;
        for (int64_t k = 0; k + 1 < w->n; k++)
            labels[k] = k + 1 >= w->first ? w->id[k + 1] : SY_LABEL_NONE;
        fed[i] = (struct sy_feed_text){w->id, labels, w->n - 1, 0, 0};
        row += w->n - 1;
    }
    return sy_feed_texts(s, fed, p->n, p->at);
}

static sy_status compute(struct pass *p) {
    struct sy_session *s = p->s->session;
    const struct sy_device *d = s->exec.device;
    *s->seen.tally = sy_tally_empty;
    d->copy(d, s->step.tally, s->seen.tally, sizeof *s->step.tally);
    struct sy_batch b = feed(p);
    SY_TRY(sy_model_logits_begin(s->model, &b));
    for (int i = 0; i < p->n; i++) {
        sy_model_loss_rows(s->model, &b, p->at[i].row, p->at[i].n);
        d->copy(d, p->seen[i], s->step.tally, sizeof p->seen[i]);
    }
    d->copy(d, s->seen.tally, s->step.tally, sizeof *s->seen.tally);
    SY_TRY(sy_exec_wait(&s->exec));
    int64_t bad = s->seen.tally->bad_token;
    p->bad_row = bad == SY_NO_TOKEN ? -1 : bad / s->config->model.n_layers;
    return SY_OK;
}

/* What the pass found, window after window. */
static sy_status add_up(struct pass *p, int64_t *which) {
    *which = p->n ? p->window[0].text : 0;
    SY_TRY(compute(p));
    for (int i = 0; i < p->n; i++) {
        const struct window *w = &p->window[i];
        const int64_t *now = p->seen[i], none[3] = {0}, *before = i ? p->seen[i - 1] : none;
        int64_t n_bad = now[2] - before[2], row = p->bad_row - p->at[i].row;
        *which = w->text;
        if (n_bad || (p->bad_row >= 0 && row >= 0 && row < p->at[i].n)) {
            sy_status status = sy_fail(SY_ERR_NONFINITE, "the loss of %lld tokens is not finite",
                                       (long long)(n_bad ? n_bad : 1));
            return sy_fail_context(status, "tokens %lld to %lld", (long long)w->at,
                                   (long long)(w->at + w->n - w->first - 1));
        }
        p->texts[w->text].nats += now[0] - before[0];
    }
    p->n = 0;
    p->rows = 0;
    return SY_OK;
}

/* --- texts --------------------------------------------------------------------------------------------- */

/* Forced routes go by a token's place in its batch: a sequence is a batch. */
static int64_t most_together(const struct sy_scorer *s) {
    return s->session->config->debug.moe_force_load_balance ? 1 : SY_SCORER_MOST;
}

static sy_status add_window(struct pass *p, const struct window *w, int64_t *which) {
    if (p->n == most_together(p->s) || (p->n > 0 && p->rows + w->n - 1 > sy_session_rows(p->s->session)))
        SY_TRY(add_up(p, which));
    p->window[p->n++] = *w;
    p->rows += w->n - 1;
    return SY_OK;
}

static sy_status add_text(struct pass *p, int64_t i, int64_t *which) {
    const struct sy_scored *t = &p->texts[i];
    int64_t most = sy_scorer_length(p->s);
    for (int64_t at = t->first, end; at < t->n; at = end) {
        int64_t step = at == t->first || t->stride == 0 ? most : t->stride;
        end = t->n - at < step ? t->n : at + step;
        int64_t begin = t->stride == 0 ? at - 1 : end - 1 > most ? end - 1 - most : 0;
        SY_TRY(add_window(p, &(struct window){i, at, t->id + begin, end - begin, at - begin}, which));
    }
    return SY_OK;
}

sy_status sy_scorer_nats(struct sy_scorer *s, int64_t n, struct sy_scored *texts, int64_t *which) {
    struct pass *p = calloc(1, sizeof *p);
    sy_status status = p ? SY_OK : sy_fail(SY_ERR_MEMORY, "no memory for a pass over texts");
    if (p) {
        p->s = s;
        p->texts = texts;
    }
    *which = 0;
    for (int64_t i = 0; i < n && status == SY_OK; i++)
        status = add_text(p, i, which);
    if (status == SY_OK && p->n > 0)
        status = add_up(p, which);
    free(p);
    return status;
}

int64_t sy_scorer_together(const struct sy_scorer *s, int64_t n, const struct sy_sequence *sequences) {
    int64_t rows = 0, k = 0;
    while (k < n && k < most_together(s) && (k == 0 || rows + sequences[k].n <= sy_session_rows(s->session)))
        rows += sequences[k++].n;
    return k;
}

struct sy_batch sy_scorer_batch(struct sy_scorer *s, int64_t n, const struct sy_sequence *sequences) {
    struct sy_feed_text fed[SY_SCORER_MOST];
    for (int64_t i = 0; i < n; i++)
        fed[i] = (struct sy_feed_text){.ids = sequences[i].id, .n = sequences[i].n};
    return sy_feed_texts(s->session, fed, (int)n, s->rows);
}
