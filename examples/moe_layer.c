/* One MoE layer in a program of one's own: weights, forward, backward, a digest of what came out.
 *
 *     moe_layer                the layer alone
 *     moe_layer --ranks 4      its experts spread over 4 threads, which share the sequences: the same digest
 *
 * Build: make example, or   cc moe_layer.c $(pkg-config --cflags --libs switchyard)   in C or in C++
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SY_EXPERIMENTAL 1
#include <switchyard.h>

enum { DIM = 32, WIDTH = 48, EXPERTS = 8, SEQUENCES = 8, SEQ_LEN = 16, ROW = SEQ_LEN * DIM };

static float x[SEQUENCES * ROW], dy[SEQUENCES * ROW], y[SEQUENCES * ROW], dx[SEQUENCES * ROW];
static float gate[EXPERTS * DIM], w1[EXPERTS * WIDTH * DIM], w3[EXPERTS * WIDTH * DIM],
    w2[EXPERTS * DIM * WIDTH];
static float d_w1[EXPERTS * WIDTH * DIM], d_w3[EXPERTS * WIDTH * DIM], d_w2[EXPERTS * DIM * WIDTH];

static void fill(float *to, size_t n, uint64_t seed, float scale) {
    for (size_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        to[i] = ((float)(seed >> 40) * 0x1p-23f - 1.0f) * scale;
    }
}

/* Over the bits of n floats. */
static uint64_t digest(uint64_t h, const float *v, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &v[i], sizeof bits);
        h = (h ^ bits) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    return h;
}

/* One step with the sequences first .. first + n - 1. */
static sy_status step(struct sy_moe *moe, int64_t first, int64_t n) {
    int64_t e, n_experts;
    sy_moe_experts(moe, &e, &n_experts); /* the weights of these are this rank's */
    int64_t at = e * WIDTH * DIM;
    struct sy_moe_tensors w, g;
    struct sy_moe_batch batch;
    memset(&w, 0, sizeof w); /* what is not set is not there */
    memset(&g, 0, sizeof g);
    memset(&batch, 0, sizeof batch);
    w.gate = gate, w.w1 = w1 + at, w.w3 = w3 + at, w.w2 = w2 + at;
    g.w1 = d_w1 + at, g.w3 = d_w3 + at, g.w2 = d_w2 + at;
    batch.n_sequences = n;
    sy_status status = sy_moe_set_weights(moe, &w, 1);
    if (status == SY_OK)
        status = sy_moe_forward(moe, 0, &batch, x + first * ROW, y + first * ROW);
    if (status == SY_OK)
        status = sy_moe_backward(moe, 0, dy + first * ROW, dx + first * ROW, &g);
    return status == SY_OK ? sy_moe_update_bias(moe) : status;
}

/* One rank, or with comm NULL all there is. */
static sy_status run(const struct sy_comm *comm, void *config) {
    int rank = comm ? sy_comm_rank(comm) : 0, ranks = comm ? sy_comm_size(comm) : 1;
    int64_t first = SEQUENCES * rank / ranks, end = SEQUENCES * (rank + 1) / ranks;
    struct sy_moe_options options;
    struct sy_moe *moe;
    memset(&options, 0, sizeof options);
    options.dim = DIM;
    options.inter_dim = WIDTH;
    options.seq_len = SEQ_LEN;
    options.max_sequences = SEQUENCES;
    options.micro_batches = 1;
    sy_status status = sy_moe_create((const struct sy_config *)config, &options, comm, &moe);
    if (status != SY_OK)
        return status;
    status = step(moe, first, end - first);
    sy_moe_destroy(moe);
    return status;
}

int main(int argc, char **argv) {
    int ranks = argc == 3 && strcmp(argv[1], "--ranks") == 0 ? atoi(argv[2]) : 0;
    if (argc != 1 && ranks < 1) {
        fprintf(stderr, "usage: moe_layer [--ranks N]\n");
        return 2;
    }
    struct sy_config *config = NULL;
    sy_status status = sy_config_create(&config);
    if (status == SY_OK)
        status = sy_option_set(config, "moe.num_experts", "8");
    if (status == SY_OK)
        status = sy_option_set(config, "moe.top_k", "2");
    fill(x, sizeof x / sizeof *x, 1, 1.0f);
    fill(dy, sizeof dy / sizeof *dy, 2, 1.0f);
    fill(gate, sizeof gate / sizeof *gate, 3, 0.3f);
    fill(w1, sizeof w1 / sizeof *w1, 4, 0.2f);
    fill(w3, sizeof w3 / sizeof *w3, 5, 0.2f);
    fill(w2, sizeof w2 / sizeof *w2, 6, 0.2f);
    if (status == SY_OK)
        status = ranks > 0 ? sy_comm_threads_run(ranks, run, config) : run(NULL, config);
    if (status != SY_OK)
        fprintf(stderr, "moe_layer: %s\n", sy_error_message());
    uint64_t grads = digest(digest(digest(0, d_w1, EXPERTS * WIDTH * DIM), d_w3, EXPERTS * WIDTH * DIM), d_w2,
                            EXPERTS * DIM * WIDTH);
    if (status == SY_OK)
        printf("y %016llx  dx %016llx  gradients %016llx\n",
               (unsigned long long)digest(0, y, SEQUENCES * ROW),
               (unsigned long long)digest(0, dx, SEQUENCES * ROW), (unsigned long long)grads);
    sy_config_destroy(config);
    return sy_status_exit_code(status);
}
