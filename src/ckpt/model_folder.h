/* A model to read: a checkpoint, a run (its newest whole checkpoint) or a Hugging Face folder. What
 * every command that reads one asks of it first, so that they refuse the same folders with the same
 * words and exit codes. */
#ifndef SY_CKPT_MODEL_FOLDER_H
#define SY_CKPT_MODEL_FOLDER_H

#include "ckpt/checkpoint.h"

/* Local. What a path is that names no model, before anything in it is called damaged. Errors: ERR_IO
 * nothing is there; ERR_USAGE a file, a folder of something else; ERR_RUNTIME a run that has saved
 * nothing yet; ERR_DATA a run's checkpoint that lacks its manifest. */
sy_status sy_model_folder_check(const char *path);

/* Local. Opens it; of a run the newest checkpoint that verifies. Errors: those of check, of sy_ckpt_open
 * and sy_ckpt_find_latest. Close with sy_ckpt_close. */
sy_status sy_model_folder_open(const char *path, const struct sy_log *log, struct sy_ckpt **out);

/* Local. Sets [model], [moe] and the recipe at SY_LAYER_CHECKPOINT. A folder of others with fp32 weights
 * has class fp32. Errors: those of sy_ckpt_config. */
sy_status sy_model_folder_config(const struct sy_ckpt *ckpt, struct sy_config *config);

/* Local. tokenizer.path becomes the folder's tokenizer, or "byte"; the command line's stays. ERR_UNAVAILABLE
 * names the file of one that is no tokenizer.json. */
sy_status sy_model_folder_tokenizer(const struct sy_ckpt *ckpt, struct sy_config *config);

#endif
