/* The whole model against PyTorch in fp64 (tests/data/oracles, made by tools/make_oracles.py): class fp32,
 * both micro models, and both with tied embeddings and all of attention's biases.
 *
 * Loss and every gradient of step 0 within 2e-5 per tensor; ten AdamW steps: each loss within 2e-5, weights
 * within 1e-3. A tensor is compared by its norm, three fixed projections and samples: the error of the
 * samples and of the projections is taken relative to what a tensor of that norm would give.
 */
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

#include "../lib/oracle_values.h"
#include "../lib/session.h"

static void fill_weights(struct sy_session *s, int64_t gate_salt) {
    for (int i = 0; i < s->params->n_tensors; i++) {
        const struct sy_tensor *t = &s->params->tensor[i];
        int gate = strstr(t->name, ".mlp.gate.weight") != NULL,
            bias = strstr(t->name, "e_score_correction_bias") != NULL;
        uint64_t key = t->id + (gate ? (uint64_t)gate_salt * salt : 0);
        float *w = s->state.of[SY_STATE_W][i];
        for (int64_t j = 0; j < t->n; j++) {
            double u = unit(key, (uint64_t)j);
            if (bias)
                w[j] = (float)(u * 0x1p-6);
            else if (strstr(t->name, ".self_attn.") && strstr(t->name, ".bias"))
                w[j] = (float)(u * 0.25);
            else if (t->n_dims == 1)
                w[j] = 1.0f + 0.25f * (float)u;
            else
                w[j] = (float)(strcmp(t->name, "model.embed_tokens.weight") == 0 ? u : u * 0.25);
        }
    }
    assert_int_equal(sy_session_weights_changed(s), SY_OK);
}

static void fill_batch(struct sy_session *s, int64_t step) {
    enum { S = 32, B = 16 };
    for (int64_t k = 0; k < B; k++) {
        int64_t n = step * B + sy_walk_sequence(&s->walk, k), start = 0;
        for (int64_t i = 0; i < S; i++) {
            uint64_t g = (uint64_t)(n * S + i) * golden, next = g + golden;
            int32_t *at = s->feed.ids + k * S + i;
            if (i == 0 || sy_mix64(0xd0c + g) % 13 == 0)
                start = i;
            int next_starts = i + 1 == S || sy_mix64(0xd0c + next) % 13 == 0;
            *at = (int32_t)(sy_mix64(0x5eed + g) % 259);
            s->feed.doc_start[k * S + i] = (int32_t)start;
            s->feed.labels[k * S + i] = next_starts ? -100 : (int32_t)(sy_mix64(0x5eed + next) % 259);
        }
    }
}

static double real_at(const json_t *array, size_t i) { return json_number_value(json_array_get(array, i)); }

static const json_t *find(const json_t *list, const char *name) {
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_object_get(json_array_get(list, i), "name")), name) == 0)
            return json_array_get(list, i);
    return NULL;
}

/* Relative error of x [n] by samples and projections. */
static double tensor_error(const char *name, const float *x, int64_t n, const json_t *want) {
    double norm = json_number_value(json_object_get(want, "norm")), sum = 0, error = 0;
    const json_t *samples = json_object_get(want, "samples"),
                 *projections = json_object_get(want, "projections");
    uint64_t id = sy_fnv1a64(name);
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    error = fmax(error, fabs(sqrt(sum) - norm) / norm);
    for (size_t p = 1; p <= 3; p++) { /* a projection of a random error of size e has size e / sqrt(3) */
        double dot = 0;
        for (int64_t i = 0; i < n; i++)
            dot += x[i] * unit(id + p * salt, (uint64_t)i);
        error = fmax(error, fabs(dot - real_at(projections, p - 1)) / norm);
    }
    size_t count = json_array_size(samples);
    double difference = 0;
    for (size_t j = 0; j < count; j++) {
        uint64_t i = (int64_t)count >= n ? j : sy_mix64(id + 4 * salt + j * golden) % (uint64_t)n;
        difference += pow(x[i] - real_at(samples, j), 2);
    }
    return fmax(error, sqrt(difference * (double)n / (double)count) / norm);
}

static double worst_error(struct sy_session *s, const json_t *list, int weights) {
    double worst = 0;
    const char *name = "";
    int tied = s->config->model.tie_word_embeddings; /* its file has no feed-forward */
    for (int i = 0; i < s->params->n_tensors; i++) {
        const struct sy_tensor *t = &s->params->tensor[i];
        const json_t *want = find(list, t->name);
        if (s->params->param[t->param].kind == SY_PARAM_BUFFER || (tied && strstr(t->name, ".mlp.")))
            continue;
        assert_non_null(want);
        const float *x = weights ? s->state.of[SY_STATE_W][i] : sy_reduce_own(s->reduce, i);
        double e = tensor_error(t->name, x, t->n, want);
        if (!(e <= worst)) {
            worst = e;
            name = t->name;
        }
    }
    print_message("  worst %s: %.2e in %s\n", weights ? "weight after 10 steps" : "gradient", worst, name);
    return worst;
}

static void check_bias(struct sy_session *s, const json_t *want, int64_t step) {
    for (size_t i = 0; i < json_array_size(want); i++) {
        const json_t *layer = json_array_get(want, i),
                     *bias = json_array_get(json_object_get(layer, "bias"), (size_t)step);
        int param = s->params->layer[json_integer_value(json_object_get(layer, "layer"))].expert_bias;
        const float *b = s->state.master[param];
        for (size_t e = 0; e < json_array_size(bias); e++)
            assert_true(b[e] == (float)real_at(bias, e));
    }
}

static void check_model(const char *flavor, const char *more, const char *path) {
    json_error_t error;
    json_t *oracle = json_load_file(path, 0, &error);
    assert_non_null(oracle);
    char eps[32];
    snprintf(eps, sizeof eps, "%.17g",
             json_real_value(json_object_get(json_object_get(oracle, "model"), "norm_eps")));
    const char *keys[][2] = {{"model.flavor", flavor},
                             {"model.tie_word_embeddings", more},
                             {"model.attention_bias", more},
                             {"model.attention_output_bias", more},
                             {"model.rope_factor", "1"},
                             {"model.norm_eps", eps},
                             {"moe.route_scale", "1"},
                             {"moe.load_balance_coeff", "1e-3"},
                             {"training.global_batch_size", "16"},
                             {"training.seq_len", "32"},
                             {"training.steps", "10"},
                             {"lr_scheduler.warmup_steps", "2"},
                             {"numerics.class", "fp32"},
                             {"numerics.lanes", "8"},
                             {"run.threads", "2"}};
    struct sy_session *s = session_of(config_with(keys, sizeof keys / sizeof *keys), SY_SESSION_TRAIN);
    fill_weights(s, json_integer_value(json_object_get(oracle, "gate_salt")));
    for (int64_t step = 0; step < 10; step++) {
        struct sy_step_result r;
        fill_batch(s, step);
        if (sy_session_step_filled(s, step, &r) != SY_OK)
            fail_msg("%s", sy_error_message());
        double loss = real_at(json_object_get(oracle, "loss"), (size_t)step);
        print_message("%s step %d: loss %.9f, oracle %.9f; norm %.6f, oracle %.6f\n", flavor, (int)step,
                      r.loss, loss, r.norm, real_at(json_object_get(oracle, "grad_norm"), (size_t)step));
        assert_int_equal(r.n_valid, json_integer_value(json_array_get(json_object_get(oracle, "valid_labels"),
                                                                      (size_t)step)));
        assert_true(fabs(r.loss - loss) / loss <= 2e-5);
        if (step == 0)
            assert_true(worst_error(s, json_object_get(oracle, "gradients_step_0"), 0) <= 2e-5);
        check_bias(s, json_object_get(oracle, "expert_bias_after_step"), step);
    }
    assert_true(worst_error(s, json_object_get(oracle, "weights_step_10"), 1) <= 1e-3);
    close_session(s);
    json_decref(oracle);
}

static void micro_mla(void **state) {
    (void)state;
    check_model("micro_mla", "false", "tests/data/oracles/micro_mla.json");
    check_model("micro_mla", "true", "tests/data/oracles/micro_mla_tied.json");
}

static void micro_gqa(void **state) {
    (void)state;
    check_model("micro_gqa", "false", "tests/data/oracles/micro_gqa.json");
    check_model("micro_gqa", "true", "tests/data/oracles/micro_gqa_tied.json");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(micro_mla), cmocka_unit_test(micro_gqa)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
