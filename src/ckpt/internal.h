/* What the files of this room share: paths, durable files, hashes, shards, the manifest. Private to src/ckpt. */
#ifndef SY_CKPT_INTERNAL_H
#define SY_CKPT_INTERNAL_H

#include <dirent.h>
#include <errno.h>
#include <xxhash.h>

#include "base/folders.h"
#include "ckpt/checkpoint.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "formats/xxh128.h"

#define SY_CKPT_MANIFEST "switchyard.json"
#define SY_CKPT_INDEX "model.safetensors.index.json"
#define SY_CKPT_TENSOR_HASHES "xxh3" /* metadata of our safetensors files: XXH3-64 of each tensor, 16 hex each, in order */

enum {
    SY_CKPT_MAX_JSON = 1 << 28,   /* bytes of any JSON file */
    SY_CKPT_MAX_FILES = 100000,   /* in a manifest */
    SY_CKPT_NAME_BYTES = 200,     /* of a file, relative to its checkpoint */
    SY_CKPT_MAX_STEP = 1000000000 /* training.steps' bound */
};

struct sy_ckpt_file {
    char name[SY_CKPT_NAME_BYTES]; /* "model-00001-of-00002.safetensors", "optimizer/…" */
    int64_t bytes;
    char hash[SY_CKPT_HASH_CHARS]; /* XXH3-128 */
};

struct sy_ckpt_files {
    struct sy_ckpt_file *item;
    int n, capacity;
};

/* Repeats a call that a signal interrupted: SY_CKPT_AGAIN(rc, rename(a, b)) leaves the last result in rc. */
#define SY_CKPT_AGAIN(rc, call) \
    do                          \
        (rc) = (call);          \
    while ((rc) != 0 && errno == EINTR)

/* ---- files.c ---- */

/* opendir that no signal interrupts. */
DIR *sy_ckpt_open_folder(const char *path);

/* rename, likewise. */
int sy_ckpt_rename(const char *from, const char *to);

/* a/b. Errors: ERR_USAGE too long. */
sy_status sy_ckpt_join(char out[SY_CKPT_PATH_BYTES], const char *a, const char *b);

/* Adds a record; sorts by name. */
sy_status sy_ckpt_files_add(struct sy_ckpt_files *files, const char *name, int64_t bytes, const char *hash);
void sy_ckpt_files_sort(struct sy_ckpt_files *files);

/* Creates folder/name with these bytes, synced, and records it in `files` (may be NULL). */
sy_status sy_ckpt_write_file(const char *folder, const char *name, const char *text, size_t bytes,
                             struct sy_ckpt_files *files);

/* The same for a JSON value, indented. */
sy_status sy_ckpt_write_json(const char *folder, const char *name, const json_t *value, struct sy_ckpt_files *files);

/* Removes a file or folder with all that is in it, never following links. 0, or errno of the first failure; no message, so
 * that the caller's stays. */
int sy_ckpt_remove(const char *path);

/* Size of a regular file. ERR_DATA if it is not there or none, ERR_IO. */
sy_status sy_ckpt_file_size(const char *path, int64_t *bytes);

/* A whole file of at most max_bytes; *text is malloc'ed and NUL-terminated. ERR_DATA if it is not there or larger. */
sy_status sy_ckpt_read_file(const char *path, int64_t max_bytes, char **text, size_t *bytes);

/* Hashes a file and compares with its record. ERR_DATA says what differs. */
sy_status sy_ckpt_check_file(const char *folder, const struct sy_ckpt_file *file);

/* ---- print_json.c ---- */

/* A value's text, the same on every machine; *text is malloc'ed and NUL-terminated. */
sy_status sy_ckpt_print_json(const json_t *value, char **text, size_t *bytes);

/* ---- folders.c: step-%08d and .tmp-* under <run_dir>/checkpoints ---- */

struct sy_ckpt_steps {
    int64_t *step; /* ascending */
    int n, capacity;
};

/* "step-00000100". */
void sy_ckpt_step_name(int64_t step, char out[32]);

/* The steps that have a folder; no such folder is none. Owned by the caller: free(out->step). */
sy_status sy_ckpt_steps_list(const char *folder, struct sy_ckpt_steps *out);

/* Removes .tmp-*; what cannot be removed is logged. */
void sy_ckpt_leftovers_remove(const char *folder, const struct sy_log *log);

/* Renames tmp to final, replacing a folder that is there in one motion; the old one is then under `tmp`. */
sy_status sy_ckpt_put_in_place(const char *folder, const char *tmp, const char *final);

/* Removes all but the newest `keep` of the checkpoints up to `step`, which stays. */
void sy_ckpt_prune(const char *folder, int64_t step, int64_t keep, const struct sy_log *log);

/* ---- shards_write.c, shards_read.c ---- */

struct sy_ckpt_shards {
    const char *folder, *prefix; /* "model", "optimizer/adam_m" */
    const struct sy_params *params;
    const float *data;
    int trained_only;
    int64_t max_file_bytes;
    struct sy_ckpt_files *files;
    struct sy_digest *digest; /* sum over the tensors; may be NULL */
    json_t *weight_map;       /* name -> file; may be NULL */
    int64_t total_bytes;      /* out: of the tensors */
};

/* Writes the tensors to as many files as are needed and adds these to the list. */
sy_status sy_ckpt_shards_write(struct sy_ckpt_shards *shards);

struct sy_ckpt_reading {
    const struct sy_params *params;
    float *data;
    int trained_only;
    int exact;                /* F32 only, nothing unknown; else BF16 and F16 are widened and unknown tensors counted */
    struct sy_digest *digest; /* may be NULL */
    unsigned char *seen;      /* per params->tensor */
    int64_t n_unknown;
    char first_unknown[SY_CKPT_NAME_BYTES];
};

/* Reads one file, every byte of it once. `record` NULL: not compared with a hash. */
sy_status sy_ckpt_shard_read(struct sy_ckpt_reading *reading, const char *folder, const char *name,
                             const struct sy_ckpt_file *record);

/* ---- recipe.c ---- */

sy_status sy_ckpt_recipe_hash(const json_t *recipe, char out[SY_CKPT_HASH_CHARS]);

/* Sets [numerics] and training.seq_len at SY_LAYER_CHECKPOINT. `where` is used in messages. */
sy_status sy_ckpt_recipe_apply(const char *where, const json_t *recipe, struct sy_config *config);

/* ---- manifest.c ---- */

struct sy_ckpt_manifest {
    json_t *root;
    struct sy_ckpt_info info;
    const char **former;
    struct sy_ckpt_files files;
};

/* The manifest's text. `files` are sorted. */
sy_status sy_ckpt_manifest_print(const struct sy_ckpt_state *state, const char *digest, const struct sy_ckpt_files *files,
                                 char **text, size_t *bytes);

/* Checks and parses a manifest's text. `name` is used in messages. Free with sy_ckpt_manifest_free, also after an error. */
sy_status sy_ckpt_manifest_parse(const char *name, const char *text, size_t bytes, struct sy_ckpt_manifest *out);
void sy_ckpt_manifest_free(struct sy_ckpt_manifest *manifest);

struct sy_ckpt {
    char path[SY_CKPT_PATH_BYTES];
    struct sy_ckpt_manifest manifest;
};

/* ---- latest and load ---- */

/* The distinct files of the weight_map of a model.safetensors.index.json. */
sy_status sy_ckpt_index_files(const char *path, const json_t *root, struct sy_ckpt_files *out);

/* The files "prefix-0000i-of-0000n.safetensors" that a checkpoint has, as records; without a manifest, those that its index
 * names or model.safetensors, with bytes -1. Owned by the caller: free(out->item). */
sy_status sy_ckpt_shard_list(const struct sy_ckpt *ckpt, const char *prefix, struct sy_ckpt_files *out);

#endif
