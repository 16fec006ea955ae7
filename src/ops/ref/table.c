/* The table of this tier. */
#include "ops/ref/protos.h"

#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)

extern const struct sy_ops SY_GLUE(sy_ops_, SY_TIER);
const struct sy_ops SY_GLUE(sy_ops_, SY_TIER) = {.tier = TEXT(SY_TIER),
                                                 .pack_bytes = SY_FN(pack_bytes),
                                                 .peak = SY_FN(peak),
#define X(name, type) .name = SY_FN(name),
                                                 SY_OPS_LIST(X)
#undef X
};
