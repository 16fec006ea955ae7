/* What ranks have counted, summed: integers alone, so that no order shows. */
#ifndef SY_TRAIN_TOTALS_H
#define SY_TRAIN_TOTALS_H

#include "comm/comm.h"
#include "ops/ops.h"

/* Collective. The tallies of all ranks as if one had counted all: sums, and of the tokens that are named the
 * lowest. Returns the agreed status. */
sy_status sy_tally_total(const struct sy_comm *world, sy_status mine, struct sy_tally *tally);

#endif
