/* Which stage of a pipeline has which layers: stages get them in order, as evenly as it goes, the first
 * ones more; embedding and head count as some that the first and the last stage then have less. Stage s
 * is on pipeline rank s mod R. */
#ifndef SY_PARALLEL_STAGES_H
#define SY_PARALLEL_STAGES_H

#include "model/params.h"
#include "parallel/shard.h"

struct sy_stages {
    int n, ranks;
    int64_t layers, first_less, last_less;
};

/* One stage, whatever has layers. */
static inline struct sy_stages sy_stages_one(void) { return (struct sy_stages){1, 1, INT64_MAX, 0, 0}; }

static inline struct sy_share sy_stages_layers(const struct sy_stages *s, int stage) {
    struct sy_share own = sy_deal(s->layers + s->first_less + s->last_less, s->n, stage);
    int64_t first = own.first - s->first_less, end = first + own.n;
    first = first > 0 ? first : 0;
    end = end < s->layers ? end : s->layers;
    return (struct sy_share){first, end - first};
}

/* Of a parameter: the embedding's is the first, final norm's and head's the last. */
static inline int sy_stages_of(const struct sy_stages *s, const struct sy_param *p) {
    int stage = 0;
    if (p->layer < 0)
        return p->kind == SY_PARAM_EMBEDDING ? 0 : s->n - 1;
    for (struct sy_share own = sy_stages_layers(s, 0); p->layer >= own.first + own.n;)
        own = sy_stages_layers(s, ++stage);
    return stage;
}

#endif
