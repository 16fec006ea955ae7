/* Text to ids and back, beside a run. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "base/sized.h"
#include "data/corpus.h"
#include "data/token_documents.h"
#include "formats/json.h"
#include "train/io.h"

/* --- text to ids ------------------------------------------------------------------------------------ */

/* [1,2,3] and a newline, in one write. */
static sy_status print_ids(const struct sy_io *io, const int32_t *id, int64_t n) {
    struct sy_text line = {0};
    sy_text_add(&line, "[", 1);
    for (int64_t i = 0; i < n; i++) {
        char text[16];
        sy_text_add(&line, text, (size_t)snprintf(text, sizeof text, "%s%" PRId32, i ? "," : "", id[i]));
    }
    sy_text_add(&line, "]\n", 2);
    if (line.failed)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for %" PRId64 " ids", n);
    sy_io_write(io, line.s, line.n);
    free(line.s);
    return SY_OK;
}

static void print_count(const struct sy_io *io, int64_t documents, int64_t bytes, int64_t tokens) {
    sy_io_printf(io, "%" PRId64 " documents, %" PRId64 " bytes, %" PRId64 " tokens, %.3f bytes per token\n",
                 documents, bytes, tokens, tokens ? (double)bytes / (double)tokens : 0.0);
}

static sy_status encode_text(const struct sy_tokenizer *t, const struct sy_tokenize_options *o,
                             const struct sy_io *io) {
    struct sy_tokens tokens = {0};
    sy_status status = sy_tokenizer_encode(t, o->text, strlen(o->text), &tokens);
    if (status == SY_OK && o->count)
        print_count(io, 1, (int64_t)strlen(o->text), (int64_t)tokens.n);
    else if (status == SY_OK)
        status = print_ids(io, tokens.id, (int64_t)tokens.n);
    free(tokens.id);
    return status;
}

/* A document's ids, without those that begin and end it. */
static sy_status print_document(const struct sy_corpus *c, int64_t i, const struct sy_io *io) {
    int64_t head = c->bos >= 0, n = sy_corpus_length(c, i) - 1 - head;
    int32_t *id = malloc((size_t)(n + 1) * sizeof *id);
    if (!id)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for %" PRId64 " ids", n);
    sy_status status = sy_corpus_read(c, i, head, n, id);
    if (status == SY_OK)
        status = print_ids(io, id, n);
    free(id);
    return status;
}

static sy_status print_corpus(const struct sy_corpus *c, int count, const struct sy_io *io) {
    int64_t n = c->documents->n_documents, tokens = 0;
    for (int64_t i = 0; i < n; i++)
        tokens += sy_corpus_length(c, i) - 1 - (c->bos >= 0);
    if (count)
        print_count(io, n, sy_documents_bytes(c->documents), tokens);
    for (int64_t i = 0; i < n && !count; i++)
        SY_TRY(print_document(c, i, io));
    return SY_OK;
}

/* Of texts, and of files of tokens. */
static sy_status print_files(const struct sy_data_options *data, int count, const struct sy_io *io) {
    struct sy_documents *documents = NULL;
    struct sy_corpus *corpus = NULL;
    SY_TRY(sy_documents_load(data, &documents));
    sy_status status = sy_corpus_create(documents, data->tokenizer, data->pool, &corpus);
    if (status == SY_OK)
        status = print_corpus(corpus, count, io);
    sy_corpus_destroy(corpus);
    sy_documents_destroy(documents);
    return status;
}

struct writing {
    const struct sy_data_options *data;
    struct sy_token_writer *writer;
};

static sy_status write_many(void *arg, struct sy_documents *some) {
    const struct writing *w = arg;
    return some->text_bytes < SY_TOKENS_AT_ONCE ? SY_OK : sy_token_documents_write(some, w->data, w->writer);
}

/* Some texts at a time, so that memory holds the index alone. */
static sy_status write_tokens(const struct sy_data_options *data, struct sy_token_writer *writer,
                              const struct sy_io *io) {
    struct writing w = {data, writer};
    struct sy_documents *documents = NULL;
    struct sy_data_options texts = *data;
    texts.tokenizer = NULL; /* files of tokens are refused */
    texts.after = write_many;
    texts.arg = &w;
    SY_TRY(sy_documents_load(&texts, &documents));
    sy_status status = sy_token_documents_write(documents, data, writer);
    if (status == SY_OK)
        print_count(io, sy_token_writer_documents(writer), sy_documents_bytes(documents),
                    sy_token_writer_tokens(writer));
    sy_documents_destroy(documents);
    return status;
}

static sy_status write_file(const struct sy_tokenizer *t, const struct sy_data_options *data,
                            const char *path, const struct sy_io *io) {
    const struct sy_token_head head = {sy_tokenizer_hash(t), sy_tokenizer_n_ids(t), sy_tokenizer_is_byte(t)};
    struct sy_token_writer *w = NULL;
    SY_TRY(sy_token_writer_open(path, -1, &head, &w));
    sy_status status = write_tokens(data, w, io);
    if (status == SY_OK)
        return sy_token_writer_finish(w, NULL, 0);
    sy_token_writer_abandon(w);
    return status;
}

static sy_status encode_files(const struct sy_tokenizer *t, const struct sy_tokenize_options *o,
                              const struct sy_io *io) {
    struct sy_log log = sy_io_log(io);
    struct sy_pool *pool = NULL;
    SY_TRY(sy_pool_create(o->threads, &pool));
    struct sy_data_options data = {.dataset_paths = o->paths,
                                   .n_dataset_paths = o->n_paths,
                                   .text_key = o->text_key,
                                   .replace = o->replace,
                                   .log = &log,
                                   .tokenizer = t,
                                   .pool = pool};
    sy_status status = o->out ? write_file(t, &data, o->out, io) : print_files(&data, o->count, io);
    sy_pool_destroy(pool);
    return status;
}

/* --- ids to text ------------------------------------------------------------------------------------ */

/* Ids, with spaces, commas and brackets between them. */
static sy_status read_ids(const char *where, const char *s, struct sy_tokens *out) {
    while (*s) {
        int64_t id = 0;
        const char *from = s;
        for (; *s >= '0' && *s <= '9' && id <= INT32_MAX; s++)
            id = 10 * id + (*s - '0');
        if (id > INT32_MAX || (s == from && !strchr(" ,[]\t\r\n", *s)))
            SY_FAIL(SY_ERR_DATA, "%s: \"%.20s\" is no list of ids from 0 to %d", where, from, INT32_MAX);
        if (s == from)
            s++;
        else
            sy_tokens_add(out, &(int32_t){(int32_t)id}, 1);
    }
    return out->failed ? sy_fail(SY_ERR_MEMORY, "%s: out of memory", where) : SY_OK;
}

static sy_status decode(const struct sy_tokenizer *t, const char *where, const char *line,
                        struct sy_text *text) {
    struct sy_tokens ids = {0};
    sy_status status = read_ids(where, line, &ids);
    if (status == SY_OK)
        status = sy_tokenizer_decode(t, ids.id, ids.n, SY_DECODE_START | SY_DECODE_SPECIAL, text);
    free(ids.id);
    return status;
}

/* {"text": "…"}, with U+FFFD for what is not UTF-8. */
static sy_status print_text(const struct sy_io *io, const struct sy_text *text) {
    char *clean = malloc(3 * text->n + 1);
    json_t *value =
        clean ? json_pack("{s:o}", "text",
                          json_stringn(clean, sy_utf8_clean(text->s ? text->s : "", text->n, clean)))
              : NULL;
    char *line = value ? sy_json_dumps(value, JSON_COMPACT) : NULL;
    json_decref(value);
    free(clean);
    if (!line)
        SY_FAIL(SY_ERR_MEMORY, "out of memory for %zu bytes of text", text->n);
    sy_io_write(io, line, strlen(line));
    sy_io_write(io, "\n", 1);
    free(line);
    return SY_OK;
}

static sy_status decode_lines(const struct sy_tokenizer *t, const char *path, FILE *f,
                              const struct sy_io *io) {
    char *line = NULL, where[1100];
    size_t capacity = 0;
    sy_status status = SY_OK;
    struct sy_text text = {0};
    for (int64_t number = 1; status == SY_OK && getline(&line, &capacity, f) > 0; number++) {
        snprintf(where, sizeof where, "%.1000s:%" PRId64, path, number);
        text.n = 0;
        status = decode(t, where, line, &text);
        if (status == SY_OK)
            status = print_text(io, &text);
    }
    free(line);
    free(text.s);
    return status;
}

static sy_status decode_file(const struct sy_tokenizer *t, const char *path, const struct sy_io *io) {
    FILE *f = fopen(path, "re");
    if (!f)
        SY_FAIL(SY_ERR_IO, "%s: cannot be opened", path);
    sy_status status = decode_lines(t, path, f, io);
    fclose(f);
    return status;
}

static sy_status decode_ids(const struct sy_tokenizer *t, const char *ids, const struct sy_io *io) {
    struct sy_text text = {0};
    sy_status status = decode(t, "--ids", ids, &text);
    if (status == SY_OK && text.n)
        sy_io_write(io, text.s, text.n);
    free(text.s);
    sy_io_printf(io, status == SY_OK ? "\n" : "");
    return status;
}

/* --- which -------------------------------------------------------------------------------------------- */

static sy_status run(const struct sy_tokenizer *t, const struct sy_tokenize_options *o,
                     const struct sy_io *io) {
    if (o->ids)
        return decode_ids(t, o->ids, io);
    if (o->text)
        return encode_text(t, o, io);
    if (!o->decode)
        return encode_files(t, o, io);
    for (int i = 0; i < o->n_paths; i++)
        SY_TRY(decode_file(t, o->paths[i], io));
    return SY_OK;
}

sy_status sy_tokenize(const struct sy_tokenize_options *given, const struct sy_io *io) {
    struct sy_tokenize_options own;
    SY_TRY(SY_OPTIONS(sy_tokenize_options, given, &own));
    const struct sy_tokenize_options *o = &own;
    struct sy_tokenizer *t = NULL;
    int sources = (o->n_paths > 0) + (o->text != NULL) + (o->ids != NULL);
    if (sources != 1 || (o->out && !o->n_paths) || (o->decode && (!o->n_paths || o->out || o->count)))
        SY_FAIL(SY_ERR_USAGE, "tokenize: files, --text or --ids, one of them; --out, --decode go with files");
    /* Which token ends a document is of no matter here. */
    SY_TRY(sy_tokenizer_create(&(struct sy_tokenizer_options){.path = o->tokenizer, .any_ends = 1}, &t));
    sy_status status = run(t, o, io);
    sy_tokenizer_destroy(t);
    return status;
}
