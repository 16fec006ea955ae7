/* switchyard logits: what a model says after every token, into a file, or beside another model or engine.
 *
 * Sequences are a text, the documents of a file (their first training.seq_len tokens, the one that texts
 * begin with among them), or those of the file that is compared with.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fmath.h"
#include "base/sized.h"
#include "commands/eval.h"
#include "commands/logits_compare.h"
#include "commands/logits_file.h"
#include "data/documents.h"
#include "train/feed.h"

struct job {
    struct sy_scorer ours, theirs; /* theirs: of a folder */
    struct sy_logits_file *file;   /* or of a file; NULL: nothing is compared */
    const struct sy_logits_options *o;
    const struct sy_io *io;
    struct sy_id_lists own; /* not of the file */
    const struct sy_id_lists *sequences;
    struct sy_safetensors_writer *writer; /* NULL: nothing is written */
    float *a, *b;                         /* [at_once, vocab] */
    int64_t vocab, at_once;
    struct sy_logits_distance distance;
};

/* --- sequences ------------------------------------------------------------------------------------------ */

static sy_status add_text(struct job *j, struct sy_encoder *encoder, const char *text, size_t bytes,
                          int64_t *n_cut) {
    struct sy_tokens tokens = {0};
    int32_t prefix = sy_scorer_prefix(&j->ours);
    int64_t most = sy_scorer_length(&j->ours);
    sy_tokens_add(&tokens, &prefix, 1);
    sy_status status = sy_encoder_add(encoder, text, bytes, &tokens);
    if (status == SY_OK && tokens.failed)
        status = sy_fail(SY_ERR_MEMORY, "no memory for the tokens of %zu bytes", bytes);
    int64_t n = (int64_t)tokens.n;
    *n_cut += n > most;
    if (status == SY_OK)
        status = sy_id_lists_add(&j->own, tokens.id, n < most ? n : most);
    free(tokens.id);
    return status;
}

static sy_status add_documents(struct job *j, struct sy_encoder *encoder, int64_t *n_cut) {
    struct sy_log log = sy_io_log(j->io);
    struct sy_data_options data = sy_session_data_options(j->ours.session->config, &log);
    struct sy_documents *d = NULL;
    data.list = "--data";
    data.dataset_paths = &j->o->data;
    data.n_dataset_paths = 1;
    data.holdout = 0;
    data.n_validation_paths = 0;
    data.validate = 0;
    SY_TRY(sy_documents_load(&data, &d));
    sy_status status = SY_OK;
    for (int64_t i = 0; i < d->n_documents && status == SY_OK; i++)
        status = add_text(j, encoder, d->text + d->document[i].offset, (size_t)d->document[i].bytes, n_cut);
    sy_documents_destroy(d);
    return status;
}

static sy_status make_sequences(struct job *j) {
    struct sy_encoder *encoder = NULL;
    int64_t n_cut = 0;
    j->sequences = &j->own;
    SY_TRY(sy_encoder_create(j->ours.tokenizer, &encoder));
    sy_status status = j->o->data ? add_documents(j, encoder, &n_cut)
                                  : add_text(j, encoder, j->o->text, strlen(j->o->text), &n_cut);
    sy_encoder_destroy(encoder);
    struct sy_log log = sy_io_log(j->io);
    if (status == SY_OK && n_cut)
        sy_log_warn(&log, "%lld texts are longer than training.seq_len = %lld tokens: the rest is left out",
                    (long long)n_cut, (long long)sy_scorer_length(&j->ours));
    return status;
}

static sy_status check_lengths(const struct job *j) {
    const struct sy_id_lists *s = j->sequences;
    int64_t most = sy_scorer_length(&j->ours);
    for (int64_t i = 0; i < s->n; i++)
        if (s->start[i + 1] - s->start[i] > most)
            SY_FAIL(SY_ERR_USAGE,
                    "%s: sequence %lld has %lld tokens, training.seq_len is %lld: choose at least as many",
                    j->o->compare, (long long)i, (long long)(s->start[i + 1] - s->start[i]), (long long)most);
    return SY_OK;
}

/* --- rows ----------------------------------------------------------------------------------------------- */

/* Tokens first .. first + n - 1 of a sequence that stands from row `row` of the pass on. */
struct rows {
    int64_t row, first, n;
};

static sy_status rows_of(struct sy_scorer *s, struct rows r, int64_t vocab, float *out) {
    const struct sy_exec *x = &s->session->exec;
    const float *logits = sy_model_logits_rows(s->session->model, r.row + r.first, r.n);
    x->device->copy(x->device, out, logits, (size_t)(r.n * vocab) * sizeof *out);
    SY_TRY(sy_exec_wait(x));
    for (int64_t i = 0; i < r.n * vocab; i++)
        if (!sy_f32_finite(out[i]))
            SY_FAIL(SY_ERR_NONFINITE,
                    "the logit of token %lld after token %lld of the sequence is not finite",
                    (long long)(i % vocab), (long long)(r.first + i / vocab));
    return SY_OK;
}

static sy_status piece(struct job *j, int64_t sequence, struct rows r) {
    SY_TRY(rows_of(&j->ours, r, j->vocab, j->a));
    if (j->writer)
        SY_TRY(sy_safetensors_writer_write(j->writer, j->a, (size_t)(r.n * j->vocab) * sizeof *j->a));
    if (!j->o->compare)
        return SY_OK;
    if (j->file)
        SY_TRY(sy_logits_file_read(j->file, sequence, r.first, r.n, j->b));
    else
        SY_TRY(rows_of(&j->theirs, r, j->vocab, j->b));
    for (int64_t i = 0; i < r.n * j->vocab; i++)
        if (!sy_f32_finite(j->b[i]))
            SY_FAIL(SY_ERR_DATA, "%s: a logit after token %lld is not finite", j->o->compare,
                    (long long)(r.first + i / j->vocab));
    for (int64_t i = 0; i < r.n; i++)
        sy_logits_distance_add(&j->distance, j->a + i * j->vocab, j->b + i * j->vocab, j->vocab);
    return SY_OK;
}

static sy_status begin(struct sy_scorer *s, int64_t n, const struct sy_sequence *sequences) {
    struct sy_batch b = sy_scorer_batch(s, n, sequences);
    return sy_model_logits_begin(s->session->model, &b);
}

/* Sequences from `at` on, as many as a pass of both models has room for. */
static int64_t next_ones(const struct job *j, int64_t at, struct sy_sequence out[SY_SCORER_MOST]) {
    const struct sy_id_lists *s = j->sequences;
    int64_t n = s->n - at < SY_SCORER_MOST ? s->n - at : SY_SCORER_MOST;
    for (int64_t i = 0; i < n; i++)
        out[i] = (struct sy_sequence){s->id + s->start[at + i], s->start[at + i + 1] - s->start[at + i]};
    n = sy_scorer_together(&j->ours, n, out);
    return j->theirs.session ? sy_scorer_together(&j->theirs, n, out) : n;
}

static sy_status all_rows(struct job *j) {
    struct sy_sequence of[SY_SCORER_MOST];
    for (int64_t i = 0, n; i < j->sequences->n; i += n) {
        int64_t row = 0;
        if (j->io->stop && *j->io->stop)
            return SY_STOPPED;
        n = next_ones(j, i, of);
        SY_TRY(begin(&j->ours, n, of));
        if (j->theirs.session)
            SY_TRY(begin(&j->theirs, n, of));
        for (int64_t k = 0; k < n; row += of[k++].n)
            for (int64_t at = 0; at < of[k].n; at += j->at_once) {
                int64_t rows = of[k].n - at < j->at_once ? of[k].n - at : j->at_once;
                sy_status status = piece(j, i + k, (struct rows){row, at, rows});
                if (status != SY_OK)
                    return sy_fail_context(status, "sequence %lld", (long long)(i + k));
            }
    }
    return SY_OK;
}

static sy_status with_writer(struct job *j) {
    struct sy_logits_header header = {sy_class_name(j->ours.session->exec.cls), j->ours.digest, j->vocab};
    if (!j->o->out)
        return all_rows(j);
    SY_TRY(sy_logits_file_begin(j->o->out, &header, j->sequences, &j->writer));
    sy_status status = all_rows(j);
    if (status == SY_OK)
        return sy_safetensors_writer_finish(j->writer, 0, NULL);
    sy_safetensors_writer_abandon(j->writer);
    return status;
}

/* --- the other ------------------------------------------------------------------------------------------ */

/* What file and flags state, for a second model. */
static sy_status copy_stated(struct sy_config *from, struct sy_config *to) {
    const char *key, *value;
    struct sy_text text = {0};
    sy_status status = SY_OK;
    for (int i = 0; status == SY_OK && (key = sy_config_key(i, NULL)); i++) {
        char section[128];
        const char *dot = strrchr(key, '.');
        if (sy_config_layer_of(from, key) < SY_LAYER_FILE)
            continue;
        status = sy_config_get(from, key, &value);
        int n = snprintf(section, sizeof section, "[%.*s]\n%s = ", (int)(dot - key), key, dot + 1);
        sy_text_add(&text, section, (size_t)n);
        sy_text_add(&text, status == SY_OK ? value : "", status == SY_OK ? strlen(value) : 0);
        sy_text_add(&text, "\n", 1);
        if (status == SY_OK)
            status = sy_config_load_text(to, "command line", text.s, text.n);
        text.n = 0;
    }
    free(text.s);
    return status;
}

static sy_status open_folder(struct job *j, struct sy_config *stated) {
    struct sy_log log = sy_io_log(j->io);
    SY_TRY(sy_scorer_init(stated, j->o->compare, &log, &j->theirs));
    const char *a = sy_tokenizer_hash(j->ours.tokenizer), *b = sy_tokenizer_hash(j->theirs.tokenizer);
    if (strcmp(a, b) != 0)
        SY_FAIL(SY_ERR_USAGE, "%s: its tokenizer has the hash %s, the model's %s: they read other tokens",
                j->o->compare, b, a);
    int64_t vocab = j->theirs.session->config->model.vocab_size;
    if (vocab != j->vocab)
        SY_FAIL(SY_ERR_USAGE, "%s: its vocabulary has %lld tokens, the model's %lld", j->o->compare,
                (long long)vocab, (long long)j->vocab);
    return SY_OK;
}

static sy_status print_distance(const struct job *j) {
    const struct sy_logits_distance *d = &j->distance;
    double n = (double)d->n, mean = d->sum / (n * (double)j->vocab), same = (double)d->same / n;
    if (j->o->json)
        return sy_eval_print(j->io, json_pack("{s:I, s:I, s:f, s:f, s:f, s:f, s:f}", "sequences",
                                              (json_int_t)j->sequences->n, "tokens", (json_int_t)d->n,
                                              "max_difference", d->max, "mean_difference", mean, "kl_mean",
                                              d->kl_sum / n, "kl_max", d->kl_max, "top1_agreement", same));
    sy_io_printf(j->io,
                 "%lld sequences, %lld tokens\n"
                 "difference of logits  %.3e at most, %.3e in the mean\n"
                 "KL divergence         %.3e nats in the mean, %.3e at most\n"
                 "same first choice     %.4f of the tokens\n",
                 (long long)j->sequences->n, (long long)d->n, d->max, mean, d->kl_sum / n, d->kl_max, same);
    return SY_OK;
}

/* --- in their order ------------------------------------------------------------------------------------- */

static int is_folder(const char *path) {
    struct stat st;
    return path && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static sy_status open_other(struct job *j, struct sy_config *stated) {
    if (is_folder(j->o->compare))
        return open_folder(j, stated);
    if (!j->o->compare)
        return SY_OK;
    SY_TRY(sy_logits_file_open(j->o->compare, j->vocab, &j->file));
    j->sequences = sy_logits_file_sequences(j->file);
    return check_lengths(j);
}

static sy_status take_buffers(struct job *j) {
    j->at_once = sy_model_logits_most(j->ours.session->model);
    if (j->theirs.session && sy_model_logits_most(j->theirs.session->model) < j->at_once)
        j->at_once = sy_model_logits_most(j->theirs.session->model);
    size_t bytes = (size_t)(j->at_once * j->vocab) * sizeof *j->a;
    j->a = malloc(bytes);
    j->b = malloc(bytes);
    if (!j->a || !j->b)
        SY_FAIL(SY_ERR_MEMORY, "no memory for %lld rows of logits", (long long)j->at_once);
    return SY_OK;
}

static sy_status run(struct job *j, struct sy_config *config, const char *model, struct sy_config *stated) {
    struct sy_log log = sy_io_log(j->io);
    SY_TRY(copy_stated(config, stated));
    SY_TRY(sy_scorer_init(config, model, &log, &j->ours));
    j->vocab = config->model.vocab_size;
    SY_TRY(open_other(j, stated));
    if (j->file && (j->o->text || j->o->data))
        SY_FAIL(SY_ERR_USAGE, "logits: %s has sequences of its own: leave --text and --data out",
                j->o->compare);
    if (!j->file)
        SY_TRY(make_sequences(j));
    SY_TRY(take_buffers(j));
    SY_TRY(with_writer(j));
    return j->o->compare ? print_distance(j) : SY_OK;
}

sy_status sy_logits(struct sy_config *config, const char *model, const struct sy_logits_options *given,
                    const struct sy_io *io) {
    struct sy_logits_options own;
    SY_TRY(SY_OPTIONS(sy_logits_options, given, &own));
    const struct sy_logits_options *o = &own;
    struct job j = {.o = o, .io = io};
    struct sy_config *stated = NULL;
    if (!o->out && !o->compare)
        SY_FAIL(SY_ERR_USAGE, "logits: --out FILE or --compare FILE|MODEL is needed");
    if (o->text && o->data)
        SY_FAIL(SY_ERR_USAGE, "logits: --text or --data, one of them");
    if (!o->text && !o->data && !o->compare)
        SY_FAIL(SY_ERR_USAGE, "logits: --text TEXT or --data FILE is needed");
    if (!o->text && !o->data && is_folder(o->compare))
        SY_FAIL(SY_ERR_USAGE,
                "logits: %s is a folder, which has no sequences: --text TEXT or --data FILE is needed",
                o->compare);
    SY_TRY(sy_config_create(&stated));
    sy_status status = run(&j, config, model, stated);
    sy_logits_file_close(j.file);
    sy_id_lists_fini(&j.own);
    sy_scorer_fini(&j.ours);
    sy_scorer_fini(&j.theirs);
    sy_config_destroy(stated);
    free(j.a);
    free(j.b);
    return status;
}
