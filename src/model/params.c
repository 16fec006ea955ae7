/* The parameters of a model: see params.h. Built in two passes over the same code: the first counts, the
 * second fills. */
#include "model/params.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fmath.h"
#include "base/rng.h"

enum { NAME_BYTES = 128 };

struct builder {
    struct sy_params *p;
    int filling, failed, too_many;
    int64_t elements, parameters, active;
    int64_t top_k; /* experts beyond are not active */
};

/* More elements than this cannot be addressed as bytes of fp32 masters, moments and gradients. */
static const int64_t max_elements = (int64_t)1 << 58;

static int add_param(struct builder *b, struct sy_param param) {
    int index = b->p->n_params++;
    int64_t n;
    if (__builtin_mul_overflow(param.rows, param.cols, &n) || n > max_elements - b->elements) {
        b->too_many = 1;
        return index;
    }
    b->elements += n;
    if (b->filling)
        b->p->param[index] = param;
    if (param.kind != SY_PARAM_BUFFER && param.kind != SY_PARAM_SITE) {
        b->parameters += n;
        b->active += param.expert < b->top_k ? n : 0;
    }
    return index;
}

struct init_rule {
    enum sy_init init;
    double sd, cut;
};

struct rows { /* `n` rows of a parameter from row `first` */
    int param;
    int64_t first, n;
};

static void add_tensor(struct builder *b, struct rows rows, struct init_rule rule, const char *fmt, ...)
    SY_PRINTF(4, 5);
static void add_tensor(struct builder *b, struct rows rows, struct init_rule rule, const char *fmt, ...) {
    int index = b->p->n_tensors++;
    if (!b->filling)
        return;
    char name[NAME_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    const struct sy_param *q = &b->p->param[rows.param];
    struct sy_tensor *t = &b->p->tensor[index];
    int is_vector = q->kind == SY_PARAM_VECTOR || q->kind == SY_PARAM_BUFFER;
    *t = (struct sy_tensor){.name = strdup(name),
                            .id = sy_fnv1a64(name),
                            .param = rows.param,
                            .n_dims = is_vector ? 1 : 2,
                            .n = rows.n * q->cols,
                            .first_row = rows.first,
                            .init = rule.init,
                            .sd = rule.sd,
                            .cut = rule.cut};
    t->dims[0] = is_vector ? q->cols : rows.n;
    t->dims[1] = is_vector ? 1 : q->cols;
    b->failed |= !t->name;
}

static const struct init_rule ones = {SY_INIT_ONES, 0, 0}, zeros = {SY_INIT_ZEROS, 0, 0};

static struct init_rule cut_normal(double sd) { return (struct init_rule){SY_INIT_NORMAL, sd, 2.0}; }

/* wo, w2, w3 and the gate. */
static struct init_rule depth_scaled(int layer) { return cut_normal(0.02 / sqrt(2.0 * (layer + 1))); }

static int vector(struct builder *b, int layer, int64_t n, struct init_rule rule, const char *name) {
    int p = add_param(b, (struct sy_param){SY_PARAM_VECTOR, layer, -1, 1, n});
    if (layer >= 0)
        add_tensor(b, (struct rows){p, 0, 1}, rule, "model.layers.%d.%s", layer, name);
    else
        add_tensor(b, (struct rows){p, 0, 1}, rule, "%s", name);
    return p;
}

static int matrix(struct builder *b, int layer, int64_t rows, int64_t cols, struct init_rule rule,
                  const char *name) {
    int p = add_param(b, (struct sy_param){SY_PARAM_MATRIX, layer, -1, rows, cols});
    add_tensor(b, (struct rows){p, 0, rows}, rule, "model.layers.%d.%s", layer, name);
    return p;
}

struct mlp { /* indices */
    int w13, w2;
};

/* W1 over W3, then W2, of a SwiGLU of width f. */
static struct mlp swiglu(struct builder *b, int layer, int64_t d, int64_t f, const char *prefix) {
    int w13 = add_param(b, (struct sy_param){SY_PARAM_MATRIX, layer, -1, 2 * f, d});
    add_tensor(b, (struct rows){w13, 0, f}, cut_normal(0.02), "model.layers.%d.%s.gate_proj.weight", layer,
               prefix);
    add_tensor(b, (struct rows){w13, f, f}, depth_scaled(layer), "model.layers.%d.%s.up_proj.weight", layer,
               prefix);
    int w2 = add_param(b, (struct sy_param){SY_PARAM_MATRIX, layer, -1, d, f});
    add_tensor(b, (struct rows){w2, 0, d}, depth_scaled(layer), "model.layers.%d.%s.down_proj.weight", layer,
               prefix);
    return (struct mlp){w13, w2};
}

/* Of heads that are `width` wide together. */
static void output(struct builder *b, int l, const struct sy_config_model *m, int64_t width,
                   struct sy_layer_params *q) {
    q->wo = matrix(b, l, m->dim, width, depth_scaled(l), "self_attn.o_proj.weight");
    if (m->attention_output_bias)
        q->bo = vector(b, l, m->dim, zeros, "self_attn.o_proj.bias");
}

static void gqa(struct builder *b, int l, const struct sy_config_model *m, struct sy_layer_params *q) {
    int64_t dq = m->n_heads * m->head_dim, dkv = m->n_kv_heads * m->head_dim;
    q->wq = matrix(b, l, dq, m->dim, cut_normal(0.02), "self_attn.q_proj.weight");
    q->wk = matrix(b, l, dkv, m->dim, cut_normal(0.02), "self_attn.k_proj.weight");
    q->wv = matrix(b, l, dkv, m->dim, cut_normal(0.02), "self_attn.v_proj.weight");
    if (m->attention_bias) {
        q->bq = vector(b, l, dq, zeros, "self_attn.q_proj.bias");
        q->bk = vector(b, l, dkv, zeros, "self_attn.k_proj.bias");
        q->bv = vector(b, l, dkv, zeros, "self_attn.v_proj.bias");
    }
    if (m->qk_norm != SY_QK_NORM_NONE) {
        int full = m->qk_norm == SY_QK_NORM_FULL;
        q->q_norm = vector(b, l, full ? dq : m->head_dim, ones, "self_attn.q_norm.weight");
        q->k_norm = vector(b, l, full ? dkv : m->head_dim, ones, "self_attn.k_norm.weight");
    }
    output(b, l, m, dq, q);
}

static void mla(struct builder *b, int l, const struct sy_config_model *m, struct sy_layer_params *q) {
    int64_t dqk = m->qk_nope_head_dim + m->qk_rope_head_dim;
    if (m->q_lora_rank > 0) {
        q->wqa = matrix(b, l, m->q_lora_rank, m->dim, cut_normal(0.02), "self_attn.q_a_proj.weight");
        if (m->attention_bias)
            q->bqa = vector(b, l, m->q_lora_rank, zeros, "self_attn.q_a_proj.bias");
        q->qa_norm = vector(b, l, m->q_lora_rank, ones, "self_attn.q_a_layernorm.weight");
        q->wqb =
            matrix(b, l, m->n_heads * dqk, m->q_lora_rank, cut_normal(0.02), "self_attn.q_b_proj.weight");
    } else {
        q->wq = matrix(b, l, m->n_heads * dqk, m->dim, cut_normal(0.02), "self_attn.q_proj.weight");
    }
    q->wkva = matrix(b, l, m->kv_lora_rank + m->qk_rope_head_dim, m->dim, cut_normal(0.02),
                     "self_attn.kv_a_proj_with_mqa.weight");
    q->kva_norm = vector(b, l, m->kv_lora_rank, ones, "self_attn.kv_a_layernorm.weight");
    q->wkvb = matrix(b, l, m->n_heads * (m->qk_nope_head_dim + m->v_head_dim), m->kv_lora_rank,
                     cut_normal(0.02), "self_attn.kv_b_proj.weight");
    if (m->attention_bias)
        q->bkva =
            vector(b, l, m->kv_lora_rank + m->qk_rope_head_dim, zeros, "self_attn.kv_a_proj_with_mqa.bias");
    output(b, l, m, m->n_heads * m->v_head_dim, q);
}

static void moe_dense_part(struct builder *b, int l, const struct sy_config_model *m,
                           const struct sy_config_moe *e, enum sy_family family, struct sy_layer_params *q) {
    q->gate = matrix(b, l, e->num_experts, m->dim, depth_scaled(l),
                     family == SY_FAMILY_MIXTRAL ? "block_sparse_moe.gate.weight" : "mlp.gate.weight");
    if (e->gate_bias)
        q->gate_bias = vector(b, l, e->num_experts, zeros, "mlp.gate.bias");
    if (e->num_shared_experts > 0) {
        struct mlp shared =
            swiglu(b, l, m->dim, e->num_shared_experts * m->moe_inter_dim,
                   family == SY_FAMILY_QWEN2_MOE ? "mlp.shared_expert" : "mlp.shared_experts");
        q->shared_w13 = shared.w13;
        q->shared_w2 = shared.w2;
        if (e->shared_gate)
            q->shared_gate = matrix(b, l, 1, m->dim, depth_scaled(l), "mlp.shared_expert_gate.weight");
    }
}

/* Of the head, and of the embedding that is the head, too: logits of the size of one. */
static struct init_rule of_head(const struct sy_config_model *m) {
    double sd = 1.0 / sqrt((double)m->dim);
    return (struct init_rule){SY_INIT_NORMAL, sd, 3.0 * sd};
}

static void add_head(struct builder *b, const struct sy_config_model *m) {
    add_tensor(b, (struct rows){b->p->head, 0, m->vocab_size}, of_head(m), "lm_head.weight");
}

static void dense_parameters(struct builder *b, const struct sy_config_model *m,
                             const struct sy_config_moe *e, enum sy_family family) {
    struct sy_params *p = b->p;
    p->embedding = add_param(b, (struct sy_param){SY_PARAM_EMBEDDING, -1, -1, m->vocab_size, m->dim});
    add_tensor(b, (struct rows){p->embedding, 0, m->vocab_size},
               m->tie_word_embeddings ? of_head(m) : (struct init_rule){SY_INIT_NORMAL, 1.0, 0.0},
               "model.embed_tokens.weight");
    for (int l = 0; l < m->n_layers; l++) {
        struct sy_layer_params none, *q = b->filling ? &p->layer[l] : &none;
        memset(q, -1, sizeof *q);
        q->attn_norm = vector(b, l, m->dim, ones, "input_layernorm.weight");
        if (m->attention == SY_ATTENTION_MLA)
            mla(b, l, m, q);
        else
            gqa(b, l, m, q);
        q->ffn_norm = vector(b, l, m->dim, ones, "post_attention_layernorm.weight");
        if (sy_layer_is_moe(m, l)) {
            moe_dense_part(b, l, m, e, family, q);
        } else {
            struct mlp dense = swiglu(b, l, m->dim, m->inter_dim, "mlp");
            q->w13 = dense.w13;
            q->w2 = dense.w2;
        }
    }
    p->final_norm = vector(b, -1, m->dim, ones, "model.norm.weight");
    enum sy_param_kind kind = m->tie_word_embeddings ? SY_PARAM_SITE : SY_PARAM_MATRIX;
    p->head = add_param(b, (struct sy_param){kind, -1, -1, m->vocab_size, m->dim});
    if (kind == SY_PARAM_MATRIX)
        add_head(b, m);
}

static void expert(struct builder *b, int l, int e, int64_t d, int64_t f, int mixtral) {
    static const char *const names[2][3] = {{"gate_proj", "up_proj", "down_proj"}, {"w1", "w3", "w2"}};
    const char *block = mixtral ? "block_sparse_moe" : "mlp";
    int w13 = add_param(b, (struct sy_param){SY_PARAM_EXPERT, l, e, 2 * f, d});
    add_tensor(b, (struct rows){w13, 0, f}, cut_normal(0.02), "model.layers.%d.%s.experts.%d.%s.weight", l,
               block, e, names[mixtral][0]);
    add_tensor(b, (struct rows){w13, f, f}, depth_scaled(l), "model.layers.%d.%s.experts.%d.%s.weight", l,
               block, e, names[mixtral][1]);
    int w2 = add_param(b, (struct sy_param){SY_PARAM_EXPERT, l, e, d, f});
    add_tensor(b, (struct rows){w2, 0, d}, depth_scaled(l), "model.layers.%d.%s.experts.%d.%s.weight", l,
               block, e, names[mixtral][2]);
}

static void expert_parameters(struct builder *b, const struct sy_config_model *m,
                              const struct sy_config_moe *e, int mixtral) {
    for (int l = 0; l < m->n_layers; l++) {
        if (!sy_layer_is_moe(m, l))
            continue;
        if (b->filling)
            b->p->layer[l].first_expert = b->p->n_params;
        for (int i = 0; i < e->num_experts; i++)
            expert(b, l, i, m->dim, m->moe_inter_dim, mixtral);
    }
}

static void buffers(struct builder *b, const struct sy_config_model *m, const struct sy_config_moe *e) {
    for (int l = 0; l < m->n_layers && sy_config_has_expert_bias(e); l++) {
        if (!sy_layer_is_moe(m, l))
            continue;
        int p = add_param(b, (struct sy_param){SY_PARAM_BUFFER, l, -1, 1, e->num_experts});
        add_tensor(b, (struct rows){p, 0, 1}, zeros, "model.layers.%d.mlp.gate.e_score_correction_bias", l);
        if (b->filling)
            b->p->layer[l].expert_bias = p;
    }
}

static void build(struct builder *b, const struct sy_config_model *m, const struct sy_config_moe *e) {
    enum sy_family family = sy_model_family(m, e);
    b->p->n_params = b->p->n_tensors = b->p->n_sites = 0;
    dense_parameters(b, m, e, family);
    expert_parameters(b, m, e, family == SY_FAMILY_MIXTRAL);
    buffers(b, m, e);
    if (m->tie_word_embeddings) { /* last: no list of tensors has it */
        add_head(b, m);
        b->p->n_tensors--;
        b->p->n_sites++;
    }
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const struct sy_tensor *const *)a)->name, (*(const struct sy_tensor *const *)b)->name);
}

static sy_status sort_names(struct sy_params *p) {
    const struct sy_tensor **order = malloc((size_t)p->n_tensors * sizeof *order);
    if (!order)
        SY_FAIL(SY_ERR_MEMORY, "no memory to sort %d tensor names", p->n_tensors);
    for (int i = 0; i < p->n_tensors; i++)
        order[i] = &p->tensor[i];
    qsort(order, (size_t)p->n_tensors, sizeof *order, by_name);
    for (int i = 0; i < p->n_tensors; i++)
        p->by_name[i] = (int)(order[i] - p->tensor);
    free(order);
    return SY_OK;
}

void sy_params_destroy(struct sy_params *p) {
    if (!p)
        return;
    for (int i = 0; p->tensor && i < p->n_tensors + p->n_sites; i++)
        free(p->tensor[i].name);
    free(p->tensor);
    free(p->param);
    free(p->by_name);
    free(p->layer);
    free(p);
}

sy_status sy_params_create(const struct sy_config_model *model, const struct sy_config_moe *moe,
                           struct sy_params **out) {
    struct sy_params *p = calloc(1, sizeof *p);
    if (!p)
        SY_FAIL(SY_ERR_MEMORY, "no memory for the list of parameters");
    struct builder count = {.p = p, .top_k = moe->top_k}, fill = {.p = p, .filling = 1, .top_k = moe->top_k};
    build(&count, model, moe);
    if (count.too_many) {
        int n_tensors = p->n_tensors;
        free(p);
        SY_FAIL(SY_ERR_USAGE,
                "the model has more than 2^58 parameters in %d tensors: model.dim, model.n_layers, "
                "moe.num_experts or "
                "another dimension is too large",
                n_tensors);
    }
    p->param = calloc((size_t)p->n_params, sizeof *p->param);
    p->tensor = calloc((size_t)(p->n_tensors + p->n_sites), sizeof *p->tensor);
    p->by_name = calloc((size_t)p->n_tensors, sizeof *p->by_name);
    p->n_layers = (int)model->n_layers;
    p->layer = calloc((size_t)p->n_layers, sizeof *p->layer);
    sy_status status = SY_OK;
    if (p->param && p->tensor && p->by_name && p->layer)
        build(&fill, model, moe);
    if (!p->layer || !p->by_name || !p->tensor || !p->param || fill.failed)
        status = sy_fail(SY_ERR_MEMORY, "no memory for a list of %d tensors", p->n_tensors);
    if (status == SY_OK)
        status = sort_names(p);
    if (status != SY_OK) {
        sy_params_destroy(p);
        return status;
    }
    p->n_parameters = fill.parameters;
    p->n_active = fill.active;
    *out = p;
    return SY_OK;
}

struct sy_init_item sy_params_init(const struct sy_tensor *t, uint64_t seed) {
    return (struct sy_init_item){.n = t->n,
                                 .key = sy_rng_key(seed, SY_RNG_INIT, 0, t->id),
                                 .sd = t->init == SY_INIT_NORMAL ? t->sd : 0,
                                 .cut = t->cut,
                                 .constant = t->init == SY_INIT_ONES ? 1.0f : 0.0f};
}
