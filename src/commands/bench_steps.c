/* Made-up sequences: see bench_steps.h. */
#include "commands/bench_steps.h"

#include "base/fmath.h"
#include "base/rng.h"

static int32_t token(const struct sy_session *s, int random, int64_t step, int64_t t) {
    int64_t vocab = s->config->model.vocab_size;
    double u = (double)(sy_mix64((uint64_t)step << 40 ^ (uint64_t)t) >> 11) * 0x1p-53;
    return (int32_t)((double)vocab * (random ? u : u * u * u));
}

/* Where a sequence of this rank's walk stands in the walk of one rank alone. */
static int64_t place_alone(const struct sy_walk *w, int64_t k) {
    struct sy_walk_place p = sy_walk_place(w, k);
    int64_t f = w->expert_lanes;
    return ((p.lane / f * w->rounds + p.round) * f + p.lane % f) * w->cell + p.w;
}

void sy_bench_fill(struct sy_session *s, int64_t step, int random) {
    int64_t seq = s->config->training.seq_len;
    for (int64_t t = 0; t < sy_walk_length(&s->walk) * seq; t++) {
        int64_t alone = place_alone(&s->walk, t / seq) * seq + t % seq;
        s->feed.ids[t] = token(s, random, step, alone);
        s->feed.labels[t] = token(s, random, step, alone + 1);
        s->feed.doc_start[t] = 0;
    }
}
