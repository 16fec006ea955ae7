/* A file of tokens to documents. */
#ifndef SY_DATA_TOKEN_DOCUMENTS_H
#define SY_DATA_TOKEN_DOCUMENTS_H

#include "data/documents.h"
#include "formats/token_writer.h"

/* Local. What a run asks of a file of tokens. */
struct sy_token_options sy_token_options_of(const struct sy_tokenizer *tokenizer);

/* Local. Adds the files of `path`, which is taken over, and their documents, up to the one that max_bytes
 * forbids. The second of Megatron's two files brings nothing more. Errors: those of sy_token_file_open. */
sy_status sy_token_documents_add(struct sy_documents *documents, const struct sy_data_options *o, char *path);

/* Local. Documents of an open file, that of the last entry, which is handed over. */
sy_status sy_token_documents_take(struct sy_documents *documents, const struct sy_data_options *o,
                                  struct sy_token_file *ids);

enum { SY_TOKENS_AT_ONCE = 1 << 25 }; /* bytes of text */

/* Local. Tokens of all texts that stand in `documents` go to the writer, and they stand there no more.
 * Errors: those of sy_corpus_create and of writing. */
sy_status sy_token_documents_write(struct sy_documents *documents, const struct sy_data_options *o,
                                   struct sy_token_writer *writer);

/* Local. Document i becomes tokens first … first + n - 1 of its file, known by their ids alone. */
sy_status sy_token_document_set(struct sy_documents *documents, int64_t i, int64_t first, int64_t n);

#endif
