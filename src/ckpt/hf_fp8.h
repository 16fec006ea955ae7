/* Matrices of 8 bits in a Hugging Face folder, as DeepSeek-V3's and Qwen3's are published: a
 * quantization_config with quant_method "fp8" and a weight_block_size [bm, bn]. A matrix is F8_E4M3, and
 * beside it stands a tensor of scales, <name>_scale_inv [rows/bm, cols/bn], one a block of bm rows and bn
 * columns:
 *
 *     w[i][j] = value[i][j] * scale[i / bm][j / bn]      one fp32 product
 */
#ifndef SY_CKPT_HF_FP8_H
#define SY_CKPT_HF_FP8_H

#include <jansson.h>

#include "ckpt/internal.h"
#include "formats/safetensors.h"

struct sy_hf_fp8;

/* Local. Whether a config.json says so, and with which blocks. */
int sy_hf_fp8_block(const json_t *root, int64_t block[2]);

/* Local. Lists the scales of a folder's files. Errors: ERR_MEMORY, of the files. sy_hf_fp8_close (NULL is
 * fine). */
sy_status sy_hf_fp8_open(const char *folder, const struct sy_ckpt_files *files, const int64_t block[2],
                         struct sy_hf_fp8 **out);
void sy_hf_fp8_close(struct sy_hf_fp8 *q);

/* Local. Whether a tensor is a scale of another. */
int sy_hf_fp8_is_scale(const char *name);

/* Local. The scales of a matrix are read; then its elements first .. first + n - 1 are widened. Errors:
 * ERR_DATA where there are none, or of another shape. */
sy_status sy_hf_fp8_begin(struct sy_hf_fp8 *q, const char *path, const struct sy_safetensors_tensor *matrix);
void sy_hf_fp8_widen(const struct sy_hf_fp8 *q, const unsigned char *from, int64_t first, int64_t n,
                     float *to);

#endif
