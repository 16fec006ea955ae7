/* Which documents are trained on and which are held out (docs/NUMERICS.md 8).
 *
 * By share: documents in ascending (hash, place); one is held out if the bytes held out so far and its
 * own are at most floor(share * all bytes), else it is passed over. Copies count as one document of
 * their bytes together. If nothing fits, the largest document without a copy (equal: the first) is cut,
 * and its tail is held out as a document of its own; one of a file of tokens between two tokens. Neither
 * side is ever everything. Seed, file names and order do not matter, but for equal hashes or sizes.
 */
#ifndef SY_DATA_HOLDOUT_H
#define SY_DATA_HOLDOUT_H

#include "data/documents.h"

/* Local. Fills train, heldout and their counts; hashes are known. A document that is cut loses its tail,
 * which becomes the last document. The log says what was cut, and warns when more is held out than trained
 * on. Errors: ERR_MEMORY; those of reading a document that is cut. */
sy_status sy_holdout_split(struct sy_documents *documents, const struct sy_data_options *o);

/* Local. The same, for documents that were given for validation: those from `first` on are held out. A
 * warning counts those that are trained on too. Errors: ERR_MEMORY. */
sy_status sy_holdout_given(struct sy_documents *documents, int64_t first, const struct sy_log *log);

#endif
