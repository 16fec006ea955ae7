/* What a rank sends in a step, by kind, beside what `plan` says. */
#ifndef SY_COMMANDS_BENCH_BYTES_H
#define SY_COMMANDS_BENCH_BYTES_H

#include "parallel/plan.h"
#include "train/session.h"

struct sy_sent { /* bytes of this rank, by enum sy_traffic */
    double of[SY_TRAFFIC_KINDS];
};

/* Local. Since the session was made, by the counters of weights, gradients, exchanges and stages. */
struct sy_sent sy_sent_by(const struct sy_session *session);

/* Local. In a step by the plan of the session's configuration. Errors: those of a plan. */
sy_status sy_sent_planned(const struct sy_session *session, struct sy_sent *out);

struct sy_io;
void sy_sent_print(const struct sy_sent *sent, const struct sy_sent *planned, const struct sy_io *io);
/* `"sent_bytes":{...}` */
void sy_sent_json(const struct sy_sent *sent, const struct sy_sent *planned, const struct sy_io *io);

#endif
