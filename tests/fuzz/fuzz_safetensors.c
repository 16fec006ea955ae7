/* Any bytes as a safetensors file: refused, or every tensor lies inside the buffer, they fill it without
 * gaps, names are found again, and all of it can be read.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "formats/safetensors.h"
#include "require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned read_all(const struct sy_safetensors *file, const struct sy_safetensors_tensor *tensor) {
    unsigned char piece[64];
    unsigned sum = 0;
    for (int64_t at = 0; at < tensor->bytes; at += (int64_t)sizeof piece) {
        int64_t n = tensor->bytes - at < (int64_t)sizeof piece ? tensor->bytes - at : (int64_t)sizeof piece;
        require(sy_safetensors_read(file, tensor, at, n, piece) == SY_OK);
        for (int64_t i = 0; i < n; i++)
            sum += piece[i];
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sy_safetensors *file = NULL;
    if (sy_safetensors_parse("fuzz", data, size, &file) != SY_OK) {
        require(file == NULL && sy_error_message()[0]);
        return 0;
    }
    volatile unsigned sum = 0;
    int64_t end = -1;
    for (int64_t i = 0; i < sy_safetensors_count(file); i++) {
        const struct sy_safetensors_tensor *tensor = sy_safetensors_at(file, i);
        require(end < 0 || tensor->offset == end);
        end = tensor->offset + tensor->bytes;
        require(tensor->offset >= 8 && end <= (int64_t)size);
        require(8 * tensor->bytes == tensor->n_elements * sy_safetensors_dtype_bits(tensor->dtype));
        require(sy_safetensors_find(file, tensor->name) == tensor);
        sum += read_all(file, tensor);
    }
    require(end < 0 || end == (int64_t)size);
    for (int64_t i = 0; i < sy_safetensors_metadata_count(file); i++)
        sum += (unsigned)strlen(sy_safetensors_metadata_at(file, i).value);
    sy_safetensors_close(file);
    return 0;
}
