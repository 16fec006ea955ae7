/* Everything that a rank of a run holds: threads, weights, model, gradients, data; and one training step.
 *
 * A session is made from a finished configuration. It knows nothing of folders, checkpoints or metrics files:
 * the trainer, verify and generate are built on it. Over ranks each has its session, and they take every step
 * together: what is collective below is so over the world, and is local for one rank.
 */
#ifndef SY_TRAIN_SESSION_H
#define SY_TRAIN_SESSION_H

#include "base/digest.h"
#include "base/log.h"
#include "comm/comm.h"
#include "config/config.h"
#include "data/mixture.h"
#include "model/model.h"
#include "parallel/calls.h"
#include "parallel/gradients.h"
#include "parallel/pipeline.h"
#include "train/profile.h"
#include "train/schedule.h"
#include "train/state.h"
#include "train/step_routes.h"
#include "train/update.h"
#include "train/weights.h"

/* Where the feed puts a step's sequences, in the order of the walk; the host's side and the exec's. */
struct sy_feed {
    int32_t *ids, *labels, *doc_start, *position; /* [walk * S] */
    /* [walk] number of each in the step's batch: the same in every step */
    int32_t *sequence;
};

/* What a step's ops read and write beside the numbers of the model, in the exec's memory; and the host's
 * copy. */
struct sy_step_memory {
    struct sy_scalars *scalars;
    struct sy_tally *tally;
    struct sy_verdict *verdict;
    int64_t *counts; /* [n_layers * E] routes of each expert */
};

/* The next step's sequences, fetched while a device computes this one's. */
struct sy_feed_ahead {
    struct sy_feed feed; /* ids, labels and doc_start alone; NULL: this device does not need it */
    int64_t step;        /* whose they are, from 0; -1: nobody's */
};

struct sy_data { /* of a process, read only */
    struct sy_tokenizer *tokenizer;
    struct sy_mixture *mixture;
};

struct sy_session {
    struct sy_config *config;  /* not owned; with a batch_ramp of_batch, when a step has been taken */
    struct sy_config of_batch; /* *config, global_batch_size that of the step */
    int64_t most_sequences;    /* of a step */
    const struct sy_log *log;
    struct sy_pool *pool;
    struct sy_device *own_device; /* what exec.device is */
    struct sy_ops guarded;        /* its table */
    struct sy_ops planted;        /* of a planted bug */
    struct sy_arena scratch, memory, host;
    struct sy_exec exec;
    struct sy_mesh mesh;
    struct sy_groups groups;
    struct sy_params *params;
    struct sy_state state;
    struct sy_weights weights;
    struct sy_model *model; /* of this rank's stages */
    struct sy_schedule *schedule;
    struct sy_pipeline *pipeline; /* NULL: one stage */
    struct sy_walk walk;
    struct sy_calls calls; /* of the expert-parallel group */
    int64_t planned_rows;  /* of experts, after a step that needed as many; 0: as parallelism says */
    struct sy_gradients *gradients;
    struct sy_reduce *reduce;
    int all_end_together, may_wait; /* every rank has sequences in a step's last pass; which is under way */
    struct sy_profile *profile;     /* not owned; NULL: nothing is timed */
    struct sy_step_routes *routes;  /* NULL: neither written nor followed */
    struct sy_update *update;
    struct sy_data data, own_data; /* the process's; what is to be closed */
    struct sy_feed feed, fed;      /* to be filled; the copy that ops read */
    struct sy_feed_ahead ahead;
    struct sy_step_memory step, seen; /* the ops'; the host's copy, after a step */
    struct sy_moe_counters counted;   /* by a step that the device repeats */
    int64_t base_step, base_token;    /* step base_step begins at token base_token of the stream */
    struct sy_mixture_place place;    /* of the stretch that it is in */
    int64_t applied; /* steps whose update was applied: the power in AdamW's bias correction */
    double flops_per_token;
    struct sy_cache_size cache; /* made with CACHE */
};

enum sy_session_parts {
    SY_SESSION_TRAIN = 1,
    SY_SESSION_DATA = 2,
    SY_SESSION_INIT = 4,
    SY_SESSION_CACHE = 8
};

/* Local. parts: TRAIN also gradients, moments and backward; DATA loads the data set; INIT fills the weights:
 * initial values, or those of checkpoint.initial_load_path (else zeros); CACHE, without TRAIN, room for the
 * keys and values of a sequence. One rank. Errors: those of the parts. Owned by the caller; `config` and
 * `log` must outlive it. */
sy_status sy_session_create(struct sy_config *config, const struct sy_log *log, int parts,
                            struct sy_session **out);

/* Local. The same with parts CACHE, for the keys and values of so many texts. */
sy_status sy_session_create_cache(struct sy_config *config, const struct sy_log *log,
                                  struct sy_cache_size cache, int parts, struct sy_session **out);

/* Collective. The same as a rank of `world`, on data that the ranks of a process share (sy_data_open); both
 * outlive it. Errors: also ERR_USAGE a mesh that cannot be. */
struct sy_session_options {
    struct sy_config *config; /* read alone */
    const struct sy_log *log;
    int parts;
    const struct sy_comm *world;
    const struct sy_data *data;
};
sy_status sy_session_join(const struct sy_session_options *options, struct sy_session **out);
void sy_session_destroy(struct sy_session *session); /* local */

/* Collective. After a step whose experts got `rows` rows where fewer are planned: room for them, and for some
 * more. Nothing of the step was applied. Errors: ERR_MEMORY. */
sy_status sy_session_regrow(struct sy_session *session, int64_t rows);

struct sy_step_result {
    int64_t step; /* from 1: the step that was done */
    int64_t n_valid, n_bad;
    int64_t tokens; /* of the batches that were computed whole */
    /* sequences, summed over layers, whose balance or z-loss is not finite */
    int64_t n_bad_router;
    double loss, norm, lr;            /* loss and norm are NaN when not finite */
    int has_balance_loss, has_z_loss; /* with their coefficients */
    double balance_loss, z_loss;      /* without them: means over MoE layers and sequences */
    int counted;                      /* the loads mean something: no router met a NaN */
    int applied;
    int asked;     /* not applied, as training.skip_steps says */
    char why[256]; /* not applied: why */
    char digest[SY_DIGEST_CHARS];
    double data_seconds;
};

/* Collective. Step s from 0, on sequences s*global_batch_size on. A non-finite loss or gradient leaves
 * the weights alone. */
sy_status sy_session_step(struct sy_session *session, int64_t s, struct sy_step_result *out);

/* Collective. The same on the sequences that stand in feed.ids, labels and doc_start, in the order of
 * the walk (place k holds sequence sy_walk_sequence(k)). */
sy_status sy_session_step_filled(struct sy_session *session, int64_t s, struct sy_step_result *out);

/* Collective. Everything is as a step of so many sequences needs it; what is of another batch is made anew,
 * weights and moments stay. sy_session_step does it (training.batch_ramp). Errors: ERR_MEMORY. */
sy_status sy_session_set_batch(struct sy_session *session, int64_t sequences);

/* Collective. Mean loss over up to max_batches global batches, the largest of a batch_ramp, of held-out
 * sequences (negative: all), in nats per valid token. */
sy_status sy_session_eval(struct sy_session *session, int64_t max_batches, double *loss, int64_t *n_valid);

/* Collective. The digest of the weights as they are. Errors: of the device. */
sy_status sy_session_digest(const struct sy_session *session, char out[SY_DIGEST_CHARS]);

/* Collective. Call after the masters were changed from outside (sy_state_write). Errors: of the device. */
sy_status sy_session_weights_changed(struct sy_session *session);

/* Collective. Call after the stored weights that this rank owns were changed: all ranks get them. */
sy_status sy_session_spread(struct sy_session *session);

/* The step of debug.break = nan_at_step_N, flip_at_step_N, or gpu_lost_at_step_N, from 1; 0 if the plant is
 * another. */
int64_t sy_session_planted_nan(const char *plant);
int64_t sy_session_planted_flip(const char *plant);
int64_t sy_session_planted_loss(const char *plant);

/* The first token of step s (from 0) in the stream of data, and so the tokens trained on before it. A
 * resume sets the base from its checkpoint: with another batch or seq_len data go on where the former
 * ended. INT64_MAX if it is beyond that. */
int64_t sy_session_token(const struct sy_session *session, int64_t s);

/* Training FLOPs of a token: 6 (active - embedding) + 6 L H (d_qk + d_v) S; a tied embedding is the head and
 * stays. */
double sy_flops_per_token(const struct sy_config *config, const struct sy_params *params);

/* Sequences of one forward pass; their tokens. */
int64_t sy_session_batch(const struct sy_session *session);
int64_t sy_session_rows(const struct sy_session *session);

/* The walk of a data-parallel rank. */
struct sy_walk sy_session_walk(const struct sy_config *config, const struct sy_mesh *mesh, int dp_rank);

/* Local. The memory of a rank of a run of this configuration, from the code that takes it; each arena's tags
 * say for what. Nothing is taken. Errors: ERR_USAGE, ERR_MEMORY. */
sy_status sy_session_measure(const struct sy_config *config, const struct sy_params *params,
                             const struct sy_mesh *mesh, struct sy_arena *arena);

/* Local. Errors: ERR_UNAVAILABLE, naming the first bit that an exec's GPU has otherwise than the CPU. */
sy_status sy_class_selftest(const struct sy_exec *gpu);

/* Local. Whether the GPU of a session that is being made has the memory of its plan. Errors: ERR_MEMORY,
 * with what would fit. */
sy_status sy_session_fits(const struct sy_session *session);

/* What sy_data_options are in the configuration. `paths` and `suffixes` point into it. */
struct sy_data_options sy_session_data_options(const struct sy_config *config, const struct sy_log *log);

#endif
