/* Numbers of 16 bits: bf16 and IEEE half, to fp32 exactly and back by round to nearest even. */
#ifndef SY_FORMATS_HALVES_H
#define SY_FORMATS_HALVES_H

#include "formats/safetensors.h"

/* Local. 1 for F32, BF16 and F16, which the functions below take. */
int sy_halves_can(enum sy_safetensors_dtype dtype);

/* Local. n elements of a dtype, in bytes that need no alignment, to fp32; payloads of NaN are kept. */
void sy_halves_widen(enum sy_safetensors_dtype dtype, const void *from, int64_t n, float *to);

/* Local. The reverse. *n_infinite grows by the finite numbers that become Inf, *n_zero by those other than 0
 * that become 0. */
void sy_halves_narrow(enum sy_safetensors_dtype dtype, const float *from, int64_t n, void *to,
                      int64_t *n_infinite, int64_t *n_zero);

#endif
