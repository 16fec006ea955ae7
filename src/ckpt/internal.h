/* Private to src/ckpt: paths, durable files, hashes, digests, shards, the manifest. */
#ifndef SY_CKPT_INTERNAL_H
#define SY_CKPT_INTERNAL_H

#include <dirent.h>
#include <errno.h>
#include <xxhash.h>

#include "base/files.h"
#include "base/folders.h"
#include "ckpt/checkpoint.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "formats/xxh128.h"

#define SY_CKPT_MANIFEST "switchyard.json"
#define SY_CKPT_INDEX "model.safetensors.index.json"
#define SY_CKPT_TENSOR_HASHES \
    "xxh3" /* metadata of version 1's safetensors files: XXH3-64 of each tensor, 16 hex each, in order */

enum {
    SY_CKPT_MAX_JSON = 1 << 28,    /* bytes of any JSON file */
    SY_CKPT_MAX_FILES = 100000,    /* in a manifest */
    SY_CKPT_NAME_BYTES = 200,      /* of a file, relative to its checkpoint */
    SY_CKPT_MAX_STEP = 1000000000, /* training.steps' bound */
    SY_CKPT_VERSION = 2            /* of the format, as it is written */
};

struct sy_ckpt_file {
    char name[SY_CKPT_NAME_BYTES]; /* "model-00001-of-00002.safetensors", "optimizer/…" */
    int64_t bytes;
    char hash[SY_CKPT_HASH_CHARS]; /* XXH3-128; "" of a file that no manifest lists */
    int of_header;                 /* the hash is of a safetensors header alone: its tensors have digests */
};

struct sy_ckpt_files {
    struct sy_ckpt_file *item;
    int n, capacity;
};

/* ---- files.c ---- */

/* opendir that no signal interrupts. */
DIR *sy_ckpt_open_folder(const char *path);

/* rename, likewise. */
int sy_ckpt_rename(const char *from, const char *to);

/* a/b. Errors: ERR_USAGE too long. */
sy_status sy_ckpt_join(char out[SY_CKPT_PATH_BYTES], const char *a, const char *b);

/* Adds a record; sorts by name; the record of a name, or NULL. */
sy_status sy_ckpt_files_add(struct sy_ckpt_files *files, const char *name, int64_t bytes, const char *hash,
                            int of_header);
void sy_ckpt_files_sort(struct sy_ckpt_files *files);
const struct sy_ckpt_file *sy_ckpt_files_find(const struct sy_ckpt_files *files, const char *name);

/* Creates folder/name with these bytes, synced, and records it in `files` (may be NULL). */
sy_status sy_ckpt_write_file(const char *folder, const char *name, const char *text, size_t bytes,
                             struct sy_ckpt_files *files);

/* The same for a JSON value, indented. */
sy_status sy_ckpt_write_json(const char *folder, const char *name, const json_t *value,
                             struct sy_ckpt_files *files);

/* Removes a file or folder with all that is in it, never following links. 0, or errno of the first failure;
 * no message, so that the caller's stays. */
int sy_ckpt_remove(const char *path);

/* Size of a regular file. ERR_DATA if it is not there or none, ERR_IO. */
sy_status sy_ckpt_file_size(const char *path, int64_t *bytes);

/* A whole file of at most max_bytes; *text is malloc'ed, NUL-terminated. ERR_DATA: not there or larger. */
sy_status sy_ckpt_read_file(const char *path, int64_t max_bytes, char **text, size_t *bytes);

/* Compares a file's size and hash with its record, of all or of the header. ERR_DATA says what differs. */
sy_status sy_ckpt_check_file(const char *folder, const struct sy_ckpt_file *file);

/* ---- sums.c: digests of tensors ---- */

struct sy_ckpt_sum {
    const char *name; /* of the tensor; borrowed */
    char hex[SY_DIGEST_CHARS];
};

struct sy_ckpt_sums { /* of one kind, by name */
    struct sy_ckpt_sum *item;
    int n, capacity;
};

/* "weights", "adam_m", "adam_v" in the manifest; "model", "optimizer/adam_m", … of the files' names. */
const char *sy_ckpt_kind_word(enum sy_ckpt_kind kind);
const char *sy_ckpt_kind_prefix(enum sy_ckpt_kind kind);

/* The kind that a file "prefix-….safetensors" belongs to, or SY_CKPT_KINDS. */
enum sy_ckpt_kind sy_ckpt_kind_of(const char *file);

/* Adds a piece of a tensor to the sum of its words, and to `folded` (may be NULL) with every NaN as one. */
void sy_ckpt_digest_add(uint64_t id, int64_t first, const float *x, int64_t n, struct sy_digest *words,
                        struct sy_digest *folded);

/* Adds a tensor's record; names ascend. */
sy_status sy_ckpt_sums_add(struct sy_ckpt_sums *sums, const char *name, const char *hex);

/* The index of a tensor, or -1. */
int sy_ckpt_sums_find(const struct sy_ckpt_sums *sums, const char *name);

/* ERR_DATA names file, tensor and bytes (`bytes` of them from `offset` of the file on) unless the digest of
 * its words is this one. */
sy_status sy_ckpt_sum_check(const struct sy_ckpt_sum *sum, const struct sy_digest *words, const char *path,
                            int64_t offset, int64_t bytes);

/* {"weights": {name: digest, …}, "adam_m": {…}, "adam_v": {…}}; NULL without memory. */
json_t *sy_ckpt_sums_json(const struct sy_ckpt_sums sums[SY_CKPT_KINDS]);

/* The same, read. The names belong to `root`. */
sy_status sy_ckpt_sums_parse(const char *name, const json_t *root, struct sy_ckpt_sums sums[SY_CKPT_KINDS]);
void sy_ckpt_sums_free(struct sy_ckpt_sums sums[SY_CKPT_KINDS]);

/* n lower-case hex digits and no more. */
int sy_ckpt_is_hex(const char *s, size_t n);

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

/* Elements of a piece. ERR_USAGE if the store's is not possible. */
sy_status sy_ckpt_piece(const struct sy_ckpt_store *store, int64_t *piece);

/* Moments are of what is trained; expert biases are not. */
static inline int sy_ckpt_has(const struct sy_params *params, enum sy_ckpt_kind kind, int tensor) {
    return kind == SY_CKPT_WEIGHTS || params->param[params->tensor[tensor].param].kind != SY_PARAM_BUFFER;
}

/* The ranks of a store; `self` is room for one alone. */
static inline const struct sy_comm *sy_ckpt_ranks(const struct sy_comm *comm, struct sy_comm *self) {
    *self = sy_comm_self();
    return comm ? comm : self;
}

/* The files of one kind: planned by all ranks alike, laid out by one, written by each in its parts. */
struct sy_ckpt_shards {
    const char *folder;
    enum sy_ckpt_kind kind;
    const struct sy_params *params;
    const struct sy_ckpt_store *store;
    enum sy_safetensors_dtype dtype; /* of parameters; expert biases are always F32 */
    /* of the plan */
    int *tensor; /* of params->tensor, by name */
    int n_tensors;
    int *end; /* of each file: index after its last tensor */
    int n_files;
    int64_t bytes; /* of all tensors */
    /* what this rank wrote */
    struct sy_digest *words;  /* [n_tensors], the caller's */
    struct sy_digest *folded; /* over all, every NaN as one; may be NULL */
    int64_t written;          /* bytes */
    float *buffer;            /* of a piece */
    int64_t piece;
};

/* Local. Which tensor is in which file: folder, kind, params, store and dtype are given. Errors: ERR_MEMORY,
 * ERR_USAGE the store's piece. sy_ckpt_shards_free (of {0} too). */
sy_status sy_ckpt_shards_plan(struct sy_ckpt_shards *shards, int64_t max_file_bytes);
void sy_ckpt_shards_free(struct sy_ckpt_shards *shards);

/* Local. Creates the files with header and length, and adds them to the list; name -> file to the map, which
 * may be NULL. */
sy_status sy_ckpt_shards_lay(const struct sy_ckpt_shards *shards, struct sy_ckpt_files *files, json_t *map);

/* Local. Writes this rank's parts, synced. Of F32 alone. */
sy_status sy_ckpt_shards_write(struct sy_ckpt_shards *shards);

/* Local. The dtype of the plan's tensor i, and where it is: its file, and its number there. */
struct sy_ckpt_place {
    int file, number;
};
enum sy_safetensors_dtype sy_ckpt_shards_dtype(const struct sy_ckpt_shards *shards, int i);
struct sy_ckpt_place sy_ckpt_shards_place(const struct sy_ckpt_shards *shards, int i);

/* Local. Opens a file that was laid out, to write parts of it by sy_safetensors_writer_write_at. */
sy_status sy_ckpt_shards_join(const struct sy_ckpt_shards *shards, int file,
                              struct sy_safetensors_writer **out);

struct sy_ckpt_spot { /* where a tensor's words are */
    int file;
    int64_t offset, bytes;
};

/* The files of one kind, one after the other. */
struct sy_ckpt_reading {
    enum sy_ckpt_kind kind;
    const struct sy_comm *comm;
    const struct sy_params *params;    /* NULL: only checked, put nowhere, each rank its share */
    const struct sy_ckpt_store *store; /* NULL likewise */
    const struct sy_ckpt_sums *sums;   /* NULL: there are none to compare with */
    struct sy_hf_fp8 *fp8;             /* of a folder with matrices of 8 bits; NULL (hf_fp8.h) */
    int exact; /* F32 only, nothing unknown; else BF16 and F16 are widened and unknown tensors counted */
    struct sy_digest *words;   /* [sums->n] of what this rank answers for, and then, folded, of all tensors */
    struct sy_digest *folded;  /* the last of `words` */
    struct sy_ckpt_spot *spot; /* [sums->n] */
    int file;                  /* that is read: counts them */
    unsigned char *seen;       /* per params->tensor */
    int n_checked;             /* of `sums`, in their order */
    int64_t n_unknown;
    char first_unknown[SY_CKPT_NAME_BYTES];
    char *raw; /* a piece as it is in the file */
    float *wide;
    int64_t piece;
};

sy_status sy_ckpt_reading_begin(struct sy_ckpt_reading *reading);
void sy_ckpt_reading_end(struct sy_ckpt_reading *reading);

/* Local. Reads one file, this rank's parts of it; its record's hash, if it has one, is compared first. */
sy_status sy_ckpt_shard_read(struct sy_ckpt_reading *reading, const char *folder,
                             const struct sy_ckpt_file *record);

/* Local. Of tied embeddings: a tensor of the head, where a Hugging Face folder has one, is the embedding's.
 * Errors: ERR_DATA naming both. hf_tied.c. */
sy_status sy_hf_tied_check(const char *folder, const struct sy_ckpt_files *files,
                           const struct sy_params *params);

/* Collective. Adds up what all ranks read, and compares; `files` were read in this order. */
sy_status sy_ckpt_reading_compare(struct sy_ckpt_reading *reading, sy_status mine, const char *folder,
                                  const struct sy_ckpt_files *files);

/* What a rank has of a tensor that is put. */
static inline struct sy_ckpt_part sy_ckpt_part(const struct sy_ckpt_store *store,
                                               const struct sy_params *params, enum sy_ckpt_kind kind,
                                               int tensor) {
    return store->part ? store->part(store->self, kind, tensor)
                       : (struct sy_ckpt_part){0, params->tensor[tensor].n, 1};
}

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
    struct sy_ckpt_sums sums[SY_CKPT_KINDS]; /* empty in version 1 */
};

/* What a save found while it wrote. */
struct sy_ckpt_written {
    struct sy_ckpt_files files; /* sorted */
    struct sy_ckpt_sums sums[SY_CKPT_KINDS];
    char digest[SY_DIGEST_CHARS]; /* of the weights */
};

/* The manifest's text. */
sy_status sy_ckpt_manifest_print(const struct sy_ckpt_state *state, const struct sy_ckpt_written *written,
                                 char **text, size_t *bytes);

/* Checks and parses a manifest's text. `name` is used in messages. Free with sy_ckpt_manifest_free, also
 * after an error. */
sy_status sy_ckpt_manifest_parse(const char *name, const char *text, size_t bytes,
                                 struct sy_ckpt_manifest *out);
void sy_ckpt_manifest_free(struct sy_ckpt_manifest *manifest);

struct sy_ckpt {
    char path[SY_CKPT_PATH_BYTES];
    struct sy_ckpt_manifest manifest;
};

/* ---- latest and load ---- */

/* The distinct files of the weight_map of a model.safetensors.index.json. */
sy_status sy_ckpt_index_files(const char *path, const json_t *root, struct sy_ckpt_files *out);

/* The files of a kind that a checkpoint has, as records; without a manifest, those that its index names or
 * model.safetensors, with bytes -1 and no hash. Owned by the caller: free(out->item). */
sy_status sy_ckpt_shard_list(const struct sy_ckpt *ckpt, enum sy_ckpt_kind kind, struct sy_ckpt_files *out);

#endif
