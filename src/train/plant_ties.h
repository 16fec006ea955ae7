/* The planted bug ties_higher: of equal scores the router chooses the higher id, as a top-k does whose order of
 * ties nobody has fixed. A wrong op, put before the right one of a CPU's table; no op knows of it. */
#ifndef SY_TRAIN_PLANT_TIES_H
#define SY_TRAIN_PLANT_TIES_H

#include "ops/ops.h"

/* *table becomes the exec's, with the wrong op. On a CPU. */
void sy_plant_ties(struct sy_exec *x, struct sy_ops *table);

#endif
