/* Rotary frequencies and the softmax scale, with yarn (Peng et al., "YaRN", arXiv 2309.00071; NUMERICS 3,
 * "RoPE"). See layer.h.
 *
 * freq_i = theta^(-2i/d). Yarn: dim(r) = d ln(L / (2 pi r)) / (2 ln theta), low = floor dim(beta_fast), high
 * = ceil dim(beta_slow), both unrounded without yarn_truncate; freq_i = freq_i/factor * ramp + freq_i * (1 -
 * ramp), ramp = (i - low)/(high - low) clamped to [0, 1]. Cosines and sines are times rope_attention_factor.
 */
#include "base/fmath.h"
#include "model/layer.h"

static double floor_f64(double x) {
    double r = rint(x);
    return r > x ? r - 1.0 : r;
}

static double yarn_dim(const struct sy_config_model *m, int64_t d, double rotations) {
    double two_pi = 0x1.921fb54442d18p+2;
    return (double)d * sy_log_f64((double)m->original_seq_len / (two_pi * rotations)) /
           (2.0 * sy_log_f64(m->rope_theta));
}

static double frequency(const struct sy_config_model *m, int64_t d, int64_t i) {
    double f = sy_pow_f64(m->rope_theta, -2.0 * (double)i / (double)d);
    if (m->rope_factor == 1.0)
        return f;
    double low = yarn_dim(m, d, m->beta_fast), high = yarn_dim(m, d, m->beta_slow);
    if (m->yarn_truncate) {
        low = floor_f64(low);
        high = -floor_f64(-high);
    }
    low = low > 0.0 ? low : 0.0;
    high = high < (double)(d - 1) ? high : (double)(d - 1);
    if (low == high)
        high += 0.001;
    double ramp = ((double)i - low) / (high - low);
    ramp = ramp < 0.0 ? 0.0 : ramp > 1.0 ? 1.0 : ramp;
    return f / m->rope_factor * ramp + f * (1.0 - ramp);
}

void sy_rope_tables(const struct sy_config_model *m, int64_t d, int64_t positions, float *cos_out,
                    float *sin_out) {
    double a = m->rope_attention_factor;
    for (int64_t i = 0; i < d / 2; i++) {
        double f = frequency(m, d, i);
        for (int64_t p = 0; p < positions; p++) {
            cos_out[p * (d / 2) + i] = (float)(a * sy_cos_f64((double)p * f));
            sin_out[p * (d / 2) + i] = (float)(a * sy_sin_f64((double)p * f));
        }
    }
}

double sy_attention_scale(const struct sy_config_model *m) {
    if (m->attention != SY_ATTENTION_MLA)
        return 1.0 / sqrt((double)m->head_dim);
    double scale = 1.0 / sqrt((double)(m->qk_nope_head_dim + m->qk_rope_head_dim));
    if (m->rope_factor > 1.0) {
        double mscale = 0.1 * m->mscale * sy_log_f64(m->rope_factor) + 1.0;
        scale *= mscale * mscale;
    }
    return scale;
}
