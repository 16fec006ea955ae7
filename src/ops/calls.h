/* A call of any op with operands made up for it: for the comparison of tiers (tests/ops/test_calls.c) and
 * `bench ops`.
 *
 * Each op of SY_OPS_LIST has a generator, sy_make_<op> in calls_*.c; an op without one does not link. What a
 * call is depends on op, size, seed, class and device alone, so that the same call can be made for two tiers
 * and what they did be compared. Numbers lie in memory of the exec's device, their first values in an image
 * of the host's; the host never looks at the former, as with any device.
 */
#ifndef SY_OPS_CALLS_H
#define SY_OPS_CALLS_H

#include "ops/ops.h"

/* EDGE: sides that no tile divides, empty groups, values of one of six kinds, NaN among them, by seed.
 * TYPICAL: ordinary numbers, large enough for several threads and for a clock. MANY: of products; ragged
 * groups of so many rows and columns that each multiprocessor of a GPU has several tiles, chains longer than
 * its pipeline. */
enum sy_call_size { SY_CALL_EDGE, SY_CALL_TYPICAL, SY_CALL_MANY };

struct sy_call;

int sy_calls_n_ops(void);
const char *sy_calls_op(int op);

/* Bytes of scratch that a thread of an exec needs for any call. */
size_t sy_calls_scratch_bytes(void);

/* Local. Errors: ERR_MEMORY. Owned by the caller; for x's tier, class and device. */
sy_status sy_call_create(const struct sy_exec *x, int op, enum sy_call_size size, uint64_t seed,
                         struct sy_call **out);
void sy_call_destroy(struct sy_call *c); /* NULL is fine */

/* Local. Memory becomes what it was at first; what must come before the op is done (packing of operands). */
void sy_call_reset(const struct sy_exec *x, struct sy_call *c);
/* Local. The op, once. */
void sy_call_run(const struct sy_exec *x, struct sy_call *c);
/* What the op moves and computes (ops/work.h): bytes and FLOPs. */
struct sy_call_work {
    double bytes, flops;
};
struct sy_call_work sy_call_work(const struct sy_exec *x, const struct sy_call *c);
/* Local. What must come after the op (a product that reads what was packed), then all memory is kept for
 * comparison. */
sy_status sy_call_finish(const struct sy_exec *x, struct sy_call *c);

/* 1 if what two finished calls of one kind left differs in a bit, all NaN of a float being one: then says
 * where in `text`.
 */
int sy_call_differs(const struct sy_call *a, const struct sy_call *b, char *text, size_t bytes);

#endif
