/* Routing as `bench moe` and `bench layers` have it: T tokens in 8 sequences, E experts, K 6, a sigmoid router
 * without its gate's product, made-up logits. */
#ifndef SY_COMMANDS_BENCH_ROUTING_H
#define SY_COMMANDS_BENCH_ROUTING_H

#include "moe/dispatch.h"

enum { D = 512, K = 6, SEQUENCES = 8, ROUNDS = 9 };
enum { MOE_TOKENS = 4096, MOE_EXPERTS = 64 }; /* of `bench moe` */

struct sy_bench_routing {
    int64_t tokens, experts; /* set first */
    float *logits, *s, *w, *dw, *bias;
    int32_t *ids;
    int64_t *bad; /* lowest token with a NaN */
    struct sy_dispatch d;
    struct sy_mat dlogits;
};

/* Local. Measured first, then carved. */
void sy_bench_routing_take(const struct sy_exec *x, struct sy_arena *a, struct sy_bench_routing *r);
void sy_bench_routing_fill(struct sy_bench_routing *r);
/* Chooses and sorts; back: dlogits of dw. */
void sy_bench_routing_choose(const struct sy_exec *x, struct sy_bench_routing *r);
void sy_bench_routing_back(const struct sy_exec *x, struct sy_bench_routing *r);

#endif
