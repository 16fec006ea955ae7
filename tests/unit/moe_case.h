/* What the tests of the MoE layer are about: a problem (weights and options), a batch (tokens and gradients),
 * a layout (which rank has which sequences in which round), an answer (all that the layer gives).
 *
 * Answers of all layouts have the same shape and are compared bit for bit: sequences are numbered as one
 * process would get them, by (round, rank, sequence). A dense weight's gradient is a leaf for each sequence,
 * an expert's one CHAIN over all its rows, a part for each sequence, so that any change of the order of rows
 * shows.
 */
#ifndef SY_TESTS_UNIT_MOE_CASE_H
#define SY_TESTS_UNIT_MOE_CASE_H

#include "../ops/chain_model.h"

#include "base/rng.h"
#include "moe/layer.h"
#include "switchyard.h"

enum { MAX_RANKS = 8, MAX_ROUNDS = 4, MAX_SEQUENCES = 32 };

static inline void *room(int64_t n, size_t size) {
    void *p = calloc(n > 0 ? (size_t)n : 1, size);
    if (!p)
        abort();
    return p;
}

static inline int is_quick(void) { return getenv("QUICK") != NULL; }

/* --- problems and batches ------------------------------------------------------------------------------- */

struct problem { /* the values are those that the class can store */
    enum sy_numeric_class cls;
    struct sy_config_moe config;
    int64_t d, f, seq_len, combine_groups;
    int forced;
    float *gate, *gate_bias, *expert_bias; /* [E, D], [E], [E]; the biases are used if not all 0 */
    float *w13, *w2;                       /* [E, 2F, D], [E, D, F] */
    float *s13, *s2, *sg;                  /* shared experts [2 sF, D], [D, sF]; their gate [D] */
};

struct batch {
    int64_t sequences;
    float *x, *dy;  /* [T, D] */
    int32_t *given; /* [T, K] routes to follow, or NULL */
    float *given_w; /* [T, K] or NULL */
};

static inline double unit(uint64_t key, int64_t i) {
    return (double)(sy_mix64(key * 0x9e3779b97f4a7c15u + (uint64_t)i) >> 40) * 0x1p-23 - 1.0;
}

static inline float *values(enum sy_numeric_class cls, int64_t n, uint64_t key, double scale) {
    float *v = room(n, sizeof *v);
    for (int64_t i = 0; i < n; i++)
        v[i] = model_bf(cls, (float)(unit(key, i) * scale));
    return v;
}

static inline int64_t shared_width(const struct problem *p) { return p->config.num_shared_experts * p->f; }

/* Options first, then the weights by problem_fill. */
static inline struct problem problem_of(enum sy_numeric_class cls, int64_t experts, int64_t top_k,
                                        int64_t seq_len) {
    struct problem p = {.cls = cls, .d = 20, .f = 12, .seq_len = seq_len};
    p.config = (struct sy_config_moe){.num_experts = experts,
                                      .top_k = top_k,
                                      .route_scale = 1.0,
                                      .score_func = SY_SCORE_SIGMOID,
                                      .route_norm = true};
    return p;
}

static inline void problem_fill(struct problem *p, uint64_t key) {
    int64_t e = p->config.num_experts, sf = shared_width(p);
    p->gate = values(p->cls, e * p->d, key + 1, 0.6);
    p->gate_bias = room(e, sizeof(float));
    p->expert_bias = room(e, sizeof(float));
    p->w13 = values(p->cls, e * 2 * p->f * p->d, key + 2, 0.5);
    p->w2 = values(p->cls, e * p->d * p->f, key + 3, 0.5);
    p->s13 = values(p->cls, 2 * sf * p->d, key + 4, 0.5);
    p->s2 = values(p->cls, p->d * sf, key + 5, 0.5);
    p->sg = values(p->cls, p->d, key + 6, 0.5);
}

static inline void problem_free(struct problem *p) {
    float *all[] = {p->gate, p->gate_bias, p->expert_bias, p->w13, p->w2, p->s13, p->s2, p->sg};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static inline int any(const float *v, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (v[i] != 0.0f)
            return 1;
    return 0;
}

static inline struct batch batch_of(const struct problem *p, int64_t sequences, uint64_t key) {
    int64_t n = sequences * p->seq_len * p->d;
    return (struct batch){sequences, values(p->cls, n, key + 11, 1.0), values(p->cls, n, key + 12, 1.0), NULL,
                          NULL};
}

static inline void batch_free(struct batch *b) {
    free(b->x);
    free(b->dy);
    free(b->given);
    free(b->given_w);
}

static inline int64_t tokens_of(const struct problem *p, const struct batch *b) {
    return b->sequences * p->seq_len;
}

/* --- layouts -------------------------------------------------------------------------------------------- */

struct layout {
    int ranks, rounds, known;
    int64_t of[MAX_RANKS][MAX_ROUNDS]; /* sequences of a rank in a round */
};

static inline struct layout one_process(int64_t sequences) {
    struct layout l = {.ranks = 1, .rounds = 1};
    l.of[0][0] = sequences;
    return l;
}

/* In one round: as even as can be; or ever more for the later ranks, none for some. */
static inline struct layout lay(int ranks, int64_t sequences, int uneven) {
    struct layout l = {.ranks = ranks, .rounds = 1};
    for (int64_t b = 0; b < sequences; b++)
        l.of[uneven ? b * b * ranks / (sequences * sequences) : b * ranks / sequences][0]++;
    return l;
}

/* Anyhow: each sequence at a random rank in a random round. */
static inline struct layout lay_anyhow(int ranks, int rounds, int64_t sequences, uint64_t key) {
    struct layout l = {.ranks = ranks, .rounds = rounds};
    for (int64_t b = 0; b < sequences; b++) {
        uint64_t h = sy_mix64(key * 977 + (uint64_t)b);
        l.of[h % (uint64_t)ranks][(h >> 32) % (uint64_t)rounds]++;
    }
    return l;
}

static inline int64_t sequences_of(const struct layout *l, int rank) {
    int64_t n = 0;
    for (int j = 0; j < l->rounds; j++)
        n += l->of[rank][j];
    return n;
}

/* The global numbers of a rank's sequences, in its own order. */
static inline int64_t numbers_of(const struct layout *l, int rank, int64_t numbers[MAX_SEQUENCES]) {
    int64_t next = 0, n = 0;
    for (int j = 0; j < l->rounds; j++)
        for (int r = 0; r < l->ranks; r++)
            for (int64_t b = 0; b < l->of[r][j]; b++, next++)
                if (r == rank)
                    numbers[n++] = next;
    return n;
}

/* --- answers -------------------------------------------------------------------------------------------- */

enum field { Y, DX, IDS, W, DW, DLOGITS, DWG, DW13, DW2, DS13, DS2, DSG, COUNTS, N_FIELDS };
static const char *const field_name[N_FIELDS] = {"y",    "dx",  "ids",  "w",   "dw",  "dlogits", "dWg",
                                                 "dW13", "dW2", "dS13", "dS2", "dSg", "counts"};

struct answer {
    int64_t n[N_FIELDS];
    float *v[N_FIELDS];
    int64_t rank_counts[MAX_RANKS][64], loss[MAX_RANKS][2], n_bad[MAX_RANKS];
};

static inline struct answer answer_of(const struct problem *p, const struct batch *b) {
    int64_t t = tokens_of(p, b), e = p->config.num_experts, k = p->config.top_k, sf = shared_width(p),
            s = b->sequences;
    int64_t gated = p->config.shared_gate ? s * p->d : 0;
    struct answer a = {.n = {t * p->d, t * p->d, t * k, t * k, t * k, t * e, s * e * p->d,
                             e * 2 * p->f * p->d, e * p->d * p->f, s * 2 * sf * p->d, s * p->d * sf, gated,
                             e}};
    for (int i = 0; i < N_FIELDS; i++)
        a.v[i] = room(a.n[i], sizeof(float));
    return a;
}

static inline void answer_free(struct answer *a) {
    for (int i = 0; i < N_FIELDS; i++)
        free(a->v[i]);
}

static inline int64_t first_difference(const struct answer *a, const struct answer *b, enum field f) {
    for (int64_t i = 0; i < a->n[f]; i++)
        if (bits_of(a->v[f][i]) != bits_of(b->v[f][i]))
            return i;
    return -1;
}

/* NULL, or the first difference in words (of one caller at a time). */
static inline const char *difference(const struct answer *a, const struct answer *b) {
    static char text[200];
    for (int f = 0; f < N_FIELDS; f++) {
        int64_t i = first_difference(a, b, (enum field)f);
        if (i < 0)
            continue;
        snprintf(text, sizeof text, "%s[%lld] of %lld is %08x (%g), should be %08x (%g)", field_name[f],
                 (long long)i, (long long)a->n[f], bits_of(a->v[f][i]), (double)a->v[f][i],
                 bits_of(b->v[f][i]), (double)b->v[f][i]);
        return text;
    }
    return NULL;
}

#endif
