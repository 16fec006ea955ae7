/* Going on: the newest whole checkpoint of a run's folder, what the config takes from it, what is refused,
 * and its state in a session. Nothing is written.
 *
 *     sy_resume_find -> session -> sy_resume_load -> steps -> sy_resume_fini
 */
#ifndef SY_TRAIN_RESUME_H
#define SY_TRAIN_RESUME_H

#include "ckpt/checkpoint.h"
#include "train/session.h"

struct sy_resume {
    struct sy_ckpt *ckpt;     /* NULL: a new run */
    struct sy_config *before; /* finished: what the checkpoint was trained with */
    char recipe_id[SY_CKPT_HASH_CHARS];
    const char **former; /* recipe ids before this one, oldest first */
    int n_former;
};

/* Local. Opens the newest whole checkpoint of run_dir, if there is one: keys of `config` that are not stated
 * keep its values. Finishes config. *resume is {0} before. Errors: ERR_USAGE run.fresh, another model or
 * tokenizer, another recipe without checkpoint.new_recipe, a config that is wrong; ERR_DATA none of the
 * checkpoints is whole; ERR_IO, ERR_MEMORY. */
sy_status sy_resume_find(const char *run_dir, struct sy_config *config, const struct sy_log *log,
                         struct sy_resume *resume);

/* Local. One that starts from this very checkpoint, or NULL: from the beginning. It owns `ckpt` from here on,
 * also after an error. Errors: ERR_DATA the config in its manifest, ERR_MEMORY. */
sy_status sy_resume_from(struct sy_ckpt *ckpt, struct sy_resume *resume);

/* The run has all its steps: nothing will be trained. */
int sy_resume_is_done(const struct sy_resume *resume, const struct sy_config *config);

/* Local. Weights, moments and place in the data into the session, whose data must be those of the
 * checkpoint; a warning for each change that makes it another run. *step: steps done; digest of the weights.
 * Errors: ERR_USAGE other data because options differ, ERR_DATA the files changed or are damaged, ERR_IO,
 * ERR_MEMORY. */
sy_status sy_resume_load(const struct sy_resume *resume, struct sy_session *session, const struct sy_log *log,
                         int64_t *step, char digest[SY_DIGEST_CHARS]);

void sy_resume_fini(struct sy_resume *resume);

#endif
