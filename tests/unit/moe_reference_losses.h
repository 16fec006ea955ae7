/* The router's two losses written out for one sequence of up to 64 tokens (NUMERICS 3, "Router losses"). */
#ifndef SY_TESTS_UNIT_MOE_REFERENCE_LOSSES_H
#define SY_TESTS_UNIT_MOE_REFERENCE_LOSSES_H

#include "moe_case.h"

#include "base/fmath.h"

static inline float dot64(int64_t n, const float *a, const float *b) { /* V64 of a b; b NULL: of a */
    float lane[64] = {0};
    for (int64_t i = 0; i < n; i++)
        lane[i % 64] = b ? fmaf(a[i], b[i], lane[i % 64]) : lane[i % 64] + a[i];
    for (int h = 32; h > 0; h /= 2)
        for (int i = 0; i < h; i++)
            lane[i] = lane[i] + lane[i + h];
    return lane[0];
}

static inline int64_t in_fixed_point(float loss) {
    return (int64_t)rint(fmin((double)loss, 4096.0) * 0x1p24);
}

struct loss_token {
    float p[64], softmax[64], n, lse;
};

static inline void loss_of_token(const struct problem *p, const float *logit, const float *s,
                                 struct loss_token *k) {
    int64_t e_count = p->config.num_experts;
    float top = -INFINITY, z;
    for (int64_t e = 0; e < e_count; e++)
        top = logit[e] > top ? logit[e] : top;
    for (int64_t e = 0; e < e_count; e++)
        k->softmax[e] = sy_exp_f32(logit[e] - top);
    z = dot64(e_count, k->softmax, NULL);
    k->n = dot64(e_count, s, NULL);
    k->lse = top + sy_log_f32(z);
    for (int64_t e = 0; e < e_count; e++) {
        k->softmax[e] = k->softmax[e] * (1.0f / z);
        k->p[e] = p->config.score_func == SY_SCORE_SIGMOID ? s[e] / k->n : k->softmax[e];
        if (p->config.score_func == SY_SCORE_SOFTMAX)
            k->p[e] = s[e];
    }
}

/* Of one sequence of S tokens: logits, s and aux [S, E], ids [S, K]. Fills aux, the gradient at the
 * logits, and adds to the sums. `sequences`: of the global batch. */
static inline void losses_of_sequence(const struct problem *p, int64_t sequences, const float *logit,
                                      const float *s, const int32_t *ids, float *aux, int64_t loss[2]) {
    const struct sy_config_moe *m = &p->config;
    int64_t e_count = m->num_experts, len = p->seq_len;
    float balance = (float)(m->seq_aux_loss_coeff / (double)sequences),
          z = (float)(m->z_loss_coeff / (double)sequences);
    float f[64], g[64], mean[64], squares = 0.0f, slope = (float)(2.0 * (double)z / (double)len);
    struct loss_token *token = room(len, sizeof *token);
    for (int64_t t = 0; t < len; t++) {
        loss_of_token(p, logit + t * e_count, s + t * e_count, &token[t]);
        squares = fmaf(token[t].lse, token[t].lse, squares);
    }
    for (int64_t e = 0; e < e_count; e++) {
        int64_t count = 0;
        float sum = 0.0f;
        for (int64_t i = 0; i < len * m->top_k; i++)
            count += ids[i] == e;
        for (int64_t t = 0; t < len; t++)
            sum = sum + token[t].p[e];
        f[e] = (float)((double)(count * e_count) / (double)(m->top_k * len));
        g[e] = (float)((double)balance * (double)f[e] / (double)len);
        mean[e] = sum * (float)(1.0 / (double)len);
    }
    for (int64_t t = 0; t < len; t++) {
        float mid = dot64(e_count, g, token[t].p);
        for (int64_t e = 0; e < e_count; e++) {
            float v = s[t * e_count + e], *out = &aux[t * e_count + e];
            *out = token[t].p[e] * (g[e] - mid);
            if (m->score_func == SY_SCORE_SIGMOID)
                *out = ((g[e] - mid) / token[t].n) * (v * (1.0f - v));
            if (balance == 0.0f)
                *out = 0.0f;
            if (z != 0.0f)
                *out = *out + (slope * token[t].lse) * token[t].softmax[e];
        }
    }
    loss[0] += balance != 0.0f ? in_fixed_point(dot64(e_count, f, mean)) : 0;
    loss[1] += z != 0.0f ? in_fixed_point(squares * (float)(1.0 / (double)len)) : 0;
    free(token);
}

#endif
