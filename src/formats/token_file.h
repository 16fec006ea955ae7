/* Files of tokens: documents that are ids already.
 *
 *     ours      safetensors, metadata format = "switchyard tokens 1", tokenizer = its hash, n_ids, digest:
 *                 tokens     U8, U16 or I32 [tokens], without BOS and EOS
 *                 documents  I64 [documents, 4]: first token, tokens, bytes and XXH3-64 of the text
 *                 sums       U64 [blocks]: XXH3-64 of each 64 KiB of tokens, the last may be shorter
 *                 counts     I64 [n_ids]: how often each id stands in tokens
 *     an index  ours without tokens and sums, format = "switchyard token index 1": of a file as below
 *     llm.c     256 int32 (magic, version, tokens), ids; magic 20240520, version 1: uint16,
 *               20240801, version 7: uint32. BOS and EOS part documents and belong to none.
 *     Megatron  .idx: "MMIDIDX\0\0", version 1, type of ids, sequences, documents + 1; then each
 *               sequence's tokens and place, each document's first sequence; .bin beside it: ids.
 *               A BOS before a document and an EOS behind it are left out.
 *
 * Only the index is in memory. Ids are read at their place (pread) and not mapped: a file that is cut while
 * it is used is an error, not a signal. All ids of another's file are read once, when it is opened, and
 * checked; of ours, each block when it is first read.
 */
#ifndef SY_FORMATS_TOKEN_FILE_H
#define SY_FORMATS_TOKEN_FILE_H

#include "base/status.h"
#include "formats/token_ids.h"

enum { SY_TOKEN_BLOCK_BYTES = 1 << 16 };

enum sy_token_kind { SY_TOKEN_NO_FILE, SY_TOKEN_OURS, SY_TOKEN_LLMC, SY_TOKEN_MEGATRON };

struct sy_token_document {
    int64_t first, n; /* ids of the file */
    int64_t bytes;    /* of the text; 4 an id where the file knows no text */
    uint64_t hash;    /* XXH3-64 of the text; of the ids as int32 */
};

struct sy_token_stored { /* a file as it is stored */
    char *path;
    int64_t bytes;
    char hash[33]; /* XXH3-128 of these; of ours: its digest */
};

struct sy_token_file {
    struct sy_token_stored stored[2]; /* where the ids are; Megatron's index */
    int n_stored, fd;
    enum sy_ids ids;
    int64_t n, base; /* ids; the byte where they begin */
    struct sy_token_document *document;
    int64_t n_documents, n_empty; /* empty ones are not among the documents */
    int32_t n_ids;
    int64_t *counts;        /* [n_ids] */
    uint64_t *sums;         /* of blocks; NULL: not ours */
    unsigned char *checked; /* of each block, atomically: it was read and is right */
    void *notes;            /* metadata of ours: json_t */
};

struct sy_token_options {    /* of the run */
    const char *tokenizer;   /* its hash */
    int32_t n_ids, bos, eos; /* BOS may be negative: there is none */
};

/* Local. What a file is, by its first bytes; a .bin whose .idx stands beside it is Megatron's.
 * SY_TOKEN_NO_FILE also where it cannot be read. Fills other[bytes] with the path of the .idx or .bin that
 * belongs to it. */
enum sy_token_kind sy_token_file_kind(const char *path, char *other, size_t bytes);

/* Local. Opens and checks a file, either one of Megatron's two. Errors: ERR_IO, ERR_DATA another tokenizer,
 * an id (place, id, bound), damage; ERR_USAGE it is none; ERR_MEMORY. */
sy_status sy_token_file_open(const char *path, const struct sy_token_options *o, struct sy_token_file **out);
void sy_token_file_close(struct sy_token_file *file);

/* Local. Ids first … first + n - 1. Errors: ERR_IO, ERR_DATA a block that is damaged, a file that became
 * shorter. From any thread. */
sy_status sy_token_file_read(const struct sy_token_file *file, int64_t first, int64_t n, int32_t *out);

/* Local. Checks every block of ours that was not yet. */
sy_status sy_token_file_check(const struct sy_token_file *file);

/* Local. The index of another's file is taken from `index`, an index of it, and neither is read. The notes
 * are the index's. */
sy_status sy_token_file_open_indexed(const char *path, const char *index, const struct sy_token_options *o,
                                     struct sy_token_file **out);

/* Local. A word that the writer was given; NULL: there is none. And a number: -1. */
const char *sy_token_file_note(const struct sy_token_file *file, const char *key);
int64_t sy_token_file_number(const struct sy_token_file *file, const char *key);

#endif
