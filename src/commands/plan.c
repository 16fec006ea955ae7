/* switchyard plan: what a run on one rank will hold and compute, from the code that allocates it, without the memory. */
#include "ckpt/hf_config.h"
#include "train/classes.h"
#include "train/io.h"
#include "train/session.h"

static void amount(const struct sy_io *io, const char *what, double bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    int u = 0;
    double v = bytes;
    for (; v >= 1024 && u < 5; u++)
        v /= 1024;
    sy_io_printf(io, "  %-28s %10.2f %s\n", what, v, units[u]);
}

static void tags(const struct sy_io *io, const struct sy_arena *a) {
    for (int i = 0; i < a->n_tags; i++)
        amount(io, a->tags[i].name, (double)a->tags[i].bytes);
}

static void thousands(int64_t n, char out[32]) {
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%lld", (long long)n), at = 0;
    for (int i = 0; i < len && at < 30; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = 0;
}

static void print_counts(const struct sy_io *io, const struct sy_config *c, const struct sy_params *p) {
    char total[32], active[32];
    thousands(p->n_parameters, total);
    thousands(p->n_active, active);
    double flops = sy_flops_per_token(c, p);
    int64_t tokens = c->training.global_batch_size * c->training.seq_len;
    sy_io_printf(io, "parameters   %s, %s active for a token\n", total, active);
    const char *class = sy_hf_class_name(c);
    sy_io_printf(io, "Hugging Face class: %s\n", class ? class : "none; read by switchyard alone");
    sy_io_printf(io, "FLOPs        %.3f GFLOP a token, %.3f TFLOP a step of %lld tokens\n", flops * 1e-9,
                 flops * (double)tokens * 1e-12, (long long)tokens);
    sy_io_printf(io, "recipe       class %s, lanes %lld, expert_lanes %lld, cell %lld, seq_len %lld, rounds %lld\n",
                 sy_config_word(c, "numerics.class"), (long long)c->numerics.lanes, (long long)c->numerics.expert_lanes,
                 (long long)c->numerics.cell, (long long)c->training.seq_len,
                 (long long)(c->training.global_batch_size / (c->numerics.lanes * c->numerics.cell)));
}

static sy_status print_memory(const struct sy_io *io, const struct sy_config *c, const struct sy_params *p) {
    struct sy_arena all = sy_arena_measure();
    SY_TRY(sy_session_measure(c, p, &all));
    sy_io_printf(io, "memory of one rank, %lld sequences at a time, activation_checkpoint.mode %s\n",
                 (long long)sy_session_batch(c), sy_config_word(c, "activation_checkpoint.mode"));
    tags(io, &all);
    amount(io, "in all", (double)(all.used - all.guards));
    return SY_OK;
}

sy_status sy_plan(struct sy_config *config, const struct sy_io *io) {
    struct sy_params *p;
    SY_TRY(sy_config_finish(config, false));
    SY_TRY(sy_params_create(&config->model, &config->moe, &p));
    print_counts(io, config, p);
    sy_status status = print_memory(io, config, p);
    sy_params_destroy(p);
    return status;
}
