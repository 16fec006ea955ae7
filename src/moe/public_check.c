/* What callers of an MoE layer may get wrong: options, tensors, batches, and ranks that do not do the same. See public.h. */
#include <inttypes.h>
#include <stdlib.h>

#include "moe/public.h"

/* --- options ------------------------------------------------------------------------------------------------------------
 */

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
            SY_FAIL(SY_ERR_USAGE, "moe layer: %s = %" PRId64 ": must be %" PRId64 " to %" PRId64, bounds[i].name,
                    bounds[i].value, bounds[i].min, bounds[i].max);
    return SY_OK;
}

/* Rows have numbers of 32 bits; sizes in elements stay far from 2^63. */
static sy_status check_sizes(const struct sy_config_moe *c, const struct sy_comm *comm, const struct sy_moe_options *o) {
    double tokens = (double)o->max_sequences * (double)o->seq_len, rows = tokens * (double)c->top_k * comm->size;
    double shared = (double)c->num_shared_experts * (double)o->inter_dim, routed = (double)o->inter_dim;
    double width = (double)o->dim + 2 * (shared > routed ? shared : routed) + (double)c->num_experts;
    if (rows > INT32_MAX)
        SY_FAIL(SY_ERR_USAGE,
                "moe layer: max_sequences = %" PRId64 " of seq_len = %" PRId64 " tokens on %d ranks, moe.top_k = %" PRId64
                ": %.0f routes, there can be %d: fewer sequences or ranks",
                o->max_sequences, o->seq_len, comm->size, c->top_k, rows, INT32_MAX);
    if (rows * width > 0x1p58 || width * (double)o->dim * (double)c->num_experts > 0x1p58)
        SY_FAIL(SY_ERR_MEMORY, "moe layer: it needs more memory than can be addressed: fewer sequences, smaller widths");
    return SY_OK;
}

static sy_status check_class(const char *name, enum sy_numeric_class *cls) {
    for (int i = 0; i < SY_N_CLASSES; i++)
        if (strcmp(name, sy_class_name((enum sy_numeric_class)i)) == 0) {
            *cls = (enum sy_numeric_class)i;
            return SY_OK;
        }
    SY_FAIL(SY_ERR_USAGE, "moe layer: numeric_class = \"%s\": must be \"x86\", \"sm90\" or \"fp32\"", name);
}

sy_status sy_moe_check_options(const struct sy_config_moe *c, const struct sy_comm *comm, struct sy_moe_options *o,
                               enum sy_numeric_class *cls) {
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
                "moe layer: global_sequences = 0: moe.seq_aux_loss_coeff = %g and moe.z_loss_coeff = %g need the sequences "
                "of a step on all ranks",
                c->seq_aux_loss_coeff, c->z_loss_coeff);
    return check_sizes(c, comm, o);
}

/* --- the same on all ranks ----------------------------------------------------------------------------------------------
 */

enum { OPTIONS = 30 };
struct option {
    const char *name;
    int64_t value;
};

static int64_t bits_of(double x) {
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* What all ranks must agree on: the bits depend on it, or what is sent. Returns how many. */
static int list_options(const struct sy_config_moe *c, const struct sy_moe_options *o, enum sy_numeric_class cls,
                        struct option list[OPTIONS]) {
    const struct option all[] = {{"dim", o->dim},
                                 {"inter_dim", o->inter_dim},
                                 {"seq_len", o->seq_len},
                                 {"max_sequences", o->max_sequences},
                                 {"max_rounds", o->max_rounds},
                                 {"micro_batches", o->micro_batches},
                                 {"recompute", o->recompute},
                                 {"global_sequences", o->global_sequences},
                                 {"numeric_class", cls},
                                 {"combine_groups", o->combine_groups},
                                 {"forced_balance", o->forced_balance},
                                 {"moe.num_experts", c->num_experts},
                                 {"moe.num_shared_experts", c->num_shared_experts},
                                 {"moe.top_k", c->top_k},
                                 {"moe.score_func", c->score_func},
                                 {"moe.route_norm", c->route_norm},
                                 {"moe.route_scale", bits_of(c->route_scale)},
                                 {"moe.score_before_experts", c->score_before_experts},
                                 {"moe.load_balance_coeff", bits_of(c->load_balance_coeff)},
                                 {"moe.keep_bias", c->keep_bias},
                                 {"moe.bias_center", c->bias_center},
                                 {"moe.num_expert_groups", c->num_expert_groups},
                                 {"moe.num_limited_groups", c->num_limited_groups},
                                 {"moe.group_score", c->group_score},
                                 {"moe.gate_bias", c->gate_bias},
                                 {"moe.shared_gate", c->shared_gate},
                                 {"moe.seq_aux_loss_coeff", bits_of(c->seq_aux_loss_coeff)},
                                 {"moe.z_loss_coeff", bits_of(c->z_loss_coeff)},
                                 {"moe.equal_split", c->equal_split}};
    _Static_assert(sizeof all / sizeof *all <= OPTIONS, "room for the list");
    memcpy(list, all, sizeof all);
    return (int)(sizeof all / sizeof *all);
}

sy_status sy_moe_check_equal(const struct sy_comm *comm, const struct sy_config_moe *config,
                             const struct sy_moe_options *options, enum sy_numeric_class cls) {
    struct option list[OPTIONS];
    int64_t mine[OPTIONS] = {0}, *all = calloc((size_t)comm->size, sizeof mine);
    sy_status status = all ? SY_OK : sy_fail(SY_ERR_MEMORY, "moe layer: no memory for the options of %d ranks", comm->size);
    status = comm->ops->agree(comm, status);
    if (status == SY_OK) {
        int n = list_options(config, options, cls, list);
        for (int i = 0; i < n; i++)
            mine[i] = list[i].value;
        comm->ops->all_gather(comm, mine, sizeof mine, all);
        for (int i = 0; i < n && status == SY_OK; i++)
            for (int r = 1; r < comm->size && status == SY_OK; r++)
                if (all[r * OPTIONS + i] != all[i])
                    status = sy_fail(SY_ERR_USAGE,
                                     "moe layer: %s differs between ranks: %" PRId64 " on rank 0, %" PRId64
                                     " on rank %d: give all the same",
                                     list[i].name, all[i], all[r * OPTIONS + i], r);
    }
    free(all);
    return status;
}

/* FNV-1a over the table that all ranks say they know. */
static int64_t hash_of(const int64_t *table, int64_t n) {
    uint64_t h = 0xcbf29ce484222325u;
    for (int64_t i = 0; i < n; i++)
        h = (h ^ (uint64_t)table[i]) * 0x100000001b3u;
    return (int64_t)h;
}

int64_t sy_moe_table_hash(const struct sy_moe_slot *s, int size) {
    return s->sequences.known ? hash_of(s->table, (int64_t)size * s->sequences.rounds) : 0;
}

sy_status sy_moe_enter(const struct sy_moe *m, const struct sy_moe_ticket *t, sy_status status) {
    static const char *const step[] = {"sy_moe_forward", "sy_moe_eval", "sy_moe_backward", "sy_moe_update_bias"};
    static const char *const field[SY_MOE_TICKET] = {
        "", "the call", "micro_batch", "rounds", "the table of known sequences (hash)", "the weights' version"};
    const struct sy_comm *c = &m->env.ep;
    const int64_t mine[SY_MOE_TICKET] = {status != SY_OK, t->step, t->micro_batch, t->rounds, t->table, t->version};
    const int64_t *all = m->tickets;
    int failed = 0;
    if (c->size == 1)
        return status;
    c->ops->all_gather(c, mine, sizeof mine, m->tickets);
    for (int r = 0; r < c->size; r++)
        failed |= all[r * SY_MOE_TICKET] != 0;
    if (failed)
        return c->ops->agree(c, status);
    for (int i = 1; i < SY_MOE_TICKET; i++)
        for (int r = 1; r < c->size; r++) {
            int64_t other = all[r * SY_MOE_TICKET + i];
            if (other == all[i])
                continue;
            if (i == 1)
                SY_FAIL(SY_ERR_USAGE, "moe layer: rank 0 calls %s, rank %d %s: all ranks make the same calls in one order",
                        step[all[1]], r, step[other]);
            SY_FAIL(SY_ERR_USAGE, "%s: %s differs between ranks: %" PRId64 " on rank 0, %" PRId64 " on rank %d",
                    step[t->step], field[i], all[i], other, r);
        }
    return SY_OK;
}

/* --- tensors and batches ------------------------------------------------------------------------------------------------
 */

sy_status sy_moe_check_tensors(const struct sy_moe *m, const struct sy_moe_tensors *t, int all) {
    const struct sy_config_moe *c = &m->config;
    const struct piece {
        const char *name;
        const float *data;
        int has;
        const char *why_not;
    } pieces[] = {{"gate", t->gate, 1, ""},
                  {"gate_bias", t->gate_bias, c->gate_bias, "moe.gate_bias = false"},
                  {"w1", t->w1, m->n_experts > 0, NULL},
                  {"w3", t->w3, m->n_experts > 0, NULL},
                  {"w2", t->w2, m->n_experts > 0, NULL},
                  {"shared_w1", t->shared_w1, c->num_shared_experts > 0, "moe.num_shared_experts = 0"},
                  {"shared_w3", t->shared_w3, c->num_shared_experts > 0, "moe.num_shared_experts = 0"},
                  {"shared_w2", t->shared_w2, c->num_shared_experts > 0, "moe.num_shared_experts = 0"},
                  {"shared_gate", t->shared_gate, c->shared_gate, "moe.shared_gate = false"}};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        const struct piece *p = &pieces[i];
        if (all && p->has && !p->data)
            SY_FAIL(SY_ERR_USAGE, "moe layer: %s is NULL: the layer has this tensor", p->name);
        if (!p->has && p->why_not && p->data) /* a rank without experts may give arrays of none */
            SY_FAIL(SY_ERR_USAGE, "moe layer: %s is given: the layer has no such tensor, %s", p->name, p->why_not);
    }
    return SY_OK;
}

sy_status sy_moe_check_idle(const struct sy_moe *m, const char *what) {
    for (int i = 0; i < m->n_slots; i++)
        if (m->slot[i].waits)
            SY_FAIL(
                SY_ERR_USAGE,
                "moe layer: %s: micro-batch %d waits for its backward, which would get others than its forward had: call "
                "sy_moe_backward or sy_moe_discard first",
                what, i);
    return SY_OK;
}

/* The sequences of one rank in the rounds: not negative, `n` in all (n < 0: at most the most). */
static sy_status check_rounds(const struct sy_moe *m, int rank, int rounds, const int64_t *of, int64_t n) {
    int64_t sum = 0;
    for (int j = 0; j < rounds; j++) {
        if (of[j] < 0 || of[j] > m->o.max_sequences)
            SY_FAIL(SY_ERR_USAGE, "moe layer: %" PRId64 " sequences in round %d of rank %d: must be 0 to %" PRId64, of[j], j,
                    rank, m->o.max_sequences);
        sum += of[j];
    }
    if (n >= 0 && sum != n)
        SY_FAIL(SY_ERR_USAGE, "moe layer: the rounds have %" PRId64 " sequences, n_sequences = %" PRId64, sum, n);
    if (sum > m->o.max_sequences)
        SY_FAIL(SY_ERR_USAGE,
                "moe layer: the rounds of rank %d have %" PRId64 " sequences, more than max_sequences = %" PRId64, rank, sum,
                m->o.max_sequences);
    return SY_OK;
}

static sy_status check_sequences(const struct sy_moe *m, const struct sy_moe_batch *b, struct sy_moe_slot *s) {
    int rank = m->env.ep.rank, rounds = b->sequences && b->rounds ? b->rounds : 1, known = b->known != 0;
    if (b->n_sequences < 0 || b->n_sequences > m->o.max_sequences)
        SY_FAIL(SY_ERR_USAGE, "moe layer: n_sequences = %" PRId64 ": must be 0 to max_sequences = %" PRId64, b->n_sequences,
                m->o.max_sequences);
    if (b->rounds < 0 || b->rounds > m->o.max_rounds)
        SY_FAIL(SY_ERR_USAGE, "moe layer: rounds = %d: must be 0 to max_rounds = %d", b->rounds, m->o.max_rounds);
    if (b->rounds > 1 && !b->sequences)
        SY_FAIL(SY_ERR_USAGE, "moe layer: rounds = %d, and sequences is NULL: state those of each round", b->rounds);
    if (known && (!b->sequences || !b->rounds))
        SY_FAIL(SY_ERR_USAGE, "moe layer: known, and no sequences: state those of each rank and round");
    if (!b->sequences || !b->rounds) {
        s->table[0] = b->n_sequences;
    } else if (known) {
        for (int r = 0; r < m->env.ep.size; r++)
            SY_TRY(check_rounds(m, r, rounds, b->sequences + (int64_t)r * rounds, r == rank ? b->n_sequences : -1));
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
        SY_FAIL(SY_ERR_USAGE, "moe layer: ids_in: expert %" PRId32 " of token %" PRId64 ": must be 0 to %" PRId64, id, t,
                m->config.num_experts - 1);
    case SY_ROUTE_TWICE:
        SY_FAIL(SY_ERR_USAGE,
                "moe layer: ids_in: expert %" PRId32 " of token %" PRId64 " twice: its %" PRId64 " experts must be distinct",
                id, t, m->config.top_k);
    default:
        SY_FAIL(SY_ERR_USAGE, "moe layer: w_in: weight %g of expert %" PRId32 ", token %" PRId64 ": must be finite", weight,
                id, t);
    }
}

static sy_status check_given(const struct sy_moe *m, const struct sy_moe_batch *b, struct sy_moe_slot *s) {
    int64_t tokens = b->n_sequences * m->o.seq_len, k = m->config.top_k;
    s->given = (struct sy_routes){0};
    if (b->w_in && !b->ids_in)
        SY_FAIL(SY_ERR_USAGE, "moe layer: w_in without ids_in: whose weights are they?");
    if (b->ids_in && m->o.forced_balance)
        SY_FAIL(SY_ERR_USAGE, "moe layer: ids_in, and forced_balance = 1 chooses the experts: one of the two");
    if (!b->ids_in)
        return SY_OK;
    if (tokens > 0)
        memcpy(s->routes.ids, b->ids_in, (size_t)(tokens * k) * sizeof *b->ids_in);
    if (tokens > 0 && b->w_in)
        memcpy(s->routes.w, b->w_in, (size_t)(tokens * k) * sizeof *b->w_in);
    for (int64_t t = 0; t < tokens; t++)
        SY_TRY(sort_token(m, t, s->routes.ids + t * k, b->w_in ? s->routes.w + t * k : NULL));
    s->given = (struct sy_routes){s->routes.ids, b->w_in ? s->routes.w : NULL};
    return SY_OK;
}

sy_status sy_moe_check_batch(const struct sy_moe *m, const struct sy_moe_batch *b, struct sy_moe_slot *s) {
    SY_TRY(check_sequences(m, b, s));
    return check_given(m, b, s);
}
