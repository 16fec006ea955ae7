// What attention's kernels for wgmma share: which keys a query may see, how rows of a head are stored.
#ifndef SY_OPS_CUDA_ATTENTION_HEADS_CUH
#define SY_OPS_CUDA_ATTENTION_HEADS_CUH

#include "ops/cuda/launch.cuh"
#include "ops/cuda/wgmma.cuh"
#include "ops/op_layer.h"

namespace attention {

// The key from which on query i of a sequence may see; it grows with i.
SY_DEV int first_key(const struct sy_attention &p, int64_t sequence, int i) {
    int lo = p.doc_start ? p.doc_start[sequence * p.seq_len + i] : 0;
    return p.window > 0 ? max(lo, i - (int)min(p.window, p.seq_len) + 1) : lo;
}

SY_DEV uint16_t *values(const struct sy_heads &v, int64_t token, int64_t head) {
    return (uint16_t *)v.data + token * v.token + head * v.head;
}

// Which consumer warpgroup this is, in a uniform register: else each product moves its descriptors there.
SY_DEV int consumer() { return __shfl_sync(~0u, (int)threadIdx.x / 128 - 1, 0); }

// Lane q of a quad has a[k] of lane k's a[q].
SY_DEV void quad_transpose(uint32_t (&a)[4]) {
    int odd = threadIdx.x & 1, high = threadIdx.x & 2;
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        uint32_t t = __shfl_xor_sync(~0u, odd ? a[i] : a[i + 1], 1);
        a[i] = odd ? t : a[i];
        a[i + 1] = odd ? a[i + 1] : t;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        uint32_t t = __shfl_xor_sync(~0u, high ? a[i] : a[i + 2], 2);
        a[i] = high ? t : a[i];
        a[i + 2] = high ? a[i + 2] : t;
    }
}

// acc times factor, rounded, to a head's values of tokens `token` and token + 8, of which `left` are there.
template <int N>
SY_DEV void store_rows(const float *acc, const struct sy_heads &to, int64_t token, int left, int64_t head,
                       const float (&factor)[2]) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
        uint4 *row = (uint4 *)values(to, token + 8 * r, head);
#pragma unroll
        for (int g = 0; g < N / 16; g++) {
            uint32_t v[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float *x = acc + (4 * g + i) * 4 + 2 * r;
                v[i] = ptx::bf16_pair(__fmul_rn(x[0], factor[r]), __fmul_rn(x[1], factor[r]));
            }
            quad_transpose(v);
            if (8 * r < left)
                row[4 * g + threadIdx.x % 4] = make_uint4(v[0], v[1], v[2], v[3]);
        }
    }
}

} // namespace attention

#endif
