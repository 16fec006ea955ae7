/* What the steps of bench model and bench scaling compute on: sequences made up from a formula. */
#ifndef SY_COMMANDS_BENCH_STEPS_H
#define SY_COMMANDS_BENCH_STEPS_H

#include "train/session.h"

/* Local. The session's sequences of a step, each one document: token t of step s is floor(V u^3), u a hash of
 * (s, t) in [0, 1), so that few tokens are frequent, as in text; random: floor(V u). A label is the next
 * token. The same tokens on every layout. */
void sy_bench_fill(struct sy_session *session, int64_t step, int random);

#endif
