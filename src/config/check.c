/* Checks between options, for one process: attention, router, recipe (NUMERICS 4), mesh (NUMERICS 5). Values
 * are resolved.
 *
 * Every message has both numbers and what to do; the place is that of the first key. CHECK ends its function
 * where what follows would say the same again; after NOTE the checks go on.
 */
#include <stdio.h>
#include <string.h>

#include "config/groups.h"
#include "config/internal.h"
#include "config/ramp.h"
#include "config/ranges.h"

/* clang-format off */
#define N(x) ((long long)(x))
#define CHECK(cfg, good, key, ...)                        \
    do {                                                  \
        if (!(good))                                      \
            return sy_config_fail(cfg, key, __VA_ARGS__); \
    } while (0)
#define NOTE(cfg, good, key, ...)                                              \
    do {                                                                       \
        if (!(good))                                                           \
            SY_TRY(sy_config_note(cfg, sy_config_fail(cfg, key, __VA_ARGS__))); \
    } while (0)
/* clang-format on */

/* Nothing says what to train: one message and not one for each number. */
static sy_status no_model(const struct sy_config *cfg) {
    static const char ask[] =
        "choose model.flavor (`switchyard info` lists them), or state model.dim, n_layers, n_heads, "
        "vocab_size and moe.num_experts";
    if (cfg->priv->file && cfg->priv->file_empty)
        SY_FAIL(SY_ERR_USAGE,
                "%s: is empty, it states no model: `switchyard init --flavor NAME` writes a config",
                cfg->priv->file);
    SY_FAIL(SY_ERR_USAGE, "%s%sno model is stated: %s", cfg->priv->file ? cfg->priv->file : "",
            cfg->priv->file ? ": " : "", ask);
}

static sy_status check_given(struct sy_config *cfg) {
    const struct sy_config_model *m = &cfg->model;
    static const char ask[] = "it must be given: state it, or choose model.flavor";
    if (!m->dim && !m->n_layers && !m->n_heads && !m->vocab_size)
        return no_model(cfg);
    NOTE(cfg, m->dim, "model.dim", "%s", ask);
    NOTE(cfg, m->n_layers, "model.n_layers", "%s", ask);
    NOTE(cfg, m->n_heads, "model.n_heads", "%s", ask);
    NOTE(cfg, m->vocab_size, "model.vocab_size", "%s", ask);
    NOTE(cfg, m->n_dense_layers <= m->n_layers, "model.n_dense_layers",
         "more than model.n_layers = %lld: choose at most that", N(m->n_layers));
    NOTE(cfg, m->inter_dim || !m->n_dense_layers, "model.inter_dim",
         "model.n_dense_layers = %lld needs it: state the width of the dense layers", N(m->n_dense_layers));
    if (m->n_dense_layers < m->n_layers) {
        NOTE(cfg, m->moe_inter_dim, "model.moe_inter_dim",
             "%lld MoE layers need it: state the width of an expert", N(m->n_layers - m->n_dense_layers));
        NOTE(cfg, cfg->moe.num_experts, "moe.num_experts",
             "%lld MoE layers need it: state how many, or set model.n_dense_layers = %lld",
             N(m->n_layers - m->n_dense_layers), N(m->n_layers));
    }
    return SY_OK;
}

static sy_status check_attention(struct sy_config *cfg) {
    const struct sy_config_model *m = &cfg->model;
    if (m->attention == SY_ATTENTION_MLA) {
        NOTE(cfg, m->qk_rope_head_dim % 2 == 0, "model.qk_rope_head_dim",
             "rotary embedding turns pairs: choose an even number");
        NOTE(cfg, m->n_kv_heads == m->n_heads, "model.n_kv_heads",
             "attention = \"mla\" has model.n_heads = %lld of them: leave it out", N(m->n_heads));
        NOTE(cfg, m->qk_norm == SY_QK_NORM_NONE, "model.qk_norm",
             "attention = \"mla\" has its own norms: choose \"none\"");
        NOTE(cfg, !m->window, "model.window", "attention = \"mla\" has no window: choose 0");
    } else {
        NOTE(cfg, m->n_heads % m->n_kv_heads == 0, "model.n_kv_heads",
             "does not divide model.n_heads = %lld: choose one that does", N(m->n_heads));
        NOTE(cfg, m->head_dim % 2 == 0 && m->head_dim, "model.head_dim",
             "rotary embedding turns pairs: choose an even number");
    }
    if (m->rope_factor > 1) {
        NOTE(cfg, m->rope_theta > 1, "model.rope_theta",
             "yarn (rope_factor > 1) divides by its logarithm: choose more than 1");
        NOTE(cfg, m->beta_fast >= m->beta_slow, "model.beta_fast",
             "less than model.beta_slow = %g: choose at least that", m->beta_slow);
    }
    return SY_OK;
}

/* Group-limited routing: NUMERICS 3, "Router". */
static sy_status check_groups(const struct sy_config *cfg) {
    const struct sy_config_moe *e = &cfg->moe;
    if (!e->num_expert_groups) {
        CHECK(cfg, !e->num_limited_groups, "moe.num_limited_groups",
              "moe.num_expert_groups = 0, there are no groups to choose from: state both or none");
        return SY_OK;
    }
    CHECK(cfg, e->num_limited_groups, "moe.num_limited_groups",
          "moe.num_expert_groups = %lld needs it: choose 1 to %lld", N(e->num_expert_groups),
          N(e->num_expert_groups));
    CHECK(cfg, e->num_limited_groups <= e->num_expert_groups, "moe.num_limited_groups",
          "more than moe.num_expert_groups = %lld: choose at most that", N(e->num_expert_groups));
    CHECK(cfg, e->num_experts % e->num_expert_groups == 0, "moe.num_expert_groups",
          "does not divide moe.num_experts = %lld: choose one that does", N(e->num_experts));
    int64_t size = e->num_experts / e->num_expert_groups, left = size * e->num_limited_groups;
    CHECK(cfg, size >= 2 || e->group_score != SY_GROUP_TOP2_SUM, "moe.num_expert_groups",
          "of moe.num_experts = %lld leaves %lld expert in a group, and moe.group_score = \"top2_sum\" needs "
          "2: choose "
          "fewer groups or \"max\"",
          N(e->num_experts), N(size));
    CHECK(cfg, e->top_k <= left, "moe.top_k",
          "only %lld experts remain in moe.num_limited_groups = %lld of %lld groups: choose at most that, or "
          "more groups",
          N(left), N(e->num_limited_groups), N(e->num_expert_groups));
    return SY_OK;
}

sy_status sy_config_check_moe(const struct sy_config *cfg) {
    const struct sy_config_moe *e = &cfg->moe;
    CHECK(cfg, e->num_experts, "moe.num_experts", "it must be given: state how many");
    CHECK(cfg, e->top_k <= e->num_experts, "moe.top_k",
          "more than moe.num_experts = %lld: choose at most that", N(e->num_experts));
    CHECK(cfg, !e->shared_gate || e->num_shared_experts, "moe.shared_gate",
          "moe.num_shared_experts = 0, there is nothing to gate: choose false");
    return check_groups(cfg);
}

/* An MoE layer's rows have numbers of 32 bits. */
static sy_status check_routes(const struct sy_config *cfg) {
    const struct sy_config_training *t = &cfg->training;
    int64_t most = t->local_batch_size < t->global_batch_size ? t->local_batch_size : t->global_batch_size;
    int64_t tokens = most * t->seq_len, k = cfg->moe.top_k;
    CHECK(cfg, tokens <= INT32_MAX / k, "training.local_batch_size",
          "%lld sequences of training.seq_len = %lld tokens, moe.top_k = %lld: %lld routes in a pass, there "
          "can be %lld: "
          "choose fewer or shorter sequences",
          N(most), N(t->seq_len), N(k), N(tokens * k), N(INT32_MAX));
    return SY_OK;
}

static sy_status check_moe(struct sy_config *cfg) {
    const struct sy_config_moe *e = &cfg->moe;
    if (cfg->model.n_dense_layers == cfg->model.n_layers) {
        static const char none[] = "model.n_dense_layers = %lld leaves no MoE layer: leave it out";
        int64_t dense = cfg->model.n_dense_layers;
        NOTE(cfg, !*e->routes_in, "moe.routes_in", none, N(dense));
        NOTE(cfg, !*e->routes_out, "moe.routes_out", none, N(dense));
        NOTE(cfg, e->seq_aux_loss_coeff == 0, "moe.seq_aux_loss_coeff", none, N(dense));
        NOTE(cfg, e->z_loss_coeff == 0, "moe.z_loss_coeff", none, N(dense));
        return SY_OK;
    }
    SY_TRY(sy_config_note(cfg, sy_config_check_moe(cfg)));
    NOTE(cfg, !*e->routes_in || !cfg->debug.moe_force_load_balance, "moe.routes_in",
         "debug.moe_force_load_balance = true chooses the experts too: choose one of the two");
    SY_TRY(sy_config_note(cfg, check_routes(cfg)));
    int64_t c = cfg->numerics.combine_groups;
    NOTE(cfg, !c || e->num_experts % c == 0, "numerics.combine_groups",
         "does not divide moe.num_experts = %lld: choose one that does, or 0", N(e->num_experts));
    return SY_OK;
}

/* Every row of the table is a batch (config/finish.c has parsed them). */
static sy_status check_ramp(struct sy_config *cfg) {
    const struct sy_config_list *ramp = &cfg->training.batch_ramp;
    int64_t cells = cfg->numerics.lanes * cfg->numerics.cell;
    struct sy_ramp_row r = {0, cells};
    for (int64_t i = 0; i < ramp->n; i++)
        NOTE(cfg, sy_ramp_parse(ramp->items[i], &r) == SY_OK && r.batch % cells == 0, "training.batch_ramp",
             "row \"%.100s\": numerics.lanes times numerics.cell = %lld does not divide %lld: choose a "
             "multiple",
             ramp->items[i], N(cells), N(r.batch));
    NOTE(cfg, !ramp->n || !(*cfg->moe.routes_in || *cfg->moe.routes_out), "training.batch_ramp",
         "a file of routes has as many sequences in each step: leave moe.routes_in and moe.routes_out out");
    return SY_OK;
}

/* NUMERICS 4: a batch is lanes x rounds of cells. */
static sy_status check_recipe(struct sy_config *cfg) {
    const struct sy_config_numerics *r = &cfg->numerics;
    int64_t batch = cfg->training.global_batch_size;
    int ordinal;
    NOTE(cfg, batch % r->cell == 0, "numerics.cell",
         "does not divide training.global_batch_size = %lld: choose one that does", N(batch));
    NOTE(cfg, batch % r->cell || batch % (r->lanes * r->cell) == 0, "numerics.lanes",
         "times numerics.cell = %lld is %lld and does not divide training.global_batch_size = %lld: choose "
         "lanes that do",
         N(r->cell), N(r->lanes * r->cell), N(batch));
    SY_TRY(check_ramp(cfg));
    NOTE(cfg, r->lanes % r->expert_lanes == 0, "numerics.expert_lanes",
         "does not divide numerics.lanes = %lld: choose one that does", N(r->lanes));
    NOTE(cfg, !sy_config_cuda(cfg, &ordinal) || r->class == SY_CLASS_SM90, "numerics.class",
         "run.device = \"%s\" computes \"sm90\" only: choose that, or run.device = \"cpu\"",
         sy_config_word(cfg, "run.device"));
    return SY_OK;
}

/* NUMERICS 5: what can be said before it is known how many ranks there are; the rest is parallel/mesh.c. */
static sy_status check_mesh(struct sy_config *cfg) {
    const struct sy_config_parallelism *p = &cfg->parallelism;
    NOTE(cfg, p->data_parallel_shard_degree != 0, "parallelism.data_parallel_shard_degree",
         "no rank: choose -1 for all that are left, or how many");
    return SY_OK;
}

sy_status sy_config_source(const struct sy_config *cfg, int64_t i, char *path, size_t bytes,
                           int64_t *weight) {
    const char *item = cfg->data.sources.items[i], *colon = strrchr(item, ':'),
               *digit = colon ? colon + 1 : "";
    int64_t w = 0;
    for (; *digit >= '0' && *digit <= '9' && w <= SY_CONFIG_SOURCE_WEIGHT; digit++)
        w = 10 * w + (*digit - '0');
    CHECK(cfg, colon && colon > item && !*digit && w >= 1 && w <= SY_CONFIG_SOURCE_WEIGHT, "data.sources",
          "\"%.200s\" is no path with a weight of 1 to %d behind its last colon, as in \"web.jsonl:7\"", item,
          SY_CONFIG_SOURCE_WEIGHT);
    CHECK(cfg, (size_t)(colon - item) < bytes, "data.sources",
          "the path of an item has %zu bytes: at most %zu", (size_t)(colon - item), bytes - 1);
    memcpy(path, item, (size_t)(colon - item));
    path[colon - item] = 0;
    *weight = w;
    return SY_OK;
}

static sy_status check_sources(const struct sy_config *cfg) {
    int64_t n = cfg->data.sources.n, weight;
    char path[4096];
    CHECK(cfg, !n || !cfg->training.dataset_path.n, "data.sources",
          "training.dataset_path is stated too: choose one of them");
    CHECK(cfg, n <= SY_CONFIG_SOURCES, "data.sources", "%lld sources, at most %d are possible", N(n),
          SY_CONFIG_SOURCES);
    for (int64_t i = 0; i < n; i++)
        SY_TRY(sy_config_source(cfg, i, path, sizeof path, &weight));
    return SY_OK;
}

/* A copy of the last error, which the next overwrites. */
static const char *own_message(char text[512]) {
    snprintf(text, 512, "%s", sy_error_message());
    return text;
}

/* Lists whose items have a form of their own. */
static sy_status check_lists(struct sy_config *cfg) {
    const struct sy_config_list *groups = &cfg->optimizer.groups, *skip = &cfg->training.skip_steps;
    struct sy_optimizer_group g;
    struct sy_step_range r;
    char text[512];
    NOTE(cfg, groups->n <= SY_GROUPS_MOST, "optimizer.groups", "%lld groups: at most %d are possible",
         N(groups->n), SY_GROUPS_MOST);
    for (int64_t i = 0; i < groups->n; i++)
        NOTE(cfg, sy_optimizer_group_parse(groups->items[i], &g) == SY_OK, "optimizer.groups", "%s",
             own_message(text));
    for (int64_t i = 0; i < skip->n; i++)
        NOTE(cfg, sy_step_range_parse(skip->items[i], &r) == SY_OK, "training.skip_steps", "%s",
             own_message(text));
    return SY_OK;
}

/* A folder inside the run's: what another run wrote is not in the way. */
static sy_status check_folder(struct sy_config *cfg, const char *key, const char *path) {
    bool up = false;
    for (const char *p = path; *p; p += *p == '/') {
        size_t n = strcspn(p, "/");
        up |= n == 2 && memcmp(p, "..", 2) == 0;
        p += n;
    }
    NOTE(cfg, *path != '/' && !up, key, "is not inside run.dir: choose a relative path without ..");
    return SY_OK;
}

static sy_status check_rest(struct sy_config *cfg) {
    bool byte = strcmp(cfg->tokenizer.path, "byte") == 0;
    NOTE(cfg, !byte || cfg->model.vocab_size >= 259, "model.vocab_size",
         "tokenizer.path = \"byte\" has 259 ids: choose at least that");
    NOTE(cfg, sy_config_selective_every(&cfg->activation_checkpoint) > 0,
         "activation_checkpoint.selective_ac_option",
         "\"op\" is needed, or a number from 1, as in \"2\": every n-th layer is recomputed");
    NOTE(cfg, cfg->data.holdout > 0 || cfg->validation.dataset_path.n > 0 || !cfg->validation.enable,
         "validation.enable",
         "data.holdout = 0 holds nothing out: choose false, a share such as 0.01, or give "
         "validation.dataset_path");
    NOTE(cfg, cfg->validation.steps, "validation.steps",
         "no batch: choose -1 for all, or validation.enable = false");
    SY_TRY(sy_config_note(cfg, check_sources(cfg)));
    const struct sy_config_profiling *p = &cfg->profiling;
    NOTE(cfg, !p->enable_profiling || p->profile_freq >= p->profiler_active + p->profiler_warmup,
         "profiling.profile_freq",
         "a period has profiler_warmup + profiler_active = %lld + %lld steps at least: choose %lld, or fewer "
         "of those",
         N(p->profiler_warmup), N(p->profiler_active), N(p->profiler_warmup + p->profiler_active));
    SY_TRY(check_folder(cfg, "metrics.save_tb_folder", cfg->metrics.save_tb_folder));
    SY_TRY(check_folder(cfg, "profiling.save_traces_folder", p->save_traces_folder));
    SY_TRY(check_folder(cfg, "profiling.save_memory_snapshot_folder", p->save_memory_snapshot_folder));
    NOTE(cfg, *cfg->data.text_key, "data.text_key", "a key is needed: choose the one that holds the text");
    return SY_OK;
}

sy_status sy_config_check(struct sy_config *cfg) {
    int before = cfg->priv->n_problems;
    SY_TRY(sy_config_note(cfg, check_given(cfg)));
    if (cfg->priv->n_problems > before)
        return SY_OK; /* the others would divide by what is missing */
    SY_TRY(check_attention(cfg));
    SY_TRY(check_moe(cfg));
    SY_TRY(check_recipe(cfg));
    SY_TRY(check_mesh(cfg));
    SY_TRY(check_lists(cfg));
    return check_rest(cfg);
}
