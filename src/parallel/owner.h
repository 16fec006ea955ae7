/* What a rank owns of a model: of each tensor that it holds, the part whose master weight and moments it has,
 * whose gradient comes to it and which it updates (parallel/shard.h). A dense tensor is divided over the
 * data-parallel ranks, an expert's over the ranks that have this expert. Expert biases are not divided: every
 * rank of a stage has its layers' and updates them alike. */
#ifndef SY_PARALLEL_OWNER_H
#define SY_PARALLEL_OWNER_H

#include "parallel/stages.h"

struct sy_owner {
    struct sy_shard dense, experts;
    struct sy_share expert; /* those that the rank has */
    struct sy_stages stages;
    int pp_rank;
};

/* One rank, which has everything. */
static inline struct sy_owner sy_owner_of_all(void) {
    return (struct sy_owner){{0, 1}, {0, 1}, {0, INT64_MAX}, sy_stages_one(), 0};
}

/* Whether the parameter is of one of the rank's stages. */
static inline int sy_owner_in_stage(const struct sy_owner *o, const struct sy_param *p) {
    return o->stages.ranks == 1 || sy_stages_of(&o->stages, p) % o->stages.ranks == o->pp_rank;
}

/* Whether the rank holds the parameter at all: another may own all elements of a small one. */
static inline int sy_owner_holds(const struct sy_owner *o, const struct sy_param *p) {
    if (!sy_owner_in_stage(o, p))
        return 0;
    return p->kind != SY_PARAM_EXPERT ||
           (p->expert >= o->expert.first && p->expert - o->expert.first < o->expert.n);
}

/* Whether the rank keeps what is stored of a weight that another stage owns: the tied embedding, where the
 * head is. */
static inline int sy_owner_borrows(const struct sy_owner *o, const struct sy_params *params, int param) {
    return params->n_sites > 0 && param == params->embedding &&
           !sy_owner_in_stage(o, &params->param[param]) && sy_owner_in_stage(o, &params->param[params->head]);
}

static inline struct sy_range_of sy_owner_range(const struct sy_owner *o, const struct sy_params *params,
                                                int tensor) {
    const struct sy_tensor *t = &params->tensor[tensor];
    const struct sy_param *p = &params->param[t->param];
    if (!sy_owner_holds(o, p))
        return (struct sy_range_of){0, 0};
    if (p->kind == SY_PARAM_BUFFER)
        return (struct sy_range_of){0, t->n};
    return sy_shard_range(p->kind == SY_PARAM_EXPERT ? &o->experts : &o->dense, t->n);
}

/* The same, but each element of a run in one rank's range alone: for what is counted once. */
static inline struct sy_range_of sy_owner_counts(const struct sy_owner *o, const struct sy_params *params,
                                                 int tensor) {
    const struct sy_tensor *t = &params->tensor[tensor];
    const struct sy_param *p = &params->param[t->param];
    if (p->kind == SY_PARAM_BUFFER && sy_owner_holds(o, p))
        return sy_shard_range(&o->dense, t->n);
    return sy_owner_range(o, params, tensor);
}

#endif
