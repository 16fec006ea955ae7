/* A model folder for sharing: weights in a chosen precision, config.json, generation_config.json, tokenizer
 * files, a README to fill in. No optimizer, no manifest.
 *
 * Tensors go from the files of one folder to those of the other piece by piece, whatever their number: no
 * more than a piece is in memory. The folder is made as OUT.tmp, synced and renamed.
 */
#ifndef SY_CKPT_EXPORT_H
#define SY_CKPT_EXPORT_H

#include "ckpt/checkpoint.h"
#include "formats/safetensors.h"

struct sy_export_options {
    enum sy_safetensors_dtype dtype; /* F32, BF16 or F16; an expert bias is F32 in each */
    int64_t max_file_bytes;          /* of a file of more than one tensor */
    const struct sy_log *log;        /* may be NULL */
    const volatile int *stop;        /* becomes non-zero to end; may be NULL */
};

struct sy_exported {
    int n_files;                /* with weights */
    int64_t bytes;              /* of all tensors */
    char from[SY_DIGEST_CHARS]; /* digest of the weights that were read */
    char to[SY_DIGEST_CHARS];   /* of those that were written, widened again */
};

/* Local. `config` is the model's, finished, `params` its parameters. Errors: ERR_USAGE `out` is there;
 * ERR_DATA a number beyond the precision's largest, with the tensor, and those of loading; ERR_IO, STOPPED.
 * Nothing is left behind then. */
sy_status sy_ckpt_export(const struct sy_ckpt *ckpt, const struct sy_config *config,
                         const struct sy_params *params, const char *out,
                         const struct sy_export_options *options, struct sy_exported *exported);

#endif
