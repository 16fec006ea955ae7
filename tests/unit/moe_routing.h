/* Kinds of routing for the tests of the MoE layer: random, skewed, degenerate, given. */
#ifndef SY_TESTS_UNIT_MOE_ROUTING_H
#define SY_TESTS_UNIT_MOE_ROUTING_H

#include "moe_case.h"

enum routing {
    RANDOM,
    HEAVY,         /* each expert gets about half of what the one before gets */
    TIED,          /* zero gate: the first K take all */
    ONE_TAKES_ALL, /* expert E - 3, of every token */
    SOME_WITHOUT,  /* the odd ones get nothing */
    FORCED_CLOSED, /* forced balance: E must divide S K */
    FORCED_OPEN,
    FORCED_BUT_GIVEN, /* both: what is given counts */
    GIVEN,
    GIVEN_WEIGHTS,
    GIVEN_EQUAL,   /* the routes of forced balance, but given */
    COUNTS_1_TO_E, /* K = 1, T = E (E + 1) / 2: expert e gets e + 1 */
    OPPOSITES      /* see make_opposites */
};

/* K different experts of each token, ascending. */
static inline void make_given(const struct problem *p, struct batch *b, uint64_t key) {
    int64_t t = tokens_of(p, b), e = p->config.num_experts, k = p->config.top_k;
    b->given = room(t * k, sizeof *b->given);
    for (int64_t i = 0; i < t; i++) {
        int64_t left = k;
        for (int64_t j = 0; j < e && left > 0; j++)
            if ((int64_t)(sy_mix64(key + (uint64_t)(i * e + j)) % (uint64_t)(e - j)) < left)
                b->given[i * k + k - left--] = (int32_t)j;
    }
}

static inline void make_equal(const struct problem *p, struct batch *b) {
    int64_t t = tokens_of(p, b), e = p->config.num_experts, k = p->config.top_k;
    b->given = room(t * k, sizeof *b->given);
    for (int64_t i = 0; i < t; i++)
        for (int64_t n = 0, j = 0; j < e; j++)
            for (int64_t c = 0; c < k; c++)
                if ((i % p->seq_len * k + c) % e == j)
                    b->given[i * k + n++] = (int32_t)j;
}

/* The rows of an expert lie anyhow over the sequences. */
static inline void make_counts(const struct problem *p, struct batch *b) {
    int64_t t = tokens_of(p, b), e = p->config.num_experts;
    b->given = room(t, sizeof *b->given);
    for (int64_t j = 0, i = 0; j < e; j++)
        for (int64_t n = 0; n <= j; n++, i++)
            b->given[i * 67 % t] = (int32_t)j; /* t is no multiple of 67 */
}

/* All scores are tied, the bias takes experts 2, 1, 0 in this order. What 0 and 1 give cancels but for
 * rounding; what 2 gives is about as small as that rounding: so bf16 shows the order of the sum. */
static inline void make_opposites(struct problem *p) {
    int64_t n13 = 2 * p->f * p->d, n2 = p->d * p->f;
    memset(p->gate, 0, (size_t)(p->config.num_experts * p->d) * sizeof *p->gate);
    for (int i = 0; i < 3; i++)
        p->expert_bias[i] = (float)(i + 1);
    memcpy(p->w13 + n13, p->w13, (size_t)n13 * sizeof *p->w13);
    for (int64_t i = 0; i < n2; i++) {
        p->w2[n2 + i] = -p->w2[i];
        p->w2[2 * n2 + i] *= 0x1p-18f;
    }
}

static inline void route_as(enum routing r, struct problem *p, struct batch *b) {
    int64_t e = p->config.num_experts;
    p->forced = r == FORCED_CLOSED || r == FORCED_OPEN || r == FORCED_BUT_GIVEN;
    for (int64_t i = 0; i < e; i++) {
        if (r == HEAVY)
            p->expert_bias[i] = -0.1f * (float)i;
        if (r == SOME_WITHOUT)
            p->expert_bias[i] = i % 2 ? -9.0f : 0.0f;
    }
    if (r == ONE_TAKES_ALL)
        p->expert_bias[e - 3] = 9.0f;
    if (r == OPPOSITES)
        make_opposites(p);
    if (r == TIED)
        memset(p->gate, 0, (size_t)(e * p->d) * sizeof *p->gate);
    if (r == GIVEN || r == GIVEN_WEIGHTS || r == FORCED_BUT_GIVEN)
        make_given(p, b, 5);
    if (r == GIVEN_WEIGHTS)
        b->given_w = values(SY_NUMERIC_FP32, tokens_of(p, b) * p->config.top_k, 6, 1.5);
    if (r == GIVEN_EQUAL)
        make_equal(p, b);
    if (r == COUNTS_1_TO_E)
        make_counts(p, b);
}

#endif
