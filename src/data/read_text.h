/* A file of text to documents: plain text or JSON Lines, packed or not. */
#ifndef SY_DATA_READ_TEXT_H
#define SY_DATA_READ_TEXT_H

#include "data/documents.h"

struct sy_text_reading {
    struct sy_documents *to; /* its last file is read: path, bytes and hash of it are known at the end */
    const struct sy_data_options *o;
    /* After each document: may take the documents and texts out of `to`. NULL: they stay. */
    sy_status (*after)(void *arg, struct sy_documents *to);
    void *arg;
};

/* Local. Up to the document that max_bytes forbids: then `to` is full, and the file is read to its end for
 * its hash alone. Errors: ERR_IO, ERR_DATA name the file; ERR_MEMORY. */
sy_status sy_text_read(const struct sy_text_reading *reading);

/* Local. Whether a path has the name of JSON Lines. */
int sy_text_is_named_jsonl(const char *path);

#endif
