/* The CPU's side of the comparisons: ops of the library in class sm90, operands as the kernels have them. */
#ifndef SY_BENCH_GPU_CLASS_SM90_H
#define SY_BENCH_GPU_CLASS_SM90_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct class_mat { /* element (i, j) at data + i*row + j*col */
    const uint16_t *data;
    long row, col;
};

void class_open(int threads);
void class_close(void);

/* c[m, n] = CHAIN over k of a[m, k] b[k, n]: fp32 (c32; fold: added to what is there) or BF of it (c16). */
void class_gemm(long m, long n, long k, struct class_mat a, struct class_mat b, float *c32, int fold,
                uint16_t *c16);
/* h[rows, f] of gu[rows, 2f], both stored. */
void class_swiglu(long rows, long f, const uint16_t *gu, uint16_t *h);

/* Attention of T = sequences * seq_len tokens: q [T, heads, dk], k [T, kv_heads, dk], v [T, kv_heads, dv],
 * o [T, heads, dv], lse [T, heads]; doc_start [T] or NULL. */
struct class_attention {
    long sequences, seq_len, heads, kv_heads, dk, dv;
    float c;
    const uint16_t *q, *k, *v;
    const int32_t *doc_start;
    uint16_t *o;
    float *lse;
};
/* By the library's op. */
void class_attention_library(const struct class_attention *a);
/* By the rule in attention_sm90.cuh, which says more of non-finite scores: heads h0..h1-1 of sequence b. */
void class_attention_rule(const struct class_attention *a, long b, long h0, long h1);

#ifdef __cplusplus
}
#endif
#endif
