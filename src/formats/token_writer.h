/* Writing files of tokens in our own format (token_file.h), a document at a time: open, add …, finish. The
 * file's header has a fixed room, so that ids go out as they come; the index is kept until the end.
 */
#ifndef SY_FORMATS_TOKEN_WRITER_H
#define SY_FORMATS_TOKEN_WRITER_H

#include "formats/token_file.h"

struct sy_token_writer;

struct sy_token_head {
    const char *tokenizer; /* hash */
    int32_t n_ids;         /* every id is below */
    int is_bytes;          /* ids of texts are below 256, and handed over as bytes */
};

struct sy_token_note { /* metadata */
    const char *key, *value;
};

/* Local. Makes the file, which must not be there, and removes it on error; or, with fd >= 0, writes to
 * that, an empty file of this name, and closes it at the end. Errors: ERR_IO, ERR_MEMORY. */
sy_status sy_token_writer_open(const char *path, int fd, const struct sy_token_head *head,
                               struct sy_token_writer **out);

/* Local. A document: n, bytes and hash of `text`, and its ids: n of them as int32 or, if is_bytes, as
 * bytes. */
sy_status sy_token_writer_add(struct sy_token_writer *w, const struct sy_token_document *text,
                              const void *ids);

/* Local. So far. */
int64_t sy_token_writer_documents(const struct sy_token_writer *w);
int64_t sy_token_writer_tokens(const struct sy_token_writer *w);

/* Local. Ends and syncs the file, and frees the writer whatever the result. */
sy_status sy_token_writer_finish(struct sy_token_writer *w, const struct sy_token_note *notes, int n_notes);

/* Local. Ends as on error; NULL is fine. */
void sy_token_writer_abandon(struct sy_token_writer *w);

/* Local. An index of another's file: its documents and counts, without ids. `fd` as above. */
sy_status sy_token_index_write(const char *path, int fd, const struct sy_token_file *of,
                               const char *tokenizer, const struct sy_token_note *notes, int n_notes);

#endif
