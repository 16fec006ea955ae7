/* What a shared model folder has beside its tensors. Private to src/ckpt/export*.c. */
#ifndef SY_CKPT_EXPORT_FILES_H
#define SY_CKPT_EXPORT_FILES_H

#include "ckpt/export.h"

struct sy_export_about {
    const struct sy_ckpt *ckpt;
    const struct sy_config *config;
    const struct sy_params *params;
    const char *name; /* of the folder */
    enum sy_safetensors_dtype dtype;
    const struct sy_exported *exported;
};

/* Local. config.json, generation_config.json, README.md, and the tokenizer's files as they are in the model's
 * folder. Errors: ERR_IO, ERR_DATA a file of the model that cannot be read, ERR_MEMORY. */
sy_status sy_export_files(const struct sy_export_about *about, const char *folder);

#endif
