/* The routes of a batch as values: what `moe.routes_out` writes and `moe.routes_in` replays. */
#ifndef SY_MOE_ROUTES_H
#define SY_MOE_ROUTES_H

#include <stdint.h>

struct sy_routes { /* of one layer; ids NULL: none */
    int32_t *ids;  /* [T, K] ascending in a token */
    float *w;      /* [T, K] weights of these experts */
};

#endif
