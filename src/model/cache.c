/* A cache of keys and values: see cache.h. */
#include "model/cache.h"

struct sy_attn_act sy_cache_rows(const struct sy_attn_act *act, int64_t first) {
    struct sy_attn_act rows = *act;
    struct sy_mat *of_attention[] = {&rows.q, &rows.k, &rows.v, &rows.kva, &rows.kv, &rows.o};
    for (size_t i = 0; i < sizeof of_attention / sizeof *of_attention; i++)
        if (of_attention[i]->data)
            *of_attention[i] = sy_mat_rows(*of_attention[i], first);
    return rows;
}
