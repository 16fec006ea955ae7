/* The sequences of a step: see feed.h. */
#include "train/feed.h"

#include <stdlib.h>
#include <string.h>

#include "base/folders.h"
#include "config/ramp.h"
#include "train/plants.h"

struct sy_data_options sy_session_data_options(const struct sy_config *c, const struct sy_log *log) {
    return (struct sy_data_options){.dataset_paths = c->training.dataset_path.items,
                                    .n_dataset_paths = (int)c->training.dataset_path.n,
                                    .format = sy_config_word(c, "data.format"),
                                    .suffixes = c->data.suffixes.items,
                                    .n_suffixes = (int)c->data.suffixes.n,
                                    .text_key = c->data.text_key,
                                    .max_bytes = c->data.max_bytes,
                                    .holdout = c->data.holdout,
                                    .validation_paths = c->validation.dataset_path.items,
                                    .n_validation_paths = (int)c->validation.dataset_path.n,
                                    .validate = c->validation.enable,
                                    .shuffle = c->data.shuffle,
                                    .max_bad_lines = c->data.max_bad_lines,
                                    .replace = c->data.encoding_errors == SY_ENCODING_REPLACE,
                                    .seed = (uint64_t)c->debug.seed,
                                    .cache_dir = c->data.cache_dir,
                                    .log = log};
}

struct sy_tokenizer_options sy_session_tokenizer_options(const struct sy_config *c) {
    return (struct sy_tokenizer_options){.path = c->tokenizer.path,
                                         .bos = c->tokenizer.bos_token,
                                         .eos = c->tokenizer.eos_token,
                                         .vocab_size = c->model.vocab_size};
}

static sy_status open_mixture(const struct sy_config *c, struct sy_mixture_options *o, struct sy_data *d) {
    char path[SY_SOURCES_MAX][SY_PATH_BYTES];
    const char *paths[SY_SOURCES_MAX];
    int64_t weight[SY_SOURCES_MAX];
    o->n = (int)c->data.sources.n;
    o->path = paths;
    o->weight = weight;
    for (int i = 0; i < o->n; i++) {
        SY_TRY(sy_config_source(c, i, path[i], sizeof path[i], &weight[i]));
        paths[i] = path[i];
    }
    return sy_mixture_open(o, &d->mixture);
}

/* Text to tokens by as many threads as the run has. */
sy_status sy_data_open(const struct sy_config *c, const struct sy_log *log, struct sy_data *out) {
    struct sy_data d = {0};
    struct sy_pool *pool = NULL;
    struct sy_mixture_options o = {.data = sy_session_data_options(c, log), .seq_len = c->training.seq_len};
    struct sy_tokenizer_options tokenizer = sy_session_tokenizer_options(c);
    sy_status status = sy_tokenizer_create(&tokenizer, &d.tokenizer);
    if (status == SY_OK && !sy_tokenizer_is_byte(d.tokenizer))
        status = sy_pool_create((int)c->run.threads, &pool);
    o.data.tokenizer = d.tokenizer;
    o.data.pool = pool;
    if (status == SY_OK)
        status = open_mixture(c, &o, &d);
    sy_pool_destroy(pool);
    if (status != SY_OK) {
        sy_data_close(&d);
        return status;
    }
    *out = d;
    return SY_OK;
}

void sy_data_close(struct sy_data *d) {
    sy_mixture_close(d->mixture);
    sy_tokenizer_destroy(d->tokenizer);
    *d = (struct sy_data){0};
}

int64_t sy_session_token(const struct sy_session *s, int64_t step) {
    int64_t sequences = sy_steps_sequences(&s->config->training, s->base_step, step), token;
    if (__builtin_mul_overflow(sequences, s->config->training.seq_len, &token) ||
        __builtin_add_overflow(token, s->base_token, &token))
        return INT64_MAX;
    return token;
}

static sy_status fetch(const struct sy_session *s, int64_t step, const struct sy_feed *to) {
    int64_t seq = s->config->training.seq_len;
    int64_t first = sy_session_token(s, sy_plant_is(s->config, "place_lost") ? s->base_step : step);
    if (first > INT64_MAX - s->config->training.global_batch_size * seq)
        SY_FAIL(SY_ERR_USAGE, "step %lld: its tokens are beyond what can be counted", (long long)(step + 1));
    for (int64_t k = 0; k < sy_walk_length(&s->walk); k++) {
        int64_t at = first + seq * s->feed.sequence[k], t = k * seq;
        SY_TRY(
            sy_mixture_fetch(s->data.mixture, &s->place, at, to->ids + t, to->labels + t, to->doc_start + t));
    }
    return SY_OK;
}

sy_status sy_feed_fetch(struct sy_session *s, int64_t step) {
    const struct sy_feed *from = &s->ahead.feed, *to = &s->feed;
    size_t bytes = (size_t)(sy_walk_length(&s->walk) * s->config->training.seq_len) * sizeof *to->ids;
    int is_there = s->ahead.step == step;
    s->ahead.step = -1;
    if (!is_there)
        return fetch(s, step, to);
    memcpy(to->ids, from->ids, bytes);
    memcpy(to->labels, from->labels, bytes);
    memcpy(to->doc_start, from->doc_start, bytes);
    return SY_OK;
}

sy_status sy_feed_make_ahead(struct sy_session *s) {
    size_t n = (size_t)(sy_walk_length(&s->walk) * s->config->training.seq_len);
    struct sy_feed *f = &s->ahead.feed;
    if (sy_device_is_cpu(s->exec.device))
        return SY_OK;
    if (!(f->ids = calloc(3 * n + 1, sizeof *f->ids)))
        SY_FAIL(SY_ERR_MEMORY, "no memory for the next step's %zu tokens", n);
    f->labels = f->ids + n;
    f->doc_start = f->labels + n;
    return SY_OK;
}

void sy_feed_free_ahead(struct sy_session *s) { free(s->ahead.feed.ids); }

void sy_feed_fetch_ahead(struct sy_session *s, int64_t next) {
    const struct sy_config_training *t = &s->config->training;
    int is_wanted = s->ahead.feed.ids && s->data.mixture && next < t->steps &&
                    sy_step_sequences(t, next) == t->global_batch_size;
    if (is_wanted && s->ahead.step != next)
        s->ahead.step = fetch(s, next, &s->ahead.feed) == SY_OK ? next : -1;
}

sy_status sy_feed_fetch_heldout(struct sy_session *s, int64_t first, int64_t n) {
    int64_t seq = s->config->training.seq_len;
    for (int64_t k = 0; k < n; k++) {
        int64_t t = k * seq;
        SY_TRY(sy_mixture_eval_fetch(s->data.mixture, first + k, s->feed.ids + t, s->feed.labels + t,
                                     s->feed.doc_start + t));
    }
    return SY_OK;
}

static void send(const struct sy_session *s, int64_t n, const int32_t *from, int32_t *to) {
    s->exec.device->copy(s->exec.device, to, from, (size_t)n * sizeof *to);
}

static void send_tokens(struct sy_session *s, int64_t n) {
    send(s, n, s->feed.ids, s->fed.ids);
    send(s, n, s->feed.labels, s->fed.labels);
    send(s, n, s->feed.doc_start, s->fed.doc_start);
    send(s, n, s->feed.position, s->fed.position);
}

struct sy_batch sy_feed_sequence(struct sy_session *s, const int32_t *ids, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        s->feed.ids[i] = ids[i];
        s->feed.position[i] = (int32_t)i;
    }
    send(s, n, s->feed.ids, s->fed.ids);
    send(s, n, s->feed.position, s->fed.position);
    return (struct sy_batch){.at = {0, 1, n}, .tokens = n, .ids = s->fed.ids, .position = s->fed.position};
}

struct sy_batch sy_feed_texts(struct sy_session *s, const struct sy_feed_text *texts, int n_texts,
                              struct sy_text_rows *rows) {
    int64_t n = 0;
    for (int i = 0; i < n_texts; i++) {
        const struct sy_feed_text *t = &texts[i];
        rows[i] = (struct sy_text_rows){n, t->n, t->cached, t->slot};
        for (int64_t k = 0; k < t->n; k++, n++) {
            s->feed.ids[n] = t->ids[k];
            s->feed.labels[n] = t->labels ? t->labels[k] : SY_LABEL_NONE;
            s->feed.position[n] = (int32_t)(t->cached + k);
        }
    }
    send(s, n, s->feed.ids, s->fed.ids);
    send(s, n, s->feed.labels, s->fed.labels);
    send(s, n, s->feed.position, s->fed.position);
    return (struct sy_batch){.at = {0, 1, n},
                             .tokens = n,
                             .texts = rows,
                             .n_texts = n_texts,
                             .ids = s->fed.ids,
                             .labels = s->fed.labels,
                             .position = s->fed.position};
}

int64_t sy_feed_send(struct sy_session *s, int64_t n) {
    int64_t seq = s->config->training.seq_len, tokens = n * seq, valid = 0;
    for (int64_t t = 0; t < tokens; t++) {
        s->feed.position[t] = (int32_t)(t % seq) - s->feed.doc_start[t];
        valid += s->feed.labels[t] >= 0;
    }
    send_tokens(s, tokens);
    send(s, n, s->feed.sequence, s->fed.sequence);
    return valid;
}

struct sy_batch sy_feed_batch(const struct sy_session *s, int64_t first, int64_t n) {
    int64_t seq = s->config->training.seq_len, t = first * seq;
    return (struct sy_batch){.at = {first, n, seq},
                             .tokens = n * seq,
                             .ids = s->fed.ids + t,
                             .labels = s->fed.labels + t,
                             .doc_start = s->fed.doc_start + t,
                             .position = s->fed.position + t,
                             .sequence = s->fed.sequence + first};
}
