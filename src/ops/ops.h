/* Every op: one struct is its whole contract, with shapes and order of sums (docs/NUMERICS.md gives the
 * formulas). The structs stand in op_rows.h (products), op_layer.h, op_routing.h, op_direct.h and op_step.h.
 *
 * An op is called through the table of an exec, `exec->ops->linear(exec, &(struct sy_linear){...})`. All
 * tiers of a class give the same bits. An op is *enqueued*: later ops of the same exec may read what it
 * writes, the host only after sy_exec_wait; on a CPU it is done when the call returns. The views of an op
 * point into the exec's memory, its struct and lists of problems are the host's and are read before the call
 * returns. The host knows bounds (struct sy_rows), never counts.
 *
 * Ops never allocate and never fail: what can be wrong with data is counted in an output, what can be wrong
 * with a call is an assert. "stored" means exec->dtype: the type BF(x) of the class. Inputs are widened
 * exactly, sums and pointwise arithmetic are fp32, an output in the stored type is rounded once.
 *
 * T tokens, D width, F expert width, E experts, K experts per token, N = rows of all experts, V vocabulary, H
 * heads, B sequences of S tokens: T = B*S. In backward ops a prefix d marks a gradient.
 */
#ifndef SY_OPS_OPS_H
#define SY_OPS_OPS_H

#include "base/status.h"
#include "base/threads.h"
#include "device/memory.h"
#include "ops/op_direct.h"
#include "ops/op_layer.h"
#include "ops/op_routing.h"
#include "ops/op_rows.h"
#include "ops/op_step.h"
#include "ops/tiles.h"

/* Numeric classes (NUMERICS 1). KB is the rows of one chain step. */
#define SY_CLASS_LIST(X)       \
    X(X86, x86, 2, SY_BF16)    \
    X(AMX, amx, 32, SY_BF16)   \
    X(SM90, sm90, 16, SY_BF16) \
    X(FP32, fp32, 1, SY_F32)

enum sy_numeric_class {
#define X(name, text, kb, dtype) SY_NUMERIC_##name,
    SY_CLASS_LIST(X)
#undef X
        SY_N_CLASSES
};

/* Of these a chain reads subnormal numbers as zeros and flushes its results, and BF makes zeros of them. */
static inline int sy_class_flushes(enum sy_numeric_class cls) {
    return cls == SY_NUMERIC_X86 || cls == SY_NUMERIC_AMX;
}

struct sy_ops;

/* Where an op runs. One per rank; the pool is not shared with a concurrent caller. */
struct sy_exec {
    const struct sy_ops *ops;
    enum sy_numeric_class cls;
    enum sy_dtype dtype; /* stored type of cls */
    int kb;
    const struct sy_device *device; /* whose memory the views are of */
    struct sy_pool *pool;
    char *scratch; /* scratch_bytes for each thread of the pool, 64-byte aligned */
    size_t scratch_bytes;
    const struct sy_trace *trace; /* who looks at values (trace.h); NULL: nobody */
    struct sy_tuning *tuning;     /* who measures a GPU's products (tiles.h); NULL: nobody */
};

/* Local. What was enqueued is done; then the host may read. Errors: ERR_RUNTIME of the device. */
static inline sy_status sy_exec_wait(const struct sy_exec *x) { return x->device->wait(x->device); }

static inline void *sy_exec_scratch(const struct sy_exec *x, int thread) {
    return x->scratch + (size_t)thread * x->scratch_bytes;
}

/* The one list of ops: op table, `switchyard info`, the tier comparison and the benchmark come from it.
 * X(name, struct). */
#define SY_OPS_LIST(X)                       \
    X(linear, sy_linear)                     \
    X(linear_dx, sy_linear_dx)               \
    X(linear_dw, sy_linear_dw)               \
    X(pack, sy_pack)                         \
    X(fill, sy_fill)                         \
    X(copy, sy_copy)                         \
    X(rmsnorm_fwd, sy_rmsnorm_fwd)           \
    X(rmsnorm_bwd, sy_rmsnorm_bwd)           \
    X(rope, sy_rope)                         \
    X(attention_fwd, sy_attention)           \
    X(attention_bwd, sy_attention)           \
    X(join, sy_join)                         \
    X(head_sum, sy_head_sum)                 \
    X(sigmoid_gate, sy_sigmoid_gate)         \
    X(sigmoid_gate_bwd, sy_sigmoid_gate_bwd) \
    X(embed_fwd, sy_embed_fwd)               \
    X(scatter_add, sy_scatter_add)           \
    X(fold_rows, sy_fold_rows)               \
    X(router_fwd, sy_router_fwd)             \
    X(router_bwd, sy_router_bwd)             \
    X(router_losses, sy_router_losses)       \
    X(routes_equal, sy_routes_equal)         \
    X(count_routes, sy_count_routes)         \
    X(topk, sy_topk)                         \
    X(topk_bwd, sy_topk_bwd)                 \
    X(route_sort, sy_route_sort)             \
    X(route_forced, sy_route_forced)         \
    X(move_segments, sy_move_segments)       \
    X(route_slots, sy_route_slots)           \
    X(send_slots, sy_send_slots)             \
    X(route_arrived, sy_route_arrived)       \
    X(return_rows, sy_return_rows)           \
    X(permute, sy_permute)                   \
    X(combine, sy_combine)                   \
    X(gather_f32, sy_gather_f32)             \
    X(rowdot, sy_rowdot)                     \
    X(cross_entropy, sy_cross_entropy)       \
    X(row_sum, sy_row_sum)                   \
    X(add_f32, sy_add_f32)                   \
    X(norm, sy_norm)                         \
    X(judge, sy_judge)                       \
    X(adamw, sy_adamw)                       \
    X(expert_bias, sy_expert_bias)           \
    X(digest, sy_digest_of)                  \
    X(cast, sy_cast)                         \
    X(init, sy_init_values)

/* What a loop of one instruction in registers did. NULL, 0: there is none, as class sm90 is emulated and tier
 * ref calls fmaf. */
struct sy_peak {
    const char *instruction; /* static */
    double flops;
};

struct sy_ops {
    const char *tier;
    const struct sy_ops *inner; /* of a table around another one (ops/wrapped.h) */
    int gathers;                /* linear takes rows by name (sy_named_rows) */
    /* Bytes of one group's packed right-hand side m [k, n]; 0: this tier reads m as fast as it is. */
    size_t (*pack_bytes)(const struct sy_exec *x, struct sy_mat m, int64_t k, int64_t n);
    struct sy_peak (*peak)(enum sy_numeric_class cls, int64_t rounds); /* on the calling thread: FLOPs done */
#define X(name, type) void (*name)(const struct sy_exec *x, const struct type *op);
    SY_OPS_LIST(X)
#undef X
};

/* --- tiers and execution -------------------------------------------------------------------------------- */

/* The tiers of this build, weakest first: ref, avx2, avx512, avx512_bf16, amx. */
int sy_ops_n_tiers(void);
const char *sy_ops_tier_name(int tier);
/* Local. NULL with a reason in *why (static) when the CPU cannot run the tier. */
const struct sy_ops *sy_ops_tier(int tier, const char **why);

/* Local. `tier` is a name or "auto": the fastest that runs here, measured for some milliseconds, once a
 * process. Errors: ERR_USAGE unknown, ERR_UNAVAILABLE, ERR_MEMORY. */
sy_status sy_ops_select(const char *tier, const struct sy_ops **out);

/* The ops of a CUDA device (device/cuda.h), class sm90 alone; a build without CUDA has their plan alone. */
const struct sy_ops *sy_ops_cuda(void);

/* Local. The index of the table among n whose product and attention of a class of bf16 are the fastest on the
 * calling thread. Errors: ERR_MEMORY. */
sy_status sy_ops_fastest(const struct sy_ops *const *ops, int n, enum sy_numeric_class cls, int *out);

/* Local. FLOP/s of the instruction that products of x's class and tier are made of, in a loop that touches
 * registers alone, on all threads of x's pool: what no product can pass. Takes some milliseconds, once a
 * process. */
struct sy_peak sy_ops_peak(const struct sy_exec *x);
/* Local. The same loop once, now, for at least so many seconds: what the machine gives at this moment. */
struct sy_peak sy_ops_peak_now(const struct sy_exec *x, double seconds);

const char *sy_class_name(enum sy_numeric_class cls);
int sy_class_kb(enum sy_numeric_class cls);
/* What an exec's class means: cls, stored type, KB. */
void sy_exec_set_class(struct sy_exec *x, enum sy_numeric_class cls);
enum sy_dtype sy_class_dtype(enum sy_numeric_class cls);

/* Local. Shape [rows, k] of what topk gives for [rows, n]. Errors: ERR_USAGE, naming k and n, or a count out
 * of range. */
sy_status sy_topk_check(int64_t rows, int64_t n, int64_t k, int64_t *out_rows, int64_t *out_k);

/* Local. The rule of sharing memory of scatter_add: out must not overlap src, index or protect (any may be
 * NULL or empty). Errors: ERR_USAGE, naming both and their byte ranges. A caller whose out overlaps protect
 * adds to a copy instead. */
struct sy_bytes {
    const void *at;
    size_t n;
};
struct sy_scatter_memory {
    struct sy_bytes out, src, index, protect;
};
sy_status sy_scatter_add_check(const struct sy_scatter_memory *m);
/* Local. The same rule as a question: whether out overlaps one of them. No error, no message. */
int sy_scatter_add_overlaps(const struct sy_scatter_memory *m);

/* Bytes of scratch that one thread needs for every op: rows up to max_row wide, head sizes (the padded sum of
 * the parts, or the value's) up to max_head, sequences of seq_len. */
size_t sy_ops_scratch_bytes(int64_t max_row, int64_t max_head, int64_t seq_len);

/* Bytes of a GPU's scratch, which all its ops share, with which they are at their fastest, attention of
 * at most this shape among them. With less, attention backward takes fewer heads at a time; without room
 * for one (sequence, key-value head) it takes the slower kernel of any shape. */
size_t sy_ops_workspace_bytes(const struct sy_attention *most);

#endif
