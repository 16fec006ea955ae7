/* The list of parameters: exact counts of every flavour, names and shapes of the checkpoint, the layout of
 * the flat buffers, and the initial values (deviation, cut, and that a value depends on seed, name and index
 * alone).
 *
 * The counts are the published models'; the layout is checked element by element range for each flavour and
 * for variants that turn every optional tensor on.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "model/params.h"

static const struct row {
    const char *flavor;
    int64_t parameters, active;
} table[] = {
    {"dsv3-debug", 33014016, 28098816},         {"gqa-debug", 11681792, 5783552},
    {"dsv3-16b", 15706484224, 2661150208},      {"dsv2-236b", 235741434880, 21375800320},
    {"dsv3-671b", 671026404352, 37552282624},   {"moonlight-16b", 15960108544, 2914774528},
    {"qwen3-30b-a3b", 30532122624, 3353032704}, {"qwen3-235b-a22b", 235093634560, 22190763520},
    {"olmoe-7b", 6919161856, 1282017280},       {"mixtral-8x7b", 46702792704, 12879925248},
};
enum { N_ROWS = sizeof table / sizeof *table };

struct lab {
    struct sy_config *c;
    struct sy_params *p;
};

/* words: "key=value key=value", after the flavour. */
static struct lab open_lab(const char *flavor, const char *words) {
    struct lab l;
    char text[512], *save = NULL;
    assert_int_equal(sy_config_create(&l.c), SY_OK);
    assert_int_equal(sy_config_set(l.c, SY_LAYER_FLAG, "test", "model.flavor", flavor), SY_OK);
    snprintf(text, sizeof text, "%s", words);
    for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        char *value = strchr(word, '=');
        *value = '\0';
        if (sy_config_set(l.c, SY_LAYER_FLAG, "test", word, value + 1) != SY_OK)
            fail_msg("%s", sy_error_message());
    }
    if (sy_config_finish(l.c, false) != SY_OK || sy_params_create(&l.c->model, &l.c->moe, &l.p) != SY_OK)
        fail_msg("%s", sy_error_message());
    return l;
}

static void close_lab(struct lab *l) {
    sy_params_destroy(l->p);
    sy_config_destroy(l->c);
}

static const struct sy_tensor *find(const struct sy_params *p, const char *name) {
    for (int i = 0; i < p->n_tensors; i++)
        if (strcmp(p->tensor[i].name, name) == 0)
            return &p->tensor[i];
    return NULL;
}

static void check_shape(const struct sy_params *p, const char *name, int n_dims, int64_t rows, int64_t cols) {
    const struct sy_tensor *t = find(p, name);
    if (!t)
        fail_msg("there is no %s", name);
    if (t->n_dims != n_dims || t->dims[0] != rows || (n_dims == 2 && t->dims[1] != cols) ||
        t->n != rows * cols)
        fail_msg("%s is [%lld, %lld]", name, (long long)t->dims[0], (long long)t->dims[1]);
}

/* --- counts --------------------------------------------------------------------------------------------- */

static int is_inactive_expert(const struct sy_params *p, const struct sy_tensor *t, int64_t top_k) {
    const struct sy_param *q = &p->param[t->param];
    return q->kind == SY_PARAM_EXPERT && q->expert >= top_k; /* experts are alike: any top_k of them */
}

static void test_counts(void **state) {
    (void)state;
    for (int i = 0; i < N_ROWS; i++) {
        struct lab l = open_lab(table[i].flavor, "");
        int64_t all = 0, active = 0;
        for (int k = 0; k < l.p->n_tensors; k++) {
            const struct sy_tensor *t = &l.p->tensor[k];
            if (l.p->param[t->param].kind == SY_PARAM_BUFFER)
                continue;
            all += t->n;
            active += is_inactive_expert(l.p, t, l.c->moe.top_k) ? 0 : t->n;
        }
        if (l.p->n_parameters != table[i].parameters || l.p->n_active != table[i].active ||
            all != table[i].parameters || active != table[i].active)
            fail_msg("%s: %lld / %lld, its tensors %lld / %lld, must be %lld / %lld", table[i].flavor,
                     (long long)l.p->n_parameters, (long long)l.p->n_active, (long long)all,
                     (long long)active, (long long)table[i].parameters, (long long)table[i].active);
        close_lab(&l);
    }
}

/* The biases that balance are buffers: with or without them a model has as many parameters. */
static void test_bias_is_not_counted(void **state) {
    (void)state;
    struct lab with = open_lab("dsv3-debug", ""),
               without = open_lab("dsv3-debug", "moe.load_balance_coeff=0");
    assert_true(with.p->n_parameters == without.p->n_parameters && with.p->n_active == without.p->n_active);
    assert_int_equal(with.p->n_tensors, without.p->n_tensors + 5);
    int buffers[2] = {0, 0};
    for (int i = 0; i < with.p->n_params; i++)
        buffers[0] += with.p->param[i].kind == SY_PARAM_BUFFER;
    for (int i = 0; i < without.p->n_params; i++)
        buffers[1] += without.p->param[i].kind == SY_PARAM_BUFFER;
    assert_true(buffers[0] == 5 && buffers[1] == 0);
    for (int i = 0; i < 6; i++) {
        assert_true((with.p->layer[i].expert_bias >= 0) == (i > 0));
        assert_int_equal(without.p->layer[i].expert_bias, -1);
    }
    struct lab kept =
        open_lab("dsv3-debug", "moe.load_balance_coeff=0 moe.keep_bias=true"); /* one that does not move */
    assert_int_equal(kept.p->n_tensors, with.p->n_tensors);
    for (int i = 0; i < kept.p->n_tensors; i++) {
        assert_string_equal(kept.p->tensor[i].name, with.p->tensor[i].name);
        assert_int_equal(kept.p->tensor[i].param, with.p->tensor[i].param);
    }
    assert_int_equal(sy_model_family(&kept.c->model, &kept.c->moe),
                     sy_model_family(&with.c->model, &with.c->moe));
    close_lab(&kept);
    close_lab(&with);
    close_lab(&without);
    struct lab moves = open_lab("mixtral-8x7b", "moe.load_balance_coeff=1e-3"),
               stays = open_lab("mixtral-8x7b", "moe.keep_bias=true"), none = open_lab("mixtral-8x7b", "");
    assert_int_equal(sy_model_family(&none.c->model, &none.c->moe), SY_FAMILY_MIXTRAL);
    assert_int_equal(sy_model_family(&moves.c->model, &moves.c->moe),
                     SY_FAMILY_NONE); /* a class without such a bias */
    assert_int_equal(sy_model_family(&stays.c->model, &stays.c->moe), SY_FAMILY_NONE);
    close_lab(&moves);
    close_lab(&stays);
    close_lab(&none);
}

/* --- names and layout ----------------------------------------------------------------------------------- */

static void check_names(const struct sy_params *p) {
    char *seen = calloc((size_t)p->n_tensors, 1);
    assert_non_null(seen);
    for (int i = 0; i < p->n_tensors; i++) {
        const struct sy_tensor *t = &p->tensor[p->by_name[i]];
        assert_int_equal(seen[p->by_name[i]]++, 0);
        if (i > 0 && strcmp(p->tensor[p->by_name[i - 1]].name, t->name) >= 0) /* equal: a name twice */
            fail_msg("%s does not come after %s", t->name, p->tensor[p->by_name[i - 1]].name);
        uint64_t h = 0xcbf29ce484222325u;
        for (const char *s = t->name; *s; s++)
            h = (h ^ (unsigned char)*s) * 0x100000001b3u;
        assert_true(t->id == h);
    }
    free(seen);
}

/* Dense parameters, then experts, then buffers; each is covered exactly, in order, by its tensors. */
static void check_layout(const struct sy_params *p) {
    int stage = 0;
    for (int i = 0; i < p->n_params; i++) {
        const struct sy_param *q = &p->param[i];
        int now = q->kind == SY_PARAM_EXPERT ? 1 : q->kind == SY_PARAM_BUFFER ? 2 : 0;
        assert_true(now >= stage && q->rows > 0 && q->cols > 0);
        stage = now;
        assert_true((q->kind == SY_PARAM_EXPERT) == (q->expert >= 0));
    }
    int64_t *covered = calloc((size_t)p->n_params, sizeof *covered);
    assert_non_null(covered);
    for (int i = 0; i < p->n_tensors + p->n_sites; i++) {
        const struct sy_tensor *t = &p->tensor[i];
        const struct sy_param *q = &p->param[t->param];
        assert_true((i >= p->n_tensors) == (q->kind == SY_PARAM_SITE));
        if (t->first_row * q->cols != covered[t->param])
            fail_msg("%s: a gap or an overlap", t->name);
        assert_true(t->n == t->dims[0] * (t->n_dims == 2 ? t->dims[1] : 1) && t->n_dims >= 1 &&
                    t->n_dims <= 2);
        assert_true(t->n % q->cols == 0);
        covered[t->param] += t->n;
    }
    for (int i = 0; i < p->n_params; i++)
        assert_true(covered[i] == p->param[i].rows * p->param[i].cols);
    free(covered);
}

static void check_layers(const struct lab *l) {
    const struct sy_params *p = l->p;
    for (int i = 0; i < p->n_layers; i++) {
        const struct sy_layer_params *q = &p->layer[i];
        int moe = i >= l->c->model.n_dense_layers;
        assert_true((q->gate >= 0) == moe && (q->first_expert >= 0) == moe && (q->w13 >= 0) == !moe &&
                    (q->w2 >= 0) == !moe);
        assert_true(p->param[q->attn_norm].layer == i && p->param[q->wo].layer == i);
        for (int64_t e = 0; moe && e < l->c->moe.num_experts; e++) {
            const struct sy_param *w13 = &p->param[q->first_expert + 2 * e], *w2 = w13 + 1;
            assert_true(w13->layer == i && w13->expert == e && w2->layer == i && w2->expert == e);
            assert_true(w13->rows == 2 * l->c->model.moe_inter_dim && w13->cols == l->c->model.dim);
            assert_true(w2->rows == l->c->model.dim && w2->cols == l->c->model.moe_inter_dim);
        }
    }
    int tied = l->c->model.tie_word_embeddings;
    assert_true(p->param[p->embedding].kind == SY_PARAM_EMBEDDING &&
                p->param[p->head].kind == (tied ? SY_PARAM_SITE : SY_PARAM_MATRIX));
    assert_int_equal(p->n_sites, tied);
    assert_true((find(p, "lm_head.weight") == NULL) == tied);
    assert_true(p->param[p->final_norm].kind == SY_PARAM_VECTOR);
}

static void check_all(const char *flavor, const char *words) {
    struct lab l = open_lab(flavor, words);
    check_names(l.p);
    check_layout(l.p);
    check_layers(&l);
    close_lab(&l);
}

static void test_layout(void **state) {
    (void)state;
    for (int i = 0; i < N_ROWS; i++)
        check_all(table[i].flavor, "");
    check_all("micro_mla", "");
    check_all("micro_gqa", "");
    check_all("micro_mla",
              "moe.gate_bias=true moe.num_shared_experts=3 moe.shared_gate=true model.q_lora_rank=0");
    check_all("micro_mla", "model.attention_bias=true model.attention_output_bias=true");
    check_all("micro_gqa",
              "moe.gate_bias=true moe.num_shared_experts=1 moe.shared_gate=true model.attention_bias=true "
              "model.qk_norm=full model.n_dense_layers=1 model.inter_dim=7");
    check_all("micro_gqa",
              "model.qk_norm=head model.dim=31 model.head_dim=10 model.moe_inter_dim=5 model.vocab_size=273");
    check_all("mixtral-8x7b", "moe.load_balance_coeff=1e-3");
    check_all("micro_gqa", "model.tie_word_embeddings=true");
    check_all("mixtral-8x7b", "moe.gate_bias=true");
}

/* Optional tensors: each is one more tensor and its elements. */
static void test_options(void **state) {
    (void)state;
    static const struct {
        const char *words;
        /* more than micro_gqa: D 32, 2 heads and 1 key head of 16, 8 experts of 32, 2 layers */
        int64_t parameters;
    } more[] = {
        {"moe.gate_bias=true", 2 * 8},
        {"model.tie_word_embeddings=true", -272 * 32},
        {"model.attention_bias=true", 2 * (32 + 16 + 16)},
        {"model.attention_output_bias=true", 2 * 32},
        {"model.qk_norm=head", 2 * (16 + 16)},
        {"model.qk_norm=full", 2 * (32 + 16)},
        {"moe.num_shared_experts=1", 2 * 3 * 32 * 32},
        {"moe.num_shared_experts=2", 2 * 3 * 64 * 32},
        {"moe.num_shared_experts=1 moe.shared_gate=true", 2 * (3 * 32 * 32 + 32)},
        {"model.n_layers=3", 32 + 32 * 32 + 2 * 16 * 32 + 32 * 32 + 32 + 8 * 32 + 8 * 3 * 32 * 32},
    };
    struct lab base = open_lab("micro_gqa", "");
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        struct lab l = open_lab("micro_gqa", more[i].words);
        if (l.p->n_parameters - base.p->n_parameters != more[i].parameters)
            fail_msg("%s: %lld more", more[i].words, (long long)(l.p->n_parameters - base.p->n_parameters));
        close_lab(&l);
    }
    assert_true(base.p->n_parameters < 100000);
    close_lab(&base);
    base = open_lab("micro_mla", "");
    assert_true(base.p->n_parameters < 100000);
    close_lab(&base);
}

static void test_published_names(void **state) {
    (void)state;
    struct lab l = open_lab("dsv3-671b", "");
    check_shape(l.p, "model.embed_tokens.weight", 2, 129280, 7168);
    check_shape(l.p, "model.layers.0.self_attn.q_a_proj.weight", 2, 1536, 7168);
    check_shape(l.p, "model.layers.0.self_attn.q_a_layernorm.weight", 1, 1536, 1);
    check_shape(l.p, "model.layers.60.self_attn.q_b_proj.weight", 2, 24576, 1536);
    check_shape(l.p, "model.layers.60.self_attn.kv_a_proj_with_mqa.weight", 2, 576, 7168);
    check_shape(l.p, "model.layers.60.self_attn.kv_a_layernorm.weight", 1, 512, 1);
    check_shape(l.p, "model.layers.60.self_attn.kv_b_proj.weight", 2, 32768, 512);
    check_shape(l.p, "model.layers.60.self_attn.o_proj.weight", 2, 7168, 16384);
    check_shape(l.p, "model.layers.2.mlp.gate_proj.weight", 2, 18432, 7168);
    check_shape(l.p, "model.layers.2.mlp.down_proj.weight", 2, 7168, 18432);
    check_shape(l.p, "model.layers.3.mlp.gate.weight", 2, 256, 7168);
    check_shape(l.p, "model.layers.3.mlp.gate.e_score_correction_bias", 1, 256, 1);
    check_shape(l.p, "model.layers.3.mlp.experts.255.gate_proj.weight", 2, 2048, 7168);
    check_shape(l.p, "model.layers.3.mlp.experts.255.down_proj.weight", 2, 7168, 2048);
    check_shape(l.p, "model.layers.3.mlp.shared_experts.up_proj.weight", 2, 2048, 7168);
    check_shape(l.p, "model.layers.3.input_layernorm.weight", 1, 7168, 1);
    check_shape(l.p, "model.layers.3.post_attention_layernorm.weight", 1, 7168, 1);
    check_shape(l.p, "model.norm.weight", 1, 7168, 1);
    check_shape(l.p, "lm_head.weight", 2, 129280, 7168);
    assert_null(find(l.p, "model.layers.2.mlp.gate.weight"));
    assert_null(find(l.p, "model.layers.3.mlp.experts.256.up_proj.weight"));
    assert_null(find(l.p, "model.layers.61.input_layernorm.weight"));
    close_lab(&l);
    l = open_lab("mixtral-8x7b", "");
    check_shape(l.p, "model.layers.31.block_sparse_moe.gate.weight", 2, 8, 4096);
    check_shape(l.p, "model.layers.31.block_sparse_moe.experts.7.w1.weight", 2, 14336, 4096);
    check_shape(l.p, "model.layers.31.block_sparse_moe.experts.7.w2.weight", 2, 4096, 14336);
    check_shape(l.p, "model.layers.31.block_sparse_moe.experts.7.w3.weight", 2, 14336, 4096);
    check_shape(l.p, "model.layers.31.self_attn.k_proj.weight", 2, 1024, 4096);
    close_lab(&l);
    l = open_lab("olmoe-7b", "");
    check_shape(l.p, "model.layers.15.self_attn.q_norm.weight", 1, 2048, 1);
    check_shape(l.p, "model.layers.15.mlp.experts.63.up_proj.weight", 2, 1024, 2048);
    close_lab(&l);
    l = open_lab("qwen3-30b-a3b", "");
    check_shape(l.p, "model.layers.47.self_attn.q_norm.weight", 1, 128, 1);
    check_shape(l.p, "model.layers.47.self_attn.k_norm.weight", 1, 128, 1);
    check_shape(l.p, "model.layers.47.self_attn.v_proj.weight", 2, 512, 2048);
    close_lab(&l);
}

/* Every key within its bounds, and 2^63 elements or more in all: an error, never a negative count. */
static void test_too_many_elements(void **state) {
    (void)state;
    struct sy_config *c;
    struct sy_params *p = NULL;
    static const char *const keys[][2] = {{"model.flavor", "micro_gqa"},
                                          {"model.dim", "1048576"},
                                          {"moe.num_experts", "65536"},
                                          {"model.moe_inter_dim", "4194304"},
                                          {"model.n_layers", "12"}};
    assert_int_equal(sy_config_create(&c), SY_OK);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_int_equal(sy_config_set(c, SY_LAYER_FLAG, "test", keys[i][0], keys[i][1]), SY_OK);
    sy_status status = sy_config_finish(c, false); /* may refuse it already */
    if (status == SY_OK)
        status = sy_params_create(&c->model, &c->moe, &p);
    long long count = p ? (long long)p->n_parameters : 0;
    sy_params_destroy(p);
    sy_config_destroy(c);
    if (status == SY_OK)
        fail_msg("12 layers of 65536 experts of 3 x 2^42 elements: %lld", count);
}

/* --- initial values ------------------------------------------------------------------------------------- */

struct stats {
    double mean, sd, most;
};

/* Elements first .. first + n - 1, by the op. */
static void init(const struct sy_tensor *t, uint64_t seed, int64_t first, int64_t n, float *out) {
    struct sy_exec x = {.device = sy_device_cpu()};
    assert_int_equal(sy_ops_select("ref", &x.ops), SY_OK);
    struct sy_init_item item = sy_params_init(t, seed);
    assert_true(item.n == t->n && item.first == 0);
    item.first = first;
    item.n = n;
    item.out = out;
    x.ops->init(&x, &(struct sy_init_values){&item, 1});
}

static struct stats measure(const struct sy_tensor *t, uint64_t seed, int64_t n) {
    float *x = malloc((size_t)n * sizeof *x);
    struct stats s = {0, 0, 0};
    assert_non_null(x);
    assert_true(n <= t->n);
    init(t, seed, 0, n, x);
    for (int64_t i = 0; i < n; i++) {
        s.mean += x[i] / (double)n;
        s.most = fmax(s.most, fabs(x[i]));
    }
    for (int64_t i = 0; i < n; i++)
        s.sd += (x[i] - s.mean) * (x[i] - s.mean) / (double)n;
    s.sd = sqrt(s.sd);
    free(x);
    return s;
}

/* n values of deviation sd: the mean and the deviation within five of their own deviations, the largest
 * above `least`. */
static void check_normal(const struct sy_params *p, const char *name, double sd, double least, double most) {
    enum { N = 8000 };
    const struct sy_tensor *t = find(p, name);
    if (!t)
        fail_msg("there is no %s", name);
    struct stats s = measure(t, 17, N);
    if (!(fabs(s.mean) < 5 * sd / sqrt(N) && fabs(s.sd / sd - 1) < 5 / sqrt(2.0 * N) && s.most > least &&
          s.most <= most))
        fail_msg("%s: mean %g, deviation %g (must be %g), largest %g", name, s.mean, s.sd, sd, s.most);
}

static void test_deviations(void **state) {
    (void)state;
    struct lab l =
        open_lab("gqa-debug",
                 "model.n_dense_layers=1 model.inter_dim=1024 moe.num_experts=64 moe.num_shared_experts=2 "
                 "model.attention_bias=true moe.gate_bias=true moe.shared_gate=true");
    /* of 8000 normal values the largest lies beyond 3.3 deviations, but for one time in 2000 */
    check_normal(l.p, "model.embed_tokens.weight", 1.0, 3.3, 6);
    check_normal(l.p, "model.layers.3.self_attn.q_proj.weight", 0.02, 0.066, 0.12);
    check_normal(l.p, "model.layers.3.self_attn.k_proj.weight", 0.02, 0.066, 0.12);
    check_normal(l.p, "model.layers.3.self_attn.v_proj.weight", 0.02, 0.066, 0.12);
    check_normal(l.p, "model.layers.0.mlp.gate_proj.weight", 0.02, 0.066, 0.12);
    check_normal(l.p, "model.layers.3.mlp.experts.5.gate_proj.weight", 0.02, 0.066, 0.12);
    check_normal(l.p, "model.layers.3.mlp.shared_experts.gate_proj.weight", 0.02, 0.066, 0.12);
    static const char *const scaled[] = {"self_attn.o_proj.weight",
                                         "mlp.experts.63.up_proj.weight",
                                         "mlp.experts.0.down_proj.weight",
                                         "mlp.shared_experts.up_proj.weight",
                                         "mlp.shared_experts.down_proj.weight",
                                         "mlp.gate.weight"};
    for (int layer = 1; layer < 6; layer += 2)
        for (size_t i = 0; i < sizeof scaled / sizeof *scaled; i++) {
            char name[128];
            double sd = 0.02 / sqrt(2.0 * (layer + 1));
            snprintf(name, sizeof name, "model.layers.%d.%s", layer, scaled[i]);
            check_normal(l.p, name, sd, 3.3 * sd, 6 * sd);
        }
    check_normal(l.p, "model.layers.0.mlp.up_proj.weight", 0.02 / sqrt(2.0), 0.066 / sqrt(2.0), 0.09);
    check_normal(l.p, "model.layers.0.mlp.down_proj.weight", 0.02 / sqrt(2.0), 0.066 / sqrt(2.0), 0.09);
    close_lab(&l);
}

/* The head is cut at 3 deviations of 1/16: drawn again, not clamped, and its deviation is that of the cut
 * distribution. */
static void check_cut(const char *words, const char *name) {
    enum { N = 200000 };
    struct lab l = open_lab("gqa-debug", words);
    const struct sy_tensor *t = find(l.p, name);
    struct stats s = measure(t, 3, N);
    double cut = 3.0 / 16, density = exp(-4.5) / sqrt(2 * 3.14159265358979), inside = erf(3 / sqrt(2.0));
    double sd = sqrt(1 - 2 * 3 * density / inside) / 16;
    assert_true(s.most <= cut && s.most > 0.999 * cut);
    assert_true(fabs(s.sd / sd - 1) < 5 / sqrt(2.0 * N) && fabs(s.mean) < 5 * sd / sqrt(N));
    float *x = malloc(N * sizeof *x);
    int at_the_cut = 0;
    assert_non_null(x);
    init(t, 3, 0, N, x);
    for (int i = 0; i < N; i++)
        at_the_cut += fabsf(x[i]) == (float)cut;
    assert_int_equal(at_the_cut, 0);
    free(x);
    close_lab(&l);
}

static void test_head_is_cut(void **state) {
    (void)state;
    check_cut("", "lm_head.weight");
    check_cut("model.tie_word_embeddings=true", "model.embed_tokens.weight");
}

static void test_constants(void **state) {
    (void)state;
    struct lab l = open_lab("micro_gqa", "model.attention_bias=true moe.gate_bias=true model.qk_norm=head");
    static const struct {
        const char *name;
        float value;
    } constant[] = {{"model.norm.weight", 1},
                    {"model.layers.1.input_layernorm.weight", 1},
                    {"model.layers.1.post_attention_layernorm.weight", 1},
                    {"model.layers.0.self_attn.q_norm.weight", 1},
                    {"model.layers.0.self_attn.k_norm.weight", 1},
                    {"model.layers.0.self_attn.q_proj.bias", 0},
                    {"model.layers.0.self_attn.v_proj.bias", 0},
                    {"model.layers.0.mlp.gate.bias", 0},
                    {"model.layers.1.mlp.gate.e_score_correction_bias", 0}};
    for (size_t i = 0; i < sizeof constant / sizeof *constant; i++) {
        const struct sy_tensor *t = find(l.p, constant[i].name);
        float x[64] = {NAN};
        if (!t)
            fail_msg("there is no %s", constant[i].name);
        init(t, 1, 0, t->n, x);
        for (int64_t k = 0; k < t->n; k++)
            assert_true(x[k] == constant[i].value && !signbit(x[k]));
    }
    close_lab(&l);
}

static void test_any_split(void **state) {
    (void)state;
    enum { N = 1000 };
    struct lab l = open_lab("micro_mla", "");
    static const char *const names[] = {"lm_head.weight", "model.embed_tokens.weight",
                                        "model.layers.1.mlp.experts.7.up_proj.weight"};
    for (size_t k = 0; k < 3; k++) {
        const struct sy_tensor *t = find(l.p, names[k]);
        assert_non_null(t);
        static const int64_t steps[] = {1, 3, 64, 999};
        float whole[N], part[N + 1];
        init(t, 42, 0, N, whole);
        for (size_t s = 0; s < 4; s++) {
            part[N] = -7.0f;
            for (int64_t last = N; last > 0; last -= steps[s]) { /* from behind */
                int64_t first = last > steps[s] ? last - steps[s] : 0;
                init(t, 42, first, last - first, part + first);
            }
            assert_memory_equal(whole, part, sizeof whole);
            assert_true(part[N] == -7.0f);
        }
        uint64_t key =
            sy_mix64(sy_mix64(42 + ((uint64_t)1 << 32)) + t->id); /* NUMERICS 2, purpose 1, step 0 */
        for (uint64_t i = 0; i < N; i++) {
            double x = 0;
            for (uint32_t retry = 0; retry == 0 || (t->cut > 0 && fabs(x) > t->cut); retry++)
                x = t->sd * sy_rng_normal(key, i, retry);
            assert_true(whole[i] == (float)x);
        }
    }
    close_lab(&l);
}

/* The values depend on seed and name; not on what else there is in the model. */
static void test_seed_and_name(void **state) {
    (void)state;
    enum { N = 256 };
    struct lab l = open_lab("micro_gqa", ""),
               other = open_lab("micro_gqa", "moe.num_experts=6 model.qk_norm=head model.n_layers=3");
    float a[N], b[N];
    const char *name = "model.layers.1.mlp.experts.3.gate_proj.weight",
               *next = "model.layers.1.mlp.experts.4.gate_proj.weight";
    int same = 0;
    init(find(l.p, name), 1, 0, N, a);
    init(find(other.p, name), 1, 0, N, b);
    assert_memory_equal(a, b, sizeof a);
    init(find(l.p, next), 1, 0, N, b);
    for (int i = 0; i < N; i++)
        same += a[i] == b[i];
    init(find(l.p, name), 2, 0, N, b);
    for (int i = 0; i < N; i++)
        same += a[i] == b[i];
    assert_true(same < 3);
    close_lab(&l);
    close_lab(&other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_bias_is_not_counted),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_published_names),
        cmocka_unit_test(test_deviations),
        cmocka_unit_test(test_head_is_cut),
        cmocka_unit_test(test_constants),
        cmocka_unit_test(test_any_split),
        cmocka_unit_test(test_seed_and_name),
        cmocka_unit_test(test_too_many_elements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
