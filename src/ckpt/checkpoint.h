/* Checkpoints: a Hugging Face model folder, the optimizer's moments beside it, and a manifest that is written last.
 *
 *     <run.dir>/checkpoints/step-00000100/
 *         config.json  tokenizer_config.json  model-0000i-of-0000n.safetensors  model.safetensors.index.json  fp32 masters
 *         optimizer/adam_m-0000i-of-0000n.safetensors  optimizer/adam_v-…                                       same names
 *         switchyard.json   recipe, step, data, config, weights_digest; name, bytes, XXH3-128 of every other file
 *
 * Whole tensors in bytewise order of their names; equal state gives equal bytes in every file, whatever the layout. A folder
 * is made as .tmp-step-…, every file and the folder are synced, then it is renamed: under its real name only whole
 * checkpoints are ever seen. What is read is checked: sizes, hashes, names, shapes, digest. Folders without switchyard.json
 * (Hugging Face's own) give weights alone.
 */
#ifndef SY_CKPT_CHECKPOINT_H
#define SY_CKPT_CHECKPOINT_H

#include <jansson.h>

#include "base/digest.h"
#include "base/log.h"
#include "config/config.h"
#include "model/params.h"

enum { SY_CKPT_PATH_BYTES = 4096, SY_CKPT_HASH_CHARS = 33, SY_CKPT_MAX_FORMER = 1000 };

/* What is saved. Everything is borrowed. w, m, v are flat buffers in the layout of `params`: w has n_floats elements, m and
 * v at least n_trained. */
struct sy_ckpt_state {
    const struct sy_config *config; /* finished */
    const struct sy_params *params;
    const float *w, *m, *v;
    int64_t step;                      /* steps done; the folder's name */
    int64_t next_sequence;             /* index of the first sequence that was not used */
    const char *const *former_recipes; /* recipe ids before this one, oldest first (sy_ckpt_info.former_recipes) */
    int n_former_recipes;
    const json_t *data_fingerprint; /* sy_documents_fingerprint; NULL: none */
    const json_t *trainer;          /* what else the trainer wants back, an object; NULL: none. Layout must not show in it */
    const char *weights_digest;     /* 32 hex: compared with what is written; NULL: not known */
};

struct sy_ckpt_save_options {
    int64_t keep_latest_k;    /* checkpoints that stay, the new one included; 0: all */
    int64_t max_file_bytes;   /* of a safetensors file of more than one tensor; 0: 2 GiB */
    const struct sy_log *log; /* may be NULL */
};

/* Local. Saves to <run_dir>/checkpoints/step-%08d, making folders as needed, then removes leftovers of dead saves and the
 * oldest checkpoints. A folder of that step which is already there is replaced in one motion. `path_out` gets the path; may
 * be NULL. Errors: ERR_IO (disk full, read-only; names file and errno's text), ERR_RUNTIME digest differs, ERR_MEMORY;
 * nothing is left behind then and older checkpoints are untouched. A failed removal is a log line, not an error. */
sy_status sy_ckpt_save(const char *run_dir, const struct sy_ckpt_state *state, const struct sy_ckpt_save_options *options,
                       char path_out[SY_CKPT_PATH_BYTES]);

struct sy_ckpt; /* an open checkpoint */

/* What its manifest says. Borrowed from the checkpoint. */
struct sy_ckpt_info {
    const char *path;
    int has_manifest; /* 0: a Hugging Face folder; everything below is 0 or NULL */
    int64_t step, next_sequence;
    uint64_t seed;
    const char *recipe_id;
    const json_t *recipe;
    const char *const *former_recipes;
    int n_former_recipes;
    const json_t *data_fingerprint, *trainer; /* NULL: none */
    const char *config;                       /* TOML: what is not layout */
    const char *weights_digest;
};

/* Local. Opens a folder: reads the manifest and checks it against itself, then that every file is there with its size. With
 * `need_manifest` a folder without switchyard.json is ERR_DATA. Contents of the other files are checked by load and verify.
 * Errors: ERR_DATA names file and fault, ERR_IO, ERR_MEMORY. Close with sy_ckpt_close (NULL is fine). */
sy_status sy_ckpt_open(const char *path, int need_manifest, struct sy_ckpt **out);
void sy_ckpt_close(struct sy_ckpt *ckpt);
const struct sy_ckpt_info *sy_ckpt_info(const struct sy_ckpt *ckpt);

/* Local. Hashes every file that the manifest lists. Errors: ERR_DATA names the first that differs; ERR_IO, ERR_MEMORY. */
sy_status sy_ckpt_verify(const struct sy_ckpt *ckpt);

/* Local. The newest checkpoint of a run that opens and verifies; each newer one that was skipped is a warning with the
 * reason. No checkpoints at all (or no such folder): SY_OK and *out = NULL. Errors: ERR_DATA if there are some and all are
 * damaged, ERR_IO, ERR_MEMORY. */
sy_status sy_ckpt_find_latest(const char *run_dir, const struct sy_log *log, struct sy_ckpt **out);

/* Local. 1 if the run's folder has any folder named like a checkpoint, damaged or not. */
int sy_ckpt_any(const char *run_dir);

/* Local. Sets [model] and [moe] from config.json at SY_LAYER_CHECKPOINT, and with `recipe` also what the manifest's recipe
 * says ([numerics], training.seq_len). Errors: ERR_DATA (broken, or a model that switchyard does not compute: names the
 * key). */
sy_status sy_ckpt_config(const struct sy_ckpt *ckpt, int recipe, struct sy_config *config);

struct sy_ckpt_target {
    const struct sy_params *params;
    float *w, *m, *v; /* as in sy_ckpt_state; m and v NULL: weights alone */
};

/* Local. Reads the tensors into the target's buffers (gaps of the layout are not touched), widening BF16 and F16 of Hugging
 * Face folders. Checks names, shapes, dtypes, every byte against the manifest's hashes and the weights digest. A Hugging
 * Face folder's tensors that the model has not are named in the log, a missing expert bias is zeros. `digest_out` gets the
 * weights digest; may be NULL. Errors: ERR_DATA names file and tensor, ERR_USAGE moments wanted of a folder that has none,
 * ERR_IO, ERR_MEMORY; the buffers hold rubbish then. */
sy_status sy_ckpt_load(const struct sy_ckpt *ckpt, const struct sy_ckpt_target *target, const struct sy_log *log,
                       char digest_out[SY_DIGEST_CHARS]);

/* Local. The recipe of a finished config as a JSON object (the caller's: json_decref), and its id: XXH3-128 of the object's
 * canonical text, keys sorted, no spaces. Stable over versions as long as the recipe's meaning is. */
sy_status sy_ckpt_recipe(const struct sy_config *config, json_t **out);
sy_status sy_ckpt_recipe_id(const struct sy_config *config, char out[SY_CKPT_HASH_CHARS]);

/* Local. ERR_USAGE that names every part of the recipe in which a checkpoint and a config differ and what to do; SY_OK if
 * none. The caller decides whether checkpoint.new_recipe allows it. */
sy_status sy_ckpt_recipe_check(const struct sy_ckpt *ckpt, const struct sy_config *config);

/* Local. Prints and checks a checkpoint folder, a Hugging Face folder, or one safetensors file: files with hash ok or what
 * is damaged, tensors with dtype, shape and bytes. Errors: the first fault found (ERR_DATA, ERR_IO), after everything was
 * printed. */
sy_status sy_ckpt_inspect(const char *path, sy_write_fn write, void *user);

#endif
