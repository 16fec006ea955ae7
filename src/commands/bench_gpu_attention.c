/* switchyard bench attention --device cuda: attention in the sizes of trainings, forward and backward, with
 * the workspace that a plan gives it. FLOP are those of the causal half. bench/gpu/yardsticks.py attention
 * has the same shapes by cuDNN and FlashAttention. */
#include <math.h>
#include <stdio.h>

#include "commands/bench_gpu.h"

static struct sy_heads heads(struct sy_gpu_bench *b, int64_t tokens, int64_t n, int64_t d) {
    return sy_heads_of(sy_gpu_stored(b, tokens, n * d, 1.0), 0, d);
}

/* Queries and keys of one slice, and their gradients. */
static struct sy_head_slice slice(struct sy_gpu_bench *b, const struct sy_gpu_heads *s, int64_t d,
                                  int shared) {
    int64_t tokens = s->sequences * s->seq_len;
    struct sy_head_slice t = {.d = d,
                              .q = heads(b, tokens, s->heads, d),
                              .k = heads(b, tokens, shared ? 1 : s->kv_heads, d),
                              .dq = heads(b, tokens, s->heads, d),
                              .dk = heads(b, tokens, s->kv_heads, d)};
    if (shared)
        t.k.head = 0;
    return t;
}

static struct sy_attention call_of(struct sy_gpu_bench *b, const struct sy_gpu_heads *s) {
    int64_t tokens = s->sequences * s->seq_len;
    double scale = 1.0 / sqrt((double)(s->d + s->rope));
    struct sy_attention op = {.sequences = s->sequences,
                              .seq_len = s->seq_len,
                              .heads = s->heads,
                              .kv_heads = s->kv_heads,
                              .dv = s->d,
                              .n_slices = s->rope ? 2 : 1,
                              .v = heads(b, tokens, s->kv_heads, s->d),
                              .o = heads(b, tokens, s->heads, s->d),
                              .d_o = heads(b, tokens, s->heads, s->d),
                              .d_v = heads(b, tokens, s->kv_heads, s->d),
                              .lse = sy_gpu_take(b, tokens * s->heads * 4),
                              .scale = (float)scale,
                              .c = (float)(scale * 0x1.71547652b82fep+0)};
    op.slice[0] = slice(b, s, s->d, 0);
    if (s->rope)
        op.slice[1] = slice(b, s, s->rope, s->shared);
    return op;
}

static void shape(struct sy_gpu_bench *b, const struct sy_gpu_heads *s) {
    struct sy_exec own = b->x;
    int mark = b->n_memory;
    struct sy_attention op = call_of(b, s);
    double half = (double)(s->sequences * s->heads) * (double)s->seq_len * (double)s->seq_len;
    struct sy_gpu_row fwd = {"attention_fwd", .flops = half * (double)(2 * s->d + s->rope)},
                      bwd = {"attention_bwd", .flops = half * (double)(5 * s->d + 3 * s->rope)};
    char name[80];
    snprintf(name, sizeof name, "%lld x %lld, heads %lld/%lld of %lld/%lld", (long long)s->sequences,
             (long long)s->seq_len, (long long)s->heads, (long long)s->kv_heads, (long long)(s->d + s->rope),
             (long long)s->d);
    fwd.what = bwd.what = name;
    b->x.scratch_bytes = sy_ops_workspace_bytes(&op);
    b->x.scratch = sy_gpu_take(b, (int64_t)b->x.scratch_bytes);
    if (b->status == SY_OK) /* backward reads what it leaves */
        b->x.ops->attention_fwd(&b->x, &op);
    if (sy_gpu_wants(b, fwd.op))
        sy_gpu_time(b, &fwd, sy_gpu_call_attention_fwd, &op);
    if (sy_gpu_wants(b, bwd.op))
        sy_gpu_time(b, &bwd, sy_gpu_call_attention_bwd, &op);
    b->x.scratch = own.scratch;
    b->x.scratch_bytes = own.scratch_bytes;
    sy_gpu_give(b, mark);
}

void sy_gpu_bench_attention(struct sy_gpu_bench *b) {
    if (!sy_gpu_wants(b, "attention_fwd attention_bwd"))
        return;
    for (int i = 0; i < b->sizes->n_attention; i++)
        shape(b, &b->sizes->attention[i]);
}
