/* Documents by way of the cache (cache.h): the tokens of a file of text, and the index of another's file of
 * tokens, are made once. An entry that is damaged is named in the log and made anew.
 */
#ifndef SY_DATA_CACHED_H
#define SY_DATA_CACHED_H

#include "data/documents.h"

/* What of the entries of a data set is checked whole at its start; of the rest the index is, and each block
 * of tokens when it is first read. */
enum { SY_CACHE_CHECKED_BYTES = 1 << 28 };

/* Local. Adds a file of text, `path` taken over, whose tokens stand in the cache afterwards. */
sy_status sy_cached_text_add(struct sy_documents *documents, const struct sy_data_options *o, char *path);

/* Local. Opens a file of tokens; the index of another's is taken from the cache, or put there. */
sy_status sy_cached_tokens_open(struct sy_documents *documents, const struct sy_data_options *o,
                                const char *path, struct sy_token_file **out);

/* Local. Document i, of a file of text, stands in memory as text again. Errors: those of reading its file. */
sy_status sy_cached_text_again(struct sy_documents *documents, const struct sy_data_options *o, int64_t i);

#endif
