/* switchyard eval: the likelihood of texts, document by document.
 *
 * A document is what it is in training, without its end: the token that a text begins with
 * (sy_scorer_prefix) is context, and each token of the text is scored once. A long one is cut into windows
 * (struct sy_scored), short ones are computed together. Bits per byte are of the text's bytes, so that
 * models with different tokenizers can be compared.
 */
#include "commands/eval.h"

#include <stdlib.h>
#include <string.h>

#include "base/fmath.h"
#include "base/sized.h"
#include "base/utf8.h"
#include "data/documents.h"
#include "train/feed.h"

sy_status sy_eval_print(const struct sy_io *io, json_t *line) {
    char *text = line ? sy_json_dumps(line, JSON_COMPACT) : NULL;
    json_decref(line);
    if (!text)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a line of results");
    if (io->write) {
        io->write(io->user, text, strlen(text));
        io->write(io->user, "\n", 1);
    }
    free(text);
    return SY_OK;
}

struct sums {
    int64_t documents, bytes, tokens, nats;
};

/* Documents that are computed together. */
struct pending {
    int64_t n, rows;
    int64_t document[SY_SCORER_MOST];
    struct sy_tokens tokens[SY_SCORER_MOST];
    struct sy_scored scored[SY_SCORER_MOST];
};

struct evaluation {
    struct sy_scorer *scorer;
    struct pending pending;
    const struct sy_eval_options *o;
    const struct sy_io *io;
    const struct sy_documents *documents;
    struct sy_encoder *encoder;
    struct sums total;
};

/* A path as JSON can hold it. */
static json_t *path_of(const char *path) {
    size_t n = strlen(path);
    char *clean = malloc(3 * n + 1);
    json_t *value = clean ? json_stringn(clean, sy_utf8_clean(path, n, clean)) : NULL;
    free(clean);
    return value;
}

static sy_status print_document(const struct evaluation *e, int64_t i, const struct sums *of) {
    const struct sy_document *d = &e->documents->document[i];
    json_t *line =
        json_pack("{s:I, s:o, s:I, s:I, s:I, s:f}", "document", (json_int_t)i, "file",
                  path_of(e->documents->file[d->file].path), "line", (json_int_t)d->line, "bytes",
                  (json_int_t)of->bytes, "tokens", (json_int_t)of->tokens, "nats", sy_scorer_real(of->nats));
    return sy_eval_print(e->io, line);
}

static sy_status count(struct evaluation *e, int64_t i, const struct sy_scored *scored) {
    struct sums of = {.documents = 1,
                      .bytes = e->documents->document[i].bytes,
                      .tokens = scored->n - 1,
                      .nats = scored->nats};
    e->total.documents++;
    e->total.bytes += of.bytes;
    e->total.tokens += of.tokens;
    e->total.nats += of.nats;
    return e->o->json ? print_document(e, i, &of) : SY_OK;
}

/* The pending documents are computed, and counted in order. */
static sy_status score(struct evaluation *e) {
    struct pending *p = &e->pending;
    int64_t which = 0;
    sy_status status = sy_scorer_nats(e->scorer, p->n, p->scored, &which);
    if (status != SY_OK)
        status = sy_fail_context(status, "document %lld", (long long)p->document[which]);
    int64_t whole = status == SY_OK ? p->n : which;
    for (int64_t i = 0; i < whole; i++)
        SY_TRY(count(e, p->document[i], &p->scored[i]));
    p->n = 0;
    p->rows = 0;
    return status;
}

static sy_status add(struct evaluation *e, int64_t i) {
    const struct sy_document *d = &e->documents->document[i];
    struct pending *p = &e->pending;
    struct sy_tokens *tokens = &p->tokens[p->n];
    int32_t prefix = sy_scorer_prefix(e->scorer);
    tokens->n = 0;
    sy_tokens_add(tokens, &prefix, 1);
    SY_TRY(sy_encoder_add(e->encoder, e->documents->text + d->offset, (size_t)d->bytes, tokens));
    if (tokens->failed)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for the tokens of a document of %lld bytes",
                (long long)d->bytes);
    p->document[p->n] = i;
    p->scored[p->n++] =
        (struct sy_scored){.id = tokens->id, .n = (int64_t)tokens->n, .first = 1, .stride = e->o->stride};
    p->rows += (int64_t)tokens->n;
    return p->n == SY_SCORER_MOST || p->rows >= sy_session_rows(e->scorer->session) ? score(e) : SY_OK;
}

static sy_status print_total(const struct evaluation *e) {
    const struct sums *t = &e->total;
    if (t->tokens == 0)
        SY_FAIL(SY_ERR_DATA, "%s: its documents have no tokens", e->o->data);
    double nats = sy_scorer_real(t->nats), per_token = nats / (double)t->tokens,
           per_byte = nats / (double)t->bytes;
    double perplexity = sy_exp2_f64(per_token * SY_INV_LN2);
    if (e->o->json)
        return sy_eval_print(e->io,
                             json_pack("{s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:s}", "documents",
                                       (json_int_t)t->documents, "bytes", (json_int_t)t->bytes, "tokens",
                                       (json_int_t)t->tokens, "nats", nats, "nats_per_token", per_token,
                                       "bits_per_token", per_token * SY_INV_LN2, "nats_per_byte", per_byte,
                                       "bits_per_byte", per_byte * SY_INV_LN2, "perplexity", perplexity,
                                       "weights_digest", e->scorer->digest));
    sy_io_printf(e->io,
                 "%lld documents, %lld bytes, %lld tokens\n"
                 "               per token     per byte\n"
                 "nats        %12.6f %12.6f\n"
                 "bits        %12.6f %12.6f\n"
                 "perplexity  %12.4f\n",
                 (long long)t->documents, (long long)t->bytes, (long long)t->tokens, per_token, per_byte,
                 per_token * SY_INV_LN2, per_byte * SY_INV_LN2, perplexity);
    return SY_OK;
}

static sy_status score_all(struct evaluation *e) {
    sy_status status = SY_OK;
    for (int64_t i = 0; i < e->documents->n_documents && status == SY_OK; i++)
        status = e->io->stop && *e->io->stop ? SY_STOPPED : add(e, i);
    if (status == SY_OK)
        status = score(e);
    for (int i = 0; i < SY_SCORER_MOST; i++)
        free(e->pending.tokens[i].id);
    return status == SY_OK ? print_total(e) : status;
}

sy_status sy_eval_documents(struct sy_scorer *scorer, const struct sy_eval_options *o,
                            const struct sy_io *io) {
    struct sy_log log = sy_io_log(io);
    struct sy_data_options data = sy_session_data_options(scorer->session->config, &log);
    struct sy_documents *documents = NULL;
    struct evaluation e = {.scorer = scorer, .o = o, .io = io};
    data.list = "--data";
    data.dataset_paths = &o->data;
    data.n_dataset_paths = 1;
    data.holdout = 0;
    data.n_validation_paths = 0;
    data.validate = 0;
    SY_TRY(sy_documents_load(&data, &documents));
    e.documents = documents;
    sy_status status = sy_encoder_create(scorer->tokenizer, &e.encoder);
    if (status == SY_OK)
        status = score_all(&e);
    sy_encoder_destroy(e.encoder);
    sy_documents_destroy(documents);
    return status;
}

sy_status sy_eval(struct sy_config *config, const char *model, const struct sy_eval_options *given,
                  const struct sy_io *io) {
    struct sy_eval_options own;
    SY_TRY(SY_OPTIONS(sy_eval_options, given, &own));
    const struct sy_eval_options *o = &own;
    struct sy_log log = sy_io_log(io);
    struct sy_scorer scorer = {0};
    if (!o->data == !o->multiple_choice)
        SY_FAIL(SY_ERR_USAGE, "eval: --data FILE or --multiple-choice FILE, one of them");
    if (o->multiple_choice && o->stride)
        SY_FAIL(SY_ERR_USAGE, "eval: --stride goes with --data");
    SY_TRY(sy_scorer_init(config, model, &log, &scorer));
    sy_status status = SY_OK;
    if (o->stride < 0 || o->stride > sy_scorer_length(&scorer))
        status = sy_fail(SY_ERR_USAGE, "--stride %lld: must be in 1..%lld, the tokens that are read at once",
                         (long long)o->stride, (long long)sy_scorer_length(&scorer));
    if (status == SY_OK)
        status = (o->data ? sy_eval_documents : sy_eval_choices)(&scorer, o, io);
    sy_scorer_fini(&scorer);
    return status;
}
