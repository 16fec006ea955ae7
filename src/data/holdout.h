/* Which documents are held out: by ascending hash of their bytes until a share of all bytes is reached (documents.h). */
#ifndef SY_DATA_HOLDOUT_H
#define SY_DATA_HOLDOUT_H

#include "data/documents.h"

/* Local. Fills train, heldout and their counts; hashes are known. Errors: ERR_MEMORY. */
sy_status sy_holdout_split(struct sy_documents *documents, double holdout);

#endif
