/* What a run says before its first step: what computes, how large the model is, its data, its checkpoints' class, its
 * ranks.
 */
#ifndef SY_TRAIN_OPENING_H
#define SY_TRAIN_OPENING_H

#include "train/session.h"

struct sy_opening {
    int64_t step; /* that are done */
    double unigram_entropy;
    const char *recipe_id;
};
void sy_opening_log(const struct sy_session *s, const struct sy_opening *o, const struct sy_log *log);

#endif
