/* An epoch's order kept in the cache: of many documents it takes seconds to make, and a moment to read. */
#ifndef SY_DATA_ORDER_FILE_H
#define SY_DATA_ORDER_FILE_H

#include "base/log.h"
#include "base/status.h"

enum { SY_ORDER_KEPT_DOCUMENTS = 1 << 16 }; /* of fewer it is not kept */

struct sy_order_file {
    const char *dir; /* data.cache_dir; NULL or "": nothing is kept */
    const struct sy_log *log;
    /* What the order is of: the documents' and the tokenizer's hash */
    const char *documents, *tokenizer;
    uint64_t seed;
    int shuffle;
    int64_t epoch, n;
};

/* Local. Reads order[n] and start[n + 1]; 0: there is none, or it is damaged, which is said. */
int sy_order_file_read(const struct sy_order_file *o, int64_t *order, int64_t *start);

/* Local. Keeps them, and removes that of the epoch before the last. What fails is said: the run goes on. */
void sy_order_file_write(const struct sy_order_file *o, const int64_t *order, const int64_t *start);

#endif
