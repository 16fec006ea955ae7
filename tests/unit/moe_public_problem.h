/* A small MoE layer for the tests of its public API: options, weights by a formula, inputs. Uses
 * switchyard.h alone. */
#ifndef TESTS_MOE_PUBLIC_PROBLEM_H
#define TESTS_MOE_PUBLIC_PROBLEM_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "switchyard.h"

enum { S = 9, B = 8, T = B * S, D = 20, F = 12, MOST_E = 13, MOST_K = 3, MOST_SHARED = 2 * F, RANKS = 4 };

/* One array for each member of struct sy_moe_tensors, all experts in it. */
struct tensors {
    float gate[MOST_E * D], gate_bias[MOST_E], w1[MOST_E * F * D], w3[MOST_E * F * D], w2[MOST_E * D * F];
    float shared_w1[MOST_SHARED * D], shared_w3[MOST_SHARED * D], shared_w2[D * MOST_SHARED], shared_gate[D];
};

struct problem {
    const char *name, *options; /* "key=value key=value" */
    int experts, top_k, shared, shared_gate, gate_bias, forced, losses;
    int64_t combine_groups;
};

static const struct problem problems[] = {
    {"sigmoid, groups, bias",
     "moe.num_experts=8 moe.top_k=2 moe.num_shared_experts=1 moe.route_norm=true moe.route_scale=2.5 "
     "moe.num_expert_groups=4 moe.num_limited_groups=2",
     8, 2, 1, 0, 0, 0, 0, 0},
    {"softmax, weights first, gates",
     "moe.num_experts=13 moe.top_k=3 moe.num_shared_experts=2 moe.shared_gate=true "
     "moe.gate_bias=true moe.score_func=softmax moe.score_before_experts=true moe.load_balance_coeff=0",
     13, 3, 2, 1, 1, 0, 0, 0},
    {"topk_softmax, padding, losses",
     "moe.num_experts=12 moe.top_k=3 moe.score_func=topk_softmax moe.equal_split=pad "
     "moe.seq_aux_loss_coeff=0.5 moe.z_loss_coeff=0.25",
     12, 3, 0, 0, 0, 0, 1, 4},
    {"forced balance", "moe.num_experts=9 moe.top_k=3 moe.score_func=softmax moe.bias_center=false", 9, 3, 0,
     0, 0, 1, 0, 0},
    {"fewer experts than ranks", "moe.num_experts=3 moe.top_k=2 moe.combine=scatter moe.gate_bias=true", 3, 2,
     0, 0, 1, 0, 0, 0}};
enum { N_PROBLEMS = sizeof problems / sizeof *problems };

static inline void fill(float *to, size_t n, uint64_t seed, float scale) {
    uint64_t h = seed * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < n; i++) {
        h = h * 6364136223846793005u + 1442695040888963407u;
        uint64_t v = (h ^ h >> 29) * 0xbf58476d1ce4e5b9u;
        to[i] = ((float)(v >> 40) * 0x1p-23f - 1.0f) * scale;
    }
}

static inline void fill_weights(struct tensors *t) {
    fill(t->gate, sizeof t->gate / sizeof(float), 1, 0.5f);
    fill(t->gate_bias, sizeof t->gate_bias / sizeof(float), 2, 0.2f);
    fill(t->w1, sizeof t->w1 / sizeof(float), 3, 0.4f);
    fill(t->w3, sizeof t->w3 / sizeof(float), 4, 0.4f);
    fill(t->w2, sizeof t->w2 / sizeof(float), 5, 0.4f);
    fill(t->shared_w1, sizeof t->shared_w1 / sizeof(float), 6, 0.4f);
    fill(t->shared_w3, sizeof t->shared_w3 / sizeof(float), 7, 0.4f);
    fill(t->shared_w2, sizeof t->shared_w2 / sizeof(float), 8, 0.4f);
    fill(t->shared_gate, sizeof t->shared_gate / sizeof(float), 9, 0.4f);
}

/* Those that the problem has, from expert `first` on. */
static inline struct sy_moe_tensors view(const struct problem *p, struct tensors *t, int64_t first) {
    return (struct sy_moe_tensors){.gate = t->gate,
                                   .gate_bias = p->gate_bias ? t->gate_bias : NULL,
                                   .w1 = t->w1 + first * F * D,
                                   .w3 = t->w3 + first * F * D,
                                   .w2 = t->w2 + first * D * F,
                                   .shared_w1 = p->shared ? t->shared_w1 : NULL,
                                   .shared_w3 = p->shared ? t->shared_w3 : NULL,
                                   .shared_w2 = p->shared ? t->shared_w2 : NULL,
                                   .shared_gate = p->shared_gate ? t->shared_gate : NULL};
}

static inline struct sy_moe_options options_of(const struct problem *p, const char *cls) {
    return (struct sy_moe_options){.dim = D,
                                   .inter_dim = F,
                                   .seq_len = S,
                                   .max_sequences = B,
                                   .max_rounds = 3,
                                   .micro_batches = 2,
                                   .global_sequences = B,
                                   .numeric_class = cls,
                                   .combine_groups = p->combine_groups,
                                   .forced_balance = p->forced};
}

/* "key=value key=value" into a configuration; NULL with a message when one is refused. */
static inline struct sy_config *config_of(const char *options) {
    struct sy_config *config = NULL;
    char text[512], *rest = text;
    snprintf(text, sizeof text, "%s", options);
    if (sy_config_create(&config) != SY_OK)
        return NULL;
    for (char *word; (word = strtok_r(rest, " ", &rest)) != NULL;) {
        char *value = strchr(word, '=');
        *value++ = 0;
        if (sy_option_set(config, word, value) == SY_OK)
            continue;
        fprintf(stderr, "%s\n", sy_error_message());
        sy_config_destroy(config);
        return NULL;
    }
    return config;
}

static inline int64_t counter(const struct sy_moe *moe, const char *name) {
    int64_t value;
    const char *at;
    for (int i = 0; (at = sy_moe_counter(moe, i, &value)) != NULL; i++)
        if (strcmp(at, name) == 0)
            return value;
    return -1;
}

/* The first of the tensors that differ; NULL if none. Experts' only with `experts`, the others only
 * without. */
static inline const char *differs(const struct tensors *a, const struct tensors *b, int experts) {
#define DIFFER(name)                                   \
    if (memcmp(a->name, b->name, sizeof a->name) != 0) \
    return #name
    if (experts) {
        DIFFER(w1);
        DIFFER(w3);
        DIFFER(w2);
        return NULL;
    }
    DIFFER(gate);
    DIFFER(gate_bias);
    DIFFER(shared_w1);
    DIFFER(shared_w3);
    DIFFER(shared_w2);
    DIFFER(shared_gate);
#undef DIFFER
    return NULL;
}

#endif
