/* Learning rate by step: W = min(warmup, total); Dk = round(total decay_ratio), or total - W; St = total + 1 - W - Dk.
 * s < W: (s+1)/W; s < W + St: 1; then p = (s + 1 - W - St)/Dk and f = min + (1 - min) (1-p | 1-sqrt p | (1 + cos pi p)/2).
 */
#include "train/schedule.h"

#include "base/fmath.h"

static double decayed(enum sy_lr_scheduler_decay_type type, double p) {
    switch (type) {
    case SY_DECAY_SQRT:
        return 1.0 - sqrt(p);
    case SY_DECAY_COSINE:
        return (1.0 + sy_cos_f64(0x1.921fb54442d18p+1 * p)) / 2.0;
    default:
        return 1.0 - p;
    }
}

double sy_schedule_lr(const struct sy_config_lr_scheduler *c, double lr, int64_t s, int64_t total) {
    int64_t warmup = c->warmup_steps < total ? c->warmup_steps : total;
    int64_t decay = c->decay_ratio >= 0 ? (int64_t)rint((double)total * c->decay_ratio) : total - warmup;
    int64_t stable = total + 1 - warmup - decay;
    if (s < warmup)
        return lr * ((double)(s + 1) / (double)warmup);
    if (s < warmup + stable || decay <= 0)
        return lr;
    double p = (double)(s + 1 - warmup - stable) / (double)decay;
    p = p < 0.0 ? 0.0 : p > 1.0 ? 1.0 : p;
    return lr * (c->min_lr_factor + (1.0 - c->min_lr_factor) * decayed(c->decay_type, p));
}
