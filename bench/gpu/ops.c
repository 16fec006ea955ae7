/* Times of the GPU's ops but products and attention, in the sizes of a layer of DeepSeek-V3 16B: 16 384
 * tokens, width 2048, 64 experts of which a token has 6, a vocabulary of 102 400. Share: bytes that must be
 * moved (each input read once, each output written once) over time, of the rate of a copy of 1 GB in this
 * run.
 *
 *     ops [OP...]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "device/cuda_state.h"
#include "ops/ops.h"

enum {
    T = 16384,
    S = 4096,
    B = T / S,
    D = 2048,
    H = 16,
    E = 64,
    K = 6,
    V = 102400,
    ROWS = T * K + 15 * E * B
};
enum { LOSS_ROWS = 4096 };
static const int64_t PARAMETERS = 200 << 20;

static struct sy_exec x;
static double copy_rate;
static int n_wanted;
static char **wanted;

static void *take(size_t bytes) {
    void *p = x.device->alloc(x.device, SY_PLACE_DEVICE, bytes);
    if (!p) {
        printf("no memory for %zu bytes\n", bytes);
        exit(2);
    }
    return p;
}

static void must_work(const char *what) {
    if (sy_exec_wait(&x) == SY_OK)
        return;
    printf("%s: %s\n", what, sy_error_message());
    exit(1);
}

/* Normal numbers. */
static float *floats(int64_t n) {
    static uint64_t key;
    float *p = take((size_t)n * 4);
    x.ops->init(&x, &(struct sy_init_values){
                        &(struct sy_init_item){.n = n, .key = ++key, .sd = 1.0, .cut = 0.0, .out = p}, 1});
    must_work("init");
    return p;
}
static struct sy_mat stored(int64_t rows, int64_t cols) {
    float *from = floats(rows * cols);
    void *to = take((size_t)(rows * cols) * 2);
    x.ops->cast(&x, &(struct sy_cast){&(struct sy_cast_item){rows * cols, from, to}, 1});
    must_work("cast");
    x.device->free(x.device, SY_PLACE_DEVICE, from, (size_t)(rows * cols) * 4);
    return sy_mat_of(to, SY_BF16, cols);
}
static void *upload(const void *host, size_t bytes) {
    void *p = take(bytes);
    x.device->copy(x.device, p, host, bytes);
    must_work("a copy");
    return p;
}
static int32_t *below(int64_t n, int64_t most) {
    int32_t *host = malloc((size_t)n * 4), *p;
    uint64_t state = 7;
    for (int64_t i = 0; i < n; i++)
        host[i] = (int32_t)((sy_mix64(state += 0x9e3779b97f4a7c15u) >> 33) % (uint64_t)most);
    p = upload(host, (size_t)n * 4);
    free(host);
    return p;
}
static struct sy_heads whole(struct sy_mat m) { return sy_heads_of(m, 0, m.row); }

/* --- time ----------------------------------------------------------------------------------------------- */

static double seconds_of(void (*call)(const void *), const void *arg) {
    cudaStream_t stream = sy_cuda_of(x.device)->stream;
    cudaEvent_t from, to;
    float ms = 0;
    int times = 3;
    cudaEventCreate(&from);
    cudaEventCreate(&to);
    for (;; times *= 2) {
        call(arg);
        cudaEventRecord(from, stream);
        for (int i = 0; i < times; i++)
            call(arg);
        cudaEventRecord(to, stream);
        must_work("the ops that are timed");
        cudaEventElapsedTime(&ms, from, to);
        if (ms > 20 || times > 1000)
            return (double)ms * 1e-3 / times;
    }
}

#define TIME(name, type, bytes, ...)                                  \
    do {                                                              \
        struct type op = __VA_ARGS__;                                 \
        report(#name, seconds_of(call_##name, &op), (double)(bytes)); \
    } while (0)
#define X(name, type) \
    static inline void call_##name(const void *op) { x.ops->name(&x, op); }
SY_OPS_LIST(X)
#undef X

static void report(const char *name, double seconds, double bytes) {
    if (strcmp(name, "copy") == 0 && copy_rate == 0)
        copy_rate = bytes / seconds;
    printf("%-18s %9.1f us  %8.1f MB  %6.2f TB/s  %4.0f %%\n", name, seconds * 1e6, bytes * 1e-6,
           bytes / seconds * 1e-12, 100 * bytes / seconds / copy_rate);
    fflush(stdout);
}

static int want(const char *name) {
    for (int i = 0; i < n_wanted; i++)
        if (strcmp(wanted[i], name) == 0)
            return 1;
    return n_wanted == 0;
}

/* --- ops ------------------------------------------------------------------------------------------------ */

static void rows_of_tokens(void) {
    struct sy_mat a = stored(T, D), b = stored(T, D), c = stored(T, D);
    float *g = floats(D), *r = floats(T), *table = floats(4096 * 32);
    int32_t *position = below(T, 4096);
    double row = 2.0 * T * D;
    if (want("rmsnorm_fwd"))
        TIME(rmsnorm_fwd, sy_rmsnorm_fwd, 2 * row,
             {.tokens = T, .heads = 1, .d = D, .eps = 1e-6f, .x = whole(a), .g = g, .y = whole(b), .r = r});
    if (want("rmsnorm_fwd"))
        TIME(rmsnorm_fwd, sy_rmsnorm_fwd, 2 * row,
             {.tokens = T,
              .heads = H,
              .d = D / H,
              .eps = 1e-6f,
              .x = sy_heads_of(a, 0, D / H),
              .g = g,
              .y = sy_heads_of(b, 0, D / H)});
    if (want("rmsnorm_bwd"))
        TIME(
            rmsnorm_bwd, sy_rmsnorm_bwd, 3 * row,
            {.tokens = T, .heads = 1, .d = D, .dy = whole(a), .x = whole(b), .g = g, .r = r, .dx = whole(c)});
    if (want("rope")) /* the last 64 of each head's 128 */
        TIME(rope, sy_rope, row,
             {.tokens = T,
              .heads = H,
              .d = 64,
              .position = position,
              .cos = table,
              .sin = table,
              .x = sy_heads_of(a, 64, D / H)});
    if (want("join"))
        TIME(join, sy_join, 3 * row, {.rows = T, .d = D, .n = 2, .term = {a, b}, .y = c});
    if (want("head_sum"))
        TIME(head_sum, sy_head_sum, row / 2 + row / 32,
             {.tokens = T, .heads = H, .d = 64, .x = sy_heads_of(a, 64, D / H), .y = whole(b)});
    if (want("sigmoid_gate"))
        TIME(sigmoid_gate, sy_sigmoid_gate, 2 * row, {.rows = T, .d = D, .logit = r, .y = a});
    if (want("sigmoid_gate_bwd"))
        TIME(sigmoid_gate_bwd, sy_sigmoid_gate_bwd, 3 * row,
             {.rows = T, .d = D, .logit = r, .y_in = a, .dy = b, .dy_in = c, .dlogit = stored(T, 1)});
    if (want("row_sum"))
        TIME(row_sum, sy_row_sum, 2 * row,
             {&(struct sy_row_sum_item){.sequences = B,
                                        .rows_per_sequence = S,
                                        .heads = 1,
                                        .d = D,
                                        .a = whole(a),
                                        .x = whole(b),
                                        .r = r,
                                        .out = g},
              1});
    if (want("embed_fwd"))
        TIME(embed_fwd, sy_embed_fwd, 2 * row,
             {.tokens = T, .d = D, .ids = below(T, V), .w = stored(V, D), .y = c});
    if (want("scatter_add"))
        TIME(scatter_add, sy_scatter_add, row + 8.0 * T * D,
             {.n = T,
              .d = D,
              .out_rows = V,
              .index = below(T, V),
              .src = a,
              .out = sy_mat_of(floats((int64_t)V * D), SY_F32, D)});
    if (want("fold_rows"))
        TIME(
            fold_rows, sy_fold_rows, 16.0 * T * D,
            {.n = T, .d = D, .index = below(T, V), .x = floats((int64_t)V * D), .y = floats((int64_t)V * D)});
}

static void routing(void) {
    float *logits = floats(T * E), *s = floats(T * E), *w = floats(T * K), *dl = floats(T * E);
    int32_t *ids = take(4 * T * K), *row = take(4 * T * K), *route = take(4 * (size_t)ROWS);
    int64_t *offset = take(8 * (E * B + 1)), *n_tiles = take(8), *counts = take(8 * E), *one = take(64);
    struct sy_tile *tile = take(sizeof *tile * (ROWS / SY_TILE_ROWS + E));
    struct sy_mat tokens = stored(T, D), rows = stored(ROWS, D), out = stored(T, D);
    struct sy_rows r = {E, B, ROWS, offset, tile, n_tiles};
    struct sy_route_sort sort = {.sequences = B,
                                 .seq_len = S,
                                 .experts = E,
                                 .top_k = K,
                                 .ids = ids,
                                 .offset = offset,
                                 .row = row,
                                 .route = route,
                                 .tile = tile,
                                 .n_tiles = n_tiles};
    double scores = 4.0 * T * E, routes = 4.0 * T * K, moved = 2.0 * T * K * D;
    TIME(router_fwd, sy_router_fwd, 2 * scores + 2 * routes,
         {.tokens = T,
          .experts = E,
          .top_k = K,
          .route_norm = 1,
          .route_scale = 1,
          .seq_len = S,
          .logits = logits,
          .s = s,
          .ids = ids,
          .w = w,
          .layers = 1,
          .bad_token = one});
    TIME(router_bwd, sy_router_bwd, 1.5 * scores + 2 * routes,
         {.tokens = T,
          .experts = E,
          .top_k = K,
          .route_norm = 1,
          .route_scale = 1,
          .s = s,
          .ids = ids,
          .dw = w,
          .dlogits = sy_mat_of(take(2 * T * E), SY_BF16, E)});
    TIME(router_losses, sy_router_losses, 2 * scores + routes,
         {.sequences = B,
          .seq_len = S,
          .experts = E,
          .top_k = K,
          .balance = 0.01f,
          .logits = logits,
          .s = s,
          .ids = ids,
          .dl = dl,
          .loss = one,
          .n_bad = one + 2});
    TIME(routes_equal, sy_routes_equal, 4 * routes,
         {.tokens = T,
          .seq_len = S,
          .top_k = K,
          .was_ids = ids,
          .ids = ids,
          .was_w = w,
          .w = w,
          .layers = 1,
          .changed = one});
    TIME(count_routes, sy_count_routes, routes,
         {.tokens = T, .experts = E, .top_k = K, .ids = ids, .counts = counts});
    TIME(route_sort, sy_route_sort, 3 * routes, sort);
    TIME(permute, sy_permute, moved + 2.0 * T * D,
         {.rows = r, .top_k = K, .d = D, .route = route, .x = tokens, .y = rows});
    TIME(combine, sy_combine, moved + 4.0 * T * D,
         {.tokens = T,
          .top_k = K,
          .d = D,
          .experts = E,
          .ids = ids,
          .row = row,
          .w = w,
          .o = rows,
          .shared = tokens,
          .y = out});
    TIME(rowdot, sy_rowdot, 2 * moved,
         {.rows = r, .d = D, .a = rows, .b = rows, .y = take(4 * (size_t)ROWS)});
    TIME(gather_f32, sy_gather_f32, 3 * routes,
         {.n = ROWS, .used = offset + E * B, .index = route, .x = w, .y = take(4 * (size_t)ROWS)});
}

static void loss(void) {
    float *logits = floats((int64_t)LOSS_ROWS * V), *w = floats(1);
    struct sy_tally *tally = take(sizeof *tally);
    struct sy_mat out = sy_mat_of(take((size_t)LOSS_ROWS * V * 2), SY_BF16, V);
    int32_t *labels = below(LOSS_ROWS, V);
    TIME(cross_entropy, sy_cross_entropy, 6.0 * LOSS_ROWS * V,
         {.rows = LOSS_ROWS,
          .vocab = V,
          .logits = logits,
          .labels = labels,
          .w = w,
          .dlogits = out,
          .tally = tally});
    TIME(cross_entropy, sy_cross_entropy, 4.0 * LOSS_ROWS * V,
         {.rows = LOSS_ROWS, .vocab = V, .logits = logits, .labels = labels, .w = w, .tally = tally});
}

static void parameters(void) {
    int64_t n = PARAMETERS;
    float *a = floats(n), *b = floats(n), *m = floats(n), *v = take((size_t)n * 4);
    void *bf = take((size_t)n * 2);
    struct sy_tally *tally = take(sizeof *tally);
    struct sy_scalars host = {1, 1e-4f, 0.9f, 0.1f, 0.95f, 0.05f, 1.9f, 3.3f, 1e-8f, 0.1f, 1.0};
    struct sy_verdict judged = {.clip = 1.0f, .apply = 1};
    struct sy_scalars *scalars = upload(&host, sizeof host);
    struct sy_verdict *verdict = upload(&judged, sizeof judged);
    if (want("add_f32"))
        TIME(add_f32, sy_add_f32, 12.0 * (double)n, {&(struct sy_add_item){n, a, b}, 1});
    if (want("norm"))
        TIME(norm, sy_norm, 4.0 * (double)n, {&(struct sy_norm_item){n, a}, 1, tally});
    if (want("digest"))
        TIME(digest, sy_digest_of, 4.0 * (double)n,
             {&(struct sy_digest_item){n, 5, 0, a}, 1, verdict->digest});
    if (want("adamw"))
        TIME(adamw, sy_adamw, 30.0 * (double)n,
             {&(struct sy_adamw_item){n, 5, 0, a, m, v, b, bf}, 1, scalars, verdict});
    if (want("cast"))
        TIME(cast, sy_cast, 6.0 * (double)n, {&(struct sy_cast_item){n, a, bf}, 1});
    if (want("init"))
        TIME(init, sy_init_values, 4.0 * (double)n,
             {&(struct sy_init_item){.n = n, .key = 3, .sd = 0.02, .cut = 2, .out = a}, 1});
    if (want("judge"))
        TIME(judge, sy_judge, sizeof *tally, {tally, scalars, verdict});
}

int main(int argc, char **argv) {
    struct sy_device *device;
    n_wanted = argc - 1;
    wanted = argv + 1;
    if (sy_device_cuda_create(-1, &device) != SY_OK) {
        printf("%s\n", sy_error_message());
        return 77;
    }
    x = (struct sy_exec){.ops = sy_ops_cuda(), .device = device, .scratch_bytes = SY_CUDA_WORKSPACE};
    sy_exec_set_class(&x, SY_NUMERIC_SM90);
    x.scratch = take(x.scratch_bytes);
    int64_t gb = 1 << 30;
    char *from = take((size_t)gb), *to = take((size_t)gb);
    TIME(copy, sy_copy, 2.0 * (double)gb, {.rows = 1, .bytes = gb, .from = from, .to = to});
    TIME(fill, sy_fill, (double)gb, {.n = gb / 4, .data = to});
    x.device->free(x.device, SY_PLACE_DEVICE, from, (size_t)gb);
    x.device->free(x.device, SY_PLACE_DEVICE, to, (size_t)gb);
    rows_of_tokens();
    if (want("routing"))
        routing();
    if (want("cross_entropy"))
        loss();
    parameters();
    return 0;
}
