/* Checkpoints: a Hugging Face model folder, the optimizer's moments beside it, and a manifest written last.
 *
 *     <run.dir>/checkpoints/step-00000100/
 *         config.json  tokenizer.json  tokenizer_config.json  model.safetensors.index.json
 *         model-0000i-of-0000n.safetensors                        fp32 masters
 *         optimizer/adam_m-0000i-of-0000n.safetensors  adam_v-…   the same names
 *         switchyard.json   recipe, step, data, config, weights_digest;
 *                           a digest of each tensor; name, bytes and hash of each file
 *
 * Whole tensors in bytewise order of their names; equal state gives equal bytes in every file, whatever the
 * layout. A folder is made as .tmp-step-…, every file and the folder are synced, then it is renamed: under
 * its real name only whole checkpoints are ever seen. What is read is checked: sizes, hashes, names, shapes,
 * digests. Folders without switchyard.json (Hugging Face's own) give weights alone.
 *
 * Every byte is under one guard: of a safetensors file, length and XXH3-128 of the header are in the
 * manifest, and of each tensor the digest of its words, a sum that parts can be added to in any order; of any
 * other file the hash of all of it; of the manifest its own hash. Format version 1 had hashes of whole files
 * and no digests of tensors; it is still read.
 */
#ifndef SY_CKPT_CHECKPOINT_H
#define SY_CKPT_CHECKPOINT_H

#include <jansson.h>

#include "base/digest.h"
#include "base/log.h"
#include "comm/comm.h"
#include "config/config.h"
#include "model/params.h"
#include "tokenizer/tokenizer.h"

enum { SY_CKPT_PATH_BYTES = 4096, SY_CKPT_HASH_CHARS = 33, SY_CKPT_MAX_FORMER = 1000 };

enum sy_ckpt_kind { SY_CKPT_WEIGHTS, SY_CKPT_ADAM_M, SY_CKPT_ADAM_V, SY_CKPT_KINDS };

/* Elements first … first+n-1, row by row, of params->tensor[tensor]. */
struct sy_ckpt_range {
    enum sy_ckpt_kind kind;
    int tensor;
    int64_t first, n;
};

/* What one rank holds of a tensor: whole blocks of SY_CKPT_PIECE_UNIT elements, or to the end. It writes
 * what it answers for; of all ranks' parts these make up the tensor, each element once. */
struct sy_ckpt_part {
    int64_t first, n; /* n = 0: nothing */
    int answers;
};

enum { SY_CKPT_PIECE_UNIT = 1024, SY_CKPT_PIECE = 1 << 18, SY_CKPT_MAX_PIECE = 1 << 28 };

/* Where the numbers are: in this process, or in parts on the ranks of `comm`, which then save and load
 * together. The calls come one after the other: kind by kind, tensors in bytewise order of their names (out
 * of a Hugging Face folder: in its files' order), and within a rank's part by ascending `first`, `piece`
 * elements at a time, or what is left. Moments are asked for trained tensors alone. The floats may be any
 * words, NaN among them, and are copied as they are. What is not SY_OK ends the save or load with that
 * status, on every rank. No byte of a file depends on `piece`, on the parts or on the number of ranks. */
struct sy_ckpt_store {
    void *self;
    const struct sy_comm *comm; /* NULL: one rank */
    /* what this rank has; NULL: all of every tensor */
    struct sy_ckpt_part (*part)(void *self, enum sy_ckpt_kind kind, int tensor);
    /* out of the state, to be saved; into the state, as loaded */
    sy_status (*get)(void *self, const struct sy_ckpt_range *range, float *x);
    /* said after a get: what will be asked for next; it may begin to come meanwhile. NULL: of no use */
    void (*ahead)(void *self, const struct sy_ckpt_range *range);
    sy_status (*put)(void *self, const struct sy_ckpt_range *range, const float *x);
    /* elements: a multiple of SY_CKPT_PIECE_UNIT up to SY_CKPT_MAX_PIECE; 0: SY_CKPT_PIECE */
    int64_t piece;
};

/* What is saved. Everything is borrowed. */
struct sy_ckpt_state {
    const struct sy_config *config; /* finished */
    const struct sy_params *params;
    const struct sy_ckpt_store *store; /* its `get` */
    int64_t step;                      /* steps done; the folder's name */
    int64_t next_sequence;             /* index of the first sequence that was not used */
    const char *const
        *former_recipes; /* recipe ids before this one, oldest first (sy_ckpt_info.former_recipes) */
    int n_former_recipes;
    const json_t *data_fingerprint;       /* sy_documents_fingerprint; NULL: none */
    const struct sy_tokenizer *tokenizer; /* NULL: bytes */
    const json_t
        *trainer; /* what else the trainer wants back, an object; NULL: none. Layout must not show in it */
    const json_t *initial; /* sy_start_record: what the run began with; NULL: initial values */
    const char *weights_digest; /* 32 hex: compared with what is written; NULL: not known */
};

struct sy_ckpt_save_options {
    int64_t keep_latest_k;    /* checkpoints that stay, the new one included; 0: all */
    int64_t max_file_bytes;   /* of a safetensors file of more than one tensor; 0: 2 GiB */
    const struct sy_log *log; /* may be NULL */
};

/* Collective over the store's ranks, which see one file system: each writes its parts, rank 0 all else.
 * Saves to <run_dir>/checkpoints/step-%08d, making folders as needed, then removes leftovers of dead saves
 * and the oldest checkpoints. A folder of that step which is already there is replaced in one motion.
 * `path_out` gets the path; may be NULL. Errors: ERR_IO (disk full, read-only; names file and errno's text),
 * ERR_RUNTIME digest differs, ERR_MEMORY; nothing is left behind then and older checkpoints are untouched. A
 * failed removal is a log line, not an error. */
sy_status sy_ckpt_save(const char *run_dir, const struct sy_ckpt_state *state,
                       const struct sy_ckpt_save_options *options, char path_out[SY_CKPT_PATH_BYTES]);

struct sy_ckpt; /* an open checkpoint */

/* What its manifest says. Borrowed from the checkpoint. */
struct sy_ckpt_info {
    const char *path;
    int has_manifest; /* 0: a Hugging Face folder; everything below is 0 or NULL */
    int version;      /* of the format */
    int64_t step, next_sequence;
    uint64_t seed;
    const char *recipe_id;
    const json_t *recipe;
    const char *const *former_recipes;
    int n_former_recipes;
    const json_t *data_fingerprint, *trainer, *initial; /* NULL: none */
    const char *config;                       /* TOML: what is not layout */
    const char *weights_digest;
};

/* Local. Opens a folder: reads the manifest and checks it against itself, then that every file is there with
 * its size. With `need_manifest` a folder without switchyard.json is ERR_DATA. Contents of the other files
 * are checked by load and verify. Errors: ERR_DATA names file and fault, ERR_IO, ERR_MEMORY. Close with
 * sy_ckpt_close (NULL is fine). */
sy_status sy_ckpt_open(const char *path, int need_manifest, struct sy_ckpt **out);
void sy_ckpt_close(struct sy_ckpt *ckpt);
const struct sy_ckpt_info *sy_ckpt_info(const struct sy_ckpt *ckpt);

/* Collective over `comm`, NULL: local. Reads and checks every byte of every file that the manifest lists,
 * each rank its share. Errors: ERR_DATA names a file that differs, and the tensor if it is in its data;
 * ERR_IO, ERR_MEMORY. */
sy_status sy_ckpt_verify(const struct sy_ckpt *ckpt, const struct sy_comm *comm);

/* Collective over `comm`, NULL: local. The newest checkpoint of a run that opens and verifies; each newer one
 * that was skipped is a warning with the reason. No checkpoints at all (or no such folder): SY_OK and *out =
 * NULL. Errors: ERR_DATA if there are some and all are damaged, ERR_IO, ERR_MEMORY. */
sy_status sy_ckpt_find_latest(const char *run_dir, const struct sy_log *log, const struct sy_comm *comm,
                              struct sy_ckpt **out);

/* The same among those of fewer than `before` steps. */
sy_status sy_ckpt_find_before(const char *run_dir, int64_t before, const struct sy_log *log,
                              const struct sy_comm *comm, struct sy_ckpt **out);

/* Local. The oldest checkpoint of at least `from` steps whose manifest is whole, to see what the run was
 * then; NULL if there is none. Errors: ERR_MEMORY. */
sy_status sy_ckpt_find_from(const char *run_dir, int64_t from, struct sy_ckpt **out);

/* Local. 1 if the run's folder has any folder named like a checkpoint, damaged or not. */
int sy_ckpt_any(const char *run_dir);

/* Local. Sets [model] and [moe] from config.json at SY_LAYER_CHECKPOINT, and with `recipe` also what the
 * manifest's recipe says ([numerics], training.seq_len). Errors: ERR_DATA (broken, or a model that switchyard
 * does not compute: names the key). */
sy_status sy_ckpt_config(const struct sy_ckpt *ckpt, int recipe, struct sy_config *config);

/* Local. max_position_embeddings of config.json; 0: it says none, or cannot be read. */
int64_t sy_ckpt_positions(const struct sy_ckpt *ckpt);

struct sy_ckpt_target {
    const struct sy_params *params;
    const struct sy_ckpt_store *store; /* its `put` */
    int moments;                       /* 0: weights alone */
};

/* Collective over the store's ranks. Puts the tensors into the target's store, on each rank its parts,
 * widening BF16 and F16 of Hugging Face folders. Checks names, shapes, dtypes, every byte against the
 * manifest's hashes and digests, and the weights digest. A Hugging Face folder's tensors that the model
 * has not are named in the log, a missing expert bias is zeros. `digest_out` gets the weights digest;
 * may be NULL. Errors: ERR_DATA names file and tensor, ERR_USAGE moments wanted of a folder that has
 * none, ERR_IO, ERR_MEMORY, the store's; the state holds rubbish then. */
sy_status sy_ckpt_load(const struct sy_ckpt *ckpt, const struct sy_ckpt_target *target,
                       const struct sy_log *log, char digest_out[SY_DIGEST_CHARS]);

/* Local. The recipe of a finished config as a JSON object (the caller's: json_decref), and its id: XXH3-128
 * of the object's canonical text, keys sorted, no spaces. Stable over versions as long as the recipe's
 * meaning is. */
sy_status sy_ckpt_recipe(const struct sy_config *config, json_t **out);
sy_status sy_ckpt_recipe_id(const struct sy_config *config, char out[SY_CKPT_HASH_CHARS]);

/* Local. ERR_USAGE that names every part of the recipe in which a checkpoint and a config differ and what to
 * do; SY_OK if none. The caller decides whether checkpoint.new_recipe allows it. */
sy_status sy_ckpt_recipe_check(const struct sy_ckpt *ckpt, const struct sy_config *config);

/* Local. Prints and checks a checkpoint folder, a Hugging Face folder, or one safetensors file, by the
 * manifest beside it if there is one: files with hash ok or what is damaged, tensors with dtype, shape and
 * bytes. Errors: the first fault found (ERR_DATA, ERR_IO), after everything was printed. */
sy_status sy_ckpt_inspect(const char *path, sy_write_fn write, void *user);

#endif
