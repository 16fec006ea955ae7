/* Which part of a run each rank has: see mesh.h. */
#include "parallel/mesh.h"

#include "ops/ops.h"

/* --- axes ----------------------------------------------------------------------------------------------- */

static int stages_of_a_rank(const struct sy_config *c) {
    switch (c->parallelism.pipeline_parallel_schedule) {
    case SY_SCHEDULE_INTERLEAVED_1F1B:
    case SY_SCHEDULE_INTERLEAVED_ZERO_BUBBLE:
        return 2;
    default:
        return 1;
    }
}

/* Embedding and head count as layers that the first and the last stage have less, as in TorchTitan. */
static sy_status set_stages(const struct sy_config *c, struct sy_mesh *m) {
    const struct sy_config_parallelism *p = &c->parallelism;
    int64_t less = p->pipeline_parallel_first_stage_less_layers,
            more = p->pipeline_parallel_last_stage_less_layers;
    int64_t layers = c->model.n_layers, all = layers + less + more,
            each = p->pipeline_parallel_layers_per_stage;
    int64_t stages = each ? (all + each - 1) / each : m->pp * stages_of_a_rank(c);
    m->stages = (struct sy_stages){1, 1, layers, 0, 0};
    if (m->pp == 1)
        return SY_OK;
    if (stages % m->pp)
        return sy_config_fail(
            c, "parallelism.pipeline_parallel_layers_per_stage",
            "%lld layers (embedding and head counted as %lld and %lld) make %lld stages, which "
            "%d ranks cannot have alike: choose another number",
            (long long)all, (long long)less, (long long)more, (long long)stages, m->pp);
    if (stages_of_a_rank(c) == 1 && stages != m->pp)
        return sy_config_fail(c, "parallelism.pipeline_parallel_layers_per_stage",
                              "%lld stages, %lld a rank, but the schedule has one a rank: choose %lld, or an "
                              "interleaved parallelism.pipeline_parallel_schedule",
                              (long long)stages, (long long)(stages / m->pp),
                              (long long)((all + m->pp - 1) / m->pp));
    if (stages > all || sy_deal(all, stages, 0).n < less || sy_deal(all, stages, stages - 1).n < more)
        return sy_config_fail(
            c, "parallelism.pipeline_parallel_degree",
            "%lld stages (%lld a rank) of model.n_layers = %lld, of which the first has %lld less "
            "and the last %lld (pipeline_parallel_first_stage_less_layers, _last_): too few "
            "layers: choose fewer stages",
            (long long)stages, (long long)(stages / m->pp), (long long)layers, (long long)less,
            (long long)more);
    m->stages = (struct sy_stages){(int)stages, m->pp, layers, less, more};
    return SY_OK;
}

static sy_status set_axes(const struct sy_config *c, struct sy_mesh *m) {
    const struct sy_config_parallelism *p = &c->parallelism;
    int64_t pp = p->pipeline_parallel_degree, replicate = p->data_parallel_replicate_degree,
            shard = p->data_parallel_shard_degree;
    int64_t others = pp * replicate;
    if (shard <= 0 && m->world % others)
        return sy_config_fail(c, "parallelism.data_parallel_replicate_degree",
                              "times parallelism.pipeline_parallel_degree = %lld is %lld and does not divide "
                              "the %d ranks: choose degrees that do",
                              (long long)pp, (long long)others, m->world);
    if (shard <= 0)
        shard = m->world / others;
    if (others > m->world || shard > m->world || others * shard != m->world)
        return sy_config_fail(c, "parallelism.data_parallel_shard_degree",
                              "replicate %lld x shard %lld x pipeline %lld are not the %d ranks: choose "
                              "degrees whose product is that (shard -1: what is left)",
                              (long long)replicate, (long long)shard, (long long)pp, m->world);
    m->pp = (int)pp;
    m->replicate = (int)replicate;
    m->shard = (int)shard;
    m->dp = m->replicate * m->shard;
    if (p->expert_parallel_degree > m->dp || m->dp % p->expert_parallel_degree)
        return sy_config_fail(c, "parallelism.expert_parallel_degree",
                              "does not divide the %d data-parallel ranks (DP): choose one that does", m->dp);
    m->ep = (int)p->expert_parallel_degree;
    m->edp = m->dp / m->ep;
    m->expert_shard = m->shard % m->ep == 0 ? m->shard / m->ep : 1;
    m->expert_replicate = m->edp / m->expert_shard;
    return SY_OK;
}

static void set_ranks(struct sy_mesh *m) {
    m->pp_rank = m->rank / m->dp;
    m->dp_rank = m->rank % m->dp;
    m->replicate_rank = m->dp_rank / m->shard;
    m->shard_rank = m->dp_rank % m->shard;
    m->edp_rank = m->dp_rank / m->ep;
    m->ep_rank = m->dp_rank % m->ep;
}

/* --- lanes ---------------------------------------------------------------------------------------------- */

/* What every refusal of lanes says. */
#define NUMBERS                                                                                          \
    "P = %d lanes (numerics.lanes) in groups of F = %d (numerics.expert_lanes), DP = %d data-parallel, " \
    "EP = %d expert-parallel ranks: "
#define THEIR(m) (m)->lanes, (m)->expert_lanes, (m)->dp, (m)->ep

static sy_status check_lanes(const struct sy_config *c, const struct sy_mesh *m) {
    int groups = m->lanes / m->expert_lanes, least = groups / m->edp;
    if (m->dp > m->lanes)
        return sy_config_fail(c, "numerics.lanes",
                              NUMBERS "a rank would have no lane: use at most %d data-parallel ranks",
                              THEIR(m), m->lanes);
    if (groups < m->edp)
        return sy_config_fail(c, "parallelism.expert_parallel_degree",
                              NUMBERS "a lane group would lie in two of the %d expert-parallel groups: at "
                                      "most P / F = %d of them, so EP at least %d here",
                              THEIR(m), m->edp, groups, (m->dp + groups - 1) / groups);
    if (least < m->ep && sy_deal(m->ep, least, 0).n > m->expert_lanes)
        return sy_config_fail(c, "parallelism.expert_parallel_degree",
                              NUMBERS "an expert-parallel group with %d lane groups has %d lanes for its "
                                      "ranks, dealt group by group: a rank would have none; choose a smaller "
                                      "EP or fewer ranks",
                              THEIR(m), least, least * m->expert_lanes);
    return SY_OK;
}

struct sy_share sy_mesh_lanes(const struct sy_mesh *m, int dp_rank) {
    int64_t f = m->expert_lanes, in_group = dp_rank % m->ep;
    struct sy_share groups = sy_mesh_lane_groups(m, dp_rank / m->ep);
    if (groups.n >= m->ep) {
        struct sy_share own = sy_deal(groups.n, m->ep, in_group);
        return (struct sy_share){(groups.first + own.first) * f, own.n * f};
    }
    int64_t g = 0;
    struct sy_share run = sy_deal(m->ep, groups.n, g);
    while (in_group >= run.first + run.n)
        run = sy_deal(m->ep, groups.n, ++g);
    struct sy_share own = sy_deal(f, run.n, in_group - run.first);
    return (struct sy_share){(groups.first + g) * f + own.first, own.n};
}

struct sy_share sy_mesh_lane_groups(const struct sy_mesh *m, int edp_rank) {
    return sy_deal(m->lanes / m->expert_lanes, m->edp, edp_rank);
}

int sy_mesh_dense_part(const struct sy_mesh *m, int dp_rank) {
    return dp_rank % m->shard * m->replicate + dp_rank / m->shard;
}

int sy_mesh_expert_part(const struct sy_mesh *m, int edp_rank) {
    return edp_rank % m->expert_shard * m->expert_replicate + edp_rank / m->expert_shard;
}

struct sy_owner sy_mesh_owner(const struct sy_mesh *m, int rank) {
    int dp_rank = rank % m->dp;
    return (struct sy_owner){.dense = {sy_mesh_dense_part(m, dp_rank), m->dp},
                             .experts = {sy_mesh_expert_part(m, dp_rank / m->ep), m->edp},
                             .expert = sy_mesh_experts(m, dp_rank % m->ep),
                             .stages = m->stages,
                             .pp_rank = rank / m->dp};
}

struct sy_share sy_mesh_experts(const struct sy_mesh *m, int ep_rank) {
    struct sy_share own;
    sy_experts_share(m->experts, ep_rank, m->ep, &own.first, &own.n);
    return own;
}

struct sy_share sy_mesh_layers(const struct sy_mesh *m, int stage) {
    return sy_stages_layers(&m->stages, stage);
}

/* --- creation ------------------------------------------------------------------------------------------- */

struct sy_mesh sy_mesh_alone(const struct sy_config *c) {
    return (struct sy_mesh){.world = 1,
                            .pp = 1,
                            .dp = 1,
                            .replicate = 1,
                            .shard = 1,
                            .ep = 1,
                            .edp = 1,
                            .expert_shard = 1,
                            .expert_replicate = 1,
                            .stages = {1, 1, c->model.n_layers, 0, 0},
                            .lanes = (int)c->numerics.lanes,
                            .expert_lanes = (int)c->numerics.expert_lanes,
                            .experts = c->moe.num_experts};
}

sy_status sy_mesh_create(const struct sy_config *c, int world, int rank, struct sy_mesh *mesh) {
    struct sy_mesh m = {.world = world,
                        .rank = rank,
                        .lanes = (int)c->numerics.lanes,
                        .expert_lanes = (int)c->numerics.expert_lanes,
                        .experts = c->moe.num_experts};
    SY_TRY(set_axes(c, &m));
    SY_TRY(set_stages(c, &m));
    SY_TRY(check_lanes(c, &m));
    if (c->metrics.moe_counters_rank >= world)
        return sy_config_fail(c, "metrics.moe_counters_rank", "ranks are 0 to %d: choose one of them",
                              world - 1);
    set_ranks(&m);
    *mesh = m;
    return SY_OK;
}

sy_status sy_mesh_split(const struct sy_mesh *m, const struct sy_comm *world, struct sy_groups *groups) {
    struct sy_groups g = {.world = *world};
    int stage = m->pp_rank * m->dp; /* colors of a stage's groups stand behind those of the one before */
    int experts = m->ep_rank * m->edp;
    const struct {
        struct sy_comm *comm;
        int color, key;
    } split[] = {
        {&g.dp, m->pp_rank, m->dp_rank},
        {&g.ep, stage + m->edp_rank, m->ep_rank},
        {&g.edp, stage + m->ep_rank, m->edp_rank},
        {&g.shard, stage + m->replicate_rank, m->shard_rank},
        {&g.replicate, stage + m->shard_rank, m->replicate_rank},
        {&g.expert_shard, stage + experts + m->edp_rank / m->expert_shard, m->edp_rank % m->expert_shard},
        {&g.expert_replicate, stage + experts + m->edp_rank % m->expert_shard, m->edp_rank / m->expert_shard},
        {&g.pp, m->dp_rank, m->pp_rank}};
    sy_status status = SY_OK;
    for (size_t i = 0; status == SY_OK && i < sizeof split / sizeof *split; i++)
        status = world->ops->split(world, SY_OK, split[i].color, split[i].key, split[i].comm);
    if (status != SY_OK) {
        sy_groups_destroy(&g);
        return status;
    }
    *groups = g;
    return SY_OK;
}
