/* What ends a step: see update.h. */
#include "train/update.h"

#include <stdlib.h>

#include "base/fmath.h"
#include "train/groups.h"

struct sy_update {
    struct sy_update_options o;
    const struct sy_exec *exec;
    int n_trained, n_stored, n_all, n_bias, n_bias_digests;
    struct sy_norm_item *norm;     /* [n_trained]; gradients are filled in each step */
    struct sy_adamw_item *adamw;   /* [n_trained] */
    struct sy_cast_item *cast;     /* [n_stored] */
    int *tensor;                   /* [n_trained] */
    struct sy_digest_item *digest; /* [n_all]; the first n_bias_digests are the expert biases */
    const int64_t **counts;        /* [n_bias] */
    float **bias;
};

/* --- lists ---------------------------------------------------------------------------------------------- */

static void list_trained(struct sy_update *u, int i, const struct sy_tensor *t, struct sy_range_of own) {
    const struct sy_state *s = u->o.state;
    struct sy_kept to = u->o.keeper.of(u->o.keeper.self, i);
    struct sy_adamw_item item = {
        .n = own.n, .id = t->id, .first = (uint64_t)own.first, .w = s->of[SY_STATE_W][i]};
    int is_vector = s->params->param[t->param].kind == SY_PARAM_VECTOR;
    item.stored =
        is_vector ? (void *)item.w : (char *)to.at + (size_t)(own.first - to.range.first) * to.element;
    if (s->has_moments) {
        item.m = s->of[SY_STATE_M][i];
        item.v = s->of[SY_STATE_V][i];
    }
    struct sy_optimizer_group group;
    item.grouped = sy_group_of(u->o.config, t->name, &group) >= 0;
    item.frozen = group.lr == 0;
    item.lr_factor = (float)group.lr;
    item.wd = (float)(group.decays ? group.weight_decay : u->o.config->optimizer.weight_decay);
    int left_out =
        item.frozen || (u->o.norm_without_experts && s->params->param[t->param].kind == SY_PARAM_EXPERT);
    u->norm[u->n_trained] = (struct sy_norm_item){.n = left_out ? 0 : own.n};
    u->tensor[u->n_trained] = i;
    if (!is_vector)
        u->cast[u->n_stored++] = (struct sy_cast_item){own.n, item.w, item.stored};
    u->adamw[u->n_trained++] = item;
}

static void list_bias(struct sy_update *u, int i, const struct sy_tensor *t) {
    int layer = u->o.state->params->param[t->param].layer;
    u->counts[u->n_bias] = u->o.counts ? u->o.counts + layer * u->o.moe->num_experts : NULL;
    u->bias[u->n_bias++] = u->o.state->of[SY_STATE_W][i];
}

static void list(struct sy_update *u) {
    const struct sy_state *s = u->o.state;
    for (int trained = 0; trained < 2; trained++)
        for (int i = 0; i < s->params->n_tensors; i++) {
            const struct sy_tensor *t = &s->params->tensor[i];
            struct sy_range_of own = sy_state_own(s, i), counts = sy_owner_counts(&s->own, s->params, i);
            if (sy_state_is_trained(s->params, i) != trained)
                continue;
            if (counts.n > 0)
                u->digest[u->n_all++] =
                    (struct sy_digest_item){counts.n, t->id, (uint64_t)counts.first,
                                            s->of[SY_STATE_W][i] + (counts.first - own.first)};
            if (!trained) {
                if (own.n > 0)
                    list_bias(u, i, t);
                u->n_bias_digests = u->n_all;
            } else if (own.n > 0) {
                list_trained(u, i, t, own);
            }
        }
}

sy_status sy_update_create(const struct sy_update_options *o, struct sy_update **out) {
    size_t n = (size_t)o->state->params->n_tensors + 1;
    struct sy_update *u = calloc(1, sizeof *u);
    if (u) {
        u->o = *o;
        u->exec = o->state->exec;
        u->norm = calloc(n, sizeof *u->norm);
        u->adamw = calloc(n, sizeof *u->adamw);
        u->cast = calloc(n, sizeof *u->cast);
        u->tensor = calloc(n, sizeof *u->tensor);
        u->digest = calloc(n, sizeof *u->digest);
        u->counts = calloc(n, sizeof *u->counts);
        u->bias = calloc(n, sizeof *u->bias);
    }
    if (!u || !u->norm || !u->adamw || !u->cast || !u->tensor || !u->digest || !u->counts || !u->bias) {
        sy_update_destroy(u);
        SY_FAIL(SY_ERR_MEMORY, "no memory for a list of %zu tensors", n);
    }
    list(u);
    *out = u;
    return SY_OK;
}

void sy_update_destroy(struct sy_update *u) {
    if (!u)
        return;
    free(u->norm);
    free(u->adamw);
    free(u->cast);
    free(u->tensor);
    free(u->digest);
    free(u->counts);
    free(u->bias);
    free(u);
}

/* --- a step --------------------------------------------------------------------------------------------- */

void sy_update_scalars(const struct sy_update_step *s, struct sy_scalars *out) {
    float w = out->w;
    *out = (struct sy_scalars){.w = w,
                               .lr = (float)s->lr,
                               .b1 = (float)s->beta1,
                               .one_b1 = (float)(1.0 - s->beta1),
                               .b2 = (float)s->beta2,
                               .one_b2 = (float)(1.0 - s->beta2),
                               .c1 = 1.0f,
                               .c2 = 1.0f,
                               .eps = (float)s->eps,
                               .wd = (float)s->weight_decay,
                               .max_norm = s->max_norm};
    if (s->beta1 != 0.0)
        out->c1 = (float)(1.0 / (1.0 - sy_pow_f64(s->beta1, (double)s->t)));
    if (s->beta2 != 0.0)
        out->c2 = (float)(1.0 / (1.0 - sy_pow_f64(s->beta2, (double)s->t)));
}

void sy_update_norm(struct sy_update *u, const struct sy_reduce *g, struct sy_tally *tally) {
    for (int i = 0; i < u->n_trained; i++)
        u->norm[i].x = sy_reduce_own(g, u->tensor[i]);
    u->exec->ops->norm(u->exec, &(struct sy_norm){u->norm, u->n_trained, tally});
}

void sy_update_apply(struct sy_update *u, const struct sy_reduce *g, const struct sy_update_memory *m) {
    const struct sy_ops *ops = u->exec->ops;
    for (int i = 0; i < u->n_trained; i++)
        u->adamw[i].g = sy_reduce_own(g, u->tensor[i]);
    ops->judge(u->exec, &(struct sy_judge){m->tally, m->scalars, m->verdict});
    ops->adamw(u->exec, &(struct sy_adamw){u->adamw, u->n_trained, m->scalars, m->verdict});
    if (u->n_bias == 0)
        return;
    ops->expert_bias(u->exec, &(struct sy_expert_bias){.experts = u->o.moe->num_experts,
                                                       .routes = u->o.routes,
                                                       .n_layers = u->n_bias,
                                                       .counts = u->counts,
                                                       .bias = u->bias,
                                                       .coeff = u->o.moe->load_balance_coeff,
                                                       .center = u->o.moe->bias_center,
                                                       .verdict = m->verdict});
    ops->digest(u->exec, &(struct sy_digest_of){u->digest, u->n_bias_digests, m->verdict->digest});
}

void sy_update_stored(const struct sy_update *u) {
    u->exec->ops->cast(u->exec, &(struct sy_cast){u->cast, u->n_stored});
}

void sy_update_digest(const struct sy_update *u, uint64_t *sum) {
    u->exec->ops->digest(u->exec, &(struct sy_digest_of){u->digest, u->n_all, sum});
}
