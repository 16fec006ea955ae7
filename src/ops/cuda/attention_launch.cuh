// Host side of attention's fast kernels: which heads they are for, tensor maps of heads.
#ifndef SY_OPS_CUDA_ATTENTION_LAUNCH_CUH
#define SY_OPS_CUDA_ATTENTION_LAUNCH_CUH

#include "ops/cuda/tensor_map.cuh"

// What TMA and stores of 16 bytes can address.
static inline int attention_aligned(const struct sy_heads &v) {
    return (uintptr_t)v.data % 16 == 0 && v.token % 8 == 0 && v.head % 8 == 0;
}

// The head size of the fast kernels that the op is for: 64 (64/64), 128 (128/128), 192 (128 | 64/128) or 0.
static inline int attention_fast(const struct sy_attention &op, int backward) {
    int fast = attention_aligned(op.v) && attention_aligned(op.o);
    for (int p = 0; p < op.n_slices; p++) {
        const struct sy_head_slice &s = op.slice[p];
        fast &= attention_aligned(s.q) && attention_aligned(s.k);
        fast &= !backward || (attention_aligned(s.dq) && attention_aligned(s.dk));
    }
    fast &= !backward || (attention_aligned(op.d_o) && attention_aligned(op.d_v));
    int64_t d = op.slice[0].d, rope = op.n_slices == 2 ? op.slice[1].d : 0;
    if (!fast || op.dv != d || (d != 128 && d != 64) || (rope && (rope != 64 || d != 128)))
        return 0;
    return (int)(d + rope);
}

// Boxes of 64 values of one head of `rows` tokens of a sequence.
static inline CUtensorMap attention_map(const struct sy_exec *x, const struct sy_attention &op,
                                        const struct sy_heads &v, int64_t d, int64_t heads, int rows) {
    struct sy_tensor t = {v.data,
                          4,
                          {d, v.head ? heads : 1, op.seq_len, op.sequences},
                          {1, v.head ? v.head : v.token, v.token, op.seq_len * v.token},
                          {64, 1, rows, 1}};
    return sy_cuda_tensor_map(x, t);
}

#endif
