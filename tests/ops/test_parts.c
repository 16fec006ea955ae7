/* Dimensions made of parts (NUMERICS 1): which parts the layers give to a CHAIN, and which dimensions are
 * one, with widths that no KB divides, on every tier and class. A layer's backward runs as the model runs it;
 * each product is then computed again on the scalar CHAIN from the operands that lie in the layer's buffers.
 * Controls: other parts give other bits. A sum that differs in its last place is the same in bf16, so the
 * weights that backward reads are scaled until partial sums come close to 2^128: whether one of them
 * overflows depends on the order.
 *
 *     mla: nope 5 | rope 2, value 4, 3 heads: Wq and Wqb have 21 outputs, Wkvb 27
 *          kv_lora 5: Wkva has 7; q_lora 9
 *     gqa: head 6, 3 heads on 1 (a head is even for rope): q 18 | k 6 | v 6, parts that show in sm90
 *     SwiGLU: width 5 | 5
 *     scores: 5 | 3, of one query and one key
 */
#include "chain_model.h"

#include "base/fmath.h"
#include "model/attn.h"
#include "moe/mlp.h"

enum { TOKENS = 96, DIM = 11, F = 5, WIDEST = 64 };

static const struct sy_config_model mla = {.dim = DIM,
                                           .n_heads = 3,
                                           .n_kv_heads = 3,
                                           .q_lora_rank = 9,
                                           .kv_lora_rank = 5,
                                           .qk_nope_head_dim = 5,
                                           .qk_rope_head_dim = 2,
                                           .v_head_dim = 4,
                                           .norm_eps = 1e-5};
static const struct sy_config_model gqa = {
    .dim = DIM, .n_heads = 3, .n_kv_heads = 1, .head_dim = 6, .norm_eps = 1e-5};

struct layer { /* one attention block and one SwiGLU, everything in one arena */
    struct sy_exec x;
    struct sy_config_model model;
    struct sy_layer_ctx ctx;
    const struct sy_attn_kind *kind;
    struct sy_arena arena;
    struct sy_attn_act act;
    struct sy_attn_grad grad;
    struct sy_layer_weights w;
    struct sy_mat n, dy, dn;
    float *gain;
    int32_t position[TOKENS], doc_start[TOKENS];
    float cos[TOKENS * 3], sin[TOKENS * 3];
    struct sy_mat gu, dx;
    struct sy_mlp_grad ffn_grad;
    float *a;
};

static void fill(enum sy_numeric_class cls, struct sy_mat m, int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows * cols && m.data; i++)
        put(m.dtype, m.data, i, model_bf(cls, random_value(NORMAL, cls == SY_NUMERIC_FP32)));
}

static struct sy_weight weight(struct layer *l, struct sy_arena *a, int64_t rows, int64_t cols) {
    struct sy_mat m = sy_take_mat(a, "weights", rows, cols, l->x.dtype);
    fill(l->x.cls, m, rows, cols);
    struct sy_mat again =
        sy_take_mat(a, "weights", rows, cols, l->x.dtype); /* forward keeps ordinary values */
    struct sy_weight w = sy_weight_of(&l->x, m, rows, cols, 0, NULL);
    w.dx.m = again;
    fill(l->x.cls, again, rows, cols);
    return w;
}

static void carve(void *self, struct sy_arena *a) {
    struct layer *l = self;
    const struct sy_config_model *m = &l->model;
    struct sy_attn_widths heads = l->kind->widths(m);
    int64_t width = heads.heads * heads.o, qk = m->qk_nope_head_dim + m->qk_rope_head_dim;
    l->kind->take(&l->ctx, a, &l->act);
    l->kind->take_grad(&l->ctx, a, &l->grad);
    l->act.o = sy_take_mat(a, "o", TOKENS, width, l->x.dtype);
    l->act.lse = sy_take_f32(a, "lse", TOKENS * m->n_heads);
    l->n = sy_take_mat(a, "n", TOKENS, DIM, l->x.dtype);
    l->dy = sy_take_mat(a, "dy", TOKENS, DIM, l->x.dtype);
    l->dn = sy_take_mat(a, "dn", TOKENS, DIM, l->x.dtype);
    l->gain = sy_take_f32(a, "gain", WIDEST);
    l->w.wo = weight(l, a, DIM, width);
    if (l->kind == &sy_attn_mla) {
        if (m->q_lora_rank > 0) {
            l->w.wqa = weight(l, a, m->q_lora_rank, DIM);
            l->w.wqb = weight(l, a, m->n_heads * qk, m->q_lora_rank);
        } else {
            l->w.wq = weight(l, a, m->n_heads * qk, DIM);
        }
        l->w.wkva = weight(l, a, m->kv_lora_rank + m->qk_rope_head_dim, DIM);
        l->w.wkvb = weight(l, a, m->n_heads * (m->qk_nope_head_dim + m->v_head_dim), m->kv_lora_rank);
    } else {
        l->w.wq = weight(l, a, m->n_heads * m->head_dim, DIM);
        l->w.wk = weight(l, a, m->n_kv_heads * m->head_dim, DIM);
        l->w.wv = weight(l, a, m->n_kv_heads * m->head_dim, DIM);
    }
    struct sy_mat w13 = sy_take_mat(a, "w13", 2 * F, DIM, l->x.dtype),
                  w2 = sy_take_mat(a, "w2", DIM, F, l->x.dtype);
    fill(l->x.cls, w13, 2 * F, DIM);
    fill(l->x.cls, w2, DIM, F);
    l->w.ffn = sy_mlp_weights_of(&l->x, &(struct sy_mlp_stored){1, DIM, F, w13, w2}, 0, NULL);
    sy_mlp_take_grad(a, l->x.dtype, TOKENS, F, &l->ffn_grad);
    l->gu = sy_take_mat(a, "gu", TOKENS, 2 * F, l->x.dtype);
    l->dx = sy_take_mat(a, "dx", TOKENS, DIM, l->x.dtype);
    l->a = sy_take_f32(a, "a", TOKENS * F);
}

static void open_layer(struct layer *l, const struct sy_ops *ops, enum sy_numeric_class cls,
                       const struct sy_attn_kind *kind, const struct sy_config_model *model) {
    *l = (struct layer){.model = *model, .kind = kind};
    l->x = exec_open(ops, cls, 1, 32, TOKENS);
    l->ctx = (struct sy_layer_ctx){.x = &l->x,
                                   .model = &l->model,
                                   .rope_cos = l->cos,
                                   .rope_sin = l->sin,
                                   .attention_scale = 0x1p-20, /* scores near 0: no p is 0 */
                                   .max_tokens = TOKENS};
    random_state = 77;
    assert_int_equal(sy_arena_build(sy_device_cpu(), "a test", carve, l, &l->arena), SY_OK);
    l->w.qa_norm = l->w.kva_norm = l->gain;
    for (int i = 0; i < WIDEST; i++)
        l->gain[i] = 1.0f + 0.01f * (float)i;
    for (int t = 0; t < TOKENS; t++)
        l->position[t] = t;
    for (int i = 0; i < TOKENS * 3; i++) {
        l->cos[i] = 0.8f;
        l->sin[i] = 0.6f;
    }
    fill(cls, l->n, TOKENS, DIM);
    fill(cls, l->dy, TOKENS, DIM);
    for (int i = 0; i < TOKENS * DIM; i++)
        put(l->x.dtype, l->dy.data, i, 0x1p60f * get(l->x.dtype, l->dy.data, i));
    fill(cls, l->gu, TOKENS, 2 * F);
    for (int i = 0; i < TOKENS * 2 * F; i++) /* where SIG is neither 0 nor 1 */
        put(l->x.dtype, l->gu.data, i, 0x1p-6f * get(l->x.dtype, l->gu.data, i));
}

static void close_layer(struct layer *l) {
    sy_arena_fini(&l->arena);
    exec_close(&l->x);
}

/* Forward and backward of the block; the residual stream is n, it does not matter. */
static void run_layer(struct layer *l) {
    struct sy_batch batch = {
        .at = {0, 1, TOKENS}, .tokens = TOKENS, .doc_start = l->doc_start, .position = l->position};
    struct sy_attn_call call = {.batch = &batch, .w = &l->w};
    l->kind->fwd(&l->ctx, &call, l->n, &l->act, l->n, l->dn);
    l->kind->bwd_inputs(&l->ctx, &call, &(struct sy_attn_back){l->n, l->dy, &l->act, &l->grad}, l->dn);
    sy_mlp_bwd(&l->x, &l->w.ffn,
               &(struct sy_mlp_bwd){.rows = sy_rows_dense(1, TOKENS),
                                    .dy = l->dy,
                                    .gu = l->gu,
                                    .scratch = sy_mat_of(l->a, SY_F32, F),
                                    .grad = &l->ffn_grad,
                                    .dx = l->dx});
}

struct map { /* y = W x: dy [T, k] and W [k, n] as the input gradient reads them */
    struct sy_mat dy;
    const struct sy_operand *w;
    int64_t k;
};

static float at(struct sy_mat m, int64_t i, int64_t j) { return get(m.dtype, m.data, i * m.row + j * m.col); }

/* Elements of dx [T, n] that are not BF of one CHAIN over the maps' outputs, laid side by side and cut
 * into parts. */
static int differences(enum sy_numeric_class cls, int n_maps, const struct map *map, const int64_t *parts,
                       struct sy_mat dx, int64_t n) {
    int bad = 0;
    for (int64_t t = 0; t < TOKENS; t++)
        for (int64_t i = 0; i < n; i++) {
            float a[WIDEST], b[WIDEST], acc = 0.0f;
            int64_t k = 0, from = 0;
            for (int m = 0; m < n_maps; m++)
                for (int64_t j = 0; j < map[m].k; j++, k++) {
                    a[k] = at(map[m].dy, t, j);
                    b[k] = at(map[m].w->m, j, i);
                }
            for (const int64_t *p = parts; *p; from += *p++)
                acc = model_rows(cls, *p, a + from, 1, b + from, 1, acc, RIGHT);
            assert_int_equal(from, k);
            bad += !same(model_bf(cls, no_minus_zero(acc)), at(dx, t, i));
        }
    return bad;
}

#define PARTS(...) ((const int64_t[]){__VA_ARGS__, 0})
enum { MAPS = 3, WRONG = 2 };

struct input_gradient { /* dx [T, n] of a layer, its maps, its parts, and parts that it must not have */
    const char *what;
    int n_maps;
    struct map map[MAPS];
    const int64_t *parts, *wrong[WRONG];
    int even; /* every cut is even: x86 cannot tell */
    struct sy_mat dx;
    int64_t n;
};

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Row j of each W, its magnitudes brought to 1..2, is scaled so that the median of dy_j W_j is about
 * 2^126; then the layer runs again. */
static void amplify(struct layer *l, int n_maps, const struct map *map, int64_t n) {
    for (int m = 0; m < n_maps; m++)
        for (int64_t j = 0; j < map[m].k; j++) {
            struct sy_mat w = map[m].w->m;
            float size[TOKENS];
            for (int64_t t = 0; t < TOKENS; t++)
                size[t] = fabsf(at(map[m].dy, t, j));
            qsort(size, TOKENS, sizeof *size, ascending);
            assert_true(size[TOKENS / 2] >= 1.0f);
            for (int64_t i = 0; i < n; i++)
                put(w.dtype, w.data, j * w.row + i * w.col,
                    ldexpf(at(w, j, i), 126 - ilogbf(size[TOKENS / 2]) - ilogbf(at(w, j, i))));
        }
    run_layer(l);
}

/* Which classes tell wrong parts: fp32 has KB 1 and tells none; x86 tells odd cuts, sm90 any but multiples
 * of 16, amx of 32. */
static void check(struct layer *l, const struct input_gradient *p) {
    enum sy_numeric_class cls = l->x.cls;
    int tells = cls == SY_NUMERIC_SM90 || cls == SY_NUMERIC_AMX || (cls == SY_NUMERIC_X86 && !p->even);
    amplify(l, p->n_maps, p->map, p->n);
    int bad = differences(cls, p->n_maps, p->map, p->parts, p->dx, p->n);
    if (bad)
        fail_msg("%s: %d elements are not the CHAIN over its parts: tier %s, class %s", p->what, bad,
                 l->x.ops->tier, sy_class_name(cls));
    for (int i = 0; i < WRONG && p->wrong[i]; i++)
        if ((differences(cls, p->n_maps, p->map, p->wrong[i], p->dx, p->n) > 0) != tells)
            fail_msg("%s: wrong parts %d are%s seen: tier %s, class %s", p->what, i, tells ? " not" : "",
                     l->x.ops->tier, sy_class_name(cls));
}

/* Each product on a layer of its own: what is near 2^128 spoils what comes after it. */
static void each(int n, struct input_gradient (*of)(struct layer *l, int i), const struct sy_attn_kind *kind,
                 const struct sy_config_model *model) {
    for (int tier = 0; tier < sy_ops_n_tiers(); tier++)
        for (int i = 0; i < n * SY_N_CLASSES; i++) {
            const struct sy_ops *ops = tier_or_skip(tier);
            struct layer l;
            if (!ops)
                continue;
            open_layer(&l, ops, (enum sy_numeric_class)(i / n), kind, model);
            run_layer(&l);
            struct input_gradient p = of(&l, i % n);
            check(&l, &p);
            close_layer(&l);
        }
}

static struct input_gradient mla_product(struct layer *l, int i) {
    static const int64_t inputs[] = {9, 7, 0}, inputs_one[] = {16, 0}, inputs_rope[] = {9, 5, 2, 0};
    static const int64_t q[] = {21, 0}, q_heads[] = {7, 7, 7, 0}, q_rope[] = {5, 2, 5, 2, 5, 2, 0};
    static const int64_t kv[] = {27, 0}, kv_heads[] = {9, 9, 9, 0}, kv_v[] = {5, 4, 5, 4, 5, 4, 0};
    static const int64_t o[] = {11, 0}, o_cut[] = {5, 6, 0};
    struct sy_attn_grad *g = &l->grad;
    const struct input_gradient p[] = {
        {"Wqa, Wkva",
         2,
         {{g->dqa, &l->w.wqa.dx, 9}, {g->dkva, &l->w.wkva.dx, 7}},
         inputs,
         {inputs_one, inputs_rope},
         0,
         l->dn,
         DIM},
        {"Wqb", 1, {{g->dq, &l->w.wqb.dx, 21}}, q, {q_heads, q_rope}, 0, g->dqan, 9},
        {"Wkvb", 1, {{g->dkv, &l->w.wkvb.dx, 27}}, kv, {kv_heads, kv_v}, 0, g->dkvn, 5},
        {"Wo", 1, {{l->dy, &l->w.wo.dx, DIM}}, o, {o_cut, NULL}, 0, g->d_o, 12},
    };
    return p[i];
}
static void test_mla(void **state) {
    (void)state;
    each(4, mla_product, &sy_attn_mla, &mla);
}

static struct input_gradient short_mla_product(struct layer *l, int i) {
    static const int64_t parts[] = {21, 7, 0}, one[] = {28, 0}, heads[] = {5, 2, 5, 2, 5, 2, 7, 0};
    (void)i;
    return (struct input_gradient){"Wq, Wkva",
                                   2,
                                   {{l->grad.dq, &l->w.wq.dx, 21}, {l->grad.dkva, &l->w.wkva.dx, 7}},
                                   parts,
                                   {one, heads},
                                   0,
                                   l->dn,
                                   DIM};
}
static void test_mla_without_q_lora(void **state) {
    (void)state;
    struct sy_config_model model = mla;
    model.q_lora_rank = 0;
    each(1, short_mla_product, &sy_attn_mla, &model);
}

static struct input_gradient gqa_product(struct layer *l, int i) {
    static const int64_t parts[] = {18, 6, 6, 0}, one[] = {30, 0}, heads[] = {6, 6, 6, 6, 6, 0};
    struct sy_attn_grad *g = &l->grad;
    (void)i;
    return (struct input_gradient){
        "Wq, Wk, Wv",
        3,
        {{g->dq, &l->w.wq.dx, 18}, {g->dk, &l->w.wk.dx, 6}, {g->dv, &l->w.wv.dx, 6}},
        parts,
        {one, heads},
        1,
        l->dn,
        DIM};
}
static void test_gqa(void **state) {
    (void)state;
    each(1, gqa_product, &sy_attn_gqa, &gqa);
}

static struct input_gradient swiglu_product(struct layer *l, int i) {
    static const int64_t parts[] = {F, F, 0}, one[] = {2 * F, 0};
    (void)i;
    return (struct input_gradient){
        "W1, W3",
        2,
        {{l->ffn_grad.dgu, &l->w.ffn.w1, F}, {sy_mat_cols(l->ffn_grad.dgu, F), &l->w.ffn.w3, F}},
        parts,
        {one, NULL},
        0,
        l->dx,
        DIM};
}
static void test_swiglu(void **state) {
    (void)state;
    each(1, swiglu_product, &sy_attn_gqa, &gqa);
}

/* lse of one query that sees one key: M + LOG2(EXP2(fma(s, c, -M))), M = rint(c s). */
static float lse_of(enum sy_numeric_class cls, const float *q, const float *k, const int64_t *parts,
                    float c) {
    float s = 0.0f;
    for (; *parts; q += *parts, k += *parts, parts++)
        s = model_rows(cls, *parts, q, 1, k, 1, s, RIGHT);
    float m = rintf(c * s);
    return m + sy_log2_f32(sy_exp2_f32(fmaf(no_minus_zero(s), c, -m)));
}

static void test_scores(void **state) {
    (void)state;
    enum { ROWS = 200 };
    for (int tier = 0; tier < sy_ops_n_tiers(); tier++)
        for (int cls = 0; cls < SY_N_CLASSES; cls++) {
            const struct sy_ops *ops = tier_or_skip(tier);
            if (!ops)
                continue;
            struct sy_exec x = exec_open(ops, (enum sy_numeric_class)cls, 1, 32, 1);
            float q[8], k[8], v[1] = {1}, lse;
            uint16_t store[2][8] = {0}, value[1] = {0x3f80}, o[1];
            int one_part = 0;
            random_state = 5;
            for (int r = 0; r < ROWS; r++) {
                for (int i = 0; i < 8; i++) {
                    q[i] = model_bf(x.cls, random_value(NORMAL, x.dtype == SY_F32));
                    k[i] = model_bf(x.cls, random_value(NORMAL, x.dtype == SY_F32));
                    store[0][i] = (uint16_t)(bits_of(q[i]) >> 16);
                    store[1][i] = (uint16_t)(bits_of(k[i]) >> 16);
                }
                int fp32 = x.dtype == SY_F32;
                float of[1];
                struct sy_attention op = {
                    .sequences = 1, .seq_len = 1, .heads = 1, .kv_heads = 1, .dv = 1, .n_slices = 2};
                for (int p = 0; p < 2; p++) {
                    op.slice[p].d = p ? 3 : 5;
                    op.slice[p].q =
                        (struct sy_heads){fp32 ? (void *)(q + 5 * p) : store[0] + 5 * p, x.dtype, 8, 8};
                    op.slice[p].k =
                        (struct sy_heads){fp32 ? (void *)(k + 5 * p) : store[1] + 5 * p, x.dtype, 8, 8};
                }
                op.v = (struct sy_heads){fp32 ? (void *)v : value, x.dtype, 1, 1};
                op.o = (struct sy_heads){fp32 ? (void *)of : o, x.dtype, 1, 1};
                op.lse = &lse;
                op.scale = 1.0f;
                op.c = 0x1.715476p+0f;
                ops->attention_fwd(&x, &op);
                assert_true(same(lse, lse_of(x.cls, q, k, PARTS(5, 3), op.c)));
                one_part += !same(lse, lse_of(x.cls, q, k, PARTS(8), op.c));
            }
            assert_true((one_part > 0) == (x.cls != SY_NUMERIC_FP32));
            exec_close(&x);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mla),    cmocka_unit_test(test_mla_without_q_lora),
        cmocka_unit_test(test_gqa),    cmocka_unit_test(test_swiglu),
        cmocka_unit_test(test_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
