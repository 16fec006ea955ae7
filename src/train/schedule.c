/* Learning rate by step: W = min(warmup, total); Dk = min(round(total decay_ratio), total - W), or total - W;
 * St = total + 1 - W - Dk, at least 1.
 * s < W: (s+1)/W; s < W + St: 1; then p = (s + 1 - W - St)/Dk and
 * f = min + (1 - min) (1-p | 1-sqrt p | (1 + cos pi p)/2).
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

struct parts {
    int64_t warmup, decay, asked_decay; /* steps; asked: before it is cut */
};

static struct parts parts_of(const struct sy_config_lr_scheduler *c, int64_t total) {
    struct parts p = {.warmup = c->warmup_steps < total ? c->warmup_steps : total};
    int64_t left = total - p.warmup;
    p.asked_decay = c->decay_ratio >= 0 ? (int64_t)rint((double)total * c->decay_ratio) : left;
    p.decay = p.asked_decay < left ? p.asked_decay : left;
    return p;
}

void sy_schedule_warn(const struct sy_config_lr_scheduler *c, int64_t total, const struct sy_log *log) {
    struct parts p = parts_of(c, total);
    if (c->warmup_steps > total)
        sy_log_warn(log,
                    "lr_scheduler.warmup_steps = %lld is cut to training.steps = %lld: the learning rate "
                    "never decays",
                    (long long)c->warmup_steps, (long long)total);
    else if (p.decay < p.asked_decay)
        sy_log_warn(log,
                    "lr_scheduler.decay_ratio = %g asks for %lld of %lld steps and warm-up takes %lld: the "
                    "decay is cut "
                    "to %lld",
                    c->decay_ratio, (long long)p.asked_decay, (long long)total, (long long)p.warmup,
                    (long long)p.decay);
}

double sy_schedule_lr(const struct sy_config_lr_scheduler *c, double lr, int64_t s, int64_t total) {
    struct parts parts = parts_of(c, total);
    int64_t warmup = parts.warmup, decay = parts.decay;
    int64_t stable = total + 1 - warmup - decay;
    if (s < warmup)
        return lr * ((double)(s + 1) / (double)warmup);
    if (s < warmup + stable || decay <= 0)
        return lr;
    double p = (double)(s + 1 - warmup - stable) / (double)decay;
    p = p > 1.0 ? 1.0 : p;
    return lr * (c->min_lr_factor + (1.0 - c->min_lr_factor) * decayed(c->decay_type, p));
}
