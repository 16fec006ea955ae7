/* model.tie_word_embeddings: the gradient of the one weight is that of the embedding and that of the head,
 * added once, as a model with two equal weights has them; loss and all other gradients are that model's; the
 * norm has the weight once.
 */
#include <math.h>
#include <string.h>

#include "../lib/session.h"

static struct sy_session *open_session(const char *flavor, const char *tied, const char *(*keys)[2]) {
    const char *all[][2] = {{"model.tie_word_embeddings", tied},
                            {keys[0][0], keys[0][1]},
                            {keys[1][0], keys[1][1]},
                            {keys[2][0], keys[2][1]}};
    return prose_session(flavor, all, sizeof all / sizeof *all);
}

static int find(const struct sy_session *s, const char *name) {
    for (int i = 0; i < s->params->n_tensors; i++)
        if (strcmp(s->params->tensor[i].name, name) == 0)
            return i;
    return -1;
}

static struct sy_step_result step(struct sy_session *s) {
    struct sy_step_result r;
    expect_ok(sy_session_step(s, 0, &r));
    assert_true(r.applied);
    return r;
}

/* One weight at both places of a model that has two. */
static void share(struct sy_session *two, const struct sy_session *one, int64_t n) {
    const float *w = one->state.of[SY_STATE_W][find(one, "model.embed_tokens.weight")];
    memcpy(two->state.of[SY_STATE_W][find(two, "model.embed_tokens.weight")], w, (size_t)n * sizeof *w);
    memcpy(two->state.of[SY_STATE_W][find(two, "lm_head.weight")], w, (size_t)n * sizeof *w);
    expect_ok(sy_session_weights_changed(two));
}

static double squares(const float *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sum;
}

/* Of the tied model: both sums added; of every other tensor the same bits. Returns the sum of squares. */
static double compare(const struct sy_session *one, const struct sy_session *two) {
    const float *embedding = sy_reduce_own(two->reduce, find(two, "model.embed_tokens.weight")),
                *head = sy_reduce_own(two->reduce, find(two, "lm_head.weight"));
    double sum = 0;
    for (int i = 0; i < one->params->n_tensors; i++) {
        const struct sy_tensor *t = &one->params->tensor[i];
        if (!sy_state_is_trained(one->params, i))
            continue;
        const float *g = sy_reduce_own(one->reduce, i);
        sum += squares(g, t->n);
        if (t->param != one->params->embedding) {
            assert_memory_equal(g, sy_reduce_own(two->reduce, find(two, t->name)), (size_t)t->n * sizeof *g);
            continue;
        }
        int64_t of_both = 0;
        for (int64_t k = 0; k < t->n; k++) {
            float both = embedding[k] + head[k];
            assert_memory_equal(&g[k], &both, sizeof both);
            of_both += embedding[k] != 0 && head[k] != 0;
        }
        assert_true(of_both > t->n / 10);
    }
    return sum;
}

static void both_sites(void **state) {
    (void)state;
    const char *recipes[][3][2] = {
        {{"numerics.lanes", "8"}, {"numerics.cell", "1"}, {"training.local_batch_size", "16"}},
        {{"numerics.lanes", "4"}, {"numerics.cell", "2"}, {"training.local_batch_size", "3"}},
        {{"numerics.lanes", "2"}, {"numerics.cell", "1"}, {"numerics.class", "fp32"}}};
    for (int i = 0; i < 3; i++) {
        const char *flavor = i == 1 ? "micro_mla" : "micro_gqa";
        struct sy_session *one = open_session(flavor, "true", recipes[i]),
                          *two = open_session(flavor, "false", recipes[i]);
        const struct sy_param *p = &one->params->param[one->params->embedding];
        int64_t n = p->rows * p->cols;
        assert_int_equal(find(one, "lm_head.weight"), -1);
        assert_int_equal(two->params->n_parameters - one->params->n_parameters, n);
        assert_true(one->flops_per_token == two->flops_per_token);
        share(two, one, n);
        struct sy_step_result a = step(one), b = step(two);
        assert_true(a.loss == b.loss);
        double norm = sqrt(compare(one, two));
        assert_true(fabs(a.norm - norm) < 1e-10 * norm);
        assert_true(a.norm != b.norm);
        close_session(one);
        close_session(two);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(both_sites)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
