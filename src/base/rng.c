/* Counter-based random numbers: see rng.h. */
#include "base/rng.h"

#include "base/fmath.h"

uint64_t sy_rng_key(uint64_t seed, enum sy_rng_purpose purpose, uint32_t step, uint64_t tensor_id) {
    return sy_mix64(sy_mix64(seed + ((uint64_t)purpose << 32) + step) + tensor_id);
}

void sy_rng_philox(uint64_t key, uint64_t index, uint32_t retry, uint32_t out[4]) {
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = retry, c3 = 0;
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(b >> 32) ^ c1 ^ k0, n2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c0 = n0;
        c1 = (uint32_t)b;
        c2 = n2;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static double unit(uint32_t word) { return ((double)word + 0.5) * 0x1p-32; }

double sy_rng_normal(uint64_t key, uint64_t index, uint32_t retry) {
    uint32_t w[4];
    sy_rng_philox(key, index, retry, w);
    double r = sqrt(-2.0 * sy_log_f64(unit(w[0])));
    return r * sy_cos_f64(0x1.921fb54442d18p+2 * unit(w[1]));
}

double sy_rng_normal_cut(uint64_t key, uint64_t index, double sd, double cut) {
    for (uint32_t retry = 0;; retry++) {
        double x = sd * sy_rng_normal(key, index, retry);
        if (!(cut > 0.0) || (x <= cut && x >= -cut) || retry == 1000)
            return x;
    }
}

double sy_rng_uniform(uint64_t key, uint64_t index) {
    uint32_t w[4];
    sy_rng_philox(key, index, 0, w);
    return unit(w[0]);
}
