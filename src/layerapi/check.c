/* What callers of an MoE layer by itself may get wrong: options, tensors, batches. See layerapi.h. */
#include <inttypes.h>

#include "layerapi/layerapi.h"

/* --- options ----------------------------------------------------------------------------------- */

struct bound {
    const char *name;
    int64_t value, min, max;
};

static sy_status check_bounds(const struct sy_moe_options *o) {
    const struct bound bounds[] = {{"dim", o->dim, 1, 1 << 20},
                                   {"inter_dim", o->inter_dim, 1, 1 << 22},
                                   {"seq_len", o->seq_len, 1, 1 << 24},
                                   {"max_sequences", o->max_sequences, 1, 1 << 24},
                                   {"max_rounds", o->max_rounds, 0, 1 << 16},
                                   {"micro_batches", o->micro_batches, 0, 1 << 16},
                                   {"recompute", o->recompute, 0, SY_MOE_RECOMPUTE_FULL},
                                   {"global_sequences", o->global_sequences, 0, INT64_C(1) << 40},
                                   {"threads", o->threads, 0, 1024},
                                   {"combine_groups", o->combine_groups, 0, 1 << 16}};
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++)
        if (bounds[i].value < bounds[i].min || bounds[i].value > bounds[i].max)
            SY_FAIL(SY_ERR_USAGE, "moe layer: %s = %" PRId64 ": must be %" PRId64 " to %" PRId64,
                    bounds[i].name, bounds[i].value, bounds[i].min, bounds[i].max);
    return SY_OK;
}

/* Rows have numbers of 32 bits; sizes in elements stay far from 2^63. */
static sy_status check_sizes(const struct sy_config_moe *c, const struct sy_comm *comm,
                             const struct sy_moe_options *o) {
    double tokens = (double)o->max_sequences * (double)o->seq_len,
           rows = tokens * (double)c->top_k * comm->size;
    double shared = (double)c->num_shared_experts * (double)o->inter_dim, routed = (double)o->inter_dim;
    double width = (double)o->dim + 2 * (shared > routed ? shared : routed) + (double)c->num_experts;
    if (rows > INT32_MAX)
        SY_FAIL(SY_ERR_USAGE,
                "moe layer: max_sequences = %" PRId64 " of seq_len = %" PRId64
                " tokens on %d ranks, moe.top_k = %" PRId64
                ": %.0f routes, there can be %d: fewer sequences or ranks",
                o->max_sequences, o->seq_len, comm->size, c->top_k, rows, INT32_MAX);
    if (rows * width > 0x1p58 || width * (double)o->dim * (double)c->num_experts > 0x1p58)
        SY_FAIL(SY_ERR_MEMORY,
                "moe layer: it needs more memory than can be addressed: fewer sequences, smaller widths");
    return SY_OK;
}

static sy_status check_class(const char *name, enum sy_numeric_class *cls) {
    for (int i = 0; i < SY_N_CLASSES; i++)
        if (strcmp(name, sy_class_name((enum sy_numeric_class)i)) == 0) {
            *cls = (enum sy_numeric_class)i;
            return SY_OK;
        }
    SY_FAIL(SY_ERR_USAGE, "moe layer: numeric_class = \"%s\": must be \"x86\", \"amx\", \"sm90\" or \"fp32\"",
            name);
}

sy_status sy_moe_check_options(const struct sy_config_moe *c, const struct sy_comm *comm,
                               struct sy_moe_options *o, enum sy_numeric_class *cls) {
    SY_TRY(check_bounds(o));
    o->max_rounds = o->max_rounds ? o->max_rounds : 1;
    o->threads = o->threads ? o->threads : 1;
    o->forced_balance = o->forced_balance != 0;
    SY_TRY(check_class(o->numeric_class ? o->numeric_class : "x86", cls));
    if (o->combine_groups && c->num_experts % o->combine_groups != 0)
        SY_FAIL(SY_ERR_USAGE,
                "moe layer: combine_groups = %" PRId64 " does not divide moe.num_experts = %" PRId64
                ": choose one that does, or 0",
                o->combine_groups, c->num_experts);
    if (o->global_sequences == 0 && (c->seq_aux_loss_coeff > 0 || c->z_loss_coeff > 0))
        SY_FAIL(SY_ERR_USAGE,
                "moe layer: global_sequences = 0: moe.seq_aux_loss_coeff = %g and moe.z_loss_coeff = %g "
                "need the sequences "
                "of a step on all ranks",
                c->seq_aux_loss_coeff, c->z_loss_coeff);
    return check_sizes(c, comm, o);
}

/* --- tensors and batches ----------------------------------------------------------------------- */

void sy_moe_list_tensors(const struct sy_moe *m, struct sy_moe_tensor list[SY_MOE_TENSORS]) {
    const struct sy_config_moe *c = &m->config;
    int64_t e = c->num_experts, n = m->n_experts, d = m->o.dim, f = m->o.inter_dim,
            fs = sy_moe_shared_width(m);
    int owns = n > 0, shared = c->num_shared_experts > 0;
    static const char no_shared[] = "moe.num_shared_experts = 0";
#define TENSOR(name, n, has, why_not) \
    { #name, offsetof(struct sy_moe_tensors, name), n, has, why_not }
    const struct sy_moe_tensor all[SY_MOE_TENSORS] = {
        TENSOR(gate, e * d, 1, NULL),
        TENSOR(gate_bias, e, c->gate_bias, "moe.gate_bias = false"),
        TENSOR(w1, n * f * d, owns, NULL),
        TENSOR(w3, n * f * d, owns, NULL),
        TENSOR(w2, n * d * f, owns, NULL),
        TENSOR(shared_w1, fs * d, shared, no_shared),
        TENSOR(shared_w3, fs * d, shared, no_shared),
        TENSOR(shared_w2, d * fs, shared, no_shared),
        TENSOR(shared_gate, d, c->shared_gate, "moe.shared_gate = false")};
#undef TENSOR
    memcpy(list, all, sizeof all);
}

sy_status sy_moe_check_tensors(const struct sy_moe *m, const struct sy_moe_tensors *t, int all) {
    struct sy_moe_tensor list[SY_MOE_TENSORS];
    sy_moe_list_tensors(m, list);
    for (int i = 0; i < SY_MOE_TENSORS; i++) {
        const struct sy_moe_tensor *p = &list[i];
        int given = *sy_moe_tensor_of(t, p) != NULL;
        if (all && p->has && !given)
            SY_FAIL(SY_ERR_USAGE, "moe layer: %s is NULL: the layer has this tensor", p->name);
        if (!p->has && p->why_not && given)
            SY_FAIL(SY_ERR_USAGE, "moe layer: %s is given: the layer has no such tensor, %s", p->name,
                    p->why_not);
    }
    return SY_OK;
}

sy_status sy_moe_check_idle(const struct sy_moe *m, const char *what) {
    for (int i = 0; i < m->n_slots; i++)
        if (m->slot[i].waits)
            SY_FAIL(SY_ERR_USAGE,
                    "moe layer: %s: micro-batch %d waits for its backward, which would get others than its "
                    "forward "
                    "had: call sy_moe_backward or sy_moe_discard first",
                    what, i);
    return SY_OK;
}

/* The sequences of one rank in the rounds: not negative, `n` in all (n < 0: at most the most). */
static sy_status check_rounds(const struct sy_moe *m, int rank, int rounds, const int64_t *of, int64_t n) {
    int64_t sum = 0;
    for (int j = 0; j < rounds; j++) {
        if (of[j] < 0 || of[j] > m->o.max_sequences)
            SY_FAIL(SY_ERR_USAGE,
                    "moe layer: %" PRId64 " sequences in round %d of rank %d: must be 0 to %" PRId64, of[j],
                    j, rank, m->o.max_sequences);
        sum += of[j];
    }
    if (n >= 0 && sum != n)
        SY_FAIL(SY_ERR_USAGE, "moe layer: the rounds have %" PRId64 " sequences, n_sequences = %" PRId64, sum,
                n);
    if (sum > m->o.max_sequences)
        SY_FAIL(SY_ERR_USAGE,
                "moe layer: the rounds of rank %d have %" PRId64
                " sequences, more than max_sequences = %" PRId64,
                rank, sum, m->o.max_sequences);
    return SY_OK;
}

static sy_status check_sequences(const struct sy_moe *m, const struct sy_moe_batch *b,
                                 struct sy_moe_slot *s) {
    int rank = m->env.ep.rank, rounds = b->sequences && b->rounds ? b->rounds : 1, known = b->known != 0;
    if (b->n_sequences < 0 || b->n_sequences > m->o.max_sequences)
        SY_FAIL(SY_ERR_USAGE, "moe layer: n_sequences = %" PRId64 ": must be 0 to max_sequences = %" PRId64,
                b->n_sequences, m->o.max_sequences);
    if (b->rounds < 0 || b->rounds > m->o.max_rounds)
        SY_FAIL(SY_ERR_USAGE, "moe layer: rounds = %d: must be 0 to max_rounds = %d", b->rounds,
                m->o.max_rounds);
    if (b->rounds > 1 && !b->sequences)
        SY_FAIL(SY_ERR_USAGE, "moe layer: rounds = %d, and sequences is NULL: state those of each round",
                b->rounds);
    if (known && (!b->sequences || !b->rounds))
        SY_FAIL(SY_ERR_USAGE, "moe layer: known, and no sequences: state those of each rank and round");
    if (!b->sequences || !b->rounds) {
        s->table[0] = b->n_sequences;
    } else if (known) {
        for (int r = 0; r < m->env.ep.size; r++)
            SY_TRY(check_rounds(m, r, rounds, b->sequences + (int64_t)r * rounds,
                                r == rank ? b->n_sequences : -1));
        memcpy(s->table, b->sequences, (size_t)m->env.ep.size * (size_t)rounds * sizeof *s->table);
    } else {
        SY_TRY(check_rounds(m, rank, rounds, b->sequences, b->n_sequences));
        memcpy(s->table, b->sequences, (size_t)rounds * sizeof *s->table);
    }
    s->n_sequences = b->n_sequences;
    s->sequences = (struct sy_sequences){rounds, s->table, known};
    return SY_OK;
}

static sy_status sort_token(const struct sy_moe *m, int64_t t, int32_t *ids, float *w) {
    int32_t id;
    float weight;
    switch (sy_route_sort(m->config.num_experts, m->config.top_k, ids, w, &id, &weight)) {
    case SY_ROUTE_OK:
        return SY_OK;
    case SY_ROUTE_RANGE:
        SY_FAIL(SY_ERR_USAGE,
                "moe layer: ids_in: expert %" PRId32 " of token %" PRId64 ": must be 0 to %" PRId64, id, t,
                m->config.num_experts - 1);
    case SY_ROUTE_TWICE:
        SY_FAIL(SY_ERR_USAGE,
                "moe layer: ids_in: expert %" PRId32 " of token %" PRId64 " twice: its %" PRId64
                " experts must be distinct",
                id, t, m->config.top_k);
    default:
        SY_FAIL(SY_ERR_USAGE,
                "moe layer: w_in: weight %g of expert %" PRId32 ", token %" PRId64 ": must be finite", weight,
                id, t);
    }
}

static sy_status check_given(struct sy_moe *m, const struct sy_moe_batch *b, struct sy_moe_slot *s) {
    int64_t tokens = b->n_sequences * m->o.seq_len, k = m->config.top_k;
    s->given = (struct sy_routes){0};
    if (b->w_in && !b->ids_in)
        SY_FAIL(SY_ERR_USAGE, "moe layer: w_in without ids_in: whose weights are they?");
    if (b->ids_in && m->o.forced_balance)
        SY_FAIL(SY_ERR_USAGE,
                "moe layer: ids_in, and forced_balance = 1 chooses the experts: one of the two");
    if (!b->ids_in)
        return SY_OK;
    if (tokens > 0)
        memcpy(m->sorted.ids, b->ids_in, (size_t)(tokens * k) * sizeof *b->ids_in);
    if (tokens > 0 && b->w_in)
        memcpy(m->sorted.w, b->w_in, (size_t)(tokens * k) * sizeof *b->w_in);
    for (int64_t t = 0; t < tokens; t++)
        SY_TRY(sort_token(m, t, m->sorted.ids + t * k, b->w_in ? m->sorted.w + t * k : NULL));
    s->given = (struct sy_routes){s->routes.ids, b->w_in ? s->routes.w : NULL};
    return SY_OK;
}

sy_status sy_moe_check_batch(struct sy_moe *m, const struct sy_moe_batch *b, struct sy_moe_slot *s) {
    SY_TRY(check_sequences(m, b, s));
    return check_given(m, b, s);
}
