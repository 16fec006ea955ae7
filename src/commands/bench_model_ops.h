/* The ops of a step as a table: calls, time, bytes, and the share of what the machine can do. */
#ifndef SY_COMMANDS_BENCH_MODEL_OPS_H
#define SY_COMMANDS_BENCH_MODEL_OPS_H

#include "train/session.h"

struct sy_io;

/* What no op can pass, in bytes and FLOP a second, of all threads of the rank; 0: not measured. */
struct sy_ceilings {
    double copy, product;
    const char *copy_of, *product_of; /* static */
};

/* Local. Copies of 64 MiB and the peak of the class's instruction, of a GPU of 256 MiB and the product of
 * 8192^3. What there is no memory for stays 0. */
struct sy_ceilings sy_ceilings_measure(const struct sy_exec *x);

/* ms [SY_N_OPS] of a step; p: of the last one. An op's share: the time that its bytes or its FLOPs, whichever
 * needs more, take at the ceiling, to its own; above 1 where bytes come from caches. */
void sy_bench_ops_print(const struct sy_profile *p, const double *ms, const struct sy_ceilings *c,
                        const struct sy_io *io);
/* `"op_ms":{…},"op_calls":{…},"op_bytes":{…},"op_flops":{…},"op_share":{…}` */
void sy_bench_ops_json(const struct sy_profile *p, const double *ms, const struct sy_ceilings *c,
                       const struct sy_io *io);

#endif
