/* TensorBoard's event files: TFRecords of Event messages (tensorflow/core/util/event.proto), written by hand.
 *
 *     record   u64 length | u32 masked CRC-32C of it | bytes | u32 masked CRC-32C of them      little-endian
 *
 * A file is one history: opening it for a step cuts off what later steps left, and a torn record.
 */
#ifndef SY_FORMATS_TFEVENTS_H
#define SY_FORMATS_TFEVENTS_H

#include <stdio.h>

#include "base/text.h"
#include "base/status.h"

struct sy_tfevents {
    FILE *file; /* NULL: closed */
    char path[4200];
    struct sy_text event, summary, value, part; /* of the message that is made */
    int is_new;                                 /* the file had no record */
};

/* Local. For appending after `step`. Errors: ERR_IO; ERR_DATA it is there and no event file. */
sy_status sy_tfevents_open(const char *path, int64_t step, struct sy_tfevents *out);
/* Local. What was put since the last call, as one event. Errors: ERR_IO, ERR_MEMORY. */
sy_status sy_tfevents_write(struct sy_tfevents *t, int64_t step, double wall_time);
sy_status sy_tfevents_flush(struct sy_tfevents *t);
void sy_tfevents_close(struct sy_tfevents *t); /* of {0} too */

/* Local. Values of the next event. A histogram has a bucket for each of n whole numbers from 0. Metadata are for a
 * plugin: `content` of `bytes` bytes (NULL: none); text NULL: an empty tensor. */
void sy_tfevents_scalar(struct sy_tfevents *t, const char *tag, double value);
void sy_tfevents_histogram(struct sy_tfevents *t, const char *tag, const int64_t *count, int64_t n);
void sy_tfevents_plugin(struct sy_tfevents *t, const char *tag, const char *plugin,
                        const struct sy_text *content, const char *text);

/* Local. Fields of a message (protobuf's wire format). */
void sy_proto_bytes(struct sy_text *m, int field, const void *bytes, size_t n);
void sy_proto_string(struct sy_text *m, int field, const char *s);
void sy_proto_int(struct sy_text *m, int field, uint64_t value);
void sy_proto_double(struct sy_text *m, int field, double value);
void sy_proto_float(struct sy_text *m, int field, float value);

#endif
