/* Micro-tiles of the tier avx512: classes x86, amx and fp32 by FMA, sm90 emulated. */
#include "ops/simd/product_f32.h"

static const struct product_kernel by_fma = {.mr = MR,
                                             .nr = NR,
                                             .lanes = LANES,
                                             .per_word = 1,
                                             .panels = 1,
                                             .kc = {1024, 512},
                                             .stays = 1 << 17,
                                             .pack = pack,
                                             .micro = micro};

const struct product_kernel *SY_FN(product_kernel)(enum sy_numeric_class cls) {
    return cls == SY_NUMERIC_SM90 ? &SY_FN(product_chain) : &by_fma;
}
