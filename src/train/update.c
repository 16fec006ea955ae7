/* What ends a step: see update.h. */
#include "train/update.h"

#include "base/exact_sum.h"
#include "base/fmath.h"
#include "moe/bias.h"

enum { BLOCK = 1024 };

int64_t sy_update_blocks(const struct sy_params *params) {
    int64_t most = 1;
    for (int i = 0; i < params->n_tensors; i++) {
        int64_t n = (params->tensor[i].n + BLOCK - 1) / BLOCK;
        most = n > most ? n : most;
    }
    return most;
}

static int is_trained(const struct sy_update *u, const struct sy_tensor *t) {
    return u->params->param[t->param].kind != SY_PARAM_BUFFER;
}

double sy_update_norm(const struct sy_update *u, const struct sy_gradients *g, int64_t *n_bad) {
    struct sy_exact_sum sum = {0};
    for (int i = 0; i < u->params->n_tensors; i++) {
        const struct sy_tensor *t = &u->params->tensor[i];
        if (!is_trained(u, t))
            continue;
        const float *root = sy_gradients_root(g, t->param) + (t->offset - u->params->param[t->param].offset);
        u->exec->ops->square_sum(u->exec, &(struct sy_square_sum){.n = t->n, .x = root, .out = u->blocks, .n_bad = n_bad});
        for (int64_t b = 0; b < (t->n + BLOCK - 1) / BLOCK; b++)
            sy_exact_add(&sum, u->blocks[b]);
    }
    return sqrt(sy_exact_round(&sum));
}

void sy_update_adamw(const struct sy_update *u, const struct sy_gradients *g, const struct sy_update_step *s) {
    double ratio = s->max_norm / (s->norm + 1e-6), clip = ratio < 1.0 ? ratio : 1.0;
    struct sy_adamw op = {.clip = (float)clip,
                          .b1 = (float)s->beta1,
                          .one_b1 = (float)(1.0 - s->beta1),
                          .b2 = (float)s->beta2,
                          .one_b2 = (float)(1.0 - s->beta2),
                          .c1 = (float)(1.0 / (1.0 - sy_pow_f64(s->beta1, (double)s->t))),
                          .c2 = (float)(1.0 / (1.0 - sy_pow_f64(s->beta2, (double)s->t))),
                          .eps = (float)s->eps,
                          .lr = (float)s->lr,
                          .wd = (float)s->weight_decay};
    if (s->beta1 == 0.0)
        op.c1 = 1.0f;
    if (s->beta2 == 0.0)
        op.c2 = 1.0f;
    for (int i = 0; i < u->params->n_params; i++) {
        const struct sy_param *p = &u->params->param[i];
        if (p->kind == SY_PARAM_BUFFER)
            continue;
        op.n = p->rows * p->cols;
        op.g = sy_gradients_root(g, i);
        op.m = u->m + p->offset;
        op.v = u->v + p->offset;
        op.w = u->weights.master + p->offset;
        u->exec->ops->adamw(u->exec, &op);
    }
}

void sy_update_expert_bias(const struct sy_update *u, int layer, const struct sy_config_moe *moe, int64_t tokens,
                           const int64_t *counts) {
    int param = u->params->layer[layer].expert_bias;
    if (param >= 0)
        sy_moe_bias_update(moe, tokens, counts, u->weights.master + u->params->param[param].offset);
}

void sy_update_stored(const struct sy_update *u) {
    if (u->weights.stored != (void *)u->weights.master)
        u->exec->ops->cast(u->exec,
                           &(struct sy_cast){.n = u->params->n_floats, .x = u->weights.master, .y = u->weights.stored});
}

static void digest_part(void *arg, int thread, int n_threads) {
    const struct sy_update *u = arg;
    struct sy_digest d = {{0, 0}};
    for (int i = 0; i < u->params->n_tensors; i++) {
        const struct sy_tensor *t = &u->params->tensor[i];
        int64_t lo, hi;
        sy_range(t->n, BLOCK, thread, n_threads, &lo, &hi);
        sy_digest_add_f32(&d, t->id, (uint64_t)lo, u->weights.master + t->offset + lo, (size_t)(hi - lo));
    }
    u->digests[thread] = d;
}

struct sy_digest sy_update_digest(const struct sy_update *u) {
    struct sy_digest d = {{0, 0}};
    sy_pool_run(u->exec->pool, digest_part, (void *)(uintptr_t)u);
    for (int i = 0; i < sy_pool_size(u->exec->pool); i++)
        sy_digest_join(&d, &u->digests[i]);
    return d;
}
