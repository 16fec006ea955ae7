/* What the benchmarks of a GPU's ops share: memory, random operands, time, rows, ceilings. See
 * bench_gpu.h. */
#include "commands/bench_gpu.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/rng.h"
#include "commands/bench.h"
#include "device/cuda.h"

enum { ROUNDS = 5, MOST_CALLS = 4096 };

/* --- memory, and what is in it -------------------------------------------------------------------------- */

void *sy_gpu_take(struct sy_gpu_bench *b, int64_t bytes) {
    const struct sy_device *d = b->x.device;
    if (b->status != SY_OK)
        return NULL;
    void *p = b->n_memory < SY_GPU_MEMORY ? d->alloc(d, SY_PLACE_DEVICE, (size_t)bytes) : NULL;
    if (p) {
        b->memory[b->n_memory].at = p;
        b->memory[b->n_memory++].bytes = (size_t)bytes;
    } else {
        b->status =
            sy_fail(SY_ERR_MEMORY, "bench: %s has no memory for %.2f GiB more: is another program using it?",
                    d->name, (double)bytes / (1u << 30));
    }
    return p;
}

void sy_gpu_give(struct sy_gpu_bench *b, int mark) {
    const struct sy_device *d = b->x.device;
    while (b->n_memory > mark) {
        b->n_memory--;
        d->free(d, SY_PLACE_DEVICE, b->memory[b->n_memory].at, b->memory[b->n_memory].bytes);
    }
}

static void finish(struct sy_gpu_bench *b) {
    if (b->status == SY_OK)
        b->status = sy_exec_wait(&b->x);
}

void *sy_gpu_upload(struct sy_gpu_bench *b, const void *host, int64_t bytes) {
    void *p = sy_gpu_take(b, bytes);
    if (p)
        b->x.device->copy(b->x.device, p, host, (size_t)bytes);
    finish(b); /* before the host's bytes are others */
    return p;
}

float *sy_gpu_floats(struct sy_gpu_bench *b, int64_t n, double sd) {
    float *p = sy_gpu_take(b, n * 4);
    struct sy_init_item item = {.n = n, .key = ++b->key, .sd = sd, .out = p};
    if (p)
        b->x.ops->init(&b->x, &(struct sy_init_values){&item, 1});
    return p;
}

struct sy_mat sy_gpu_stored(struct sy_gpu_bench *b, int64_t rows, int64_t cols, double sd) {
    void *to = sy_gpu_take(b, rows * cols * (int64_t)sy_dtype_bytes(b->x.dtype));
    int mark = b->n_memory;
    float *from = sy_gpu_floats(b, rows * cols, sd);
    if (from)
        b->x.ops->cast(&b->x, &(struct sy_cast){&(struct sy_cast_item){rows * cols, from, to}, 1});
    finish(b);
    sy_gpu_give(b, mark);
    return sy_mat_of(to, b->x.dtype, cols);
}

/* Host memory of n integers; NULL after a failure. */
static int32_t *integers(struct sy_gpu_bench *b, int64_t n) {
    int32_t *p = b->status == SY_OK ? malloc((size_t)n * sizeof *p) : NULL;
    if (!p && b->status == SY_OK)
        b->status = sy_fail(SY_ERR_MEMORY, "bench: no memory for %lld integers", (long long)n);
    return p;
}

static int64_t draw(uint64_t *state, int64_t most) {
    return (int64_t)((sy_mix64(*state += 0x9e3779b97f4a7c15u) >> 33) % (uint64_t)most);
}

int32_t *sy_gpu_below(struct sy_gpu_bench *b, int64_t n, int64_t most) {
    int32_t *host = integers(b, n);
    uint64_t state = ++b->key;
    if (!host)
        return NULL;
    for (int64_t i = 0; i < n; i++)
        host[i] = (int32_t)draw(&state, most);
    int32_t *p = sy_gpu_upload(b, host, n * 4);
    free(host);
    return p;
}

/* Ids ascending in each token, each expert with the chance that is left. */
static int32_t *random_ids(struct sy_gpu_bench *b, int64_t tokens, int64_t experts, int64_t top_k) {
    int32_t *host = integers(b, tokens * top_k);
    uint64_t state = ++b->key;
    if (!host)
        return NULL;
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t e = 0, n = 0; e < experts && n < top_k; e++)
            if (draw(&state, experts - e) < top_k - n)
                host[t * top_k + n++] = (int32_t)e;
    int32_t *p = sy_gpu_upload(b, host, tokens * top_k * 4);
    free(host);
    return p;
}

struct sy_gpu_routes sy_gpu_route(struct sy_gpu_bench *b, int64_t sequences, int64_t seq_len, int64_t experts,
                                  int64_t top_k) {
    int64_t tokens = sequences * seq_len, groups = experts * sequences;
    int64_t most = tokens * top_k + (b->x.device->segment - 1) * groups;
    struct sy_gpu_routes r = {.ids = random_ids(b, tokens, experts, top_k),
                              .row = sy_gpu_take(b, tokens * top_k * 4),
                              .route = sy_gpu_take(b, most * 4),
                              .offset = sy_gpu_take(b, (groups + 1) * 8)};
    int64_t tiles = most / SY_TILE_ROWS + experts;
    struct sy_tile *tile = sy_gpu_take(b, tiles * (int64_t)sizeof *tile);
    int64_t *n_tiles = sy_gpu_take(b, sizeof *n_tiles);
    r.rows = (struct sy_rows){experts, sequences, most, r.offset, tile, n_tiles};
    r.sort = (struct sy_route_sort){.sequences = sequences,
                                    .seq_len = seq_len,
                                    .experts = experts,
                                    .top_k = top_k,
                                    .ids = r.ids,
                                    .offset = r.offset,
                                    .row = r.row,
                                    .route = r.route,
                                    .tile = tile,
                                    .n_tiles = n_tiles};
    if (b->status == SY_OK)
        b->x.ops->route_sort(&b->x, &r.sort);
    finish(b);
    return r;
}

/* --- time ----------------------------------------------------------------------------------------------- */

static int is_word(const char *words, const char *word) {
    size_t n = strlen(word);
    for (const char *p = words; (p = strstr(p, word)); p++)
        if ((p == words || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
            return 1;
    return 0;
}

int sy_gpu_wants(const struct sy_gpu_bench *b, const char *ops) {
    int wanted = b->n_ops == 0;
    for (int i = 0; i < b->n_ops; i++)
        wanted |= is_word(ops, b->ops[i]);
    return wanted && b->status == SY_OK;
}

/* Of n calls, queued, and one wait. */
static double queue(struct sy_gpu_bench *b, void (*call)(const struct sy_exec *x, const void *op),
                    const void *op, int n) {
    double begin = sy_clock();
    for (int i = 0; i < n; i++)
        call(&b->x, op);
    finish(b);
    return sy_clock() - begin;
}

double sy_gpu_seconds(struct sy_gpu_bench *b, void (*call)(const struct sy_exec *x, const void *op),
                      const void *op) {
    double times[ROUNDS], least = b->sizes->seconds;
    int n = b->queued > 1 ? b->queued : 1;
    if (b->status != SY_OK)
        return 0.0;
    queue(b, call, op, 1); /* what is done once */
    while (queue(b, call, op, n) < least && n < MOST_CALLS && b->status == SY_OK)
        n *= 2;
    for (int i = 0; i < ROUNDS && b->status == SY_OK; i++)
        times[i] = queue(b, call, op, n) / n;
    if (b->status != SY_OK)
        return 0.0;
    qsort(times, ROUNDS, sizeof *times, sy_bench_by_time);
    return times[ROUNDS / 2];
}

static void print(const struct sy_gpu_bench *b, const struct sy_gpu_row *row, double seconds) {
    int product = row->flops > 0;
    double rate = (product ? row->flops : row->bytes) / seconds;
    double share = rate / (product ? b->product_rate : b->copy_rate);
    if (b->json)
        sy_io_printf(b->io,
                     "{\"bench\":\"op\",\"device\":\"%s\",\"op\":\"%s\",\"what\":\"%s\",\"us\":%.3f,"
                     "\"%s\":%.0f,\"%s\":%.5g,\"share\":%.4g}\n",
                     b->x.device->name, row->op, row->what, seconds * 1e6, product ? "flop" : "bytes",
                     product ? row->flops : row->bytes, product ? "tflops" : "tb_s", rate * 1e-12, share);
    else
        sy_io_printf(b->io, "%-16s %-38s %9.1f us  %7.*f %-7s %4.0f %%\n", row->op, row->what, seconds * 1e6,
                     product ? 1 : 2, rate * 1e-12, product ? "TFLOP/s" : "TB/s", 100 * share);
}

void sy_gpu_time(struct sy_gpu_bench *b, const struct sy_gpu_row *row,
                 void (*call)(const struct sy_exec *x, const void *op), const void *op) {
    double seconds = sy_gpu_seconds(b, call, op);
    if (b->status == SY_OK)
        print(b, row, seconds);
}

/* --- ceilings ------------------------------------------------------------------------------------------- */

static void copy_ceiling(struct sy_gpu_bench *b) {
    int64_t bytes = b->sizes->copy_bytes;
    int mark = b->n_memory;
    struct sy_copy op = {
        .rows = 1, .bytes = bytes, .from = sy_gpu_take(b, bytes), .to = sy_gpu_take(b, bytes)};
    double seconds = sy_gpu_seconds(b, sy_gpu_call_copy, &op);
    if (b->status == SY_OK)
        b->copy_rate = 2.0 * (double)bytes / seconds;
    sy_gpu_give(b, mark);
}

static void product_ceiling(struct sy_gpu_bench *b) {
    int64_t n = b->sizes->product;
    int mark = b->n_memory;
    if (n == 0)
        return;
    struct sy_mat x = sy_gpu_stored(b, n, n, 1.0), w = sy_gpu_stored(b, n, n, 1.0),
                  y = sy_gpu_stored(b, n, n, 1.0);
    struct sy_linear op = {
        .rows = sy_rows_dense(1, n), .k = n, .n = n, .x = x, .w = {.m = sy_mat_t(w)}, .y = y};
    double seconds = sy_gpu_seconds(b, sy_gpu_call_linear, &op);
    if (b->status == SY_OK)
        b->product_rate = 2.0 * (double)n * (double)n * (double)n / seconds;
    sy_gpu_give(b, mark);
}

void sy_gpu_ceilings(struct sy_gpu_bench *b) {
    copy_ceiling(b);
    product_ceiling(b);
}

/* --- a GPU ---------------------------------------------------------------------------------------------- */

sy_status sy_gpu_bench_open(int ordinal, struct sy_gpu_bench *b, struct sy_device **device) {
    b->sizes = &sy_gpu_sizes;
    SY_TRY(sy_device_cuda_create(ordinal, device));
    b->x = (struct sy_exec){.ops = sy_ops_cuda(), .device = *device, .scratch_bytes = SY_CUDA_WORKSPACE};
    sy_exec_set_class(&b->x, SY_NUMERIC_SM90);
    b->x.scratch = sy_gpu_take(b, (int64_t)b->x.scratch_bytes);
    if (b->status != SY_OK) {
        sy_gpu_bench_close(b, *device);
        *device = NULL;
    }
    return b->status;
}

void sy_gpu_bench_close(struct sy_gpu_bench *b, struct sy_device *device) {
    sy_gpu_give(b, 0);
    sy_device_destroy(device);
}

void sy_gpu_print_ceilings(int ordinal, const struct sy_io *io) {
    struct sy_gpu_bench b = {.io = io};
    struct sy_device *device = NULL;
    sy_status status = sy_gpu_bench_open(ordinal, &b, &device);
    if (status == SY_OK) {
        sy_gpu_ceilings(&b);
        status = b.status;
    }
    if (status == SY_OK)
        sy_io_printf(io, "           measured: copies of 1 GB %.2f TB/s, product of 8192^3 %.0f TFLOP/s\n",
                     b.copy_rate * 1e-12, b.product_rate * 1e-12);
    else
        sy_io_printf(io, "           not measured: %s\n", sy_error_message());
    if (device)
        sy_gpu_bench_close(&b, device);
}
