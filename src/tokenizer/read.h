/* Reading tokenizer.json: what is known is read, what is not is refused by its name. For the room. */
#ifndef SY_TOKENIZER_READ_H
#define SY_TOKENIZER_READ_H

#include "formats/json.h"
#include "tokenizer/model.h"

enum { SY_WHERE = 512 };

struct sy_reading {
    const char *name; /* of the file */
    struct sy_bpe *bpe;
};

/* Local. "name: where.key = value: known: …" with ERR_UNAVAILABLE. */
sy_status sy_read_unknown(const char *where, const char *key, const json_t *value, const char *known);

/* Local. ERR_UNAVAILABLE names a key with a value that is not among `known`, which stand between spaces:
 * " type vocab ". */
sy_status sy_read_keys(const char *where, const json_t *object, const char *known);

/* Local. An optional boolean. */
sy_status sy_read_flag(const char *where, const json_t *object, const char *key, int otherwise, int *out);

/* The parts of the file, each an object or null. */
sy_status sy_read_model(struct sy_reading *r, const json_t *model);
sy_status sy_read_added(struct sy_reading *r, const json_t *list);
sy_status sy_read_normalizer(struct sy_reading *r, const json_t *value);
sy_status sy_read_pre_tokenizer(struct sy_reading *r, const json_t *value);
sy_status sy_read_post_processor(struct sy_reading *r, const json_t *value);
sy_status sy_read_decoder(struct sy_reading *r, const json_t *value);

/* A Metaspace of a pre_tokenizer or decoder: scheme, splits and text of `step`, which is the caller's. */
sy_status sy_read_metaspace(const char *where, const json_t *value, struct sy_step *step);

/* A copy with a NUL behind; NULL without memory. */
char *sy_read_copy(const char *s, size_t n);

#endif
