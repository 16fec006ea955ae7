/* That all ranks do the same: the options of a layer, and what each call is about. See layerapi.h. */
#include <inttypes.h>
#include <stdlib.h>

#include "layerapi/layerapi.h"

/* --- the same on all ranks --------------------------------------------------------------------- */

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
static int list_options(const struct sy_config_moe *c, const struct sy_moe_options *o,
                        enum sy_numeric_class cls, struct option list[OPTIONS]) {
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
    sy_status status =
        all ? SY_OK : sy_fail(SY_ERR_MEMORY, "moe layer: no memory for the options of %d ranks", comm->size);
    int n = list_options(config, options, cls, list);
    for (int i = 0; i < n; i++)
        mine[i] = list[i].value;
    status = comm->ops->all_gather(comm, status, mine, sizeof mine, all);
    for (int i = 0; i < n && status == SY_OK; i++)
        for (int r = 1; r < comm->size && status == SY_OK; r++)
            if (all[r * OPTIONS + i] != all[i])
                status = sy_fail(SY_ERR_USAGE,
                                 "moe layer: %s differs between ranks: %" PRId64 " on rank 0, %" PRId64
                                 " on rank %d: give all the same",
                                 list[i].name, all[i], all[r * OPTIONS + i], r);
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
    static const char *const step[] = {"sy_moe_forward", "sy_moe_eval", "sy_moe_backward",
                                       "sy_moe_update_bias"};
    static const char *const field[SY_MOE_TICKET] = {
        "the call", "micro_batch", "rounds", "the table of known sequences (hash)", "the weights' version"};
    const struct sy_comm *c = &m->env.ep;
    const int64_t mine[SY_MOE_TICKET] = {t->step, t->micro_batch, t->rounds, t->table, t->version};
    const int64_t *all = m->tickets;
    if (c->size == 1)
        return status;
    SY_TRY(c->ops->all_gather(c, status, mine, sizeof mine, m->tickets));
    for (int i = 0; i < SY_MOE_TICKET; i++)
        for (int r = 1; r < c->size; r++) {
            int64_t other = all[r * SY_MOE_TICKET + i];
            if (other == all[i])
                continue;
            if (i == 0)
                SY_FAIL(SY_ERR_USAGE,
                        "moe layer: rank 0 calls %s, rank %d %s: all ranks make the same calls in one order",
                        step[all[0]], r, step[other]);
            SY_FAIL(SY_ERR_USAGE,
                    "%s: %s differs between ranks: %" PRId64 " on rank 0, %" PRId64 " on rank %d",
                    step[t->step], field[i], all[i], other, r);
        }
    return SY_OK;
}
