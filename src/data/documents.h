/* The data set: files to documents, documents to a training and a held-out part, a fingerprint of it all.
 *
 * Paths are files or folders; files stand by path of the list, then by their path relative to it
 * (paths.h). A text file is one document, a JSON line is one document; empty ones are dropped. A file
 * of tokens (formats/token_file.h) has documents of its own. Any other that is not UTF-8 text is refused by
 * name, with what it seems to be (kinds.h). Held out is a share of the bytes, whole documents where they fit
 * (holdout.h), or what validation.dataset_path names.
 *
 * In memory is a row for each document. Texts stand there too, one after another, unless there is a cache:
 * then their tokens are made once and stand in files of tokens (cache.h), which are read at their place.
 */
#ifndef SY_DATA_DOCUMENTS_H
#define SY_DATA_DOCUMENTS_H

#include <jansson.h>

#include "base/log.h"
#include "base/status.h"
#include "base/threads.h"
#include "formats/token_file.h"
#include "tokenizer/tokenizer.h"

struct sy_documents;

struct sy_data_options {
    const char *list; /* the option that names the paths, for messages; NULL: training.dataset_path */
    const char *const *dataset_paths; /* files or folders */
    int n_dataset_paths;
    /* "text", "jsonl", "tokens", or "auto" (NULL too): tokens by the first bytes; jsonl by name (.jsonl,
     * .jsonlines, .ndjson, .json, in any case, also with .gz or .zst behind it) or if the first line is an
     * object with the text; else text */
    const char *format;
    const char *const *suffixes; /* in folders, take only files that end so; none: all but hidden ones */
    int n_suffixes;
    const char *text_key; /* of a JSON line; NULL: "text" */
    int64_t max_bytes;    /* of text: stop before the document that would go beyond it; 0: no bound */
    double holdout;       /* share of the bytes, 0 <= holdout < 1; 0: none */
    const char *const *validation_paths; /* held out instead of a share; without max_bytes */
    int n_validation_paths;
    int validate;             /* 1: something must be held out */
    int shuffle;              /* 1: order of documents permuted per epoch; 0: as they are read */
    int64_t max_bad_lines;    /* broken JSON lines that are tolerated, in all */
    int replace;              /* 1: U+FFFD in the place of what is not UTF-8; 0: that is refused */
    uint64_t seed;            /* of the shuffle */
    const struct sy_log *log; /* may be NULL */
    const struct sy_tokenizer *tokenizer; /* NULL: files of tokens are refused, nothing is cached */
    struct sy_pool *pool;                 /* to make tokens with; may be NULL */
    const char *cache_dir;                /* NULL or "": none */
    /* After each text that was read: may take those that stand there (sy_token_documents_write). Then
     * nothing is held out and no document need be left. NULL: they stay. */
    sy_status (*after)(void *arg, struct sy_documents *documents);
    void *arg;
};

struct sy_document {
    int64_t offset, bytes; /* in text; of tokens: the first, in the file's */
    int64_t tokens;        /* SY_TEXT: none were made, the bytes stand in text */
    uint64_t hash;         /* XXH3-64 of the text; of a file of tokens without texts, of the ids */
    int32_t file;
    int64_t
        line; /* of a JSON line, from 1; 0 for a text file; of tokens, the document's number in its file */
};

enum { SY_TEXT = -1 };

struct sy_data_file {
    char *path;
    int64_t bytes;             /* as stored, so compressed for .gz and .zst */
    char hash[33];             /* XXH3-128 of these */
    struct sy_token_file *ids; /* where its documents' tokens are; NULL: they are texts */
    int64_t n_taken;           /* of the documents in ids: the first so many are here */
    int is_cached;             /* ids are an entry of the cache */
};

struct sy_documents {
    char *text;
    int64_t text_bytes, text_capacity;
    int64_t other_bytes;          /* of documents that do not stand in text */
    struct sy_document *document; /* in the order in which they are read */
    int64_t n_documents, document_capacity;
    struct sy_data_file *file;
    int64_t n_files;
    int64_t *train; /* indices, ascending */
    int64_t n_train, train_bytes;
    int64_t *heldout; /* indices, ascending (hash, place) */
    int64_t n_heldout, heldout_bytes;
    int64_t n_bad_lines, n_empty;
    int64_t n_cached, checked_bytes; /* entries of the cache that were there; of tokens that were checked */
    int is_full;                     /* max_bytes ended the reading */
};

/* Local. Loads everything. Errors: ERR_USAGE options, no files, no documents, nothing held out though
 * `validate`; ERR_IO names the file that cannot be read; ERR_DATA names the one that is no text or has
 * too many broken lines; ERR_MEMORY. Free with sy_documents_destroy (NULL is fine). */
sy_status sy_documents_load(const struct sy_data_options *options, struct sy_documents **out);
void sy_documents_destroy(struct sy_documents *documents);

/* Local. The total of texts, in memory and not. */
static inline int64_t sy_documents_bytes(const struct sy_documents *d) {
    return d->text_bytes + d->other_bytes;
}

/* Local. For the room. One more file (`path` from malloc, taken over also on failure). */
sy_status sy_documents_add_file(struct sy_documents *documents, char *path);

/* Local. For the room. Adds a row. Adds a document of bytes that stand in `text`; makes document i other
 * bytes of it. */
sy_status sy_documents_add_row(struct sy_documents *documents, const struct sy_document *row);
sy_status sy_documents_add(struct sy_documents *documents, int64_t offset, int64_t bytes, int32_t file,
                           int64_t line);
void sy_document_set(struct sy_documents *documents, int64_t i, int64_t offset, int64_t bytes);

/* Local. XXH3-128 over (number of documents, their hashes and sizes, number held out, their indices), as 32
 * hex digits. Errors: ERR_MEMORY. */
sy_status sy_documents_hash(const struct sy_documents *documents, char out[33]);

/* Local. {"files": [{"path", "bytes", "hash"} …], "documents": n, "documents_hash": 32 hex of the
 * documents' hashes and the split}, for a checkpoint, and "tokenizer": its hash, unless that is "byte". The
 * caller's: json_decref. */
sy_status sy_documents_fingerprint(const struct sy_documents *documents, const char *tokenizer, json_t **out);

/* Local. Compares with a fingerprint that was saved. ERR_DATA names the first file that vanished,
 * changed or is new, or both tokenizers; equal files under other paths are the same data. `name` says
 * where the fingerprint was. */
sy_status sy_documents_check(const struct sy_documents *documents, const char *tokenizer, const char *name,
                             const json_t *fingerprint);

#endif
