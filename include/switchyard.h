/* switchyard: mixture-of-experts training with the same bits on every layout.
 *
 * The only installed header. Handles are opaque; options are set by the keys of docs/CONFIG.md; outputs come
 * last and are written only on success. A function that can fail returns a sy_status; sy_error_message() then
 * holds one line for the calling thread: what, where, the value, the bound, what to do. The library never
 * prints, exits or installs handlers. libswitchyard.so exports what stands here and nothing else. Each
 * prototype's comment starts with `Local.` or `Collective.`: a collective is called by every rank and returns
 * the agreed status.
 *
 * A struct of options, and struct sy_io, begins with its size, sizeof of it: a library of another version
 * then knows which members there are. 0 is the size that version 0.1 had. A member that is 0, as all are in
 * {0}, is what its comment says of 0, or what it was before there was that member.
 */
#ifndef SWITCHYARD_H
#define SWITCHYARD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

#define SY_VERSION_MAJOR 0
#define SY_VERSION_MINOR 1
#define SY_VERSION_PATCH 0
#define SY_VERSION "0.1.0"

/* name, process exit code, what it means to a user */
#define SY_STATUS_LIST(X)                                                    \
    X(OK, 0, "done")                                                         \
    X(ERR_RUNTIME, 1, "failed at run time")                                  \
    X(ERR_MEMORY, 1, "out of memory")                                        \
    X(ERR_IO, 1, "a file could not be read or written")                      \
    X(ERR_UNAVAILABLE, 1, "a part that this build or machine does not have") \
    X(ERR_USAGE, 2, "wrong usage or configuration")                          \
    X(ERR_DATA, 3, "a checkpoint or data file is damaged")                   \
    X(ERR_NONFINITE, 4, "stopped on a non-finite loss or gradient")          \
    X(ERR_PEER, 5, "another rank failed")                                    \
    X(STOPPED, 130, "stopped on request, a checkpoint was saved")

typedef enum sy_status {
#define X(name, exit_code, text) SY_##name,
    SY_STATUS_LIST(X)
#undef X
} sy_status;

/* Local. The last error of the calling thread, one line without newline; "" if none. Valid until its next
 * failing call. */
const char *sy_error_message(void);

/* Local. The process exit code that belongs to a status. */
int sy_status_exit_code(sy_status status);

/* Local. SY_VERSION of the library that is linked. */
const char *sy_version(void);

/* --- configuration: docs/CONFIG.md lists every key ------------------------------------------------------ */

struct sy_config;

typedef void (*sy_write_fn)(void *user, const char *text, size_t n);

/* Local. All defaults. Owned by the caller: sy_config_destroy (NULL is fine). */
sy_status sy_config_create(struct sy_config **out);
void sy_config_destroy(struct sy_config *config);

/* Local. Reads a TOML file. Errors: ERR_IO, ERR_USAGE with file:line, key, value, bound and what to do. */
sy_status sy_config_load_file(struct sy_config *config, const char *path);

/* Local. Takes --section.key=value arguments out of argv (argv[0] stays) and lowers *argc. Errors:
 * ERR_USAGE. */
sy_status sy_config_flags(struct sy_config *config, int *argc, char **argv);

/* Local. Sets one key from text, as a flag would; an empty path is as if it were not given. Errors:
 * ERR_USAGE. */
sy_status sy_option_set(struct sy_config *config, const char *key, const char *text);

/* Local. The value of a key as TOML text, valid until sy_config_destroy. Errors: ERR_USAGE, ERR_MEMORY. */
sy_status sy_option_get(struct sy_config *config, const char *key, const char **text);

/* Local. The i-th message, each one line, of all that reading flags and files, or else the checks before an
 * operation, found wrong with a config; NULL past the last or the tenth. *n (if not NULL) is how many there
 * were. The first is also sy_error_message. */
const char *sy_config_problem(const struct sy_config *config, int i, int *n);

/* Local. The key that a name is taken for: its last part ("steps"), or what others call it
 * ("learning_rate"); NULL if nothing is. Static. */
const char *sy_option_meant(const char *name);

/* Local. Levenshtein's distance of two words, each cut to 128 bytes. */
int sy_word_distance(const char *a, const char *b);

/* Local. The i-th key, in the order of docs/CONFIG.md, and the i-th word that a key takes one of (true and
 * false; flavors); NULL past the last. Static. */
const char *sy_option_key(int i);
const char *sy_option_word(const char *key, int i);

/* Local. Help of a key (its last part will do), a section or a flavor; a commented config for a flavor; the
 * text of docs/CONFIG.md. */
sy_status sy_config_help(const char *key, sy_write_fn write, void *user);
sy_status sy_config_init(const char *flavor, sy_write_fn write, void *user);
void sy_config_reference(sy_write_fn write, void *user);

/* --- what a caller lends to a long operation ------------------------------------------------------------ */

struct sy_progress {
    int64_t step, steps;
    const char *head;    /* the names and units of the line's columns, the same in every call */
    const char *line;    /* NULL in the first call, which comes before the first step: head alone */
    int due;             /* one of the lines for a log: the first, every metrics.log_freq steps, the last */
    double step_seconds; /* of the step that was done; in the first call a guess */
};

struct sy_io {
    size_t size;
    sy_write_fn write;                                      /* results: tables, samples; may be NULL */
    void (*log)(void *user, int warning, const char *line); /* may be NULL */
    void (*progress)(void *user, const struct sy_progress *progress); /* may be NULL */
    void *user;
    const volatile int *stop; /* becomes non-zero to save and stop after the step; may be NULL */
    const volatile int *save; /* becomes another value to save after the step and go on; may be NULL */
    int columns;              /* no progress line is longer; 0: 79 */
};

/* --- ranks: threads of one process ---------------------------------------------------------------------- */

/* The ranks of one group and the way between them. Lent to fn below until it returns; never freed by it. */
struct sy_comm;

/* Local. Which process of a run this is, from 0, where mpirun, srun or torchrun started several: each is
 * then a rank of what sy_train does. 0 if none did; `config` (NULL is fine) may say that it means
 * nothing (comm.launcher). */
int sy_process_rank(const struct sy_config *config);

/* Local. Which of them the caller is, from 0; how many there are. */
int sy_comm_rank(const struct sy_comm *comm);
int sy_comm_size(const struct sy_comm *comm);

/* Local. Runs fn(comm, arg) on `ranks` threads of this process, rank 0 on the caller's, and returns when
 * all have returned. The status is that of the lowest rank whose fn failed, with its message; ERR_PEER,
 * which others' leaving makes, only if there is no other. fn calls the same collectives in the same order
 * on every rank; a collective returns the agreed status, so that fn may return with it. When a rank's fn
 * has returned, calls of the others that need it end with ERR_PEER, which names it, and all later ones of
 * that communicator. `arg` is shared: what ranks write there must be their own or guarded. Errors:
 * ERR_USAGE `ranks` out of 1..1024, ERR_MEMORY, ERR_RUNTIME a thread could not be started (fn is not
 * called then). */
sy_status sy_comm_threads_run(int ranks, sy_status (*fn)(const struct sy_comm *comm, void *arg), void *arg);

/* --- operations ----------------------------------------------------------------------------------------- */

struct sy_train_summary {
    int64_t step;           /* steps done in all, earlier runs included */
    double loss, eval_loss; /* last step; held-out, NaN without validation.enable */
    double unigram_entropy; /* of the tokens of the training documents, nats per token */
    char weights_digest[33];
    char run_dir[4096];
};

/* Local. Trains to training.steps in run.dir (empty: runs/<name>); goes on from the newest valid
 * checkpoint there. Errors: any; STOPPED after *stop with a checkpoint saved (unless checkpoint.enable is
 * false); NONFINITE. *out is filled as far as the run came. */
sy_status sy_train(struct sy_config *config, const char *name, const struct sy_io *io,
                   struct sy_train_summary *out);

/* --- a run, step by step -------------------------------------------------------------------------------- */

/* A run of one rank that is open: what sy_train does, when the caller says so. One thread at a time. */
struct sy_run;

/* Local. As sy_train up to its first step: a new run, or one that goes on; run.ranks is 1. `config` outlives
 * it; io (NULL: none) is copied. Errors: those of sy_train. Ended by sy_run_close. */
sy_status sy_run_open(struct sy_config *config, const char *name, const struct sy_io *io,
                      struct sy_run **out);

/* Local. Saves nothing. The status of a step that failed before, or of writing the run's last lines. NULL is
 * fine. */
sy_status sy_run_close(struct sy_run *run);

struct sy_run_result {
    int64_t step;               /* from 1: the step that was done */
    double loss, grad_norm, lr; /* loss and grad_norm are NaN where they are not finite */
    int64_t tokens;             /* of the step; 0: it was skipped */
    int applied;                /* 0: the weights are as before */
    char weights_digest[33];
};

/* Local. One step. After an error, which saves what was before it, only sy_run_close is left. Errors: those
 * of sy_train; ERR_USAGE the run has all its training.steps. */
sy_status sy_run_step(struct sy_run *run, struct sy_run_result *out);

/* Local. A checkpoint of this step, if there is none. Errors: ERR_IO, ERR_USAGE checkpoint.enable. */
sy_status sy_run_save(struct sy_run *run);

/* Local. Loss over held-out sequences (data.holdout), nats per token. Errors: ERR_USAGE nothing is. */
sy_status sy_run_eval(struct sy_run *run, double *loss);

/* Local. logits [n, vocab_size] after each of ids [n], one sequence of one document; n is 1 to seq_len.
 * Errors: ERR_USAGE n, or an id outside the vocabulary. */
sy_status sy_run_logits(struct sy_run *run, const int32_t *ids, int64_t n, float *logits);

struct sy_run_about {
    int64_t step, steps; /* done in all; training.steps */
    int64_t seq_len, vocab_size;
    int64_t n_parameters;
    int n_tensors;
    char weights_digest[33];
    char run_dir[4096];
};
void sy_run_about(const struct sy_run *run, struct sy_run_about *out); /* Local. */

struct sy_run_tensor {
    const char *name; /* as in a checkpoint; valid until sy_run_close */
    int n_dims;       /* 1, 2 */
    int64_t dims[2];
    int64_t n; /* elements */
};

/* Local. The i-th tensor, 0 to n_tensors - 1, in bytewise order of names. Errors: ERR_USAGE no such one. */
sy_status sy_run_tensor(const struct sy_run *run, int i, struct sy_run_tensor *out);

/* Local. The fp32 weights of a tensor, row-major, n elements. Those that are set must be finite. Errors:
 * ERR_USAGE no such tensor, or another n. */
sy_status sy_run_weights(struct sy_run *run, const char *name, int64_t n, float *out);
sy_status sy_run_set_weights(struct sy_run *run, const char *name, int64_t n, const float *in);

/* --- other operations ----------------------------------------------------------------------------------- */

struct sy_verify_options {
    size_t size;
    int64_t steps;           /* of each layout */
    int64_t layouts;         /* at most; 0: all of the cover */
    const char *const *only; /* [n_only] "FACTOR=VALUE[,VALUE...]": of this factor these values alone */
    int n_only;
    const char *plant; /* a known bug that must be caught; NULL; "list": prints each and what it does */
};

/* Local. Runs steps in many layouts (ranks as threads, shards, threads, batches, recompute, tiers: every two
 * values of two of them meet) and prints a table of digests; of a planted bug, where it shows first.
 * ERR_RUNTIME if any differ, or if a planted bug is not caught. config may be NULL for a list. */
sy_status sy_verify(struct sy_config *config, const struct sy_verify_options *options,
                    const struct sy_io *io);

/* Local. First step, tensor and element in which two runs (or checkpoints) differ. *equal 1 if none does. */
sy_status sy_diff(const char *a, const char *b, const struct sy_io *io, int *equal);

/* Local. The same of two runs, and of the first step that differs the first value: both do it again,
 * from their last checkpoints before it, on one rank each. */
sy_status sy_diff_locate(const char *a, const char *b, const struct sy_io *io, int *equal);

/* Local. Does the steps of a run up to `step` again, from the checkpoint before it, and compares them with
 * its metrics.jsonl. `config` holds what is another layout, not finished. ERR_RUNTIME names the first step
 * that has other bits; ERR_USAGE an option that changes bits, a step that the run has not. */
sy_status sy_replay(struct sy_config *config, const char *run, int64_t step, const struct sy_io *io);

struct sy_generate_options {
    size_t size;
    const char *const *prompts; /* [n_prompts]; none, and no file: one empty prompt */
    int n_prompts;
    const char *prompt_file; /* more of them, a line each, or JSON lines with "prompt"; NULL */
    int64_t samples;         /* of each prompt; 0: 1 */
    int64_t max_tokens;      /* of each sample */
    double temperature;      /* 0: always the likeliest */
    int64_t top_k;           /* 0: all */
    double top_p;            /* 1: all */
    uint64_t seed;
    const char *const *stops; /* [n_stops] a text ends before the first of these that it has */
    int n_stops;
    int json;     /* an object a line, when its text has ended, in place of text as it is sampled */
    int together; /* texts that are computed together, which changes none of them; 0: 8 */
};

/* Local. Continues prompts with a checkpoint's model; text goes to io->write as it is sampled. `config`
 * holds run.* options. Errors: ERR_USAGE; those of reading files and of the tokenizer; ERR_NONFINITE a
 * logit; STOPPED. */
sy_status sy_generate(struct sy_config *config, const char *model_dir,
                      const struct sy_generate_options *options, const struct sy_io *io);

/* One of data and multiple_choice. */
struct sy_eval_options {
    size_t size;
    const char *data;            /* a file or folder of text or JSON lines */
    const char *multiple_choice; /* a file of JSON lines: {"context", "choices", "answer"} */
    const char *delimiter;       /* between context and choice; NULL: a space */
    int64_t stride; /* with data: tokens that are scored of a window, the others are context; 0: all */
    int json;       /* a line for each document or question, then one for all of them */
};

/* Local. How likely a model (as of sy_generate) finds texts: nats and bits per token and byte, perplexity; or
 * how often it finds the right answer the likeliest. The same on every layout. Errors: those of reading
 * the model and the file, ERR_NONFINITE. */
sy_status sy_eval(struct sy_config *config, const char *model_dir, const struct sy_eval_options *options,
                  const struct sy_io *io);

struct sy_logits_options {
    size_t size;
    /* one of these; none: the sequences of the file that is compared with */
    const char *text, *data; /* a text; a file or folder of text or JSON lines */
    const char *out;     /* safetensors, which must not exist: ids.<i> I64 [T], logits.<i> F32 [T, vocab] */
    const char *compare; /* such a file, of another engine too, or a model */
    int json;
};

/* Local. A model's logits after every token of sequences, written, compared, or both: greatest and mean
 * difference, KL divergence, how often the first choice is the same. Errors: those of reading models and
 * files, ERR_USAGE, ERR_NONFINITE. */
sy_status sy_logits(struct sy_config *config, const char *model_dir, const struct sy_logits_options *options,
                    const struct sy_io *io);

struct sy_convert_options {
    size_t size;
    const char *dtype;     /* "bf16", "fp16", "fp32"; NULL: "bf16" */
    const char *max_shard; /* of a file of weights: "5GB" (10^9), "5GiB" (2^30), bytes; NULL: "5GB" */
};

/* Local. Makes a folder for sharing of a model (as of sy_generate): weights in a precision, config.json,
 * generation_config.json, tokenizer files, README.md with the digest. Errors: ERR_USAGE `out` is there;
 * ERR_DATA a number that is beyond the precision; those of reading and writing. */
sy_status sy_convert(const char *model_dir, const char *out, const struct sy_convert_options *options,
                     const struct sy_io *io);

struct sy_tokenize_options {
    size_t size;
    const char *tokenizer; /* as tokenizer.path: "byte", a tokenizer.json, or a folder with one */
    /* one of these: a text; ids, to be made text; files or folders of text, or of tokens (or of lines of
     * ids) */
    const char *text, *ids, *const *paths;
    int n_paths;
    int decode;           /* not 0: paths hold lines of ids, as are written without it */
    const char *text_key; /* of JSON lines; NULL: "text" */
    const char *out;      /* a file of tokens, which must not exist; NULL: a line of ids per document */
    int count;            /* not 0: how many, in place of ids */
    int replace;          /* not 0: U+FFFD in the place of what is not UTF-8; 0: that is refused */
    int threads;          /* 0: one per processor that this process may use */
};

/* Local. Text to ids, or ids to text, to io->write. Errors: ERR_USAGE; those of reading files and of the
 * tokenizer. */
sy_status sy_tokenize(const struct sy_tokenize_options *options, const struct sy_io *io);

struct sy_tokenizer_train_options {
    size_t size;
    const char *const *paths; /* files or folders of text or JSON lines */
    int n_paths;
    const char *text_key;  /* of JSON lines; NULL: "text" */
    int replace;           /* as in sy_tokenize_options */
    const char *out;       /* a folder: tokenizer.json and tokenizer_config.json are written there */
    int64_t vocab_size;    /* most tokens: special ones, 256 bytes, merged ones */
    int64_t min_frequency; /* of a pair of tokens that becomes one */
    const char *pattern;   /* that splits words; NULL: letters, up to three digits, other signs, spaces */
    int nfc;               /* not 0: texts are made NFC first */
    const char *const *special; /* special tokens besides <|bos|>, <|eos|>, <|pad|> */
    int n_special;
};

/* Local. Trains a byte-level BPE: a function of texts and options. Errors: ERR_USAGE; those of reading
 * files. */
sy_status sy_tokenizer_train(const struct sy_tokenizer_train_options *options, const struct sy_io *io);

/* Local. Parameters, FLOPs and memory of a config; needs none of the hardware or memory. world: of how many
 * ranks; 0: as the config says. Of more than one: who has what, memory, bytes that are sent, the time on GPUs
 * of that name ("h200", "h100"; NULL: the first), the pipeline's schedule. Errors: ERR_USAGE what cannot be,
 * with the numbers. */
sy_status sy_plan(struct sy_config *config, int world, const char *gpu, const struct sy_io *io);

struct sy_init_options {
    size_t size;
    const char *flavor; /* NULL, "": none */
    const char *device; /* NULL, "cpu"; "cuda", "cuda:N": one that fits that GPU */
    double memory_gib;  /* of the GPU; 0: what it has, or 139.8, an H200's, where there is none */
};

/* Local. Writes a commented config: stated are what `config` was given and the recipe; the rest stands as
 * comments. For a GPU local batch, recompute and recipe are chosen so that the plan fits, and the numbers
 * stand in its head. Errors: ERR_USAGE, also when nothing fits, with what would; ERR_UNAVAILABLE no such
 * GPU. */
sy_status sy_init(struct sy_config *config, const struct sy_init_options *options, const struct sy_io *io);

/* Local. Prints and verifies a checkpoint, a run's newest one, or a safetensors file. */
sy_status sy_inspect(const char *path, const struct sy_io *io);

struct sy_experts_options {
    size_t size;
    int64_t layer; /* of the model, from 0; negative: all MoE layers */
    /* of a layer's table; more experts: the heaviest, the rest as one row, the lightest; 0: 32 */
    int64_t rows;
    int json; /* one JSON object with every expert instead of tables */
    int utf8; /* bars of block characters instead of # */
};

/* Local. Prints the load of every expert over time from a run's metrics.jsonl (the folder or the file).
 * Errors: ERR_IO no such run or no metrics, ERR_DATA damaged, ERR_RUNTIME no steps yet, ERR_USAGE no MoE
 * layers or not that one. */
sy_status sy_inspect_experts(const char *path, const struct sy_experts_options *options,
                             const struct sy_io *io);

/* Local. One page of HTML about runs: curves, the load of every expert, what happened, digests,
 * configurations. It asks for nothing else and is at most 2 MB. `out` NULL: report.html in the folder of the
 * first run; an earlier page is replaced, another file is refused, what is no file (a pipe, a device) is
 * written to. Errors: ERR_IO, ERR_DATA damaged metrics, ERR_RUNTIME no steps yet, ERR_USAGE more than 16
 * runs, another file. */
sy_status sy_report(const char *const *runs, int n_runs, const char *out, const struct sy_io *io);

struct sy_plot_options {
    size_t size;
    int width;     /* columns of a line */
    int64_t rows;  /* of the loss; 0: 10 */
    int64_t layer; /* of the model, from 0; negative: the first four MoE layers */
    int follow;    /* anew with every step, until the run ends or *io->stop */
    int utf8;      /* blocks and shades; else ASCII */
    int clear;     /* with follow: in the place of the one before, by a terminal's escapes */
};

/* Local. Loss and the load of experts over the steps of a run, in characters. Errors: as of sy_report;
 * ERR_USAGE a width, rows or a layer that cannot be. */
sy_status sy_plot(const char *run, const struct sy_plot_options *options, const struct sy_io *io);

/* Local. A row for each run in a folder: step, loss, tokens, state, digest. A run that cannot be read is
 * said in its row. Errors: ERR_IO the folder. */
sy_status sy_runs(const char *dir, const struct sy_io *io);

/* Local. Version, tiers that run here, classes, GPUs with what they reach, ops, flavors with parameter
 * counts. */
sy_status sy_info(const struct sy_io *io);

struct sy_bench_gpu_options {
    size_t size;
    const char *what;       /* "ops": all of them; "gemm", "attention" */
    const char *device;     /* "cuda", "cuda:N" */
    const char *const *ops; /* [n_ops] these alone; n_ops 0: all */
    int n_ops;
    int json;
};

/* Local. Ops on a GPU in sizes of trainings: microseconds, TB/s or TFLOP/s, and the share of what copies of
 * 1 GB or a product of 8192^3 reach in the same run. Errors: ERR_USAGE no such op, or one that is not timed
 * on a GPU; ERR_UNAVAILABLE no usable GPU, or no CUDA in this build; ERR_MEMORY, ERR_RUNTIME of the GPU. */
sy_status sy_bench_gpu(const struct sy_bench_gpu_options *options, const struct sy_io *io);

struct sy_bench_options {
    size_t size;
    int64_t steps; /* that are measured, after two that are not */
    int json;
    int cpu; /* time of processors, all threads added, instead of the wall clock */
    /* tokens are uniform, so that routing is even; else few are frequent, as in text */
    int random_ids;
    int threads; /* of gemm, moe, layers; 0: one per usable processor */
    /* of gemm, ops: these alone, NULL: every one; of moe, layers: these, NULL: x86 and auto */
    const char *numeric_class, *tier;
    /* of a model on a GPU: a file for what the GPU does in the last step that is measured as it is, Chrome's
     * trace events; NULL: none */
    const char *trace;
};

/* Local. GFLOP/s of the products in every class and tier, beside the peak of the same moment: `what` is
 * "gemm"; an MoE layer, and its routing, permute and combine beside memcpy: "moe"; such layers of many sizes,
 * with the bound that memory sets: "layers". Reads json, threads, numeric_class and tier. Errors: also
 * ERR_USAGE no such class or tier, ERR_UNAVAILABLE a tier that this processor does not have. */
sy_status sy_bench(const char *what, const struct sy_bench_options *options, const struct sy_io *io);

/* Local. An op in every class and tier on one thread, on calls made up for it: microseconds, how many times
 * as fast as the reference, GFLOP/s, GB/s, and the share of the peak or of a copy's rate of the same
 * moment: of one op, or of all (NULL). Reads json, numeric_class and tier. Errors: as of sy_bench;
 * ERR_USAGE no such op. */
sy_status sy_bench_ops(const char *op, const struct sy_bench_options *options, const struct sy_io *io);

/* Local. Training steps of a config in parts, on made-up tokens (no data set is read): ms, medians over
 * steps, calls of ops, runs of the pool, tokens/s, and the digest after the last step. `name` is printed. */
sy_status sy_bench_model(const char *name, struct sy_config *config, const struct sy_bench_options *options,
                         const struct sy_io *io);

struct sy_bench_tune_options {
    size_t size;
    const char *tiles; /* a file that rows are appended to, as src/ops/tiles.def; NULL: none */
};

/* Local. Times every tile that a GPU's products can take, of each shape in a training step of the config; a
 * row for each shape whose fastest is not the one that it takes. Numbers never depend on a tile. Errors: also
 * ERR_USAGE run.device is no GPU, ERR_IO the file. */
sy_status sy_bench_tune(const char *name, struct sy_config *config,
                        const struct sy_bench_tune_options *options, const struct sy_io *io);

struct sy_bench_scaling_options {
    size_t size;
    int64_t steps;      /* that are measured with each number of threads, after one that is not */
    const int *threads; /* [n_threads]; n_threads 0: 1, 2, 4 and so on, and one per usable processor */
    int n_threads;
    /* as if each thread had a processor: a run of the threads takes the most processor time of one */
    int cpu;
    int json;
};

/* Local. Training steps of a config by several numbers of threads in turn, beside the peak of the same
 * moment: how many times as fast as with the first number, in all and op by op; what one thread does alone,
 * and what threads wait for the last one. */
sy_status sy_bench_scaling(const char *name, struct sy_config *config,
                           const struct sy_bench_scaling_options *options, const struct sy_io *io);

/* ====================================================================================================== */
/* Experimental: what follows may change with any version. A program that uses it defines SY_EXPERIMENTAL  */
/* before it includes this header.                                                                         */
/* ====================================================================================================== */
#ifdef SY_EXPERIMENTAL

/* --- experimental: ops on their own --------------------------------------------------------------------- */

/* fp32 arrays of the caller, row-major; the calling thread computes, with the same bits on every CPU.
 * Sizes may be 0. */

/* Local. Shape [*out_rows, *out_k] of what sy_topk writes for x [rows, n]. Errors: ERR_USAGE k outside
 * 1..n, both named. */
sy_status sy_topk_shape(int64_t rows, int64_t n, int64_t k, int64_t *out_rows, int64_t *out_k);

/* Local. values [rows, k] (or NULL) and ids [rows, k] of the k largest (smallest != 0: smallest) of each
 * row of x [rows, n]. Equal values, and -0 and +0: lower id first. sorted != 0: best first, else by
 * ascending id. Infinities are values. Errors: ERR_USAGE, ERR_MEMORY; ERR_NONFINITE names the row of a
 * NaN. */
sy_status sy_topk(const float *x, int64_t rows, int64_t n, int64_t k, int smallest, int sorted, float *values,
                  int32_t *ids);

/* Local. dx [rows, n]: dvalues [rows, k] at ids [rows, k], 0 elsewhere. Errors: ERR_MEMORY; ERR_USAGE
 * names an id that is out of range, or twice in its row. */
sy_status sy_topk_bwd(const float *dvalues, const int32_t *ids, int64_t rows, int64_t n, int64_t k,
                      float *dx);

/* Local. out [out_rows, d] = base (NULL: zeros); then for i = 0 .. n-1 in this order row index[i] of out
 * becomes fma(scale[i], row i of src [n, d], itself); scale NULL: 1. out overlaps no other array, else
 * ERR_USAGE with both byte ranges; an index outside 0 .. out_rows-1 is ERR_USAGE with its place, value and
 * bound. */
sy_status sy_scatter_add(const float *src, const int32_t *index, const float *scale, int64_t n, int64_t d,
                         const float *base, int64_t out_rows, float *out);

/* Local. The same onto what out holds. Refused (ERR_USAGE, both byte ranges) also where out overlaps the
 * protect_bytes at protect (NULL: nothing), memory that must stay as it is: sy_scatter_add, with the old
 * out as base, writes elsewhere. */
sy_status sy_scatter_add_in_place(const float *src, const int32_t *index, const float *scale, int64_t n,
                                  int64_t d, const void *protect, size_t protect_bytes, int64_t out_rows,
                                  float *out);

/* --- experimental: one MoE layer by itself -------------------------------------------------------------- */

/* Router, dispatch, routed and shared experts, combine: forward and backward, on one rank or with the
 * experts spread over the ranks of a sy_comm, with the same bits.
 *
 *     create -> set_weights -> { forward .. backward, for each micro-batch } -> update_bias
 *            -> set_weights -> ... -> destroy
 *
 * T = n_sequences * seq_len tokens of a call; D width; F width of an expert; F' = num_shared_experts * F;
 * E experts, e of them this rank's; K experts of a token. Arrays are fp32, row-major, and the caller's;
 * the layer computes in the stored type of its numeric class (bf16; fp32), to which what comes in is
 * rounded. After create nothing is allocated on one rank; over ranks there is room for twice the rows of a
 * balanced load, and a call that needs more makes larger buffers (counter buffer_regrown). A handle is one
 * rank's and is used by one thread at a time. A collective is called by all ranks in the same order; where
 * one rank's arguments are wrong, or ranks call different things, all of them get the error and nothing is
 * done. */
struct sy_moe;

/* What a forward keeps for its backward. */
enum sy_moe_recompute {
    SY_MOE_RECOMPUTE_NONE, /* all that backward reads */
    SY_MOE_RECOMPUTE_ROWS, /* input, routes and dispatched rows: backward sends no rows a second time */
    SY_MOE_RECOMPUTE_FULL  /* the input alone */
};

struct sy_moe_options {             /* equal on all ranks, but for tier and threads */
    int64_t dim, inter_dim;         /* D, F */
    int64_t seq_len, max_sequences; /* tokens of a sequence; most sequences of one rank in a call */
    int max_rounds;                 /* of a call; 0: 1 */
    int micro_batches; /* forwards that may wait for their backward at a time; 0: sy_moe_eval alone */
    enum sy_moe_recompute recompute;
    /* of a step, all ranks: balance and z-loss are means over them; needed with either */
    int64_t global_sequences;
    const char *numeric_class; /* "x86", "amx", "sm90", "fp32"; NULL: "x86" */
    /* "ref", "avx2", "avx512", "avx512_bf16", "amx", with the same bits; NULL or "auto": the fastest here */
    const char *tier;
    int threads;            /* of this rank; 0: 1 */
    int64_t combine_groups; /* divides E; 0: none (numerics.combine_groups) */
    int forced_balance;     /* not 0: tokens go to experts in turn (debug.moe_force_load_balance) */
};

/* Collective (Local without comm). A layer with the options of section [moe] of `config` alone: a flavor,
 * and dimensions in [model], are other sections. config may go afterwards; comm, whose ranks share the
 * experts (NULL: this rank has all), lives as long as the layer. The first E mod ranks ranks own one expert
 * more, those past E none. The expert bias, with moe.load_balance_coeff > 0 or moe.keep_bias, is zeros.
 * Errors: ERR_USAGE with both numbers (groups, top_k, bounds, ranks that differ), ERR_UNAVAILABLE a tier,
 * ERR_MEMORY with the bytes, ERR_RUNTIME no thread. Owned by the caller: sy_moe_destroy (Local, NULL is
 * fine, no collective may be under way). */
sy_status sy_moe_create(const struct sy_config *config, const struct sy_moe_options *options,
                        const struct sy_comm *comm, struct sy_moe **out);
void sy_moe_destroy(struct sy_moe *moe);

/* Local. This rank's experts are *first .. *first + *n - 1. */
void sy_moe_experts(const struct sy_moe *moe, int64_t *first, int64_t *n);

/* The layer's tensors as a checkpoint has them, weights or gradients. One that the config gives no layer
 * is NULL. */
struct sy_moe_tensors {
    float *gate;                  /* [E, D] */
    float *gate_bias;             /* [E], with moe.gate_bias */
    float *w1, *w3;               /* [e, F, D] of this rank's experts */
    float *w2;                    /* [e, D, F] */
    float *shared_w1, *shared_w3; /* [F', D], with moe.num_shared_experts */
    float *shared_w2;             /* [D, F'] */
    float *shared_gate;           /* [D], with moe.shared_gate */
};

/* Local. Copies, rounds and fuses the weights (none NULL; only read); the same on all ranks but for the
 * experts. The version of before (> 0): nothing is done, as the caller says that the values are the same;
 * another: what was prepared from the old ones is dropped, even if the values are the same; 0: always
 * copied and never prepared. Errors: ERR_USAGE a tensor is missing or not the layer's, version < 0,
 * forwards wait for their backward. */
sy_status sy_moe_set_weights(struct sy_moe *moe, const struct sy_moe_tensors *weights, int64_t version);

/* What a call is about. Sequences lie round by round: an expert's rows, and so the sums of its gradient,
 * are in the order round, rank, sequence, token. */
struct sy_moe_batch {
    int64_t n_sequences; /* of this rank, 0 .. max_sequences; ranks may differ */
    int rounds;          /* equal on all ranks; 0: one round of n_sequences, and `sequences` is not read */
    const int64_t *sequences; /* [rounds] of this rank, n_sequences in all; NULL: one round */
    /* not 0: sequences is [ranks, rounds], of all ranks, equal on each. Under forced balance nothing is then
     * exchanged before the rows */
    int known;
    /* [T, K] experts to use, in any order; NULL: the router chooses. Not with forced_balance */
    const int32_t *ids_in;
    /* [T, K] weights of ids_in, finite; NULL: the router's. Its gradient is that of its own scores */
    const float *w_in;
    int32_t *ids_out; /* [T, K] experts of each token, ascending; NULL: not asked for */
    float *w_out;     /* [T, K] their weights; NULL: not asked for */
};

/* Collective. y [T, D] from x [T, D]; they may be one array. Keeps under `micro_batch` (0 .. micro_batches
 * - 1) what backward reads, and counts routes and losses once. A micro-batch whose backward has not come
 * is refused: sy_moe_discard gives it up. Errors: ERR_USAGE; ERR_NONFINITE names the token of a NaN logit;
 * over ranks ERR_MEMORY larger buffers, and ERR_PEER. After an error y and what is counted are as before. */
sy_status sy_moe_forward(struct sy_moe *moe, int micro_batch, const struct sy_moe_batch *batch,
                         const float *x, float *y);

/* Collective. The same y without a backward; nothing is counted. May come between a forward and its
 * backward; with SY_MOE_RECOMPUTE_NONE it works in a micro-batch that waits for nothing, and is refused
 * where there is none. */
sy_status sy_moe_eval(struct sy_moe *moe, const struct sy_moe_batch *batch, const float *x, float *y);

/* Collective. After forward of that micro-batch: dx [T, D] (or NULL) from dy [T, D], which may be one
 * array, and grads += one leaf (NUMERICS 4): of gate and shared weights one chain over this rank's T
 * tokens, of an expert one over its rows of all ranks, each sequence's segment padded to KB; balance and
 * z-loss included. Members that are NULL are not computed, nor any with grads NULL; members are the same
 * as in set_weights. Gate and shared gradients of the ranks are left to the caller to add, in an order
 * that does not depend on the ranks. Errors: ERR_USAGE, ERR_RUNTIME recompute took other routes, ERR_PEER;
 * then dx and grads are as before. */
sy_status sy_moe_backward(struct sy_moe *moe, int micro_batch, const float *dy, float *dx,
                          struct sy_moe_tensors *grads);

/* Local, on all ranks or none. A step is given up: no forward waits any more, counts and losses are zero. */
void sy_moe_discard(struct sy_moe *moe);

/* Local. Since the last sy_moe_update_bias: counts [E], this rank's routes to each expert. */
void sy_moe_counts(const struct sy_moe *moe, int64_t *counts);

/* Local. Since then: this rank's part of the mean over global_sequences of balance and z-loss, without
 * coefficients; NaN when one was not finite; 0 for one that is off. */
void sy_moe_losses(const struct sy_moe *moe, double *balance, double *z);

/* Collective. The end of a step: adds the counts of all ranks as integers, moves the expert bias
 * (moe.load_balance_coeff, moe.bias_center), if there is one, and sets counts and losses to zero. Errors:
 * ERR_USAGE forwards wait for a backward. */
sy_status sy_moe_update_bias(struct sy_moe *moe);

/* Local. The expert bias [E]; the same on all ranks. Errors: ERR_USAGE there is none; set: forwards wait, or
 * a value is not finite. */
sy_status sy_moe_expert_bias(const struct sy_moe *moe, float *out);
sy_status sy_moe_set_expert_bias(struct sy_moe *moe, const float *bias);

/* Local. The i-th of what the layer counts since create (paths taken, rows sent, caches hit): name,
 * static, and in *value how many; NULL past the last. */
const char *sy_moe_counter(const struct sy_moe *moe, int i, int64_t *value);

#endif /* SY_EXPERIMENTAL */

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
