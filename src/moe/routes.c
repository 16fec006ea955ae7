/* One token's routes from outside: see routes.h. */
#include "moe/routes.h"

#include "base/fmath.h"

enum sy_route_fault sy_route_sort(int64_t experts, int64_t top_k, int32_t *ids, float *w, int32_t *bad_id,
                                  float *bad_w) {
    for (int64_t k = 0; k < top_k; k++) {
        int32_t id = *bad_id = ids[k];
        float weight = *bad_w = w ? w[k] : 0.0f;
        int64_t at = k;
        if (id < 0 || id >= experts)
            return SY_ROUTE_RANGE;
        if (!sy_f32_finite(weight))
            return SY_ROUTE_NOT_FINITE;
        for (; at > 0 && ids[at - 1] >= id; at--) {
            if (ids[at - 1] == id)
                return SY_ROUTE_TWICE;
            ids[at] = ids[at - 1];
            if (w)
                w[at] = w[at - 1];
        }
        ids[at] = id;
        if (w)
            w[at] = weight;
    }
    return SY_ROUTE_OK;
}
