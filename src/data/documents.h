/* The data set: files to documents, documents to a training and a held-out part, a fingerprint of it all.
 *
 * Paths are files or folders; files stand by path of the list, then by their path relative to it
 * (paths.h). A text file is one document, a JSON line is one document; empty ones are dropped. A file
 * that is not UTF-8 text is refused by name, with what it seems to be (kinds.h). All bytes stand one
 * after another in memory. Held out is a share of the bytes, whole documents where they fit (holdout.h),
 * or what validation.dataset_path names.
 */
#ifndef SY_DATA_DOCUMENTS_H
#define SY_DATA_DOCUMENTS_H

#include <jansson.h>

#include "base/log.h"
#include "base/status.h"

struct sy_data_options {
    const char *const *dataset_paths; /* files or folders */
    int n_dataset_paths;
    const char *format;          /* "text", "jsonl", or "auto" (NULL too): jsonl by name (.jsonl, .jsonlines,
                           .ndjson, .json, in any case, also with .gz or .zst behind it) or if the first
                           line is an object with the text; else text */
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
};

struct sy_document {
    int64_t offset, bytes; /* in text */
    uint64_t hash;         /* XXH3-64 */
    int32_t file;
    int64_t line; /* of a JSON line, from 1; 0 for a text file */
};

struct sy_data_file {
    char *path;
    int64_t bytes; /* as stored, so compressed for .gz and .zst */
    char hash[33]; /* XXH3-128 of these */
};

struct sy_documents {
    char *text;
    int64_t text_bytes, text_capacity;
    struct sy_document *document; /* in the order in which they are read */
    int64_t n_documents, document_capacity;
    struct sy_data_file *file;
    int64_t n_files;
    int64_t *train; /* indices, ascending */
    int64_t n_train, train_bytes;
    int64_t *heldout; /* indices, ascending (hash, place) */
    int64_t n_heldout, heldout_bytes;
    int64_t n_bad_lines, n_empty;
    int is_full; /* max_bytes ended the reading */
};

/* Local. Loads everything. Errors: ERR_USAGE options, no files, no documents, nothing held out though
 * `validate`; ERR_IO names the file that cannot be read; ERR_DATA names the one that is no text or has
 * too many broken lines; ERR_MEMORY. Free with sy_documents_destroy (NULL is fine). */
sy_status sy_documents_load(const struct sy_data_options *options, struct sy_documents **out);
void sy_documents_destroy(struct sy_documents *documents);

/* Local. For the room. Adds a document of bytes that stand in `text`; makes document i other bytes of
 * it. */
sy_status sy_documents_add(struct sy_documents *documents, int64_t offset, int64_t bytes, int32_t file,
                           int64_t line);
void sy_document_set(struct sy_documents *documents, int64_t i, int64_t offset, int64_t bytes);

/* Local. Entropy in nats per byte of the byte-unigram distribution of documents index[0 … n-1]; 0 if
 * there are no bytes. */
double sy_documents_entropy(const struct sy_documents *documents, const int64_t *index, int64_t n);

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
