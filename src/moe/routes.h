/* The routes of a batch as values: what `moe.routes_out` writes and `moe.routes_in` replays, and one token's
 * that came from outside. */
#ifndef SY_MOE_ROUTES_H
#define SY_MOE_ROUTES_H

#include <stdint.h>

struct sy_routes { /* of one layer; ids NULL: none */
    int32_t *ids;  /* [T, K] ascending in a token */
    float *w;      /* [T, K] weights of these experts */
};

enum sy_route_fault { SY_ROUTE_OK, SY_ROUTE_RANGE, SY_ROUTE_TWICE, SY_ROUTE_NOT_FINITE };

/* Local. Sorts one token's ids [K] (in any order) and, unless NULL, its weights along with them. ids must be
 * 0 .. experts-1 and distinct, weights finite: else what is wrong, with expert and weight; then the arrays
 * are rubbish. */
enum sy_route_fault sy_route_sort(int64_t experts, int64_t top_k, int32_t *ids, float *w, int32_t *bad_id,
                                  float *bad_w);

#endif
