/* bf16 and IEEE half: see halves.h. */
#include "formats/halves.h"

#include <string.h>

#include "base/fmath.h"

int sy_halves_can(enum sy_safetensors_dtype dtype) {
    return dtype == SY_SAFETENSORS_F32 || dtype == SY_SAFETENSORS_BF16 || dtype == SY_SAFETENSORS_F16;
}

static float from_f16(uint16_t h) {
    uint32_t sign = (uint32_t)(h >> 15) << 31, exponent = h >> 10 & 31, fraction = h & 1023u;
    if (exponent == 31)
        return sy_f32_from_bits(sign | 0x7f800000u | fraction << 13);
    if (exponent > 0)
        return sy_f32_from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    return sy_f32_from_bits(sy_f32_bits((float)fraction * 0x1p-24f) | sign); /* zero or subnormal */
}

/* The upper 16 of bits whose lower ones are rounded away, to nearest even; a NaN stays one. */
static uint16_t to_bf16(uint32_t u) {
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

/* x / 2^-24 is exact for what becomes subnormal, and rounded to an integer by the addition of 2^23: to
 * nearest even. */
static uint16_t to_f16(uint32_t u) {
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000u);
    uint32_t a = u & 0x7fffffffu;
    if (a > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (a >> 13 & 0x3ffu));
    if (a >= 0x477ff000u) /* 65520, half way from 65504 to 65536, and beyond */
        return (uint16_t)(sign | 0x7c00u);
    if (a >= 0x38800000u) /* 2^-14 */
        return (uint16_t)(sign | ((a - 0x38000000u + 0xfffu + (a >> 13 & 1)) >> 13));
    return (uint16_t)(sign | (uint16_t)(sy_f32_bits(sy_f32_from_bits(a) * 0x1p24f + 0x1p23f) & 0x7fffffu));
}

void sy_halves_widen(enum sy_safetensors_dtype dtype, const void *from, int64_t n, float *to) {
    if (dtype == SY_SAFETENSORS_F32) {
        memcpy(to, from, 4 * (size_t)n);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, (const char *)from + 2 * i, sizeof h);
        to[i] = dtype == SY_SAFETENSORS_BF16 ? sy_f32_from_bits((uint32_t)h << 16) : from_f16(h);
    }
}

void sy_halves_narrow(enum sy_safetensors_dtype dtype, const float *from, int64_t n, void *to,
                      int64_t *n_infinite, int64_t *n_zero) {
    if (dtype == SY_SAFETENSORS_F32) {
        memcpy(to, from, 4 * (size_t)n);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        uint32_t u = sy_f32_bits(from[i]), infinite = dtype == SY_SAFETENSORS_BF16 ? 0x7f80u : 0x7c00u;
        uint16_t h = dtype == SY_SAFETENSORS_BF16 ? to_bf16(u) : to_f16(u);
        *n_infinite += (h & 0x7fffu) == infinite && (u & 0x7f800000u) != 0x7f800000u;
        *n_zero += (h & 0x7fffu) == 0 && (u & 0x7fffffffu) != 0;
        memcpy((char *)to + 2 * i, &h, sizeof h);
    }
}
