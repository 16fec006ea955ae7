/* Ops timed on a GPU at the sizes of trainings: what the files of `bench ops|gemm|attention --device cuda`
 * share. A time is the median of some rounds, each a queue of calls and one wait behind them. A rate stands
 * beside its share of what was measured in the same run: a copy of 1 GB, or the product of 8192^3.
 *
 * The first failure stays in `status`, with its message; what comes after it takes, enqueues and prints
 * nothing, so that a section needs no test of its own. A section's memory is given back at its end:
 *
 *     int mark = b->n_memory;
 *     ... sy_gpu_take, sy_gpu_floats, SY_GPU_TIME ...
 *     sy_gpu_give(b, mark);
 *
 * Nothing here knows CUDA: the exec may be of any device (tests/unit/test_bench_gpu.c: a CPU).
 */
#ifndef SY_COMMANDS_BENCH_GPU_H
#define SY_COMMANDS_BENCH_GPU_H

#include "ops/ops.h"
#include "train/io.h"

struct sy_gpu_dense { /* y [m, n] = x [m, k] W^T, and its backward */
    int64_t m, n, k;
};
struct sy_gpu_experts {
    const char *name;
    int64_t tokens, d, f, experts, top_k;
};
struct sy_gpu_layer { /* of MoE; `shared` experts as one of so many times f */
    const char *name;
    int64_t d, f, experts, top_k, shared;
};
struct sy_gpu_heads { /* attention: `rope` columns more of queries and keys; shared: one key for all heads */
    int64_t sequences, seq_len, heads, kv_heads, d, rope;
    int shared;
};

struct sy_gpu_sizes {
    double seconds;             /* that a round's queue takes at least */
    int queued_layers;          /* calls of a layer that a round queues at least */
    int64_t copy_bytes;         /* the ceilings: a copy of so many bytes, */
    int64_t product;            /* a product of so many rows, columns and terms */
    struct sy_gpu_dense logits; /* a chunk of the head, fp32 */
    /* of the ops that are neither products nor attention: a layer */
    int64_t sequences, seq_len, d, heads, experts, top_k, vocab, loss_rows, parameters;
    const struct sy_gpu_dense *dense;
    const struct sy_gpu_experts *moe;
    const struct sy_gpu_layer *layer;
    const struct sy_gpu_heads *attention;
    int n_dense, n_moe, n_layers, n_attention;
};
/* Those of `switchyard bench`. */
extern const struct sy_gpu_sizes sy_gpu_sizes;

enum { SY_GPU_MEMORY = 64 };

struct sy_gpu_bench {
    struct sy_exec x;
    const struct sy_gpu_sizes *sizes;
    const struct sy_io *io;
    int json;
    const char *const *ops; /* [n_ops] these alone; none: all */
    int n_ops;
    double copy_rate, product_rate; /* bytes, FLOP a second: the ceilings; 0: not yet measured */
    uint64_t key;                   /* of the random numbers that were taken last */
    struct {
        void *at;
        size_t bytes;
    } memory[SY_GPU_MEMORY];
    int n_memory;
    int queued; /* calls that a round queues at least; 0: one */
    sy_status status;
};

/* --- memory, and what is in it -------------------------------------------------------------------------- */

/* Local. NULL after a failure. */
void *sy_gpu_take(struct sy_gpu_bench *b, int64_t bytes);
/* Local. All that was taken since there were `mark` blocks. */
void sy_gpu_give(struct sy_gpu_bench *b, int mark);
/* Local. A copy of the host's. */
void *sy_gpu_upload(struct sy_gpu_bench *b, const void *host, int64_t bytes);
/* Local. Normal numbers of deviation sd: fp32, or a stored matrix. */
float *sy_gpu_floats(struct sy_gpu_bench *b, int64_t n, double sd);
struct sy_mat sy_gpu_stored(struct sy_gpu_bench *b, int64_t rows, int64_t cols, double sd);
/* Local. n integers from 0 to below `most`, even. */
int32_t *sy_gpu_below(struct sy_gpu_bench *b, int64_t n, int64_t most);

/* Routes of tokens, even and random, and the rows that they make. */
struct sy_gpu_routes {
    struct sy_route_sort sort; /* that made them */
    struct sy_rows rows;
    int32_t *ids, *row, *route;
    int64_t *offset;
};
struct sy_gpu_routes sy_gpu_route(struct sy_gpu_bench *b, int64_t sequences, int64_t seq_len, int64_t experts,
                                  int64_t top_k);

/* --- time ----------------------------------------------------------------------------------------------- */

struct sy_gpu_row {
    const char *op, *what;
    double bytes, flops; /* one of them: each input read once and each output written once, or of a product */
};

/* Local. Whether rows of one of these ops are to be printed: names with spaces between. */
int sy_gpu_wants(const struct sy_gpu_bench *b, const char *ops);
/* Local. Seconds of a call; 0 after a failure. */
double sy_gpu_seconds(struct sy_gpu_bench *b, void (*call)(const struct sy_exec *x, const void *op),
                      const void *op);
/* Local. Times a call and prints its row. */
void sy_gpu_time(struct sy_gpu_bench *b, const struct sy_gpu_row *row,
                 void (*call)(const struct sy_exec *x, const void *op), const void *op);

#define X(name, type) \
    static inline void sy_gpu_call_##name(const struct sy_exec *x, const void *op) { x->ops->name(x, op); }
SY_OPS_LIST(X)
#undef X

/* A row of op `name`, if it is wanted; what follows is its struct. */
#define SY_GPU_ROW(b, name, type, what, of, amount, ...)                                                  \
    do {                                                                                                  \
        if (sy_gpu_wants(b, #name))                                                                       \
            sy_gpu_time(b, &(struct sy_gpu_row){#name, what, .of = (double)(amount)}, sy_gpu_call_##name, \
                        &(struct type)__VA_ARGS__);                                                       \
    } while (0)

/* --- sections ------------------------------------------------------------------------------------------- */

/* Local. Measures the ceilings, which shares are of; a product of 0 rows is none. */
void sy_gpu_ceilings(struct sy_gpu_bench *b);

void sy_gpu_bench_rows(struct sy_gpu_bench *b);    /* rows of tokens, the loss, parameters */
void sy_gpu_bench_routing(struct sy_gpu_bench *b); /* router, sort, dispatch, combine */
void sy_gpu_bench_products(struct sy_gpu_bench *b);
void sy_gpu_bench_attention(struct sy_gpu_bench *b);
void sy_gpu_bench_layers(struct sy_gpu_bench *b); /* MoE layers, forward and backward */

/* Local. ERR_USAGE a name that is no op's, or of one that has no row, and why. */
sy_status sy_gpu_bench_check(const char *op);

/* Local. "ops" (all sections of ops), "gemm", "attention" or "moe", ceilings first. Errors: ERR_MEMORY,
 * ERR_RUNTIME of the device. */
sy_status sy_gpu_bench_run(struct sy_gpu_bench *b, const char *what);

/* Local. Sets the exec: a GPU, with scratch. To be ended by sy_gpu_bench_close. Errors: those of
 * sy_device_cuda_create; ERR_MEMORY. */
sy_status sy_gpu_bench_open(int ordinal, struct sy_gpu_bench *b, struct sy_device **device);
void sy_gpu_bench_close(struct sy_gpu_bench *b, struct sy_device *device);

/* Local. A line with the ceilings of a GPU, or with why they were not measured; some tenths of a second. */
void sy_gpu_print_ceilings(int ordinal, const struct sy_io *io);

#endif
