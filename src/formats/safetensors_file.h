/* Inside of an open safetensors file; private to safetensors.c and safetensors_header.c. Names, keys and
 * values point into the parsed header, which lives as long as the file.
 */
#ifndef SY_FORMATS_SAFETENSORS_FILE_H
#define SY_FORMATS_SAFETENSORS_FILE_H

#include "formats/json.h"
#include "formats/safetensors.h"

struct sy_safetensors {
    char *path;
    int fd;             /* -1 when in memory */
    const char *memory; /* NULL when open */
    int64_t bytes;
    json_t *header;
    struct sy_safetensors_tensor *tensors;        /* by offset */
    const struct sy_safetensors_tensor **by_name; /* bytewise */
    struct sy_safetensors_pair *metadata;
    int64_t n_tensors, n_metadata;
};

/* Local. Parses `bytes` bytes of JSON, fills everything behind `bytes` and enforces every rule.
 * file->bytes is known. */
sy_status sy_safetensors_header_parse(struct sy_safetensors *file, const char *header, size_t bytes);

#endif
